"""Layers that write their buffers as they compute: values, gradients and exports as in dygraph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from tests.nets import Array, numbers, weights
from tests.unit.test_exporting import by_inference

pytestmark = pytest.mark.usefixtures("dynamic")

SPEC = {"x": InputSpec([None, 6])}
FEED = {"x": numbers(0, 8, 6)}


class Writing(nn.Layer):
    """A buffer of six numbers, and a forward that writes it in one way."""

    n: paddle.Tensor

    def __init__(self, write: Callable[[Writing, paddle.Tensor], paddle.Tensor]) -> None:
        super().__init__()
        self.linear, self.last, self.write = nn.Linear(6, 6), nn.Linear(6, 3), write
        self.register_buffer("n", paddle.full([6], 0.5))
        self.n.stop_gradient = True

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.last(self.write(self, self.linear(x)))


def counts(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    layer.n = layer.n + 1.0
    return h + layer.n


def counts_twice(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    before = h * layer.n
    layer.n = layer.n + 1.0
    between = h * layer.n
    layer.n = layer.n * 2.0
    return before + between + layer.n


def learns_what_it_writes(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    layer.n = h.mean(0)
    result = h - layer.n
    layer.n = layer.n.detach()
    return result


def assigns(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    mean = h.mean(0)
    with paddle.no_grad():
        paddle.assign(layer.n * 0.9 + mean * 0.1, output=layer.n)
    return h - layer.n


def assigns_what_was_computed_before(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    mean = h.mean(0)
    with paddle.no_grad():
        paddle.assign(mean, output=layer.n)
    return h - layer.n


def names_what_was_computed_before(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    mean = h.mean(0)
    with paddle.no_grad():
        layer.n = mean
    result = h - layer.n
    layer.n = layer.n.detach()
    return result


def writes_an_element(layer: Writing, h: paddle.Tensor) -> paddle.Tensor:
    with paddle.no_grad():
        layer.n[2] = h.mean()
    return h * layer.n


class Maps(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x.reshape([-1, 1, 2, 3])


WRITES = (
    counts,
    counts_twice,
    learns_what_it_writes,
    assigns,
    assigns_what_was_computed_before,
    names_what_was_computed_before,
    writes_an_element,
)

LAYERS: dict[str, Callable[[], nn.Layer]] = {
    **{write.__name__: functools.partial(Writing, write) for write in WRITES},
    "weight_norm": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 3))),
    "spectral_norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 3))),
    "spectral_norm of a convolution": lambda: nn.Sequential(
        Maps(), nn.utils.spectral_norm(nn.Conv2D(1, 2, 2)), nn.Flatten()
    ),
    "weight_norm with batch norm": lambda: nn.Sequential(
        nn.utils.weight_norm(nn.Linear(6, 4)), nn.BatchNorm1D(4), nn.Linear(4, 3)
    ),
}


def layer_of(name: str) -> nn.Layer:
    paddle.seed(3)
    return LAYERS[name]()


def loss_of(answer: paddle.Tensor) -> paddle.Tensor:
    return (answer - 0.3).square().mean()


LOSS = purdist.CustomLoss(loss_of, {"answer": "output"})


def sgd(parameters: Sequence[paddle.Tensor] | None = None) -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.2, parameters)


def answer(layer: nn.Layer) -> Array:
    with paddle.no_grad():
        found: paddle.Tensor = layer(paddle.to_tensor(FEED["x"]))
    return found.numpy()


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_writes_trains_as_in_dygraph(name: str) -> None:
    layer = layer_of(name)
    training = purdist.minimize(purdist.apply(purdist.from_layer(layer, SPEC), [LOSS]), sgd)
    losses = [step.loss for step in purdist.train(training, [FEED] * 4)]
    optimizer, expected = sgd(parameters=layer.parameters()), []
    for _ in range(4):
        loss = loss_of(layer(paddle.to_tensor(FEED["x"])))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        expected.append(float(loss))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    held = weights(training.program)
    for path, tensor in layer.state_dict().items():
        np.testing.assert_allclose(held[path], tensor.numpy(), rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_writes_is_exported_as_it_infers(name: str, tmp_path: Path) -> None:
    layer = layer_of(name)
    program = purdist.from_layer(layer, SPEC)
    purdist.export(program, tmp_path / "model", ["output"])
    read = purdist.from_exported(tmp_path / "model")
    found = [one.run(FEED, ["output"])["output"] for one in (program, program, read)]
    found += by_inference(tmp_path / "model", FEED)
    layer.eval()
    expected = answer(layer)
    for got in found:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_a_teacher_that_writes_teaches_the_same_whoever_computes_it(
    name: str, tmp_path: Path
) -> None:
    student = purdist.from_layer(nn.Linear(6, layer_of(name)(paddle.ones([2, 6])).shape[1]), SPEC)
    merged = purdist.merge(purdist.from_layer(layer_of(name), SPEC), student, {"x": "x"})
    distillation = purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])
    cached = purdist.cache_teacher(distillation, [FEED], tmp_path / "cache")
    trainings = [
        purdist.minimize(distillation, sgd),
        purdist.minimize(distillation, sgd, teacher="inference"),
    ]
    losses = [[step.loss for step in purdist.train(training, [FEED] * 3)] for training in trainings]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert cached is not None


def test_the_student_of_a_training_and_its_layer_write_on() -> None:
    layer = layer_of("counts")
    training = purdist.minimize(purdist.apply(purdist.from_layer(layer, SPEC), [LOSS]), sgd)
    list(purdist.train(training, [FEED] * 2))
    np.testing.assert_array_equal(weights(purdist.student_of(training))["n"], np.full(6, 2.5))
    filled = purdist.to_layer(training, layer_of("counts"))
    filled.eval()
    expected = purdist.student_of(training).run(FEED, ["output"])["output"]
    np.testing.assert_allclose(answer(filled), expected, rtol=1e-5)
    np.testing.assert_array_equal(filled.n.numpy(), np.full(6, 3.5))


class WritingInside(nn.Layer):
    n: paddle.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", paddle.zeros([6]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if x.mean() > 0:
            paddle.assign(x.mean(0), output=self.n)
        return x + self.n


def test_a_write_inside_a_region_is_refused() -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.from_layer(WritingInside(), SPEC)
    assert str(caught.value) == (
        "Expected a network that writes its buffers outside while and if regions, got a write to "
        "'n' inside a while or if region.\n"
        "Choose the new value with paddle.where, and write it after the region."
    )
