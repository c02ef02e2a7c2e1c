"""Small networks described: values that print as the code that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        """The network as Paddle's user has it, its weights drawn from ``seed``.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        with graphs.building():
            main, startup = paddle.static.Program(), paddle.static.Program()
            names: dict[str, paddle.Tensor] = {}
            with paddle.static.program_guard(main, startup):
                image = paddle.static.data(name, [batch, *self.shape], "float32")
                _grow(image, self.layers, "layer", names)
            paddle.seed(seed)
            scope = scopes.new_scope()
            scopes.initialise(scope, startup, paddle.CPUPlace())
        return StaticNetwork(main, scope, names)

    def program(self, *, name: str = "image", seed: Seed = 0, batch: Size = -1) -> Program:
        """The network as a program, each layer's output by its name in `outputs`.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        built = self.static(name=name, seed=seed, batch=batch)
        return from_static(
            built.main, scope=built.scope, names=built.names, place=paddle.CPUPlace()
        )


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


def _output_names(layers: tuple[Layer, ...], prefix: str) -> Iterator[str]:
    for k, layer in enumerate(layers):
        if isinstance(layer, Branch):
            yield from _output_names(layer.layers, f"{prefix}{k}.")
        yield f"{prefix}{k}"


def _grow(
    value: paddle.Tensor, layers: tuple[Layer, ...], prefix: str, names: dict[str, paddle.Tensor]
) -> paddle.Tensor:
    """``layers`` behind ``value``, their outputs put into ``names``."""
    for k, layer in enumerate(layers):
        if isinstance(layer, Branch):
            value = _joined(value, _grow(value, layer.layers, f"{prefix}{k}.", names), layer.join)
        else:
            value = _one(value, layer)
        names[f"{prefix}{k}"] = value
    return value


def _one(value: paddle.Tensor, layer: Conv | Linear | Relu | BatchNorm | Dropout) -> paddle.Tensor:
    width, is_map = value.shape[1], len(value.shape) == 4
    match layer:
        case Conv(channels, kernel):
            return paddle.nn.Conv2D(width, channels, kernel, padding=kernel // 2)(value)
        case Linear(outside):
            value = value.flatten(1) if is_map else value
            return paddle.nn.Linear(value.shape[1], outside)(value)
        case Relu():
            return paddle.nn.functional.relu(value)
        case BatchNorm():
            norm = paddle.nn.BatchNorm2D if is_map else paddle.nn.BatchNorm1D
            return norm(width)(value)
        case Dropout(rate):
            return paddle.nn.functional.dropout(value, rate)


def _joined(
    beside: paddle.Tensor, through: paddle.Tensor, join: Literal["add", "concat"]
) -> paddle.Tensor:
    if len(beside.shape) != len(through.shape):
        beside = beside.flatten(1)
    if join == "concat":
        return paddle.concat([beside, through], axis=1)
    width = through.shape[1]
    if beside.shape[1] != width:
        beside = _one(beside, Conv(width, 1) if len(beside.shape) > 2 else Linear(width))
    return beside + through
