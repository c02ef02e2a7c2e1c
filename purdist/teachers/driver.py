"""The teachers of a training: cut out of its program, started, and asked for each batch."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from threading import Event
from typing import Protocol, TypeVar

import attrs
import numpy as np

from purdist import graphs
from purdist.arrays import Arrays, Feed
from purdist.cutting import part
from purdist.distillation import Distillation
from purdist.errors import NameClashError, PurdistError
from purdist.feeding import FeedRules
from purdist.program import Program, internals_of
from purdist.teachers.backend import Backend, Running, ahead_of, asked, started
from purdist.teachers.cut import Cut, cut_out
from purdist.variables import Variable, as_input

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TakeStep(Protocol[T_co]):
    """Takes a step on a whole feed, and calls ``starting`` right before it computes."""

    def __call__(self, feed: Arrays, starting: Callable[[], object] = ...) -> T_co: ...


@attrs.frozen(eq=False)
class Started:
    """A teacher that computes outside of the step.

    Attributes:
        prefix: Of its names.
        outputs: The variables that the step is fed with.
        running: It.
        new: What it reads that the program has no input for.
    """

    prefix: str
    outputs: tuple[str, ...]
    running: Running
    new: Mapping[str, Variable]

    @classmethod
    def start(cls, cut: Cut, backend: Backend) -> Started:
        """The teacher that was cut out, in a backend."""
        running = started(backend, cut.network, cut.outputs)
        new = {name: v for name, v in running.feeds.items() if name not in cut.network.inputs}
        return cls(cut.prefix, cut.outputs, running, new)

    def ask(self, feed: Arrays) -> Callable[[], Arrays]:
        """What waits for its answers."""
        return self.running.ask(feed) if graphs.is_ours(self.running) else asked(self.running, feed)


@attrs.frozen(eq=False)
class Driver:
    """The teachers of a training that are cut out of its step.

    Attributes:
        teachers: They.
        ahead: How many batches they are asked for ahead of the step.
        answers: What a step is fed must be like that, where it comes from code of a user's.
    """

    teachers: tuple[Started, ...]
    ahead: int
    answers: FeedRules | None = None

    @classmethod
    def start(
        cls, distillation: Distillation, backends: Mapping[str, Backend]
    ) -> tuple[Driver, Program]:
        """Cuts teachers out of a program, and starts each in its backend.

        Returns:
            They, and the program without those that no training keeps.

        Raises:
            InvalidArgumentError: A teacher reads what the student learns.
            NameClashError: A new input has the name of a variable.
            PurdistError: A backend does not take its teacher.
        """
        cuts = [cut_out(distillation, prefix) for prefix in backends]
        with ExitStack() as opened:
            teachers: list[Started] = []
            for cut in cuts:
                teachers.append(Started.start(cut, backends[cut.prefix]))
                opened.callback(teachers[-1].running.close)
            gone = [cut for cut, teacher in zip(cuts, teachers, strict=True) if teacher.new]
            left = _without(distillation.program, gone) if gone else distillation.program
            _check_new(teachers, left)
            ahead = max(map(ahead_of, backends.values()), default=0)
            driver = cls(tuple(teachers), ahead)
            if not all(graphs.is_ours(teacher.running) for teacher in teachers):
                driver = attrs.evolve(driver, answers=driver.rules_of_answers(left))
            weakref.finalize(driver, opened.pop_all().close)
        return driver, left

    def forward(self, program: Program) -> graphs.Draft:
        """The graph of a step before it has gradients, fed with what the teachers say."""
        training = internals_of(program).modes.training
        prefixes = {teacher.prefix for teacher in self.teachers}
        inputs = [name for name in self._outputs if program.variables[name].role != "input"]
        with graphs.building():
            if not inputs:
                return training.copy()
            rest = [name for name, v in program.variables.items() if v.network not in prefixes]
            return graphs.cut(training, training.known(rest), inputs)

    def rules_of_answers(self, program: Program) -> FeedRules:
        """What all that a step of ``program`` is fed must be like, answers included."""
        fed = {name: program.variables[name] for name in program.inputs}
        for teacher in self.teachers:
            fed.update({name: as_input(program.variables[name], name) for name in teacher.outputs})
            fed.update(teacher.new)
        return FeedRules.of(self.forward(program).finish(), fed)

    @property
    def _outputs(self) -> frozenset[str]:
        return frozenset(name for teacher in self.teachers for name in teacher.outputs)

    def needs(self, step: Iterable[str]) -> frozenset[str]:
        """What is to be fed for a step that reads ``step``."""
        own = (teacher.running.feeds for teacher in self.teachers)
        return frozenset(step).difference(self._outputs).union(*own)

    def rules(self, program: Program) -> FeedRules:
        """What is to be fed must be like that."""
        rules = internals_of(program).feed_rules
        for teacher in self.teachers:
            for variable in teacher.new.values():
                rules = rules.standing_in(variable, teacher.outputs)
        return rules

    def describe(self, program: Program) -> str:
        """Where and how each teacher of ``program`` computes."""
        outside = {teacher.prefix: str(teacher.running) for teacher in self.teachers}
        places = {
            prefix: outside.get(prefix) or _in_graph(program, prefix) for prefix in program.teachers
        }
        if len(places) == 1:
            return next(iter(places.values()))
        return "; ".join(f"{prefix} {where}" for prefix, where in places.items()) or "none"

    def steps(
        self, batches: Iterable[Feed], check: Callable[[Feed], Arrays], take: TakeStep[T]
    ) -> Generator[T, None, None]:
        """Takes a step for each batch, fed with what the teachers say to it.

        Args:
            batches: What is fed.
            check: Makes arrays of a feed, and refuses one that does not fit.
            take: Takes a step.
        """
        if self.ahead:
            return self._beside(batches, check, take)
        return self._in_turn(batches, check, take)

    def _in_turn(
        self, batches: Iterable[Feed], check: Callable[[Feed], Arrays], take: TakeStep[T]
    ) -> Generator[T, None, None]:
        for feed in batches:
            arrays = check(feed)
            yield take(self._asked(arrays)() if self.teachers else arrays)

    def _beside(
        self, batches: Iterable[Feed], check: Callable[[Feed], Arrays], take: TakeStep[T]
    ) -> Generator[T, None, None]:
        """Steps in a worker thread, beside which the teachers compute in this one.

        ``predictor.run()`` holds the interpreter lock, and the executor does not. While both
        compute no code of the caller's runs: the next batch is there before they start, and the
        step is told when both are done. A batch is kept as it is then: whoever made it may use
        its arrays for the one after.
        """

        def begun(feed: Feed) -> Callable[[], Arrays]:
            try:
                arrays = check(feed)
                return self._asked({name: np.array(array) for name, array in arrays.items()})
            except PurdistError as error:
                return _raising(error)  # when its turn has come

        feeds = iter(batches)
        coming = deque(map(begun, islice(feeds, self.ahead)))
        whole = coming.popleft()() if coming else None
        with ThreadPoolExecutor(1) as worker:
            while whole is not None:
                following = [*islice(feeds, 1)]
                step = _begun(worker, take, whole)
                try:
                    coming.extend(map(begun, following))
                    whole = coming.popleft()() if coming else None
                except PurdistError:
                    yield step.result()  # it was taken, whatever is wrong with the next batch
                    raise
                yield step.result()

    def _asked(self, feed: Arrays) -> Callable[[], Arrays]:
        """What waits for the feed that the step takes."""
        answers = [teacher.ask(feed) for teacher in self.teachers]

        def whole() -> Arrays:
            fed = dict(feed)
            for answer in answers:
                fed.update(answer())
            return fed if self.answers is None else self._checked(self.answers, fed)

        return whole

    def _checked(self, rules: FeedRules, fed: Arrays) -> Arrays:
        try:
            return rules.check(fed, self._outputs.union(fed))
        except PurdistError as error:
            who = ", ".join(str(t.running) for t in self.teachers if not graphs.is_ours(t.running))
            raise error.reworded(
                f"A backend of your own answered otherwise than its teacher ({who}): "
                f"{error.problem}",
                "Look at what its Running returns: arrays as the teacher's variables are, a row "
                "for each that was fed.",
            ) from error


def _raising(error: PurdistError) -> Callable[[], Arrays]:
    def failing() -> Arrays:
        raise error

    return failing


def _begun(worker: ThreadPoolExecutor, take: TakeStep[T], feed: Arrays) -> Future[T]:
    """Hands a step to ``worker``, and returns once it computes, or has failed.

    Before that it needs the interpreter lock, and would wait for the predictor.
    """
    computing = Event()
    step = worker.submit(take, feed, computing.set)
    step.add_done_callback(lambda _: computing.set())
    computing.wait()
    return step


def _check_new(teachers: Iterable[Started], program: Program) -> None:
    for name in (name for teacher in teachers for name in teacher.new):
        if name in program.variables:
            raise NameClashError(
                f"Expected no variable of the name {name!r}, which is fed, got "
                f"{program.variables[name]}.",
                "Merge the teacher with another name_prefix.",
            )


def _in_graph(program: Program, prefix: str) -> str:
    own = [v.role for v in program.variables.values() if v.network == prefix]
    return "in the step's graph" if "activation" in own else "fed"


def _without(program: Program, cuts: Iterable[Cut]) -> Program:
    """What is left of ``program`` without teachers: it is fed what they say.

    A weight of theirs that a loss reads is the same for every batch: it stays, frozen.
    """
    prefixes = {cut.prefix for cut in cuts}
    outputs = [name for cut in cuts for name in cut.outputs]
    rest = [name for name, v in program.variables.items() if v.network not in prefixes]
    weights = [name for name in program.weights if name not in rest]
    return part(program, rest, outputs, names=(*rest, *outputs, *weights))
