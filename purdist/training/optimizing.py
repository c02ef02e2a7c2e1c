"""The optimizer of a training: a copy of the user's, asked by the names that the user knows."""

from __future__ import annotations

import copy
import numbers
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import paddle
from paddle.optimizer import ASGD, Optimizer

from purdist import graphs
from purdist.errors import InvalidArgumentError, PurdistWarning

_WRITE = "Write minimize(distillation, lambda: paddle.optimizer.Adam(1e-3))."

_INNER = "Give the optimizer inside it alone: lambda: paddle.optimizer.Adam(1e-3)."

_AVERAGE = (
    "It averages weights and takes no step. Train with another, and average what "
    "save_weights(training, path) writes after the steps you choose."
)

_REFUSED: Mapping[str, str] = {
    "LBFGS": "It computes the loss many times in a step, on one batch. Use Momentum or Adam.",
    "ModelAverage": _AVERAGE,
    "ExponentialMovingAverage": _AVERAGE,
    "LookAhead": _INNER,
    "RecomputeOptimizer": _INNER,
    "PipelineOptimizer": _INNER,
    "GradientMergeOptimizer": _INNER,
    "OptimizerWithMixedPrecision": _INNER,
    "DistributedFusedLamb": "It needs a GPU. Use paddle.optimizer.Lamb.",
}
"""The optimizers of Paddle that no graph of ours can take, and what to write instead."""


def own_optimizer(make_optimizer: Callable[[], Optimizer]) -> Optimizer:
    """A copy of what the factory made, in case it, or its scheduler, is used elsewhere too."""
    if not callable(make_optimizer):
        kind = type(make_optimizer).__name__
        raise InvalidArgumentError(
            f"Expected make_optimizer to be a function that makes an optimizer, got {kind}.", _WRITE
        )
    optimizer = _made(make_optimizer)
    kind = type(optimizer).__name__
    if kind in _REFUSED:
        raise _refusal(kind)
    if not isinstance(optimizer, Optimizer):
        raise InvalidArgumentError(
            f"Expected make_optimizer to return a Paddle optimizer, got {kind}.", _WRITE
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
    for option in ("beta1", "beta2", "epsilon"):
        value = graphs.option(optimizer, option)
        if value is not None and not isinstance(value, numbers.Real):
            raise InvalidArgumentError(
                f"Expected {kind} with a number as {option}, got {type(value).__name__}.",
                "Give the number itself: a tensor made elsewhere is in no graph of ours.",
            )


def _made(make_optimizer: Callable[[], Optimizer]) -> Optimizer:
    try:
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
            else "Make one of paddle.optimizer, with arguments that it takes.",
        ) from error


def _refusal(kind: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Expected make_optimizer to return an optimizer that runs in a graph, got {kind}.",
        _REFUSED[kind],
    )


# --- names ------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class _Named:
    """A parameter under another name, for functions that are handed one."""

    _parameter: paddle.Tensor
    name: str

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._parameter, attribute)


def ask_by_names(
    optimizer: Optimizer, parameters: Sequence[paddle.Tensor], given: Mapping[str, str]
) -> None:
    """Lets what ``optimizer`` asks by name be asked with names that the user knows.

    Those are the names in ``given``, that the makers of the parameters gave; but where a function
    says the same to all of these and not to all paths, it is paths that it knows.

    Args:
        optimizer: Ours. It is changed.
        parameters: What it trains.
        given: Path of a parameter -> the name that its maker gave it.
    """
    function = graphs.option(optimizer, "apply_decay_param_fun")
    if function is not None:
        picked = _picked("apply_decay_param_fun", lambda _, name: function(name), parameters, given)
        graphs.set_option(optimizer, "apply_decay_param_fun", picked.__contains__)
    exclude = graphs.option(optimizer, "exclude_from_weight_decay_fn")
    if exclude is not None:
        excluded = _picked(
            "exclude_from_weight_decay_fn",
            lambda parameter, name: exclude(_Named(parameter, name)),
            parameters,
            given,
        )
        graphs.set_option(
            optimizer,
            "exclude_from_weight_decay_fn",
            lambda parameter: parameter.name in excluded,
        )
    parts = graphs.option(optimizer, "exclude_from_weight_decay")
    if parts:
        without = _picked(
            "exclude_from_weight_decay",
            lambda _, name: any(part in name for part in parts),
            parameters,
            given,
        )
        graphs.decay_all_but(optimizer, without)


def _picked(
    argument: str,
    says: Callable[[paddle.Tensor, str], object],
    parameters: Sequence[paddle.Tensor],
    given: Mapping[str, str],
) -> frozenset[str]:
    """The paths of the ``parameters`` to which ``argument``, a function of the user's, says yes."""
    paths = [parameter.name for parameter in parameters]
    names = [given.get(path) or path for path in paths]
    by_name, by_path = (
        [bool(says(parameter, name)) for parameter, name in zip(parameters, asked, strict=True)]
        for asked in (names, paths)
    )
    answers = next(
        (those for those in (by_name, by_path) if len(set(those)) > 1),
        [one or other for one, other in zip(by_name, by_path, strict=True)],
    )
    if not any(answers):
        some = ", ".join(f"{n} ({p})" for n, p in zip(names[:3], paths[:3], strict=True))
        warnings.warn(
            PurdistWarning(
                f"{argument} says yes to none of the {len(paths)} parameters, by name or by path: "
                f"{some}{', ...' if len(paths) > 3 else ''}. Names are those of the layer's "
                "parameters, p.name; paths those of named_parameters()."
            ),
            stacklevel=6,
        )
    return frozenset(path for path, yes in zip(paths, answers, strict=True) if yes)
