"""Feeds against each other and against what is looked up by them, refused before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    DKDLoss,
    KDLoss,
    L2Loss,
    LossSpec,
    NewInput,
    graphs,
)
from purdist.feeding import FeedRules
from tests import nets

ops: Any = paddle  # more of it than purdist has types for
F = ops.nn.functional
Feed = Mapping[str, npt.NDArray[Any]]
Way = Callable[[purdist.Distillation, Feed, Path], object]

LABEL = NewInput("label")
ROWS = (
    "\nThey meet row by row in the program: feed as many rows of each. An input that is one row "
    "for all of them says so: InputSpec([1, ...])."
)
CLASSES = "\nSomething is looked up by these numbers: classes, words and rows are counted from 0."


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


@functools.cache
def distilled(*specs: LossSpec) -> purdist.Distillation:
    teacher, student = (nets.program(nets.linear(feed)) for feed in "yx")
    return purdist.apply(purdist.merge(teacher, student, {"y": "x"}), specs)


def trained(distillation: purdist.Distillation, feed: Feed, _: Path) -> object:
    return list(purdist.train(purdist.minimize(distillation, sgd), [feed]))


def in_the_engine(distillation: purdist.Distillation, feed: Feed, _: Path) -> object:
    training = purdist.minimize(distillation, sgd, teacher="inference")
    return list(purdist.train(training, [feed]))


def from_a_cache(distillation: purdist.Distillation, feed: Feed, folder: Path) -> object:
    rows = {"x": feed["x"]}
    cache = purdist.cache_teacher(distillation, [rows], folder / "cache")
    training = purdist.minimize(distillation, sgd, teacher=cache)
    return list(purdist.train(training, [{**feed, "teacher_sample": np.arange(len(cache))}]))


def run(distillation: purdist.Distillation, feed: Feed, _: Path) -> object:
    return distillation.program.run(feed, ["loss"])


WAYS: tuple[Way, ...] = (run, trained, in_the_engine, from_a_cache)
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.mark.parametrize(
    ("rows", "way"), [(2, way) for way in WAYS] + [(k, run) for k in (1, 4, 1000)]
)
def test_labels_of_another_number_than_the_rows_are_refused(
    rows: int, way: Way, tmp_path: Path
) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    feed = {"x": nets.numbers(0, 3, 6), "label": np.zeros(rows, "int64")}
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        way(distillation, feed, tmp_path)
    assert str(caught.value).startswith("Expected feeds of one number of rows, got ")
    for part in (f"label [{rows}]", "x [3, 6]", ROWS):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("label", "way"), [(-1, way) for way in WAYS] + [(k, run) for k in (4, -4, -100, 2**40)]
)
@pytest.mark.parametrize(
    "spec", [CrossEntropyLoss("logits", LABEL), DKDLoss("teacher_logits", "logits", LABEL)]
)
def test_labels_that_are_no_class_are_refused(
    spec: LossSpec, label: int, way: Way, tmp_path: Path
) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), spec)
    feed = {"x": nets.numbers(0, 3, 6), "label": np.array([0, label, 3])}
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        way(distillation, feed, tmp_path)
    assert str(caught.value) == (
        f"Expected label to be at least 0 and below 4, got {label} in row 1, of shape [3].{CLASSES}"
    )


@pytest.mark.parametrize("way", [trained, in_the_engine])
def test_no_step_is_taken_on_a_batch_of_no_rows(way: Way, tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"))
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        way(distillation, {"x": nets.numbers(0, 0, 6)}, tmp_path)
    assert str(caught.value) == (
        "Expected feeds that are not empty, got x [0, 6].\nLeave an empty batch out."
    )


@each_way
def test_feeds_that_fit_are_taken(way: Way, tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    way(distillation, {"x": nets.numbers(0, 3, 6), "label": np.array([0, 1, 3])}, tmp_path)


class Tagged(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of one's own."""


