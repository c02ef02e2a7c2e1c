"""The files that Paddle writes models to: their graphs and their weights."""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import cattrs
import numpy as np
import numpy.typing as npt
import paddle
from cattrs.errors import BaseValidationError
from paddle.base import core, framework
from paddle.base.proto import framework_pb2

from purdist.errors import CorruptFileError
from purdist.graphs.drafts import Draft, Graph
from purdist.graphs.learning.gradients import derive_gradients
from purdist.graphs.looking import (
    FETCH,
    PARAMETER,
    Kind,
    Operation,
    array_dtype,
    is_feed,
    is_program,
    operations,
    parameter_name,
)
from purdist.graphs.state import Scope

# --- graphs -----------------------------------------------------------------------------


def save_inference(
    graph: Graph, outputs: Sequence[str], path: Path, scope: Scope, learning: Container[str]
) -> None:
    """Writes ``path.json`` and ``path.pdiparams``, feeds in the order of the program.

    The file tells which weights are ``learning``, so that a buffer stays one.

    ``paddle.static.save_inference_model`` does the same, save that it calls the outputs
    ``fetch_name_0``, ``fetch_name_1``, ... where they keep their names here.
    """
    feeds = [op.result(0) for op in operations(graph.program) if is_feed(op)]
    program = paddle.static.normalize_program(
        graph.program, feeds, [graph.values[name] for name in outputs]
    )
    _mark_gradients(program, learning)
    names = []
    for op in operations(program):
        if op.name() == FETCH:
            op.set_str_attr("name", outputs[_column(op)])
        elif op.name() == PARAMETER and op.result(0).persistable:
            names.append(parameter_name(op))
    # The flags: overwrite, readable, trainable.
    core.serialize_pir_program(program, f"{path}.json", True, False, True)  # noqa: FBT003
    if names:
        names.sort()  # which is how a reader knows them
        tensors = [scope.var(name).get_tensor() for name in names]
        # The flags: overwrite, as float16, to memory.
        core.save_combine_func(tensors, names, f"{path}.pdiparams", True, False, False)  # noqa: FBT003


def _mark_gradients(program: paddle.static.Program, learning: Container[str]) -> None:
    """Notes where gradients would flow if all weights learned, as Paddle's own files do.

    Whoever trains it again then knows what was computed under ``paddle.no_grad``.
    """
    weights = [op for op in operations(program) if op.name() == PARAMETER]
    for op in weights:
        op.result(0).trainable = True
    derive_gradients(Draft(program))
    for op in weights:
        op.result(0).trainable = parameter_name(op) in learning


@attrs.frozen
class _BaseCode:
    magic: str


@attrs.frozen
class _PirFile:
    """What says that a file is a PIR program."""

    base_code: _BaseCode


def read_program(path: Path) -> paddle.static.Program:
    """The program in a ``.json``.

    Raises:
        CorruptFileError: There is none.
    """
    expected = "a PIR program"
    try:
        header = cattrs.structure(json.loads(path.read_bytes()), _PirFile)
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, expected, f"no JSON: {error}") from None
    except BaseValidationError:
        raise _corrupt(path, expected, "JSON of another kind") from None
    if header.base_code.magic != "pir":
        raise _corrupt(path, expected, "JSON of another kind")
    program = paddle.static.Program()
    try:
        core.deserialize_pir_program(str(path), program)
    except Exception as error:  # whatever Paddle raises
        raise _corrupt(path, expected, str(error).strip().rpartition("\n")[2]) from error
    return program


def fetched(program: paddle.static.Program) -> list[tuple[str, paddle.Tensor]]:
    """What ``program`` puts out, in order, by the names it does so under."""
    fetches = sorted((op for op in operations(program) if op.name() == FETCH), key=_column)
    return [(op.str_attr("name"), op.operand_source(0)) for op in fetches]


def _column(fetch: Operation) -> int:
    return int(str(fetch.attrs()["col"]))


@attrs.frozen(eq=False)
class OldModel:
    """A model in the old form.

    Attributes:
        program: Its program, which takes its feeds as data, without ops to feed and fetch.
        inputs: The names of its feeds, in order.
        outputs: The names of what it puts out, in order.
        weights: What its weights are.
    """

    program: paddle.static.Program
    inputs: Sequence[str]
    outputs: Sequence[str]
    weights: Mapping[str, Kind]


def read_old_model(path: Path) -> OldModel:
    """The model in a ``.pdmodel``.

    Raises:
        CorruptFileError: There is none.
    """
    content = path.read_bytes()
    corrupt = _corrupt(path, "an old Paddle program", f"{len(content)} bytes that are not one")
    try:
        model = framework_pb2.ProgramDesc.FromString(content)
    except Exception:  # protobuf's own, which Paddle does not hand on
        raise corrupt from None
    # The versions of the ops come last: without them the end is missing.
    if not model.HasField("op_version_map"):
        raise corrupt
    return _old_model(model)


def is_from_file(program: paddle.static.Program) -> bool:
    """Whether ``program``, of either form, is what ``load_inference_model`` returned.

    What is written to a file says what it puts out, in ops of its own.
    """
    if is_program(program):
        return any(op.name() == FETCH for op in operations(program))
    return any(op.type in ("feed", "fetch") for op in program.blocks[0].ops)


def loaded_old_model(program: paddle.static.Program) -> OldModel:
    """The model of an old ``program`` that ``load_inference_model`` returned, which stays."""
    return _old_model(framework_pb2.ProgramDesc.FromString(program.desc.serialize_to_string()))


