"""`minimize` and `train`: a loss becomes gradients, and batches become steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from threading import Event
from typing import Literal, TypeAlias

import attrs
import numpy as np
import paddle
from paddle import distributed
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau
from paddle.utils import unique_name
from tqdm import tqdm

from purdist import graphs, scopes
from purdist.errors import FeedError, InvalidArgumentError, PurdistError, ShapeMismatchError
from purdist.optimizing import ask_by_names, own_optimizer
from purdist.program import (
    Distillation,
    Feed,
    Program,
    Progress,
    Stage,
    Step,
    Training,
    step_counter,
)
from purdist.stages import make_stage, without_teacher

Gradient: TypeAlias = tuple[paddle.Tensor, paddle.Tensor]


def minimize(
    distillation: Distillation,
    make_optimizer: Callable[[], Optimizer],
    *,
    teacher: Literal["graph", "inference"] = "graph",
    data_parallel: bool = False,
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

            What it asks by name (AdamW's ``apply_decay_param_fun``; Lamb's
            ``exclude_from_weight_decay_fn``, which is handed the parameter) is asked with
            `Variable.given_name`, a layer's ``p.name``. A function that says the same to all of
            those and not to all paths, such as ``layer1.fc.weight``, knows paths, and these
            count. One that says yes to none is told in a `PurdistWarning`.
        teacher: Where the teacher computes. ``"graph"``: beside the student, in one graph.
            ``"inference"``: in Paddle Inference, on the next batch while the student trains
            on this one; the numbers are the same up to rounding. It is tried first against
            the graph, in a child process, and again on the first batch, and compiled in the first
            way that is right: ``str(training)`` tells which. Trying takes two to three
            times as long as compiling the teacher, and the child 3 s to start, once in a process.
        data_parallel: Average each gradient over the processes that ``python -m
            paddle.distributed.launch`` started; each must have called
            ``paddle.distributed.init_parallel_env()``, begins with the same weights and
            trains on batches of its own. Running statistics stay each process's own.

    Raises:
        InvalidArgumentError: ``make_optimizer`` makes no optimizer, the optimizer was given
            ``parameters=``, an option that a graph cannot follow, or has been used before,
            or the loss depends on no trainable parameter; the teacher cannot be a stage of
            its own; ``data_parallel`` was asked for in a process that is alone; or a
            gradient has to go through a while loop that Paddle does not differentiate, or a
            recurrent layer with dropout that infers, or a masked_fill; or an embedding that
            learns is ``sparse``.
        EngineError: Paddle Inference computes the teacher in no way as its graph does.

    Warns:
        PurdistWarning: Paddle Inference computes the teacher rightly only without oneDNN, or an
            optimizer's function says yes to no name.
    """
    source = distillation.program
    _check_loops(source)
    _check_recurrences(source)
    _check_tables(source)
    _check_masks(source)
    if data_parallel and not distributed.is_initialized():
        raise InvalidArgumentError(
            "Expected data_parallel in a process that paddle.distributed knows, got one that is "
            "alone.",
            "Start it with python -m paddle.distributed.launch, and call "
            "paddle.distributed.init_parallel_env() first.",
        )
    with graphs.building():  # and no program about that an optimizer could take for its own
        optimizer = own_optimizer(make_optimizer)
    stage = make_stage(source) if teacher == "inference" else None
    program = attrs.evolve(source, scope=scopes.new_scope(), origins=(), live=True)
    source.hand_weights_to(program.scope, source.place)
    with graphs.building():
        step, startup = _forward(source, stage), paddle.static.Program()
        graphs.split_lists(step.program)
        graphs.derive_gradients(step.program)
        graphs.keep_for_gradients(step.program)
        graphs.make_gradients_whole(step.program)
        if isinstance(program.place, paddle.CPUPlace):
            step = graphs.in_float32_where_needed(step)
        if graphs.has_fast_kernels(program.place):
            step = graphs.flatten_linear_layers(step)
        with paddle.static.program_guard(step.program, startup), unique_name.guard("optimizer/"):
            _name_parameters(optimizer, step, source)
            with warnings.catch_warnings():
                # Paddle warns of itself: its optimizers ask each graph value where it is.
                warnings.filterwarnings("ignore", "Tensor do not have 'place' interface")
                loss = step.values[distillation.loss]
                if data_parallel:
                    gradients = _averaged(optimizer.backward(loss))
                    optimizer.apply_gradients(gradients)
                else:
                    _, gradients = optimizer.minimize(loss)
        if not gradients:
            raise InvalidArgumentError(
                f"Expected {distillation.loss!r} to depend on a trainable parameter, got none.",
                "Name a student variable that is computed from the student's parameters.",
            )
        scopes.initialise(program.scope, startup, program.place)
        fast = graphs.with_fast_kernels(step) if graphs.has_fast_kernels(program.place) else step
    schedule = graphs.scheduler_of(optimizer)
    progress = Progress()
    if schedule is not None:
        progress = Progress(schedule, step.program.lr_name)
    if distillation.schedules:
        # Weights that were loaded may be those of a training that had begun.
        counter = step_counter(distillation.loss)
        progress.steps = int(scopes.values(program.scope, [counter])[counter])
    return Training(
        program,
        distillation.loss,
        distillation.terms,
        distillation.schedules,
        fast,
        progress,
        stage,
    )


