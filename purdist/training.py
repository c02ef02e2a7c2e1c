"""`minimize` and `train`: a loss becomes gradients, and batches become steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import paddle
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau
from paddle.utils import unique_name
from tqdm import tqdm

from purdist import pir, scopes
from purdist.errors import InvalidArgumentError
from purdist.program import Distillation, Feed, Progress, Step, Training


def minimize(distillation: Distillation, make_optimizer: Callable[[], Optimizer]) -> Training:
    """A distillation made ready to train: gradients and an optimizer's ops are added.

    Args:
        distillation: What `apply` returned. It keeps its weights; the training gets a
            copy of those that can change.
        make_optimizer: Makes the optimizer, without ``parameters=``, and whatever it
            needs, such as an LR scheduler or gradient clipping::

                def make_optimizer():
                    schedule = paddle.optimizer.lr.CosineAnnealingDecay(1e-3, T_max=1000)
                    return paddle.optimizer.Adam(schedule)

    Raises:
        InvalidArgumentError: The optimizer was given ``parameters=``, has been used
            before, or the loss depends on no trainable parameter.
    """
    source = distillation.program
    program = attrs.evolve(source, scope=scopes.new_scope(), origins=(), live=True)
    source.hand_weights_to(program.scope, source.place)
    with pir.building():
        step, startup = pir.copy(source.training), paddle.static.Program()
        with paddle.static.program_guard(step.program, startup), unique_name.guard("optimizer/"):
            optimizer = _own_optimizer(make_optimizer())
            _, gradients = optimizer.minimize(step.values[distillation.loss])
        if not gradients:
            raise InvalidArgumentError(
                f"Expected {distillation.loss!r} to depend on a trainable parameter, got none.",
                "Name a student variable that is computed from the student's parameters.",
            )
        pir.run_once(startup, program.scope, program.place)
    schedule = optimizer._learning_rate
    scheduled = isinstance(schedule, LRScheduler)
    progress = Progress(
        schedule if scheduled else None, step.program.lr_name if scheduled else None
    )
    return Training(program, distillation.loss, distillation.terms, step, progress)


def _own_optimizer(optimizer: Optimizer) -> Optimizer:
    """A copy of what the factory made, in case it, or its scheduler, is used elsewhere too."""
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
        batches: Feeds: input name -> array. Read one at a time, when its step is due.
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
        InvalidArgumentError: ``scheduler_every`` is below 1.
        FeedError: A feed is missing or surplus (when its step is due, before it is taken).
        ShapeMismatchError: A feed has another rank or size (likewise).
        DtypeMismatchError: A feed has another dtype (likewise).
    """
    if scheduler_every < 1:
        raise InvalidArgumentError(
            f"Expected scheduler_every to be at least 1, got {scheduler_every}.",
            "scheduler_every=len(batches) steps the scheduler once an epoch.",
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
    state = training.progress
    if seed is not None:
        state.random_state = pir.seeded(seed)
    run = _compiled(training, fetch)
    count = len(training.terms)
    with tqdm(batches, disable=not bar, unit="step") as shown:
        for feed in shown:
            training.program.check_feed(feed, run.feeds)
            _set_learning_rate(training)
            with pir.random_state(state.random_state) as now:
                loss, *others = run(feed)
                state.random_state = now()
            state.steps += 1
            if state.scheduler is not None and state.steps % scheduler_every == 0:
                _advance(state.scheduler, float(loss))
            if bar:
                shown.set_postfix(loss=f"{float(loss):.4g}")
            yield Step(
                state.steps - 1,
                float(loss),
                {name: float(v) for name, v in zip(training.terms, others[:count], strict=True)},
                dict(zip(fetch, others[count:], strict=True)),
            )


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
