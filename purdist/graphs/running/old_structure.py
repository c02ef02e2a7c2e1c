"""The graph in a ``.pdmodel``, looked at before Paddle reads it.

Paddle's own reader follows what a file says wherever it leads: to a block that is not there, to a
variable that nobody declared.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping

import attrs
from paddle.base import core
from paddle.base.proto import framework_pb2

from purdist.errors import PurdistError, escaped, together
from purdist.graphs.running.computing import allows, computes, unsafe
from purdist.graphs.running.opening import LARGEST_RANK
from purdist.graphs.running.structure import DEEPEST, check_name
from purdist.graphs.running.weights import DTYPES

_AttrType = framework_pb2.AttrType
_VarType = framework_pb2.VarType

_INSIDE = ("while", "conditional_block", "conditional_block_infer")
"""The ops that have blocks, each one."""

_VALUES = {
    "BOOLEAN": "b",
    "INT": "i",
    "FLOAT": "f",
    "STRING": "s",
    "LONG": "l",
    "FLOAT64": "float64",
    "BLOCK": "block_idx",
    "SCALAR": "scalar",
    "VAR": "var_name",
}
"""The field that holds an attribute, of those that hold one thing."""


def check_old_graph(model: framework_pb2.ProgramDesc, allow_ops: Container[str]) -> None:
    """Refuses what hangs not together, or has ops that do more than compute.

    Raises:
        ValueError: It does not, for what its text says.
        UnsafeModelError: It has ops besides those that compute and ``allow_ops``.
    """
    _check_depth(model)
    _check_known(model)
    faults: list[PurdistError] = []
    known: list[frozenset[str]] = []
    for index, block in enumerate(model.blocks):
        known.append(_names(block) | (known[block.parent_idx] if index else frozenset()))
    owned: set[int] = set()
    for index, block in enumerate(model.blocks):
        for k, op in enumerate(block.ops):
            where = f"op {k} of block {index}"
            faults += _unsafe(op, where, allow_ops)
            _check_op(op, where, known[index])
            _check_inside(op, where, model, index, owned)
    if faults:
        raise together(faults)


def _check_depth(model: framework_pb2.ProgramDesc) -> None:
    """Refuses blocks that lie not in those before them, or too deep: first, as the rest recurs."""
    if not model.blocks:
        raise ValueError("a graph without blocks")
    depths: list[int] = []
    for index, block in enumerate(model.blocks):
        if block.idx != index:
            raise ValueError(f"block {block.idx} where block {index} should be")
        if not (0 <= block.parent_idx < index or block.parent_idx == -1 == index - 1):
            raise ValueError(f"block {index} inside block {block.parent_idx}")
        depths.append(depths[block.parent_idx] + 1 if index else 0)
        if depths[index] > DEEPEST:
            raise ValueError("blocks that are nested too deep")


def _check_known(model: framework_pb2.ProgramDesc) -> None:
    """Refuses fields that are none of a model's: one that was renamed is missing elsewhere."""
    known = framework_pb2.ProgramDesc()
    known.CopyFrom(model)
    known.DiscardUnknownFields()
    if known.ByteSize() != model.ByteSize():
        raise ValueError("fields that no model has")


def _check_inside(
    op: framework_pb2.OpDesc,
    where: str,
    model: framework_pb2.ProgramDesc,
    index: int,
    owned: set[int],
) -> None:
    """Refuses an op of block ``index`` with blocks that are not there, or another's."""
    inside = list(_blocks_of(op))
    if bool(inside) != (op.type in _INSIDE) or len(inside) > 1:
        raise ValueError(f"{escaped(op.type)} with {len(inside)} blocks ({where})")
    for other in inside:
        there = index < other < len(model.blocks) and other not in owned
        if not there or model.blocks[other].parent_idx != index:
            raise ValueError(f"{escaped(op.type)} with block {other} ({where})")
        owned.add(other)


def _names(block: framework_pb2.BlockDesc) -> frozenset[str]:
    for variable in block.vars:
        check_name(variable.name, "the name of a variable")
        _check_type(variable)
    names = frozenset(variable.name for variable in block.vars)
    if len(names) != len(block.vars):
        raise ValueError("a block with two variables of one name")
    return names


_TENSORS = {_VarType.DENSE_TENSOR: "dense_tensor", _VarType.DENSE_TENSOR_ARRAY: "tensor_array"}


_DTYPES = frozenset(
    _VarType.Type.Value(name)
    for name in (*DTYPES, "UINT16", "UINT32", "UINT64", "FP8_E4M3FN", "FP8_E5M2")
)
"""Of tensors: others of these numbers are kinds of variables, at which Paddle ends the process."""

_OF_DTYPES = ("dtype", "in_dtype", "out_dtype")
"""Attributes that say one, as a number, -1 where the op chooses."""


