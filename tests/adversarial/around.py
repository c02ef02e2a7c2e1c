"""A case of the zoo as a network: trainable numbers around it, alone or beside others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

from tests.adversarial import whole
from tests.adversarial.cases import ROWS, Case, Made, Of, Operand, f
from tests.adversarial.whole import F
from tests.nets import Array


def operands_of(value: object) -> Iterator[Operand]:
    """The operands within arguments, in order."""
    if isinstance(value, Operand):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from operands_of(item)
    elif isinstance(value, dict):
        yield from operands_of(list(value.values()))


def put(value: Any, tensors: Iterator[paddle.Tensor]) -> Any:
    """Arguments with a tensor in the place of each operand."""
    if isinstance(value, Operand):
        return next(tensors)
    if isinstance(value, list):
        return [put(item, tensors) for item in value]
    if isinstance(value, tuple):
        return tuple(put(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: put(item, tensors) for key, item in value.items()}
    return value.make() if isinstance(value, Made) else value


def tensors_in(value: Any) -> list[paddle.Tensor]:
    """The tensors within a result."""
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    return [] if value is None or isinstance(value, int | float | str | bool) else [value]


@attrs.frozen
class Named:
    """A case and what it is a case of.

    Attributes:
        of: Where Paddle has it.
        name: Its name there.
        number: Which of its cases this is.
        case: The case.
        first: Nothing trainable stands before it.
        statement: What writes in place is called for that, and its result is not looked at.
        dtype: Of its numbers.
    """

    of: Of
    name: str
    number: int
    case: Case
    first: bool = False
    statement: bool = False
    dtype: str = "float32"

    def __str__(self) -> str:
        parts = [f"{self.of}.{self.name}", str(self.number) if self.number else ""]
        parts += [str(self.case.options.get("data_format", ""))]
        parts += ["first"] * self.first + ["statement"] * self.statement
        return " ".join(filter(None, parts))

    @property
    def operands(self) -> list[Operand]:
        """What it is called with, in order."""
        return list(operands_of([self.case.on, self.case.arguments, dict(self.case.options)]))

    @property
    def fixed(self) -> bool:
        """Whether the batch must be known."""
        return self.case.fixed

    @property
    def fed(self) -> list[Operand]:
        """The operands that are fed; a network has one at least."""
        return [operand for operand in self.operands if operand.kind != "weight"] or [f(2)]

    def dtype_of(self, operand: Operand) -> str:
        """As Paddle calls it."""
        return self.dtype if operand.dtype == "float" else operand.dtype

    def make(self, seed: int) -> nn.Layer:
        """The network, made in dynamic mode."""
        paddle.set_default_dtype(self.dtype)
        paddle.seed(seed)
        return Around(self)

    def specs(self, prefix: str) -> list[InputSpec]:
        """What `purdist.from_layer` is told."""
        batch = ROWS if self.fixed else None
        return [
            InputSpec([batch, *operand.shape], self.dtype_of(operand), f"{prefix}{k}")
            for k, operand in enumerate(self.fed)
        ]

    def feed(self, seed: int, prefix: str = "x", rows: int = ROWS) -> dict[str, Array]:
        """A batch."""
        random = np.random.RandomState(seed)
        found: dict[str, Array] = {}
        for k, operand in enumerate(self.fed):
            shape, dtype = (rows, *operand.shape), self.dtype_of(operand)
            numbers = (
                random.standard_normal(shape)
                if operand.dtype == "float"
                else random.randint(operand.least, operand.below, shape)
            )
            found[f"{prefix}{k}"] = numbers.astype(dtype)
        return found


Computing = TypeVar("Computing", bound=Callable[..., Any])


def as_it_is(function: Computing) -> Computing:
    """The function, not converted for a graph: what it calls is Paddle's, which never is."""
    made: Computing = whole.paddle.jit.not_to_static(function)
    return made


