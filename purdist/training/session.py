"""`Session`: what a `Training` is inside, for the steps that move it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import attrs
import numpy as np
from paddle.optimizer.lr import LRScheduler

from purdist import graphs
from purdist.losses.schedule import Schedule
from purdist.teachers.driver import Driver


@attrs.define(eq=False)
class Progress:
    """All that moves in a training, so that a second `train` goes on where the first stopped.

    Attributes:
        scope: The weights, and what the optimizer keeps of them. It is that of the program.
        scheduler: What sets the learning rate, None if it is constant.
        steps: How many steps were taken: the one clock. Schedules of weights, the LR scheduler
            and random numbers go by it.
    """

    scope: graphs.Scope
    scheduler: LRScheduler | None = None
    steps: int = 0


@attrs.frozen(eq=False)
class Session:
    """The compiled step of a training, and all that moves in it.

    Attributes:
        step: The graph of one step: forward, backward and the optimizer's ops.
        driver: The teachers that are cut out of it.
        progress: All that moves.
        place: Where it runs.
        weights: Term -> its factor in the loss, in the order of the terms.
        moving: Term -> where the scope keeps its factor, of those that a schedule moves.
        learning_rate: What it is where it is constant.
        rate_in_scope: Where the scope keeps it where a scheduler moves it.
        seed: What the random numbers of every batch follow from.
        rank: Which of the processes this is that train together, from 0.
        scheduler_every: How many steps make one of the LR scheduler's.
    """

    step: graphs.Graph
    driver: Driver
    progress: Progress
    place: graphs.Place
    weights: Mapping[str, float | Schedule]
    moving: Mapping[str, str]
    learning_rate: float
    rate_in_scope: str | None
    seed: int
    rank: int
    scheduler_every: int
    _runners: dict[tuple[str, ...], graphs.Runner] = attrs.field(factory=dict, init=False)

    def weights_at(self, step: int) -> dict[str, float]:
        """The factor of each term at a step."""
        return {
            term: weight.at(step) if isinstance(weight, Schedule) else float(weight)
            for term, weight in self.weights.items()
        }

    def learning_rate_now(self) -> float:
        """That of the next step."""
        scheduler = self.progress.scheduler
        return self.learning_rate if scheduler is None else float(scheduler())

    def compiled(self, fetch: tuple[str, ...]) -> graphs.Runner:
        """The step that tells ``fetch``, compiled once."""
        if fetch not in self._runners:
            self._runners[fetch] = graphs.Runner(self.step, fetch, self.progress.scope, self.place)
        return self._runners[fetch]

    def drawing(self, update: int, batch: int = 0) -> AbstractContextManager[None]:
        """Paddle's random state for a batch of an update, and as found afterwards.

        It follows from the seed and from where the batch is, and from nothing that was drawn
        before. A step that draws nothing needs none.
        """
        if not self._draws:
            return nullcontext()
        return graphs.random_state(batch_seed(self.seed, update, batch, self.rank))

    @cached_property
    def _draws(self) -> bool:
        return bool(graphs.random_operations(self.step.program))


def batch_seed(seed: int, update: int, batch: int = 0, rank: int = 0) -> int:
    """The seed of one batch, of the seed of a training and where the batch is in it."""
    sequence = np.random.SeedSequence(seed, spawn_key=(update, batch, rank))
    return int(sequence.generate_state(1, np.uint64)[0])
