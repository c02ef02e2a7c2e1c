"""The optimizer of a training: a copy of the user's, asked by the names that the user knows."""

from __future__ import annotations

import copy
import functools
import itertools
import re
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import paddle
from paddle.optimizer import ASGD, Optimizer
from paddle.optimizer.lr import LinearWarmup, ReduceOnPlateau

from purdist import graphs
from purdist.errors import InvalidArgumentError, some, warn

_WRITE = "Write minimize(distillation, lambda: paddle.optimizer.Adam(1e-3))."

_INNER = "Give the optimizer inside it alone: lambda: paddle.optimizer.Adam(1e-3)."

_AVERAGE = (
    "It averages weights and takes no step. Write minimize(..., average=0.999) with another, and "
    "take student_of(training, averaged=True)."
)

_REFUSED: Mapping[str, str] = {
    "LBFGS": "It computes the loss many times in a step, on one batch. Use Momentum or Adam.",
    "ModelAverage": _AVERAGE,
    "ExponentialMovingAverage": _AVERAGE,
    "LookAhead": _INNER,
    "RecomputeOptimizer": _INNER,
    "PipelineOptimizer": _INNER,
    "GradientMergeOptimizer": f"Write minimize(..., accumulate=k). {_INNER}",
    "OptimizerWithMixedPrecision": "The network says what is cast, by "
    f"paddle.amp.auto_cast(dtype='bfloat16'): in forward, before from_layer. {_INNER}",
    "Fleet": f"Average gradients with minimize(..., data_parallel=True). {_INNER}",
    "DistributedFusedLamb": "It needs a GPU. Use paddle.optimizer.Lamb.",
}
"""The optimizers of Paddle that no graph of ours can take, and what to write instead."""


class _AnOptimizer(Protocol):
    """One of Paddle's, which hides its `paddle.optimizer.Optimizer` from mypy."""

    def get_lr(self) -> float: ...

    def backward(self, loss: paddle.Tensor, /) -> object: ...


class MakeOptimizer(Protocol):
    """A function without arguments that makes one of Paddle's optimizers."""

    def __call__(self) -> _AnOptimizer: ...


def own_optimizer(make_optimizer: MakeOptimizer) -> Optimizer:
    """A copy of what the factory made, in case it, or its scheduler, is used elsewhere too."""
    optimizer = _made(make_optimizer)
    kind = type(optimizer).__name__
    if kind in _REFUSED:
        raise _refusal(kind)
    if not isinstance(optimizer, Optimizer):
        raise InvalidArgumentError(
            f"Expected make_optimizer to return a Paddle optimizer, got {kind}.", _WRITE
        )
    if graphs.has_groups(optimizer):
        raise InvalidArgumentError(
            f"Expected an optimizer without parameters=, got {kind} with groups of them.",
            "Say what is each parameter's own where it is made: ParamAttr(learning_rate=0.1, "
            "regularizer=...), or stop_gradient = True for one that does not learn; AdamW's "
            f"apply_decay_param_fun is asked by names. Then lambda: paddle.optimizer.{kind}(...).",
        )
    if graphs.has_parameters_of_its_own(optimizer):
        raise InvalidArgumentError(
            f"Expected an optimizer without parameters=, got {kind}(parameters=...), which would "
            "train nothing of this program.",
            f"Leave parameters= out: lambda: paddle.optimizer.{kind}(...). It trains every "
            "trainable parameter of the student and of the losses.",
        )
    if graphs.is_used(optimizer):
        raise InvalidArgumentError(
            f"Expected a new optimizer, got {kind}, which another program uses.",
            f"Make it in the function: lambda: paddle.optimizer.{kind}(...).",
        )
    _check_options(optimizer, kind)
    own = copy.deepcopy(optimizer)
    graphs.clip_in_graphs(own)
    return own


def _check_options(optimizer: Optimizer, kind: str) -> None:
    if graphs.option(optimizer, "lazy_mode"):
        raise InvalidArgumentError(
            f"Expected an optimizer that moves every row, got {kind}(lazy_mode=True).",
            "Leave lazy_mode out: gradients are dense here, and every row moves.",
        )
    batches = graphs.count_of_batches(optimizer) if isinstance(optimizer, ASGD) else 1
    if batches > 1:
        # Its graph never writes down how many batches it has seen, nor their gradients.
        raise InvalidArgumentError(
            "Expected an optimizer that is in a graph what it is in dynamic mode, got "
            f"{kind}(batch_num={batches}), which Paddle runs there as SGD.",
            "Average gradients with paddle.optimizer.Momentum, or write paddle.optimizer.SGD.",
        )
    regularizer = graphs.regularizer_of(optimizer)
    if regularizer is not None and not callable(regularizer):
        raise InvalidArgumentError(
            f"Expected {kind} with a float or a regularizer as weight_decay, got "
            f"{type(regularizer).__name__}.",
            "Write weight_decay=0.01, or paddle.regularizer.L1Decay(0.01).",
        )
    check_numbers(graphs.parts_of(optimizer))
    schedule: object = graphs.scheduler_of(optimizer)
    while isinstance(schedule, LinearWarmup):
        schedule = schedule.learning_rate
        if isinstance(schedule, ReduceOnPlateau):
            raise InvalidArgumentError(
                "Expected ReduceOnPlateau alone, got it in LinearWarmup, where Paddle tells it the "
                "count of steps in place of the loss.",
                "Give it alone, and it is told the loss; or warm up to another scheduler.",
            )


