"""The networks of the fuzzer."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

from tests.adversarial import whole
from tests.adversarial.maker import Maker
from tests.adversarial.pieces import Piece, Shape
from tests.nets import Array


class Whole(nn.Layer):
    """A network: its features and its logits."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        maker = Maker(net.last)
        self.turned = net.last and len(net.shape) == 3
        self.body, shape = maker.chain(net.pieces, net.shape)
        self.adapt = maker.linear(shape, net.features)[0]
        self.axes = {1: None, 2: 1}.get(len(shape), (1, 2) if net.last else (2, 3))
        self.same = whole.nn.Identity()
        if len(shape) == 3:
            self.same = whole.nn.AdaptiveAvgPool2D(2, data_format=maker.format)
        self.head = nn.Linear(net.features, net.classes)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        if self.turned:
            x = x.transpose([0, 2, 3, 1])
        features = self.same(self.adapt(self.body(x)))
        pooled = features if self.axes is None else features.mean(self.axes)
        logits = self.head(pooled)
        if self.turned:
            features = features.transpose([0, 3, 1, 2])
        return logits, features


@attrs.frozen
class Net:
    """A network described.

    Attributes:
        shape: Of one sample.
        pieces: One after the other.
        last: Its maps have the channels last.
        features: The width of what it computes before its head.
        classes: The width of its logits.
    """

    shape: Shape
    pieces: tuple[Piece, ...]
    last: bool = False
    features: int = 3
    classes: int = 4

    def layer(self, seed: int, dtype: str = "float32") -> nn.Layer:
        """The network, its weights drawn from ``seed``."""
        paddle.set_default_dtype(dtype)
        paddle.seed(seed)
        return Whole(self)

    def spec(self, name: str, dtype: str, rows: int | None = None) -> InputSpec:
        """Its input."""
        return InputSpec([rows, *self.shape], dtype, name)

    def samples(self, rows: int, seed: int, dtype: str) -> Array:
        """A batch."""
        return np.random.RandomState(seed).standard_normal((rows, *self.shape)).astype(dtype)

    @property
    def everything(self) -> Iterator[Piece]:
        """All pieces, those within others too."""
        yield from _within(self.pieces)


def _within(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    for piece in pieces:
        yield piece
        yield from _within(getattr(piece, "pieces", ()))
