"""Dygraph layers for the tests: one of each kind that a person brings."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from paddle.static import InputSpec
from paddle.vision import models

import purdist
from tests.nets import Array, numbers
from tests.profiles import SLOW


class Looping(nn.Layer):
    """A Python while and if on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        count = paddle.zeros([1], "int32")
        while count < 3:
            x = F.tanh(self.step(x))
            count = count + 1
        if x.mean() > 0:  # noqa: SIM108 - what is tested
            x = self.step(x) * 2
        else:
            x = x - 1
        return self.last(x)


class Capturing(Looping):
    """A loop that reads a value from outside, which is read again later."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        count, other = paddle.zeros([1], "int32"), self.step(x)
        start = x * other
        looped = start
        while count < 3:
            looped = F.tanh(looped * other)
            count = count + 1
        return self.last(looped * start * other + x)


class Shared(nn.Layer):
    """One sublayer under two names, called three times, and a weight under two."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.back = nn.Linear(4, 4)
        self.back.weight = self.first.weight

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.back(self.second(F.relu(self.first(F.relu(self.first(x))))))


class Dictionaries(nn.Layer):
    """A dictionary comes in, and one goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, batch: Mapping[str, paddle.Tensor]) -> dict[str, Any]:
        hidden = self.embed(batch["image"]) * batch["mask"]
        return {"logits": self.head(hidden), "maps": (hidden, hidden - 1.0), "nothing": None}


class Overwriting(nn.Layer):
    """An op that writes over what another layer put out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.norm = nn.BatchNorm2D(4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu_(self.norm(self.conv(x))).mean([2, 3])


class Shuffling(nn.Layer):
    """As in mobile networks: half of the maps go through depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.through = nn.Sequential(
            nn.Conv2D(4, 4, 1, bias_attr=False),
            nn.BatchNorm2D(4),
            nn.ReLU(),
            nn.Conv2D(4, 4, 3, padding=1, groups=4),
            nn.BatchNorm2D(4),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        kept, halved = paddle.split(x, 2, axis=1)
        joined = paddle.concat([kept, self.through(halved)], axis=1)
        shuffled = paddle.transpose(joined.reshape([0, 2, 4, 6, 6]), [0, 2, 1, 3, 4])
        return shuffled.flatten(1, 2).mean([2, 3])


@attrs.frozen
class Case:
    """A layer and what to call it with.

    Attributes:
        make: Makes it.
        feed: Feed name -> array.
        argument: The name of the argument that takes all feeds as a dictionary, if one does.
    """

    make: Callable[[], nn.Layer]
    feed: Mapping[str, Array]
    argument: str | None = None

    def specs(self) -> dict[str, InputSpec]:
        """The feeds, of any batch size."""
        return {
            name: InputSpec([None, *array.shape[1:]], str(array.dtype), name)
            for name, array in self.feed.items()
        }

    def inputs(self) -> Mapping[str, Any]:
        """What `purdist.from_layer` takes."""
        return {self.argument: self.specs()} if self.argument else self.specs()

    def call(self, layer: nn.Layer) -> dict[str, paddle.Tensor]:
        """What ``layer`` puts out, by the names that purdist gives it."""
        tensors = {name: paddle.to_tensor(array) for name, array in self.feed.items()}
        output = layer(tensors) if self.argument else layer(*tensors.values())
        return dict(leaves("", output))

    def saved(self, layer: nn.Layer, path: str) -> None:
        """Writes ``layer`` as ``paddle.jit.save`` does."""
        specs: Sequence[Any] = [self.specs()] if self.argument else list(self.specs().values())
        with warnings.catch_warnings():
            # Paddle says that it flattens a dictionary, and of an op what it does in a graph.
            warnings.filterwarnings("ignore", "Found 'dict'|In static graph mode")
            paddle.jit.save(layer, path, input_spec=specs)


def leaves(name: str, output: object) -> Iterator[tuple[str, paddle.Tensor]]:
    if isinstance(output, Mapping):
        for key, item in output.items():
            yield from leaves(f"{name}.{key}" if name else key, item)
    elif isinstance(output, list | tuple):
        for k, item in enumerate(output):
            yield from leaves(f"{name or 'output'}.{k}", item)
    elif isinstance(output, paddle.Tensor):
        yield name or "output", output


def vision(name: str, size: int = 32, classes: int = 10) -> Case:
    make = functools.partial(getattr(models, name), num_classes=classes)
    return Case(make, {"x": numbers(0, 2, 3, size, size)})


def sequences(make: Callable[[], nn.Layer]) -> Case:
    return Case(make, {"x": numbers(0, 2, 5, 4)})


def rows(make: Callable[[], nn.Layer]) -> Case:
    return Case(make, {"x": numbers(0, 3, 4)})


DEEP = ("resnet50", "mobilenet_v2", "shufflenet_v2_x1_0", "densenet121")

CASES: Mapping[str, Case] = {
    "resnet18": vision("resnet18"),
    # Its classifier has 120 million weights of which nothing is to learn here.
    "vgg11": vision("vgg11", classes=0),
    # Hundreds of layers of the kinds that the others have.
    **({name: vision(name) for name in DEEP} if SLOW else {}),
    "googlenet": vision("googlenet", size=192),
    "lstm": sequences(lambda: nn.LSTM(4, 6, num_layers=2, direction="bidirect")),
    "gru": sequences(lambda: nn.GRU(4, 6)),
    "cell": sequences(lambda: nn.RNN(nn.LSTMCell(4, 6))),
    "transformer": sequences(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1), 2)
    ),
    "looping": rows(Looping),
    "capturing": rows(Capturing),
    "shared": rows(Shared),
    "dictionaries": Case(
        Dictionaries, {"mask": numbers(1, 3, 4), "image": numbers(0, 3, 4)}, "batch"
    ),
    "shuffling": Case(Shuffling, {"x": numbers(0, 2, 8, 6, 6)}),
    "overwriting": Case(Overwriting, {"x": numbers(0, 2, 3, 8, 8)}),
}


@functools.cache
def layer(name: str) -> nn.Layer:
    """The layer of a case, in eval mode. Whoever changes it copies it first."""
    paddle.seed(1)
    made = CASES[name].make()
    made.eval()
    return made


@functools.cache
def program(name: str) -> purdist.Program:
    """The layer of a case as a network."""
    return purdist.from_layer(layer(name), CASES[name].inputs())


def without_dropout(made: nn.Layer) -> nn.Layer:
    """A copy whose dropouts drop nothing, so that it trains as surely as it infers."""
    copied = copy.deepcopy(made)
    for sublayer in copied.sublayers():
        if isinstance(sublayer, nn.Dropout):
            sublayer.p = 0.0
        elif isinstance(sublayer, nn.MultiHeadAttention):
            sublayer.dropout = 0.0
    return copied


def outputs_of_sublayers(case: Case, made: nn.Layer) -> dict[str, Array]:
    """A copy of what each sublayer puts out, taken in a hook, by the names purdist gives it."""
    found: dict[str, Array] = {}
    times: Counter[str] = Counter()

    def recording(path: str) -> Callable[[nn.Layer, Any, Any], None]:
        def hook(_: nn.Layer, __: Any, output: Any) -> None:
            name = f"{path}#{times[path]}" if times[path] else path
            times[path] += 1
            found.update((k, np.array(v)) for k, v in leaves(name, output))

        return hook

    hooks = [
        sublayer.register_forward_post_hook(recording(path))
        for path, sublayer in made.named_sublayers(remove_duplicate=False)
    ]
    case.call(made)
    for hook in hooks:
        hook.remove()
    return found