X = nets.numbers(0, 3, 6)
GIVEN: dict[str, object] = {
    "a list of rows": list(X),
    "numbers of Python": X.tolist(),
    "tuples of numbers": tuple(map(tuple, X.tolist())),
    "a tensor": paddle.to_tensor(X, place=paddle.CPUPlace()),
    "a tensor that learns": paddle.to_tensor(X, stop_gradient=False),
    "a view of a tensor": paddle.to_tensor(X.T.copy()).T,
    "a list of tensors": [paddle.to_tensor(row) for row in X],
    "numpy's numbers": [[np.float32(number) for number in row] for row in X],
    "a kind of array": X.view(Tagged),
    "columns first": np.asfortranarray(X),
    "every other": np.repeat(X, 2, axis=1)[:, ::2],
    "read-only": np.frombuffer(X.tobytes(), "float32").reshape(3, 6),
}
REFUSED: dict[str, tuple[object, str]] = {
    "big-endian": (
        X.astype(">f4"),
        "Expected the feed x [-1, 6] float32, got an array of float32 in the byte order '>'.\n"
        "Feed 'x' with .astype('float32').",
    ),
    "numbers that float32 has not": (
        [[1e300] * 6],
        "Expected the feed x [-1, 6] float32, got an array of float64.\n"
        "Feed 'x' as numpy.array(..., 'float32'), if that has the numbers.",
    ),
    "numpy's own float64": (
        [[np.float64(1)] * 6],
        "Expected the feed x [-1, 6] float32, got an array of float64.",
    ),
    "a tensor of another dtype": (
        paddle.to_tensor(X).astype("bfloat16"),
        "Expected the feed x [-1, 6] float32, got an array of bfloat16.\n"
        "Feed 'x' with .astype('float32').",
    ),
    "a sparse tensor": (
        paddle.to_tensor(X).to_sparse_coo(2),  # numpy crashes of it
        "Expected an array as the feed 'x', got a tensor that is sparse or has no memory.\n"
        "Feed 'x' with .to_dense() where it is sparse.",
    ),
    "texts": ([["a"] * 6], "Expected an array of numbers as the feed 'x', got list.\nFeed a "),
    "nothing": (None, "Expected an array of numbers as the feed 'x', got None.\nFeed a numpy"),
    "masked": (np.ma.masked_array(X, X > 0), "Expected an array as the feed 'x', got a masked one"),
    "masked rows": (
        [np.ma.masked_array(row) for row in X],
        "Expected an array as the feed 'x', got a masked one",
    ),
    "ragged": (
        [*X, X[0, :2]],
        "Expected an array as the feed 'x', got list, of which numpy makes none: setting an",
    ),
}


OF_ARRAYS: dict[Way, str] = {}
"""What each way made of arrays."""


