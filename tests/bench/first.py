"""How long a deep network is built and takes its first step, now against before.

``python -m tests.bench.first [FOLDER] [--layers 100 200 400]``, where FOLDER is another checkout:
each in a process of its own, in turns, in seconds of that process. The losses of both are compared.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.sides import side
from tests.bench.timing import Timed, machine, ratio


def measured(layers: int, folder: str) -> tuple[dict[str, float], list[float]]:
    """The parts of one run, and its losses."""
    with side(sys.executable, "first_side.py", str(layers), path=folder) as process:
        said = process.first
    assert isinstance(said, dict)
    return said["seconds"], said["losses"]


def main() -> None:
    """Measures, and prints a line for each number of layers and each side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="another checkout")
    parser.add_argument("--layers", type=int, nargs="*", default=[100, 200, 400])
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    folders = {"now": "."} if options.folder is None else {"before": options.folder, "now": "."}
    for layers in options.layers:
        whole: dict[str, list[float]] = {who: [] for who in folders}
        losses: dict[str, list[float]] = {}
        for _ in range(options.runs):
            for who, folder in folders.items():
                seconds, losses[who] = measured(layers, folder)
                whole[who].append(sum(seconds.values()))
                parts = ", ".join(f"{name} {taken:.1f}" for name, taken in seconds.items())
                print(f"{layers} layers, {who}: {whole[who][-1]:.1f} s ({parts})", flush=True)
        if len(folders) == 2:
            timed = {who: Timed(tuple(taken)) for who, taken in whole.items()}
            same = losses["now"] == losses["before"]
            print(f"  now / before {ratio(timed['now'], timed['before'])}, same losses: {same}")


if __name__ == "__main__":
    main()
