"""An example by hand, in dygraph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle import nn

from tests.adversarial.examples import OPTIMIZERS, ROWS, SEED, STEPS, Example
from tests.adversarial.formulas import LOSSES
from tests.adversarial.parts import train
from tests.adversarial.reference import (
    Reference,
    trained,
)
from tests.nets import Array


def feeds(example: Example) -> list[dict[str, Array]]:
    """A batch for each step."""
    return [
        {
            "x": example.student.samples(ROWS, step, example.dtype),
            "label": np.random.RandomState(step).randint(0, example.student.classes, ROWS),
        }
        for step in range(STEPS)
    ]


def by_hand(example: Example, *, nudge: float = 0.0) -> tuple[Reference, list[Array]]:
    """What dygraph trains, and what the trained student answers.

    Args:
        example: What is trained.
        nudge: How far each number of what is fed and put out is moved, relative to itself.
    """
    teacher, student = layers(example)
    teacher.eval()
    renewed = [k for k, event in enumerate(example.between) if event == "weights"]
    losses = _losses(example, teacher, student, Nudge(nudge))
    reference = trained(student, losses, OPTIMIZERS[example.optimizer], renewed)
    student.eval()
    answers = student(paddle.to_tensor(feeds(example)[0]["x"]))
    return reference, [np.array(answer) for answer in answers]


def _losses(
    example: Example, teacher: nn.Layer, student: nn.Layer, nudged: Nudge
) -> Iterator[paddle.Tensor]:
    for feed in feeds(example):
        train(student)
        x = nudged(paddle.to_tensor(feed["x"]))
        with paddle.no_grad():
            taught = dict(zip(("logits", "features"), map(nudged, teacher(x)), strict=True))
        got = dict(zip(("logits", "features"), map(nudged, student(x)), strict=True))
        got["label"] = paddle.to_tensor(feed["label"])
        loss: Any = sum(LOSSES[name][0](taught, got) for name in example.losses)
        yield loss


class Nudge:
    """Moves each number of a tensor, as rounding might."""

    def __init__(self, by: float) -> None:
        self.by, self._random = by, np.random.RandomState(SEED)

    def __call__(self, value: paddle.Tensor) -> paddle.Tensor:
        if not self.by:
            return value
        moved = 1 + self.by * self._random.standard_normal(value.shape)
        return value * paddle.to_tensor(moved, value.dtype)


def layers(example: Example) -> tuple[nn.Layer, nn.Layer]:
    return example.teacher.layer(2, example.dtype), example.student.layer(1, example.dtype)
