"""Losses that compute the same thing compute it once."""

from __future__ import annotations

from collections import Counter

import paddle
import pytest

import purdist
from purdist import graphs
from tests.nets import linear, numbers, program


def ops_of(specs: list[purdist.LossSpec]) -> Counter[str]:
    """How many ops of each kind the losses add to the training graph."""
    merged = purdist.merge(program(linear("y"), seed=1), program(linear()), {"y": "x"})
    before = Counter(graphs.short_name(op) for op in graphs.operations(merged.graph))
    distilled = purdist.apply(merged, specs, prune=False).program
    return Counter(graphs.short_name(op) for op in graphs.operations(distilled.graph)) - before


def soft(temperature: float = 2.0, name: str | None = None) -> purdist.SoftLabelLoss:
    return purdist.SoftLabelLoss("teacher_logits", "logits", temperature, temperature, name=name)


def test_the_same_softmax_is_there_once() -> None:
    assert ops_of([soft(), soft(name="again")])["logsumexp"] == ops_of([soft()])["logsumexp"]


def test_another_temperature_is_another_softmax() -> None:
    assert ops_of([soft(), soft(3.0)])["logsumexp"] == 2 * ops_of([soft()])["logsumexp"]


def test_dropout_of_one_loss_is_not_that_of_another() -> None:
    def dropped(value: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.dropout(value, 0.5).mean()

    specs: list[purdist.LossSpec] = [purdist.CustomLoss(dropped, {"value": "logits"})] * 2
    assert ops_of(specs)["dropout"] == 2


@pytest.mark.parametrize("prune", [True, False])
def test_a_term_that_another_computes_has_its_own_name(*, prune: bool) -> None:
    merged = purdist.merge(program(linear("y"), seed=1), program(linear()), {"y": "x"})
    distilled = purdist.apply(merged, [soft(), 0.5 * soft()], prune=prune)
    values = distilled.program.run({"x": numbers(0, 7, 6)}, [*distilled.terms, "loss"])
    assert values["soft_label_0"] == values["soft_label_1"]
    assert values["loss"] == pytest.approx(1.5 * values["soft_label_0"])
    training = purdist.minimize(distilled, lambda: paddle.optimizer.SGD(0.1))
    step = next(purdist.train(training, [{"x": numbers(0, 7, 6)}]))
    assert step.terms == {name: pytest.approx(float(values[name])) for name in distilled.terms}


def test_a_scalar_that_was_there_may_be_a_term() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        names = dict(linear()())
        return {**names, "size": names["logits"].square().mean()}

    network = program(forward)
    distilled = purdist.apply(network, [purdist.CustomLoss(lambda size: size, {"size": "size"})])
    values = distilled.program.run({"x": numbers(0, 7, 6)}, ["size", "custom_0", "loss"])
    assert values["size"] == values["custom_0"] == values["loss"]
