"""Whether memory grows: over ten thousand steps, and over a thousand merged programs.

``python -m tests.bench.memory``: resident memory at intervals, and the slope of a line
through the second half.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle

import purdist
from tests.bench.networks import mlp
from tests.bench.pairs import Pair
from tests.bench.timing import machine


def memory(what: str) -> float:
    """A line of Linux's account of this process, such as ``VmRSS``, what it has, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 2**10


def watch(what: str, do: Callable[[], object], *, times: int) -> None:
    """Does it ``times`` times and prints how memory went."""
    seen = []
    for k in range(times):
        do()
        if k % (times // 20) == 0:
            gc.collect()
            seen.append((k, memory("VmRSS")))
    half = np.array(seen[len(seen) // 2 :])
    slope, _ = np.polyfit(half[:, 0], half[:, 1], 1)
    sizes = " ".join(f"{mib:.0f}" for _, mib in seen)
    print(f"{what}: {sizes} MiB; {1e3 * slope:+.2f} MiB per thousand")


def _twenty_ops() -> None:
    # Paddle keeps the Python call stack of every op that it builds until the process ends.
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        value = paddle.static.data("x", [None, 4])
        for _ in range(20):
            value = value + 1.0


def main() -> None:
    """Watches both."""
    print(machine())
    pair = Pair("mlp", lambda: mlp(20), lambda: mlp(5), (64, 16), "9", "1")
    teacher, student = pair.programs()
    paddle.enable_static()

    def distilled() -> purdist.Distillation:
        merged = purdist.merge(teacher, student, {"y": "x"})
        return purdist.apply(merged, [purdist.KDLoss("teacher_output", "output")])

    training = purdist.minimize(distilled(), lambda: paddle.optimizer.Adam(1e-3))
    steps = purdist.train(training, itertools.repeat({"x": pair.batch()}))
    watch("10,000 steps", lambda: next(steps), times=10_000)
    feed = {"x": pair.batch()}
    watch(
        "1,000 merged programs",
        lambda: purdist.merge(teacher, student, {"y": "x"}),
        times=1_000,
    )
    watch(
        "1,000 more, each with a loss and run once",
        lambda: distilled().program.run(feed, ["loss"]),
        times=1_000,
    )
    watch("1,000 programs of 20 ops, built by Paddle alone", _twenty_ops, times=1_000)
    watch(
        "200 trainings, each of one step",
        lambda: next(
            purdist.train(
                purdist.minimize(distilled(), lambda: paddle.optimizer.Adam(1e-3)), [feed]
            )
        ),
        times=200,
    )


if __name__ == "__main__":
    main()
