"""Where gradients flow: from what learns, save where the owner of a network stops them.

What the owner says is noted on the ops and copied with them. All other flags follow from that
and from which weights are `trainable`, and are derived anew whenever either changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import (
    IF,
    PARAMETER,
    STOPS,
    WHILE,
    Operation,
    is_declared,
    is_tensor,
    layer_of,
    op_of,
    operations,
    parameter_name,
    yielded,
)

_WRITE = "pd_op.array_write_"

_NUMBERS = frozenset(("float16", "bfloat16", "float32", "float64", "complex64", "complex128"))
"""Names, because `paddle.float32` is another object where the process began in the old form."""

_DIFFERENTIABLE: dict[str, bool] = {}
"""The name of an op -> whether Paddle has a gradient of it, as far as it was asked."""


def record_stops(draft: Draft, some: Iterable[Operation] | None = None) -> None:
    """Notes on its ops, or ``some``, in regions too, which results stop what flows into them.

    That is what ``detach``, ``stop_gradient = True`` and ``no_grad`` leave behind.
    """
    _record(draft.operations(some))


def _record(ops: Iterable[Operation]) -> None:
    for op in ops:
        for block in op.blocks() if op.num_regions() else ():
            _record(block.ops)
        stopped = [
            k
            for k, result in enumerate(op.results())
            if result.initialized() and result.stop_gradient and not _array(result)
        ]
        if not stopped:
            continue
        flows = _flows(op, _marking(op))
        stops = [str(k) for k in stopped if flows[k]]
        if stops:
            op.set_str_attr(STOPS, " ".join(stops))


def _marking(op: Operation) -> list[list[paddle.Tensor]] | None:
    """By what Paddle marks what comes out of regions, None for any other op.

    That is what a loop starts from, and what the first branch of an if yields.
    """
    if op.name() == WHILE:
        return [[value] for value in op.operands_source()[1:]]
    if op.name() == IF:
        return [[value] for value in yielded(next(iter(op.blocks())))]
    return None


def _learns(op: Operation) -> bool:
    value = op.result(0)
    return op.name() == PARAMETER and value.trainable and _takes_gradient(value)


def derive_gradients(draft: Draft, *, begins: Callable[[Operation], bool] = _learns) -> None:
    """Lets gradients flow wherever something trainable lies upstream, and nowhere else.

    ``begins`` says of an op that declares a feed or a weight whether they flow from there.
    """
    arrays: set[str] = set()
    known = -1
    while known != len(arrays):  # a loop reads what it has written in the round before
        known = len(arrays)
        for op in filter(is_declared, operations(draft.program, regions=True)):
            _set(op.result(0), flows=begins(op))
        _derive(draft.program.global_block(), arrays)


def _derive(block: pir.Block, arrays: set[str]) -> None:
    """Marks what ``block`` computes. ``arrays`` are those in which something flows; it grows."""
    for op in block.ops:
        if is_declared(op):
            continue
        _derive_regions(op, arrays)
        flows = _flows(op)
        recorded = str(op.attrs()[STOPS]).split() if op.has_attr(STOPS) else ()
        for k, result in enumerate(op.results()):
            if result.initialized():
                learns = flows[k] and str(k) not in recorded
                _set(result, flows=learns or result.id in arrays)
        if op.name() == _WRITE and _any_flows(op.operands_source()):
            arrays.add(op.operand_source(0).id)


def _derive_regions(op: Operation, arrays: set[str]) -> None:
    if op.name() == WHILE:
        _derive_loop(op, arrays)
    elif op.num_regions():
        for inner in op.blocks():
            _derive(inner, arrays)


def _derive_loop(op: Operation, arrays: set[str]) -> None:
    """What a variable of a loop becomes in one round, it is in the next."""
    (body,) = op.blocks()
    starts = op.operands_source()[1:]  # the first is its condition
    for argument, start in zip(body.args(), starts, strict=True):
        _set(argument, flows=not start.stop_gradient)
    found = True
    while found:
        _derive(body, arrays)
        found = False
        for argument, value in zip(body.args(), yielded(body)[1:], strict=True):
            if argument.stop_gradient and not value.stop_gradient:
                argument.stop_gradient = False
                found = True
    for argument, start in zip(body.args(), starts, strict=True):
        # Paddle takes a loop apart by what it starts from, which is nobody else's here.
        _set(start, flows=not argument.stop_gradient)


def _flows(op: Operation, ends: list[list[paddle.Tensor]] | None = None) -> list[bool]:
    """Whether each result of ``op`` is one that a gradient goes through to what it reads.

    ``ends`` are the values behind each result of an op with regions, by default what they yield.
    """
    if op.num_regions():
        if ends is None:
            first = 1 if op.name() == WHILE else 0  # a loop yields whether to go on
            yields = [yielded(block)[first:] for block in op.blocks()]
            ends = [list(values) for values in zip(*yields, strict=True)]
        return [_any_flows(values) for values in ends]
    if not _any_flows(op.operands_source()) or not _has_gradient(op):
        return [False] * op.num_results()
    return [_takes_gradient(result) for result in op.results()]


def _has_gradient(op: Operation) -> bool:
    name = op.name()
    if name not in _DIFFERENTIABLE:
        _DIFFERENTIABLE[name] = name.startswith("builtin.") or core.has_vjp(op)
    return _DIFFERENTIABLE[name]


def _any_flows(values: Iterable[paddle.Tensor]) -> bool:
    return any(v.initialized() and not v.stop_gradient for v in values)


def _array(value: paddle.Tensor) -> bool:
    """Whether ``value`` is an array of tensors, which ops write to, whatever its mark."""
    return bool(value.is_dense_tensor_array_type())


def _takes_gradient(value: paddle.Tensor) -> bool:
    """Whether ``value`` is made of real or complex numbers. A list is of whatever it lists."""
    return not is_tensor(value) or dtype_name(value.dtype) in _NUMBERS


def _set(value: paddle.Tensor, *, flows: bool) -> None:
    if value.stop_gradient == flows:
        value.stop_gradient = not flows


def inferring_recurrences(program: paddle.static.Program) -> list[Operation]:
    """The LSTM, GRU and RNN ops that infer, and that a gradient has to go through."""
    return [
        op
        for op in operations(program, regions=True)
        if op.name() == "pd_op.rnn" and op.attrs()["is_test"] and not op.result(0).stop_gradient
    ]


def keep_for_gradients(draft: Draft) -> None:
    """Has recurrences that infer keep what their gradients read, as they do when they train.

    Without dropout that is the one difference.
    """
    for op in inferring_recurrences(draft.program):
        op.set_bool_attr("is_test", False)  # noqa: FBT003 - Paddle takes it by position


def dropping_recurrences(program: paddle.static.Program) -> Iterator[tuple[str, float]]:
    """The layers of those with dropout, and its rate: they would drop as they train."""
    for op in inferring_recurrences(program):
        rate = float(str(op.attrs()["dropout_prob"]))
        if rate:
            yield layer_of(op), rate


def sparse_tables(program: paddle.static.Program) -> list[str]:
    """The tables that learn, and whose gradients were meant to be sparse, for each look-up."""
    return [
        parameter_name(op_of(op.operand_source(1)))
        for op in operations(program, regions=True)
        if op.name().startswith("pd_op.embedding")
        and op.attrs().get("sparse")
        and not op.result(0).stop_gradient
        and not op.operand_source(1).stop_gradient
    ]
