"""What feeds must be to each other, and to what is looked up by them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeGuard

import attrs
import numpy as np
import numpy.typing as npt

from purdist import graphs
from purdist.arrays import Array, Arrays, Feed, array_of, dtype_of, of_rank
from purdist.errors import (
    DtypeMismatchError,
    FeedError,
    InvalidArgumentError,
    PurdistError,
    ShapeMismatchError,
    together,
)
from purdist.variables import Variable

_SHOWN = 3
"""How many wrong values an error shows."""


@attrs.frozen(eq=False)
class FeedRules:
    """What a graph asks of its feeds: of each, of all together, and of what is looked up by them.

    Attributes:
        inputs: What is fed.
        agreements: Axes that must be of one size, because they meet in an op.
        lookups: What is looked up by integers.
    """

    inputs: Mapping[str, Variable]
    agreements: tuple[graphs.Agreement, ...]
    lookups: tuple[graphs.Lookup, ...]

    @classmethod
    def of(cls, graph: graphs.Graph, inputs: Mapping[str, Variable]) -> FeedRules:
        """The rules of ``graph``, of which ``inputs`` is what is known of its inputs."""
        return cls(inputs, tuple(graphs.agreements(graph)), tuple(graphs.lookups(graph)))

    def standing_in(self, new: Variable, names: Collection[str]) -> FeedRules:
        """The rules where ``new`` is fed, and ``names`` are found by it, row by row."""
        return FeedRules(
            {**{n: v for n, v in self.inputs.items() if n not in names}, new.name: new},
            tuple(_standing_in(a, new.name, names) for a in self.agreements),
            tuple(lookup for lookup in self.lookups if lookup.feed not in names),
        )

    def check(self, feed: Feed, needed: Collection[str]) -> Arrays:
        """Refuses a ``feed`` that does not fit the inputs, all faults told together.

        Returns:
            What to run: the feed, in which all that was no array, such as a tensor or a list of
            numbers, is one.

        Raises:
            FeedError: It is no mapping, one of ``needed`` is missing, or a name is none of an
                input; or a value is a masked array, or nothing that numpy makes numbers of.
            ShapeMismatchError: Another rank, another size on a known axis, or sizes of two feeds
                that meet and differ.
            DtypeMismatchError: Another dtype.
            InvalidArgumentError: A value by which nothing can be looked up.
        """
        if not isinstance(feed, Mapping):
            raise self._no_mapping(feed, needed)
        if self._fits(feed, needed):
            return feed
        arrays, found = self._arrays_of(feed)
        found = found or list(self._each(feed, arrays, needed))
        found = found or list(self.faults(arrays, needed))
        if found:
            raise together(found)
        return arrays

    def _no_mapping(self, feed: object, needed: Collection[str]) -> FeedError:
        """The error for a batch as a DataLoader makes one: it says how to write the feed."""
        names = [repr(name) for name in self.inputs if name in needed]
        if isinstance(feed, list | tuple):
            listed = ", ".join(names)
            remedy = f"Where a DataLoader gives it, write feeds(loader, [{listed}]), in its order."
        else:
            remedy = f"Make it a dict with {', '.join(names) or 'nothing'}."
        return FeedError(
            "Expected a feed, a mapping from the names of inputs to arrays, got "
            f"{type(feed).__name__}.",
            remedy,
        )

    def _arrays_of(self, feed: Feed) -> tuple[dict[str, Array], list[PurdistError]]:
        """What is fed as arrays, and what is wrong with what cannot be one."""
        arrays: dict[str, Array] = {}
        faults: list[PurdistError] = []
        for name, value in feed.items():
            try:
                arrays[name] = array_of(name, value, self.inputs.get(name))
            except FeedError as fault:
                faults.append(fault)
        return arrays, faults

    def _fits(self, feed: Mapping[str, Any], needed: Collection[str]) -> TypeGuard[Arrays]:
        """Whether there is nothing to say against ``feed``: a matter of microseconds."""
        kinds = self._kinds
        if not (kinds.keys() >= feed.keys() and all(name in feed for name in needed)):
            return False
        for name, array in feed.items():
            dtype, rank, sizes = kinds[name]
            if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != rank:
                return False
            if any(array.shape[axis] != size for axis, size in sizes):
                return False
        return next(self.faults(feed, needed), None) is None

    @cached_property
    def _kinds(self) -> Mapping[str, tuple[np.dtype[Any], int, tuple[tuple[int, int], ...]]]:
        """Input -> its dtype, its rank and its sizes that are known, by axis."""
        return {
            name: (
                graphs.array_dtype(variable.dtype),
                len(variable.shape),
                tuple((axis, size) for axis, size in enumerate(variable.shape) if size != -1),
            )
            for name, variable in self.inputs.items()
        }

    def _each(self, feed: Feed, arrays: Arrays, needed: Collection[str]) -> Iterator[PurdistError]:
        """What is missing, surplus or not as its input is known to be."""
        missing = sorted(set(needed).difference(feed))
        if missing:
            yield FeedError(
                f"Expected a feed for {', '.join(str(self.inputs[name]) for name in missing)}, got "
                f"feeds for {_listed(feed)}.",
                f"Add {_listed(missing)} to the feed.",
            )
        for name, array in arrays.items():
            if name in self.inputs:
                yield from _unlike(self.inputs[name], feed[name], array)
            else:
                yield FeedError(
                    f"Expected feeds for {_listed(self.inputs)}, got one for {name!r}, which the "
                    "program has no input for.",
                    f"Take {name!r} out of the feed, or name what is to be fed with "
                    "feeds(loader, names).",
                )

    def faults(self, feed: Arrays, needed: Collection[str]) -> Iterator[PurdistError]:
        """What is wrong with feeds that are ``needed`` beside the shape and dtype of each."""
        for agreement in self.agreements:
            fed = [place for place in agreement.places if place[0] in needed and place[0] in feed]
            sizes = {np.shape(feed[name])[axis] for name, axis in fed}
            if agreement.size is not None:
                sizes.add(agreement.size)
            if len(sizes) > 1:
                yield _disagreement(agreement, {name: np.shape(feed[name]) for name, _ in fed})
        for lookup in self.lookups:
            if lookup.feed in needed and lookup.feed in feed:
                yield from _strangers(_bounded(lookup, feed), feed[lookup.feed])


def _unlike(variable: Variable, value: object, array: Array) -> Iterator[PurdistError]:
    """What keeps ``array``, made of ``value``, from being fed as ``variable``."""
    expected = graphs.array_dtype(variable.dtype)
    if array.dtype != expected:
        swapped = array.dtype.name == expected.name
        order = f" in the byte order {array.dtype.byteorder!r}" if swapped else ""
        yield DtypeMismatchError(
            f"Expected the feed {variable}, got an array of {dtype_of(value, array)}{order}.",
            _converted(variable, value),
        )
    if array.ndim != len(variable.shape):
        yield ShapeMismatchError(
            f"Expected the feed {variable} of rank {len(variable.shape)}, got an array of "
            f"rank {array.ndim}, shape {list(array.shape)}.",
            of_rank(variable, array),
        )
        return
    sizes = enumerate(zip(variable.shape, array.shape, strict=True))
    wrong = [(axis, known, got) for axis, (known, got) in sizes if known not in (-1, got)]
    if wrong:
        axes = "; ".join(f"axis {axis} must be {known}, it is {got}" for axis, known, got in wrong)
        yield ShapeMismatchError(
            f"Expected the feed {variable}, got an array of shape {list(array.shape)}.",
            f"{axes[0].upper()}{axes[1:]}.",
        )


def _converted(variable: Variable, value: object) -> str:
    """How to write ``value`` in the dtype of ``variable``."""
    name, dtype = variable.name, variable.dtype
    if dtype == "bfloat16":
        return f"Feed {name!r} as paddle.to_tensor(...).astype('bfloat16')."
    if isinstance(value, list | tuple | int | float):
        return f"Feed {name!r} as numpy.array(..., {dtype!r}), if that has the numbers."
    return f"Feed {name!r} with .astype({dtype!r})."


def _standing_in(agreement: graphs.Agreement, new: str, names: Collection[str]) -> graphs.Agreement:
    places = [
        (new if name in names else name, axis)
        for name, axis in agreement.places
        if name not in names or axis == 0
    ]
    return attrs.evolve(agreement, places=tuple(dict.fromkeys(places)))


def _disagreement(
    agreement: graphs.Agreement, shapes: Mapping[str, tuple[int, ...]]
) -> ShapeMismatchError:
    there = [(name, axis) for name, axis in agreement.places if name in shapes]
    got = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
    size = f", {agreement.size}" if agreement.size is not None else ""
    if all(axis == 0 for _, axis in there):
        return ShapeMismatchError(
            f"Expected feeds of one number of rows{size}, got {got}.",
            "They meet row by row in the program: feed as many rows of each. An input that is one "
            "row for all of them says so: InputSpec([1, ...]).",
        )
    axes = " and ".join(f"axis {axis} of {name!r}" for name, axis in sorted(there))
    return ShapeMismatchError(
        f"Expected {axes} to be of one size{size}, got {got}.",
        "They meet in the program: feed arrays that agree there.",
    )


def _bounded(lookup: graphs.Lookup, feed: Mapping[str, Array]) -> graphs.Lookup:
    """``lookup`` with what ``feed`` says of lengths: no more than the size that they are of."""
    if lookup.of is None or lookup.of[0] not in feed:
        return lookup
    name, axis = lookup.of
    return attrs.evolve(lookup, high=np.shape(feed[name])[axis] + 1)


def _strangers(lookup: graphs.Lookup, array: Array) -> Iterator[PurdistError]:
    """The values of an array that nothing can be looked up by."""
    looked = array[lookup.part] if lookup.part else array
    if not looked.size or _all_found(lookup, looked):
        return
    wrong = looked < lookup.low
    if lookup.high is not None:
        wrong |= looked >= lookup.high
    if lookup.beside is not None:
        wrong &= looked != lookup.beside
    if wrong.any():
        yield _stranger(lookup, array, looked, np.argwhere(wrong))


def _all_found(lookup: graphs.Lookup, looked: Array) -> bool:
    """Whether all values are in the range itself, told as fast as can be."""
    if lookup.low == 0 and lookup.high is not None and looked.dtype.kind == "i":
        # What is below 0 is very large without its sign.
        return bool(looked.view(f"u{looked.itemsize}").max() < lookup.high)
    high = lookup.high
    return bool(looked.min() >= lookup.low and (high is None or looked.max() < high))


def _stranger(
    lookup: graphs.Lookup, array: Array, looked: Array, places: npt.NDArray[np.int64]
) -> InvalidArgumentError:
    shown = [f"{looked[tuple(place)]} in {_where(lookup, place)}" for place in places[:_SHOWN]]
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    what = "lengths are of" if lookup.length else "is looked up"
    high = f"the size of what {what}" if lookup.high is None else str(lookup.high)
    beside = "" if lookup.beside is None else f" or {lookup.beside}"
    return InvalidArgumentError(
        f"Expected {lookup.feed} to be at least {lookup.low} and below {high}{beside}, got "
        f"{', '.join(shown)}{more}, of shape {list(array.shape)}.",
        "These are lengths: none is above the size of what was padded."
        if lookup.length
        else "Something is looked up by these numbers: classes, words and rows are counted from 0.",
    )


def _where(lookup: graphs.Lookup, place: npt.NDArray[np.int64]) -> str:
    """The row, and the rest of the index where there is more, in the whole array."""
    first = [part.start or 0 for part in lookup.part] + [0] * (len(place) - len(lookup.part))
    row, *others = (int(k) + start for k, start in zip(place, first, strict=True))
    return f"row {row}" + (f" at {[row, *others]}" if others else "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
