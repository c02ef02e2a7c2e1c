"""Sizes that a graph does not know: which of them are one, and which inputs' must be.

Each unknown size is a product of atoms: an axis of a feed, or what an op makes of others, which is
the same atom for the same op on the same sizes. So a teacher and a student with the same strides
are known to end in maps of one size, whatever is fed. Where two axes meet in an op, those of feeds
must be equal; where that of others cannot be told, it is `Sizes.unmet`, for which `guard` makes an
op that fails where they differ.

Paddle broadcasts a size of 1 without a word where sizes are not known: two axes that meet are
taken to be one. What an op that is not known here does to sizes is taken to be its own affair.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.errors import some
from purdist.graphs.drafts import Graph
from purdist.graphs.failing import MARK, UNMET
from purdist.graphs.looking import (
    Operation,
    attributes,
    data_name,
    identity,
    is_feed,
    is_tensor,
    numbers_of,
    op_of,
    operations,
)
from purdist.graphs.sizes.atoms import ONE, Size, product
from purdist.graphs.sizes.resizing import BROADCASTING, BY_DATA, HANDLERS, combined
from purdist.graphs.statements import statement_of

Place = tuple[str, int]
"""A feed and its axis."""


@attrs.frozen
class Agreement:
    """Axes of feeds that must be of one size, and the size, where the graph knows it."""

    places: tuple[Place, ...]
    size: int | None


@attrs.frozen(eq=False)
class Meeting:
    """Two axes that meet in an op, of which nothing says that they are of one size."""

    values: tuple[paddle.Tensor, paddle.Tensor]
    axes: tuple[int, int] | None  # None: the values are the sizes
    op: Operation
    is_inside: bool = False  # of a region of an if or a loop


def agreements(graph: Graph) -> list[Agreement]:
    """Which unknown sizes of the feeds of ``graph`` must be one."""
    return sizes_in(graph).agreements()


def sizes_in(graph: Graph) -> Sizes:
    """The sizes of all values of ``graph``."""
    sizes = Sizes()
    sizes.follow(operations(graph.program))
    return sizes


class Sizes:
    """The sizes of all values of a program, op by op.

    Attributes:
        unmet: Where sizes met that nothing says are one, and that Paddle would broadcast.
    """

    def __init__(self) -> None:
        self.unmet: list[Meeting] = []
        self._parents: dict[int, int] = {}
        self._fixed: dict[int, int] = {}
        self._atoms: dict[Hashable, int] = {}
        self._places: dict[int, Place] = {}
        self._sizes: dict[str, tuple[Size, ...]] = {}
        self._numbers: dict[str, tuple[Size, ...]] = {}
        self._depth = 0

    # --- sizes --------------------------------------------------------------------------

    def atom(self, key: Hashable) -> int:
        """The atom that is known by ``key``."""
        return self._atoms.setdefault(key, len(self._atoms))

    def _root(self, atom: int) -> int:
        while atom in self._parents:
            atom = self._parents[atom]
        return atom

    def now(self, size: Size) -> Size:
        """``size`` with what has been found to be one since."""
        factor, atoms = size
        return factor, tuple(sorted(map(self._root, atoms)))

    def sizes(self, value: paddle.Tensor) -> tuple[Size, ...]:
        """The size of each axis of ``value``."""
        found = self._sizes.get(value.id)
        if found is None:  # an argument of a region
            found = self._sizes[value.id] = tuple(
                self.known_or(size, (value.id, axis)) for axis, size in enumerate(value.shape)
            )
        return found

    def known_or(self, size: int, key: Hashable) -> Size:
        """A size of the graph's, or where it is unknown the atom that is known by ``key``."""
        return (size, ()) if size != -1 else (1, (self.atom(key),))

    def met(
        self, op: Operation, values: tuple[paddle.Tensor, paddle.Tensor], axes: tuple[int, int]
    ) -> Size:
        """What is left of an axis of each of two values, which meet in ``op``."""
        a, b = (self.now(self.sizes(value)[axis]) for value, axis in zip(values, axes, strict=True))
        if ONE in (a, b):
            return b if a == ONE else a
        one = a == b or self._made_one(a, b) or not (a[1] or b[1])
        if not one and op.name().removeprefix("pd_op.").rstrip("_") in BROADCASTING:
            self.unmet.append(Meeting(values, axes, op, is_inside=self._depth > 0))
        return b if a[1] and not b[1] else a

    def _made_one(self, a: Size, b: Size) -> bool:
        """Whether the sizes are axes of feeds, or one is and the other is known."""
        atoms = [size[1][0] for size in (a, b) if self._is_place(size)]
        if len(atoms) == 2:
            low, high = sorted(atoms)
            self._parents[high] = low
            if high in self._fixed:
                self._fixed.setdefault(low, self._fixed[high])
            return True
        known = [size[0] for size in (a, b) if not size[1]]
        if atoms and known:
            self._fixed.setdefault(atoms[0], known[0])
            return True
        return False

    def _is_place(self, size: Size) -> bool:
        return size[0] == 1 and len(size[1]) == 1 and size[1][0] in self._places

    def place(self, value: paddle.Tensor, axis: int) -> Place | None:
        """The axis of a feed that an axis of ``value`` is of one size with, None for no such."""
        size = self.now(self.sizes(value)[axis])
        return self._places[size[1][0]] if self._is_place(size) else None

    def agreements(self) -> list[Agreement]:
        """The axes of feeds that met."""
        groups: dict[int, list[Place]] = {}
        for atom, place in self._places.items():
            groups.setdefault(self._root(atom), []).append(place)
        return [
            Agreement(tuple(places), self._fixed.get(root))
            for root, places in groups.items()
            if len(places) > 1 or root in self._fixed
        ]

    # --- ops ----------------------------------------------------------------------------

    def follow(self, ops: Iterable[Operation]) -> None:
        """Goes on with ``ops``, and with those of the regions in them."""
        for op in ops:
            self._depth += 1
            for inner in op.blocks() if op.num_regions() else ():
                self.follow(inner.ops)
            self._depth -= 1
            short = op.name().rpartition(".")[2].rstrip("_")
            numbers = self._numbers_of(op, short)
            if numbers is not None:
                self._numbers[op.result(0).id] = numbers
            if op.has_attr(_MEETING):
                self._compare(op)
            found = None if is_feed(op) else self._found(op, short)
            for position, value in enumerate(op.results()):
                if is_tensor(value):
                    self._sizes[value.id] = self._settled(op, position, value, found)

    def _compare(self, op: Operation) -> None:
        """Two sizes that were said to be one by `must_meet`."""
        (a,), (b,) = (self.numbers(value) or ((0, ()),) for value in op.operands_source())
        if self.now(a) != self.now(b) and not self._made_one(self.now(a), self.now(b)):
            one, other = op.operands_source()
            self.unmet.append(Meeting((one, other), None, op))

    def _found(self, op: Operation, short: str) -> Sequence[Size] | None:
        handler = HANDLERS.get(short)
        read = op.operands_source()
        if handler is None or not read or not identity(read[0]):
            return None
        try:
            return handler(self, op)
        except (AssertionError, IndexError, KeyError, TypeError, ValueError):
            return None  # an op of another form than is known here

    def _settled(
        self, op: Operation, position: int, value: paddle.Tensor, found: Sequence[Size] | None
    ) -> tuple[Size, ...]:
        """The sizes of a result: those that are known, that were ``found``, or new ones."""
        shape = list(value.shape)
        if -1 not in shape:
            return tuple((size, ()) for size in shape)
        if (
            found is not None
            and len(found) == len(shape)
            and (position == 0 or op.name() == "builtin.split")
        ):
            pairs = zip(shape, found, strict=True)
            return tuple(size if known == -1 else (known, ()) for known, size in pairs)
        if is_feed(op):
            name = data_name(op)
            sizes = [self.known_or(size, (name, axis)) for axis, size in enumerate(shape)]
            for axis, (_, atoms) in enumerate(sizes):
                self._places.update((atom, (name, axis)) for atom in atoms)
            return tuple(sizes)
        signature = self._signature(op)
        key = (value.id if signature is None else signature, position)
        return tuple(self.known_or(size, (*key, axis)) for axis, size in enumerate(shape))

    def _signature(self, op: Operation) -> Hashable:
        """What the sizes of the results of ``op`` follow from, None where they follow from data."""
        if op.num_regions() or op.name().rpartition(".")[2].rstrip("_") in BY_DATA:
            return None
        read: list[Hashable] = []
        for value in op.operands_source():
            if not identity(value):
                continue
            if not is_tensor(value):
                return None
            numbers = self._numbers.get(value.id)
            if numbers is None and len(value.shape) < 2 and "int" in str(value.dtype):
                return None
            read.append((tuple(map(self.now, self.sizes(value))), numbers))
        return (op.name(), tuple(attributes(op).items()), tuple(read))

    # --- numbers that are sizes ---------------------------------------------------------

    def numbers(self, value: paddle.Tensor) -> tuple[Size, ...] | None:
        """The integers that a small tensor holds, where they are sizes or constants."""
        return self._numbers.get(identity(value) or "")

    def _numbers_of(self, op: Operation, short: str) -> tuple[Size, ...] | None:
        read = op.operands_source()
        if short == "full_int_array":
            return tuple((n, ()) for n in numbers_of(op, "value"))
        if short == "full" and op.result(0).shape in ([], [1]):
            value = float(str(op.attrs()["value"]))
            return ((int(value), ()),) if value.is_integer() else None
        if short in ("shape", "shape64"):
            return self.sizes(read[0])
        if short == "concat" or short == "stack":
            return self._joined_numbers(read[0])
        held = self.numbers(read[0]) if read and identity(read[0]) else None
        if held is None or short in ("assign", "cast", "reshape", "squeeze", "unsqueeze"):
            return held
        if short == "slice":
            bounds = [self.numbers(value) for value in read[1:3]]
            if all(bound is not None and not bound[0][1] for bound in bounds):
                start, end = (bound[0][0] for bound in bounds if bound is not None)
                return held[start:end]
        if short == "multiply":
            other = self.numbers(read[1])
            if other is not None and len(other) == len(held) == 1:
                return (product([*held, *other]),)
        return None

    def _joined_numbers(self, joined: paddle.Tensor) -> tuple[Size, ...] | None:
        parts = [self.numbers(value) for value in combined(joined)]
        if any(part is None for part in parts):
            return None
        return tuple(number for part in parts if part is not None for number in part)


