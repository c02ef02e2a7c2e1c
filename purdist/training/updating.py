"""The graph of a step: gradients, and the update that follows them where the loss is finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import paddle
from paddle.optimizer import Optimizer
from paddle.utils import unique_name

from purdist import graphs, scopes
from purdist.errors import InvalidArgumentError, some
from purdist.program import Program
from purdist.training.averaging import averages_of, begin_averages, pairs_of, statistics_of
from purdist.training.exchanging import Exchange
from purdist.training.optimizing import ask_by_names, check_numbers
from purdist.variables import FLOATS

DUE = "update/due"
"""Where the scope says whether the update follows the gradients of this batch."""


@attrs.frozen(kw_only=True)
class Update:
    """How weights follow gradients, beside what the optimizer does.

    Attributes:
        accumulate: Over how many batches gradients are averaged before.
        processes: How many average them, each over batches of its own.
        average: The rate of the moving average of the weights that learn, None without.
        follow: Prefix of a teacher that follows the student -> its rate.
    """

    accumulate: int = 1
    processes: int = 1
    average: float | None = None
    follow: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class StepGraph:
    """A step that was built.

    Attributes:
        graph: Forward, backward and the update.
        rate: Where the scope keeps the learning rate, if that is scheduled.
        kept: What the optimizer and averages keep in the scope from update to update.
        sums: Where the scope keeps what is added up between updates.
        exchange: What the processes tell each other, None for one alone.
    """

    graph: graphs.Graph
    rate: str | None
    kept: tuple[str, ...]
    sums: tuple[str, ...]
    exchange: Exchange | None


def make_step(
    step: graphs.Draft,
    losses: Sequence[str],
    optimizer: Optimizer,
    program: Program,
    update: Update,
) -> StepGraph:
    """The step that moves the weights of ``program`` so that its loss falls.

    Args:
        step: What computes the loss. It grows to the step.
        losses: The name of the loss, and those of its terms.
        optimizer: Ours. What it keeps gets into the program's scope.
        program: Whose weights learn.
        update: How they follow.

    Raises:
        InvalidArgumentError: The loss depends on no trainable parameter.
    """
    fast = graphs.has_fast_kernels(program.place)
    with graphs.building():
        _make_ready(step, program.place)
        startup = paddle.static.Program()
        with step.appending(startup), unique_name.guard("optimizer/"):
            _name_parameters(optimizer, step, program)
            added = _Added.to(step, losses, optimizer, program, update)
        made = scopes.initialise(program.scope, startup, program.place)
        rate = None if graphs.scheduler_of(optimizer) is None else step.program.lr_name
        begin_averages(program, added.averages)
        finished = step.finish()
        return StepGraph(
            graphs.with_fast_kernels(finished) if fast else finished,
            rate,
            tuple(name for name in made if name not in {*added.between, rate}),
            added.sums,
            added.exchange,
        )


@attrs.frozen(eq=False)
class _Added:
    """What was added to a forward graph.

    Attributes:
        sums: Where the scope keeps what is added up between updates.
        averages: The weights of which it keeps a moving average.
        exchange: What the processes tell each other, None for one alone.
    """

    sums: tuple[str, ...]
    averages: tuple[str, ...]
    exchange: Exchange | None

    @property
    def between(self) -> frozenset[str]:
        """Where the scope keeps what means nothing after an update."""
        told = () if self.exchange is None else self.exchange.names
        return frozenset((*self.sums, *told, DUE))

    @classmethod
    def to(
        cls,
        step: graphs.Draft,
        losses: Sequence[str],
        optimizer: Optimizer,
        program: Program,
        update: Update,
    ) -> _Added:
        """Adds gradients and update to the default program, which is that of ``step``."""
        told = [step.values[name] for name in losses]
        own = graphs.own_names(graphs.operations(step.program))
        gradients = graphs.gradients(optimizer, told[0])
        if not gradients:
            raise InvalidArgumentError(
                f"Expected {losses[0]!r} to depend on a trainable parameter, got none.",
                "Name a student variable that is computed from the student's parameters, in a loss "
                "whose weight is not 0.",
            )
        exchange, statistics = None, list[paddle.Tensor]()
        if update.processes > 1:
            statistics = [own[n] for n in statistics_of(program) if n in own]
            statistics = [v for v in statistics if graphs.dtype_name(v.dtype) in FLOATS]
            exchange = Exchange.of(gradients, statistics, len(losses), update.processes)
        sums = _sums(gradients) if update.accumulate > 1 else []
        averages = averages_of(gradients, program) if update.average is not None else {}
        following = pairs_of(program, own, update.follow)

        def add() -> None:
            means = _means(gradients, sums, update.accumulate)
            fine = paddle.isfinite(told[0])
            if exchange is not None:
                means, fine = exchange.add(told, means, statistics, update.accumulate)

            def go() -> None:
                _follow(optimizer, told[0], means)
                for kept in sums:
                    graphs.clear(kept)
                for name, average in averages.items():
                    graphs.move_towards(average, own[name], update.average or 0.0)
                for teacher, student, rate in following:
                    graphs.move_towards(teacher, student, rate)

            graphs.where_true(fine, go)

        if update.accumulate > 1:
            graphs.where_true(graphs.kept_in_scope(DUE, [], "float32") > 0.5, add)
        else:
            add()
        return cls(tuple(kept.name for kept in sums), tuple(averages), exchange)


def _sums(gradients: Sequence[graphs.Gradient]) -> list[paddle.Tensor]:
    """Where each gradient is added up, with the ops that do so."""
    sums = []
    for parameter, gradient in gradients:
        dtype = graphs.wide(gradient.dtype)
        kept = graphs.kept_in_scope(f"sum/{parameter.name}", parameter.shape, dtype)
        graphs.add_to(kept, gradient)
        sums.append(kept)
    return sums


def _means(
    gradients: Sequence[graphs.Gradient], sums: Sequence[paddle.Tensor], count: int
) -> list[graphs.Gradient]:
    """The gradients of an update over ``count`` batches."""
    if not sums:
        return list(gradients)
    return [
        (parameter, graphs.in_dtype(graphs.mean_of(kept, count), graphs.dtype_name(gradient.dtype)))
        for (parameter, gradient), kept in zip(gradients, sums, strict=True)
    ]


def _make_ready(forward: graphs.Draft, place: graphs.Place) -> None:
    """Lets Paddle's gradients of ``forward`` be right, and its kernels fast."""
    graphs.split_lists(forward)
    graphs.derive_gradients(forward)
    graphs.keep_for_gradients(forward)
    graphs.make_gradients_whole(forward)
    if isinstance(place, paddle.CPUPlace):
        graphs.in_float32_where_needed(forward)
    if graphs.has_fast_kernels(place):
        graphs.flatten_linear_layers(forward)


