"""`cache_teacher`: what a teacher says, kept on disk."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest

import purdist
from purdist.arrays import Feed
from tests.nets import Forward, images, numbers, program, untouched

IMAGES = numbers(7, 40, 1, 4, 4)


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
    (cache.path / "0.bin").unlink()
    with pytest.raises(purdist.StaleCacheError, match="No such file"):
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
    with (tmp_path / "cache.part" / "0.bin").open("ab") as file:
        file.write(b"half a row")  # written, and not yet in the manifest
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
        f"Expected the batches that the cache in {path} was made from, 3 of them, got others (2 "
        "until they differed or ended).\n"
        "Give the same batches in the same order, or delete it, or choose another path."
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


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("[]", "manifest: Expected a table, got []."),
        ('{"names": [], "rows": 4}', "manifest.teacher: Expected a value, got none."),
        ('{"teacher": "", "names": "ab"}', "manifest.names: Expected a list, got 'ab'."),
        ('{"teacher": "", "names": [], "rows": "4"}', "manifest.rows: Expected a whole number"),
        ('{"teacher": "", "names": [], "row": 4}', "manifest.row: Expected a field of Manifest"),
        ('{"teacher": "", "names": [], "rows": 4', "Expecting ',' delimiter"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_what_is_wrong(
    tmp_path: Path, found: str, said: str
) -> None:
    (tmp_path / "manifest.json").write_text(found)
    with pytest.raises(purdist.StaleCacheError, match=re.escape(said)):
        purdist.cache_teacher(distilled(), batches(), tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")
    file = tmp_path / "cache" / "0.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(purdist.StaleCacheError, match="639 bytes"):
        purdist.cache_teacher(distilled(), batches(), tmp_path / "cache")


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
