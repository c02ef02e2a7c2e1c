"""The mean of a variable over the rows of batches."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import attrs
import numpy as np

from purdist import graphs
from purdist.arrays import Array, Arrays
from purdist.errors import DtypeMismatchError, InvalidArgumentError, together
from purdist.internals import Internals


@attrs.define(eq=False)
class Mean:
    """A variable's mean over rows.

    Attributes:
        key: What the user calls it.
        name: The variable.
        has_rows: Whether it has rows of its own, on its first axis.
        counted: Else, the feeds that it is computed from and that have any number of rows.
        first: How many rows these had in the first batch.
        total: The sum over all rows so far.
        rows: How many these are.
    """

    key: str
    name: str
    has_rows: bool
    counted: tuple[str, ...]
    first: Mapping[str, int] = attrs.field(factory=dict)
    total: float = 0.0
    rows: int = 0

    def add(self, array: Array, fed: Arrays) -> None:
        """Counts a batch."""
        rows = len(array) if self.has_rows else self._rows_of(fed)
        if array.size:
            self.total += float(array.mean(dtype=np.float64)) * rows
            self.rows += rows

    def _rows_of(self, fed: Arrays) -> int:
        """How many rows a batch has, by any of the feeds: no other may say that it is otherwise."""
        sizes = {name: len(fed[name]) for name in self.counted}
        self.first = self.first or sizes
        if len({Fraction(size, self.first[name]) for name, size in sizes.items()}) > 1:
            shapes = ", ".join(f"{name} {list(fed[name].shape)}" for name in self.counted)
            raise InvalidArgumentError(
                f"Expected feeds that say alike how many rows a batch has, by which {self.name!r} "
                f"counts, got {shapes}.",
                "Name a variable that has a row for each of them; or give batches of one size.",
            )
        return next(iter(sizes.values()), 1)

    def number(self) -> float:
        """The mean."""
        if not self.rows:
            raise InvalidArgumentError(
                f"Expected rows of {self.name!r} to take the mean of, got none in any batch.",
                "Evaluate batches for which it has some.",
            )
        return self.total / self.rows


def means_of(own: Internals, names: Mapping[str, str]) -> list[Mean]:
    """Key -> variable, as means that have seen nothing.

    Raises:
        DtypeMismatchError: A variable is of complex numbers.
    """
    faults = [
        DtypeMismatchError(
            f"Expected a variable of real numbers to take the mean of, got {own.variables[name]}.",
            "Name its absolute value, or its real part.",
        )
        for name in names.values()
        if own.variables[name].dtype.startswith("complex")
    ]
    if faults:
        raise together(faults)
    return [_mean(own, key, name) for key, name in names.items()]


def _mean(own: Internals, key: str, name: str) -> Mean:
    if own.variables[name].shape[:1] == (-1,):
        return Mean(key, name, has_rows=True, counted=())
    graph = own.modes.inference
    feeds = graphs.feeds_of(graph.program, graph.values[name])
    inputs = own.feed_rules.inputs
    counted = tuple(n for n in inputs if n in feeds and inputs[n].shape[:1] == (-1,))
    return Mean(key, name, has_rows=False, counted=counted)
