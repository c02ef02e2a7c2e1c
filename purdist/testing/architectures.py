"""Small networks described: values that print as the code that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs, scopes
from purdist.checking import Number
from purdist.errors import InvalidArgumentError
from purdist.program import Program
from purdist.sources.static import from_static
from purdist.variables import Size

Count: TypeAlias = Annotated[int, Number(least=0, most=1 << 20, whole=True)]
Width: TypeAlias = Annotated[int, Number(least=1, most=1 << 20, whole=True)]
Seed: TypeAlias = Annotated[int, Number(least=0, below=1 << 32, whole=True)]


@attrs.frozen
class Conv:
    """A square convolution that keeps height and width."""

    channels: Width
    kernel: Literal[1, 3] = 3


@attrs.frozen
class Linear:
    """A fully connected layer; a feature map is flattened first."""

    width: Width


@attrs.frozen
class Relu:
    """max(x, 0)."""


@attrs.frozen
class BatchNorm:
    """Batch normalisation: each mode of the network computes it differently."""


@attrs.frozen
class Dropout:
    """Dropout: one mode of the network draws random numbers, the other does not."""

    rate: Annotated[float, Number(least=0, below=1)] = 0.5


@attrs.frozen
class Branch:
    """What comes in goes through ``layers`` and beside them, and both ways join.

    With ``"add"``, what goes beside is brought to the width of the other by a 1x1
    convolution or a linear layer where they differ.
    """

    join: Literal["add", "concat"]
    layers: tuple[Layer, ...]


Layer: TypeAlias = Conv | Linear | Relu | BatchNorm | Dropout | Branch


def _check_layers(_: Network, __: object, layers: tuple[Layer, ...]) -> None:
    flat = False
    for layer in layers:
        if flat and isinstance(layer, Conv):
            raise InvalidArgumentError(
                f"Expected convolutions before the first linear layer, got {layers}.",
                f"Move {layer} forward: a linear layer flattens the map.",
            )
        flat = flat or isinstance(layer, Linear)


@attrs.frozen
class Network:
    """A small network described: a value that prints as the code that makes it.

    Attributes:
        shape: Of one image: channels, height, width.
        layers: One after the other.

    Raises:
        InvalidArgumentError: A convolution comes after a linear layer.
    """

    shape: tuple[Width, Width, Width]
    layers: tuple[Layer, ...] = attrs.field(validator=_check_layers)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the layers' outputs: ``layer0``, ``layer1.0`` inside a branch, ..."""
        return tuple(_output_names(self.layers, "layer"))

    def images(self, count: Count, *, seed: Seed = 0) -> npt.NDArray[np.float32]:
        """A batch to feed, normal numbers of ``seed``: [count, *shape]."""
        numbers = np.random.RandomState(seed).standard_normal((count, *self.shape))
        return numbers.astype(np.float32)

    def static(self, *, name: str = "image", seed: Seed = 0, batch: Size = -1) -> StaticNetwork:
        """The network as Paddle's user has it, its weights and statistics drawn from ``seed``.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        with graphs.building():
            main, startup = paddle.static.Program(), paddle.static.Program()
            grown = _Grown()
            with paddle.static.program_guard(main, startup):
                image = paddle.static.data(name, [batch, *self.shape], "float32")
                grown.grow(image, self.layers, "layer")
            paddle.seed(seed)
            scope = scopes.new_scope()
            scopes.initialise(scope, startup, paddle.CPUPlace())
            grown.draw(scope, seed)
        return StaticNetwork(main, scope, grown.names)

    def program(self, *, name: str = "image", seed: Seed = 0, batch: Size = -1) -> Program:
        """The network as a program, each layer's output by its name in `outputs`.

        It is made once for its arguments: nothing changes a program.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        return _program(self, name, seed, batch)


@attrs.frozen(eq=False, repr=False)
class StaticNetwork:
    """A network as Paddle's user has it.

    Attributes:
        main: The PIR program.
        scope: Its weights.
        names: What `Network.outputs` names.
    """

    main: paddle.static.Program
    scope: graphs.Scope
    names: Mapping[str, paddle.Tensor]


@lru_cache(maxsize=1024)
def _program(network: Network, name: str, seed: int, batch: int) -> Program:
    built = network.static(name=name, seed=seed, batch=batch)
    return from_static(built.main, scope=built.scope, names=built.names, place=paddle.CPUPlace())


def _output_names(layers: tuple[Layer, ...], prefix: str) -> Iterator[str]:
    for k, layer in enumerate(layers):
        if isinstance(layer, Branch):
            yield from _output_names(layer.layers, f"{prefix}{k}.")
        yield f"{prefix}{k}"


@attrs.frozen(eq=False)
class _Grown:
    """What is grown so far.

    Attributes:
        names: The layers' outputs by their names.
    """

    names: dict[str, paddle.Tensor] = attrs.field(factory=dict)
    _made: list[paddle.nn.Layer] = attrs.field(factory=list)

    def grow(self, value: paddle.Tensor, layers: tuple[Layer, ...], prefix: str) -> paddle.Tensor:
        """``layers`` behind ``value``."""
        for k, layer in enumerate(layers):
            if isinstance(layer, Branch):
                through = self.grow(value, layer.layers, f"{prefix}{k}.")
                value = self._joined(value, through, layer.join)
            else:
                value = self._one(value, layer)
            self.names[f"{prefix}{k}"] = value
        return value

    def draw(self, scope: graphs.Scope, seed: int) -> None:
        """Writes what Paddle starts at 0 and 1: no two would differ, and none would be missed."""
        random = np.random.RandomState(seed)
        for layer in self._made:
            for key, weight in (*layer.named_parameters(), *layer.named_buffers()):
                if len(weight.shape) == 1:
                    is_scale = key in ("weight", "_variance")
                    drawn = random.uniform(*((0.5, 1.5) if is_scale else (-1.0, 1.0)), weight.shape)
                    scopes.put(scope, weight.name, drawn.astype(np.float32), paddle.CPUPlace())

    def _through(self, layer: paddle.nn.Layer, value: paddle.Tensor) -> paddle.Tensor:
        self._made.append(layer)
        grown: paddle.Tensor = layer(value)
        return grown

    def _one(
        self, value: paddle.Tensor, layer: Conv | Linear | Relu | BatchNorm | Dropout
    ) -> paddle.Tensor:
        width, is_map = value.shape[1], len(value.shape) == 4
        match layer:
            case Conv(channels, kernel):
                conv = paddle.nn.Conv2D(width, channels, kernel, padding=kernel // 2)
                return self._through(conv, value)
            case Linear(outside):
                value = value.flatten(1) if is_map else value
                return self._through(paddle.nn.Linear(value.shape[1], outside), value)
            case Relu():
                return paddle.nn.functional.relu(value)
            case BatchNorm():
                norm = paddle.nn.BatchNorm2D if is_map else paddle.nn.BatchNorm1D
                return self._through(norm(width), value)
            case Dropout(rate):
                return paddle.nn.functional.dropout(value, rate)

    def _joined(
        self, beside: paddle.Tensor, through: paddle.Tensor, join: Literal["add", "concat"]
    ) -> paddle.Tensor:
        if len(beside.shape) != len(through.shape):
            beside = beside.flatten(1)
        if join == "concat":
            return paddle.concat([beside, through], axis=1)
        width = through.shape[1]
        if beside.shape[1] != width:
            fitting = Conv(width, 1) if len(beside.shape) > 2 else Linear(width)
            beside = self._one(beside, fitting)
        return beside + through
