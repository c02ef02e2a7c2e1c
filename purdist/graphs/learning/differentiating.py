"""Ops whose gradient is right only as a whole.

The kernels of these gradients want a place for each result, and where an operand takes no
gradient (a feed, what comes out of frozen layers, a frozen weight) they crash, raise, leave out
the gradient of another operand, or compute it wrongly without a word: that of layer norm to its
input without the scale, in Paddle's dynamic mode too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import Operation, identity, is_tensor, layer_of, operations, short_name

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})

WHOLE: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "pd_op.batch_norm": (0, 3, 4),
        "pd_op.batch_norm_": (0, 3, 4),
        "pd_op.cholesky_solve": (0, 1),
        "pd_op.cross": (0, 1),
        "pd_op.deformable_conv": (0, 1, 2, 3),
        "pd_op.grid_sample": (0, 1),
        "pd_op.hsigmoid_loss": (0, 2, 3),
        "pd_op.instance_norm": (0, 1, 2),
        "pd_op.layer_norm": (0, 1, 2),
        "pd_op.prelu": (0, 1),
        "pd_op.send_ue_recv": (0, 1),
        "pd_op.send_uv": (0, 1),
        "pd_op.solve": (0, 1),
        "pd_op.triangular_solve": (0, 1),
    }
)
"""Op -> the operands that must all take a gradient if one does."""

_SCALE_AND_SHIFT: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"pd_op.batch_norm": (3, 4), "pd_op.batch_norm_": (3, 4), "pd_op.instance_norm": (1, 2)}
)
"""Where either learns only if the other is there. Layer norm and group norm do without."""


def make_gradients_whole(draft: Draft) -> None:
    """Lets all operands of the ops in `WHOLE` take gradients, that go no further.

    Args:
        draft: A forward graph that is to be differentiated.
    """
    for op in list(operations(draft.program, regions=True)):
        _give_both(draft, op)
        given = dict(_floats(op))
        if not all(value.stop_gradient for value in given.values()):
            for position, value in given.items():
                if value.stop_gradient:
                    op.operand(position).set_source(_that_takes_gradient(draft, op, value))


def _give_both(draft: Draft, op: Operation) -> None:
    """Gives a normalisation that has a scale or a shift alone the other: 0 or 1 changes nothing."""
    if op.name() not in _SCALE_AND_SHIFT:
        return
    scale, shift = _SCALE_AND_SHIFT[op.name()]
    for absent, there, neutral in ((scale, shift, 1.0), (shift, scale, 0.0)):
        like = op.operand_source(there)
        if identity(like) and not identity(op.operand_source(absent)):
            with draft.appending():
                pir.set_insertion_point(op)
                op.operand(absent).set_source(paddle.full_like(like, neutral))


def _floats(op: Operation) -> Iterator[tuple[int, paddle.Tensor]]:
    operands = op.operands_source()
    for position in WHOLE.get(op.name(), ()):
        value = operands[position]
        if is_tensor(value) and dtype_name(value.dtype) in FLOATS:
            yield position, value


def _that_takes_gradient(draft: Draft, op: Operation, value: paddle.Tensor) -> paddle.Tensor:
    """A copy of ``value``, made right before ``op``."""
    with draft.appending():
        pir.set_insertion_point(op)
        copied = paddle.assign(value)
    copied.stop_gradient = False
    return copied


def lost_gradients(program: paddle.static.Program) -> Iterator[str]:
    """The layers whose ``masked_fill`` would lose the gradient to what it fills with."""
    for op in operations(program, regions=True):
        if short_name(op) == "masked_fill":
            value, _, filling = op.operands_source()
            if not value.stop_gradient and not filling.stop_gradient:
                yield layer_of(op)
