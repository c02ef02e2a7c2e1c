"""The graph of a step: forward, backward and what the optimizer does with the gradients."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import distributed
from paddle.optimizer import Optimizer
from paddle.utils import unique_name

from purdist import graphs, scopes
from purdist.errors import InvalidArgumentError
from purdist.program import Program
from purdist.training.optimizing import ask_by_names, check_numbers


def make_step(
    step: graphs.Draft, loss: str, optimizer: Optimizer, program: Program, *, data_parallel: bool
) -> tuple[graphs.Graph, str | None]:
    """The step that moves the weights of ``program`` so that ``loss`` falls.

    Args:
        step: What computes the loss. It grows to the step.
        loss: Its name.
        optimizer: Ours. What it keeps gets into the program's scope.
        program: Whose weights learn.
        data_parallel: Whether each gradient is averaged over the processes.

    Returns:
        The step, and the name in the scope of its learning rate, if that is scheduled.

    Raises:
        InvalidArgumentError: The loss depends on no trainable parameter.
    """
    fast = graphs.has_fast_kernels(program.place)
    with graphs.building():
        _make_ready(step, program.place)
        startup = paddle.static.Program()
        with step.appending(startup), unique_name.guard("optimizer/"):
            _name_parameters(optimizer, step, program)
            gradients = _update(optimizer, step.values[loss], data_parallel=data_parallel)
        if not gradients:
            raise InvalidArgumentError(
                f"Expected {loss!r} to depend on a trainable parameter, got none.",
                "Name a student variable that is computed from the student's parameters, in a loss "
                "whose weight is not 0.",
            )
        scopes.initialise(program.scope, startup, program.place)
        rate = None if graphs.scheduler_of(optimizer) is None else step.program.lr_name
        finished = step.finish()
        return graphs.with_fast_kernels(finished) if fast else finished, rate


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


def _update(
    optimizer: Optimizer, loss: paddle.Tensor, *, data_parallel: bool
) -> list[graphs.Gradient]:
    """Adds the gradients and the optimizer's ops to the default program."""
    gradients = graphs.gradients(optimizer, loss)
    if data_parallel:
        gradients = _averaged(gradients)
    try:
        if data_parallel:
            optimizer.apply_gradients(gradients)
        else:
            graphs.follow(optimizer, loss, gradients)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")
        raise InvalidArgumentError(
            f"Expected {type(optimizer).__name__}, with its clip and its regularizers, to run in a "
            f"graph, it raised {said}",
            "Use those of paddle.optimizer, paddle.nn and paddle.regularizer, with arguments that "
            "they take: one of your own must compute with values of a PIR graph.",
        ) from error
    return gradients


def _averaged(gradients: Sequence[graphs.Gradient]) -> list[graphs.Gradient]:
    """Each gradient averaged over the processes."""
    averaged = []
    for parameter, gradient in gradients:
        share = gradient / float(distributed.get_world_size())
        distributed.all_reduce(share)
        averaged.append((parameter, share))
    return averaged


def _name_parameters(optimizer: Optimizer, step: graphs.Draft, program: Program) -> None:
    """Lets ``optimizer`` ask for the parameters of ``step`` by the names that they were given."""
    own = graphs.own_names(graphs.operations(step.program))
    learning = [v for v in own.values() if graphs.is_parameter(v) and not v.stop_gradient]
    given = {name: program.variables[name].given_name for name in program.parameters}
    made = [name for name in program.parameters if program.variables[name].owner == "loss"]
    check_numbers(v.regularizer for v in learning)
    ask_by_names(optimizer, learning, given, made)
