"""Ifs whose branches give numbers of which one takes gradients, as in dynamic mode.

Paddle lets a gradient through an if when its first branch takes one, whatever the second does: a
loss that returns zeros early, or starts from them, would learn nothing.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle.base.libpaddle import pir
from paddle.jit import dy2static

from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import IF, yielded

_CHOOSING: dict[Callable[..., Any], str] = {builtins.max: "maximum", builtins.min: "minimum"}


@contextmanager
def branches_as_in_dygraph() -> Iterator[None]:
    """Inside, what an if gives takes a gradient where either branch does."""
    cond, load = paddle.static.nn.cond, dy2static.Ld

    def flowing(*args: Any, **kwargs: Any) -> Any:
        return paddle.utils.map_structure(_flowing, cond(*args, **kwargs))

    def loaded(thing: Any) -> Any:
        """What code that is converted gets for a name: ``max`` of numbers that may be sizes."""
        chosen = _CHOOSING.get(thing) if isinstance(thing, type(max)) else None
        return functools.partial(_chosen, thing, chosen) if chosen else load(thing)

    setattr(paddle.static.nn, "cond", flowing)  # noqa: B010 - it is a function there
    setattr(dy2static, "Ld", loaded)  # noqa: B010
    try:
        yield
    finally:
        setattr(paddle.static.nn, "cond", cond)  # noqa: B010
        setattr(dy2static, "Ld", load)  # noqa: B010


def _flowing(result: Any) -> Any:
    op = result.get_defining_op() if isinstance(result, pir.Value) else None
    if op is not None and op.name() == IF:
        ends = zip(*(yielded(block) for block in op.blocks()), strict=True)
        for value, branches in zip(op.results(), ends, strict=True):
            floating = "float" in dtype_name(value.dtype)
            if floating and not all(branch.stop_gradient for branch in branches):
                value.stop_gradient = False
    return result


def _chosen(function: Callable[..., Any], name: str, *numbers: Any, **kwargs: Any) -> Any:
    if len(numbers) < 2 or kwargs or not any(isinstance(n, pir.Value) for n in numbers):
        return function(*numbers, **kwargs)
    return functools.reduce(getattr(paddle, name), _of_one_dtype(numbers))


def _of_one_dtype(numbers: tuple[Any, ...]) -> Iterator[paddle.Tensor]:
    values = [n for n in numbers if isinstance(n, pir.Value)]
    names = [dtype_name(value.dtype) for value in values]
    floats = [name for name in names if "float" in name]
    floats += ["float32" for n in numbers if isinstance(n, float)]
    dtype = floats[0] if floats else names[0]
    for n in numbers:
        yield n.astype(dtype) if isinstance(n, pir.Value) else paddle.full([], n, dtype)
