"""Takes a step per line with the purdist that Python finds: ``before_side.py PAIR WAY``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

import purdist
from tests.bench.pairs import PAIRS, Pair
from tests.bench.steps import OUTPUTS, momentum, stepping


def _alone(pair: Pair) -> Callable[[], object]:
    hard = purdist.CrossEntropyLoss("output", purdist.NewInput("label"))
    training = purdist.minimize(purdist.apply(pair.program(pair.student, "x"), [hard]), momentum)
    batch = pair.batch()
    return stepping(training, {"x": batch, "label": np.arange(len(batch)) % 10})


def _distilled(pair: Pair) -> purdist.Distillation:
    return purdist.apply(purdist.merge(*pair.programs(), {"y": "x"}), OUTPUTS)


WAYS: dict[str, Callable[[Pair], Callable[[], object]]] = {
    "the student alone": _alone,
    "one graph": lambda pair: stepping(
        purdist.minimize(_distilled(pair), momentum), {"x": pair.batch()}
    ),
    "inference": lambda pair: stepping(
        purdist.minimize(_distilled(pair), momentum, teacher="inference"), {"x": pair.batch()}
    ),
}


def main(name: str, way: str) -> None:
    """Takes a step per line."""
    step = WAYS[way](next(pair for pair in PAIRS.values() if pair.name == name))
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
