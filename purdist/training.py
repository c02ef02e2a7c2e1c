"""`minimize` and `train`: a loss becomes gradients, and batches become steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import attrs
import paddle
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau
from paddle.utils import unique_name
from tqdm import tqdm

from purdist import pir, scopes
from purdist.errors import InvalidArgumentError, PurdistError
from purdist.program import Distillation, Feed, Program, Progress, Stage, Step, Training
from purdist.stages import make_stage


def minimize(
    distillation: Distillation,
    make_optimizer: Callable[[], Optimizer],
    *,
    teacher: Literal["graph", "inference"] = "graph",
) -> Training:
    """A distillation made ready to train: gradients and an optimizer's ops are added.

    Args:
        distillation: What `apply` returned. It keeps its weights; the training gets a
            copy of those that can change.
        make_optimizer: Makes the optimizer, without ``parameters=``, and whatever it
            needs, such as an LR scheduler or gradient clipping::

                def make_optimizer():
                    schedule = paddle.optimizer.lr.CosineAnnealingDecay(1e-3, T_max=1000)
                    return paddle.optimizer.Adam(schedule)

        teacher: Where the teacher computes. ``"graph"``: beside the student, in one graph.
            ``"inference"``: in Paddle Inference, on the next batch while the student trains
            on this one; the numbers are the same up to rounding.

    Raises:
        InvalidArgumentError: ``make_optimizer`` makes no optimizer, the optimizer was
            given ``parameters=`` or has been used before, or the loss depends on no
            trainable parameter; or the teacher cannot be a stage of its own.
        EngineError: Paddle Inference does not take the teacher.
    """
    stage = make_stage(distillation.program) if teacher == "inference" else None
    source = distillation.program
    program = attrs.evolve(source, scope=scopes.new_scope(), origins=(), live=True)
    source.hand_weights_to(program.scope, source.place)
    with pir.building():
        step, startup = _forward(source, stage), paddle.static.Program()
        with paddle.static.program_guard(step.program, startup), unique_name.guard("optimizer/"):
            optimizer = _own_optimizer(make_optimizer)
            _, gradients = optimizer.minimize(step.values[distillation.loss])
        if not gradients:
            raise InvalidArgumentError(
                f"Expected {distillation.loss!r} to depend on a trainable parameter, got none.",
                "Name a student variable that is computed from the student's parameters.",
            )
        pir.run_once(startup, program.scope, program.place)
    schedule = optimizer._learning_rate
    progress = Progress()
    if isinstance(schedule, LRScheduler):
        progress = Progress(schedule, step.program.lr_name)
    return Training(program, distillation.loss, distillation.terms, step, progress, stage)


def _forward(program: Program, stage: Stage | None) -> pir.Graph:
    """The graph of a step before it has gradients: without the teacher if that is a stage."""
    if stage is None:
        return pir.copy(program.training)
    rest = (n for n, v in program.variables.items() if v.owner != "teacher")
    return pir.cut(
        program.training, filter(program.training.values.__contains__, rest), stage.names
    )


def _own_optimizer(make_optimizer: Callable[[], Optimizer]) -> Optimizer:
    """A copy of what the factory made, in case it, or its scheduler, is used elsewhere too."""
    if not callable(make_optimizer):
        kind = type(make_optimizer).__name__
        raise InvalidArgumentError(
            f"Expected make_optimizer to be a function that makes an optimizer, got {kind}.",
            "Write minimize(distillation, lambda: paddle.optimizer.Adam(1e-3)).",
        )
    optimizer = make_optimizer()
    if not isinstance(optimizer, Optimizer):
        raise InvalidArgumentError(
            f"Expected make_optimizer to return a Paddle optimizer, got "
            f"{type(optimizer).__name__}.",
            "Write minimize(distillation, lambda: paddle.optimizer.Adam(1e-3)).",
        )
    kind = type(optimizer).__name__
    if optimizer._parameter_list is not None:
        raise InvalidArgumentError(
            f"Expected an optimizer without parameters=, got {kind}(parameters=...), which would "
            "train nothing of this program.",
            f"Leave parameters= out: lambda: paddle.optimizer.{kind}(...). It trains every "
            "trainable parameter of the student and of the losses.",
        )
    if optimizer._learning_rate_map:
        raise InvalidArgumentError(
            f"Expected a new optimizer, got {kind}, which another program uses.",
            f"Make it in the function: lambda: paddle.optimizer.{kind}(...).",
        )
    return copy.deepcopy(optimizer)


def train(
    training: Training,
    batches: Iterable[Feed],
    *,
    fetch: Sequence[str] = (),
    seed: int | None = None,
    scheduler_every: int = 1,
    progress: bool = False,
) -> Iterator[Step]:
    """Takes a step per batch, as they are asked for. Changes the scope of ``training`` alone.

    A second call goes on where the first stopped: weights, optimizer, learning rate,
    random numbers and the count of steps.

    Args:
        training: What `minimize` returned.
        batches: Feeds: input name -> array. Read one at a time, when its step is due, and one
            ahead where the teacher is a stage of its own.
        fetch: Names of variables to compute along, as the step saw them.
        seed: Of the random numbers the steps draw. They are this training's own: Paddle's
            random state is the same before and after a step. By default they go on, and
            begin with Paddle's state at the first step.
        scheduler_every: How many steps make one of the LR scheduler's.
        progress: Show a bar.

    Returns:
        A lazy iterator: a batch is trained on when its step is taken from it.

    Raises:
        UnknownVariableError: A name in ``fetch`` is none of a variable.
        InvalidArgumentError: ``scheduler_every`` is below 1, or ``batches`` is one feed.
        FeedError: A feed is missing or surplus (when its step is due, before it is taken).
        ShapeMismatchError: A feed has another rank or size (likewise).
        DtypeMismatchError: A feed has another dtype (likewise).
    """
    if scheduler_every < 1:
        raise InvalidArgumentError(
            f"Expected scheduler_every to be at least 1, got {scheduler_every}.",
            "scheduler_every=len(batches) steps the scheduler once an epoch.",
        )
    if isinstance(batches, Mapping):
        raise InvalidArgumentError(
            f"Expected an iterable of feeds, got one feed for {', '.join(map(repr, batches))}.",
            "Write train(training, [feed]).",
        )
    training.program.check_fetch(fetch, training.step, "training")
    return _steps(
        training,
        batches,
        fetch=tuple(fetch),
        seed=seed,
        scheduler_every=scheduler_every,
        bar=progress,
    )


def _steps(
    training: Training,
    batches: Iterable[Feed],
    *,
    fetch: tuple[str, ...],
    seed: int | None,
    scheduler_every: int,
    bar: bool,
) -> Iterator[Step]:
    if seed is not None:
        training.progress.random_state = pir.seeded(seed)
    stepper = _Stepper(training, _compiled(training, fetch), fetch, scheduler_every)
    with tqdm(batches, disable=not bar, unit="step") as shown:
        steps = map(stepper.take, shown) if training.stage is None else _staged(stepper, shown)
        for step in steps:
            if bar:
                shown.set_postfix(loss=f"{step.loss:.4g}")
            yield step


@attrs.frozen(eq=False)
class _Stepper:
    """Takes one step of a training."""

    training: Training
    run: pir.Runner
    fetch: tuple[str, ...]
    scheduler_every: int

    def take(self, feed: Feed) -> Step:
        """Checks the feed, and trains on it."""
        self.check(feed)
        return self.step(feed)

    def check(self, feed: Feed) -> None:
        """Refuses a feed that does not fit the program."""
        stage = self.training.stage
        needed = self.run.feeds
        if stage is not None:
            needed = needed.difference(stage.names) | stage.feeds
        self.training.program.check_feed(feed, needed)

    def step(self, feed: Feed) -> Step:
        """Trains on a feed that fits."""
        training, state = self.training, self.training.progress
        _set_learning_rate(training)
        with pir.random_state(state.random_state) as now:
            loss, *others = self.run(feed)
            state.random_state = now()
        state.steps += 1
        if state.scheduler is not None and state.steps % self.scheduler_every == 0:
            _advance(state.scheduler, float(loss))
        count = len(training.terms)
        return Step(
            state.steps - 1,
            float(loss),
            {name: float(v) for name, v in zip(training.terms, others[:count], strict=True)},
            dict(zip(self.fetch, others[count:], strict=True)),
        )


def _staged(stepper: _Stepper, batches: Iterable[Feed]) -> Iterator[Step]:
    """Steps of a training whose teacher is a stage of its own, one batch ahead.

    The student's step is in a worker thread, for ``predictor.run()`` holds the interpreter
    lock and the executor does not. While both compute no code of the caller's runs: the
    next batch is there before they start, and the step is told when both are done.
    """
    stage = stepper.training.stage
    if stage is None:
        return
    feeds = iter(batches)
    feed = next(feeds, None)
    if feed is None:
        return
    stepper.check(feed)
    heard = stage.compute(feed)
    with ThreadPoolExecutor(1) as worker:
        while feed is not None:
            following = next(feeds, None)
            step = worker.submit(stepper.step, {**feed, **heard})
            try:
                if following is not None:
                    stepper.check(following)
                    heard = stage.compute(following)
            except PurdistError:
                yield step.result()  # it was taken, whatever is wrong with the next batch
                raise
            yield step.result()
            feed = following


def _compiled(training: Training, fetch: tuple[str, ...]) -> pir.Runner:
    runners = training.progress.runners
    if fetch not in runners:
        names = (training.loss, *training.terms, *fetch)
        program = training.program
        runners[fetch] = pir.Runner(training.step, names, program.scope, program.place)
    return runners[fetch]


def _set_learning_rate(training: Training) -> None:
    state, program = training.progress, training.program
    if state.scheduler is not None and state.learning_rate is not None:
        scopes.write(program.scope, state.learning_rate, state.scheduler(), program.place)


def _advance(scheduler: LRScheduler, loss: float) -> None:
    if isinstance(scheduler, ReduceOnPlateau):
        scheduler.step(loss)
    else:
        scheduler.step()