def _follow(optimizer: Optimizer, loss: paddle.Tensor, gradients: list[graphs.Gradient]) -> None:
    """Adds the optimizer's ops to the default program."""
    try:
        graphs.follow(optimizer, loss, gradients)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")
        kinds = {f"{p.name} {list(p.shape)}": graphs.dtype_name(p.dtype) for p, _ in gradients}
        low = [weight for weight, dtype in kinds.items() if graphs.wide(dtype) != dtype]
        raise InvalidArgumentError(
            f"Expected {type(optimizer).__name__}, with its clip and its regularizers, to run in a "
            f"graph, it raised {said}",
            f"Weights of bfloat16 learn with SGD alone: keep {some(low)} in float32, and let "
            "forward cast, by paddle.amp.auto_cast(dtype='bfloat16')."
            if low
            else "Use those of paddle.optimizer, paddle.nn and paddle.regularizer, with arguments "
            "that they take: one of your own must compute with values of a PIR graph.",
        ) from error


def _name_parameters(optimizer: Optimizer, step: graphs.Draft, program: Program) -> None:
    """Lets ``optimizer`` ask for the parameters of ``step`` by the names that they were given."""
    own = graphs.own_names(graphs.operations(step.program))
    learning = [v for v in own.values() if graphs.is_parameter(v) and not v.stop_gradient]
    given = {name: program.variables[name].given_name for name in program.parameters}
    made = [name for name in program.parameters if program.variables[name].owner == "loss"]
    check_numbers(v.regularizer for v in learning)
    ask_by_names(optimizer, learning, given, made)
