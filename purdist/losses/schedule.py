"""`Schedule`: a weight that depends on the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, TypeAlias

import attrs

from purdist.checking import guard_class
from purdist.errors import InvalidArgumentError
from purdist.losses.arguments import Number, count

Finite: TypeAlias = Annotated[float, Number()]
Steps: TypeAlias = Annotated[int, count]
"""How many."""
Index: TypeAlias = Annotated[int, Number(least=0, whole=True)]
"""Which step, counted from 0."""


@attrs.frozen
class Schedule(ABC):
    """A number for each step, counted from 0: a frozen value, such as the weight of a loss.

    Schedules are made here and composed: a product multiplies them step by step, and
    `piecewise` puts one behind the other::

        warm = Schedule.warmup(500) * 0.9
        falling = Schedule.piecewise({0: warm, 2000: Schedule.cosine(0.9, 0.0, 8000)})
        loss = falling * KDLoss("teacher_logits", "logits")

    A schedule is evaluated in Python, outside the graph. What is composed alike is equal, and
    prints alike: products in any order, numbers in them multiplied, pieces inside pieces; and what
    stays at one number is ``Schedule.constant``.

    Raises:
        InvalidArgumentError: It is multiplied by what is neither a number nor a schedule.
    """

    kind: ClassVar[str]

    __array_ufunc__: ClassVar[None] = None  # an array would hand over each of its numbers

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        guard_class(cls)

    @abstractmethod
    def at(self, step: Index) -> float:
        """The number at ``step``, 0 or above."""

    def simplest(self) -> Schedule:
        """The form that all have which are the same at every step."""
        return self

    @staticmethod
    def constant(value: Finite) -> Schedule:
        """``value`` at every step.

        Raises:
            InvalidArgumentError: ``value`` is no number.
        """
        return Constant(value)

    @staticmethod
    def linear(start: Finite, end: Finite, steps: Steps) -> Schedule:
        """From ``start`` at step 0 to ``end`` at step ``steps`` and after, in equal strides.

        Raises:
            InvalidArgumentError: ``start`` or ``end`` is no number, or ``steps`` is below 1.
        """
        return Linear(start, end, steps).simplest()

    @staticmethod
    def warmup(steps: Steps) -> Schedule:
        """From 0 at step 0 to 1 at step ``steps`` and after, in equal strides.

        Raises:
            InvalidArgumentError: ``steps`` is below 1.
        """
        return Linear(0.0, 1.0, steps)

    @staticmethod
    def cosine(start: Finite, end: Finite, steps: Steps) -> Schedule:
        """From ``start`` to ``end`` at step ``steps`` and after, along half a cosine.

        Raises:
            InvalidArgumentError: ``start`` or ``end`` is no number, or ``steps`` is below 1.
        """
        return Cosine(start, end, steps).simplest()

    @staticmethod
    def piecewise(pieces: Mapping[Index, Schedule | Finite]) -> Schedule:
        """Each piece from its step on, until that of the next one.

        Args:
            pieces: First step -> what holds from there, a schedule or a number. One begins
                at step 0. A schedule counts its steps from where its piece begins.

        Raises:
            InvalidArgumentError: None begins at step 0, or what begins is no schedule and no
                number.
        """
        return Piecewise(tuple(pieces.items())).simplest()

    def __mul__(self, factor: Finite | Schedule) -> Schedule:
        return Product((self, _scheduled(factor))).simplest()

    def __rmul__(self, factor: Finite) -> Schedule:
        return self * factor


def _progress(step: int, steps: int) -> float:
    """How much of ``steps`` is done at ``step``, at most 1."""
    return step / steps if step < steps else 1.0  # which no float may hold


@attrs.frozen
class Constant(Schedule):
    """What `Schedule.constant` makes."""

    kind: ClassVar[str] = "constant"

    value: float = attrs.field(validator=Number())

    def at(self, step: Index) -> float:  # noqa: ARG002
        return float(self.value)

    def __repr__(self) -> str:
        return f"Schedule.constant({self.value!r})"


@attrs.frozen
class Linear(Schedule):
    """What `Schedule.linear` and `Schedule.warmup` make."""

    kind: ClassVar[str] = "linear"

    start: float = attrs.field(validator=Number())
    end: float = attrs.field(validator=Number())
    steps: int = attrs.field(validator=count)

    def at(self, step: Index) -> float:
        done = _progress(step, self.steps)
        return self.start * (1 - done) + self.end * done

    def simplest(self) -> Schedule:
        return Constant(self.start) if self.start == self.end else self

    def __repr__(self) -> str:
        return f"Schedule.linear({self.start!r}, {self.end!r}, {self.steps!r})"


@attrs.frozen
class Cosine(Schedule):
    """What `Schedule.cosine` makes."""

    kind: ClassVar[str] = "cosine"

    start: float = attrs.field(validator=Number())
    end: float = attrs.field(validator=Number())
    steps: int = attrs.field(validator=count)

    def at(self, step: Index) -> float:
        left = (1 + math.cos(math.pi * _progress(step, self.steps))) / 2
        return self.start * left + self.end * (1 - left)

    def simplest(self) -> Schedule:
        return Constant(self.start) if self.start == self.end else self

    def __repr__(self) -> str:
        return f"Schedule.cosine({self.start!r}, {self.end!r}, {self.steps!r})"


def _scheduled(number: Schedule | float) -> Schedule:
    return number if isinstance(number, Schedule) else Constant(number)


_Pieces: TypeAlias = tuple[tuple[int, Schedule], ...]


def _as_pieces(pieces: Iterable[tuple[int, Schedule | float]]) -> _Pieces:
    scheduled = ((step, _scheduled(piece)) for step, piece in pieces)
    return tuple(sorted(scheduled, key=lambda pair: pair[0]))


def _begin_at_zero(_: object, __: object, pieces: _Pieces) -> None:
    starts = [step for step, _ in pieces]
    if starts[:1] != [0] or len(set(starts)) < len(starts):
        raise InvalidArgumentError(
            f"Expected one piece to begin at step 0 and each other later, got steps {starts}.",
            "Write Schedule.piecewise({0: ..., 1000: ...}).",
        )


@attrs.frozen
class Piecewise(Schedule):
    """What `Schedule.piecewise` makes."""

    kind: ClassVar[str] = "piecewise"

    pieces: _Pieces = attrs.field(converter=_as_pieces, validator=_begin_at_zero)

    def at(self, step: Index) -> float:
        begin, piece = next(pair for pair in reversed(self.pieces) if pair[0] <= step)
        return piece.at(step - begin)

    def simplest(self) -> Schedule:
        pieces: list[tuple[int, Schedule]] = []
        for begin, piece in self._flat():
            if not (pieces and isinstance(piece, Constant) and pieces[-1][1] == piece):
                pieces.append((begin, piece))
        return pieces[0][1] if len(pieces) == 1 else Piecewise(tuple(pieces))

    def _flat(self) -> Iterator[tuple[int, Schedule]]:
        """The pieces, with those of pieces that are such themselves."""
        ends = [begin for begin, _ in self.pieces[1:]]
        for (begin, piece), end in zip(self.pieces, [*ends, math.inf], strict=True):
            simple = piece.simplest()
            inner = simple.pieces if isinstance(simple, Piecewise) else ((0, simple),)
            yield from ((begin + k, part) for k, part in inner if begin + k < end)

    def __repr__(self) -> str:
        return f"Schedule.piecewise({dict(self.pieces)!r})"


def _some(_: object, __: object, factors: tuple[Schedule, ...]) -> None:
    if not factors:
        raise InvalidArgumentError(
            "Expected a product of at least one schedule, got none.",
            "Leave the weight out to get 1.",
        )


@attrs.frozen
class Product(Schedule):
    """What the multiplication of schedules makes."""

    kind: ClassVar[str] = "product"

    factors: tuple[Schedule, ...] = attrs.field(validator=_some)

    def at(self, step: Index) -> float:
        return math.prod(factor.at(step) for factor in self.factors)

    def simplest(self) -> Schedule:
        simple = [factor.simplest() for factor in self.factors]
        factors = [f for s in simple for f in (s.factors if isinstance(s, Product) else (s,))]
        number = math.prod(f.value for f in factors if isinstance(f, Constant))
        moving = sorted((f for f in factors if not isinstance(f, Constant)), key=repr)
        if number == 0 or not moving:
            return Constant(number + 0.0)
        if number != 1:
            moving.insert(0, Constant(number))
        return moving[0] if len(moving) == 1 else Product(tuple(moving))

    def __repr__(self) -> str:
        return " * ".join(map(repr, self.factors))


SCHEDULES: tuple[type[Schedule], ...] = (Constant, Linear, Cosine, Piecewise, Product)
"""Every kind of schedule."""