def _averaged(gradients: Sequence[Gradient]) -> list[Gradient]:
    """Each gradient averaged over the processes."""
    averaged = []
    for parameter, gradient in gradients:
        share = gradient / float(distributed.get_world_size())
        distributed.all_reduce(share)
        averaged.append((parameter, share))
    return averaged


def _check_loops(program: Program) -> None:
    for layer, fault in graphs.wrong_loops(program.graph):
        raise InvalidArgumentError(
            f"Expected while loops that Paddle differentiates, got one in "
            f"{f'the layer {layer!r}' if layer else 'no named layer'} that {fault}.",
            "Paddle's gradient of it is wrong, or is not there. A loop may carry one tensor that "
            "takes gradients, and read parameters; a loop over a known number of steps becomes "
            "none. A teacher that reads nothing that learns may loop as it likes.",
        )


def _check_recurrences(program: Program) -> None:
    for op in graphs.inferring_recurrences(program.graph):
        rate = op.attrs()["dropout_prob"]
        if rate:
            raise InvalidArgumentError(
                f"Expected a recurrent layer that infers, and that a gradient goes through, to "
                f"have no dropout, got {rate:g} in {graphs.layer_of(op)!r}.",
                "Make it with dropout=0.0: it drops nothing, and its weights are the same.",
            )


def _check_tables(program: Program) -> None:
    for op in graphs.sparse_lookups(program.graph):
        table = graphs.parameter_name(graphs.op_of(op.operand_source(1)))
        raise InvalidArgumentError(
            f"Expected tables that learn with dense gradients, got sparse=True for {table!r}.",
            "Make the embedding with sparse=False, and every row of it moves; or freeze it.",
        )


def _name_parameters(optimizer: Optimizer, step: graphs.Graph, program: Program) -> None:
    """Lets ``optimizer`` ask for the parameters of ``step`` by the names that they were given."""
    own = graphs.own_names(graphs.operations(step.program))
    learning = [v for v in own.values() if graphs.is_parameter(v) and not v.stop_gradient]
    given = {name: program.variables[name].given_name for name in program.parameters}
    ask_by_names(optimizer, learning, given)


def _check_masks(program: Program) -> None:
    for layer in graphs.lost_gradients(program.graph):
        raise InvalidArgumentError(
            f"Expected ops that Paddle differentiates, got a masked_fill in "
            f"{f'the layer {layer!r}' if layer else 'no named layer'} of a tensor by a value, both "
            "of which take gradients: that of the value would be 0.",
            "Write paddle.where(mask, value, tensor), with value.expand_as(tensor).",
        )


