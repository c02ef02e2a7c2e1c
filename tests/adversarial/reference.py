"""What dygraph computes, by hand, and what is as near to it as rounding."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np
import paddle
from paddle import nn

import purdist
from tests.adversarial.whole import paddle as whole_paddle
from tests.nets import Array

Arrays: TypeAlias = Mapping[str, Array]


class DiffersError(AssertionError):
    """Numbers that are not dygraph's."""


@attrs.frozen(eq=False)
class Reference:
    """What dygraph computes.

    Attributes:
        losses: Of each step.
        before: The weights and buffers before training, by their names in the layer.
        after: And after it.
        same: A name -> all names of that weight.
    """

    losses: list[float]
    before: Arrays
    after: Arrays
    same: Mapping[str, list[str]]


def trained(
    student: nn.Layer,
    losses: Iterable[paddle.Tensor],
    make_optimizer: Callable[..., paddle.optimizer.Optimizer],
    renewed: Container[int] = (),
) -> Reference:
    """Trains ``student`` by hand.

    Args:
        student: In training mode.
        losses: The loss of each step, computed when it is asked for.
        make_optimizer: Called with its parameters.
        renewed: The steps after which the optimizer begins anew.
    """
    before, computed = held(student), []
    learning = [p for p in student.parameters() if not p.stop_gradient]
    optimizer = make_optimizer(parameters=learning)
    for step, loss in enumerate(losses):
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        rate = optimizer._learning_rate
        if isinstance(rate, whole_paddle.optimizer.lr.LRScheduler):
            rate.step()
        computed.append(float(loss))
        if step in renewed:
            optimizer = make_optimizer(parameters=learning)
    return Reference(computed, before, held(student), names_of_one(student))


def held(layer: nn.Layer) -> dict[str, Array]:
    """A layer's weights and buffers."""
    return {name: np.array(value) for name, value in layer.state_dict().items()}


def names_of_one(layer: nn.Layer) -> dict[str, list[str]]:
    """Each name of a weight or buffer with all names of the same."""
    found: dict[int, list[str]] = {}
    for name, value in layer.state_dict().items():
        found.setdefault(id(value), []).append(name)
    return {name: names for names in found.values() for name in names}


def close(got: Array, expected: Array, what: str, *, scale: float | None = None) -> None:
    """Raises where two arrays differ by more than rounding."""
    if got.shape != expected.shape:
        raise DiffersError(f"{what}: shape {got.shape}, not {expected.shape}")
    if expected.dtype.kind not in "fc":
        if not np.array_equal(got, expected):
            raise DiffersError(f"{what}: {got}, not {expected}")
        return
    if not np.array_equal(np.isfinite(got), np.isfinite(expected)):
        raise DiffersError(f"{what}: {got}, not {expected}")
    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max(initial=0.0))
    allowed = 2e-4 * (largest if scale is None else scale) + 2e-6 * largest + 1e-7
    off = float(np.abs(got[finite] - expected[finite]).max(initial=0.0))
    if off > allowed:
        raise DiffersError(f"{what}: off by {off:.2g} where {allowed:.2g} is rounding")


def trained_alike(
    training: purdist.Training,
    losses: Sequence[float],
    by: Reference,
    names_of: Mapping[str, str] | None = None,
) -> None:
    """Losses, weights and buffers are dygraph's, seen against how far dygraph's moved.

    Args:
        training: What was trained.
        losses: Of its steps.
        by: What dygraph says.
        names_of: The layer's names of weights -> the program's, where they are others.
    """
    close(np.array(losses), np.array(by.losses), "losses")
    student = purdist.student_of(training)
    weights = student.run({}, student.weights)
    if names_of is not None:
        weights = {name: weights[own] for name, own in names_of.items()}
    _weights_alike(weights, by)


def near(one: Reference, other: Reference) -> None:
    """Raises where they differ by more than rounding."""
    close(np.array(one.losses), np.array(other.losses), "losses")
    _weights_alike(one.after, other)


def _weights_alike(weights: Arrays, by: Reference) -> None:
    for name, expected in by.after.items():
        moved = float(np.abs(expected - by.before[name]).max(initial=0.0))
        known = [same for same in by.same[name] if same in weights]
        if known:
            close(weights[known[0]], expected, name, scale=moved)
        elif moved:
            raise DiffersError(f"{name} is no weight of the student")
