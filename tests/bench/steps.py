"""What a step of distillation costs, in each way that purdist runs it, and elsewhere.

``python -m tests.bench.steps [PAIR ...] [--torch PYTHON] [--paddleslim PYTHON]``, where PYTHON is
that of an environment with PyTorch, or with paddlepaddle 2.6.2 and PaddleSlim 2.6.0. Fix the
threads, and pin it, from outside; without ``taskset`` the teacher's stage has a core of its own::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tests.bench.steps
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import paddle

import purdist
from purdist import graphs
from purdist.program import internals_of
from tests.bench.pairs import PAIRS, Array, Pair
from tests.bench.sides import side
from tests.bench.timing import alternate, machine, ratio

OUTPUTS = [purdist.KDLoss("teacher_output", "output")]


def momentum() -> paddle.optimizer.Optimizer:
    """What every step here is taken with."""
    return paddle.optimizer.Momentum(1e-4)


def stepping(training: purdist.Training, feed: Mapping[str, Array]) -> Callable[[], object]:
    """A function that takes one step."""
    steps = purdist.train(training, itertools.repeat(feed))
    return lambda: next(steps)


def in_dygraph(pair: Pair) -> Callable[[], object]:
    """The same step by hand in dygraph: the teacher under ``no_grad``, Hinton's loss."""
    teacher, student = pair.layer(pair.teacher), pair.layer(pair.student)
    teacher.eval()
    optimizer = paddle.optimizer.Momentum(1e-4, parameters=student.parameters())
    image = paddle.to_tensor(pair.batch())

    def step() -> None:
        paddle.disable_static()
        with paddle.no_grad():
            soft = paddle.nn.functional.softmax(teacher(image) / 4.0)
        answer = paddle.nn.functional.log_softmax(student(image) / 4.0)
        loss = 16.0 * paddle.nn.functional.kl_div(answer, soft, reduction="batchmean")
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)

    return step


def ways(pair: Pair, folder: Path) -> dict[str, Callable[[], object]]:
    """Every way of ours to take a step, its two parts, and the step by hand in dygraph."""
    teacher, student = pair.programs()
    batch = pair.batch()
    merged = purdist.merge(teacher, student, {"y": "x"})
    whole = purdist.apply(merged, OUTPUTS)
    hard = purdist.CrossEntropyLoss("output", purdist.NewInput("label"))
    early = purdist.apply(merged, [hard, _early(pair)])
    alone = purdist.apply(student, [hard])
    labelled = {"x": batch, "label": np.arange(len(batch)) % 10}
    cache = purdist.cache_teacher(whole, [{"x": batch}], folder / "cache")
    things: dict[str, Callable[[], object]] = {
        "student alone": stepping(purdist.minimize(alone, momentum), labelled),
        "teacher alone": inferring(merged, batch),
        "one graph": stepping(purdist.minimize(whole, momentum), {"x": batch}),
        "a quarter": stepping(purdist.minimize(early, momentum), labelled),
        "inference": stepping(purdist.minimize(whole, momentum, teacher="inference"), {"x": batch}),
        "cached": stepping(
            purdist.minimize(whole, momentum, teacher=cache),
            {"x": batch, "teacher_sample": np.arange(len(batch))},
        ),
        "dygraph": in_dygraph(pair),
    }
    paddle.enable_static()
    return things


def _early(pair: Pair) -> purdist.LossSpec:
    return purdist.CustomLoss(
        lambda teacher, student: (teacher.mean() - student.mean()).square(),
        {"teacher": f"teacher_{pair.quarter}", "student": pair.early},
    )


def inferring(merged: purdist.Program, batch: Array) -> Callable[[], object]:
    """The teacher alone, in the executor and on the kernels that a step uses."""
    part = graphs.cut(internals_of(merged).modes.training, ["teacher_output"])
    with graphs.building():
        graphs.flatten_linear_layers(part)
        fast = graphs.with_fast_kernels(part.finish())
    run = graphs.Runner(fast, ["teacher_output"], merged.scope, merged.place)
    return lambda: run({"x": batch})


def measure(name: str, pair: Pair, sides: Mapping[str, tuple[str, str]], *, runs: int) -> None:
    """Prints one pair's table."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        things = ways(pair, Path(folder))
        for other, (python, script) in sides.items():
            things[other] = stack.enter_context(side(python, script, pair.name))
        timed = alternate(things, runs=runs, calls=pair.calls)
    parts = timed["student alone"] + timed["teacher alone"]
    print(f"\n{name}, {runs} runs of {pair.calls} steps", flush=True)
    for thing, taken in timed.items():
        print(f"  {thing:14s} {taken}")
    for what, (of, to) in {
        "one graph / (student alone + teacher alone)": (timed["one graph"], parts),
        "a quarter, over the student alone / the whole teacher's": (
            timed["a quarter"] - timed["student alone"],
            timed["one graph"] - timed["student alone"],
        ),
        "cached / student alone": (timed["cached"], timed["student alone"]),
        "inference, over the student alone / the teacher's in the graph": (
            timed["inference"] - timed["student alone"],
            timed["one graph"] - timed["student alone"],
        ),
    }.items():
        print(f"  {what}: {ratio(of, to)}")
    for other in ("dygraph", *sides):
        for way in ("one graph", "inference", "cached"):
            print(f"  {way} / {other}: {ratio(timed[way], timed[other])}", flush=True)


def main() -> None:
    """Measures the pairs that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", help="a part of a pair's name")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--paddleslim", metavar="PYTHON")
    options = parser.parse_args()
    print(machine())
    sides = {
        name: (python, script)
        for name, python, script in (
            ("PyTorch", options.torch, "torch_side.py"),
            ("PaddleSlim", options.paddleslim, "paddleslim_side.py"),
        )
        if python
    }
    for name, pair in PAIRS.items():
        if not options.pairs or any(part in name for part in options.pairs):
            measure(name, pair, sides, runs=options.runs)


if __name__ == "__main__":
    main()
