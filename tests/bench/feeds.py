"""What the checks of feeds cost: ``python -m tests.bench.feeds [--old PYTHONPATH]``.

The checks alone, beside the step that they come before; and, with ``--old``, the folder of another
checkout, steps of both in turns, old, new, old, new, each in a process of its own::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tests.bench.feeds --old ../old
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np

import purdist
from purdist.program import internals_of
from tests.bench.networks import mlp
from tests.bench.pairs import Array, Pair
from tests.bench.steps import momentum, stepping
from tests.bench.timing import Timed, alternate, machine, ratio

_CALLS = 200


def smallest() -> tuple[purdist.Training, dict[str, Array]]:
    """The pair whose steps are shortest, with labels."""
    pair = Pair("mlp", lambda: mlp(20), lambda: mlp(5), (64, 16), "9", "1")
    teacher, student = pair.programs()
    merged = purdist.merge(teacher, student, {"y": "x"})
    specs = [
        purdist.KDLoss("teacher_output", "output"),
        purdist.CrossEntropyLoss("output", purdist.NewInput("label")),
    ]
    batch = pair.batch()
    training = purdist.minimize(purdist.apply(merged, specs), momentum)
    return training, {"x": batch, "label": np.arange(len(batch)) % 10}


def _side() -> None:
    """The median step, in a process of its own."""
    training, feed = smallest()
    step = stepping(training, feed)
    timed = alternate({"step": step}, runs=30, calls=20)["step"]
    print(timed.median)


def _measured(folder: str) -> float:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.feeds", "--side"]
    environment = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", help="another checkout, with this file in it")
    parser.add_argument("--side", action="store_true", help="one side, in this process")
    arguments = parser.parse_args()
    if arguments.side:
        _side()
        return
    print(machine())
    training, feed = smallest()
    step, needed = stepping(training, feed), frozenset(feed)

    def check() -> float:
        start = time.perf_counter()
        for _ in range(_CALLS):
            internals_of(training.program).feed_rules.check(feed, needed)
        return (time.perf_counter() - start) / _CALLS

    found = alternate({"check": check, "step": step}, runs=50)
    print(f"check {1e3 * found['check'].median * 1e3:.1f} us, step {found['step']}")
    share = found["check"].median / found["step"].median
    print(f"check over step: {100 * share:.2f} %")
    if arguments.old is not None:
        sides = {"old": arguments.old, "again": arguments.old, "new": "."}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(7):
            for name, folder in sides.items():
                seconds[name].append(_measured(folder))
        timed = {name: Timed(tuple(taken)) for name, taken in seconds.items()}
        print(f"new over old: {ratio(timed['new'], timed['old'])}")
        print(f"old over old: {ratio(timed['again'], timed['old'])}")


if __name__ == "__main__":
    main()
