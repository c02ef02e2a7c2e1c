"""What holds memory of Paddle's does not pickle, and says what to send instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import paddle
import pytest

import purdist
from tests import nets


def held() -> list[object]:
    program = nets.program(nets.linear())
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    distillation = purdist.apply(program, [loss])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    return [program, distillation, training]


@pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy])
def test_what_is_of_this_process_says_what_to_send(leave: Callable[[object], object]) -> None:
    for thing in held():
        kind = type(thing).__name__
        with pytest.raises(TypeError, match=f"got a {kind}: its graphs") as caught:
            leave([thing])
        assert isinstance(caught.value, purdist.InvalidArgumentError)
        assert "the layer for from_layer" in str(caught.value)


def test_a_value_is_its_own_copy() -> None:
    for thing in held():
        assert copy.copy(thing) is thing
