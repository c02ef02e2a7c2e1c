"""The weights of a model in a file of Paddle's: ``.pdiparams``."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from paddle.base.proto import framework_pb2

from purdist.errors import printable
from purdist.graphs.dtypes import Kind, array_dtype
from purdist.graphs.running.opening import LARGEST_RANK, OpenFile, changed, corrupt
from purdist.storing import checksum

_ENTRY = struct.Struct("<IQIi")
"""Version of the entry, number of its levels of detail, version of the tensor, and how long
its description is, which follows."""

DTYPES = {
    "BOOL": "bool",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
    "COMPLEX64": "complex64",
    "COMPLEX128": "complex128",
}
"""Those that a weight may have, as files of Paddle's name them and as it writes them."""


def read_weights(
    file: OpenFile, kinds: Mapping[str, Kind], written: str | None = None
) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """The weights in a ``.pdiparams``, which has them in the order of their names, unnamed.

    Paddle's own reader checks no length: it makes weights of whatever it gets.

    Args:
        file: The file.
        kinds: What it should hold.
        written: The checksum of what it should hold, if somebody knows. It is compared when the
            last weight has come.

    Raises:
        CorruptFileError: It holds anything else.
    """
    found = checksum(b"")
    for name, begin, start, end in _entries(file, kinds):
        shape, dtype = kinds[name]
        content = file.read_at(begin, end - begin)
        if len(content) != end - begin:  # it has shrunk meanwhile
            raise corrupt(file.path, _in_words(name, kinds[name]), "fewer")
        found = checksum(content, found)
        yield name, np.frombuffer(content, array_dtype(dtype), offset=start - begin).reshape(shape)
    if written is not None and found != written:
        raise changed(file.path)


def check_weights(file: OpenFile, kinds: Mapping[str, Kind]) -> None:
    """Refuses a ``.pdiparams`` that holds anything else, by the sizes: no weight is read.

    Raises:
        CorruptFileError: It does.
    """
    for _ in _entries(file, kinds):
        pass


def _entries(file: OpenFile, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, int, int, int]]:
    """Each weight of a file, where its entry begins, where its bytes do, and where they end.

    Sizes first: nothing is taken for a weight that is not there.

    Raises:
        CorruptFileError: It holds anything else than ``kinds``.
    """
    end = 0
    for name in sorted(kinds):
        shape, dtype = kinds[name]
        expected = _in_words(name, kinds[name])
        begin = end
        start, kind = _described(file, begin)
        if kind is None:
            raise corrupt(file.path, expected, f"no tensor at byte {begin} of {file.size}")
        if kind != kinds[name]:
            raise corrupt(file.path, expected, f"{list(kind[0])} {kind[1]}")
        length = math.prod(shape) * array_dtype(dtype).itemsize
        end = start + length
        if end > file.size:
            raise corrupt(file.path, expected, f"{max(file.size - start, 0)} of its {length} bytes")
        yield name, begin, start, end
    if end != file.size:
        raise corrupt(file.path, f"{len(kinds)} weights", f"{file.size - end} bytes more")


def _in_words(name: str, kind: Kind) -> str:
    return f"the weight {printable(name)} {list(kind[0])} {kind[1]}"


_DESCRIPTION = 1 << 12
"""Bytes of the longest description of a tensor: a dtype and some sizes."""


def _described(file: OpenFile, at: int) -> tuple[int, Kind | None]:
    """Where the data of the entry at ``at`` begins, and of what it is, None for no tensor."""
    start = at + _ENTRY.size
    entry = file.read_at(at, _ENTRY.size)
    if len(entry) < _ENTRY.size:
        return start, None
    version, levels, tensor_version, length = _ENTRY.unpack(entry)
    if version or levels or tensor_version or not 0 < length <= _DESCRIPTION:
        return start, None
    description = file.read_at(start, length)
    if len(description) < length:
        return start, None
    try:
        kind = kind_in(framework_pb2.VarType.TensorDesc.FromString(description))
    except Exception:  # protobuf's own
        return start, None
    return (start + length, kind) if len(kind[0]) <= LARGEST_RANK else (start, None)


def kind_in(tensor: framework_pb2.VarType.TensorDesc) -> Kind:
    """What a tensor is described as."""
    return tuple(tensor.dims), DTYPES[framework_pb2.VarType.Type.Name(tensor.data_type)]
