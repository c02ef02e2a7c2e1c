"""Names that Paddle cannot take are refused wherever a person gives one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from tests import nets

pytestmark = pytest.mark.usefixtures("dynamic")


class Returning(nn.Layer):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: paddle.Tensor) -> Any:
        return {self.name: x * 2.0}


def entered(layer: nn.Layer, feed: str = "x") -> purdist.Program:
    return purdist.from_layer(layer, {feed: InputSpec([None, 6])})


def from_static(name: str) -> purdist.Program:
    paddle.enable_static()
    net = nets.Net.of(nets.linear())
    return purdist.from_static(net.main, scope=net.scope, names={name: net.names["logits"]})


def applied(spec: purdist.LossSpec) -> purdist.Distillation:
    return purdist.apply(entered(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4))), [spec])


GIVERS: dict[str, Callable[[str], object]] = {
    "feed": lambda name: entered(nn.Linear(6, 4), name),
    "InputSpec": lambda name: purdist.from_layer(
        nn.Linear(6, 4), [InputSpec([None, 6], name=name)]
    ),
    "sublayer": lambda name: entered(nn.Sequential((name, nn.Linear(6, 4)))),
    "output": lambda name: entered(Returning(name)),
    "names": from_static,
    "prefix": lambda name: purdist.merge(
        entered(nn.Linear(6, 4), "y"), entered(nn.Linear(6, 4)), {"y": "x"}, name_prefix=name
    ),
    "new input": purdist.NewInput,
    "loss": lambda name: applied(purdist.L2Loss("0", "1", name=name)),
    "parameter": lambda name: applied(
        purdist.CustomLoss(lambda **given: given[name].mean(), {name: "0"})
    ),
}


@pytest.mark.parametrize("giver", GIVERS)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\ud800", "which UTF-8 cannot encode: it holds half of a surrogate pair"),
        ("a\0b", "which holds a NUL character"),
    ],
)
def test_a_name_that_paddle_cannot_take(giver: str, name: str, why: str) -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        GIVERS[giver](name)
    first, second = str(caught.value).splitlines()[-2:]
    assert "Expected the name of " in first
    assert first.endswith(f" to be a text, got {name!r}, {why}.")
    assert second == "Choose another name."


@pytest.mark.parametrize("giver", ["feed", "names", "new input", "sublayer", "prefix"])
def test_other_writings_are_taken(giver: str) -> None:
    assert GIVERS[giver]("näme_日本_🙂")


@pytest.mark.parametrize("giver", ["new input", "names"])
def test_an_empty_name(giver: str) -> None:
    with pytest.raises(purdist.InvalidArgumentError):
        GIVERS[giver]("")


def test_a_value_as_names() -> None:
    paddle.enable_static()
    net = nets.Net.of(nets.linear())
    names: Any = net.names["logits"]
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.from_static(net.main, scope=net.scope, names=names)
    assert str(caught.value) == (
        "Expected names to be a mapping from names, got a Value [-1, 4] paddle.float32.\n"
        "from_static says of names: Name -> value of main, for values to be known by name: in a "
        "PIR program only inputs and parameters have a name of their own."
    )
