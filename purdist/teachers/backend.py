"""`Backend` and `Running`: what there is to say of how a teacher runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from purdist.arrays import Arrays
from purdist.checking import Kind, MisfitError, Number, kind_of, shown
from purdist.errors import InvalidArgumentError
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

    @property
    def in_step(self) -> bool:
        """Whether the step computes the teacher itself: nothing is cut out, nothing started."""
        return False

    @abstractmethod
    def start(self, teacher: Program, outputs: tuple[str, ...]) -> Running | None:
        """Makes a teacher ready to be asked.

        Args:
            teacher: The teacher alone, cut out of the program: nothing in it learns.
            outputs: The variables of it that are asked for.

        Returns:
            It; None of a backend that is `in_step`, which has nothing to start.
        """


def ahead_of(backend: Backend) -> int:
    """How many batches ``backend`` computes ahead, by code that may be a user's.

    Raises:
        InvalidArgumentError: It says no number.
    """
    ahead: int = _returned(backend.ahead, _COUNT, backend, "ahead")
    return ahead


def started(backend: Backend, teacher: Program, outputs: tuple[str, ...]) -> Running:
    """``teacher`` as ``backend`` runs it, by code that may be a user's.

    Raises:
        InvalidArgumentError: What it returns is no `Running`, or reads what is no input.
    """
    running: Running = _returned(backend.start(teacher, outputs), _RUNNING, backend, "start")
    feeds = _returned(running.feeds, _FEEDS, running, "feeds")
    for name, variable in feeds.items():
        if variable.name != name:
            raise InvalidArgumentError(
                f"Expected {type(running).__name__}.feeds to have each input under its name, got "
                f"{variable} under {name!r}.",
                f"Return {{variable.name: variable}}, such as {{{variable.name!r}: ...}}.",
            )
    return running


def asked(running: Running, feed: Arrays) -> Callable[[], Arrays]:
    """What waits for the answers of a teacher that runs by code of a user's.

    Raises:
        InvalidArgumentError: It is no function, or gives no mapping.
    """
    answer = _returned(running.ask(feed), _WAITING, running, "ask")
    return lambda: _returned(answer(), _ANSWERS, running, "ask(feed)")


_COUNT = kind_of(Annotated[int, Number(least=0, whole=True)])
_RUNNING = kind_of(Running)
_FEEDS = kind_of(Mapping[str, Variable])
_WAITING = kind_of(Callable)
_ANSWERS = kind_of(Mapping[str, object])


def _returned(value: object, kind: Kind, of: object, name: str) -> Any:
    try:
        return kind.read(value)
    except MisfitError as misfit:
        raise InvalidArgumentError(
            f"Expected {type(of).__name__}.{name} to return {kind.words}, got "
            f"{shown(misfit.got)}{misfit.at and f' at {misfit.at}'}.",
            "help(purdist.Backend) and help(purdist.Running) say what each of them gives.",
        ) from None
