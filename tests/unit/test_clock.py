"""What a step draws follows from the seed and from the count of steps, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist.training.values import session_of
from tests import nets

FEED = {"x": nets.numbers(0, 6, 3, 4)}


class Recurrent(nn.Layer):
    """An LSTM that drops between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, num_layers=2, dropout=0.5)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        answers: paddle.Tensor = self.lstm(x)[0]
        return answers


def dropping() -> nn.Layer:
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5))


def a_training(make: Callable[[], nn.Layer], *, rate: float = 0.1) -> purdist.Training:
    program = purdist.from_layer(make(), {"x": InputSpec([None, 3, 4])})
    spec = purdist.CustomLoss(lambda value: value.square().mean(), {"value": "output"})
    distillation = purdist.apply(program, [spec])
    return purdist.minimize(distillation, lambda: paddle.optimizer.SGD(rate), seed=1)


def outputs(training: purdist.Training, steps: int) -> list[bytes]:
    steps_taken = purdist.train(training, [FEED] * steps, fetch=["output"])
    return [step.fetched["output"].tobytes() for step in steps_taken]


def test_random_numbers_differ_from_step_to_step_and_from_process_to_process(
    dynamic: None,
) -> None:
    one = a_training(dropping, rate=0.0)
    other = attrs.evolve(one, session=attrs.evolve(session_of(one), rank=1))  # one count
    drawn = outputs(one, 4)
    session_of(one).progress.steps = 0
    assert len({*drawn, *outputs(other, 4)}) == 8


def test_what_a_step_draws_follows_from_its_index_alone(dynamic: None) -> None:
    training = a_training(dropping, rate=0.0)
    drawn = outputs(training, 6)
    session_of(training).progress.steps = 4
    assert outputs(training, 2) == drawn[4:]
    assert training.steps == 6


@pytest.mark.parametrize(
    ("make", "seeds"), [(lambda: nn.Linear(4, 5), 0), (dropping, 2), (Recurrent, 2)]
)
def test_a_step_that_draws_is_seeded_and_no_other(
    make: Callable[[], nn.Layer], seeds: int, dynamic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = a_training(make)
    seen: set[int] = set()
    seed = paddle.seed

    def noted(number: int) -> object:
        seen.add(number)
        return seed(number)

    monkeypatch.setattr(paddle, "seed", noted)
    begun = nets.random_state()
    for _ in purdist.train(training, [FEED] * 2):
        assert nets.random_state() == begun
    assert len(seen) == seeds


@pytest.mark.parametrize("make", [dropping, Recurrent])
def test_a_training_that_draws_is_repeated(make: Callable[[], nn.Layer], dynamic: None) -> None:
    paddle.seed(3)
    one = a_training(make)
    paddle.seed(3)
    other = a_training(make)
    paddle.seed(4)
    assert outputs(one, 3) == outputs(other, 3)
