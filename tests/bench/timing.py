"""Timing side by side: A, B, A, B, ... in one run, medians and their spread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from purdist import processor


@attrs.frozen
class Timed:
    """How long something took, over many runs.

    Attributes:
        seconds: Each run.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return float(np.median(self.seconds))

    def __add__(self, other: Timed) -> Timed:
        return Timed(tuple(a + b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def __sub__(self, other: Timed) -> Timed:
        return Timed(tuple(a - b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def __str__(self) -> str:
        low, high = np.percentile(self.seconds, [25, 75])
        return f"{1e3 * self.median:.2f} ms ({1e3 * low:.2f} to {1e3 * high:.2f})"


def alternate(
    things: Mapping[str, Callable[[], object]], *, runs: int, calls: int = 1, warmup: int = 3
) -> dict[str, Timed]:
    """Runs each thing in turn, ``runs`` times over after ``warmup`` rounds.

    A run is the mean of so many ``calls`` on end: a thing of a millisecond, called once, would
    be timed on caches that the others have filled. What returns a number of seconds is taken
    at its word.
    """
    taken: dict[str, list[float]] = {name: [] for name in things}
    for round_ in range(warmup + runs):
        for name, thing in things.items():
            seconds = [_timed(thing) for _ in range(calls)]
            if round_ >= warmup:
                taken[name].append(float(np.mean(seconds)))
    return {name: Timed(tuple(seconds)) for name, seconds in taken.items()}


def _timed(thing: Callable[[], object]) -> float:
    start = time.perf_counter()
    answer = thing()
    elapsed = time.perf_counter() - start
    return answer if isinstance(answer, float) else elapsed


def machine() -> str:
    """Where this runs, and whether Paddle's products are slower there than they need be."""
    products = "on generic kernels" if processor.has_generic_products() else "as they should be"
    return f"{processor.model()}, {len(os.sched_getaffinity(0))} cores; products {products}"


def ratio(of: Timed, to: Timed) -> str:
    """The median of the ratios, run by run, and their quartiles."""
    ratios = np.array(of.seconds) / np.array(to.seconds)
    low, high = np.percentile(ratios, [25, 75])
    return f"{np.median(ratios):.2f} ({low:.2f} to {high:.2f})"
