"""Builds a deep network with the purdist that Python finds, and steps: ``first_side.py LAYERS``."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import paddle
from paddle.static import InputSpec

import purdist

WIDTH = 16


class Block(paddle.nn.Layer):
    """One residual layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = paddle.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """With its input added."""
        return x + paddle.tanh(self.inner(x))


def main(layers: int) -> None:
    """Prints what each part took, in seconds of this process's, and the losses of three steps."""
    seconds: dict[str, float] = {}
    start = time.process_time()

    def lap(name: str) -> None:
        seconds[name] = time.process_time() - start - sum(seconds.values())

    paddle.seed(0)
    teacher = purdist.from_layer(paddle.nn.Linear(WIDTH, WIDTH), {"y": InputSpec([None, WIDTH])})
    deep = paddle.nn.Sequential(*(Block() for _ in range(layers)))
    start = time.process_time()
    student = purdist.from_layer(deep, {"x": InputSpec([None, WIDTH])}, check=False)
    lap("from_layer")
    merged = purdist.merge(teacher, student, {"y": "x"})
    distilled = purdist.apply(merged, [purdist.KDLoss("teacher_output", "output")])
    lap("merge, apply")
    training = purdist.minimize(distilled, lambda: paddle.optimizer.Momentum(1e-4))
    lap("minimize")
    feed = {"x": np.random.default_rng(0).random((8, WIDTH), np.float32)}
    steps = purdist.train(training, [feed] * 3)
    losses = [next(steps).loss]
    lap("first step")
    losses += [step.loss for step in steps]
    print(json.dumps({"seconds": seconds, "losses": losses}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
