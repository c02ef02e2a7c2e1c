"""Items that a static program sets: values and gradients are those of ops that set nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import CustomLoss
from tests import nets

P: Any = paddle
X = nets.numbers(0, 3, 4)
W = nets.numbers(1, 4, 5)
Way = Callable[[Any], Any]


def numbers(h: Any) -> Any:
    h = h.tanh()
    h[:, 0] = 0.5
    return h * h


def no_numbers(h: Any) -> Any:
    h = h.tanh()
    h = P.concat([P.full_like(h[:, :1], 0.5), h[:, 1:]], 1)
    return h * h


def several_numbers(h: Any) -> Any:
    h = h.exp()
    h[0, 1:3] = P.to_tensor([2.0, 3.0])
    h[:, 4] = -1.0
    return h * h


def no_several_numbers(h: Any) -> Any:
    h = h.exp()
    row = P.concat([h[:1, :1], P.to_tensor([[2.0, 3.0]]), h[:1, 3:]], 1)
    h = P.concat([P.concat([row, h[1:]])[:, :4], P.full_like(h[:, :1], -1.0)], 1)
    return h * h


def of_itself(h: Any) -> Any:
    h = h.sigmoid()
    h[:, 0] = h[:, 1] * 2.0
    return h * h


def not_of_itself(h: Any) -> Any:
    h = h.sigmoid()
    h = P.concat([h[:, 1:2] * 2.0, h[:, 1:]], 1)
    return h * h


def read_before(h: Any) -> Any:
    h = h.tanh()
    before = h * h
    h[:, 0:2] = before[:, 2:4] * 3.0
    return h * before


def read_before_of_none(h: Any) -> Any:
    h = h.tanh()
    before = h * h
    return P.concat([before[:, 2:4] * 3.0, h[:, 2:]], 1) * before


def by_steps(h: Any) -> Any:
    h = h.tanh()
    h[:, ::2] = h[:, :3] * 2.0
    h[1] = 0.0
    return h * h


def without_steps(h: Any) -> Any:
    h = h.tanh()
    h = P.stack([h[:, 0] * 2, h[:, 1], h[:, 1] * 2, h[:, 3], h[:, 2] * 2], 1)
    h = P.concat([h[:1], P.zeros_like(h[:1]), h[2:]])
    return h * h


CASES: dict[str, tuple[Way, Way]] = {
    "numbers": (numbers, no_numbers),
    "several numbers": (several_numbers, no_several_numbers),
    "of itself": (of_itself, not_of_itself),
    "read before": (read_before, read_before_of_none),
    "steps": (by_steps, without_steps),
}
each_case = pytest.mark.parametrize("case", CASES)


class Setting(paddle.nn.Layer):
    def __init__(self, function: Way) -> None:
        super().__init__()
        self.w = self.create_parameter([4, 5])
        self.w.set_value(paddle.to_tensor(W))
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(P.matmul(x, self.w))


def check(network: purdist.Program, output: str, case: str) -> None:
    """Holds a step of ``network`` to dynamic mode, where nothing is set."""
    distillation = purdist.apply(network, [CustomLoss(lambda s: s.sum(), {"s": output})])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(1.0))
    (name,) = (v.name for v in network.variables.values() if v.role == "parameter")
    (step,) = purdist.train(training, [{"x": X}])
    moved = W - nets.weights(training.program)[name]
    paddle.disable_static()
    w = P.to_tensor(W, stop_gradient=False)
    value = CASES[case][1](P.to_tensor(X) @ w).sum()
    value.backward()
    assert step.loss == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(moved, w.grad.numpy(), rtol=1e-5, atol=1e-6)


@each_case
def test_in_a_static_program(case: str) -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [3, 4])
        start: Any = paddle.nn.initializer
        weight = P.create_parameter(
            [4, 5], "float32", name="w", default_initializer=start.Assign(W)
        )
        return {"out_": CASES[case][0](P.matmul(x, weight))}

    try:
        check(nets.program(forward), "out_", case)
    finally:
        paddle.enable_static()


@pytest.mark.usefixtures("dynamic")
@each_case
def test_in_a_file(case: str, tmp_path: Path) -> None:
    layer = Setting(CASES[case][0])
    P.jit.save(layer, str(tmp_path / "m"), input_spec=[InputSpec([3, 4], "float32", "x")])
    network = purdist.from_exported(tmp_path / "m")
    check(network, list(network.variables)[-1], case)


@pytest.mark.usefixtures("dynamic")
@each_case
def test_in_a_layer(case: str) -> None:
    network = purdist.from_layer(Setting(CASES[case][0]), {"x": InputSpec([3, 4])})
    check(network, "output", case)


def test_a_name_of_what_was_set_is_what_it_was_set_to() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        hidden: Any = paddle.static.data("x", [3, 4]) * 2.0
        hidden[:, 0] = 0.5
        return {"hidden": hidden}

    (hidden,) = nets.program(forward).run({"x": X}, ["hidden"]).values()
    np.testing.assert_array_equal(hidden[:, 0], np.full(3, 0.5, "float32"))
    np.testing.assert_array_equal(hidden[:, 1:], X[:, 1:] * 2)
