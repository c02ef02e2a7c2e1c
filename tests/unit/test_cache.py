"""`cache_teacher`: what a teacher says, kept on disk."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

import purdist
from purdist.arrays import Feed
from tests.nets import Forward, images, numbers, program, untouched

IMAGES = numbers(7, 40, 1, 4, 4)


@functools.cache
def distilled(*, seed: int = 1) -> purdist.Distillation:
    teacher = program(images("y", channels=5), seed=seed)
    merged = purdist.merge(teacher, program(images()), {"y": "x"})
    return purdist.apply(
        merged,
        [
            purdist.SoftLabelLoss("teacher_logits", "logits"),
            purdist.CrossEntropyLoss("logits", purdist.NewInput("label")),
        ],
    )


def batches(size: int = 16) -> list[Feed]:
    return [
        {"x": IMAGES[k : k + size], "label": np.arange(len(IMAGES))[k : k + size] % 4}
        for k in range(0, len(IMAGES), size)
    ]


def momentum() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Momentum(0.05)


def sizes_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that a network computes from now on."""
    sizes: list[int] = []
    run = purdist.Program.run

    def counting(self: purdist.Program, feed: Feed, fetch: list[str]) -> object:
        sizes.append(len(next(iter(feed.values()))))
        return run(self, feed, fetch)

    monkeypatch.setattr(purdist.Program, "run", counting)
    return sizes


def kill_after_two_batches(path: Path) -> None:
    """A call that is killed on the way to a cache at ``path``."""

    def dying() -> Iterator[Feed]:
        yield from batches()[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purdist.cache_teacher(distilled(), dying(), path)


def test_a_row_is_what_the_teacher_says_to_it(tmp_path: Path) -> None:
    distillation = distilled()
    with untouched(distillation.program):
        cache = purdist.cache_teacher(distillation, batches(), tmp_path / "cache")
    assert len(cache) == 40
    said = distillation.program.run({"x": IMAGES}, ["teacher_logits"])["teacher_logits"]
    rows = np.random.RandomState(0).permutation(40)[:7]
    np.testing.assert_allclose(cache[rows]["teacher_logits"], said[rows], rtol=1e-6)
    np.testing.assert_allclose(cache[2:5]["teacher_logits"], said[2:5], rtol=1e-6)


def test_training_on_it_is_training_with_the_teacher(tmp_path: Path) -> None:
    distillation = distilled()
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "cache")
    order = [np.random.RandomState(k).permutation(40)[:8] for k in range(20)]
    labels = np.arange(40) % 4
    feeds: list[Feed] = [{"x": IMAGES[rows], "label": labels[rows]} for rows in order]
    sampled: list[Feed] = [
        {**f, "teacher_sample": rows} for f, rows in zip(feeds, order, strict=True)
    ]
    training = purdist.minimize(distillation, momentum, seed=2, teacher=cache)
    theirs = [v for v in training.program.variables.values() if v.owner == "teacher"]
    assert [(v.name, v.role) for v in theirs] == [("teacher_logits", "input")]
    one = purdist.train(purdist.minimize(distillation, momentum, seed=2), feeds)
    other = purdist.train(training, sampled)
    for whole, cached in zip(one, other, strict=True):
        np.testing.assert_allclose(cached.loss, whole.loss, rtol=1e-5)


def test_a_cache_is_a_value_that_pickles(tmp_path: Path) -> None:
    distillation = distilled()
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "cache")
    said = cache[[3, 1]]["teacher_logits"]
    again = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 2_000
    np.testing.assert_array_equal(again[[3, 1]]["teacher_logits"], said)
    assert str(again.path) in str(purdist.minimize(distillation, momentum, teacher=again))


def test_rows_that_a_cache_does_not_have_are_refused(tmp_path: Path) -> None:
    distillation = distilled()
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "cache")
    training = purdist.minimize(distillation, momentum, teacher=cache)
    feed = {"x": IMAGES[:3], "label": np.arange(3)}
    for row in (-1, 40):
        with pytest.raises(purdist.InvalidArgumentError) as caught:
            next(purdist.train(training, [{**feed, "teacher_sample": np.array([0, row, 1])}]))
        assert str(caught.value) == (
            f"Expected teacher_sample to be at least 0 and below 40, got {row} in row 1, of shape "
            f"[3].\nThey are rows of the cache in {cache.path}, counted over all batches that it "
            "was made from."
        )
    for surplus in ({}, {"teacher_sample": np.arange(3), **cache[:3]}):
        with pytest.raises(purdist.FeedError):
            next(purdist.train(training, [{**feed, **surplus}]))
    with pytest.raises(purdist.DtypeMismatchError):
        next(purdist.train(training, [{**feed, "teacher_sample": np.zeros(3, "int32")}]))
    assert training.steps == 0


def test_a_cache_of_another_teacher_trains_nobody(tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(seed=1), batches(), tmp_path / "cache")
    with pytest.raises(purdist.StaleCacheError, match="the teacher's graph and weights are others"):
        purdist.minimize(distilled(seed=2), momentum, teacher=cache)