@each_way
@pytest.mark.parametrize("given", GIVEN)
def test_what_is_as_good_as_an_array_is_run_as_one(given: str, way: Way, tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    feed: Any = {"x": GIVEN[given], "label": [0, 1, 3]}
    found = way(distillation, feed, tmp_path / "one")
    if way not in OF_ARRAYS:
        arrays = {"x": X, "label": np.array([0, 1, 3])}
        OF_ARRAYS[way] = str(way(distillation, arrays, tmp_path / "other"))
    assert str(found) == OF_ARRAYS[way]


@each_way
@pytest.mark.parametrize("given", REFUSED)
def test_what_is_no_array_of_the_machine_is_refused(given: str, way: Way, tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"))
    feed: Any = {"x": REFUSED[given][0]}
    with pytest.raises((purdist.FeedError, purdist.DtypeMismatchError)) as caught:
        way(distillation, feed, tmp_path)
    assert str(caught.value).startswith(REFUSED[given][1])


@each_way
@pytest.mark.parametrize("label", [[0, 9, 3], (0, 9, 3)])
def test_ranges_are_checked_in_lists_too(label: object, way: Way, tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    feed: Any = {"x": X, "label": label}
    with pytest.raises(purdist.InvalidArgumentError, match="got 9 in row 1"):
        way(distillation, feed, tmp_path)


def test_rows_of_a_cache_may_be_listed(tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"))
    cache = purdist.cache_teacher(distillation, [{"x": X}], tmp_path / "cache")
    training = purdist.minimize(distillation, sgd, teacher=cache)
    rows: Any = [2, 0, 1]
    assert list(purdist.train(training, [{"x": X, "teacher_sample": rows}]))
    rows = [3, 0, 1]
    with pytest.raises(purdist.InvalidArgumentError, match="below 3, got 3 in row 0"):
        next(purdist.train(training, [{"x": X, "teacher_sample": rows}]))


def test_a_feed_of_bfloat16_is_told_how_its_bits_are_made() -> None:
    variable = purdist.Variable("x", (-1,), "bfloat16", "input")
    rules = FeedRules({"x": variable}, (), ())
    with pytest.raises(purdist.DtypeMismatchError) as caught:
        rules.check({"x": np.ones(2, "float32")}, ["x"])
    assert str(caught.value).endswith("\nFeed 'x' as paddle.to_tensor(...).astype('bfloat16').")
    with graphs.dynamic():
        tensor = paddle.to_tensor([1.0, 2.0]).astype("bfloat16")
    bits = tensor.numpy()
    assert rules.check({"x": bits}, ["x"])["x"] is bits
    np.testing.assert_array_equal(rules.check({"x": tensor}, ["x"])["x"], bits)
    for given in (1.0, [1.0, 2.0]):  # of which numpy would make other bits
        with pytest.raises(purdist.PurdistError, match="bfloat16"):
            rules.check({"x": given}, ["x"])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("given", "dtype", "made"),
    [
        ([1, 2], "int64", True),
        ([1, 2], "int8", True),
        ([1, 300], "int8", False),
        ([-1, 2], "uint8", False),
        ([1, 2], "float32", True),
        ([1.0, 2], "float64", True),
        ([1.0, 2.0], "float16", True),
        ([1.0, 7e4], "float16", False),
        ([float("inf"), 7.0], "float16", True),
        ([1.0, 2.0], "int64", False),
        ([True, False], "bool", True),
        ([True, False], "int64", False),
        ([0, 1], "bool", False),
        ([2**80, 1], "int64", False),
        ([], "int32", False),
        ([], "float32", True),
    ],
)
def test_numbers_of_python_become_what_the_input_is_if_that_has_them(
    given: list[float], dtype: purdist.Dtype, *, made: bool
) -> None:
    rules = FeedRules({"x": purdist.Variable("x", (-1,), dtype, "input")}, (), ())
    if made:
        array = rules.check({"x": given}, ["x"])["x"]  # type: ignore[dict-item]
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, np.array(given, dtype))
    else:
        with pytest.raises(purdist.PurdistError):
            rules.check({"x": given}, ["x"])  # type: ignore[dict-item]


def test_a_number_alone_is_fed_where_an_input_is_one() -> None:
    rules = FeedRules({"x": purdist.Variable("x", (), "float32", "input")}, (), ())
    with graphs.dynamic():
        tensor = paddle.to_tensor(2.0)
    for number in (2, 2.0, np.float32(2), tensor):
        array = rules.check({"x": number}, ["x"])["x"]  # type: ignore[dict-item]
        assert (array.shape, array.dtype.name, float(array)) == ((), "float32", 2.0)


def test_a_value_of_a_static_program_is_none_to_feed() -> None:
    rules = FeedRules({"x": purdist.Variable("x", (-1,), "float32", "input")}, (), ())
    with paddle.static.program_guard(paddle.static.Program()):
        values = [paddle.static.data("v", [2])]
    with nets.old_form(), paddle.static.program_guard(paddle.static.Program()):
        values.append(paddle.static.data("v", [2]))
    for value in (*values, [values[0]]):
        with pytest.raises(purdist.FeedError, match="a value of a static program, which has no"):
            rules.check({"x": value}, ["x"])  # type: ignore[dict-item]


@pytest.mark.parametrize("way", [trained, in_the_engine, from_a_cache, run])
@pytest.mark.parametrize("kind", [list[Any], tuple[Any]])
def test_a_batch_of_a_loader_is_refused_with_how_to_be_a_feed(
    kind: Callable[[object], object], way: Way, tmp_path: Path
) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    batch: Any = kind([X, np.array([0, 1, 3])])
    taken: Callable[[], object] = (
        partial(purdist.cache_teacher, distillation, [batch], tmp_path / "cache")
        if way is from_a_cache
        else partial(way, distillation, batch, tmp_path)
    )
    with pytest.raises(purdist.FeedError) as caught:
        taken()
    written = "" if way is from_a_cache else ", 'label'"
    assert str(caught.value) == (
        "Expected a feed, a mapping from the names of inputs to arrays, got "
        f"{type(batch).__name__}.\n"
        f"Where a DataLoader gives it, write feeds(loader, ['x'{written}]), in its order."
    )


def test_fewer_rows_of_a_cache_are_refused_and_nothing_moves(tmp_path: Path) -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"))
    x = nets.numbers(0, 8, 6)
    cache = purdist.cache_teacher(distillation, [{"x": x}], tmp_path / "cache")
    training = purdist.minimize(distillation, sgd, teacher=cache)
    before = nets.weights(training.program)
    for rows in (1, 3):
        with pytest.raises(purdist.ShapeMismatchError) as caught:
            next(purdist.train(training, [{"x": x, "teacher_sample": np.arange(rows)}]))
        assert f"teacher_sample [{rows}], x [8, 6]" in str(caught.value)
    assert not nets.moved(before, nets.weights(training.program))


def test_every_way_to_compute_leaves_a_refused_step_untaken() -> None:
    distillation = distilled(KDLoss("teacher_logits", "logits"), CrossEntropyLoss("logits", LABEL))
    training = purdist.minimize(distillation, sgd)
    good = {"x": nets.numbers(0, 3, 6), "label": np.array([0, 1, 2])}
    steps = purdist.train(training, [good, {**good, "label": np.array([0, 9, 2])}])
    next(steps)
    before = nets.weights(training.program)
    with pytest.raises(purdist.InvalidArgumentError):
        next(steps)
    assert not nets.moved(before, nets.weights(training.program))


class Words(paddle.nn.Layer):
    """Two tables: of words, and of where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.words = ops.nn.Embedding(30, 4)
        self.at = ops.nn.Embedding(16, 4)
        self.answer = paddle.nn.Linear(4, 3)

    def forward(self, ids: paddle.Tensor, places: paddle.Tensor) -> paddle.Tensor:
        answer: paddle.Tensor = self.answer(self.words(ids) + self.at(places))
        return answer


def words() -> purdist.Program:
    spec = InputSpec([None, None], "int64")
    with graphs.dynamic():
        return purdist.from_layer(Words(), {"ids": spec, "places": spec})


def test_words_outside_of_the_table_are_refused_with_where_they_are() -> None:
    ids, places = np.zeros((2, 5), "int64"), np.zeros((2, 5), "int64")
    network = words()
    network.run({"ids": ids, "places": places}, ["output"])
    ids[1, 3] = -1
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        network.run({"ids": ids, "places": places}, ["output"])
    assert str(caught.value) == (
        "Expected ids to be at least 0 and below 30, got -1 in row 1 at [1, 3], of shape [2, 5]."
        + CLASSES
    )
    ids[:] = 30
    with pytest.raises(purdist.InvalidArgumentError, match=r"row 0 at \[0, 2\] and 7 more, of"):
        network.run({"ids": ids, "places": places}, ["output"])


def test_other_sizes_meet_too() -> None:
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        words().run(
            {"ids": np.zeros((2, 5), "int64"), "places": np.zeros((2, 1), "int64")}, ["output"]
        )
    assert str(caught.value) == (
        "Expected axis 1 of 'ids' and axis 1 of 'places' to be of one size, got ids [2, 5], places "
        "[2, 1].\nThey meet in the program: feed arrays that agree there."
    )


def test_a_part_that_is_not_looked_up_may_be_anything() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [None, 2], "int64")
        one_hot = paddle.nn.functional.one_hot(x[:, 1], 5)
        return {"out": one_hot + x[:, :1].astype("float32")}

    network = nets.program(forward)
    network.run({"x": np.array([[-7, 4], [1000, 0]])}, ["out"])
    with pytest.raises(purdist.InvalidArgumentError, match=r"got 5 in row 1 at \[1, 1\], of"):
        network.run({"x": np.array([[0, 4], [0, 5]])}, ["out"])


def test_what_stands_for_no_label_is_taken_where_an_op_ignores_it() -> None:
    def loss(answer: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.cross_entropy(answer, label)

    spec = CustomLoss(loss, {"answer": "logits", "label": LABEL})
    distillation = purdist.apply(nets.program(nets.linear()), [spec])
    feed = {"x": nets.numbers(0, 2, 6)}
    distillation.program.run({**feed, "label": np.array([3, -100])}, ["loss"])
    with pytest.raises(purdist.InvalidArgumentError, match="below 4 or -100, got -99 in row 1"):
        distillation.program.run({**feed, "label": np.array([3, -99])}, ["loss"])


def test_feeds_that_never_meet_have_as_many_rows_as_they_like() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x, boxes = paddle.static.data("x", [None, 3]), paddle.static.data("boxes", [None, 3])
        near = paddle.matmul(x, boxes, transpose_y=True)
        return {"out": near, "mean": x.mean() + boxes.mean()}

    feed = {"x": nets.numbers(0, 2, 3), "boxes": nets.numbers(0, 5, 3)}
    assert nets.program(forward).run(feed, ["out", "mean"])["out"].shape == (2, 5)


MEETINGS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x + y,
    lambda x, y: ops.where(x > 0, y, x),
    lambda x, y: ops.concat([x, y], axis=1),
    lambda x, y: ops.stack([x, y]),
    lambda x, y: (x.unsqueeze(1) @ y.unsqueeze(2)).flatten(),
    lambda x, y: F.relu(x).mean(axis=1) - F.softmax(y).sum(axis=1),
    lambda x, y: x.reshape([-1, 2, 2]).transpose([0, 2, 1]).flatten(1) * y,
    lambda x, y: x[:, 1:].reshape([ops.shape(x)[0], 3]) - y[:, :3],
    lambda x, y: ops.split(x, 2, axis=1)[0] - ops.split(y, 2, axis=1)[1],
    lambda x, y: ops.nn.Linear(4, 3)(x).max(axis=1) + y.expand([2, -1, 4])[0, :, 0],
    lambda x, y: F.cross_entropy(x, y.argmax(axis=1)),
    F.mse_loss,
    lambda x, y: ops.static.nn.cond(x.mean() > 0, (x - y).mean, x.max),
)


@pytest.mark.parametrize("function", MEETINGS)
def test_feeds_that_meet_in_an_op_have_one_number_of_rows(
    function: Callable[[Any, Any], Any],
) -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x, y = paddle.static.data("x", [None, 4]), paddle.static.data("y", [None, 4])
        return {"out": function(x, y)}

    network = nets.program(forward)
    network.run({"x": nets.numbers(0, 3, 4), "y": nets.numbers(1, 3, 4)}, ["out"])
    for rows in (1, 2):
        with pytest.raises(purdist.ShapeMismatchError, match="one number of rows, got x"):
            network.run({"x": nets.numbers(0, 3, 4), "y": nets.numbers(1, rows, 4)}, ["out"])


def test_what_is_known_of_one_feed_binds_the_other() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x, y = paddle.static.data("x", [3, 4]), paddle.static.data("y", [None, 4])
        return {"out": x + y}

    with pytest.raises(purdist.ShapeMismatchError, match=r"one number of rows, 3, got y \[1, 4\]"):
        nets.program(forward).run({"x": nets.numbers(0, 3, 4), "y": nets.numbers(1, 1, 4)}, ["out"])


def test_only_what_is_fetched_is_looked_at() -> None:
    distillation = distilled(CrossEntropyLoss("logits", LABEL))
    feed = {"x": nets.numbers(0, 3, 6), "label": np.array([9, 9])}
    assert distillation.program.run(feed, ["logits"])["logits"].shape == (3, 4)


def maps(feed: str, *strides: int | list[int]) -> purdist.Program:
    spec = InputSpec([None, 3, None, None])
    with graphs.dynamic():
        layers = [paddle.nn.Conv2D(3, 3, 3, stride=k, padding=1) for k in strides]
        return purdist.from_layer(paddle.nn.Sequential(*layers), {feed: spec})


def test_a_network_that_pools_volumes_trains() -> None:
    volumes = InputSpec([None, 1, None, 4, 4])
    with graphs.dynamic():
        layers = [paddle.nn.Linear(4, 4), paddle.nn.MaxPool3D(2), paddle.nn.AvgPool3D(2)]
        student = purdist.from_layer(paddle.nn.Sequential(*layers), {"x": volumes})
    loss = purdist.CustomLoss(lambda value: value.square().mean(), {"value": "output"})
    training = purdist.minimize(purdist.apply(student, [loss]), sgd)
    (step,) = purdist.train(training, [{"x": nets.numbers(0, 2, 1, 5, 4, 4)}])
    assert np.isfinite(step.loss)


def guards(distillation: purdist.Distillation) -> int:
    return len(graphs.guarded(distillation.program.graph))


@pytest.mark.parametrize(
    ("strides", "count"), [((1, 2), 0), ((2, 1, 1), 0), ((2,), 0), ((2, 2), 1), ((1,), 1)]
)
def test_the_same_strides_make_maps_of_the_same_size(strides: tuple[int, ...], count: int) -> None:
    merged = purdist.merge(maps("y", *strides), maps("x", 2), {"y": "x"})
    distillation = purdist.apply(merged, [L2Loss("teacher_output", "output")])
    assert guards(distillation) == count


PAIRWISE: tuple[Callable[[str, str], LossSpec], ...] = (
    L2Loss,
    purdist.HintLoss,
    lambda t, s: purdist.HintLoss(t, s, adaptor="conv"),
    purdist.AttentionTransferLoss,
    purdist.NSTLoss,
    purdist.VIDLoss,
    lambda t, s: purdist.FspLoss(t, t, s, s),
    lambda t, s: CustomLoss(lambda a, b: (a - b).abs().mean(), {"a": t, "b": s}),
)


@pytest.mark.parametrize(
    ("make", "strides"),
    [(make, ([1, 4], [4, 1])) for make in PAIRWISE]
    + [(make, strides) for make in (L2Loss, purdist.NSTLoss) for strides in ((4, 2), (2, 1))],
)
def test_maps_that_do_not_meet_are_refused_at_the_step(
    make: Callable[[str, str], LossSpec], strides: tuple[Any, Any]
) -> None:
    teacher, student = (maps(feed, stride) for feed, stride in zip("yx", strides, strict=True))
    merged = purdist.merge(teacher, student, {"y": "x"})
    distillation = purdist.apply(merged, [make("teacher_output", "output")])
    training = purdist.minimize(distillation, sgd)
    before = nets.weights(training.program)
    x = nets.numbers(0, 2, 3, 4, 4)
    for call in (
        lambda: next(purdist.train(training, [{"x": x}])),
        lambda: distillation.program.run({"x": x}, [distillation.terms[0]]),
    ):
        with pytest.raises(purdist.PurdistError) as caught:
            call()
        assert type(caught.value) is purdist.ShapeMismatchError
        shapes = [a.shape for a in merged.run({"x": x}, ["teacher_output", "output"]).values()]
        for name, shape in zip(("teacher_output", "output"), shapes, strict=True):
            assert f"{name} {list(shape)}" in str(caught.value)
    assert not nets.moved(before, nets.weights(training.program))


def test_maps_that_meet_train_on_under_a_guard() -> None:
    merged = purdist.merge(maps("y", 2, 1), maps("x", 1, 2), {"y": "x"})
    resized = purdist.merge(maps("y", 2, 2), maps("x", 4), {"y": "x"})
    for program, count in ((merged, 0), (resized, 1)):
        distillation = purdist.apply(program, [L2Loss("teacher_output", "output")])
        assert guards(distillation) == count
        steps = purdist.train(
            purdist.minimize(distillation, sgd), [{"x": nets.numbers(0, 2, 3, 8, 8)}] * 3
        )
        losses = [step.loss for step in steps]
        assert losses[0] > losses[-1]


def after_an_offset(s: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
    loss: paddle.Tensor = F.cross_entropy(s, y + 1)
    return loss


def by_pairs(s: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
    picked: Any = s
    loss: paddle.Tensor = picked[ops.arange(s.shape[0]), y].mean()
    return loss


@pytest.mark.parametrize("way", [run, trained], ids=lambda way: way.__name__)
@pytest.mark.parametrize("loss", [after_an_offset, by_pairs], ids=lambda loss: loss.__name__)
def test_what_fails_when_it_runs_is_said_with_the_shapes_of_the_feed(
    loss: Callable[..., paddle.Tensor], way: Way, tmp_path: Path
) -> None:
    distillation = purdist.apply(
        nets.program(nets.linear("x", (6, 4), out="s")), [CustomLoss(loss, {"s": "s", "y": LABEL})]
    )
    feed = {"x": nets.numbers(0, 3, 6), "label": np.array([0, 1, 4])}
    with pytest.raises(purdist.RunError) as caught:
        way(distillation, feed, tmp_path)
    problem, remedy = str(caught.value).split("\n")
    assert problem.startswith(
        "Expected feeds that the program can compute with, got label [3], x [3, 6], at which "
        "Paddle fails in 'loss: paddle.Tensor = "
    )
    assert remedy.startswith("Sizes that are unknown while a graph is built")
    assert isinstance(caught.value.__cause__, IndexError | ValueError)
    way(distillation, {**feed, "label": np.array([0, 1, 2])}, tmp_path)


def test_lists_in_lists_without_an_end_are_no_array() -> None:
    endless: list[object] = []
    endless.append(endless)
    feed: Any = {"x": endless}
    with pytest.raises(purdist.FeedError, match="lists in lists without an end"):
        nets.program(nets.linear()).run(feed, ["logits"])
