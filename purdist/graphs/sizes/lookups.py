"""What a graph looks up by the integers that are fed: which values each feed may have.

Paddle's kernels read whatever lies at an index that is out of range, wrap it, or end in an error
of their own that names no feed. An index is followed from the feed to the op that looks it up,
through ops that hand its values on; where a value may be another (``ids + 1``, ``where``, ``clip``,
a choice of rows) nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Graph
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import (
    Operation,
    data_name,
    identity,
    is_feed,
    is_tensor,
    number_of,
    numbers_of,
    operations,
)
from purdist.graphs.sizes.agreeing import Place, Sizes, sizes_in
from purdist.graphs.sizes.lengths import lengths_of

Range = tuple[int, int | None]
"""From where to where, exclusive; None where the size is not known."""

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
# fmt: off
_KEEPING = frozenset((
    "assign", "cast", "expand", "expand_as", "flatten", "flip", "memcpy_d2h", "memcpy_h2d",
    "reshape", "roll", "share_data_", "squeeze", "tile", "transpose", "unsqueeze",
))
# fmt: on
"""Ops whose first result has the values of their first operand, and no others."""

_JOINING = frozenset(["builtin.combine", "pd_op.concat", "pd_op.stack"])


@attrs.frozen
class Lookup:
    """One op that looks something up by what is fed.

    Attributes:
        feed: The input.
        part: What of it: a slice for each axis that is cut, () for all of it.
        low: The least value.
        high: The one above the largest, None where it is known only when the graph runs.
        beside: A value outside of it that stands for nothing: ``ignore_index``.
        length: Whether the values are lengths, from 0 to the size of what they are lengths of.
        of: Of lengths, the feed and its axis that they are lengths of, where the graph does not
            know its size.
    """

    feed: str
    part: tuple[slice, ...]
    low: int
    high: int | None
    beside: int | None = None
    length: bool = False
    of: Place | None = None


@attrs.frozen
class _Fed:
    """A value that holds what is fed: which feed, what of it, and where its axes are now."""

    feed: str
    part: tuple[slice, ...]
    axes: tuple[int, ...] | None  # None: they cannot be told any more


def value_ranges(graph: Graph) -> Mapping[str, tuple[int, int]]:
    """Input -> from where to where, exclusive, every look-up by it finds something.

    Of an input that nothing is looked up by nothing is said. Where what is looked up is of
    unknown size it has at least one row. Indices that count from the end are left out.
    """
    ranges: dict[str, tuple[int, int]] = {}
    for lookup in lookups(graph):
        low, high = ranges.get(lookup.feed, (0, 2**63 - 1))
        low = max(low, lookup.low)
        ranges[lookup.feed] = (low, min(high, low + 1 if lookup.high is None else lookup.high))
    return ranges


def lookups(graph: Graph) -> list[Lookup]:
    """What ``graph`` looks up by its feeds, regions included, each once."""
    held: dict[str, tuple[_Fed, ...]] = {}
    found = [*_found(graph.program.global_block(), held), *_lengths(graph, held)]
    return list({repr(lookup): lookup for lookup in found}.values())  # a slice has no hash


def _found(block: pir.Block, held: dict[str, tuple[_Fed, ...]]) -> Iterator[Lookup]:
    for op in block.ops:
        if is_feed(op):
            value = op.result(0)
            if dtype_name(value.dtype) in _INTEGERS:
                held[value.id] = (_Fed(data_name(op), (), tuple(range(len(value.shape)))),)
        elif op.num_regions():
            yield from _found_inside(op, held)
        else:
            yield from _looked_up(op, held)
            kept = _handed_on(op, held)
            if kept:
                held[op.result(0).id] = kept


def _found_inside(op: Operation, held: dict[str, tuple[_Fed, ...]]) -> Iterator[Lookup]:
    """Of what a region hands out nothing is said: it may have been chosen."""
    for inner in op.blocks():
        if op.name() == "pd_op.while":
            for argument, start in zip(inner.args(), op.operands_source()[1:], strict=True):
                if start.id in held:
                    held[argument.id] = held[start.id]
        yield from _found(inner, held)


def _looked_up(op: Operation, held: Mapping[str, tuple[_Fed, ...]]) -> Iterator[Lookup]:
    known = INDEXING.get(op.name())
    if known is None:
        return
    position, range_of = known
    index = op.operands_source()[position]
    fed = held.get(identity(index) or "", ())
    if fed:
        low, high = range_of(op)
        beside = number_of(op, "ignore_index") if op.has_attr("ignore_index") else None
        for one in fed:
            yield Lookup(one.feed, one.part, low, high, beside)


def _lengths(graph: Graph, held: Mapping[str, tuple[_Fed, ...]]) -> Iterator[Lookup]:
    """The feeds that are lengths."""
    sizes: Sizes | None = None
    for op in operations(graph.program, regions=True):
        for lengths, of, axis in lengths_of(op):
            most, place = _size(of, axis), None
            if most is None:
                sizes = sizes or sizes_in(graph)
                place = sizes.place(of, axis)
            high = None if most is None else most + 1
            for one in held.get(lengths.id, ()):
                yield Lookup(one.feed, one.part, 0, high, length=True, of=place)


def _handed_on(op: Operation, held: Mapping[str, tuple[_Fed, ...]]) -> tuple[_Fed, ...]:
    """What of what is fed the first result of ``op`` is."""
    name, read = op.name(), op.operands_source()
    if name in _JOINING:
        joined = read if name == "builtin.combine" else read[:1]
        parts = [held.get(identity(value) or "", ()) for value in joined]
        return tuple(attrs.evolve(one, axes=None) for part in parts for one in part)
    fed = held.get(identity(read[0]) or "", ()) if read and op.num_results() else ()
    if not fed or not is_tensor(op.result(0)) or dtype_name(op.result(0).dtype) not in _INTEGERS:
        return ()
    short = name.removeprefix("pd_op.")
    if short == "slice":
        return tuple(_sliced(op, fed))
    if short == "transpose":
        order = numbers_of(op, "perm")
        return tuple(
            attrs.evolve(one, axes=one.axes and tuple(one.axes[k] for k in order)) for one in fed
        )
    if short in _KEEPING:
        same = short in ("assign", "cast", "share_data_")
        return tuple(one if same else attrs.evolve(one, axes=None) for one in fed)
    return ()


def _sliced(op: Operation, fed: tuple[_Fed, ...]) -> Iterator[_Fed]:
    """What is left of each where the bounds are known; of the others nothing is said."""
    starts, ends = (_constant(value) for value in op.operands_source()[1:3])
    dropped = numbers_of(op, "decrease_axis")
    for one in fed:
        if starts is None or ends is None or one.axes is None:
            continue
        axes = [one.axes[axis] for axis in numbers_of(op, "axes")]
        part = [*one.part, *[slice(None)] * (1 + max(axes) - len(one.part))]
        if all(part[axis] == slice(None) for axis in axes):
            for axis, start, end in zip(axes, starts, ends, strict=True):
                part[axis] = slice(start, None if end >= 2**31 - 1 else end)
            left = [a for k, a in enumerate(one.axes) if k not in dropped]
            yield _Fed(one.feed, tuple(part), tuple(left))


def _constant(value: paddle.Tensor) -> list[int] | None:
    op = value.get_defining_op()
    if op is None or op.name() != "pd_op.full_int_array":
        return None
    return numbers_of(op, "value")


# --- what each op allows ----------------------------------------------------------------


def _size(value: paddle.Tensor, axis: int) -> int | None:
    known = int(value.shape[axis])
    return None if known == -1 else known


def _along(op: Operation, position: int = 2) -> int:
    """The axis an op works along: an attribute, or an operand that is mostly a constant."""
    if op.has_attr("axis"):
        return number_of(op, "axis")
    made = op.operands_source()[position].get_defining_op()
    return number_of(made, "value") if made is not None and made.has_attr("value") else 0


def _rows(position: int) -> Callable[[Operation], Range]:
    """Rows of an operand, counted from 0."""
    return lambda op: (0, _size(op.operands_source()[position], 0))


def _places(axis: int | None = None) -> Callable[[Operation], Range]:
    """Places along an axis of the first operand, which may be counted from the end."""

    def allowed(op: Operation) -> Range:
        size = _size(op.operands_source()[0], _along(op) if axis is None else axis)
        return (-(2**63) if size is None else -size, size)

    return allowed


def _points(op: Operation) -> Range:
    """Points of the first operand: a number for each of its first axes."""
    value, count = op.operands_source()[0], op.operands_source()[1].shape[-1]
    sizes = [_size(value, axis) for axis in range(max(count, 1))]
    if None in sizes:
        return (-(2**63), None)
    largest = max(size for size in sizes if size is not None)
    return (-largest, largest)


def _classes(axis: int | None = None) -> Callable[[Operation], Range]:
    """Classes along an axis of the first operand, counted from 0."""

    def allowed(op: Operation) -> Range:
        if op.attrs().get("soft_label"):
            return (-(2**63), None)
        return (0, _size(op.operands_source()[0], _along(op) if axis is None else axis))

    return allowed


def _counted(attribute: str) -> Callable[[Operation], Range]:
    """As many as an attribute says, counted from 0."""
    return lambda op: (0, number_of(op, attribute))


def _depth(op: Operation) -> Range:
    """As many classes as a one-hot vector is long."""
    return (0, _size(op.result(0), -1))


INDEXING: Mapping[str, tuple[int, Callable[[Operation], Range]]] = {
    "pd_op.c_embedding": (1, lambda _: (0, None)),  # each process has a share of the rows
    "pd_op.cross_entropy_with_softmax": (1, _classes()),
    "pd_op.embedding": (0, _rows(1)),
    "pd_op.gather": (1, _places()),
    "pd_op.gather_nd": (1, _points),
    "pd_op.hsigmoid_loss": (1, _counted("num_classes")),
    "pd_op.index_add": (1, _places()),
    "pd_op.index_sample": (1, _classes(1)),
    "pd_op.index_select": (1, _places()),
    "pd_op.margin_cross_entropy": (1, _classes(1)),
    "pd_op.nll_loss": (1, _classes(1)),
    "pd_op.one_hot": (0, _depth),
    "pd_op.put_along_axis": (1, _places()),
    "pd_op.scatter": (1, _places(0)),
    "pd_op.scatter_nd_add": (1, _points),
    "pd_op.send_u_recv": (1, _rows(0)),
    "pd_op.take_along_axis": (1, _places()),
}
"""Op -> which of its operands is an index, and what that may be."""
