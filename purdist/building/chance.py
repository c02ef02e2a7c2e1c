"""The random numbers that code draws from Python and numpy while it builds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np


@contextmanager
def same_chance() -> Iterator[Callable[[], None]]:
    """Yields what sets the random state back to that of the beginning.

    At the end it is that from before the first time it was set: calls after that draw nothing.
    """
    before = _states()
    after: list[_States] = []

    def again() -> None:
        after.append(_states())
        _set(before)

    try:
        yield again
    finally:
        if after:
            _set(after[0])


_States: TypeAlias = "tuple[tuple[object, ...], dict[str, object]]"


def _states() -> _States:
    return random.getstate(), np.random.get_state(legacy=False)


def _set(states: _States) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