def test_a_cache_that_is_gone_trains_nobody(tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    (cache.path / "1.0.npy").unlink()
    with pytest.raises(purdist.CorruptFileError, match="No such file"):
        purdist.minimize(distilled(), momentum, teacher=cache)


def test_a_finished_cache_is_read_and_nothing_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    sizes = sizes_computed(monkeypatch)
    again = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    assert sizes == []
    np.testing.assert_array_equal(again[:]["teacher_logits"], first[:]["teacher_logits"])


def test_a_killed_call_is_taken_up_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache"
    kill_after_two_batches(path)
    assert not path.exists()
    (tmp_path / "cache.part" / "2.0.npy").write_bytes(b"half a block")  # and not in the journal
    with (tmp_path / "cache.part" / "blocks.jsonl").open("ab") as file:
        file.write(b'{"rows": 8, ')
    sizes = sizes_computed(monkeypatch)
    cache = purdist.cache_teacher(distilled(), batches(), path)
    assert sizes == [8]
    monkeypatch.undo()
    assert not (tmp_path / "cache.part").exists()
    said = distilled().program.run({"x": IMAGES}, ["teacher_logits"])["teacher_logits"]
    np.testing.assert_allclose(cache[:]["teacher_logits"], said, rtol=1e-6)


def test_a_cache_of_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    purdist.cache_teacher(distilled(), batches(), path)
    other = [*batches()[:1], {**batches()[1], "x": batches()[1]["x"] + 1}, batches()[2]]
    for stale in (other, batches()[:2], batches(8)):
        with pytest.raises(purdist.StaleCacheError, match="got others"):
            purdist.cache_teacher(distilled(), stale, path)
    with pytest.raises(purdist.StaleCacheError) as caught:
        purdist.cache_teacher(distilled(), batches()[:2], path)
    assert str(caught.value) == (
        f"Expected the batches that the cache in {str(path)!r} was made from, got others (2 "
        "until they differed or ended).\n"
        f"Give the same batches in the same order, or delete {str(path)!r}, or choose another path."
    )


def test_to_go_on_with_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    kill_after_two_batches(path)
    for stale in (batches()[1:], batches()[:1]):
        with pytest.raises(purdist.StaleCacheError, match="got others"):
            purdist.cache_teacher(distilled(), stale, path)


def test_a_cache_of_another_teacher_is_refused(tmp_path: Path) -> None:
    purdist.cache_teacher(distilled(seed=1), batches(), tmp_path / "cache")
    with pytest.raises(purdist.StaleCacheError, match="the teacher's graph and weights are others"):
        purdist.cache_teacher(distilled(seed=2), batches(), tmp_path / "cache")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(purdist.StaleCacheError, match="a folder without a manifest"):
        purdist.cache_teacher(distilled(), batches(), tmp_path)


@pytest.mark.parametrize("data", [[], [{"x": IMAGES[:0]}], [*batches(), {"x": IMAGES[:0]}]])
def test_batches_without_rows_are_refused(data: list[Feed], tmp_path: Path) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="got none"):
        purdist.cache_teacher(distilled(), data, tmp_path / "cache")
    assert len(list(tmp_path.iterdir())) == (1 if len(data) > 1 else 0)


def test_rows_of_several_shapes_are_refused_by_name(tmp_path: Path) -> None:
    def flat(feed: str) -> Forward:
        return lambda: {"flat": paddle.static.data(feed, [None, None], "float32") * 2.0}

    merged = purdist.merge(program(flat("y")), program(flat("x")), {"y": "x"})
    loss = purdist.CustomLoss(
        lambda teacher, student: teacher.mean() * student.mean(),
        {"teacher": "teacher_flat", "student": "flat"},
    )
    feeds: list[Feed] = [{"x": numbers(0, 3, 6)}, {"x": numbers(0, 3, 5)}]
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        purdist.cache_teacher(purdist.apply(merged, [loss]), feeds, tmp_path / "cache")
    assert str(caught.value) == (
        "Expected rows of 'teacher_flat' of shape [6], got [5] in batch 1.\n"
        "Bring all batches to one size."
    )


