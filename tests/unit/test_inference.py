"""`Inference`: the teacher cut out, in Paddle Inference."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import paddle
import pytest

import purdist
from purdist import graphs
from purdist.arrays import Arrays
from purdist.engine import Engine
from purdist.training.values import session_of
from tests.nets import Array, images, linear, numbers, program, untouched


@functools.cache
def distilled(*, teacher_reads: str = "x") -> purdist.Distillation:
    merged = purdist.merge(
        program(images("y", channels=5), seed=1), program(images()), {"y": teacher_reads}
    )
    return purdist.apply(
        merged,
        [
            purdist.SoftLabelLoss("teacher_logits", "logits"),
            purdist.CustomLoss(_pooled, {"teacher": "teacher_normed", "student": "normed"}),
        ],
    )


def _pooled(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    # A list of tensors of both networks: it is the loss's, not the teacher's.
    both = paddle.concat([teacher.mean([1, 2, 3]), student.mean([1, 2, 3])])
    return both.square().mean()


def batches(count: int) -> list[Arrays]:
    return [{"x": numbers(k, 6, 1, 4, 4)} for k in range(count)]


def momentum() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Momentum(0.05)


def test_it_is_cut_at_what_the_losses_need() -> None:
    assert distilled().digests == {"teacher_": ("teacher_normed", "teacher_logits")}


def test_no_teacher_is_needed_for_what_the_student_is_fed() -> None:
    one = purdist.merge(program(linear("y")), program(linear()), {"y": "x"})
    loss = purdist.L2Loss("teacher_logits", "logits")
    assert purdist.apply(one, [loss]).digests == {"teacher_": ("teacher_logits",)}


def test_the_losses_are_those_of_one_graph() -> None:
    distillation = distilled()
    whole = purdist.minimize(distillation, momentum, seed=3)
    staged = purdist.minimize(distillation, momentum, teacher="inference", seed=3)
    one = [step.loss for step in purdist.train(whole, batches(100))]
    other = [step.loss for step in purdist.train(staged, batches(100))]
    np.testing.assert_allclose(other[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(other[99], one[99], rtol=1e-3)


def test_nothing_handed_over_is_changed() -> None:
    distillation = distilled()
    with untouched(distillation.program):
        training = purdist.minimize(distillation, momentum, teacher="inference")
        steps = purdist.train(training, batches(3))
        for _ in steps:
            pass


def test_the_program_is_whole_and_fed_as_ever() -> None:
    training = purdist.minimize(distilled(), momentum, teacher="inference")
    assert training.program.inputs == ("x",)
    before = training.program.run(batches(1)[0], ["loss"])["loss"]
    for _ in purdist.train(training, batches(1) * 20):
        pass
    assert training.program.run(batches(1)[0], ["loss"])["loss"] < before


def test_steps_come_in_turn_and_batches_are_read_one_ahead() -> None:
    read = []

    def reading() -> Iterator[Arrays]:
        for k, feed in enumerate(batches(4)):
            read.append(k)
            yield feed

    training = purdist.minimize(distilled(), momentum, teacher="inference")
    seen = [(step.index, len(read)) for step in purdist.train(training, reading())]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_the_step_computes_before_the_teacher_takes_the_interpreter_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or both would compute in turn: the predictor keeps the lock until it is done."""
    training = purdist.minimize(distilled(), momentum, teacher="inference")
    list(purdist.train(training, batches(1)))  # what the teacher says first is compared
    run, compute = graphs.Runner.__call__, Engine.__call__
    log = []

    def late(runner: graphs.Runner, feed: Arrays, **options: Any) -> list[Array]:
        time.sleep(0.02)
        log.append("student")
        return run(runner, feed, **options)

    def noted(engine: Engine, feed: Arrays) -> dict[str, Array]:
        log.append("teacher")
        return compute(engine, feed)

    monkeypatch.setattr(graphs.Runner, "__call__", late)
    monkeypatch.setattr(Engine, "__call__", noted)
    list(purdist.train(training, batches(3)))
    # The first batch has nothing to overlap with; then each step begins before the teacher.
    assert log == ["teacher", "student", "teacher", "student", "teacher", "student"]