# --- guards -----------------------------------------------------------------------------

_GUARDED, _MEETING = "guarded", "must_meet"
_TO_THE_END = 2**31 - 1


def guard(unmet: Sequence[Meeting], like: paddle.Tensor, names: Sequence[str]) -> paddle.Tensor:
    """1 in the dtype of ``like`` where all sizes that meet are one; elsewhere it fails to compute.

    It looks up row 0 or row 1 of a tensor of one row: an assertion that what is multiplied with
    it cannot do without. What meets inside of an if or a loop is nobody's outside: there it is
    the op's own operand that is looked up.

    Args:
        unmet: What meets.
        like: Of the dtype that is wanted.
        names: What `guarded` tells of it.
    """
    row = _row_of(paddle.ones([1], like.dtype), [m for m in unmet if not m.is_inside], names)
    for meeting in unmet:
        if meeting.is_inside:
            _guard_inside(meeting, names)
    return row.reshape([])


def guard_in(product: paddle.Tensor) -> paddle.Tensor:
    """The `guard` in what a value was multiplied with one to."""
    return op_of(product).operand_source(1)


def _guard_inside(meeting: Meeting, names: Sequence[str]) -> None:
    value = meeting.values[0]
    with paddle.static.program_guard(paddle.static.default_main_program()):
        pir.set_insertion_point(meeting.op)
        row = _row_of(value.unsqueeze(0), [meeting], names).squeeze(0)
    for operand in meeting.op.operands():
        if identity(operand.source()) == value.id:
            operand.set_source(row)
            return


