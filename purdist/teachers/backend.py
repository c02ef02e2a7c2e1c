"""`Backend` and `Running`: what there is to say of how a teacher runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from purdist.arrays import Arrays
from purdist.program import Program
from purdist.variables import Variable


class Running(ABC):
    """A teacher that was started: it is asked with one feed after the other.

    Nobody closes it while it is asked: the training does when it goes.
    """

    @property
    @abstractmethod
    def feeds(self) -> Mapping[str, Variable]:
        """What it reads of a feed: inputs of the teacher, or new ones.

        A training with new ones keeps no teacher: they stand for it, row by row.
        """

    @abstractmethod
    def ask(self, feed: Arrays) -> Callable[[], Arrays]:
        """Begins to compute what can begin.

        Returns:
            What waits for the answers: name of an output -> array. It is called once, in the
            order of the feeds.
        """

    def close(self) -> None:  # noqa: B027 - may hold nothing
        """Lets go of what it holds. It is not asked again."""

    @abstractmethod
    def __str__(self) -> str:
        """Where and how it computes, as ``str(training)`` says it."""


class Backend(ABC):
    """A way to run a teacher: a frozen value that pickles. `minimize` takes one as ``teacher=``."""

    @property
    @abstractmethod
    def ahead(self) -> int:
        """How many batches it computes ahead of the student's step, which then runs beside it.

        What is read ahead is copied. With 0 it answers right before the step.
        """

    @abstractmethod
    def start(self, teacher: Program, outputs: tuple[str, ...]) -> Running:
        """Makes a teacher ready to be asked.

        Args:
            teacher: The teacher alone, cut out of the program: nothing in it learns.
            outputs: The variables of it that are asked for.
        """
