"""Trying a network out: random feeds that its inputs allow, and whether two answers are one.

What is built here is tried against what it was built from: a layer's graph against the layer,
an engine against the graph, a loss at an unknown size against the same loss at known ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from purdist import graphs
from purdist.variables import FLOATS, Variable

_ROUNDING: Mapping[str, float] = {"float16": 1e-2, "bfloat16": 5e-2, "float64": 1e-8}
"""How far apart, of the largest number, two ways to compute the same may be; else as float32."""


def sized(shape: Sequence[int], *, rows: int, size: int) -> list[int]:
    """``shape`` with ``rows`` in place of an unknown first size, ``size`` of any other."""
    return [n if n != -1 else (size if axis else rows) for axis, n in enumerate(shape)]


def vary(inputs: Iterable[Variable]) -> bool:
    """Whether ``inputs`` have a size that is unknown and not that of the batch."""
    return any(-1 in variable.shape[1:] for variable in inputs)


def random_feed(
    inputs: Iterable[Variable],
    ranges: Mapping[str, tuple[int, int]],
    *,
    rows: int,
    size: int,
    seed: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """An array for each of ``inputs``: normal numbers, or integers that may be looked up.

    Args:
        inputs: What is fed.
        ranges: Input -> from where to where, exclusive, its integers may be.
        rows: The size of the first axis where it is unknown.
        size: The size of every other unknown axis.
        seed: Of the numbers.
    """
    random = np.random.RandomState(seed)
    feed: dict[str, npt.NDArray[Any]] = {}
    for variable in inputs:
        shape = sized(variable.shape, rows=rows, size=size)
        if variable.dtype in FLOATS:
            numbers = random.standard_normal(shape)
            feed[variable.name] = _as_floats(numbers, variable.dtype)
        else:
            low, high = ranges.get(variable.name, (0, 2))
            integers = random.randint(low, max(high, low + 1), shape)
            feed[variable.name] = integers.astype(graphs.array_dtype(variable.dtype))
    return feed


def _as_floats(numbers: npt.NDArray[np.float64], dtype: str) -> npt.NDArray[Any]:
    if dtype == "bfloat16":  # the upper half of a float32
        return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return numbers.astype(dtype)


def apart(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest difference of two arrays, infinite where one has no number or another shape."""
    if one.shape != other.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def told_apart(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    """How far ``got`` is from what was expected, of the same shape, as a text tells it."""
    largest = np.abs(expected.astype(np.float64)).max(initial=0.0)
    return f"off by {apart(got, expected):.2g}, where the largest is {largest:.2g}"


def agree(got: npt.NDArray[Any], expected: npt.NDArray[Any], dtype: str = "float32") -> bool:
    """Whether two arrays are one answer up to rounding: of one shape, nan and inf alike.

    Args:
        got: What was computed in one way.
        expected: What was computed in another.
        dtype: In what both were computed.
    """
    if got.shape != expected.shape:
        return False
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(got, expected))
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return False
    largest = float(np.abs(expected[finite]).max(initial=0.0))
    allowed = _ROUNDING.get(dtype, 1e-4) * largest + 1e-7
    return bool((np.abs(got[finite] - expected[finite]) <= allowed).all())
