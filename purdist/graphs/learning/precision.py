"""Ops in bfloat16 and float16 that Paddle has no kernel of its own for.

On the CPU Paddle then takes oneDNN's, whose product ends the process where one operand takes no
gradient, whose convolution computes garbage and whose PReLU raises; or it has none at all. Such
an op computes in float32, and what it computes is rounded: as exact as the number type lets it.
"""

from __future__ import annotations

from functools import cache

import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import Operation, is_tensor, op_of, operations, overwritten, short_name

_LOW = {"bfloat16": "::phi::dtype::bfloat16", "float16": "::phi::dtype::float16"}
"""How the registry of kernels calls them."""

_CPU = "place[Place(cpu)]"

_ELEMENTWISE = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "maximum": "max",
    "minimum": "min",
    "remainder": "mod",
    "floor_divide": "floordiv",
}
_REDUCING = ("sum", "mean", "max", "min", "prod", "all", "any")

_REGISTERED = {
    **{op: f"elementwise_{name}" for op, name in _ELEMENTWISE.items()},
    **{op: f"reduce_{op}" for op in _REDUCING},
    **{op: f"{op}2" for op in ("reshape", "transpose", "squeeze", "unsqueeze")},
}
"""Op -> how the registry calls its kernel, where otherwise. What it does not know has none."""


def in_float32_where_needed(draft: Draft) -> None:
    """Lets ops that have no kernel for a low precision compute in float32, and round.

    Args:
        draft: A graph that is to run on the CPU. Its names go where the results are then.
    """
    names = [(name, value.id, value) for name, value in draft.values.items()]
    rounded: dict[str, paddle.Tensor] = {}
    with draft.appending():
        for op in list(operations(draft.program, regions=True)):
            if _lacks_kernels(op):
                rounded |= _widened(op)
    draft.values = {name: rounded.get(key, value) for name, key, value in names}


def computes_low(program: paddle.static.Program) -> bool:
    """Whether an op of ``program`` computes in bfloat16 or float16."""
    return any(_low(v) for op in operations(program, regions=True) for v in op.results())


def _lacks_kernels(op: Operation) -> bool:
    """Whether Paddle has no kernel of its own for ``op``, or for its gradient."""
    low = [dtype_name(value.dtype) for value in op.operands_source() if _low(value)]
    if not low or not op.name().startswith("pd_op.") or any(map(_low, overwritten(op))):
        return False
    name = _REGISTERED.get(short_name(op), short_name(op))
    known = _precisions()
    # Of an op that has one, a gradient that the registry does not know is made of other ops.
    return low[0] not in known.get(name, ()) or low[0] not in known.get(f"{name}_grad", _LOW)


def _low(value: paddle.Tensor) -> bool:
    return is_tensor(value) and dtype_name(value.dtype) in _LOW


@cache
def _precisions() -> dict[str, set[str]]:
    """The name of each kernel on the CPU -> the low precisions that Paddle's own is there for."""
    registered = core._get_all_register_op_kernels("phi")
    return {
        kernel: {
            name
            for name, theirs in _LOW.items()
            if any(f"[{theirs}]" in text and _CPU in text and "[PLAIN]" in text for text in texts)
        }
        for kernel, texts in registered.items()
        if any(_CPU in text for text in texts)
    }


def _widened(op: Operation) -> dict[str, paddle.Tensor]:
    """Puts casts before and behind ``op``. Id of a result -> what stands in for it."""
    pir.set_insertion_point(op)
    for operand in op.operands():
        if _low(operand.source()):
            operand.set_source(paddle.cast(operand.source(), "float32"))
    pir.set_insertion_point_after(op)
    rounded = {}
    for result in op.results():
        if _low(result):
            low, key = dtype_name(result.dtype), result.id
            pattern = paddle.cast(result, "float32")
            result.set_type(pattern.type())
            op_of(pattern).erase()
            rounded[key] = paddle.cast(result, low)
            result.replace_all_uses_with(rounded[key])
            op_of(rounded[key]).operand(0).set_source(result)
    return rounded
