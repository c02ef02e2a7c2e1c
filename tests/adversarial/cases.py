"""A case of the zoo: something of ``paddle.nn``, and what it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

Of: TypeAlias = Literal["layer", "function", "method", "paddle", "net"]
ROWS = 4
"""The rows of a batch."""


@attrs.frozen
class Operand:
    """A tensor that a case is called with.

    Attributes:
        shape: Without the batch; a weight's whole shape.
        kind: ``"map"`` and ``"share"`` (between 0 and 1) come through a trainable factor,
            ``"weight"`` learns itself, ``"feed"`` is fed as it is.
        dtype: A feed's.
        below: Where a feed's integers end.
        least: Where they begin.
    """

    shape: tuple[int, ...]
    kind: Literal["map", "share", "weight", "feed"] = "map"
    dtype: str = "float"
    below: int = 2
    least: int = 0


def x(*shape: int) -> Operand:
    """Normal numbers through a trainable factor."""
    return Operand(shape)


def p(*shape: int) -> Operand:
    """Numbers between 0 and 1 through a trainable factor."""
    return Operand(shape, "share")


def w(*shape: int) -> Operand:
    """A trainable weight."""
    return Operand(shape, "weight")


def i(below: int, *shape: int, dtype: str = "int64") -> Operand:
    """Integers from 0, fed."""
    return Operand(shape, "feed", dtype, below)


def f(*shape: int) -> Operand:
    """Normal numbers, fed."""
    return Operand(shape, "feed")


def b(*shape: int) -> Operand:
    """Truths, fed."""
    return Operand(shape, "feed", "bool")


@attrs.frozen
class Made:
    """An argument that is made anew for each layer, such as a cell."""

    make: Callable[[], Any]


@attrs.frozen
class Case:
    """Something of Paddle, and what it is called with.

    Attributes:
        on: A layer's operands.
        arguments: Of a layer's class, or of a function: operands among them are tensors.
        options: Keyword arguments.
        whole: What comes out has not the batch on its first axis.
        fixed: The batch must be known.
        take: What of the result counts, where not all does.
    """

    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)
    on: tuple[Operand, ...] = ()
    whole: bool = False
    fixed: bool = False
    take: Callable[[Any], Any] | None = None


def call(
    *arguments: Any,
    whole: bool = False,
    fixed: bool = False,
    take: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Case:
    """A function's or a method's case."""
    return Case(arguments, options, (), whole, fixed, take)


def new(
    *arguments: Any,
    on: tuple[Operand, ...] = (x(6),),
    whole: bool = False,
    fixed: bool = False,
    take: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Case:
    """A layer's case."""
    return Case(arguments, options, on, whole, fixed, take)


Cases: TypeAlias = Mapping[str, Case | tuple[Case, ...]]
"""Name -> its cases."""

SEQUENCE, IMAGE, VOLUME = x(4, 8), x(4, 6, 6), x(4, 4, 4, 4)

LAST = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def formats(case: Case) -> tuple[Case, Case]:
    """The case, and the same with channels last in its maps."""

    def turned(operand: Any) -> Any:
        if not isinstance(operand, Operand) or operand.kind == "weight":
            return operand
        return attrs.evolve(operand, shape=(*operand.shape[1:], operand.shape[0]))

    first = (case.on or case.arguments)[0]
    options = {**case.options, "data_format": LAST[len(first.shape) - 1][1]}
    if case.on:
        return case, attrs.evolve(case, on=tuple(map(turned, case.on)), options=options)
    arguments = tuple(map(turned, case.arguments))
    return case, attrs.evolve(case, arguments=arguments, options=options)
