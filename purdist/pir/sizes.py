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

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

import attrs
import paddle

from purdist.pir.looking import (
    Operation,
    attributes,
    data_name,
    identity,
    is_feed,
    is_tensor,
    number_of,
    numbers_of,
    op_of,
    operations,
)
from purdist.pir.making import Graph

Size = tuple[int, tuple[int, ...]]
"""A factor and the atoms it is multiplied with, sorted."""
Place = tuple[str, int]
"""A feed and its axis."""

_Window = list[tuple[int, int]]

_ONE: Size = (1, ())


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


def agreements(graph: Graph) -> list[Agreement]:
    """Which unknown sizes of the feeds of ``graph`` must be one."""
    sizes = Sizes()
    sizes.follow(operations(graph.program))
    return sizes.agreements()


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

    # --- sizes --------------------------------------------------------------------------

    def _atom(self, key: Hashable) -> int:
        return self._atoms.setdefault(key, len(self._atoms))

    def _root(self, atom: int) -> int:
        while atom in self._parents:
            atom = self._parents[atom]
        return atom

    def _now(self, size: Size) -> Size:
        """``size`` with what has been found to be one since."""
        factor, atoms = size
        return factor, tuple(sorted(map(self._root, atoms)))

    def sizes(self, value: paddle.Tensor) -> tuple[Size, ...]:
        """The size of each axis of ``value``."""
        found = self._sizes.get(value.id)
        if found is None:  # an argument of a region
            found = self._sizes[value.id] = tuple(
                self._known_or(size, (value.id, axis)) for axis, size in enumerate(value.shape)
            )
        return found

    def _known_or(self, size: int, key: Hashable) -> Size:
        return (size, ()) if size != -1 else (1, (self._atom(key),))

    def _met(
        self, op: Operation, values: tuple[paddle.Tensor, paddle.Tensor], axes: tuple[int, int]
    ) -> Size:
        """What is left of an axis of each of two values, which meet in ``op``."""
        a, b = (
            self._now(self.sizes(value)[axis]) for value, axis in zip(values, axes, strict=True)
        )
        if _ONE in (a, b):
            return b if a == _ONE else a
        told = a == b or self._made_one(a, b) or not (a[1] or b[1])
        if not told and op.name().removeprefix("pd_op.").rstrip("_") in _BROADCASTING:
            self.unmet.append(Meeting(values, axes))
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
            for inner in op.blocks() if op.num_regions() else ():
                self.follow(inner.ops)
            short = op.name().rpartition(".")[2].rstrip("_")
            numbers = self._numbers_of(op, short)
            if numbers is not None:
                self._numbers[op.result(0).id] = numbers
            if op.has_attr(_MEETING):
                self._compare(op)
            told = None if is_feed(op) else self._told(op, short)
            for position, value in enumerate(op.results()):
                if is_tensor(value):
                    self._sizes[value.id] = self._settled(op, position, value, told)

    def _compare(self, op: Operation) -> None:
        """Two sizes that were said to be one by `must_meet`."""
        (a,), (b,) = (self.numbers(value) or ((0, ()),) for value in op.operands_source())
        if self._now(a) != self._now(b) and not self._made_one(self._now(a), self._now(b)):
            one, other = op.operands_source()
            self.unmet.append(Meeting((one, other), None))

    def _told(self, op: Operation, short: str) -> Sequence[Size] | None:
        handler = _HANDLERS.get(short)
        read = op.operands_source()
        if handler is None or not read or not identity(read[0]):
            return None
        try:
            return handler(self, op)
        except (AssertionError, IndexError, KeyError, TypeError, ValueError):
            return None  # an op of another form than is known here

    def _settled(
        self, op: Operation, position: int, value: paddle.Tensor, told: Sequence[Size] | None
    ) -> tuple[Size, ...]:
        """The sizes of a result: those that are known, that were told, or new ones."""
        shape = list(value.shape)
        if -1 not in shape:
            return tuple((size, ()) for size in shape)
        if (
            told is not None
            and len(told) == len(shape)
            and (position == 0 or op.name() == "builtin.split")
        ):
            pairs = zip(shape, told, strict=True)
            return tuple(size if known == -1 else (known, ()) for known, size in pairs)
        if is_feed(op):
            name = data_name(op)
            sizes = [self._known_or(size, (name, axis)) for axis, size in enumerate(shape)]
            for axis, (_, atoms) in enumerate(sizes):
                self._places.update((atom, (name, axis)) for atom in atoms)
            return tuple(sizes)
        signature = self._signature(op)
        key = (value.id if signature is None else signature, position)
        return tuple(self._known_or(size, (*key, axis)) for axis, size in enumerate(shape))

    def _signature(self, op: Operation) -> Hashable:
        """What the sizes of the results of ``op`` follow from, None where they follow from data."""
        if op.num_regions() or op.name().rpartition(".")[2].rstrip("_") in _BY_DATA:
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
            read.append((tuple(map(self._now, self.sizes(value))), numbers))
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
                return (_product([*held, *other]),)
        return None

    def _joined_numbers(self, joined: paddle.Tensor) -> tuple[Size, ...] | None:
        parts = [self.numbers(value) for value in _combined(joined)]
        if any(part is None for part in parts):
            return None
        return tuple(number for part in parts if part is not None for number in part)

    # --- handlers -----------------------------------------------------------------------

    def same(self, op: Operation) -> Sequence[Size]:
        """The first operand's sizes."""
        return self.sizes(op.operands_source()[0])

    def broadcast(self, op: Operation) -> Sequence[Size]:
        """Sizes that meet from the right."""
        read = [value for value in op.operands_source() if identity(value)]
        rank = max(len(value.shape) for value in read)
        found = []
        for k in range(-rank, 0):
            there = [value for value in read if len(value.shape) >= -k]
            wide = [value for value in there if self.sizes(value)[k] != _ONE]
            size = self.sizes(wide[0])[k] if wide else _ONE
            for other in wide[1:]:
                size = self._met(op, (wide[0], other), (k, k))
            found.append(size)
        return found

    def matmul(self, op: Operation) -> Sequence[Size] | None:
        """Rows by columns; the axes before meet."""
        x, y = op.operands_source()[:2]
        if min(len(x.shape), len(y.shape)) < 2:
            return None
        if x.shape[-1] != -1 and -1 not in y.shape and len(y.shape) == 2:  # attributes are slow
            return [*self.sizes(x)[:-1], (op.result(0).shape[-1], ())]
        row, inner = (-1, -2) if op.attrs().get("transpose_x") else (-2, -1)
        inner_y, column = (-1, -2) if op.attrs().get("transpose_y") else (-2, -1)
        self._met(op, (x, y), (inner, inner_y))
        before = []
        for k in range(-max(len(x.shape), len(y.shape)), -2):
            there = [value for value in (x, y) if len(value.shape) >= -k]
            if len(there) == 2:
                before.append(self._met(op, (x, y), (k, k)))
            else:
                before.append(self.sizes(there[0])[k])
        return [*before, self.sizes(x)[row], self.sizes(y)[column]]

    def reduce(self, op: Operation) -> Sequence[Size] | None:
        """Without some axes, or with 1 in their place."""
        sizes, read = self.sizes(op.operands_source()[0]), op.operands_source()
        attribute = op.attrs()
        axes = [n for n, _ in self.numbers(read[1]) or ()] if len(read) > 1 else []
        if not axes and "axis" in attribute:
            told = attribute["axis"]
            axes = numbers_of(op, "axis") if isinstance(told, list) else [number_of(op, "axis")]
        gone = {axis % len(sizes) for axis in axes} if sizes else set()
        gone = gone or set(range(len(sizes)))
        if attribute.get("keepdim") or attribute.get("keepdims"):
            return [_ONE if axis in gone else size for axis, size in enumerate(sizes)]
        return [size for axis, size in enumerate(sizes) if axis not in gone]

    def reshape(self, op: Operation) -> Sequence[Size] | None:
        """The sizes asked for; one may be what is left."""
        x, shape = op.operands_source()[:2]
        wanted, sizes = self.numbers(shape), self.sizes(x)
        if wanted is None:
            return None
        asked = [sizes[k] if size == (0, ()) else size for k, size in enumerate(wanted)]
        if (-1, ()) not in asked:
            return asked
        rest = _quotient(_product(sizes), _product([s for s in asked if s != (-1, ())]))
        if rest is None:
            return None
        return [rest if size == (-1, ()) else size for size in asked]

    def flatten(self, op: Operation) -> Sequence[Size]:
        """A run of axes as one."""
        sizes = self.sizes(op.operands_source()[0])
        ends = (number_of(op, f"{end}_axis") for end in ("start", "stop"))
        first, last = (end % max(len(sizes), 1) for end in ends)
        return [*sizes[:first], _product(sizes[first : last + 1]), *sizes[last + 1 :]]

    def transpose(self, op: Operation) -> Sequence[Size]:
        """The axes in another order."""
        sizes = self.sizes(op.operands_source()[0])
        return [sizes[axis] for axis in numbers_of(op, "perm")]

    def squeeze(self, op: Operation) -> Sequence[Size] | None:
        """Without axes of size 1."""
        sizes = self.sizes(op.operands_source()[0])
        axes = self.numbers(op.operands_source()[1])
        if not axes:
            return None
        gone = {axis % len(sizes) for axis, _ in axes}
        return [size for axis, size in enumerate(sizes) if axis not in gone]

    def unsqueeze(self, op: Operation) -> Sequence[Size] | None:
        """With axes of size 1."""
        sizes = list(self.sizes(op.operands_source()[0]))
        for axis, _ in self.numbers(op.operands_source()[1]) or ():
            sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, _ONE)
        return sizes

    def expand(self, op: Operation) -> Sequence[Size] | None:
        """Axes of size 1 repeated."""
        sizes = self.sizes(op.operands_source()[0])
        wanted = self.numbers(op.operands_source()[1])
        if wanted is None or len(wanted) < len(sizes):
            return None
        before = len(wanted) - len(sizes)
        pairs = zip(wanted[before:], sizes, strict=True)
        return [*wanted[:before], *(there if size == (-1, ()) else size for size, there in pairs)]

    def expand_as(self, op: Operation) -> Sequence[Size] | None:
        """The sizes of another value."""
        other = op.operands_source()[1]
        return self.sizes(other) if identity(other) else None

    def slice(self, op: Operation) -> Sequence[Size] | None:
        """Other sizes where it is cut, the same elsewhere."""
        sizes = list(self.sizes(op.operands_source()[0]))
        starts, ends = (self.numbers(value) for value in op.operands_source()[1:3])
        for k, axis in enumerate(numbers_of(op, "axes")):
            start = starts[k] if starts and k < len(starts) else None
            end = ends[k] if ends and k < len(ends) else None
            whole = start == (0, ()) and end is not None and not end[1] and end[0] >= 2**31 - 1
            if not whole:
                key = ("slice", self._now(sizes[axis]), start, end)
                known = start is not None and end is not None
                sizes[axis] = (1, (self._atom(key if known else (op.result(0).id, axis)),))
        gone = set(numbers_of(op, "decrease_axis"))
        return [size for axis, size in enumerate(sizes) if axis not in gone]

    def concat(self, op: Operation) -> Sequence[Size] | None:
        """All axes but one meet."""
        values = _combined(op.operands_source()[0])
        axis = self.numbers(op.operands_source()[1])
        if axis is None:
            return None
        along = axis[0][0] % max(len(values[0].shape), 1)
        sizes = list(self._stacked(op, values, without=along))
        parts = tuple(self._now(self.sizes(value)[along]) for value in values)
        sizes[along] = (1, (self._atom(("sum", parts)),))
        return sizes

    def stack(self, op: Operation) -> Sequence[Size]:
        """All axes meet."""
        values = _combined(op.operands_source()[0])
        sizes = list(self._stacked(op, values))
        axis = number_of(op, "axis")
        sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, (len(values), ()))
        return sizes

    def _stacked(
        self, op: Operation, values: Sequence[paddle.Tensor], without: int = -1
    ) -> Iterator[Size]:
        for axis, size in enumerate(self.sizes(values[0])):
            for other in values[1:]:
                if axis != without:
                    self._met(op, (values[0], other), (axis, axis))
            yield size

    def split(self, op: Operation) -> Sequence[Size] | None:
        """A part of what was split: all axes but one."""
        made = op.operands_source()[0].get_defining_op()
        if made is None or made.name() not in ("pd_op.split_with_num", "pd_op.unbind"):
            return None
        sizes = list(self.sizes(made.operands_source()[0]))
        if made.name() == "pd_op.unbind":
            del sizes[number_of(made, "axis") % len(sizes)]
            return sizes
        axis = self.numbers(made.operands_source()[1])
        if axis is None:
            return None
        along = axis[0][0] % len(sizes)
        key = ("split", number_of(made, "num"), self._now(sizes[along]))
        sizes[along] = (1, (self._atom(key),))
        return sizes

    def embedding(self, op: Operation) -> Sequence[Size]:
        """A vector for each."""
        ids = self.sizes(op.operands_source()[0])
        return [*ids, self._known_or(op.result(0).shape[-1], (op.result(0).id, "width"))]

    def take_along(self, op: Operation) -> Sequence[Size]:
        """The sizes of the index; its other axes meet those of what is looked at."""
        x, index = op.operands_source()[:2]
        axis = (number_of(op, "axis") if op.has_attr("axis") else 1) % max(len(x.shape), 1)
        for k in range(len(x.shape)):
            if k != axis:
                self._met(op, (x, index), (k, k))
        return self.sizes(index)

    def rows_of(self, op: Operation) -> Sequence[Size] | None:
        """The sizes of the index in place of an axis."""
        x, index = op.operands_source()[:2]
        sizes, axis = self.sizes(x), 0
        if op.has_attr("axis"):
            axis = number_of(op, "axis")
        elif len(op.operands_source()) > 2:
            told = self.numbers(op.operands_source()[2])
            if told is None:
                return None
            axis = told[0][0]
        axis %= len(sizes)
        return [*sizes[:axis], *self.sizes(index), *sizes[axis + 1 :]]

    def labelled(self, op: Operation) -> Sequence[Size]:
        """A loss to a label: all axes but that of the classes meet."""
        x, label = op.operands_source()[:2]
        rank = len(x.shape)
        axis = (number_of(op, "axis") if op.has_attr("axis") else 1) % rank
        for k in range(rank):
            there = k - (k > axis and len(label.shape) < rank)
            if k != axis and there < len(label.shape):
                self._met(op, (x, label), (k, there))
        return self.sizes(x)

    def mapped(self, op: Operation) -> Sequence[Size]:
        """The same samples; in space what the window makes of it, whatever the channels."""
        x, value = op.operands_source()[0], op.result(0)
        last = str(op.attrs().get("data_format", "")).endswith("C")
        sizes = self.sizes(x)
        space = range(1, len(sizes) - 1) if last else range(2, len(sizes))
        key = self._window(op)
        found: list[Size] = [(size, ()) for size in value.shape]
        found[0] = sizes[0]
        for k, axis in enumerate(space):
            found[axis] = self._windowed(key, k, sizes[axis], (value.id, axis))
        return found

    def _windowed(self, key: _Window | None, k: int, size: Size, new: Hashable) -> Size:
        if not size[1] or key is None:  # what is known, the graph says itself
            return (1, (self._atom(new),))
        stride, lost = key[k]
        if (stride, lost) == (1, 0):
            return size
        return (1, (self._atom(("window", stride, lost, self._now(size))),))

    def _window(self, op: Operation) -> _Window | None:
        """For each axis in space the stride, and how much a window needs more than its place."""
        attribute = op.attrs()
        if "strides" not in attribute or attribute.get("padding_algorithm") != "EXPLICIT":
            return None
        if any(attribute.get(name) for name in ("ceil_mode", "adaptive", "global_pooling")):
            return None
        strides, paddings = numbers_of(op, "strides"), numbers_of(op, "paddings")
        if "kernel_size" in attribute:
            kernel = numbers_of(op, "kernel_size")
        else:
            other = op.operands_source()[1]
            kernel = [n for n, _ in self.numbers(other) or ()] or other.shape[2:]
        dilations = numbers_of(op, "dilations") if "dilations" in attribute else [1] * len(strides)
        if len(paddings) == len(strides):
            paddings = [padding for padding in paddings for _ in range(2)]
        return [
            (stride, dilation * (size - 1) - sum(paddings[2 * k : 2 * k + 2]))
            for k, (stride, dilation, size) in enumerate(
                zip(strides, dilations, kernel, strict=True)
            )
        ]

    def recurrent(self, op: Operation) -> Sequence[Size]:
        """[T, N, width]."""
        return [*self.sizes(op.operands_source()[0])[:2], (op.result(0).shape[-1], ())]