def _check_type(variable: framework_pb2.VarDesc) -> None:
    kind = variable.type
    if len(kind.dense_tensor.tensor.dims) > LARGEST_RANK:
        raise ValueError(f"a tensor of more than {LARGEST_RANK} axes: {escaped(variable.name)}")
    field = _TENSORS.get(kind.type)
    if field is not None:
        if not kind.HasField(field):
            raise ValueError(f"a tensor without a description: {escaped(variable.name)}")
        dtype = getattr(kind, field).tensor.data_type
        if dtype not in _DTYPES:
            raise ValueError(f"a tensor of a dtype that is none: {escaped(variable.name)}")
    if (
        variable.persistable
        and kind.type == _VarType.DENSE_TENSOR
        and min(kind.dense_tensor.tensor.dims, default=0) < 0
    ):
        raise ValueError(f"a parameter of unknown size: {escaped(variable.name)}")


def _unsafe(
    op: framework_pb2.OpDesc, where: str, allow_ops: Container[str]
) -> Iterator[PurdistError]:
    if allows(allow_ops, op.type):
        return
    if not computes(op.type):
        yield unsafe(op.type, where)
    elif op.type not in _protos():
        raise ValueError(f"{escaped(op.type)}, which is no op of this Paddle ({where})")


def _check_op(op: framework_pb2.OpDesc, where: str, known: Collection[str]) -> None:
    for given in (*op.inputs, *op.outputs):
        for name in given.arguments:
            if name not in known and name != "@EMPTY@":
                raise ValueError(f"a variable that nobody declared: {escaped(name)} ({where})")
    proto = _protos().get(op.type, _Proto())
    _check_slots(op.inputs, proto.inputs, op.type, where)
    _check_slots(op.outputs, proto.outputs, op.type, where)
    for attribute in op.attrs:
        kind = proto.attributes.get(attribute.name, attribute.type)
        if attribute.type != kind and _AttrType.Name(attribute.type) not in ("VAR", "VARS"):
            raise ValueError(f"{escaped(attribute.name)} of another type ({where})")
        field = _VALUES.get(_AttrType.Name(attribute.type))
        if field is not None and not attribute.HasField(field):
            raise ValueError(f"{escaped(attribute.name)} without a value ({where})")
        if field == "i" and attribute.name in _OF_DTYPES and attribute.i not in {-1, *_DTYPES}:
            raise ValueError(f"{escaped(attribute.name)} that is none ({where})")


def _check_slots(
    given: Iterable[framework_pb2.OpDesc.Var], slots: Mapping[str, _Slot], op: str, where: str
) -> None:
    """Refuses an op with other variables than it has slots for."""
    found = [slot.parameter for slot in given]
    if len(set(found)) != len(found):
        raise ValueError(f"{escaped(op)} with a slot that is there twice ({where})")
    arguments = {slot.parameter: slot.arguments for slot in given}
    for name, slot in slots.items():
        names = arguments.get(name, ())
        if slot.needed and (not names or "@EMPTY@" in names):
            raise ValueError(f"{escaped(op)} without its {name} ({where})")
        if len(names) > 1 and not slot.several:
            raise ValueError(f"{escaped(op)} with {len(names)} variables for {name} ({where})")


def _blocks_of(op: framework_pb2.OpDesc) -> Iterator[int]:
    for attribute in op.attrs:
        if attribute.type == _AttrType.BLOCK:
            yield attribute.block_idx
        elif attribute.type == _AttrType.BLOCKS:
            yield from attribute.blocks_idx


@attrs.frozen
class _Slot:
    """What an op takes or gives under a name: whether it must be there, and may be several."""

    needed: bool
    several: bool


@attrs.frozen
class _Proto:
    """What Paddle says of an old op, which is nothing of a gradient."""

    inputs: Mapping[str, _Slot] = attrs.field(factory=dict)
    outputs: Mapping[str, _Slot] = attrs.field(factory=dict)
    attributes: Mapping[str, int] = attrs.field(factory=dict)


_NEEDED = {("assign", "X")}
"""What an op needs, though Paddle says that it may be left out."""

_MAY_BE_EMPTY = {
    (op, slot) for op in _INSIDE for slot in ("X", "Input", "Out", "StepScopes", "Scope")
}
"""What a block may have none of, though Paddle says that it is needed."""


@functools.cache
def _protos() -> Mapping[str, _Proto]:
    """What Paddle says of its old ops, by their names."""
    known = {name: _Proto() for name in core.get_all_op_names()}
    for content in core.get_all_op_protos():
        proto = framework_pb2.OpProto.FromString(content)
        known[proto.type] = _Proto(
            {slot.name: _slot(proto.type, slot) for slot in proto.inputs},
            {slot.name: _slot(proto.type, slot) for slot in proto.outputs},
            {attribute.name: attribute.type for attribute in proto.attrs},
        )
    return known


def _slot(op: str, slot: framework_pb2.OpProto.Var) -> _Slot:
    # What only gradients read (extra, intermediate) is left out of a file.
    needed = not (slot.dispensable or slot.extra or slot.intermediate)
    exempt = (op, slot.name) in _MAY_BE_EMPTY
    return _Slot((needed or (op, slot.name) in _NEEDED) and not exempt, slot.duplicable)