@pytest.mark.parametrize(
    "rows",
    [
        3,
        -1,
        np.int64(7),
        slice(None),
        slice(38, 3, -4),
        slice(5, 5),
        [],
        [39, 0, 0, -40, 17],
        np.array([[3, 15], [16, 31]]),
        np.arange(40) % 3 == 0,
        range(14, 34),
    ],
    ids=str,
)
def test_rows_are_taken_as_from_an_array(rows: Any, tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    whole = np.concatenate(
        [np.load(tmp_path / "cache" / f"{block}.0.npy") for block in range(len(batches()))]
    )
    taken = np.asarray(rows, dtype=int) if isinstance(rows, list | range) else rows
    np.testing.assert_array_equal(cache[rows]["teacher_logits"], whole[taken])


@pytest.mark.parametrize("rows", [40, -41, [0, 40], 1.0, [0.5], np.zeros(39, bool), "a", 2**63])
def test_what_are_no_rows_is_refused(rows: Any, tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    with pytest.raises(purdist.PurdistError):
        cache[rows]


def test_a_cache_goes_through_its_rows(tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    rows = [row["teacher_logits"] for row in cache]
    np.testing.assert_array_equal(rows, cache[:]["teacher_logits"])


def test_a_variable_without_rows_is_refused(tmp_path: Path) -> None:
    def summed() -> dict[str, paddle.Tensor]:
        feature = paddle.static.data("y", [None, 1, 4, 4], "float32")
        return {"sum": paddle.matmul(feature.flatten(1), feature.flatten(1), transpose_x=True)}

    merged = purdist.merge(program(summed), program(images()), {"y": "x"})
    loss = purdist.CustomLoss(
        lambda teacher, student: teacher.mean() * student.mean(),
        {"teacher": "teacher_sum", "student": "logits"},
    )
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.cache_teacher(purdist.apply(merged, [loss]), [{"x": IMAGES[:5]}], tmp_path / "c")
    assert str(caught.value) == (
        "Expected a variable with a row for each of the 5 that are fed, got 'teacher_sum' of "
        "shape [16, 16].\nListen to a variable whose first axis is the batch."
    )


def test_a_batch_is_computed_once_however_many_variables_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = purdist.merge(program(images("y"), seed=1), program(images()), {"y": "x"})
    specs = [
        purdist.SoftLabelLoss("teacher_logits", "logits"),
        purdist.L2Loss("teacher_normed", "normed"),
    ]
    distillation = purdist.apply(merged, specs)
    sizes = sizes_computed(monkeypatch)
    cache = purdist.cache_teacher(distillation, [{"x": IMAGES[:5]}], tmp_path / "cache")
    assert sizes == [5]
    assert set(cache[:]) == {"teacher_logits", "teacher_normed"}


# --- what a loss reads of a teacher that no feed reaches ----------------------------------


def normalised(feed: str) -> Forward:
    """A linear layer of a weight of length 1, behind a batch norm."""

    def forward() -> dict[str, paddle.Tensor]:
        value = paddle.nn.BatchNorm1D(6)(paddle.static.data(feed, [None, 6]))
        weight = paddle.create_parameter([6, 4], "float32", name="weight")
        direction = weight / weight.square().sum().sqrt()
        return {"direction": direction, "logits": paddle.matmul(value, direction)}

    return forward


def losses(training: purdist.Training, feeds: list[Feed]) -> list[float]:
    return [step.loss for step in purdist.train(training, feeds)]


@pytest.mark.parametrize(
    ("read", "near"),
    [
        ("teacher_weight", "weight"),
        ("teacher_batch_norm1d_0.w_0", "batch_norm1d_0.w_0"),
        ("teacher_batch_norm1d_0.w_1", "batch_norm1d_0.b_0"),
        ("teacher_direction", "direction"),
    ],
    ids=["a weight", "a scale", "a running mean", "what is computed from a weight"],
)
def test_a_weight_of_the_teacher_stays_where_a_loss_reads_it(
    read: str, near: str, tmp_path: Path
) -> None:
    teacher, student = program(normalised("y"), seed=1), program(normalised("x"))
    distillation = purdist.apply(
        purdist.merge(teacher, student, {"y": "x"}),
        [
            purdist.KDLoss("teacher_logits", "logits"),
            purdist.CustomLoss(
                lambda t, s: (t - s).square().mean(), {"t": read, "s": near}, weight=3.0
            ),
        ],
    )
    feeds: list[Feed] = [{"x": numbers(k, 8, 6)} for k in range(3)]
    cache = purdist.cache_teacher(distillation, feeds, tmp_path / "cache")
    assert set(cache[:1]) == {"teacher_logits"}
    by_row: list[Feed] = [
        {**feed, "teacher_sample": np.arange(8 * k, 8 * k + 8)} for k, feed in enumerate(feeds)
    ]
    expected = losses(purdist.minimize(distillation, momentum), feeds)
    engine = purdist.minimize(distillation, momentum, teacher="inference")
    assert losses(engine, feeds) == pytest.approx(expected, rel=1e-5)
    training = purdist.minimize(distillation, momentum, teacher=cache)
    assert losses(training, by_row) == pytest.approx(expected, rel=1e-5)
    bare = purdist.student_of(training)
    assert set(bare.weights) == set(student.weights)
    purdist.export(training, tmp_path / "student", ["logits"])
    assert "teacher_" not in (tmp_path / "student.json").read_text()


def test_a_training_says_where_its_teacher_computes(tmp_path: Path) -> None:
    cache = purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    training = purdist.minimize(distilled(), momentum, teacher=cache)
    assert f"teacher  in the cache in {tmp_path / 'cache'}\n" in str(training)
    assert "teacher  in the step's graph\n" in str(purdist.minimize(distilled(), momentum))
