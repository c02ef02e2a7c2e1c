"""How far what a layer computes is from what its graph computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist.arrays import Arrays
from purdist.trying import apart, told_apart

Outputs = dict[tuple[int, int], list[npt.NDArray[Any]]]
"""The id of a layer and the number of its call -> the tensors that it put out."""

_SEED = 1

_NUDGE = 1e-6
"""How far the numbers of a feed are moved to see how far the layer's answers move."""

_MOVED = 100.0
"""How many times further than a nudged feed moves them two ways to compute may part.

A nudge is some ten roundings, of one tensor out of many.
"""


@attrs.frozen(eq=False)
class Difference:
    """An output that is not what the graph computes.

    Attributes:
        key: Whose output.
        position: Which of its tensors.
        name: The variable.
        got: What the graph computes.
        expected: What the layer computes.
    """

    key: tuple[int, int]
    position: int
    name: str
    got: npt.NDArray[Any]
    expected: npt.NDArray[Any]

    def is_rounding(self, moved: Sequence[npt.NDArray[Any]]) -> bool:
        """Whether it is small beside what a nudge of the inputs makes of the output."""
        if self.position >= len(moved) or self.got.shape != self.expected.shape:
            return False
        nudge = apart(moved[self.position], self.expected)
        return apart(self.got, self.expected) <= _MOVED * nudge

    def __str__(self) -> str:
        if self.got.shape != self.expected.shape:
            return f"{list(self.got.shape)} in the graph, {list(self.expected.shape)} in the layer"
        return told_apart(self.got, self.expected)


def nudged(feed: Arrays) -> Arrays:
    """``feed``, each number moved by some `_NUDGE` of itself."""
    random = np.random.RandomState(_SEED)
    return {
        name: (array * (1.0 + _NUDGE * random.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feed.items()
    }


def same(ones: Outputs, others: Outputs) -> bool:
    """Whether both are equal to the bit."""
    return ones.keys() == others.keys() and all(
        len(ones[key]) == len(others[key])
        and all(map(np.array_equal, map(_bits, ones[key]), map(_bits, others[key])))
        for key in ones
    )


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.frombuffer(array.tobytes(), np.uint8)
