"""What the fuzzer's networks are made of: descriptions that print as the code that makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import attrs
import paddle
from hypothesis import strategies as st

from tests.adversarial import expected
from tests.adversarial.whole import F
from tests.adversarial.zoo import zoo

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
    """Tokens are mixed."""

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


# --- strategies -------------------------------------------------------------------------


def from_zoo() -> list[str]:
    """The cases of the zoo that stand anywhere in a network, and draw no random numbers."""
    texts = {**expected.REFUSED, **expected.LATE}
    return [
        name
        for name, named in zoo().items()
        if not (named.first or named.statement or named.fixed or named.case.whole)
        and all(operand.kind in ("map", "share") for operand in named.fed)
        and not any(expected.of(texts, name))
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
