"""Files of weights: safetensors, with a format and a checksum in their metadata.

What another library wrote has neither, and is read all the same.
"""

from __future__ import annotations

import errno
import math
import os
import re
import struct
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, TensorSpec, serialize_file

from purdist import graphs
from purdist.errors import CorruptFileError, PurdistError, printable
from purdist.parsing import parsed
from purdist.sources.misplaced import no_safetensors
from purdist.storing import checksum

DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
"""Those of the format, and what they are called here."""

_LENGTH = struct.Struct("<Q")
"""How long the header is, which follows."""

_LONGEST = 1 << 24
"""No header is longer: that of a hundred thousand weights."""

_MARK = "purdist"
"""What the version and the checksum stand under: one entry, since their order is anybody's."""

_WRITTEN = re.compile(r"\d+ [0-9a-f]{8}")
"""What stands there: the version and the checksum."""

_NOW = 1
"""The version of what is written."""

_LARGEST = 1 << 63
"""No size is as large: so a product of them takes no time."""

_BEGINNING = 16
"""How many bytes tell what another kind of file is."""


def write_weights(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], dtypes: Mapping[str, str]
) -> None:
    """Writes ``arrays`` by their names.

    Raises:
        OSError: The system refuses.
    """
    found = ""
    for _, array in sorted(arrays.items()):
        found = checksum(_bytes(array), found)
    entries = {
        name: TensorSpec(
            dtype=dtypes[name],
            shape=array.shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    try:
        serialize_file(entries, path, {_MARK: f"{_NOW} {found}"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # as Rust tells it
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code)) from error


@attrs.frozen(eq=False)
class WeightFile:
    """A file of weights, open.

    Attributes:
        kinds: What it says that it holds, by name.
    """

    kinds: Mapping[str, graphs.Kind]
    _file: BufferedReader
    _path: Path
    _ends: Mapping[str, tuple[int, int]]
    _checksum: str | None

    @classmethod
    def of(cls, file: BufferedReader, path: Path) -> WeightFile:
        """The header of ``file``, read, and that it fits the size of the file.

        Raises:
            CorruptFileError: It is cut off, damaged, of another kind or of a later format.
        """
        size = os.fstat(file.fileno()).st_size
        with _read(path):
            beginning = file.read(_BEGINNING)
        try:
            length = _header_length(beginning, size)
            with _read(path):
                file.seek(_LENGTH.size)
                header = file.read(length)
            entries = _mapping(parsed(header))
            metadata = _mapping(entries.pop("__metadata__", {}))
            ends = {name: _end(entry) for name, entry in entries.items()}
            _check_ends(ends, size - _LENGTH.size - length)
        except PurdistError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            said = str(error) if type(error) is ValueError else "a header that says nothing"
            raise no_safetensors(path, beginning, said) from None
        kinds = {name: _kind(entries[name]) for name in sorted(entries)}
        first = _LENGTH.size + length
        places = {name: (first + begin, first + end) for name, (begin, end) in ends.items()}
        return cls(kinds, file, path, places, _checksum_in(metadata, path))

    def weights(
        self, wanted: Container[str] | None = None
    ) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The weights, each with its name. The last one comes before the checksum is compared.

        Args:
            wanted: The names of those that are given, all by default.

        Raises:
            CorruptFileError: They are not those that were written.
        """
        found = ""
        for name, (shape, dtype) in self.kinds.items():
            given = wanted is None or name in wanted
            if not given and self._checksum is None:
                continue
            begin, end = self._ends[name]
            content = np.empty(end - begin, np.uint8)
            with _read(self._path):
                self._file.seek(begin)
                count = self._file.readinto(content.data)
            if count != content.size:
                raise no_safetensors(self._path, b"", "one that ends while it is read")
            found = checksum(content.data, found)
            if given:
                yield name, content.view(graphs.array_dtype(dtype)).reshape(shape)
        if self._checksum is not None and self._checksum != (found or checksum(b"")):
            raise no_safetensors(self._path, b"", "weights that their checksum is not of")


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Tells what the system cannot read meanwhile."""
    try:
        yield
    except OSError as error:
        raise CorruptFileError(
            f"Expected weights that can be read in {str(path)!r}, got: {error.strerror}.",
            "Give another file, or look after the disk that it is on.",
        ) from error


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _header_length(beginning: bytes, size: int) -> int:
    if len(beginning) < _LENGTH.size:
        raise ValueError(f"{size} bytes")
    (length,) = _LENGTH.unpack_from(beginning)
    if length > size - _LENGTH.size:
        raise ValueError(f"a header that ends behind the {size} bytes of the file")
    if length > _LONGEST:
        raise ValueError(f"a header of {length} bytes, where {_LONGEST} are the most")
    return int(length)


def _mapping(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError
    return data


def _end(entry: Any) -> tuple[int, int]:
    """Where the bytes of an entry begin and end, behind the header."""
    begin, end = entry["data_offsets"]
    shape, dtype = entry["shape"], entry["dtype"]
    if not isinstance(shape, list) or not isinstance(dtype, str):
        raise TypeError
    if len(shape) > graphs.LARGEST_RANK:
        raise ValueError(f"a weight of {len(shape)} axes, where {graphs.LARGEST_RANK} are the most")
    if not all(type(size) is int and 0 <= size < _LARGEST for size in (*shape, begin, end)):
        raise TypeError
    if dtype in DTYPES:
        needed = math.prod(shape) * np.dtype(graphs.array_dtype(DTYPES[dtype])).itemsize
        if end - begin != needed:
            raise ValueError(f"a weight of {end - begin} bytes, where its shape has {needed}")
    return begin, end


def _check_ends(ends: Mapping[str, tuple[int, int]], size: int) -> None:
    """Refuses weights with holes between them, that overlap, or of another size than the file."""
    at = 0
    for begin, end in sorted(ends.values()):
        if begin != at or end < begin:
            raise ValueError("weights that do not follow one another")
        at = end
    if at != size:
        raise ValueError(f"{size} bytes of weights, where its header has {at}")


def _kind(entry: Mapping[str, Any]) -> graphs.Kind:
    return tuple(entry["shape"]), DTYPES.get(entry["dtype"], printable(entry["dtype"]))


def _checksum_in(metadata: Mapping[str, Any], path: Path) -> str | None:
    """The checksum of a file of ours, None for another library's or an earlier version's."""
    # What is written so under another name is ours with a damaged one.
    if _MARK not in metadata and not any(_WRITTEN.fullmatch(str(v)) for v in metadata.values()):
        return None
    written, _, found = str(metadata.get(_MARK, "")).partition(" ")
    if written.isdecimal() and int(written[:9]) > _NOW:
        raise CorruptFileError(
            f"Expected weights of format {_NOW} in {str(path)!r}, got those of format "
            f"{written[:9]}, which a later purdist wrote.",
            "Read them with that purdist, or save them with this one.",
        )
    if written != str(_NOW):
        raise no_safetensors(path, b"", "metadata that save_weights does not write")
    return found
