"""The files that Paddle writes models to."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import attrs
import paddle
from paddle.base import core, framework
from paddle.base.proto import framework_pb2

from purdist.errors import CorruptFileError, MissingFileError, PurdistError, WriteError, last_line
from purdist.graphs.drafts import Draft, Graph
from purdist.graphs.dtypes import Kind, dtype_name
from purdist.graphs.learning.gradients import derive_gradients
from purdist.graphs.looking import (
    FETCH,
    PARAMETER,
    Operation,
    is_feed,
    is_program,
    operations,
    parameter_name,
)
from purdist.graphs.running.old_structure import check_old_graph
from purdist.graphs.running.opening import OpenFile, corrupt
from purdist.graphs.running.signatures import check_complete
from purdist.graphs.running.structure import check_graph
from purdist.graphs.running.weights import check_weights, kind_in
from purdist.graphs.state import Scope
from purdist.storing import scratch, write_new


def save_inference(
    graph: Graph, outputs: Sequence[str], path: Path, scope: Scope, learning: Container[str]
) -> None:
    """Writes ``path.json`` and ``path.pdiparams``, feeds in the order of the program.

    The file tells which weights are ``learning``, so that a buffer stays one.

    ``paddle.static.save_inference_model`` does the same, save that it calls the outputs
    ``fetch_name_0``, ``fetch_name_1``, ... where they keep their names here. On a full disk Paddle
    writes a part and says nothing: what was written is looked at.

    Raises:
        WriteError: It did not get there whole.
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
        elif _is_weight(op):
            names.append(parameter_name(op))
    write_program(program, Path(f"{path}.json"))
    if names:
        names.sort()  # which is how a reader knows them
        tensors = [scope.var(name).get_tensor() for name in names]
        # The flags: overwrite, as float16, to memory.
        weights = Path(f"{path}.pdiparams")
        core.save_combine_func(tensors, names, _for_paddle(weights), True, False, False)  # noqa: FBT003
        try:
            with OpenFile.of(weights) as file:
                check_weights(file, _kinds(program))
        except (CorruptFileError, MissingFileError) as error:
            raise _short(weights) from error


def write_program(program: paddle.static.Program, path: Path) -> None:
    """Writes a ``.json``.

    Raises:
        WriteError: It did not get there whole.
    """
    # The flags: overwrite, readable, trainable.
    core.serialize_pir_program(program, _for_paddle(path), True, False, True)  # noqa: FBT003
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _short(path) from error


def _for_paddle(path: Path) -> str:
    """A path as Paddle takes it.

    Raises:
        WriteError: It takes none such.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise WriteError(
            f"Expected a path in UTF-8, which is all that Paddle takes, got {str(path)!r}.",
            "Choose another path.",
        ) from None
    return str(path)


def _kinds(program: paddle.static.Program) -> dict[str, Kind]:
    """What the weights of ``program`` are, as a file has them."""
    weights = {parameter_name(op): op.result(0) for op in operations(program) if _is_weight(op)}
    return {name: (tuple(v.shape), dtype_name(v.dtype)) for name, v in weights.items()}


def _is_weight(op: Operation) -> bool:
    """Whether a file has what ``op`` stands for."""
    return op.name() == PARAMETER and op.result(0).persistable


def _short(path: Path) -> WriteError:
    """The error for a file that Paddle wrote in part, and said nothing."""
    size = path.stat().st_size if path.exists() else 0
    return WriteError(
        f"Expected to write {path.name!r}, got no more than {size} bytes of it.",
        "Make room there, or raise the limit to the size of files (ulimit -f). What was there "
        "stays.",
    )


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


def read_program(
    content: bytes, path: Path, allow_ops: Container[str] = ()
) -> paddle.static.Program:
    """The program that a ``.json`` holds, which was found at ``path``.

    Raises:
        CorruptFileError: There is none.
        UnsafeModelError: It has ops that do more than compute, and are not in ``allow_ops``.
    """
    try:
        flat = check_graph(content, allow_ops)
    except PurdistError:
        raise
    except ValueError as error:  # escaped and cut short
        raise corrupt(path, "a PIR program", str(error)) from None
    try:
        if flat:
            _parsed(flat)
        return _parsed(content)  # what was looked at, whatever became of the file
    except PurdistError:
        raise
    except Exception as error:  # whatever Paddle raises
        said = last_line(error)
        raise corrupt(path, "a PIR program", said) from error


def read_own_program(path: Path) -> paddle.static.Program:
    """The program in a ``.json`` that we wrote ourselves."""
    program = paddle.static.Program()
    core.deserialize_pir_program(_for_paddle(path), program)
    return program


def _parsed(content: bytes) -> paddle.static.Program:
    """What Paddle makes of it, which reads files alone."""
    with scratch() as folder:
        path = folder / "graph.json"
        write_new(path, content)
        program = read_own_program(path)
    for op in operations(program, regions=True):
        check_complete(op)
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


def read_old_model(content: bytes, path: Path, allow_ops: Container[str] = ()) -> OldModel:
    """The model that a ``.pdmodel`` holds, which was found at ``path``.

    Raises:
        CorruptFileError: There is none.
        UnsafeModelError: It has ops that do more than compute, and are not in ``allow_ops``.
    """
    none = corrupt(path, "an old Paddle program", f"{len(content)} bytes that are not one")
    try:
        model = framework_pb2.ProgramDesc.FromString(content)
    except Exception:  # protobuf's own, which Paddle does not hand on
        raise none from None
    # The versions of the ops come last: without them the end is missing.
    if not model.HasField("op_version_map"):
        raise none
    try:
        check_old_graph(model, allow_ops)
        return _old_model(model)
    except PurdistError:
        raise
    except Exception as error:  # whatever Paddle raises
        said = last_line(error)
        raise corrupt(path, "an old Paddle program", said) from error


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
        variable.name: kind_in(variable.type.dense_tensor.tensor)
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
