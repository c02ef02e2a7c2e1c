"""Ifs of which one branch learns: gradients flow as in dynamic mode, whichever comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import CustomLoss
from tests import nets

P: Any = paddle
X = nets.numbers(0, 4, 3)


def returning_early(s: Any) -> Any:
    if s.mean() > 1e9:
        return P.zeros([])
    return s.square().mean()


def returning_early_by_size(s: Any) -> Any:
    if s.shape[0] > 100:
        return P.zeros([])
    return s.square().mean()


def returning_late(s: Any) -> Any:
    if s.mean() < 1e9:
        return s.square().mean()
    return P.zeros([])


def starting_from_zeros(s: Any) -> Any:
    loss = P.zeros([])
    if s.mean() < 1e9:
        loss = s.square().mean() + loss
    return loss


def nested(s: Any) -> Any:
    if s.mean() > 1e9:
        loss = P.zeros([])
    elif s.mean() > -1e9:
        loss = s.square().mean() * 3.0
    else:
        loss = P.ones([])
    return loss * 2.0


def by_cond(s: Any) -> Any:
    if P.in_dynamic_mode():
        return s.square().mean()
    return P.static.nn.cond(s.mean() > 1e9, lambda: P.zeros([]), lambda: s.square().mean())


def the_largest(s: Any) -> Any:
    half = max(1, s.shape[0] // 2)
    return s[:half].square().mean() / max(half, 0.5)


def the_least(s: Any) -> Any:
    return s[: min(s.shape[0], 3)].square().sum() / min(3, s.shape[0], 100)


LOSSES = (
    returning_early,
    returning_early_by_size,
    returning_late,
    starting_from_zeros,
    nested,
    by_cond,
    the_largest,
    the_least,
)
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def by_hand(loss: Callable[[Any], Any]) -> tuple[float, nets.Array]:
    """The value for ``X``, and the gradient to it."""
    x = P.to_tensor(X, stop_gradient=False)
    value = loss(x)
    value.backward()
    return float(value), x.grad.numpy()


def of_a_step(distillation: purdist.Distillation, weight: str) -> tuple[float, nets.Array]:
    """The value of a step on the unit matrix, and what it takes off a weight."""
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(1.0))
    before = nets.weights(training.program)[weight]
    (step,) = purdist.train(training, [{"x": np.eye(4, dtype="float32")}])
    return step.loss, before - nets.weights(training.program)[weight]


class Weighted(paddle.nn.Layer):
    """A weight that is told by the unit matrix, and maybe a function of it."""

    def __init__(self, function: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.w = self.create_parameter([4, 3])
        self.w.set_value(paddle.to_tensor(X))
        self.function = function

    def forward(self, x: Any) -> Any:
        return x @ self.w if self.function is None else self.function(x @ self.w)


@pytest.mark.usefixtures("dynamic")
@each_loss
def test_in_a_loss_of_ones_own(loss: Callable[[Any], Any]) -> None:
    network = purdist.from_layer(Weighted(), {"x": InputSpec([None, 4])}, check=False)
    distillation = purdist.apply(network, [CustomLoss(loss, {"s": "output"})])
    value, gradient = of_a_step(distillation, "w")
    expected, wanted = by_hand(loss)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("dynamic")
@each_loss
def test_in_a_layer(loss: Callable[[Any], Any]) -> None:
    network = purdist.from_layer(Weighted(loss), {"x": InputSpec([None, 4])})
    distillation = purdist.apply(network, [CustomLoss(lambda s: s.mean(), {"s": "output"})])
    value, gradient = of_a_step(distillation, "w")
    expected, wanted = by_hand(loss)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_in_a_static_program() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [None, 4])
        weight = paddle.create_parameter([4, 3], "float32", name="w")
        return {"loss_": by_cond(paddle.matmul(x, weight))}

    network = nets.program(forward)
    nets_weight = nets.weights(network)["w"]
    distillation = purdist.apply(network, [CustomLoss(lambda s: s.mean(), {"s": "loss_"})])
    value, gradient = of_a_step(distillation, "w")
    assert value == pytest.approx(float((nets_weight**2).mean()), rel=1e-6)
    np.testing.assert_allclose(gradient, nets_weight / 6, rtol=1e-5, atol=1e-7)
