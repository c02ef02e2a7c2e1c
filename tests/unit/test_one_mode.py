"""Names that one mode of a network has alone, wherever names are handed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from tests.nets import numbers

pytestmark = pytest.mark.usefixtures("dynamic")

X = {"x": numbers(0, 3, 6)}


class TwoHeads(nn.Layer):
    """Two heads while it trains, and their mean when it infers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.b = nn.Linear(6, 4)

    def forward(self, x: paddle.Tensor) -> Any:
        return (self.a(x), self.b(x)) if self.training else (self.a(x) + self.b(x)) / 2


class Noting(TwoHeads):
    """One that puts something else out while it trains, too."""

    def forward(self, x: paddle.Tensor) -> Any:
        return {"mean": self.a(x) * 2.0} if self.training else {"half": self.a(x) / 2.0}


def entered(layer: nn.Layer, feed: str = "x", width: int = 6) -> purdist.Program:
    return purdist.from_layer(layer, {feed: InputSpec([None, width])})


def step(student: purdist.Program) -> purdist.Training:
    loss = purdist.L2Loss("teacher_output", "a")
    merged = purdist.merge(entered(nn.Linear(6, 4), "y"), student, {"y": "x"})
    return purdist.minimize(purdist.apply(merged, [loss]), lambda: paddle.optimizer.SGD(0.1))


USES: dict[str, Callable[[purdist.Program, str, Path], object]] = {
    "apply": lambda s, name, _: purdist.apply(s, [purdist.L2Loss("a", name)]),
    "merge": lambda s, name, _: purdist.merge(entered(nn.Linear(4, 4), "q", 4), s, {"q": name}),
    "cut": lambda s, name, _: purdist.cut(s, [name]),
    "run": lambda s, name, _: s.run(X, [name]),
    "export": lambda s, name, folder: purdist.export(s, folder / "net", [name]),
    "train": lambda s, name, _: list(purdist.train(step(s), [X], fetch=[name])),
}


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("apply", "half"),
        ("merge", "mean"),
        ("merge", "half"),
        ("cut", "mean"),
        ("cut", "half"),
        ("run", "mean"),
        ("export", "mean"),
        ("train", "half"),
    ],
)
def test_a_name_of_the_other_mode_is_refused_with_those_of_this(
    use: str, name: str, tmp_path: Path
) -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        USES[use](entered(Noting()), name, tmp_path)
    text = str(caught.value)
    here, there = ("training", "inference") if name == "half" else ("inference", "training")
    other = "mean" if name == "half" else "half"
    assert f"Expected a variable of the {here} graph, got {name!r}, which is computed in " in text
    assert f"which is computed in {there} alone.\n" in text
    assert f"In {here} alone there are {other} [-1, 4] float32." in text


def test_both_heads_take_losses_and_their_mean_is_exported(tmp_path: Path) -> None:
    student = entered(TwoHeads())
    distillation = purdist.apply(student, [purdist.L2Loss("output.0", "output.1")])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    list(purdist.train(training, [X]))
    purdist.export(training, tmp_path / "net", ["output"])