def _forward(program: Program, stage: Stage | None) -> graphs.Graph:
    """The graph of a step before it has gradients: without the teacher if that is a stage."""
    if stage is None:
        return graphs.copy(program.modes.training)
    rest = program.modes.training.known(without_teacher(program))
    return graphs.cut(program.modes.training, rest, stage.names)


def train(
    training: Training,
    batches: Iterable[Feed],
    *,
    fetch: Sequence[str] = (),
    seed: int | None = None,
    scheduler_every: int = 1,
    log_every: int = 1,
    progress: bool = False,
) -> Iterator[Step]:
    """Takes a step per batch, as they are asked for. Changes the scope of ``training`` alone.

    A second call goes on where the first stopped: weights, optimizer, learning rate,
    random numbers and the count of steps.

    Args:
        training: What `minimize` returned.
        batches: Feeds: input name -> array. Read one at a time, when its step is due, and one
            ahead, of which a copy is kept, where the teacher is a stage of its own.
        fetch: Names of variables to compute along, as the step saw them.
        seed: Of the random numbers the steps draw. They are this training's own: Paddle's
            random state is the same before and after a step. By default they go on, and
            begin with Paddle's state at the first step.
        scheduler_every: How many steps make one of the LR scheduler's.
        log_every: Tell one step in so many. The others are taken on the way to it, and nothing
            of them is read back.
        progress: Show a bar.

    Returns:
        A lazy iterator: a batch is trained on when its step is taken from it.

    Raises:
        UnknownVariableError: A name in ``fetch`` is none of a variable.
        InvalidArgumentError: ``scheduler_every`` or ``log_every`` is below 1, or ``batches`` is
            one feed; or a feed has a value outside the range of what is looked up by it (when
            its step is due, before it is taken).
        FeedError: A feed is no mapping, or one is missing or surplus (likewise); or Paddle fails
            at what is fed, its own error being the cause.
        ShapeMismatchError: A feed has another rank or size, or two have not the same number of
            rows (likewise).
        DtypeMismatchError: A feed has another dtype (likewise).
        EngineError: Paddle Inference computes the teacher's answer to the first batch in no way
            as its graph does, or refuses a batch.
    """
    for name, every in (("scheduler_every", scheduler_every), ("log_every", log_every)):
        if every < 1:
            raise InvalidArgumentError(
                f"Expected {name} to be at least 1, got {every}.",
                f"{name}=len(batches) is once an epoch.",
            )
    if isinstance(batches, Mapping):
        raise InvalidArgumentError(
            f"Expected an iterable of feeds, got one feed for {', '.join(map(repr, batches))}.",
            "Write train(training, [feed]).",
        )
    training.program.check_fetch(fetch, training.step, "training")
    stepper = _Stepper(training, tuple(fetch), scheduler_every, log_every)
    return _steps(stepper, batches, seed=seed, bar=progress)


def _steps(
    stepper: _Stepper, batches: Iterable[Feed], *, seed: int | None, bar: bool
) -> Iterator[Step]:
    training = stepper.training
    if seed is not None:
        training.progress.random_state = graphs.seeded(seed)
    with tqdm(batches, disable=not bar, unit="step") as shown:
        steps = map(stepper.take, shown) if training.stage is None else _staged(stepper, shown)
        for step in filter(None, steps):
            if bar:
                shown.set_postfix(loss=f"{step.loss:.4g}")
            yield step