def _old_model(model: framework_pb2.ProgramDesc) -> OldModel:
    weights = {
        variable.name: _kind(variable.type.dense_tensor.tensor)
        for block in model.blocks
        for variable in block.vars
        if variable.persistable and variable.type.type == framework_pb2.VarType.DENSE_TENSOR
    }
    inputs, outputs = _take_marks(model.blocks[0])
    for block in model.blocks:
        _put_clipped_back(block)
    program = framework.Program.parse_from_string(model.SerializeToString())
    return OldModel(program, inputs, outputs, weights)


def _take_marks(block: framework_pb2.BlockDesc) -> tuple[list[str], list[str]]:
    """The names that ``block`` feeds and fetches, in order. Takes the ops that do it out."""
    names: dict[str, dict[int, str]] = {"feed": {}, "fetch": {}}
    for op in [op for op in block.ops if op.type in names]:
        column = next(attribute.i for attribute in op.attrs if attribute.name == "col")
        ends = op.outputs if op.type == "feed" else op.inputs
        names[op.type][column] = ends[0].arguments[0]
        block.ops.remove(op)
    inputs, outputs = ([by_column[k] for k in sorted(by_column)] for by_column in names.values())
    for variable in block.vars:
        variable.need_check_feed = variable.name in inputs
    return inputs, outputs


_CLIPPED = {
    "batch_norm": {"ReserveSpace": "UINT8"},
    "dropout": {"Mask": "UINT8"},
    "einsum": {"InnerCache": "FP32", "XShape": "FP32"},
    "instance_norm": {"SavedMean": "FP32", "SavedVariance": "FP32"},
    "nanmedian": {"MedianIndex": "INT64"},
    "norm": {"Norm": "FP32"},
    "rnn": {"DropoutState": "UINT8", "Reserve": "UINT8"},
    "rrelu": {"Noise": "FP32"},
}
"""Outputs that only gradients read, and that Paddle leaves out of a file, by their dtypes."""


def _put_clipped_back(block: framework_pb2.BlockDesc) -> None:
    """Gives ops their clipped outputs: the gradient of a dropout without its mask crashes."""
    for op in block.ops:
        present = {output.parameter for output in op.outputs if output.arguments}
        for parameter, dtype in _CLIPPED.get(op.type, {}).items():
            if parameter not in present:
                # What an einsum keeps it keeps for each of its operands.
                count = len(op.inputs[0].arguments) if op.type == "einsum" else 1
                stem = f"{op.outputs[0].arguments[0]}.{parameter}"
                names = [f"{stem}.{k}" if k else stem for k in range(count)]
                op.outputs.add(parameter=parameter, arguments=names)
                for name in names:
                    _declare(block, name, dtype)


def _declare(block: framework_pb2.BlockDesc, name: str, dtype: str) -> None:
    variable = block.vars.add(name=name)
    variable.type.type = framework_pb2.VarType.DENSE_TENSOR
    tensor = variable.type.dense_tensor.tensor
    tensor.data_type = framework_pb2.VarType.Type.Value(dtype)
    tensor.dims.append(-1)


# --- weights ----------------------------------------------------------------------------

_ENTRY = struct.Struct("<IQIi")
"""Version of the entry, number of its levels of detail, version of the tensor, and how long
its description is, which follows."""

_DTYPES = {
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


def read_weights(
    path: Path, kinds: Mapping[str, Kind]
) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """The weights in a ``.pdiparams``, which has them in the order of their names, unnamed.

    Paddle's own reader checks no length: it makes weights of whatever it gets.

    Args:
        path: The file, there if it should hold something.
        kinds: What it should hold.

    Raises:
        CorruptFileError: It holds anything else.
    """
    if not kinds:
        return
    with path.open("rb") as file:
        size = path.stat().st_size
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        end = 0
        for name in sorted(kinds):
            shape, dtype = kinds[name]
            expected = f"the weight {name} {list(shape)} {dtype}"
            start, kind = _described(content, end)
            if kind is None:
                raise _corrupt(path, expected, f"no tensor at byte {end} of {size}")
            if kind != kinds[name]:
                raise _corrupt(path, expected, f"{list(kind[0])} {kind[1]}")
            count = int(np.prod(shape, dtype=np.int64))
            end = start + count * array_dtype(dtype).itemsize
            if end > size:
                raise _corrupt(path, expected, f"{size - start} of its {end - start} bytes")
            yield name, np.frombuffer(content, array_dtype(dtype), count, start).reshape(shape)
        if end != size:
            raise _corrupt(path, f"{len(kinds)} weights", f"{size - end} bytes more")


def _described(content: mmap.mmap | bytes, at: int) -> tuple[int, Kind | None]:
    """Where the data of the entry at ``at`` begins, and of what it is, None for no tensor."""
    start = at + _ENTRY.size
    if start > len(content):
        return start, None
    version, levels, tensor_version, length = _ENTRY.unpack_from(content, at)
    if version or levels or tensor_version or not 0 < length <= len(content) - start:
        return start, None
    try:
        tensor = framework_pb2.VarType.TensorDesc.FromString(content[start : start + length])
        return start + length, _kind(tensor)
    except Exception:  # protobuf's own
        return start, None


def _kind(tensor: framework_pb2.VarType.TensorDesc) -> Kind:
    return tuple(tensor.dims), _DTYPES[framework_pb2.VarType.Type.Name(tensor.data_type)]


def _corrupt(path: Path, expected: str, got: str) -> CorruptFileError:
    return CorruptFileError(
        f"Expected {expected} in {str(path)!r}, got {got}.",
        "Export the model again: the file is cut off, damaged or of another model.",
    )
