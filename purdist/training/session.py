"""`Session`: what a `Training` is inside, for the steps that move it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import attrs
import numpy as np
from paddle.optimizer.lr import LRScheduler

from purdist import graphs, scopes
from purdist.losses.schedule import Schedule
from purdist.teachers.driver import Driver
from purdist.training.recipe import Recipe
from purdist.training.updating import DUE, StepGraph, Update


@attrs.define(eq=False)
class Progress:
    """All that moves in a training, so that a second `train` goes on where the first stopped.

    Attributes:
        scope: The weights, and what the optimizer keeps of them. It is that of the program.
        scheduler: What sets the learning rate, None if it is constant.
        steps: How many updates were made: the one clock. Schedules of weights, the LR scheduler
            and random numbers go by it.
        is_begun: Whether there are gradients of an update that was not made.
        at_rest: Whether no step was begun that has not ended: one that fails as it runs may leave
            some of its writes.
    """

    scope: graphs.Scope
    scheduler: LRScheduler | None = None
    steps: int = 0
    is_begun: bool = False
    at_rest: bool = True


@attrs.frozen(eq=False)
class Session:
    """The compiled step of a training, and all that moves in it.

    Attributes:
        built: The graph of one step: forward, backward and the update.
        update: How weights follow gradients.
        forward: The graph of the losses alone.
        driver: The teachers that are cut out of it.
        progress: All that moves.
        place: Where it runs.
        weights: Term -> its factor in the loss, in the order of the terms.
        moving: Term -> where the scope keeps its factor, of those that a schedule moves.
        learning_rate: What it is where it is constant.
        kept: The names of all that the scope keeps from update to update: weights that move, and
            what the optimizer and averages keep.
        statistics: Those of them that the forward graph moves.
        seed: What the random numbers of every batch follow from.
        rank: Which of the processes this is that train together, from 0.
        scheduler_every: How many steps make one of the LR scheduler's.
        recipe: What it was made of.
    """

    built: StepGraph
    update: Update
    forward: graphs.Graph
    driver: Driver
    progress: Progress
    place: graphs.Place
    weights: Mapping[str, float | Schedule]
    moving: Mapping[str, str]
    learning_rate: float
    kept: tuple[str, ...]
    statistics: tuple[str, ...]
    seed: int
    rank: int
    scheduler_every: int
    recipe: Recipe
    _runners: dict[tuple[str, ...], graphs.Runner] = attrs.field(factory=dict, init=False)

    @property
    def step(self) -> graphs.Graph:
        """The graph of one step."""
        return self.built.graph

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

    def set_numbers(self, weights: Mapping[str, float], rate: float) -> None:
        """Puts what an update reads from the scope there: weights that move, and learning rate."""
        numbers = {name: weights[term] for term, name in self.moving.items()}
        if self.built.rate is not None:
            numbers[self.built.rate] = rate
        for name, number in numbers.items():
            scopes.write(self.progress.scope, name, number, self.place)

    def set_due(self, *, due: bool) -> None:
        """Says whether the update follows the next batch."""
        if self.update.accumulate > 1:
            scopes.write(self.progress.scope, DUE, float(due), self.place)

    def clear_sums(self) -> None:
        """Forgets gradients of an update that was not made."""
        for name, array in scopes.values(self.progress.scope, self.built.sums).items():
            scopes.put(self.progress.scope, name, np.zeros_like(array), self.place)

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