# --- guards -----------------------------------------------------------------------------

_GUARDED, _MEETING = "guarded", "must_meet"


def guard(unmet: Sequence[Meeting], like: paddle.Tensor, names: Sequence[str]) -> paddle.Tensor:
    """1 in the dtype of ``like`` where all sizes that meet are one; elsewhere it fails to compute.

    It looks up row 0 or row 1 of a tensor of one row: an assertion that what is multiplied with
    it cannot do without.

    Args:
        unmet: What meets.
        like: Of the dtype that is wanted.
        names: What `guarded` tells of it.
    """
    wrong = paddle.zeros([1], "int64")
    for meeting in unmet:
        one, other = meeting.values
        if meeting.axes is not None:
            one, other = map(_size_of, meeting.values, meeting.axes)
        wrong = wrong + (one != other).astype("int64")
    row = paddle.gather(paddle.ones([1], like.dtype), wrong.clip(max=1))
    op_of(row).set_str_attr(_GUARDED, "\n".join(names))
    return row.reshape([])


def must_meet(one: paddle.Tensor, other: paddle.Tensor, axes: Iterable[int]) -> None:
    """Says of two values that their sizes on ``axes`` are one, where no op says so by itself."""
    for axis in axes:
        if -1 in (one.shape[axis], other.shape[axis]):
            same = _size_of(one, axis) == _size_of(other, axis)
            op_of(same).set_str_attr(_MEETING, "")


