"""The examples of PaddleSlim's documentation, changed in imports and calls only.

https://paddleslim.readthedocs.io, "static graph distillation": a teacher with inputs ``y``, a
student with inputs ``x``, and three losses on ``t1``, ``t2``, ``s1``, ``s2``. PIR programs,
where ``paddle.static.nn`` does not work and values have no names, use layers and ``names=``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import paddle

import purdist
from tests import nets
from tests.nets import Forward

Layers = tuple[tuple[int, int, str | None], ...]

STUDENT: Layers = ((32, 1, "s1"), (64, 3, "s2"))
TEACHER: Layers = ((32, 1, "t1"), (32, 3, None), (64, 3, "t2"))


def adaptation(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """The documentation's loss of one's own: the student through a convolution."""
    student = paddle.nn.Conv2D(64, 64, 1)(student)
    return (teacher - student).square().mean()


EXAMPLES: Mapping[str, list[purdist.LossSpec]] = {
    "fsp": [purdist.FspLoss("teacher_t1.tmp_1", "teacher_t2.tmp_1", "s1.tmp_1", "s2.tmp_1")],
    "l2 and soft label": [
        purdist.L2Loss("teacher_t2.tmp_1", "s2.tmp_1"),
        purdist.SoftLabelLoss("teacher_t2.tmp_1", "s2.tmp_1"),
    ],
    "adaptation": [
        purdist.CustomLoss(adaptation, {"teacher": "teacher_t2.tmp_1", "student": "s2.tmp_1"})
    ],
}


def named(feed: str, layers: Layers) -> Forward:
    """The network as documented: old programs name their variables themselves."""

    def forward() -> dict[str, paddle.Tensor]:
        value = paddle.static.data(feed, [None, 1, 28, 28])
        for channels, size, name in layers:
            value = paddle.static.nn.conv2d(value, channels, size, padding=size // 2, name=name)
        return {}

    return forward


def layered(feed: str, layers: Layers) -> Forward:
    """The same network as PIR, its values named as the old program names them."""

    def forward() -> dict[str, paddle.Tensor]:
        names = {}
        value, inside = paddle.static.data(feed, [None, 1, 28, 28]), 1
        for channels, size, name in layers:
            value = paddle.nn.Conv2D(inside, channels, size, padding=size // 2)(value)
            inside = channels
            if name is not None:
                names[f"{name}.tmp_1"] = value
        return names

    return forward


def distilled() -> dict[str, Any]:
    """What the examples come to in the mode the process is in: losses, and weights that moved."""
    graphs = paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
    form = layered if graphs else named
    student, teacher = (
        nets.program(form("x", STUDENT), seed=1),
        nets.program(form("y", TEACHER), seed=2),
    )
    paddle.seed(3)  # of the adaptation's convolution
    merged = purdist.merge(teacher, student, {"y": "x"})
    batches = [{"x": nets.numbers(k, 2, 1, 28, 28)} for k in range(3)]
    found = {}
    for name, specs in EXAMPLES.items():
        distillation = purdist.apply(merged, specs)
        training = purdist.minimize(distillation, lambda: paddle.optimizer.Adam(1e-3))
        before = nets.weights(training.program)
        losses = [step.loss for step in purdist.train(training, batches)]
        moved = nets.moved(before, nets.weights(training.program))
        found[name] = {
            "losses": losses,
            "student stayed": sorted(set(student.parameters) - moved),
            "added stayed": sorted(
                name
                for name in distillation.program.parameters
                if name.startswith("custom_0/") and name not in moved
            ),
            "teacher moved": sorted(name for name in moved if name.startswith("teacher_")),
            "teacher": sum(name.startswith("teacher_") for name in before),
        }
    return found


def main() -> None:
    """Prints `distilled` as JSON, for a process whose mode was set before Paddle was imported."""
    paddle.enable_static()
    print(json.dumps(distilled()))
