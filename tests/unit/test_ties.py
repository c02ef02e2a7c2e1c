"""Layers with a part in common: two networks that learn are refused, a teacher is a snapshot."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist.program import internals_of
from tests import nets

pytestmark = pytest.mark.usefixtures("dynamic")

Make = Callable[[], tuple[nn.Layer, nn.Layer]]


class Shifted(nn.Layer):
    """Adds a constant, which several may hold."""

    def __init__(self, shift: paddle.Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.head = nn.Linear(6, 5)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        head: paddle.Tensor = self.head(x + self.shift)
        return head


def headed(trunk: nn.Layer) -> tuple[nn.Layer, nn.Layer]:
    return (
        nn.Sequential(trunk, nn.Tanh(), nn.Linear(6, 5)),
        nn.Sequential(nn.ReLU(), trunk, nn.Linear(6, 5)),
    )


def frozen(layer: nn.Layer) -> nn.Layer:
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    return layer


def with_one_tensor() -> tuple[nn.Layer, nn.Layer]:
    trunk, other = nn.Linear(6, 6), nn.Linear(6, 6)
    other.weight = trunk.weight
    return headed(trunk)[0], headed(other)[1]


def one_twice() -> tuple[nn.Layer, nn.Layer]:
    layer = nn.Linear(6, 5)
    return layer, layer


def whole_and_part() -> tuple[nn.Layer, nn.Layer]:
    trunk = nn.Linear(6, 6)
    return trunk, headed(trunk)[0]


TIED: dict[str, Make] = {
    "trunk": lambda: headed(nn.Linear(6, 6)),
    "tensor": with_one_tensor,
    "statistics": lambda: headed(nn.BatchNorm1D(6, weight_attr=False, bias_attr=False)),
    "the same layer": one_twice,
    "a layer and its part": whole_and_part,
}


def held_alike() -> tuple[nn.Layer, nn.Layer]:
    shift = paddle.ones([6])
    return Shifted(shift), Shifted(shift)


APART: dict[str, Make] = {
    "a copy": lambda: (headed(trunk := nn.Linear(6, 6))[0], headed(copy.deepcopy(trunk))[1]),
    "a frozen trunk": lambda: headed(frozen(nn.Linear(6, 6))),
    "a constant": held_alike,
}


def networks(make: Make, **options: Any) -> tuple[purdist.Program, purdist.Program]:
    one, other = make()
    return (
        purdist.from_layer(one, {"y": InputSpec([None, 6])}, **options),
        purdist.from_layer(other, {"x": InputSpec([None, 6])}, **options),
    )


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("tied", TIED)
def test_networks_that_both_learn_one_tensor_are_not_joined(tied: str, *, share: bool) -> None:
    peer, student = networks(TIED[tied], share=share)
    gc.collect()  # the layers are gone, and are still what they were
    with pytest.raises(purdist.InvalidArgumentError, match="are one tensor"):
        purdist.join(peer, student, {"y": "x"})


def test_it_is_said_which_tensors_are_one_and_what_to_do() -> None:
    peer, student = networks(TIED["trunk"])
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.join(peer, student, {"y": "x"})
    assert str(caught.value) == (
        "Expected peer and student to learn with weights of their own, got layers in which 2 are "
        "one tensor: '0.weight' and '1.weight', '0.bias' and '1.bias'. Here they would be two, "
        "which drift apart.\n"
        "Return both answers from one layer: from_layer makes one network of it, and MutualLoss "
        "takes two variables of one network, too. Or give each network a part of its own, with "
        "copy.deepcopy(layer)."
    )


@pytest.mark.parametrize("apart", APART)
def test_networks_that_learn_nothing_in_common_are_joined(apart: str) -> None:
    joined = purdist.join(*networks(APART[apart]), {"y": "x"})
    assert joined.peers == ("peer_",)


@pytest.mark.parametrize("tied", TIED)
def test_a_teacher_of_the_same_layer_stays_as_it_was(tied: str) -> None:
    teacher, student = networks(TIED[tied])
    merged = purdist.merge(teacher, student, {"y": "x"})
    before = nets.weights(merged)
    answers = {"a": "output", "b": "teacher_output"}
    loss = purdist.CustomLoss(lambda a, b: (a.sum() - b.sum() - 1.0).square(), answers)
    training = purdist.minimize(purdist.apply(merged, [loss]), lambda: paddle.optimizer.SGD(0.1))
    list(purdist.train(training, [{"x": nets.numbers(0, 4, 6)}] * 2))
    moved = nets.moved(before, nets.weights(training.program))
    assert moved
    assert not any(name.startswith("teacher_") for name in moved)


def test_a_tie_is_found_behind_other_networks_and_after_they_were_taken_apart() -> None:
    trunk, head = networks(TIED["trunk"])
    other = purdist.from_layer(nn.Linear(6, 5), {"z": InputSpec([None, 6])})
    joined = purdist.join(trunk, other, {"y": "z"})
    taught = purdist.merge(trunk, other, {"y": "z"})
    for peer in (joined, purdist.student_of(joined, name_prefix="peer_")):
        with pytest.raises(purdist.InvalidArgumentError, match="are one tensor"):
            purdist.join(peer, head, dict.fromkeys(peer.inputs, "x"), name_prefix="p_")
    for peer in (taught, purdist.student_of(joined)):
        assert "p_" in purdist.join(peer, head, {"z": "x"}, name_prefix="p_").peers


def test_a_half_without_what_was_tied_is_joined() -> None:
    peer, student = networks(TIED["trunk"])
    _, head = purdist.cut(student, ["1"])
    assert purdist.join(peer, head, {"y": "1"}).peers == ("peer_",)


def test_one_layer_that_returns_both_answers_learns_as_in_dygraph() -> None:
    class Both(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
            hidden = self.trunk(x)
            return self.a(hidden), self.b(hidden)

    layer, x = Both(), nets.numbers(0, 4, 6)
    network = purdist.from_layer(layer, {"x": InputSpec([None, 6])})
    mutual = purdist.apply(network, [purdist.MutualLoss("output.0", "output.1")])
    training = purdist.minimize(mutual, lambda: paddle.optimizer.SGD(0.1))
    list(purdist.train(training, [{"x": x}] * 3))
    optimizer = paddle.optimizer.SGD(0.1, parameters=layer.parameters())
    for _ in range(3):
        a, b = layer(paddle.to_tensor(x))
        softened = [(logits, nn.functional.softmax(logits)) for logits in (a, b)]
        one, two = (
            nn.functional.kl_div(
                nn.functional.log_softmax(logits), other.detach(), reduction="batchmean"
            )
            for (logits, _), (_, other) in zip(softened, reversed(softened), strict=True)
        )
        (one + two).backward()
        optimizer.step()
        optimizer.clear_grad()
    for path, tensor in layer.state_dict().items():
        np.testing.assert_allclose(
            nets.weights(training.program)[path], tensor.numpy(), rtol=1e-4, atol=1e-5
        )


def test_a_network_taken_out_is_tied_to_its_own_tensors_alone() -> None:
    def network(feed: str) -> purdist.Program:
        return purdist.from_layer(nn.Linear(6, 5), {feed: InputSpec([None, 6])})

    one = purdist.merge(network("y"), network("x"), {"y": "x"}, name_prefix="t_")
    both = purdist.merge(network("y"), one, {"y": "x"}, name_prefix="t_1_")
    for prefix in both.teachers:
        alone = purdist.student_of(both, name_prefix=prefix)
        assert internals_of(alone).tensors == {
            name: internals_of(both).tensors[prefix + name] for name in alone.weights
        }
