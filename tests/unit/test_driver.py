"""One driver for all backends: which teacher runs where, what is read ahead, and in what order."""

from __future__ import annotations

import functools
import gc
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist.arrays import Arrays, Feed
from tests.nets import Array, linear, numbers, program

ROWS = 6


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


@functools.cache
def distilled() -> purdist.Distillation:
    """Two teachers, the name of one the beginning of the other's."""
    one = purdist.merge(
        program(linear("y"), seed=1), program(linear()), {"y": "x"}, name_prefix="t_"
    )
    both = purdist.merge(program(linear("y"), seed=2), one, {"y": "x"}, name_prefix="t_1_")
    return purdist.apply(
        both, [purdist.L2Loss("t_logits", "logits"), purdist.KDLoss("t_1_logits", "logits")]
    )


def batches(count: int = 4) -> list[Feed]:
    return [{"x": numbers(k, ROWS, 6)} for k in range(count)]


def losses(training: purdist.Training, feeds: list[Feed]) -> list[float]:
    return [step.loss for step in purdist.train(training, feeds)]


@attrs.frozen
class Own(purdist.Backend):
    """A backend of a user's own, which writes down what happens."""

    ahead: int = 3
    log: list[str] = attrs.field(factory=list, eq=False)

    def start(self, teacher: purdist.Program, outputs: tuple[str, ...]) -> purdist.Running:
        return OwnRunning(teacher, outputs, self.log)


@attrs.frozen(eq=False)
class OwnRunning(purdist.Running):
    teacher: purdist.Program
    outputs: tuple[str, ...]
    log: list[str]

    @property
    def feeds(self) -> Mapping[str, purdist.Variable]:
        return {name: self.teacher.variables[name] for name in self.teacher.inputs}

    def ask(self, feed: Feed) -> Callable[[], Arrays]:
        number = sum(line.startswith("asked") for line in self.log)
        self.log.append(f"asked {number}")
        answers = self.teacher.run({name: feed[name] for name in self.feeds}, self.outputs)

        def answer() -> Arrays:
            self.log.append(f"answered {number}")
            return answers

        return answer

    def close(self) -> None:
        self.log.append("closed")

    def __str__(self) -> str:
        return "at home"


def test_each_teacher_runs_where_it_is_said(tmp_path: Path) -> None:
    distillation = distilled()
    expected = losses(purdist.minimize(distillation, sgd), batches())
    own = Own()
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "c", name_prefix="t_1_")
    sampled: list[Feed] = [
        {**feed, "t_1_sample": np.arange(ROWS * k, ROWS * (k + 1))}
        for k, feed in enumerate(batches())
    ]
    inference = purdist.Inference()
    ways: dict[str, tuple[Mapping[str, Any], list[Feed], str]] = {
        "a cache beside the graph": (
            {"t_1_": cache},
            sampled,
            f"t_ in the step's graph; t_1_ in the cache in {cache.path}",
        ),
        "a cache beside an engine": (
            {"t_1_": cache, "t_": inference},
            sampled,
            f"t_ in Paddle Inference, oneDNN; t_1_ in the cache in {cache.path}",
        ),
        "an own one beside the graph": (
            {"t_": own, "t_1_": "graph"},
            batches(),
            "t_ at home; t_1_ in the step's graph",
        ),
    }
    for way, (teacher, feeds, text) in ways.items():
        training = purdist.minimize(distillation, sgd, teacher=teacher)
        assert f"teacher  {text}\n" in str(training), way
        assert losses(training, feeds) == pytest.approx(expected, rel=1e-5), way


