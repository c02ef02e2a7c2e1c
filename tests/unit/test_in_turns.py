"""Trainings taken in turns on one thread: none changes what another computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.training.values import session_of
from tests.nets import Array, numbers


@attrs.frozen(eq=False)
class Kind:
    """A network, the shape of a sample, and its dtype."""

    make: Callable[[], nn.Layer]
    sample: tuple[int, ...]
    dtype: str = "float32"


class Mixed(nn.Layer):
    """A convolution in NCHW, one in NHWC behind it, and one in NCHW again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2D(4, 5, 3, bias_attr=False)
        self.last = nn.Conv2D(5, 6, 3, padding=1, data_format="NHWC")
        self.again = nn.Conv2D(6, 1, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        turned = self.last(self.first(x).transpose([0, 2, 3, 1]))
        out: paddle.Tensor = self.again(turned.transpose([0, 3, 1, 2]))
        return out


IMAGE, LAST = (4, 6, 6), (6, 6, 4)
KINDS: dict[str, Kind] = {
    "NCHW": Kind(
        lambda: nn.Sequential(nn.Conv2D(4, 6, 3, padding=1), nn.MaxPool2D(2), nn.Conv2D(6, 3, 1)),
        IMAGE,
    ),
    "NHWC": Kind(lambda: nn.Sequential(nn.Conv2D(4, 5, 3, data_format="NHWC"), nn.ReLU()), LAST),
    "NHWC, pooled": Kind(
        lambda: nn.Sequential(
            nn.Conv2D(4, 8, 3, groups=4, data_format="NHWC"),
            nn.BatchNorm2D(8, data_format="NHWC"),
            nn.AvgPool2D(2, data_format="NHWC"),
        ),
        LAST,
    ),
    "depthwise, NHWC": Kind(
        lambda: nn.Sequential(nn.Conv2D(4, 4, 3, groups=4, data_format="NHWC")), LAST
    ),
    "NLC": Kind(lambda: nn.Sequential(nn.Conv1D(4, 5, 3, data_format="NLC")), (7, 4)),
    "NCL": Kind(lambda: nn.Sequential(nn.Conv1D(4, 5, 3)), (4, 7)),
    "transposed": Kind(
        lambda: nn.Sequential(nn.Conv2DTranspose(4, 5, 3, stride=2), nn.ReLU(), nn.Conv2D(5, 3, 1)),
        IMAGE,
    ),
    "transposed, NHWC": Kind(
        lambda: nn.Sequential(nn.Conv2DTranspose(4, 5, 3, data_format="NHWC")), LAST
    ),
    "both": Kind(Mixed, IMAGE),
    "doubles": Kind(
        lambda: nn.Sequential(nn.Conv2D(4, 6, 3), nn.Conv2D(6, 2, 3)), IMAGE, "float64"
    ),
    "one map": Kind(lambda: nn.Sequential(nn.Conv2D(4, 1, 3, bias_attr=False), nn.GELU()), IMAGE),
    "NDHWC": Kind(lambda: nn.Sequential(nn.Conv3D(4, 2, 2, data_format="NDHWC")), (3, 3, 3, 4)),
    "linear": Kind(lambda: nn.Sequential(nn.Linear(128, 160), nn.GELU()), (3, 128)),
}
STEPS = 4


def made(name: str) -> nn.Layer:
    """The network, with weights that are always the same."""
    kind, found = KINDS[name], paddle.get_default_dtype()
    paddle.set_default_dtype(kind.dtype)
    try:
        layer = kind.make()
    finally:
        paddle.set_default_dtype(found)
    for k, parameter in enumerate(layer.parameters()):
        if parameter.ndim > 1:
            parameter.set_value(0.2 * numbers(k, *parameter.shape, dtype=kind.dtype))
    return layer


def loss(out: paddle.Tensor) -> paddle.Tensor:
    return (out - 0.3).square().mean()


def training(name: str) -> purdist.Training:
    kind = KINDS[name]
    network = purdist.from_layer(made(name), {"x": InputSpec([None, *kind.sample], kind.dtype)})
    distillation = purdist.apply(network, [purdist.CustomLoss(loss, {"out": "output"})])
    return purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))


def feed(name: str, step: int) -> dict[str, Array]:
    """Batches of 2, 3, 1 and 2 rows."""
    kind = KINDS[name]
    return {"x": numbers(step, (2, 3, 1, 2)[step], *kind.sample, dtype=kind.dtype)}


def step(taken: purdist.Training, name: str, k: int) -> float:
    return next(purdist.train(taken, [feed(name, k)])).loss


def in_dygraph(name: str) -> list[float]:
    layer, losses = made(name), []
    optimizer = paddle.optimizer.SGD(0.1, parameters=layer.parameters())
    for k in range(STEPS):
        value = loss(layer(paddle.to_tensor(feed(name, k)["x"])))
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(value))
    return losses


@pytest.mark.usefixtures("dynamic")
def test_trainings_in_turns_are_each_what_it_is_alone() -> None:
    names = list(KINDS)
    alone = {}
    for name in names:
        by_itself = training(name)
        alone[name] = [step(by_itself, name, k) for k in range(STEPS)]
    trainings = {name: training(name) for name in names}
    in_turns = [{name: step(t, name, k) for name, t in trainings.items()} for k in range(STEPS)]
    for name in names:
        assert [losses[name] for losses in in_turns] == alone[name], name
        np.testing.assert_allclose(alone[name], in_dygraph(name), rtol=1e-4, err_msg=name)


@pytest.mark.usefixtures("dynamic")
def test_what_is_moved_of_known_networks_stays_moved() -> None:
    """Speed that is easily lost without a word."""
    resnet = paddle.vision.models.resnet18(num_classes=10)
    encoder = nn.TransformerEncoderLayer(256, 4, 1024)
    moved: Counter[str] = Counter()
    for layer, sample in ((resnet, [3, 64, 64]), (encoder, [16, 256])):
        network = purdist.from_layer(layer, {"x": InputSpec([None, *sample])})
        distillation = purdist.apply(network, [purdist.CustomLoss(loss, {"out": "output"})])
        ready = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
        names = [op.name() for op in graphs.operations(session_of(ready).step.program)]
        moved.update(name for name in names if "onednn" in name)
    assert moved == {
        "onednn_op.conv2d": 20,
        "onednn_op.conv2d_grad": 20,
        "onednn_op.matmul": 6,
        "onednn_op.matmul_grad": 3,
    }
