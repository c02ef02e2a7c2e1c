"""What Paddle says as it computes, at feeds that looked right: said with the shapes of the feed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import CustomLoss, NewInput
from purdist.engine import Engine
from purdist.testing import evaluate_loss
from tests import nets

ops: Any = paddle  # more of it than purdist has types for
Feed = Mapping[str, npt.NDArray[Any]]
Way = Callable[[Feed, Path], object]

REMEDY = (
    "Sizes that are unknown while a graph is built, and numbers that something is looked up by, "
    "meet only when it runs: look at the shapes and the range of what is fed. Paddle's own error "
    "is the cause of this one."
)


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


# --- a teacher that fails ---------------------------------------------------------------------


def folding(feed: str = "x") -> nets.Forward:
    """Rows that are looked up by a number which is computed, and folded by fours."""

    def forward() -> dict[str, paddle.Tensor]:
        words = paddle.static.data(feed, [None, None], "int64")
        table = paddle.create_parameter([7, 6], "float32", name="table")
        # What is asked for is not the feed's own number, so that the feed's range is not known.
        found = ops.nn.functional.embedding(words * 2 - words, table)
        folded = found.reshape([0, -1, 4, 6]).mean([1, 2])
        return {"logits": nets.dense(folded, 6, 4)}

    return forward


@functools.cache
def distilled() -> purdist.Distillation:
    teacher, student = nets.program(folding("y"), seed=1), nets.program(folding())
    merged = purdist.merge(teacher, student, {"y": "x"})
    return purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])


def run(feed: Feed, _: Path) -> object:
    return distilled().program.run(feed, ["teacher_logits"])


def cached(feed: Feed, folder: Path) -> object:
    return purdist.cache_teacher(distilled(), [feed], folder / "cache")


def trained(feed: Feed, _: Path) -> object:
    return list(purdist.train(purdist.minimize(distilled(), sgd), [feed]))


def in_the_engine(feed: Feed, _: Path) -> object:
    training = purdist.minimize(distilled(), sgd, teacher="inference")
    return list(purdist.train(training, [feed]))


WAYS: tuple[Way, ...] = (run, cached, trained, in_the_engine)
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@each_way
@pytest.mark.parametrize(
    ("feed", "shown", "cause"),
    [
        (np.zeros([3, 5], "int64"), "x [3, 5]", ValueError),
        (np.full([3, 4], 9), "x [3, 4]", ValueError),
        (np.full([3, 4], -2), "x [3, 4]", ValueError),
    ],
    ids=["a size that does not fold", "a word too far", "a word before the first"],
)
def test_what_fails_as_it_runs_is_said_with_the_shapes_of_the_feed(
    feed: npt.NDArray[Any], shown: str, cause: type[Exception], way: Way, tmp_path: Path
) -> None:
    with pytest.raises(purdist.RunError) as caught:
        way({"x": feed}, tmp_path)
    problem, remedy = str(caught.value).split("\n")
    assert problem.startswith(
        f"Expected feeds that the program can compute with, got {shown}, at which Paddle fails in "
    )
    assert "InvalidArgumentError: " in problem  # Paddle's own
    assert remedy == REMEDY
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value.__cause__, cause)


@each_way
def test_a_feed_that_fits_is_taken(way: Way, tmp_path: Path) -> None:
    way({"x": np.ones([3, 4], "int64")}, tmp_path)


def test_an_engine_that_refuses_a_batch_is_named_with_its_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = purdist.minimize(distilled(), sgd, teacher="inference")
    steps = purdist.train(training, [{"x": np.ones([rows, 4], "int64")} for rows in (3, 3, 2)])
    next(steps)

    def refuse(engine: Engine, feed: Feed) -> None:
        raise ValueError("InvalidArgumentError: no kernel for frobnicate")

    monkeypatch.setattr(Engine, "__call__", refuse)
    next(steps)  # its teacher was ahead
    with pytest.raises(purdist.EngineError) as caught:
        next(steps)
    assert str(caught.value) == (
        "Expected Paddle Inference to answer the teacher's feeds, got x [2, 4], at which it fails: "
        "InvalidArgumentError: no kernel for frobnicate\n"
        "Look at their shapes; or use teacher='graph', which runs it beside the student."
    )


# --- a loss that fails ------------------------------------------------------------------------


def test_a_loss_on_arrays_that_fails_is_refused_with_their_shapes() -> None:
    loss = CustomLoss(
        lambda s, y: ops.index_select(s, y * 2 - y).mean(), {"s": "s", "y": NewInput("label")}
    )
    with pytest.raises(purdist.RunError) as caught:
        evaluate_loss(loss, student={"s": nets.numbers(0, 3, 4)}, inputs={"label": np.array([5])})
    assert "got label [1], s [3, 4], at which Paddle fails" in str(caught.value)


def test_a_loss_on_arrays_whose_sizes_do_not_meet_is_refused_with_them() -> None:
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        evaluate_loss(
            purdist.L2Loss("t", "s"),
            teacher={"t": nets.numbers(0, 3, 4)},
            student={"s": nets.numbers(1, 3, 5)},
            unknown_axes=(0, 1),
        )
    assert "t [3, 4]" in str(caught.value)
    assert "s [3, 5]" in str(caught.value)


# --- a batch of nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("shape", [(2, 0, 6), (0, 3, 6)])
def test_a_sequence_of_no_steps_does_not_end_the_process(
    kind: str, shape: tuple[int, ...], dynamic: None
) -> None:
    layer = getattr(ops.nn, kind)(6, 5)
    program = purdist.from_layer(layer, {"x": InputSpec([None, None, 6])}, check=False)
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        program.run({"x": np.zeros(shape, "float32")}, ["output.0"])
    assert str(caught.value) == (
        f"Expected feeds that are not empty, got x {list(shape)}.\nLeave an empty batch out."
    )
    computed = program.run({"x": np.zeros([2, 1, 6], "float32")}, ["output.0"])
    assert computed["output.0"].shape == (2, 1, 5)


def test_a_size_below_none_is_refused(dynamic: None) -> None:
    program = purdist.from_layer(
        paddle.nn.Conv1D(4, 4, 3), {"x": InputSpec([None, 4, None])}, check=False
    )
    with pytest.raises(purdist.RunError) as caught:
        program.run({"x": np.zeros([0, 4, 0], "float32")}, ["output"])
    assert str(caught.value).startswith(
        "Expected feeds that the program can compute with, got x [0, 4, 0], at which Paddle fails: "
    )


def test_a_program_without_feeds_that_fails_is_refused() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        place = paddle.create_parameter([1], "float32", name="place")
        return {"out": paddle.gather(paddle.ones([4]), (place * 0 + 9).astype("int64"))}

    with pytest.raises(purdist.RunError, match="got none, at which Paddle fails"):
        nets.program(forward).run({}, ["out"])