def test_a_teacher_that_another_reads_runs_where_it_is_said(tmp_path: Path) -> None:
    first, second = program(linear("y"), seed=1), program(linear("z", (4, 4)), seed=2)
    one = purdist.merge(first, program(linear()), {"y": "x"}, name_prefix="t_")
    chain = purdist.merge(second, one, {"z": "t_logits"}, name_prefix="u_")
    distillation = purdist.apply(
        chain, [purdist.L2Loss("t_logits", "logits"), purdist.KDLoss("u_logits", "logits")]
    )
    expected = losses(purdist.minimize(distillation, sgd), batches())
    caches = {
        prefix: purdist.cache_teacher(
            distillation, batches(), tmp_path / prefix, name_prefix=prefix
        )
        for prefix in ("t_", "u_")
    }
    sampled: list[Feed] = [
        {**feed, **{f"{prefix}sample": np.arange(ROWS * k, ROWS * (k + 1)) for prefix in caches}}
        for k, feed in enumerate(batches())
    ]
    chosen: list[dict[str, Any]] = [
        {"t_": Own()},
        {"u_": Own()},
        {"t_": caches["t_"]},
        {"u_": caches["u_"]},
        {"t_": Own(), "u_": caches["u_"]},
        caches,
    ]
    for teacher in chosen:
        training = purdist.minimize(distillation, sgd, teacher=teacher)
        known = {"x", *(f"{p}sample" for p, one in teacher.items() if one in caches.values())}
        feeds: list[Feed] = [{k: v for k, v in feed.items() if k in known} for feed in sampled]
        assert losses(training, feeds) == pytest.approx(expected, rel=1e-5), teacher


@pytest.mark.parametrize("teacher", ["inference", purdist.Inference(), Own(), Own(0)])
def test_one_backend_serves_all_teachers(
    teacher: purdist.Backend | Literal["inference"],
) -> None:
    distillation = distilled()
    expected = losses(purdist.minimize(distillation, sgd), batches())
    training = purdist.minimize(distillation, sgd, teacher=teacher)
    assert losses(training, batches()) == pytest.approx(expected, rel=1e-5)


def test_batches_are_asked_ahead_copied_and_answered_in_order() -> None:
    own = Own(ahead=2)
    distillation = distilled()
    expected = losses(purdist.minimize(distillation, sgd), batches(5))
    training = purdist.minimize(distillation, sgd, teacher={"t_": own})
    read: list[int] = []

    def reusing() -> Iterator[Feed]:
        buffer = np.empty([ROWS, 6], np.float32)
        for k, feed in enumerate(batches(5)):
            read.append(k)
            buffer[:] = feed["x"]
            yield {"x": buffer}

    seen = []
    for step, loss in zip(purdist.train(training, reusing()), expected, strict=True):
        assert step.loss == pytest.approx(loss, rel=1e-5)
        seen.append(len(read))
    assert seen == [3, 4, 5, 5, 5]
    assert own.log == [
        *("asked 0", "asked 1", "answered 0", "asked 2", "answered 1", "asked 3", "answered 2"),
        *("asked 4", "answered 3", "answered 4"),
    ]


def test_a_bad_batch_is_refused_after_all_steps_before_it() -> None:
    training = purdist.minimize(distilled(), sgd, teacher=Own(ahead=3))
    steps = purdist.train(training, [*batches(2), {"x": numbers(0, ROWS)}, *batches(1)])
    assert [next(steps).index, next(steps).index] == [0, 1]
    with pytest.raises(purdist.ShapeMismatchError):
        next(steps)
    assert training.steps == 2


def test_a_teacher_is_closed_with_its_training() -> None:
    own = Own()
    training = purdist.minimize(distilled(), sgd, teacher={"t_": own})
    losses(training, batches())
    assert "closed" not in own.log
    del training
    gc.collect()
    assert own.log[-1] == "closed"


def test_a_teacher_is_closed_where_another_does_not_start(tmp_path: Path) -> None:
    own, other = Own(), distilled()
    cache = purdist.cache_teacher(other, batches(), tmp_path / "c", name_prefix="t_")
    with pytest.raises(purdist.StaleCacheError):
        purdist.minimize(other, sgd, teacher={"t_": own, "t_1_": cache})
    assert own.log == ["closed"]


def test_backends_are_values_that_pickle() -> None:
    for backend in (purdist.InGraph(), purdist.Inference()):
        assert pickle.loads(pickle.dumps(backend)) == backend
        assert len({backend, type(backend)()}) == 1


def refused(teacher: Any) -> str:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(distilled(), sgd, teacher=teacher)
    return str(caught.value)


