"""Ops that believe lengths, handed lengths that are none: run in a process of its own.

Prints a line for each (case, way): the error, or ``ran`` where nothing was said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle

import purdist
from purdist import CustomLoss, NewInput
from tests import nets

ops: Any = paddle  # more of it than purdist has types for
F = ops.nn.functional
Feed = Mapping[str, npt.NDArray[Any]]
Loss = Callable[..., Any]

X = nets.numbers(0, 3, 6, 4)


def recurrent(make: Callable[[int, int], Any]) -> Loss:
    return lambda s, lens: make(4, 5)(s, sequence_length=lens)[0].mean()


def later(s: Any, lens: Any) -> Any:
    """Lengths that are computed, so that no feed is out of range."""
    return ops.nn.GRU(4, 5)(s, sequence_length=lens + 1)[0].mean()


def pooled(s: Any, lens: Any) -> Any:
    """Lengths of what no feed has an axis of."""
    s = F.max_pool1d(s.transpose([0, 2, 1]), 3, 1).transpose([0, 2, 1])
    return ops.nn.SimpleRNN(4, 5)(s, sequence_length=lens)[0].mean()


def ctc(s: Any, lens: Any, labels: Any, counts: Any) -> Any:
    return F.ctc_loss(s.transpose([1, 0, 2]), labels, lens, counts)


def transducer(s: Any, lens: Any, labels: Any, counts: Any) -> Any:
    joint = s.unsqueeze(2) + paddle.zeros([3, 1])
    lens, counts = lens.astype("int32"), counts.astype("int32")
    return F.rnnt_loss(joint, labels, lens, counts, fastemit_lambda=0.0)


def viterbi(s: Any, lens: Any) -> Any:
    scores, _ = ops.text.viterbi_decode(s, paddle.ones([4, 4]), lens)
    return s.mean() + 0.0 * scores.mean()


LOSSES: Mapping[str, Loss] = {
    "GRU": recurrent(ops.nn.GRU),
    "LSTM": recurrent(ops.nn.LSTM),
    "RNN": recurrent(ops.nn.SimpleRNN),
    "GRU, computed": later,
    "RNN, pooled": pooled,
    "viterbi": viterbi,
    "ctc": ctc,
    "transducer": transducer,
}
LENGTHS: Mapping[str, list[int]] = {
    "right": [1, 3, 2],
    "above": [1, 9, 2],
    "far above": [1, 6000, 2],
    "below": [1, -100, 2],
    "too few": [1, 2],
    "too many": [1, 2, 3, 3],
}
COUNTS = {**LENGTHS, "right": [2, 2, 1], "too few": [2, 1], "too many": [2, 1, 1, 1]}
LABELS: Mapping[str, list[list[int]]] = {
    "right": [[1, 2], [2, 1], [3, -1]],  # what lies beyond a length is nothing
    "above": [[1, 2], [2, 4], [1, -1]],
    "below": [[1, 2], [2, -4], [1, -1]],
    "too few": [[1, 2], [2, 1]],
    "too many": [[1, 2], [2, 1], [1, 1], [1, 1]],
}


def feeds(name: str) -> Mapping[str, Feed]:
    def feed(lens: str = "right", labels: str = "right", counts: str = "right") -> Feed:
        found = {"x": X, "lens": np.array(LENGTHS[lens], "int64")}
        if name in ("ctc", "transducer"):
            found |= {"labels": np.array(LABELS[labels], "int32")}
            found |= {"counts": np.array(COUNTS[counts], "int64")}
        return found

    cases = {lens: feed(lens) for lens in LENGTHS}
    if name in ("ctc", "transducer"):
        cases |= {f"labels {k}": feed(labels=k) for k in LABELS if k != "right"}
        cases |= {f"counts {k}": feed(counts=k) for k in COUNTS if k != "right"}
    return cases


def tell(name: str) -> None:
    function = LOSSES[name]
    variables: dict[str, str | NewInput] = {"s": "out", "lens": NewInput("lens", (-1,), "int64")}
    if name in ("ctc", "transducer"):
        variables["labels"] = NewInput("labels", (-1, 2), "int32")
        variables["counts"] = NewInput("counts", (-1,), "int64")
    network = nets.program(forward)
    distillation = purdist.apply(network, [CustomLoss(function, variables)])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    for case, feed in feeds(name).items():
        for way in ("run", "train"):
            try:
                if way == "run":
                    distillation.program.run(feed, ["loss"])
                else:
                    list(purdist.train(training, [feed]))
                outcome = "ran"
            except purdist.PurdistError as error:
                outcome = f"{type(error).__name__} {error.problem.splitlines()[0]}"
            print(f"{name}|{case}|{way}|{outcome}", flush=True)


def forward() -> dict[str, paddle.Tensor]:
    x = paddle.static.data("x", [None, None, 4])
    return {"out": paddle.nn.Linear(4, 4)(x)}


def main() -> None:
    paddle.enable_static()
    for name in LOSSES:
        tell(name)


if __name__ == "__main__":
    main()
