"""The reference pairs: a teacher, a student, and a batch, as dygraph layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from paddle import nn

import purdist
from tests.bench.networks import CifarResNet, Encoder, mlp

Array = npt.NDArray[Any]


@attrs.frozen
class Pair:
    """A teacher and a student that read the same batch.

    Attributes:
        name: What the other sides call it.
        teacher: Makes the teacher.
        student: Makes the student.
        shape: Of a batch.
        quarter: The teacher's sublayer at a quarter of its depth.
        early: The student's sublayer that answers to it.
        calls: How many steps on end make a run.
    """

    name: str
    teacher: Callable[[], nn.Layer]
    student: Callable[[], nn.Layer]
    shape: tuple[int, ...]
    quarter: str
    early: str
    calls: int = 1

    def programs(self) -> tuple[purdist.Program, purdist.Program]:
        """Both as programs, from the same weights every time."""
        return self.program(self.teacher, "y"), self.program(self.student, "x")

    def program(self, make: Callable[[], nn.Layer], feed: str) -> purdist.Program:
        """One of them as a program."""
        spec = paddle.static.InputSpec([None, *self.shape[1:]], "float32", feed)
        return purdist.from_layer(self.layer(make), [spec])

    def layer(self, make: Callable[[], nn.Layer]) -> nn.Layer:
        """One of them in dynamic mode, from the same weights every time."""
        paddle.disable_static()
        paddle.seed(0)
        return make()

    def deeper(self, layers: int) -> tuple[purdist.Program, purdist.Program]:
        """An MLP of so many layers to teach this student: for `merge`, which trains nothing."""
        return self.program(lambda: mlp(layers), "y"), self.program(self.student, "x")

    def batch(self) -> Array:
        """Normal numbers of a batch's shape."""
        return np.random.RandomState(0).standard_normal(self.shape).astype("float32")


PAIRS = {
    "resnet50 -> resnet18, 64x64, batch 8": Pair(
        "resnet",
        lambda: paddle.vision.models.resnet50(num_classes=100),
        lambda: paddle.vision.models.resnet18(num_classes=100),
        (8, 3, 64, 64),
        "layer2.0",
        "layer1.1",
    ),
    "CIFAR resnet56 -> resnet20, batch 64": Pair(
        "cifar",
        lambda: CifarResNet(9),
        lambda: CifarResNet(3),
        (64, 3, 32, 32),
        "blocks.6.bn1",
        "blocks.1",
    ),
    "encoder 12 -> 4 layers, d 768, 64 long, batch 8": Pair(
        "encoder",
        lambda: Encoder(12),
        lambda: Encoder(4),
        (8, 64, 768),
        "encoder.layers.2",
        "encoder.layers.0",
    ),
    "MLP 100 -> 20 layers, width 16, batch 64": Pair(
        "mlp", lambda: mlp(100), lambda: mlp(20), (64, 16), "49", "9", calls=20
    ),
}