def check_numbers(parts: Iterable[object]) -> None:
    """Refuses parts of an optimizer, such as regularizers, that were made with tensors."""
    for part, option, value in graphs.tensors_in(parts):
        raise InvalidArgumentError(
            f"Expected {part} with a number as {option}, got {type(value).__name__}.",
            "Give the number itself: a tensor made elsewhere is in no graph of ours.",
        )


def _made(make_optimizer: MakeOptimizer) -> object:
    try:
        # Where somebody computes there, Paddle may end the process.
        with graphs.asking(lambda _: None), graphs.parameters_listed():
            return make_optimizer()
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for kind in [type(frame.f_locals.get("self")).__name__ for frame in frames]:
            if kind in _REFUSED:
                raise _refusal(kind) from error
        ratio = "lr_ratio" in str(error)
        raise InvalidArgumentError(
            f"Expected make_optimizer to return a Paddle optimizer, it raised "
            f"{type(error).__name__}: {str(error).strip()}",
            "Leave lr_ratio out, and make the weight with ParamAttr(learning_rate=0.5)."
            if ratio
            else "Make one of paddle.optimizer, with arguments that it takes. The function is "
            "called in static mode: compute outside of it what it needs numbers for.",
        ) from error


def _refusal(kind: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Expected make_optimizer to return an optimizer that runs in a graph, got {kind}.",
        _REFUSED[kind],
    )


# --- names ------------------------------------------------------------------------------

_ENDING, _ENDINGS = re.compile(r"\.([wb])_\d+$"), {"w": ".weight", "b": ".bias"}
"""How Paddle ends the name of a parameter that it names, and how the layer calls that."""


@attrs.frozen(eq=False)
class _Named:
    """A parameter under another name, for functions that are handed one."""

    _parameter: paddle.Tensor
    name: str

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._parameter, attribute)


def ask_by_names(
    optimizer: Optimizer,
    parameters: Sequence[paddle.Tensor],
    given: Mapping[str, str],
    of_losses: Collection[str] = (),
) -> None:
    """Lets what ``optimizer`` asks by name be asked with names that the user knows.

    Those are the names in ``given``, that the makers of the parameters gave; but where a function
    says the same to all of these and not to all paths, it is paths that it knows.

    Args:
        optimizer: Ours. It is changed.
        parameters: What it trains.
        given: Path of a parameter -> the name that its maker gave it.
        of_losses: The paths of those that losses made.
    """
    readable = _readable(of_losses)
    picked_by = functools.partial(_picked, parameters=parameters, given=given, readable=readable)
    function = graphs.option(optimizer, "apply_decay_param_fun")
    if function is not None:
        picked = picked_by("apply_decay_param_fun", lambda _, name: function(name))
        graphs.set_option(optimizer, "apply_decay_param_fun", picked.__contains__)
    exclude = graphs.option(optimizer, "exclude_from_weight_decay_fn")
    if exclude is not None:
        excluded = picked_by(
            "exclude_from_weight_decay_fn",
            lambda parameter, name: exclude(_Named(parameter, name)),
        )
        graphs.set_option(
            optimizer,
            "exclude_from_weight_decay_fn",
            lambda parameter: parameter.name in excluded,
        )
    parts = graphs.option(optimizer, "exclude_from_weight_decay")
    if parts:
        without = picked_by(
            "exclude_from_weight_decay", lambda _, name: any(part in name for part in parts)
        )
        graphs.decay_all_but(optimizer, without)


def _readable(paths: Iterable[str]) -> dict[str, str]:
    """Path of what a loss made -> the same as a layer's: ``hint_0/conv2d_0.bias`` for ``.b_0``."""
    return {path: _ENDING.sub(lambda end: _ENDINGS[end[1]], path) for path in paths}


def _picked(
    argument: str,
    says: Callable[[paddle.Tensor, str], object],
    parameters: Sequence[paddle.Tensor],
    given: Mapping[str, str],
    readable: Mapping[str, str],
) -> frozenset[str]:
    """The paths of the ``parameters`` to which ``argument``, a function of the user's, says yes."""
    paths = [parameter.name for parameter in parameters]
    names = [given.get(path) or path for path in paths]

    def by_path_of(parameter: paddle.Tensor, path: str) -> bool:
        read = readable.get(path, path)
        answer = bool(says(parameter, read))
        if read == path or answer != bool(says(parameter, f"{read.rpartition('.')[0]}.?")):
            return answer
        return bool(says(parameter, path))  # a list of paths knows this one alone

    by_name = [bool(says(p, name)) for p, name in zip(parameters, names, strict=True)]
    by_path = [by_path_of(p, path) for p, path in zip(parameters, paths, strict=True)]
    both = (by_name, by_path)
    networks = [k for k, path in enumerate(paths) if path not in readable]
    answers = next(
        itertools.chain(
            # What a loss made has no name that a layer of the user's gave.
            (those for those in both if len({those[k] for k in networks}) > 1),
            (those for those in both if len(set(those)) > 1),
        ),
        [one or other for one, other in zip(*both, strict=True)],
    )
    if not any(answers):
        asked = some(f"{name} ({path})" for name, path in zip(names, paths, strict=True))
        warn(
            f"{argument} says yes to none of the {len(paths)} parameters, by name or by path: "
            f"{asked}. Names are those of the layer's "
            "parameters, p.name; paths those of named_parameters()."
        )
    return frozenset(path for path, yes in zip(paths, answers, strict=True) if yes)