def test_what_is_no_backend_is_refused() -> None:
    for wrong, got in (
        ("gpu", "'gpu'"),
        (None, "None"),
        (purdist.Inference, "the class Inference"),
    ):
        backend = "to be a Backend or 'graph' or 'inference'"
        assert refused(wrong).startswith(f"Expected teacher {backend} or a mapping")
        assert f", got {got}.\n" in refused(wrong)
        assert refused({"t_": wrong}).startswith(f"Expected teacher['t_'] {backend}, got {got}.")
    assert refused({"t": "graph"}) == (
        "Expected the prefixes of teachers, got 't'.\nThere are 't_', 't_1_'."
    )


class Forgetful(purdist.Backend):
    """A backend that does not return what it started."""

    ahead = 0

    def start(self, teacher: purdist.Program, outputs: tuple[str, ...]) -> None:
        OwnRunning(teacher, outputs, [])


def test_only_a_backend_in_the_step_starts_nothing() -> None:
    assert purdist.InGraph().in_step
    assert not purdist.Inference().in_step
    assert refused(Forgetful()).startswith("Expected Forgetful.start to return ")


def test_a_teacher_that_no_loss_reads_is_refused() -> None:
    whole = distilled().source
    distillation = purdist.apply(whole, [purdist.KDLoss("t_logits", "logits")], prune=False)
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(distillation, sgd, teacher={"t_": "inference", "t_1_": "inference"})
    assert str(caught.value) == (
        "Expected a teacher that a loss listens to, got 't_1_', which none reads.\n"
        "Leave it out of teacher=."
    )
    expected = losses(purdist.minimize(distillation, sgd), batches())
    training = purdist.minimize(distillation, sgd, teacher=Own())
    assert "t_ at home; t_1_ in the step's graph" in str(training)
    assert losses(training, batches()) == pytest.approx(expected, rel=1e-5)


def test_a_cache_is_of_one_teacher(tmp_path: Path) -> None:
    distillation = distilled()
    for prefix, got in ((None, "none"), ("t", "'t'")):
        with pytest.raises(purdist.InvalidArgumentError) as caught:
            purdist.cache_teacher(distillation, batches(), tmp_path / "c", name_prefix=prefix)
        assert str(caught.value) == (
            "Expected name_prefix to be that of a teacher that the losses listen to, got "
            f"{got}.\nThere are 't_', 't_1_'."
        )
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "c", name_prefix="t_")
    assert set(cache[:1]) == {"t_logits"}
    with pytest.raises(purdist.StaleCacheError, match="the variables are others"):
        purdist.minimize(distillation, sgd, teacher=cache)


def test_the_feed_of_a_cache_meets_no_variable(tmp_path: Path) -> None:
    def student() -> dict[str, paddle.Tensor]:
        return {"t_sample": linear()()["logits"]}

    merged = purdist.merge(program(linear("y")), program(student), {"y": "x"}, name_prefix="t_")
    distillation = purdist.apply(merged, [purdist.KDLoss("t_logits", "t_sample")])
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "c")
    with pytest.raises(purdist.NameClashError) as caught:
        purdist.minimize(distillation, sgd, teacher=cache)
    assert str(caught.value) == (
        "Expected no variable of the name 't_sample', which is fed, got t_sample [-1, 4] "
        "float32.\nMerge the teacher with another name_prefix."
    )


def test_a_training_with_a_cache_keeps_no_teacher(tmp_path: Path) -> None:
    distillation = distilled()
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "c", name_prefix="t_")
    training = purdist.minimize(distillation, sgd, teacher={"t_": cache})
    own = {name: v.role for name, v in training.program.variables.items() if v.network == "t_"}
    assert own == {"t_logits": "input"}
    others = [v for v in training.program.variables.values() if v.network == "t_1_"]
    assert "parameter" in {v.role for v in others}
    feed: dict[str, Array] = {"x": numbers(9, 3, 6)}
    fetched = distillation.program.run(feed, ["t_logits", "loss"])
    fed = {**feed, "t_logits": fetched["t_logits"]}
    assert training.program.run(fed, ["loss"])["loss"] == pytest.approx(fetched["loss"], rel=1e-6)


