"""What a step keeps in its scope beside weights, and how it writes to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle

from purdist.graphs.dtypes import dtype_name


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
    return paddle._C_ops.add_(kept, value.astype(kept.dtype))


def mean_of(total: paddle.Tensor, count: int) -> paddle.Tensor:
    """``total`` divided by ``count``, which as a Python number would be rounded to float32."""
    return total / paddle.full([], float(count), total.dtype)


def move_towards(kept: paddle.Tensor, value: paddle.Tensor, rate: float) -> None:
    """Makes of ``kept``, where it lies, ``rate`` of it and the rest of ``value``."""
    value = value.astype(kept.dtype)
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


def where_true(condition: paddle.Tensor, body: Callable[[], None]) -> None:
    """Adds the ops of ``body``, which run where ``condition`` holds."""
    paddle.static.nn.cond(condition, body, None)


def wide(dtype: paddle.dtype | str) -> str:
    """The dtype in which small changes of numbers of that one add up."""
    name = dtype if isinstance(dtype, str) else dtype_name(dtype)
    return "float32" if name in ("float16", "bfloat16") else name
