"""What processes take to exchange gradients, in flat arrays against one call for each.

``python -m tests.bench.exchange [--gradients 200] [--size 4096] [--processes 2]``: it starts the
processes itself, with gloo. Times are those of the first, the two in turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import distributed

from purdist import graphs, scopes
from purdist.training.exchanging import exchanged
from tests.bench.timing import alternate, machine, ratio
from tests.nets import ROOT

FLAT, EACH, NONE = "flat arrays", "one call for each", "no exchange"


def one_by_one(values: Sequence[paddle.Tensor], processes: int) -> list[paddle.Tensor]:
    """The means, exchanged as they are."""
    shares = [value / float(processes) for value in values]
    for share in shares:
        distributed.all_reduce(share)
    return shares


def as_they_are(values: Sequence[paddle.Tensor], _: int) -> list[paddle.Tensor]:
    """Each process's own."""
    return list(values)


def exchanging(
    mean: Callable[[Sequence[paddle.Tensor], int], list[paddle.Tensor]], count: int, size: int
) -> Callable[[], object]:
    """A function that exchanges so many arrays of that size, and reads the last."""
    place, scope = paddle.CPUPlace(), scopes.new_scope()
    processes = distributed.get_world_size()
    with graphs.building():
        draft, startup = graphs.Draft(), paddle.static.Program()
        with draft.appending(startup):
            values = [graphs.kept_in_scope(f"w{k}", [size], "float32", k) for k in range(count)]
            # As gradients are: computed anew, and each read by an update.
            found = mean([value * 1.5 for value in values], processes)
            for kept, value in zip(values, found, strict=True):
                graphs.set_to(kept, value / 1.5)
            draft.values = {"sum": found[-1].sum()}
        scopes.initialise(scope, startup, place)
        run = graphs.Runner(draft.finish(), ["sum"], scope, place)
    expected = 1.5 * (count - 1) * size
    assert np.isclose(run({})[0], expected, rtol=1e-4), "the means are not those of the arrays"
    return lambda: run({})


def measure(count: int, size: int) -> None:
    """What one of the processes does."""
    distributed.init_parallel_env()
    paddle.enable_static()
    ways = {FLAT: exchanged, EACH: one_by_one, NONE: as_they_are}
    timed = alternate({n: exchanging(way, count, size) for n, way in ways.items()}, runs=30)
    if distributed.get_rank() == 0:
        print(machine())
        print(f"{count} arrays of {size} numbers, {distributed.get_world_size()} processes")
        for name, taken in timed.items():
            print(f"  {name:18s} {taken}")
        costs = timed[FLAT] - timed[NONE], timed[EACH] - timed[NONE]
        print(f"  {FLAT} / {EACH}, each without {NONE}: {ratio(*costs)}")


def main() -> None:
    """Starts the processes, and prints what the first says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradients", type=int, default=200)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.gradients, options.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        launch = ["-m", "paddle.distributed.launch", "--backend", "gloo", "--log_dir", folder]
        launch.append(f"--nproc_per_node={options.processes}")
        asked = [f"--gradients={options.gradients}", f"--size={options.size}", "--measure"]
        done = subprocess.run(
            [sys.executable, *launch, str(ROOT / "tests" / "bench" / "exchange.py"), *asked],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        log = (Path(folder) / "workerlog.0").read_text()
        if done.returncode:
            sys.exit(done.stderr + log)
        print(log[log.index("arrays of") - 200 :] if "arrays of" in log else log)


if __name__ == "__main__":
    main()
