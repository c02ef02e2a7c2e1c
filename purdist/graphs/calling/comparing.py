"""The sizes that a layer asks for, compared by the graph where nothing else can tell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.calling.asking import (
    ARITHMETIC,
    COMPARISONS,
    NumbersError,
    Shape,
    is_paddles,
    shape_of,
    sizes_of,
)
from purdist.graphs.looking import operations
from purdist.graphs.sizes import agreeing


class ComparedShape(Shape):
    """Two are equal if all their sizes are, which is a value of the graph where it must run.

    An if of the layer then becomes one of the graph's.
    """

    def __eq__(self, other: object) -> Any:
        if not super().__eq__(other) or not isinstance(other, list | tuple):
            return False
        known = agreeing.Sizes()
        known.follow(operations(paddle.static.default_main_program()))
        same: Any = True
        for one, two in zip(self, other, strict=True):
            if _are_one(known, one, two):
                continue
            now = one == two
            same = now if same is True else paddle.logical_and(same, now)
        return same

    def __ne__(self, other: object) -> Any:
        same = self == other
        return not same if isinstance(same, bool) else paddle.logical_not(same)

    __hash__ = None


def _are_one(known: agreeing.Sizes, one: object, two: object) -> bool:
    """Whether it can be told before the graph runs that two sizes, which may be, are one."""
    if not (isinstance(one, pir.Value) and isinstance(two, pir.Value)):
        return not (isinstance(one, pir.Value) or isinstance(two, pir.Value))
    both = [known.numbers(size) for size in (one, two)]
    a, b = ([known.now(size) for size in numbers or ()] for numbers in both)
    return len(a) == 1 and a == b


def compared_sizes_of(value: Any) -> Any:
    """The shape of ``value``, as a layer gets it."""
    return ComparedShape(sizes_of(value)) if isinstance(value, pir.Value) else value.shape


class GuessedSize(int):
    """-1, which other code than Paddle's may hand on, or compare with another unknown size.

    What it computed with it would be right by chance, and at sizes that no check has tried wrong.
    """

    def __hash__(self) -> int:
        return super().__hash__()


def _handed_on(name: str) -> Callable[[Any, Any], Any]:
    found = getattr(int, name)

    def operate(self: int, other: object) -> Any:
        number = isinstance(other, int | pir.Value) and not isinstance(other, GuessedSize)
        compares = name in ("__eq__", "__ne__") and not number
        if compares or is_paddles(sys._getframe(1)):
            return found(self, other)
        raise NumbersError("the number of a size, which a graph has not before it runs")

    return operate


for _name in (*ARITHMETIC, *COMPARISONS):
    if hasattr(int, _name):
        setattr(GuessedSize, _name, _handed_on(_name))


def guessed_sizes_of(value: Any) -> Any:
    """The shape of ``value`` with a `GuessedSize` for what is unknown."""
    if not isinstance(value, pir.Value):
        return value.shape
    return [GuessedSize(size) if size == -1 else size for size in shape_of(value)]
