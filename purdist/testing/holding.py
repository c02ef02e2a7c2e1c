"""What laws are made of: conditions that ``python -O`` does not leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def hold(holds: bool, text: str) -> None:  # noqa: FBT001 - the condition of an assert
    """Raises AssertionError with ``text`` where something does not hold."""
    if not holds:
        raise AssertionError(text)


def hold_close(
    what: str, got: npt.NDArray[Any], expected: npt.NDArray[Any], *, least: float = 1e-8
) -> None:
    """Equal to what float32 keeps of the largest number in the array, or up to ``least``."""
    atol = 1e-5 * float(np.abs(expected).max(initial=0.0)) + max(least, 1e-8)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=atol, err_msg=what)


def hold_same(
    what: str, got: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]]
) -> None:
    """The same names, and arrays that are equal to the last bit."""
    hold(
        got.keys() == expected.keys(),
        f"Expected {what} to have {sorted(expected)}, got {sorted(got)}.",
    )
    for name, array in expected.items():
        found = got[name]
        same = (found.dtype, found.shape) == (array.dtype, array.shape)
        hold(
            same and found.tobytes() == array.tobytes(),
            f"Expected {name} of {what} to be {array!r}, got {found!r}.",
        )
