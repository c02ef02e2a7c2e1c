"""Ops that believe lengths: none reads or writes beyond what it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import InvalidArgumentError, graphs
from purdist.graphs.sizes.lengths import BELIEVING
from purdist.program import internals_of
from tests import lengths, nets

ops: Any = paddle


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str, str], str]:
    """What each case says, in a process of its own, which none may end."""
    lines = nets.in_a_process("from tests.lengths import main; main()").splitlines()
    split = [line.split("|") for line in lines if line.count("|") == 3]
    return {(name, case, way): said for name, case, way, said in split}


@pytest.mark.parametrize("name", list(lengths.LOSSES))
def test_wrong_lengths_and_labels_are_refused_and_right_ones_taken(
    name: str, outcomes: dict[tuple[str, str, str], str]
) -> None:
    for case in lengths.feeds(name):
        said = {outcomes[name, case, way] for way in ("run", "train")}
        if case == "right":
            assert said == {"ran"}
        elif "too" in case:
            (one,) = said
            assert one.startswith("ShapeMismatchError Expected feeds of one number of rows"), case
        else:
            (one,) = said
            assert one.startswith("InvalidArgumentError Expected"), (case, one)


def test_every_op_that_is_known_to_believe_is_one_of_paddle() -> None:
    for name in BELIEVING:
        assert hasattr(ops._C_ops, name), name
    losses = {name for name in ops.nn.functional.__all__ if "ctc" in name or "rnnt" in name}
    assert losses == {"ctc_loss", "rnnt_loss"}


class Reader(paddle.nn.Layer):
    """What is read up to where a length says."""

    def __init__(self) -> None:
        super().__init__()
        self.gru: Any = ops.nn.GRU(4, 5)

    def forward(self, x: paddle.Tensor, lens: paddle.Tensor) -> paddle.Tensor:
        read: paddle.Tensor = self.gru(x, sequence_length=lens)[0]
        return read


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("steps", [None, 6])
def test_a_teacher_in_the_engine_gets_no_wrong_lengths(steps: int | None) -> None:
    """Paddle Inference checks nothing, so that these are refused before it sees them."""
    specs = [InputSpec([None, steps, 4], "float32", "x"), InputSpec([None], "int64", "lens")]
    teacher, student = (purdist.from_layer(Reader(), specs, check=False) for _ in "ts")
    merged = purdist.merge(teacher, student, {"x": "x", "lens": "lens"})
    (lookup,) = graphs.lookups(
        internals_of(purdist.cut(merged, ["teacher_output"])[0]).modes.inference
    )
    assert lookup.length
    assert (lookup.high, lookup.of) == ((7, None) if steps else (None, ("x", 1)))
    with pytest.raises(InvalidArgumentError) as caught:
        merged.run({"x": lengths.X, "lens": np.array([1, 2, 7])}, ["teacher_output"])
    assert str(caught.value) == (
        "Expected lens to be at least 0 and below 7, got 7 in row 2, of shape [3].\n"
        "These are lengths: none is above the size of what was padded."
    )
