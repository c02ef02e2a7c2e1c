"""Fifty steps are those of the loop that one writes by hand in dygraph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - as its users call it
from paddle.optimizer import lr
from paddle.regularizer import L1Decay, L2Decay
from paddle.static import InputSpec
from paddle.utils import unique_name

import purdist
from tests.nets import Array, numbers, weights

pytestmark = pytest.mark.usefixtures("dynamic")

STEPS, ROWS, CLASSES, TEMPERATURE = 50, 8, 4, 2.0

NEAR = {"float32": 1e-4, "float64": 1e-9}
"""How far apart losses and weights may be after as many steps, in which dtype."""


def network(channels: int, seed: int, dtype: str, *, each: bool = False) -> nn.Layer:
    """A convolution, batch norm and a linear layer.

    The convolution has no bias: before batch norm it has no gradient but for rounding, of which
    Adam makes steps.
    """
    slow, decayed, free = None, None, None
    if each:
        slow = paddle.ParamAttr(learning_rate=0.3, regularizer=L2Decay(0.1))
        decayed = paddle.ParamAttr(regularizer=L1Decay(0.01))
        free = paddle.ParamAttr(learning_rate=2.0, need_clip=False)
    paddle.seed(seed)
    with unique_name.guard():
        layer = nn.Sequential(
            nn.Conv2D(1, channels, 3, weight_attr=slow, bias_attr=False),
            nn.BatchNorm2D(channels),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * 16, CLASSES, weight_attr=decayed, bias_attr=free),
        )
    layer.to(dtype=dtype)
    return layer


def batches(dtype: str) -> list[dict[str, Array]]:
    labels = np.random.RandomState(0)
    return [
        {"x": numbers(k, ROWS, 1, 6, 6, dtype=dtype), "label": labels.randint(0, CLASSES, ROWS)}
        for k in range(STEPS)
    ]


def no_bias(name: str) -> bool:
    return not name.endswith(".b_0")


OPTIMIZERS: Mapping[str, Callable[..., Any]] = {
    "SGD": paddle.optimizer.SGD,
    "Momentum": paddle.optimizer.Momentum,
    "Adam": paddle.optimizer.Adam,
    "AdamW": functools.partial(
        paddle.optimizer.AdamW, weight_decay=0.1, apply_decay_param_fun=no_bias
    ),
    "Lamb": paddle.optimizer.Lamb,
}

WAYS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "alone": dict,
    "clipped by value": lambda: {"grad_clip": nn.ClipGradByValue(0.02)},
    "clipped by norm": lambda: {"grad_clip": nn.ClipGradByNorm(0.05)},
    "clipped by global norm, each in its own way": lambda: {
        "grad_clip": nn.ClipGradByGlobalNorm(0.1)
    },
    "on a plateau, each in its own way": lambda: {
        "learning_rate": lr.ReduceOnPlateau(0.02, factor=0.7, patience=2, threshold=0.01)
    },
}
EACH = "each in its own way"
"""Parameters with learning rates and regularizers of their own, one that is not clipped."""


def optimizer(name: str, way: str, **given: Any) -> Any:
    return OPTIMIZERS[name](**{"learning_rate": 0.02, **WAYS[way](), **given})


def by_hand(dtype: str, way: str, name: str) -> tuple[list[float], dict[str, Array]]:
    teacher, student = network(6, 1, dtype), network(3, 2, dtype, each=EACH in way)
    teacher.eval()
    steps = optimizer(name, way, parameters=student.parameters())
    losses = []
    for batch in batches(dtype):
        x, label = paddle.to_tensor(batch["x"]), paddle.to_tensor(batch["label"])
        with paddle.no_grad():
            taught = F.softmax(teacher(x) / TEMPERATURE)
        answer = student(x)
        told = F.log_softmax(answer / TEMPERATURE)
        kd = TEMPERATURE**2 * (taught * (taught.log() - told)).sum(-1).mean()
        loss = 0.7 * kd + 0.3 * F.cross_entropy(answer, label)
        loss.backward()
        steps.step()
        steps.clear_grad()
        if isinstance(steps._learning_rate, lr.ReduceOnPlateau):
            steps._learning_rate.step(float(loss))
        losses.append(float(loss))
    return losses, {path: tensor.numpy() for path, tensor in student.state_dict().items()}


@functools.cache
def distilled(dtype: str, *, each: bool) -> purdist.Distillation:
    spec = InputSpec([None, 1, 6, 6], dtype)
    teacher = purdist.from_layer(network(6, 1, dtype), {"y": spec})
    student = purdist.from_layer(network(3, 2, dtype, each=each), {"x": spec})
    losses = [
        0.7 * purdist.KDLoss("teacher_output", "output", temperature=TEMPERATURE),
        0.3 * purdist.CrossEntropyLoss("output", purdist.NewInput("label")),
    ]
    return purdist.apply(purdist.merge(teacher, student, {"y": "x"}), losses)


CASES = [
    (name, way, dtype)
    for name, way, dtype in itertools.product(OPTIMIZERS, WAYS, NEAR)
    if (way, dtype) != ("clipped by norm", "float64")  # of which Paddle has no kernel
]


@pytest.mark.parametrize(("name", "way", "dtype"), CASES)
def test_steps_are_those_of_the_loop_by_hand(name: str, way: str, dtype: str) -> None:
    distillation = distilled(dtype, each=EACH in way)
    training = purdist.minimize(distillation, lambda: optimizer(name, way))
    losses = [step.loss for step in purdist.train(training, batches(dtype))]
    expected, trained = by_hand(dtype, way, name)
    held, near = weights(training.program), NEAR[dtype]
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, expected, rtol=near, atol=near)
    for path, array in trained.items():
        np.testing.assert_allclose(held[path], array, rtol=near, atol=near, err_msg=path)


@pytest.mark.parametrize("dtype", NEAR)
def test_three_accumulated_batches_are_those_of_the_loop_by_hand(dtype: str) -> None:
    def make_optimizer(**given: Any) -> Any:
        return paddle.optimizer.Momentum(0.2, **given)  # Adam would not mind a factor

    answer = {"answer": "output"}
    layer = nn.Linear(6, 4)
    layer.to(dtype=dtype)
    program = purdist.from_layer(layer, {"x": InputSpec([None, 6], dtype)})
    distillation = purdist.apply(program, [purdist.CustomLoss(mean_square, answer)])
    training = purdist.minimize(distillation, make_optimizer, accumulate=3)
    fed = [{"x": numbers(k, 2, 6, dtype=dtype)} for k in range(30)]
    losses = [step.loss for step in purdist.train(training, fed)]
    by_hand, expected = make_optimizer(parameters=layer.parameters()), []
    for k in range(0, 30, 3):
        parts = [mean_square(layer(paddle.to_tensor(feed["x"]))) for feed in fed[k : k + 3]]
        loss = sum(parts[1:], parts[0]) / paddle.to_tensor(3.0, dtype)
        loss.backward()
        by_hand.step()
        by_hand.clear_grad()
        expected.append(float(loss))
    near = NEAR[dtype]
    np.testing.assert_allclose(losses, expected, rtol=near)
    held = weights(training.program)["weight"]
    np.testing.assert_allclose(held, layer.weight.numpy(), rtol=near, atol=near)


def mean_square(answer: paddle.Tensor) -> paddle.Tensor:
    return (answer - 1.0).square().mean()


def test_a_clip_of_each_norm_at_float64_is_refused_as_paddle_does() -> None:
    with pytest.raises(RuntimeError, match="clip_by_norm"):
        by_hand("float64", "clipped by norm", "SGD")
    distillation = distilled("float64", each=False)
    with pytest.raises(purdist.InvalidArgumentError, match="clip_by_norm"):
        purdist.minimize(distillation, lambda: optimizer("SGD", "clipped by norm"))
