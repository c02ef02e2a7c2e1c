"""`train`: batches become steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated

import attrs
from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau

from purdist import graphs, scopes
from purdist.arrays import Arrays, Batches, Feed
from purdist.checking import Names, Number
from purdist.errors import InvalidArgumentError, RunError, some
from purdist.feeding import FeedRules
from purdist.program import internals_of
from purdist.progress import showing
from purdist.training.checks import check_several
from purdist.training.session import Session
from purdist.training.values import Step, Training, sealed, session_of


def train(
    training: Training,
    batches: Batches,
    *,
    fetch: Names = (),
    log_every: Annotated[int, Number(least=1, whole=True)] = 1,
    progress: bool = False,
) -> Iterator[Step]:
    """Takes a step per batch, as they are asked for. Changes the scope of ``training`` alone.

    A second call goes on where the first stopped: weights, optimizer, learning rate,
    random numbers and the count of steps.

    A feed is refused before its step. A step that fails as it runs, at sizes or numbers that only
    then meet, is not counted and moves neither the learning rate nor the random numbers; but what
    had run by then stays: running statistics may have gathered the batch, and weights that what
    failed has no part in may have moved. Save the weights before if batches are not to be trusted.

    Every tenth step is told, and all are taken::

        for step in train(training, batches, log_every=10):
            print(step.index, step.loss, step.terms)

    Two calls over one iterator of batches would lose what the first has read ahead. One that is
    taken piece by piece loses nothing::

        import itertools

        steps = train(training, batches)
        for step in itertools.islice(steps, 3):  # look at the weights, and take three more
            print(step.loss)

    Args:
        training: What `minimize` returned.
        batches: Feeds: input name -> array or tensor. Read one at a time, when its step is due;
            where a teacher computes ahead of the step, as many earlier as its `Backend.ahead`
            says. Of those copies are kept, and what was read ahead when the iterator is closed is
            not trained on.
        fetch: Names of variables to compute along, as the step saw them.
        log_every: Tell one step in so many. The others are taken on the way to it, and nothing
            of them is read back.
        progress: Show loss, terms, steps a second and, where ``batches`` has a length, the time
            left, on the standard error: a bar that is redrawn four times a second, or, where no
            terminal is, a line twice a minute and one at the end. Of several processes the first.

    Returns:
        A lazy iterator: a batch is trained on when its step is taken from it.

    Raises:
        UnknownVariableError: A name in ``fetch`` is none of a variable.
        InvalidArgumentError: ``log_every`` is below 1, or ``batches`` is one feed; or a feed has
            a value outside the range of what is looked up by it (when its step is due, before it
            is taken); or a `Running` of your own gives no mapping.
        FeedError: A feed is no mapping, or one is missing, surplus or masked (likewise).
        ShapeMismatchError: A feed has another rank or size, or is empty, or two have not the same
            number of rows (likewise); or variables of a loss do not meet.
        DtypeMismatchError: A feed has another dtype (likewise).
        SeveralFaultsError: Faults of several of these kinds.
        RunError: Paddle fails as it computes, at sizes or numbers that only then meet; its own
            error is the cause.
        EngineError: Paddle Inference computes the teacher's answer to the first batch in no way
            as its graph does, or refuses a batch.
        CorruptFileError: A file of a cache is damaged: each is checked when it is first read.
    """
    check_several(batches, "train(training, [feed])")
    fetch = _checked(training, fetch)
    return _steps(_Stepper(training, fetch, log_every), batches, progress=progress)


def _checked(training: Training, fetch: Names) -> tuple[str, ...]:
    """``fetch``, if the step computes all of it: of a teacher elsewhere it gets the outputs."""
    names = tuple(fetch)
    variables, session = training.program.variables, session_of(training)
    for teacher in session.driver.teachers:
        for name in names:
            own = name in variables and variables[name].network == teacher.prefix
            if own and name not in session.step.values:
                raise InvalidArgumentError(
                    f"Expected variables that the step computes, got {name!r} of a teacher that "
                    f"runs {teacher.running}.",
                    f"Of that teacher a step gets {some(map(repr, teacher.outputs))}: fetch these, "
                    "ask training.program.run, or leave teacher= out of minimize.",
                )
    return internals_of(training.program).check_fetch(names, session.step, "training")


def _steps(stepper: _Stepper, batches: Iterable[Feed], *, progress: bool) -> Iterator[Step]:
    steps = stepper.session.driver.steps(batches, stepper.check, stepper.step)
    if progress and stepper.session.rank == 0:
        steps = _shown(steps, _length(batches))
    yield from filter(None, steps)


def _shown(steps: Iterable[Step | None], total: int | None) -> Iterator[Step | None]:
    newest: Step | None = None

    def text() -> str:
        told = {"loss": newest.loss, **newest.terms} if newest else {}
        return ", ".join(f"{name}={value:.4g}" for name, value in told.items())

    with showing("step", total) as show:
        for done, step in enumerate(steps, start=1):
            newest = step or newest
            show(done, text)
            yield step


def _length(batches: Iterable[Feed]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except Exception:  # whatever theirs raise that have a length of others alone
        return None


@attrs.frozen(eq=False)
class _Stepper:
    """Takes one step of a training."""

    training: Training
    fetch: tuple[str, ...]
    log_every: int

    @property
    def session(self) -> Session:
        """What moves."""
        return session_of(self.training)

    @cached_property
    def run(self) -> graphs.Runner:
        """The compiled step."""
        return self.session.compiled((self.training.loss, *self.training.terms, *self.fetch))

    @cached_property
    def needed(self) -> frozenset[str]:
        """What must be fed."""
        return self.session.driver.needs(self.run.feeds)

    @cached_property
    def rules(self) -> FeedRules:
        """What it must be like."""
        return self.session.driver.rules(self.training.program)

    def check(self, feed: Feed) -> Arrays:
        """A feed in arrays, refused if it does not fit."""
        arrays = self.rules.check(feed, self.needed)
        graphs.check_not_empty({name: arrays[name] for name in self.needed})
        return arrays

    def step(self, feed: Arrays, starting: Callable[[], object] = lambda: None) -> Step | None:
        """Trains on a whole feed that fits, and tells of it if it is due."""
        training, session = self.training, self.session
        progress = session.progress
        index = progress.steps
        due = (index + 1) % self.log_every == 0
        scheduler = progress.scheduler if (index + 1) % session.scheduler_every == 0 else None
        weights, rate = session.weights_at(index), session.learning_rate_now()
        _set_numbers(session, weights, rate)
        try:
            with session.drawing(index):
                numbers = self.run(feed, read=due or scheduler is not None, starting=starting)
        except RunError as error:
            raise internals_of(training.program).explained(error, feed) from error.__cause__
        progress.steps += 1
        if scheduler is not None:
            _advance(scheduler, float(numbers[0]))
        if not due:
            return None
        loss, *others = numbers
        count = len(training.terms)
        return Step(
            index,
            float(loss),
            {name: float(v) for name, v in zip(training.terms, others[:count], strict=True)},
            weights,
            rate,
            sealed(dict(zip(self.fetch, others[count:], strict=True))),
        )


def _set_numbers(session: Session, weights: Mapping[str, float], rate: float) -> None:
    """Puts what a step reads from the scope there: weights that move, and learning rate."""
    numbers = {name: weights[term] for term, name in session.moving.items()}
    if session.rate_in_scope is not None:
        numbers[session.rate_in_scope] = rate
    for name, number in numbers.items():
        scopes.write(session.progress.scope, name, number, session.place)


def _advance(scheduler: LRScheduler, loss: float) -> None:
    if isinstance(scheduler, ReduceOnPlateau):
        scheduler.step(loss)
    else:
        scheduler.step()