@attrs.frozen
class Group:
    """Cases side by side in one network: what goes well in there costs a fraction.

    Attributes:
        members: The cases, all of a known batch or none.
    """

    members: tuple[Named, ...]

    @property
    def fixed(self) -> bool:
        """Whether the batch must be known."""
        return self.members[0].fixed

    def make(self, seed: int) -> nn.Layer:
        """The network, made in dynamic mode."""
        return SideBySide([named.make(seed) for named in self.members])

    def specs(self, prefix: str) -> list[InputSpec]:
        """What `purdist.from_layer` is told."""
        specs = [spec for named in self.members for spec in named.specs(prefix)]
        return [InputSpec(spec.shape, spec.dtype, f"{prefix}{k}") for k, spec in enumerate(specs)]

    def feed(self, seed: int, prefix: str = "x", rows: int = ROWS) -> dict[str, Array]:
        """A batch."""
        fed = [array for one in self.members for array in one.feed(seed, prefix, rows).values()]
        return {f"{prefix}{k}": array for k, array in enumerate(fed)}


class SideBySide(nn.Layer):
    """Several cases, each with feeds of its own."""

    def __init__(self, layers: Sequence[nn.Layer]) -> None:
        super().__init__()
        self.layers = nn.LayerList(layers)

    def forward(self, *feeds: paddle.Tensor) -> list[paddle.Tensor]:
        made: list[paddle.Tensor] = self._compute(feeds)
        return made

    @as_it_is
    def _compute(self, feeds: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        fed = iter(feeds)
        return [
            made
            for layer in self.layers
            for made in layer(*itertools.islice(fed, len(layer.named.fed)))
        ]


class Around(nn.Layer):
    """A case with a trainable factor before each map, and one behind each result."""

    def __init__(self, named: Named) -> None:
        super().__init__()
        case = named.case
        self.named = named
        self.inner = None
        if named.of == "net":
            self.inner = case.arguments[0].make()
        elif named.of == "layer":
            arguments = put([case.arguments, dict(case.options)], iter(()))
            self.inner = getattr(whole.nn, named.name)(*arguments[0], **arguments[1])
        near_one = nn.initializer.Normal(1.0, 0.3)
        for k, operand in enumerate(named.operands):
            drawn = nn.initializer.Normal(0.0, 0.5) if operand.kind == "weight" else near_one
            if operand.kind == "weight" or (operand.kind != "feed" and not named.first):
                weight = self.create_parameter(operand.shape, default_initializer=drawn)
                setattr(self, f"weight{k}", weight)
        self.gain = self.create_parameter([1], default_initializer=near_one)

    def forward(self, *feeds: paddle.Tensor) -> list[paddle.Tensor]:
        made: list[paddle.Tensor] = self._compute(feeds)
        return made

    @as_it_is
    def _compute(self, feeds: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        named, case = self.named, self.named.case
        tensors = iter(self._operands(feeds))
        if self.inner is not None:
            made = self.inner(*put(case.on, tensors))
        else:
            arguments = put([case.arguments, dict(case.options)], tensors)
            made = _called(named, arguments[0], arguments[1])
        made = made if case.take is None else case.take(made)
        results = [self.gain * result.astype(named.dtype) for result in tensors_in(made)]
        if case.whole:
            return [self._over_rows(feeds[0], results)]
        return results

    def _operands(self, feeds: Sequence[paddle.Tensor]) -> list[Any]:
        fed = iter(feeds)
        found: list[Any] = []
        for k, operand in enumerate(self.named.operands):
            weight = getattr(self, f"weight{k}", None)
            if operand.kind == "weight":
                found.append(weight)
                continue
            value = next(fed) if weight is None else next(fed) * weight
            # Times one: what the sigmoid's gradient reads may not be written over.
            found.append(F.sigmoid(value) * 1.0 if operand.kind == "share" else value)
        return found

    def _over_rows(self, feed: paddle.Tensor, results: list[paddle.Tensor]) -> paddle.Tensor:
        """Results without a batch, where each number counts otherwise, over the batch's rows."""
        numbers: Any = feed.astype(self.named.dtype).unsqueeze(-1).flatten(1)
        row = F.softsign(numbers.sum(1, keepdim=True))  # small, or training would diverge
        for result in results:
            row = row * F.tanh(result.flatten()).cumsum(0).mean()
        rows: paddle.Tensor = row
        return rows


def _called(named: Named, arguments: list[Any], options: dict[str, Any]) -> Any:
    if named.of == "method":
        function = getattr(arguments[0], named.name)
        made = function(*arguments[1:], **options)
    else:
        home = F if named.of == "function" else whole.paddle
        made = getattr(home, named.name)(*arguments, **options)
    return arguments[0] if named.statement else made