def test_a_step_that_fails_before_it_computes_stops_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(runner: graphs.Runner, feed: Arrays, **options: Any) -> list[Array]:
        raise RuntimeError("no memory")

    training = purdist.minimize(distilled(), momentum, teacher="inference")
    running = threading.active_count()
    monkeypatch.setattr(graphs.Runner, "__call__", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        list(purdist.train(training, batches(2)))
    assert threading.active_count() == running


@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_a_batch_that_is_no_mapping_is_refused(teacher: Literal["graph", "inference"]) -> None:
    training = purdist.minimize(distilled(), momentum, teacher=teacher)
    steps = purdist.train(training, [*batches(1), None, *batches(1)])  # type: ignore[list-item]
    assert next(steps).index == 0
    with pytest.raises(purdist.FeedError) as caught:
        next(steps)
    assert str(caught.value) == (
        "Expected a feed, a mapping from the names of inputs to arrays, got NoneType.\n"
        "Make it a dict with 'x'."
    )


def test_the_iterator_may_use_its_arrays_again() -> None:
    def reusing() -> Iterator[Arrays]:
        buffer = np.empty([6, 1, 4, 4], np.float32)
        for feed in batches(4):
            buffer[:] = feed["x"]
            yield {"x": buffer}

    distillation = distilled()
    training = purdist.minimize(distillation, momentum, teacher="inference")
    reused = [step.loss for step in purdist.train(training, reusing())]
    training = purdist.minimize(distillation, momentum, teacher="inference")
    assert reused == [step.loss for step in purdist.train(training, batches(4))]


def test_no_batches_are_no_steps() -> None:
    training = purdist.minimize(distilled(), momentum, teacher="inference")
    assert list(purdist.train(training, [])) == []


def test_a_bad_batch_is_refused_after_the_step_before_it() -> None:
    training = purdist.minimize(distilled(), momentum, teacher="inference")
    steps = purdist.train(training, [*batches(1), {"x": numbers(0, 6, 1, 4)}])
    assert next(steps).index == 0
    with pytest.raises(purdist.ShapeMismatchError):
        next(steps)
    assert session_of(training).progress.steps == 1


def test_an_error_of_the_batches_stops_both() -> None:
    def broken() -> Iterator[Arrays]:
        yield from batches(2)
        raise RuntimeError("the disk is gone")

    training = purdist.minimize(distilled(), momentum, teacher="inference")
    running = threading.active_count()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(purdist.train(training, broken()))
    assert threading.active_count() == running


def test_to_stop_early_stops_both() -> None:
    training = purdist.minimize(distilled(), momentum, teacher="inference")
    running = threading.active_count()
    steps = purdist.train(training, batches(5))
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert threading.active_count() == running


def test_a_program_without_a_teacher_is_refused() -> None:
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    alone = purdist.apply(program(linear()), [loss])
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(alone, momentum, teacher="inference")
    assert str(caught.value) == (
        "Expected a program whose losses listen to a teacher, got one without.\n"
        "Merge a teacher into it first, or train it as it is."
    )


def test_a_teacher_that_reads_what_the_student_learns_is_refused() -> None:
    student = program(linear(sizes=(6, 6, 4)))
    hidden = next(n for n, v in student.variables.items() if v.shape == (-1, 6) and v.op == "add")
    merged = purdist.merge(program(linear("y")), student, {"y": hidden})
    distillation = purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")])
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(distillation, momentum, teacher="inference")
    assert str(caught.value) == (
        "Expected a teacher that reads feeds alone, got one that reads what the student computes "
        "with dense_0.b [6] float32, dense_0.w [6, 6] float32, which training changes.\n"
        "Train with teacher='graph', without a cache."
    )


@pytest.mark.parametrize("kind", [RuntimeError, SystemError])
def test_what_the_engine_says_is_handed_on(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise kind("no kernel for frobnicate")

    monkeypatch.setattr(paddle.inference, "create_predictor", refuse)
    with pytest.raises(purdist.EngineError) as caught:
        purdist.minimize(distilled(), momentum, teacher="inference")
    assert str(caught.value) == (
        "Expected Paddle Inference to take the teacher, got: no kernel for frobnicate\n"
        "Use teacher='graph', which runs it beside the student."
    )
