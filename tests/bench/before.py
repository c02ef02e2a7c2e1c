"""A step now over the same step before: ``python -m tests.bench.before FOLDER [PAIR ...]``.

FOLDER is another checkout. Each takes its steps in a process of its own, in turns; the old one is
there twice, so that what it is over itself says how far to trust a ratio. Pin it from outside::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tests.bench.before ../old
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from tests.bench.before_side import WAYS
from tests.bench.pairs import PAIRS, Pair
from tests.bench.sides import side
from tests.bench.timing import alternate, machine, ratio


def measure(name: str, pair: Pair, folder: str, *, runs: int) -> None:
    """Prints one pair's ratios, a line for each way of running."""
    print(f"\n{name}, {runs} runs of {pair.calls} steps", flush=True)
    for way in WAYS:
        with ExitStack() as stack:
            sides = {
                who: stack.enter_context(
                    side(sys.executable, "before_side.py", pair.name, way, path=path)
                )
                for who, path in {"before": folder, "again": folder, "now": "."}.items()
            }
            timed = alternate(sides, runs=runs, calls=pair.calls)
        print(
            f"  {way}: {timed['now']}, now / before {ratio(timed['now'], timed['before'])}, "
            f"before / before {ratio(timed['again'], timed['before'])}",
            flush=True,
        )


def main() -> None:
    """Measures the pairs that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="another checkout")
    parser.add_argument("pairs", nargs="*", help="a part of a pair's name")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    print(machine())
    for name, pair in PAIRS.items():
        if not options.pairs or any(part in name for part in options.pairs):
            measure(name, pair, options.folder, runs=options.runs)


if __name__ == "__main__":
    main()
