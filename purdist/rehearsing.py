"""A loss built at unknown sizes gives what it gives at known ones, or is refused.

Whatever reads a size while a graph is built reads -1 where it is unknown, Paddle's own functions
included, and may compute with it. So the code of a loss of one's own is called again at known
sizes, and its value on random numbers is compared at two, its gradients at the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs, scopes
from purdist.arrays import Arrays
from purdist.building import Term, build_term
from purdist.building.chance import same_chance
from purdist.errors import BuildError
from purdist.losses.spec import LossSpec
from purdist.trying import agree, random_feed, sized
from purdist.variables import FLOATS, Variable

_SIZES = ((4, 8), (6, 16))
"""How many rows, and how large every other unknown axis: even, as maps mostly are."""


@contextmanager
def rehearsed(
    name: str,
    spec: LossSpec,
    variables: Mapping[str, paddle.Tensor],
    taught: Collection[str],
    place: graphs.Place,
) -> Iterator[Callable[[Term], None]]:
    """Yields what compares the term that is built inside with the same at known sizes.

    Nothing is said of a loss that cannot be built, or run, on random numbers at such sizes: one
    whose variables do not have the batch on their first axis, one that wants sorted lengths.
    Random ops draw the same numbers in both; the random state of Python and numpy is that from
    before the first call in every one, and that from after it at the end.

    Raises:
        BuildError: The two differ, or one runs and the other does not. (What is yielded.)
    """
    with same_chance() as again:

        def compare(term: Term) -> None:
            runs: list[_Run] = []
            for rows, size in _SIZES:
                again()
                # Gradients are most of the cost, and one size tells what the graph does to them.
                known = _known(name, spec, variables, taught, place, rows, size, gradients=not runs)
                if known is not None:
                    runs = runs or [_Run(term, place)]
                    _compare(name, runs[0], *known)

        yield compare


def _known(
    name: str,
    spec: LossSpec,
    variables: Mapping[str, paddle.Tensor],
    taught: Collection[str],
    place: graphs.Place,
    rows: int,
    size: int,
    *,
    gradients: bool,
) -> tuple[_Run, Arrays, Arrays] | None:
    """The loss at known sizes, what it was fed and what it said, None where it says nothing."""
    sizes = partial(sized, rows=rows, size=size)
    try:
        term = build_term(name, spec, variables, taught, sizes=sizes, again=False)
        run = _Run(term, place, gradients=gradients)
        feed = _feed(run.term)
        return run, feed, run(feed)
    except Exception:
        return None


def _compare(name: str, run: _Run, known: _Run, feed: Arrays, expected: Arrays) -> None:
    term = run.term
    try:
        got = run(feed)
    except Exception as error:
        raise BuildError(
            f"{name}: Expected the loss to run at sizes that are unknown while it is built, got "
            f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}",
            _REMEDY,
        ) from error
    for key in expected:
        values = [one.feeds[key] if key else one.result for one in (term, known.term)]
        dtype = min((graphs.dtype_name(value.dtype) for value in values), key=FLOATS.index)
        # Paddle rounds Python's numbers to float32, which a size is where it is known.
        dtype = "float32" if dtype == "float64" else dtype
        if key not in got or not agree(got[key], expected[key], dtype):
            what = f"its gradient to {key!r}" if key else "its value"
            where = _first_difference(run, known, feed)
            raise BuildError(
                f"{name}: Expected the loss to be the same at unknown sizes as at known ones, got "
                f"{_short(got.get(key))} for {_short(expected[key])} as {what}"
                f"{f', from {where} on' if where else ''}.",
                _REMEDY,
            )


_REMEDY = (
    "A size that is read while the graph is built is -1: write paddle.shape(x)[0] for it, or "
    ".mean() for a sum divided by it; and ops on all rows at once for a loop over rows, through "
    "which Paddle's gradient is mostly wrong. Or build the networks with known sizes."
)


def _short(array: npt.NDArray[Any] | None) -> str:
    if array is None:
        return "none"
    if array.size == 1:
        return f"{array.item():.6g}"
    return f"an array {list(array.shape)} of norm {np.linalg.norm(array.astype('float64')):.6g}"


def _first_difference(run: _Run, known: _Run, feed: Arrays) -> str | None:
    """The first statement after which the two have different numbers."""
    here, there = (graphs.computed_by_statement(one.term.program, FLOATS) for one in (run, known))
    shared = [statement for statement in there if statement in here]
    try:
        got = run.fetched({statement: here[statement] for statement in shared}, feed)
        expected = known.fetched({statement: there[statement] for statement in shared}, feed)
    except Exception:
        return None
    return next((s for s in shared if not agree(got[s], expected[s])), None)


def _feed(term: Term) -> Arrays:
    graph = graphs.Graph(term.program, term.feeds)
    inputs = [
        Variable(key, tuple(value.shape), graphs.dtype_name(value.dtype), "input")
        for key, value in term.feeds.items()
    ]
    return random_feed(inputs, graphs.value_ranges(graph), rows=1, size=1)


class _Run:
    """A term ready to run: its value is called '', the gradient to a feed as the feed."""

    def __init__(self, term: Term, place: graphs.Place, *, gradients: bool = True) -> None:
        self.term = term
        self._place = place
        self._scope = scopes.new_scope()
        with graphs.random_state(0):
            scopes.initialise(self._scope, term.startup, place)
        draft = graphs.Graph(term.program, {**term.feeds, "": term.result}).copy()
        result = draft.values[""]
        learning = [key for key, value in term.feeds.items() if not value.stop_gradient]
        values = {"": result}
        if gradients and learning and not result.stop_gradient:
            with draft.appending(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                feeds = [draft.values[key] for key in learning]
                found = paddle.static.gradients([result], feeds)
            values.update((k, g) for k, g in zip(learning, found, strict=True) if g is not None)
        self._values = values
        self._runner = self._compiled(draft.finish().program, values)

    def __call__(self, feed: Arrays) -> Arrays:
        with graphs.random_state(0):
            return dict(zip(self._values, self._runner(feed), strict=True))

    def fetched(self, values: Mapping[str, paddle.Tensor], feed: Arrays) -> Arrays:
        """Values of the term's own program."""
        with graphs.random_state(0):
            fetched = self._compiled(self.term.program, values)(feed)
        return dict(zip(values, fetched, strict=True))

    def _compiled(
        self, program: paddle.static.Program, values: Mapping[str, paddle.Tensor]
    ) -> graphs.Runner:
        return graphs.Runner(graphs.Graph(program, values), tuple(values), self._scope, self._place)
