"""The processes that train together: they begin alike, and end together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar, cast

from paddle import distributed

from purdist import graphs, scopes
from purdist.errors import PurdistError, RankError, RunError, listed
from purdist.program import Program
from purdist.training.averaging import moving_names
from purdist.training.exchanging import Exchange
from purdist.training.session import Session

T = TypeVar("T")


def begin_alike(program: Program) -> None:
    """Gives each process the weights of the first, where they can change.

    Raises:
        RankError: Those that cannot differ, or the graphs do.
    """
    moving = moving_names(program)
    with graphs.dynamic():
        texts: list[str] = []
        distributed.all_gather_object(texts, _fingerprint(program, moving))
        others = [rank for rank, text in enumerate(texts) if text != texts[0]]
        if others:
            raise RankError(
                "Expected the same networks, losses and teachers in all processes, got others in "
                f"{listed(map(str, others))} than in 0.",
                "Build them alike, and let the teacher be read from one file, or begin from one "
                "seed.",
            )
        arrays = [scopes.values(program.scope, moving)]
        distributed.broadcast_object_list(arrays, src=0)
    for name, array in arrays[0].items():
        scopes.put(program.scope, name, array, program.place)


def _fingerprint(program: Program, moving: list[str]) -> str:
    """What of a program must be the same in all processes."""
    text = hashlib.sha256(graphs.signature(program.graph).encode())
    rest = [name for name in program.weights if name not in moving]
    for name, array in scopes.some_of(program.scope, rest).items():
        text.update(name.encode())
        text.update(array.tobytes())
    return text.hexdigest()


def check_together(updates: list[int], rank: int, step: int) -> None:
    """Holds against each other what processes said before an update.

    Args:
        updates: Of each process the number of its update, counted from 1, 0 for none.
        rank: Which of them this is.
        step: The index of the step.

    Raises:
        RankError: Some have no more batches, or are elsewhere.
    """
    gone = [other for other, update in enumerate(updates) if update == 0]
    if gone:
        raise RankError(
            f"Expected all processes to take step {step}, got no more batches in "
            f"{listed(map(str, gone))}; this is {rank}.",
            "Give each as many batches: paddle.io.DistributedBatchSampler evens them out. That "
            "update was not made in any.",
        )
    if len(set(updates)) > 1:
        where = listed(f"{other}: {update - 1}" for other, update in enumerate(updates))
        raise RankError(
            f"Expected all processes at one step, got {where}.",
            "Resume all of them from one checkpoint, or none.",
        )


def of_the_first(session: Session, choose: Callable[[], T]) -> T:
    """What ``choose`` returns, or raises, in the first process, in all of them."""
    if session.built.exchange is None:
        return choose()
    told: list[T | PurdistError | None] = [None]
    if session.rank == 0:
        try:
            told = [choose()]
        except PurdistError as error:
            told = [error]
    with graphs.dynamic():
        distributed.broadcast_object_list(told, src=0)
    if isinstance(told[0], PurdistError):
        raise told[0]
    return cast("T", told[0])


def is_lost(error: RunError) -> bool:
    """Whether a step failed because another process is gone.

    Of a connection that was closed Paddle says no more than this; its own ops say what they miss.
    """
    said = str(error.__cause__).strip()
    return said == "std::exception" or "gloo" in said.lower()


def lost(step: int) -> RankError:
    """The error where another process is gone."""
    return RankError(
        f"Expected all processes to take step {step}, got one that is gone.",
        "See what it said last, in the log folder of paddle.distributed.launch; start all again, "
        "and resume from the newest checkpoint.",
    )


def leave(exchange: Exchange, session: Session, *, raising: bool) -> None:
    """Says that this process takes no more steps, to those who wait for it.

    Args:
        exchange: How.
        session: Of this process.
        raising: Whether to refuse that others go on.

    Raises:
        RankError: They do, or one is gone.
    """
    step = session.progress.steps
    try:
        updates = exchange.leave(session.place)
    except RunError as error:
        if raising and is_lost(error):
            raise lost(step) from error
        return
    if raising and any(updates):
        check_together(updates, session.rank, step)
