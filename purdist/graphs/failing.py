"""What Paddle says of a step that it cannot compute, said of what was fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from purdist.errors import (
    InvalidArgumentError,
    PurdistError,
    RunError,
    ShapeMismatchError,
    listed,
    printable,
)
from purdist.graphs.statements import statements_in

MARK = "purdist: "
"""What the call stack of an op begins with that fails to compute on purpose: the fault follows."""

UNMET = "purdist, of sizes: "
"""The same for one that fails where sizes do not meet."""

_LONGEST = 1000
"""Of what Paddle says."""

_SHOWN = 8
"""How many feeds are told."""


class UnmetSizesError(RunError):
    """Sizes that nobody knew do not meet. Who knows the variables says so of them."""


def failure(error: Exception, feed: Mapping[str, npt.NDArray[Any]]) -> PurdistError:
    """What to raise where Paddle computed nothing of ``feed``, its own error being ``error``."""
    text, fed = str(error), shapes_of(feed)
    if MARK in text:
        fault = text.partition(MARK)[2].partition("\n")[0]
        problem, _, remedy = fault.partition(" | ")
        return InvalidArgumentError(f"{problem}, fed {fed}.", remedy)
    if UNMET in text:
        problem = text.partition(UNMET)[2].partition("\n")[0]
        return UnmetSizesError(
            f"{problem}, fed {fed}.",
            "Paddle would broadcast them. Those sizes were not known before: feed arrays, or name "
            "variables, whose sizes are the same there.",
        )
    where = next(statements_in(text), "")
    return RunError(
        f"Expected feeds that the program can compute with, got {fed}, at which Paddle fails"
        f"{f' in {where}' if where else ''}: {said(text)}",
        "Sizes that are unknown while a graph is built, and numbers that something is looked up "
        "by, meet only when it runs: look at the shapes and the range of what is fed. Paddle's "
        "own error is the cause of this one.",
    )


def unprepared(error: Exception) -> RunError:
    """What to raise where Paddle cannot even prepare a graph to run."""
    return RunError(
        f"Expected a graph that Paddle can run, got one that it fails to prepare: "
        f"{said(str(error))}",
        "An op of it reads or says what that op cannot: build or export the network anew. Paddle's "
        "own error is the cause of this one.",
    )


def check_not_empty(feed: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuses a feed of nothing.

    Raises:
        ShapeMismatchError: An array holds no number.
    """
    for name, array in feed.items():
        if not array.size:
            raise ShapeMismatchError(
                f"Expected feeds that are not empty, got {name} {list(array.shape)}.",
                "Leave an empty batch out.",
            )


def shapes_of(feed: Mapping[str, npt.NDArray[Any]]) -> str:
    """What was fed, as a text tells it: ``x [3, 6], y [3]``."""
    shapes = (f"{name} {list(array.shape)}" for name, array in sorted(feed.items()))
    return listed(shapes, _SHOWN)


def said(text: str) -> str:
    """The line of Paddle's error that says what is wrong, with its hint."""
    shown = (line.partition("(at /paddle/")[0].strip() for line in text.splitlines())
    lines = list(filter(None, shown))
    wrong = [line for line in lines if "Error: " in line.split(" ", 1)[0] + " "]
    hints = [line for line in lines if line.startswith("[Hint")]
    found = " ".join([*(wrong[-1:] or lines[-1:] or ["nothing"]), *hints[-1:]])
    return printable(found, _LONGEST)  # it may quote what a stranger wrote
