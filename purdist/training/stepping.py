"""`train`: batches become steps."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Annotated, TypeAlias

from purdist.arrays import Batches, Feed
from purdist.checking import Names, Number
from purdist.errors import InvalidArgumentError, some
from purdist.program import internals_of
from purdist.progress import showing
from purdist.training.checkpoints import Checkpoints
from purdist.training.checks import check_several
from purdist.training.keeping import check_keeps, keeping
from purdist.training.loaders import length_of
from purdist.training.stepper import Stepper
from purdist.training.values import Step, Training, session_of

Steps: TypeAlias = Generator[Step | None, None, None]
"""What comes of batches: a step where one is due."""


def train(
    training: Training,
    batches: Batches,
    *,
    fetch: Names = (),
    log_every: Annotated[int, Number(least=1, whole=True)] = 1,
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Step]:
    """Takes a step per batch, as they are asked for. Changes the scope of ``training`` alone.

    A second call goes on where the first stopped: weights, optimizer, learning rate,
    random numbers and the count of steps.

    A feed is refused before its step. A step that fails as it runs, at sizes or numbers that only
    then meet, is not counted and moves nothing. One whose loss is nan or infinite ends training,
    and its update is not made. With ``accumulate``, batches at the end that are too few for an
    update are dropped with a warning.

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
        checkpoints: Write all that moves to disk, for `resume` to go on from: after every so many
            steps, after the last, and where the iterator is closed early or ``batches`` raise. Of
            several processes the first writes. Where one cannot be written as the iterator is
            closed, that is told in a `PurdistWarning`.

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
        NonFiniteError: A loss is nan or infinite; or a weight is, when ``batches`` end or a
            checkpoint is due, which is not written.
        RankError: Another process has no more batches, is at another step, or is gone.
        EngineError: Paddle Inference computes the teacher's answer to the first batch in no way
            as its graph does, or refuses a batch.
        CorruptFileError: A file of a cache is damaged: each is checked when it is first read.
        WriteError: A checkpoint cannot be written. The step before it was taken, and the older
            ones are whole.
        MissingFileError: The directory of ``checkpoints`` is a file, or in one.
    """
    check_several(batches, "train(training, [feed])")
    fetch = _checked(training, fetch)
    if checkpoints is not None:
        check_keeps(training, checkpoints)
    return _steps(Stepper(training, fetch, log_every), batches, checkpoints, progress=progress)


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


def _steps(
    stepper: Stepper, batches: Iterable[Feed], checkpoints: Checkpoints | None, *, progress: bool
) -> Iterator[Step]:
    steps = _taken(stepper, batches)
    if checkpoints is not None and stepper.session.rank == 0:
        steps = keeping(stepper.training, steps, checkpoints)
    if progress and stepper.session.rank == 0:
        unit = "step" if stepper.session.update.accumulate == 1 else "batch"
        steps = _shown(steps, unit, length_of(batches))
    with closing(steps):
        yield from filter(None, steps)


def _taken(stepper: Stepper, batches: Iterable[Feed]) -> Steps:
    """What comes of each batch. The training is between two updates when it ends."""
    with stepper:
        yield from stepper.session.driver.steps(batches, stepper.check, stepper.step)


def _shown(steps: Steps, unit: str, total: int | None) -> Steps:
    newest: Step | None = None

    def text() -> str:
        told = {"loss": newest.loss, **newest.terms} if newest else {}
        return ", ".join(f"{name}={value:.4g}" for name, value in told.items())

    with closing(steps), showing(unit, total) as show:
        for done, step in enumerate(steps, start=1):
            newest = step or newest
            show(done, text)
            yield step
