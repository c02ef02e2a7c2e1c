"""Networks for the fuzzer: descriptions that print as the code that makes them, and the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import attrs
import numpy as np
import paddle
from hypothesis import strategies as st
from paddle import nn
from paddle.static import InputSpec

from tests.adversarial import expected, whole
from tests.adversarial.cases import Around, as_it_is
from tests.adversarial.whole import F
from tests.adversarial.zoo import zoo
from tests.nets import Array

Shape: TypeAlias = tuple[int, ...]
"""Without the batch: (channels, height, width), (tokens, width) or (width,)."""


@attrs.frozen
class Linear:
    """A linear layer over the last axis; of a map, a 1x1 convolution."""

    width: int = 3


@attrs.frozen
class Conv:
    """A convolution that keeps height and width."""

    channels: int = 4
    kernel: int = 3
    depthwise: bool = False


@attrs.frozen
class Norm:
    """A normalisation."""

    kind: Literal["batch", "layer", "group", "rms", "instance"] = "batch"


@attrs.frozen
class Same:
    """A function that keeps the shape, by its name in `SAME` or `IN_PLACE`."""

    name: str = "tanh"

    @property
    def is_converted(self) -> bool:
        """Whether it is a statement, or reads sizes, that only a conversion follows."""
        return self.name in (*IN_PLACE, "by_rows")


@attrs.frozen
class Resize:
    """A map is halved or doubled, where it is not too small or too large for it."""

    how: Literal["max", "average", "nearest", "bilinear"] = "max"


@attrs.frozen
class Mix:
    """Tokens hear of each other."""

    how: Literal["LSTM", "GRU", "attention"] = "GRU"


@attrs.frozen
class Zoo:
    """A case of the zoo, of the name; what it puts out scales what comes in."""

    name: str


@attrs.frozen
class Branch:
    """What comes in goes through ``pieces`` and beside them, and both ways join."""

    join: Literal["add", "concat", "multiply"]
    pieces: tuple[Piece, ...]


@attrs.frozen
class Twice:
    """``pieces`` and a layer back to the width, called twice: shared weights."""

    pieces: tuple[Piece, ...]


@attrs.frozen
class Part:
    """``pieces`` that do not learn: frozen weights, or in eval mode."""

    how: Literal["frozen", "eval"]
    pieces: tuple[Piece, ...]


Piece: TypeAlias = Linear | Conv | Norm | Same | Resize | Mix | Zoo | Branch | Twice | Part

NOT_OLD = (
    *(Same("tanh"), Same("gelu"), Same("tanh_"), Same("exp_"), Norm("rms"), Mix("attention")),
)
"""What Paddle itself does not build in old programs any more."""

SAME: Mapping[str, Callable[[Any], Any]] = {
    "tanh": F.tanh,
    "relu": F.relu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "softmax": F.softmax,
    "dropout": lambda x: F.dropout(x, 0.0),
    "square": lambda x: x + 0.1 * x.square(),
    "pow": lambda x: x.pow(2) * 0.1 - x,
    "scaled": lambda x: x * 0.7 + 0.1,
    "detached": lambda x: x + x.detach() * 0.5,
    "cumsum": lambda x: x.cumsum(1) * 0.3,
    "sort": lambda x: x.sort(-1),
    "flip": lambda x: x.flip(1),
    "masked": lambda x: paddle.where(x > 0, x, x * 0.2),
    "clip": lambda x: x.clip(-1.0, 1.0),
    "sized": lambda x: x * float(len(x.shape)) / 3.0,
    "by_size": lambda x: x / x.shape[-1],
    "by_rows": lambda x: x.reshape([x.shape[0], -1]).reshape(paddle.shape(x)),
    "there_and_back": lambda x: x.unsqueeze(1).squeeze(1),
    "halves": lambda x: paddle.concat([x[:, :1] * 2.0, x[:, 1:]], 1),
    "centred": lambda x: x - x.mean(-1, keepdim=True),
}
IN_PLACE: Mapping[str, tuple[Any, ...]] = {
    "relu_": (),
    "tanh_": (),
    "clip_": (-1.0, 1.0),
    "scale_": (0.5,),
    "add_": (),
    "exp_": (),
}


# --- layers -----------------------------------------------------------------------------


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


# --- strategies -------------------------------------------------------------------------


def from_zoo() -> list[str]:
    """The cases of the zoo that stand anywhere in a network, and draw no random numbers."""
    told = {**expected.REFUSED, **expected.LATE}
    return [
        name
        for name, named in zoo().items()
        if not (named.first or named.statement or named.fixed or named.case.whole)
        and all(operand.kind in ("map", "share") for operand in named.fed)
        and not any(expected.of(told, name))
        and not any(fnmatchcase(name, pattern) for pattern in RANDOM)
    ]


RANDOM = ("*ropout*", "*RReLU*", "layer.LSTM 1", "layer.TransformerEncoderLayer 1")

_plain: st.SearchStrategy[Piece] = st.one_of(
    st.builds(Linear, st.integers(1, 4)),
    st.builds(Conv, st.integers(1, 5), st.sampled_from((1, 3)), st.booleans()),
    st.builds(Norm, st.sampled_from(("batch", "layer", "group", "rms", "instance"))),
    st.builds(Same, st.sampled_from((*SAME, *IN_PLACE))),
    st.builds(Resize, st.sampled_from(("max", "average", "nearest", "bilinear"))),
    st.builds(Mix, st.sampled_from(("LSTM", "GRU", "attention"))),
    st.builds(Zoo, st.deferred(lambda: st.sampled_from(from_zoo()))),
)


def _nested(inner: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Branch, st.sampled_from(("add", "concat", "multiply")), some),
        st.builds(Twice, some),
        st.builds(Part, st.sampled_from(("frozen", "eval")), some),
    )


pieces = st.lists(st.recursive(_plain, _nested, max_leaves=4), min_size=1, max_size=4).map(tuple)
shapes: st.SearchStrategy[Shape] = st.sampled_from(((4,), (3, 4), (2, 4, 4), (3, 5, 4)))