@attrs.frozen(eq=False)
class Changing(OwnRunning):
    """Answers what ``change`` makes of the teacher's answers."""

    change: Callable[[Array], Any]

    def ask(self, feed: Feed) -> Callable[[], Arrays]:
        answer = super().ask(feed)
        return lambda: {name: self.change(array) for name, array in answer().items()}


@attrs.frozen
class ChangingBackend(Own):
    change: Callable[[Array], Any] = np.asarray

    def start(self, teacher: purdist.Program, outputs: tuple[str, ...]) -> purdist.Running:
        return Changing(teacher, outputs, self.log, self.change)


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda a: a[:1], purdist.ShapeMismatchError, "of one number of rows"),
        (lambda a: a[:, :1], purdist.ShapeMismatchError, "Axis 1|of shape"),
        (lambda a: a.astype("float64"), purdist.DtypeMismatchError, "array of float64"),
        (lambda a: a.astype(">f4"), purdist.DtypeMismatchError, "byte"),
        (lambda a: np.ma.masked_array(a, a > 0), purdist.FeedError, "masked"),
    ],
    ids=["one row", "one column", "float64", "byte order", "masked"],
)
def test_what_a_backend_of_ones_own_answers_is_checked(
    change: Callable[[Array], Any], kind: type[purdist.PurdistError], text: str, ahead: int
) -> None:
    backend = ChangingBackend(ahead=ahead, change=change)
    training = purdist.minimize(distilled(), sgd, teacher={"t_": backend})
    with pytest.raises(kind, match=r"A backend of your own answered otherwise.*at home") as caught:
        losses(training, batches())
    assert re.search(text, str(caught.value))
    assert training.steps == 0


@attrs.frozen
class WrongBackend(Own):
    """One of which a part is not what it should be."""

    start_returns: Callable[[OwnRunning], object] = lambda running: running

    def start(self, teacher: purdist.Program, outputs: tuple[str, ...]) -> Any:
        return self.start_returns(OwnRunning(teacher, outputs, self.log))


def wrong_running(**parts: Any) -> Callable[[OwnRunning], object]:
    """An `OwnRunning` with other parts, which may be properties."""
    kind = type("WrongRunning", (OwnRunning,), {"__slots__": (), **parts})
    return lambda right: kind(right.teacher, right.outputs, right.log)


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize(
    ("returns", "text"),
    [
        (lambda _: None, "WrongBackend.start to return a Running, got None"),
        (lambda _: OwnRunning, "WrongBackend.start to return a Running, got the class OwnRunning"),
        (
            wrong_running(feeds=["x"]),
            "WrongRunning.feeds to return a mapping from names to a Variable, got ['x']",
        ),
        (
            wrong_running(feeds={"x": "x"}),
            "WrongRunning.feeds to return a mapping from names to a Variable, got 'x' at ['x']",
        ),
        (
            wrong_running(feeds={"q": purdist.Variable("x", (-1, 6), "float32", "input")}),
            "WrongRunning.feeds to have each input under its name, got x [-1, 6] float32 under 'q'",
        ),
        (wrong_running(ask=lambda *_: 3), "WrongRunning.ask to return a function, got 3"),
        (
            wrong_running(ask=lambda *_: lambda: None),
            "WrongRunning.ask(feed) to return a mapping from names, got None",
        ),
    ],
)
def test_what_a_backend_of_ones_own_is_made_of_is_checked(
    returns: Callable[[OwnRunning], object], text: str, ahead: int
) -> None:
    backend = WrongBackend(ahead=ahead, start_returns=returns)
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        losses(purdist.minimize(distilled(), sgd, teacher={"t_": backend}), batches())
    assert caught.value.problem == f"Expected {text}."


@pytest.mark.parametrize("ahead", [-1, 1.5, True, None, "1"])
def test_how_far_a_backend_of_ones_own_is_ahead_is_a_number(ahead: Any) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="ahead to return a whole number"):
        purdist.minimize(distilled(), sgd, teacher={"t_": Own(ahead=ahead)})
