"""Makes layers of pieces."""

from __future__ import annotations

from typing import Any

import attrs
from paddle import nn

from tests.adversarial import whole
from tests.adversarial.parts import Again, First, Function, Joined, Mean, Scaled, Writing, part
from tests.adversarial.pieces import (
    IN_PLACE,
    SAME,
    Branch,
    Conv,
    Linear,
    Mix,
    Norm,
    Part,
    Piece,
    Resize,
    Same,
    Shape,
    Twice,
    Zoo,
)
from tests.adversarial.whole import F


@attrs.frozen
class Maker:
    """Makes layers of pieces.

    Attributes:
        last: Channels come last in maps.
    """

    last: bool

    def chain(self, pieces: tuple[Piece, ...], shape: Shape) -> tuple[nn.Layer, Shape]:
        """Layers one after the other, and the shape they put out."""
        layers = []
        for piece in pieces:
            layer, shape = self.one(piece, shape)
            layers.append(layer)
        return nn.Sequential(*layers), shape

    def one(self, piece: Piece, shape: Shape) -> tuple[nn.Layer, Shape]:
        """The layer of a piece."""
        match piece:
            case Linear(width):
                return self.linear(shape, width)
            case Conv(channels, kernel, depthwise) if len(shape) == 3:
                return self.conv(shape, shape[0] if depthwise else channels, kernel, depthwise)
            case Conv(channels):
                return self.linear(shape, channels)
            case Resize(how):
                return self.resize(how, shape)
            case Norm() | Same() | Mix() | Zoo():
                return self.same(piece, shape), shape
            case Branch(join, pieces):
                return self.branch(join, pieces, shape)
            case Twice(pieces):
                inner, inside = self.chain(pieces, shape)
                return Again(nn.Sequential(inner, self.back(inside, shape))), shape
            case Part(how, pieces):
                inner, inside = self.chain(pieces, shape)
                return part(inner, how), inside

    def same(self, piece: Norm | Same | Mix | Zoo, shape: Shape) -> nn.Layer:
        """What keeps the shape."""
        match piece:
            case Norm(kind):
                layer: nn.Layer = self.norm(kind, shape)
                return layer
            case Mix(how):
                mixing: nn.Layer = self.mix(how, shape)
                return mixing
            case Zoo(name):
                return Scaled(name, shape)
            case Same(name):
                return Writing(name) if name in IN_PLACE else Function(SAME[name])

    def linear(self, shape: Shape, width: int) -> tuple[nn.Layer, Shape]:
        if len(shape) == 3:
            return self.conv(shape, width, 1, depthwise=False)
        return nn.Linear(shape[-1], width), (*shape[:-1], width)

    def conv(
        self,
        shape: Shape,
        channels: int,
        kernel: int,
        depthwise: bool,  # noqa: FBT001
    ) -> tuple[nn.Layer, Shape]:
        groups = shape[0] if depthwise else 1
        layer: nn.Layer = whole.nn.Conv2D(
            shape[0], channels, kernel, padding=kernel // 2, groups=groups, data_format=self.format
        )
        return layer, (channels, *shape[1:])

    @property
    def format(self) -> str:
        return "NHWC" if self.last else "NCHW"

    def back(self, inside: Shape, shape: Shape) -> nn.Layer:
        """From one shape to another of its kind."""
        if len(shape) < 3:
            return self.linear(inside, shape[-1])[0]
        layer = self.linear(inside, shape[0])[0]
        if inside[1:] == shape[1:]:
            return layer
        return nn.Sequential(layer, whole.nn.Upsample(size=shape[1:], data_format=self.format))

    def norm(self, kind: str, shape: Shape) -> Any:
        width = shape[0] if len(shape) == 3 else shape[-1]
        if kind == "rms":
            return Mean(width, 1 if len(shape) == 3 and not self.last else -1)
        if len(shape) < 3:
            return (
                whole.nn.BatchNorm1D(width)
                if kind == "batch" and len(shape) == 1
                else whole.nn.LayerNorm(width)
            )
        if kind == "group":
            return whole.nn.GroupNorm(1, width, data_format=self.format)
        if kind == "instance" and not self.last:
            return whole.nn.InstanceNorm2D(width)
        if kind == "layer":
            return whole.nn.LayerNorm(shape[2] if not self.last else width)
        return whole.nn.BatchNorm2D(width, data_format=self.format)

    def resize(self, how: str, shape: Shape) -> tuple[nn.Layer, Shape]:
        if len(shape) < 3:
            return Function(F.relu), shape
        channels, height, width = shape
        if how in ("max", "average"):
            if min(height, width) < 2:
                return Function(F.relu), shape
            kind = whole.nn.MaxPool2D if how == "max" else whole.nn.AvgPool2D
            return kind(2, data_format=self.format), (channels, height // 2, width // 2)
        if max(height, width) > 4:
            return Function(F.relu), shape
        layer = whole.nn.Upsample(scale_factor=2, mode=how, data_format=self.format)
        return layer, (channels, 2 * height, 2 * width)

    def mix(self, how: str, shape: Shape) -> Any:
        if len(shape) != 2:
            return Function(F.sigmoid)
        if how == "attention":
            return whole.nn.MultiHeadAttention(shape[-1], 1)
        return First(getattr(whole.nn, how)(shape[-1], shape[-1]))

    def branch(self, join: str, pieces: tuple[Piece, ...], shape: Shape) -> tuple[nn.Layer, Shape]:
        through, inside = self.chain(pieces, shape)
        beside = self.back(shape, inside)
        axis = 1 if len(shape) == 3 and not self.last else -1
        channels = 0 if len(inside) == 3 else -1
        joined = list(inside)
        if join == "concat":
            joined[channels] *= 2
        return Joined(through, beside, join, axis), tuple(joined)