def _row_of(rows: paddle.Tensor, unmet: Sequence[Meeting], names: Sequence[str]) -> paddle.Tensor:
    """The only row of ``rows``, where all sizes that meet are one."""
    wrong = paddle.zeros([1], "int64")
    for meeting in unmet:
        one, other = meeting.values
        if meeting.axes is not None:
            one, other = map(_size_of, meeting.values, meeting.axes)
        wrong = wrong + (one != other).astype("int64")
    row = paddle.gather(rows, wrong.clip(max=1))
    op = op_of(row)
    op.set_str_attr(_GUARDED, "\n".join(names))
    where = some(dict.fromkeys(statement_of(meeting.op) for meeting in unmet))
    op.callstack = [f"{UNMET}{names[0]}: Expected sizes that meet in {where}, got others"]
    return row


def must_meet(one: paddle.Tensor, other: paddle.Tensor, axes: Iterable[int]) -> None:
    """Says of two values that their sizes on ``axes`` are one, where no op says so by itself."""
    for axis in axes:
        if -1 in (one.shape[axis], other.shape[axis]):
            same = _size_of(one, axis) == _size_of(other, axis)
            op_of(same).set_str_attr(_MEETING, "")


def _size_of(value: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The size of an axis when the graph runs, [1]."""
    end = axis + 1 or _TO_THE_END  # a negative axis stays one: Paddle broadcasts from the right
    return paddle.slice(paddle.shape(value), [0], [axis], [end])


def only_number(value: paddle.Tensor, expected: str) -> paddle.Tensor:
    """``value``, [], which fails to compute where it is more than one number, with what to tell."""
    number = value.reshape([])
    op_of(number).callstack = [f"{MARK}{expected}"]
    return number


def drops_unknown_axes(ops: Iterable[Operation]) -> bool:
    """Whether one of ``ops`` squeezes an axis of unknown size: it stays where it is not 1."""
    squeezing = (op for op in ops if op.name().rpartition(".")[2].rstrip("_") == "squeeze")
    return any(
        op.operand_source(0).shape.count(-1) > op.result(0).shape.count(-1) for op in squeezing
    )


def guarded(program: paddle.static.Program) -> list[list[str]]:
    """The names that were given with each `guard` in ``program``."""
    return [
        str(op.attrs()[_GUARDED]).split("\n")
        for op in operations(program, regions=True)
        if op.has_attr(_GUARDED)
    ]
