"""What `merge` costs, against Paddle's own copy of the teacher and against PaddleSlim's merge.

``python -m tests.bench.merging [--paddleslim PYTHON]``, where PYTHON is that of an environment
with paddlepaddle 2.6.2 and PaddleSlim 2.6.0. ``--environment FOLDER`` makes one there first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import paddle
from paddle.base.libpaddle import pir

import purdist
from tests.bench.memory import memory
from tests.bench.pairs import PAIRS
from tests.bench.sides import side
from tests.bench.timing import alternate, machine, ratio


def deep(ops: int, feed: str) -> purdist.Program:
    """A network of so many ops over four weights: thousands of layers take Paddle minutes."""
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        value = paddle.static.data(feed, [None, 16])
        weights = [paddle.create_parameter([16, 16], "float32") for _ in range(4)]
        for k in range(ops // 2):
            value = paddle.tanh(paddle.matmul(value, weights[k % 4]))
    paddle.static.Executor().run(startup, scope=scope)
    return purdist.from_static(main, scope=scope)


def _clone(graph: paddle.static.Program) -> None:
    graph.clone(pir.IrMapping())


def measure(name: str, teacher: purdist.Program, student: purdist.Program) -> float:
    """Prints a line for one pair and returns the time of a merge."""
    timed = alternate(
        {
            "clone": lambda: _clone(teacher.graph),
            "merge": lambda: purdist.merge(teacher, student, {"y": "x"}),
        },
        runs=15,
    )
    ops = len(teacher.graph.global_block().ops)
    print(
        f"{name}: {ops} teacher ops, merge {timed['merge']}, / teacher.graph.clone() "
        f"{ratio(timed['merge'], timed['clone'])}"
    )
    return timed["merge"].median


def weight_bytes(program: purdist.Program) -> int:
    """What the weights of a program take."""
    return sum(array.nbytes for array in program.run({}, program.weights).values())


def grown(teacher: purdist.Program, student: purdist.Program) -> None:
    """Prints by how much the peak of this process's memory lies, in one merge, over what it has."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    merged = purdist.merge(teacher, student, {"y": "x"})
    more = memory("VmHWM") - before
    allowed = (2 * weight_bytes(student) + 0.02 * weight_bytes(teacher)) / 2**20
    print(
        f"peak memory of {len(merged.variables)} variables: +{more:.1f} MiB; twice the student "
        f"and 2 % of the teacher are {allowed:.1f} MiB"
    )


def paddleslim(python: str, name: str) -> float:
    """The time of PaddleSlim's merge of the same networks."""
    with side(python, "paddleslim_side.py", name) as slim:
        return float(str(slim.first))


def make_environment(folder: str) -> str:
    """An environment with what PaddleSlim's static distillation needs."""
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    for packages in (
        ["paddlepaddle==2.6.2", "numpy<2", "setuptools", "six"],
        ["--no-deps", "paddleslim==2.6.0"],
    ):
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def main() -> None:
    """Measures merges of growing teachers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paddleslim", metavar="PYTHON")
    parser.add_argument("--environment", metavar="FOLDER")
    options = parser.parse_args()
    print(machine())
    python = make_environment(options.environment) if options.environment else options.paddleslim

    pair = next(iter(PAIRS.values()))
    teacher, student = pair.programs()
    paddle.enable_static()
    grown(teacher, student)
    ours = {"resnet": measure("resnet50 -> resnet18", teacher, student)}
    small = deep(40, "x")
    for ops in (2_000, 4_000, 8_000, 20_000):
        measure("tanh(matmul)", deep(ops, "y"), small)
    mlps = next(pair for name, pair in PAIRS.items() if name.startswith("MLP"))
    for layers in (250, 500, 1_000, 2_000, 4_000):
        deeper = mlps.deeper(layers)
        ours[f"mlp-{layers}"] = measure(f"MLP of {layers} layers", *deeper)
    if python:
        for name, seconds in ours.items():
            theirs = paddleslim(python, name)
            print(f"{name}: PaddleSlim {theirs:.2f} s, {theirs / seconds:.0f} times as long")


if __name__ == "__main__":
    main()
