"""The processes that train together: they begin alike, and end together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from paddle import distributed

from purdist import graphs, scopes
from purdist.errors import PurdistError, RankError, RunError, listed
from purdist.training.exchanging import Exchange
from purdist.training.fingerprint import Fingerprint
from purdist.training.session import Session
from purdist.training.values import Training, session_of

T = TypeVar("T")


def begin_alike(training: Training) -> None:
    """Gives each process all that moves as the first has it.

    Raises:
        RankError: What cannot move differs, or what the trainings are made of.
    """
    session = session_of(training)
    with graphs.dynamic():
        made: list[tuple[Fingerprint, int]] = []
        distributed.all_gather_object(made, (Fingerprint.of(training), session.seed))
        for rank, (other, seed) in enumerate(made):
            _check_alike(rank, made[0][0], other, made[0][1], seed)
        arrays = [scopes.values(session.progress.scope, session.kept)]
        distributed.broadcast_object_list(arrays, src=0)
    scopes.put_each(session.progress.scope, arrays[0], session.place)


def _check_alike(
    rank: int, first: Fingerprint, other: Fingerprint, seed: int, other_seed: int
) -> None:
    found = list(first.differences(other))
    if seed != other_seed:
        found.append(("minimize's seed", str(seed), str(other_seed)))
    for what, one, another in found:
        raise RankError(
            f"Expected the same training in all processes, got others: {what} is {one} in 0, "
            f"{another} in {rank}.",
            "Build it alike in all of them. Teachers, and what is frozen, must be read from one "
            "file, or begin from one seed.",
        )


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
            f"{listed(map(str, gone))}, or an error, or a loop that was left; this is {rank}.",
            "See what it said last. Give each as many batches (paddle.io.DistributedBatchSampler "
            "evens them out), and leave loops by a number that is the same in all. That update was "
            "not made in any.",
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
