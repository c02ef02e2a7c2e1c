"""The values of training: a `Training`, where it stands, and each `Step` of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy.typing as npt
from paddle.optimizer.lr import LRScheduler

from purdist import graphs
from purdist.losses.schedule import Schedule
from purdist.program import Program
from purdist.stages import Stage


@attrs.frozen(eq=False)
class Training:
    """A distillation with gradients and an optimizer, ready to train.

    Attributes:
        program: The program that learns. `train` changes the weights in its scope.
        loss: The name of the variable that is minimised.
        terms: The names of its terms, unweighted.
        schedules: The weights that move, as in `Distillation`.
        step: The graph of one step: forward, backward and the optimizer's ops.
        progress: Where training stands; the one thing here that moves.
        stage: The teacher, where it is not part of the step.
    """

    program: Program
    loss: str
    terms: tuple[str, ...]
    schedules: Mapping[str, Schedule]
    step: graphs.Graph = attrs.field(repr=False)
    progress: Progress = attrs.field(repr=False)
    stage: Stage | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        """What is minimised, how far it is and where the teacher computes."""
        roles = {v.role for v in self.program.variables.values() if v.owner == "teacher"}
        alone = "in the step's graph" if "activation" in roles else "fed" if roles else "none"
        where = self.stage.describe() if self.stage else alone
        rows = ("loss", self.loss), ("terms", ", ".join(self.terms)), ("teacher", where)
        return "\n".join(f"{k:<9}{v}" for k, v in (*rows, ("steps", str(self.progress.steps))))


@attrs.define(eq=False)
class Progress:
    """Where a training stands, so that a second `train` goes on where the first stopped.

    Attributes:
        scheduler: What sets the learning rate, None if it is constant.
        learning_rate: The name of the learning rate in the program's scope, if it is scheduled.
        steps: How many steps were taken.
        random_state: Of the random numbers that training draws, None before the first.
        runners: A compiled step per choice of what is fetched.
    """

    scheduler: LRScheduler | None = None
    learning_rate: str | None = None
    steps: int = 0
    random_state: graphs.RandomState | None = None
    runners: dict[tuple[str, ...], graphs.Runner] = attrs.field(factory=dict)


@attrs.frozen
class Step:
    """One training step that was taken.

    Attributes:
        index: Counted from 0 over the whole training.
        loss: The loss before the step changed the weights.
        terms: Term name -> its unweighted value.
        fetched: What was asked for by name.
    """

    index: int
    loss: float
    terms: Mapping[str, float]
    fetched: Mapping[str, npt.NDArray[Any]] = attrs.field(factory=dict, eq=False, repr=False)