@attrs.frozen(eq=False)
class _Stepper:
    """Takes one step of a training."""

    training: Training
    fetch: tuple[str, ...]
    scheduler_every: int
    log_every: int

    @cached_property
    def run(self) -> graphs.Runner:
        """The compiled step: the training's own, if it has fetched the same before."""
        training, program = self.training, self.training.program
        names = (training.loss, *training.terms, *self.fetch)
        runners = training.progress.runners
        if names not in runners:
            runners[names] = graphs.Runner(training.step, names, program.scope, program.place)
        return runners[names]

    def take(self, feed: Feed) -> Step | None:
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
        for name in needed:
            if not np.size(feed[name]):
                raise ShapeMismatchError(
                    f"Expected feeds that are not empty, got {name} {list(np.shape(feed[name]))}.",
                    "Leave an empty batch out.",
                )

    def step(self, feed: Feed, starting: Callable[[], object] = lambda: None) -> Step | None:
        """Trains on a feed that fits, and tells of it if it is due."""
        training, state = self.training, self.training.progress
        index = state.steps
        due = (index + 1) % self.log_every == 0
        scheduled = state.scheduler is not None and (index + 1) % self.scheduler_every == 0
        _set_numbers(training)
        with graphs.random_state(state.random_state) as now:
            try:
                told = self.run(feed, told=due or scheduled, starting=starting)
            except FeedError as error:
                raise training.program.explained(error, feed) from error.__cause__
            state.random_state = now()
        state.steps += 1
        _count(training)
        if scheduled:
            _advance(state.scheduler, float(told[0]))
        if not due:
            return None
        loss, *others = told
        count = len(training.terms)
        return Step(
            index,
            float(loss),
            {name: float(v) for name, v in zip(training.terms, others[:count], strict=True)},
            dict(zip(self.fetch, others[count:], strict=True)),
        )


def _staged(stepper: _Stepper, batches: Iterable[Feed]) -> Iterator[Step | None]:
    """Steps of a training whose teacher is a stage of its own, one batch ahead.

    The student's step is in a worker thread, for ``predictor.run()`` holds the interpreter
    lock and the executor does not. While both compute no code of the caller's runs: the
    next batch is there before they start, and the step is told when both are done. It is kept
    as it is then: whoever made it may use its arrays for the one after.
    """
    stage = stepper.training.stage
    if stage is None:
        return
    feeds = iter(batches)
    heard = [_heard(stepper, stage, feed) for feed in islice(feeds, 1)]
    with ThreadPoolExecutor(1) as worker:
        while heard:
            following = [*islice(feeds, 1)]
            step = _begun(worker, stepper, heard[0])
            try:
                heard = [_heard(stepper, stage, feed) for feed in following]
            except PurdistError:
                yield step.result()  # it was taken, whatever is wrong with the next batch
                raise
            yield step.result()


def _heard(stepper: _Stepper, stage: Stage, feed: Feed) -> Feed:
    """A copy of a feed that fits, with what the teacher says to it."""
    stepper.check(feed)
    copied = {name: np.array(array) for name, array in feed.items()}
    return {**copied, **stage.compute(copied)}


def _begun(worker: ThreadPoolExecutor, stepper: _Stepper, feed: Feed) -> Future[Step | None]:
    """Hands a step to ``worker``, and returns once it computes, or has failed.

    Before that it needs the interpreter lock, and would wait for the predictor.
    """
    computing = Event()
    step = worker.submit(stepper.step, feed, computing.set)
    step.add_done_callback(lambda _: computing.set())
    computing.wait()
    return step


def _set_numbers(training: Training) -> None:
    """Puts what a step reads from the scope there: learning rate and weights that move."""
    state, program = training.progress, training.program
    numbers = {name: schedule.at(state.steps) for name, schedule in training.schedules.items()}
    if state.scheduler is not None and state.learning_rate is not None:
        numbers[state.learning_rate] = state.scheduler()
    for name, number in numbers.items():
        scopes.write(program.scope, name, number, program.place)


def _count(training: Training) -> None:
    """Keeps the count of steps where the weights that move are kept."""
    if training.schedules:
        state, program = training.progress, training.program
        scopes.write(program.scope, step_counter(training.loss), state.steps, program.place)


def _advance(scheduler: LRScheduler | None, loss: float) -> None:
    if isinstance(scheduler, ReduceOnPlateau):
        scheduler.step(loss)
    elif scheduler is not None:
        scheduler.step()