def _size_of(value: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The size of an axis when the graph runs, [1]."""
    axis %= len(value.shape)
    return paddle.slice(paddle.shape(value), [0], [axis], [axis + 1])


def guarded(program: paddle.static.Program) -> list[list[str]]:
    """The names that were given with each `guard` in ``program``."""
    return [
        str(op.attrs()[_GUARDED]).split("\n") for op in operations(program) if op.has_attr(_GUARDED)
    ]


def _combined(value: paddle.Tensor) -> list[paddle.Tensor]:
    """The values of a list."""
    made = value.get_defining_op()
    if made is None or made.name() != "builtin.combine":
        return [value]
    return made.operands_source()


def _product(sizes: Sequence[Size]) -> Size:
    atoms = sorted(atom for _, more in sizes for atom in more)
    return math.prod(factor for factor, _ in sizes), tuple(atoms)


def _quotient(size: Size, divisor: Size) -> Size | None:
    atoms = list(size[1])
    for atom in divisor[1]:
        if atom not in atoms:
            return None
        atoms.remove(atom)
    if not divisor[0] or size[0] % divisor[0]:
        return None
    return size[0] // divisor[0], tuple(atoms)


# fmt: off
_SAME = (
    "abs", "acos", "assign", "batch_norm", "bernoulli", "cast", "ceil", "celu", "clip", "cos",
    "cumsum", "dropout", "elu", "erf", "exp", "expm1", "flip", "floor", "full_like", "gelu",
    "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "increment",
    "index_add", "index_put", "instance_norm", "isfinite", "isinf", "isnan", "label_smooth",
    "layer_norm", "leaky_relu", "log", "log10", "log1p", "log2", "log_softmax", "logical_not",
    "logit", "logsigmoid", "memcpy_d2h", "memcpy_h2d", "mish", "p_send", "pow", "prelu",
    "put_along_axis", "reciprocal", "relu", "relu6", "rms_norm", "roll", "round", "rsqrt",
    "scale", "scatter", "selu", "share_data", "sigmoid", "sign", "silu", "sin", "sinh",
    "softmax", "softplus", "softshrink", "softsign", "sqrt", "square", "stanh", "swish",
    "sync_batch_norm", "tan", "tanh", "tanh_shrink", "thresholded_relu", "trunc",
)
_BROADCASTING = (
    "add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "elementwise_pow",
    "equal", "floor_divide", "fmax", "fmin", "greater_equal", "greater_than", "huber_loss",
    "kldiv_loss", "less_equal", "less_than", "logical_and", "logical_or", "logical_xor", "maximum",
    "minimum", "multiply", "not_equal", "remainder", "sigmoid_cross_entropy_with_logits",
    "subtract", "where", "bce_loss", "lerp",
)
_REDUCING = (
    "all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "p_norm",
    "prod", "sum",
)
_MAPPED = ("conv2d", "conv3d", "depthwise_conv2d", "pool2d", "pool3d")
_BY_DATA = frozenset((
    "masked_select", "multiclass_nms3", "nms", "nonzero", "repeat_interleave_with_tensor_index",
    "unique", "unique_consecutive",
))
# fmt: on

_HANDLERS: Mapping[str, Callable[[Sizes, Operation], Sequence[Size] | None]] = {
    **dict.fromkeys(_SAME, Sizes.same),
    **dict.fromkeys(_BROADCASTING, Sizes.broadcast),
    **dict.fromkeys(_REDUCING, Sizes.reduce),
    **dict.fromkeys(_MAPPED, Sizes.mapped),
    "concat": Sizes.concat,
    "cross_entropy_with_softmax": Sizes.labelled,
    "embedding": Sizes.embedding,
    "expand": Sizes.expand,
    "expand_as": Sizes.expand_as,
    "flatten": Sizes.flatten,
    "gather": Sizes.rows_of,
    "index_sample": Sizes.take_along,
    "index_select": Sizes.rows_of,
    "matmul": Sizes.matmul,
    "nll_loss": Sizes.labelled,
    "one_hot": Sizes.embedding,
    "reshape": Sizes.reshape,
    "rnn": Sizes.recurrent,
    "slice": Sizes.slice,
    "split": Sizes.split,
    "squeeze": Sizes.squeeze,
    "stack": Sizes.stack,
    "take_along_axis": Sizes.take_along,
    "transpose": Sizes.transpose,
    "unsqueeze": Sizes.unsqueeze,
}
"""Op -> what it does to sizes."""
