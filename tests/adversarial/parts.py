"""The layers of pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import paddle
from paddle import nn

from tests.adversarial import whole
from tests.adversarial.around import Around, as_it_is
from tests.adversarial.pieces import IN_PLACE, Shape
from tests.adversarial.whole import F
from tests.adversarial.zoo import zoo


class Function(nn.Layer):
    """A function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        made: paddle.Tensor = self.function(x)
        return made


class Writing(nn.Layer):
    """An in-place function, called as a statement."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        h: Any = x * 1.5
        if self.name == "relu_":
            F.relu_(h)
        elif self.name == "add_":
            h.add_(x)
        else:
            getattr(h, self.name)(*IN_PLACE[self.name])
        written: paddle.Tensor = h
        return written


class Mean(nn.Layer):
    """RMSNorm, over the axis of the channels."""

    def __init__(self, width: int, axis: int) -> None:
        super().__init__()
        self.weight = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))
        self.axis = axis

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        size: paddle.Tensor = whole.paddle.rsqrt(x.pow(2).mean(self.axis, keepdim=True) + 1e-3)
        return x * size * self.weight


class First(nn.Layer):
    """The outputs of a recurrent layer, without its states."""

    def __init__(self, inner: nn.Layer) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        outputs: paddle.Tensor = self.inner(x)[0]
        return outputs


class Joined(nn.Layer):
    """Two ways."""

    def __init__(self, through: nn.Layer, beside: nn.Layer, join: str, axis: int) -> None:
        super().__init__()
        self.through, self.beside, self.join, self.axis = through, beside, join, axis

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        one, other = self.through(x), self.beside(x)
        if self.join == "concat":
            return paddle.concat([one, other], self.axis)
        joined: paddle.Tensor = one + other if self.join == "add" else one * F.silu(other)
        return joined


class Again(nn.Layer):
    """A layer called twice."""

    def __init__(self, inner: nn.Layer) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        twice: paddle.Tensor = self.inner(F.silu(self.inner(x)))
        return twice


class Scaled(nn.Layer):
    """A map, token or row scaled by what a case of the zoo makes of it."""

    def __init__(self, name: str, shape: Shape) -> None:
        super().__init__()
        named = attrs.evolve(zoo()[name], dtype=paddle.get_default_dtype())
        self.case = Around(named)
        self.sizes = [operand.shape for operand in named.fed]
        self.into = nn.LayerList(
            [nn.Linear(math.prod(shape), math.prod(size)) for size in self.sizes]
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        scaled: paddle.Tensor = self._compute(x)
        return scaled

    @as_it_is
    def _compute(self, x: paddle.Tensor) -> paddle.Tensor:
        fed = (
            into(x.flatten(1)).reshape([-1, *size])
            for into, size in zip(self.into, self.sizes, strict=True)
        )
        scale: Any = sum(
            made.unsqueeze(-1).flatten(1).mean(-1, keepdim=True) for made in self.case(*fed)
        )
        scaled: paddle.Tensor = x * (1 + F.softsign(scale)).reshape([-1] + [1] * (len(x.shape) - 1))
        return scaled


def part(layer: nn.Layer, how: str) -> nn.Layer:
    """A layer whose weights are frozen, or that stays in eval mode."""
    if how == "frozen":
        for parameter in layer.parameters():
            parameter.stop_gradient = True
    else:
        layer.stays_in_eval = True  # type: ignore[attr-defined]
    return layer


def train(layer: nn.Layer) -> None:
    """Training mode, but for parts that stay in eval mode."""
    layer.train()
    for sublayer in layer.sublayers():
        if getattr(sublayer, "stays_in_eval", False):
            sublayer.eval()
