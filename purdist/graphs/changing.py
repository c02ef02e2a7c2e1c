"""Changing a draft: its names, what it computes twice, what it writes over."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft, Graph, carry_attributes
from purdist.graphs.looking import (
    PARAMETER,
    STOPS,
    Operation,
    attributes,
    declared_name,
    identity,
    is_declared,
    is_list,
    is_parameter,
    is_pure,
    op_of,
    operations,
    parameter_name,
    written_parameters,
)

_SET_PARAMETER = "builtin.set_parameter"


def split_lists(draft: Draft) -> None:
    """Lets something read each list of tensors that an op of ``draft`` puts out.

    Paddle makes up a gradient for a tensor that nobody reads, as an LSTM's last state may be,
    but not for a list of them.
    """
    lists = [
        result
        for op in draft.operations()
        for result in filter(is_list, op.results())
        if result.use_empty() and op.num_results() > 1
    ]
    with draft.appending():
        for value in lists:
            paddle._pir_ops.builtin_split(value)


def write_to_copies(draft: Draft) -> None:
    """Lets what ``draft`` writes to weights land in copies of them, new at every run.

    Inference mode switches off no write but that of a normalisation.
    """
    written = written_parameters(draft.program)
    for op, following in itertools.pairwise(draft.operations()):
        if op.name() == PARAMETER and parameter_name(op) in written:
            with draft.appending():
                copied = paddle.assign(op.result(0))
            op.replace_all_uses_with([copied])
            op_of(copied).operand(0).set_source(op.result(0))
            op_of(copied).move_before(following)


def merge_twins(
    draft: Draft, some: Iterable[Operation], known: dict[tuple[object, ...], Operation]
) -> dict[str, paddle.Tensor]:
    """Erases each of ``some`` ops that computes what an earlier one has computed already.

    Args:
        draft: Whose ops they are.
        some: They, in order.
        known: What was computed earlier; grows.

    Returns:
        Id of a value that is gone -> the value that stands in for it.
    """
    replaced: dict[str, paddle.Tensor] = {}
    for op in draft.operations(some):
        if not is_pure(op):
            continue
        twin = known.setdefault(_computation(op), op)
        if twin is not op:
            for gone, stays in zip(op.results(), twin.results(), strict=True):
                if identity(gone):
                    replaced[gone.id] = stays
            op.replace_all_uses_with(twin.results())
            op.erase()
    return replaced


def _computation(op: Operation) -> tuple[object, ...]:
    """What tells ``op`` from every op that computes something else."""
    read = tuple(identity(value) for value in op.operands_source())
    stops = op.attrs().get(STOPS)
    return op.name(), read, stops, tuple(attributes(op).items())


def declare_once(graph: Graph) -> Draft:
    """A copy of ``graph`` with each feed and weight declared once, outside while and if regions.

    Two weights of one name, as ``ParamAttr`` makes them, are one, whose gradient is the sum of
    both. A layer that is called in a branch declares its weights there.
    """
    copied = graph.copy()
    if _declares_once(graph.program):
        return copied
    first: dict[str, Operation] = {}
    gone: dict[str, Operation] = {}
    both = zip(*(operations(g.program, regions=True) for g in (graph, copied)), strict=True)
    for old, op in list(both):
        if is_declared(op):
            if first.setdefault(declared_name(op), op) is not op:
                gone[op.result(0).id] = op
            elif op.name() == PARAMETER:
                carry_attributes(old.result(0), op.result(0))
    stands_in = {key: first[declared_name(op)].result(0) for key, op in gone.items()}
    for key, op in gone.items():
        op.replace_all_uses_with([stands_in[key]])
    to_front(copied, [op.result(0) for op in first.values()])
    copied.values = {name: stands_in.get(v.id, v) for name, v in copied.values.items()}
    erase(copied, list(gone.values()))
    return copied


def _declares_once(program: paddle.static.Program) -> bool:
    declared = [
        [declared_name(op) for op in operations(program, regions=inside) if is_declared(op)]
        for inside in (False, True)
    ]
    return len(set(declared[0])) == len(declared[1])


def tie_parameters(draft: Draft) -> None:
    """Makes one parameter of those that bear one name, which Paddle has be of one kind."""
    first: dict[str, Operation] = {}
    for op in draft.operations():
        if op.name() == PARAMETER and first.setdefault(parameter_name(op), op) is not op:
            op.replace_all_uses_with(first[parameter_name(op)].results())
            op.erase()


def to_front(draft: Draft, values: Sequence[paddle.Tensor]) -> None:
    """Makes ``values``, which are feeds and weights, the first that ``draft`` computes."""
    for value in reversed(values):
        first = draft.program.global_block().front()
        if first.id() != op_of(value).id():
            op_of(value).move_before(first)


def rename_parameters(
    draft: Draft, rename: Callable[[str], str], some: Iterable[Operation] | None = None
) -> None:
    """Gives the weights that ``draft``, or ``some`` of its ops, declare, or set, other names."""
    for op in draft.operations(some):
        if op.name() in (PARAMETER, _SET_PARAMETER):
            op.set_str_attr("parameter_name", rename(parameter_name(op)))


def name_parameter(draft: Draft, value: paddle.Tensor, name: str) -> None:
    """Gives a weight of ``draft`` another name in a scope."""
    for op in draft.operations([op_of(value)]):
        op.set_str_attr("parameter_name", name)


def set_layer(draft: Draft, some: Iterable[Operation], path: str) -> None:
    """Notes on ``some`` ops of ``draft`` the path of the layer that made them."""
    for op in draft.operations(some):
        op.set_str_attr("struct_name", path)


def erase(draft: Draft, some: Sequence[Operation]) -> None:
    """Takes ``some`` ops out of ``draft``, the last first.

    A program that holds operands of another crashes when the two are collected.
    """
    for op in reversed(draft.operations(some)):
        op.erase()


def let_go_of_others(draft: Draft) -> None:
    """Has ops of ``draft`` that read values of other programs read one of its own.

    Another program may be dropped, which crashes where an op reads of it still. What these ops
    compute stays, to be looked at: somebody may have kept it.
    """
    own: set[str] = set()
    ops = list(operations(draft.program, regions=True))
    for op in ops:
        own.update(v.id for v in op.results() if identity(v))
        for block in op.blocks() if op.num_regions() else ():
            own.update(v.id for v in block.args())
    if not ops:
        return
    with draft.appending():
        pir.set_insertion_point(ops[0])  # ops go from the last to the first
        stand_in = paddle.zeros([])
    for op in ops:
        for operand in op.operands():
            source = operand.source()
            if identity(source) and source.id not in own:
                operand.set_source(stand_in)


def read_through_assignments(draft: Draft) -> None:
    """Lets what reads an overwritten variable read what it was overwritten with.

    Old programs loop, and assign, by writing over a variable (``assign_out_``). No gradient
    flows through that, and it destroys what the backward pass reads. Writes to weights, which
    outlive the run, stay as they are.
    """
    state: set[str] = set()
    read: dict[str, paddle.Tensor] = {}
    done = []
    for op in operations(draft.program, regions=True):
        if op.name() != "pd_op.assign_out_":
            continue
        source, target = op.operands_source()
        if is_parameter(target) or target.id in state:
            state.add(op.result(0).id)
            continue
        read[op.result(0).id] = source
        op.replace_all_uses_with([source])
        done.append(op)
    draft.values = {name: read.get(value.id, value) for name, value in draft.values.items()}
    erase(draft, done)
