"""What a step keeps in its scope beside weights, and how it writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import (
    Operation,
    identity,
    is_declared,
    is_pure,
    op_id,
    overwritten,
    read_ids,
    reads,
    value_id,
    value_ids,
)
from purdist.graphs.making import CLONE

_PIECE = 300
"""How many ops one if holds, or a few more."""


def kept_in_scope(
    name: str, shape: Sequence[int], dtype: paddle.dtype | str, value: float = 0.0
) -> paddle.Tensor:
    """Numbers that the scope keeps under ``name``, ``value`` at first, and no optimizer touches."""
    kept = paddle.create_parameter(
        list(shape),
        dtype,
        attr=paddle.ParamAttr(name, trainable=False),
        default_initializer=paddle.nn.initializer.Constant(value),
    )
    kept.stop_gradient = True
    return kept


def add_to(kept: paddle.Tensor, value: paddle.Tensor) -> paddle.Tensor:
    """``kept``, to which ``value`` was added where it lies."""
    return paddle._C_ops.add_(kept, in_dtype(value, dtype_name(kept.dtype)))


def in_dtype(value: paddle.Tensor, dtype: str) -> paddle.Tensor:
    """``value`` in a dtype: itself where that is its own, which a cast would copy."""
    return value if dtype_name(value.dtype) == dtype else value.astype(dtype)


def mean_of(total: paddle.Tensor, count: int) -> paddle.Tensor:
    """``total`` divided by ``count``, which as a Python number would be rounded to float32."""
    return total / paddle.full([], float(count), total.dtype)


def move_towards(kept: paddle.Tensor, value: paddle.Tensor, rate: float) -> None:
    """Makes of ``kept``, where it lies, ``rate`` of it and the rest of ``value``."""
    value = in_dtype(value, dtype_name(kept.dtype))
    if rate == 0:
        set_to(kept, value)
    else:
        # A Python number would be rounded to float32.
        paddle._C_ops.lerp_(kept, value, paddle.full([], 1.0 - rate, kept.dtype))


def set_to(kept: paddle.Tensor, value: paddle.Tensor) -> None:
    """Writes ``value`` to where ``kept`` lies."""
    paddle._C_ops.assign_out_(value, kept)


def clear(kept: paddle.Tensor) -> None:
    """Writes zeros to where ``kept`` lies, whatever is there."""
    paddle._C_ops.full_(kept, list(kept.shape), 0.0, kept.dtype, paddle.CPUPlace())


def added_by(body: Callable[[], object]) -> list[Operation]:
    """The ops that ``body`` adds to the default program, in its order."""
    block = paddle.static.default_main_program().global_block()
    newest = max(map(op_id, block.ops))
    body()
    return [op for op in block.ops if op_id(op) > newest]


def where_true(condition: paddle.Tensor, body: Callable[[], None]) -> None:
    """Adds the ops of ``body``, which write where ``condition`` holds, and nothing elsewhere.

    What only computes stays outside, and what writes is in several ifs where it is long: Paddle
    makes ready what is in one in a time that grows with the square of its ops.
    """
    writing = _writing(op for op in added_by(body) if not is_declared(op))
    for ops in _pieces(writing):
        paddle.static.nn.cond(condition, partial(_clone, ops), None)
    for op in reversed(writing):
        op.erase()


def _writing(ops: Iterable[Operation]) -> list[Operation]:
    """Those of ``ops`` that write somewhere, and those that read what these have written."""
    found: list[Operation] = []
    written: set[str] = set()
    for op in ops:
        if not is_pure(op) or not written.isdisjoint(read_ids([op])):
            found.append(op)
            written |= value_ids([op])
            written.update(value_id(v) for v in overwritten(op))
    return found


def _pieces(ops: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """``ops`` in order, in pieces that hand nothing to one another."""
    last = {key: k for k, op in enumerate(ops) for key in read_ids([op])}
    begin = until = 0
    for k, op in enumerate(ops):
        until = max([until, *(last.get(key, k) for key in value_ids([op]))])
        if (k >= until and k + 1 - begin >= _PIECE) or k + 1 == len(ops):
            yield ops[begin : k + 1]
            begin = k + 1


def _clone(ops: Sequence[Operation]) -> None:
    """Copies ``ops`` to where ops are being added."""
    made, mapping = value_ids(ops), pir.IrMapping()
    for op in ops:
        for value in reads(op):
            if identity(value) and value_id(value) not in made and not mapping.has(value):
                mapping.add(value, value)
        op.clone(mapping, CLONE)


def wide(dtype: paddle.dtype | str) -> str:
    """The dtype in which small changes of numbers of that one add up."""
    name = dtype if isinstance(dtype, str) else dtype_name(dtype)
    return "float32" if name in ("float16", "bfloat16") else name


def widened(value: paddle.Tensor) -> paddle.Tensor:
    """``value`` in that dtype: half of Paddle's ops take no other on the CPU."""
    return in_dtype(value, wide(value.dtype))
