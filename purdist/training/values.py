"""The values of training: a `Training`, where it stands, and each `Step` of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from paddle.optimizer.lr import LRScheduler

from purdist import graphs, processor
from purdist.checking import OfThisProcess
from purdist.losses.schedule import Schedule
from purdist.mappings import FrozenMapping
from purdist.program import Program
from purdist.teachers.driver import Driver


@attrs.frozen(eq=False)
class Training(OfThisProcess):
    """A distillation with gradients and an optimizer, ready to train.

    Attributes:
        program: The program that learns. `train` changes the weights in its scope.
        loss: The name of the variable that is minimised.
        terms: The names of its terms, unweighted.
        schedules: The weights of terms that are scheduled, as in `Distillation`.
        step: The graph of one step: forward, backward and the optimizer's ops.
        driver: The teachers that are cut out of it.
        progress: All that moves here.
        seed: What the random numbers of every batch follow from.
        rank: Which of the processes this is that train together, from 0.
        scheduler_every: How many steps make one of the LR scheduler's.
        learning_rate: The name of the learning rate in the program's scope, if it is scheduled.
    """

    program: Program
    loss: str
    terms: tuple[str, ...]
    schedules: Mapping[str, Schedule]
    step: graphs.Graph = attrs.field(repr=False)
    driver: Driver = attrs.field(repr=False)
    progress: Progress = attrs.field(repr=False)
    seed: int
    rank: int = attrs.field(default=0, repr=False)
    scheduler_every: int = attrs.field(default=1, repr=False)
    learning_rate: str | None = attrs.field(default=None, repr=False)
    _runners: dict[tuple[str, ...], graphs.Runner] = attrs.field(factory=dict, init=False)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.progress.steps

    def compiled(self, fetch: tuple[str, ...]) -> graphs.Runner:
        """The step that tells ``fetch``, compiled once."""
        if fetch not in self._runners:
            self._runners[fetch] = graphs.Runner(
                self.step, fetch, self.progress.scope, self.program.place
            )
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

    def __str__(self) -> str:
        """What is minimised, how far it is and where the teacher computes."""
        where = self.driver.describe(self.program)
        rows = [("loss", self.loss), ("terms", ", ".join(self.terms)), ("teacher", where)]
        if processor.has_generic_products():
            rows.append(("products", f"on generic kernels: set {processor.VARIABLE}=5 on AMD"))
        return "\n".join(f"{k:<9}{v}" for k, v in (*rows, ("steps", str(self.steps))))


def batch_seed(seed: int, update: int, batch: int = 0, rank: int = 0) -> int:
    """The seed of one batch, of the seed of a training and where the batch is in it."""
    sequence = np.random.SeedSequence(seed, spawn_key=(update, batch, rank))
    return int(sequence.generate_state(1, np.uint64)[0])


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


def _read_only(terms: Mapping[str, float]) -> Mapping[str, float]:
    return FrozenMapping(terms)


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``array`` if it cannot be written, a copy that cannot otherwise."""
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def _read_only_arrays(fetched: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
    return FrozenMapping({name: _own(array) for name, array in fetched.items()})


@attrs.frozen
class Step:
    """One training step that was taken: a value, of which no part can be written. It pickles.

    Steps are equal that are so in all but what was fetched.

    Attributes:
        index: Counted from 0 over the whole training.
        loss: The loss before the step changed the weights.
        terms: Term name -> its unweighted value.
        fetched: What was asked for, by name: arrays that cannot be written.
    """

    index: int
    loss: float
    terms: Mapping[str, float] = attrs.field(converter=_read_only)
    fetched: Mapping[str, npt.NDArray[Any]] = attrs.field(
        factory=dict, converter=_read_only_arrays, eq=False, repr=False
    )

    def __reduce__(self) -> tuple[type[Step], tuple[object, ...]]:
        # Arrays that are unpickled can be written.
        return Step, (self.index, self.loss, self.terms, self.fetched)
