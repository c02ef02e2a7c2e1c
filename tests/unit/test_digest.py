"""`LossSpec.digest`: what a loss needs of its teacher is computed where the teacher is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import LossSpec, NewInput, PairLoss, TeacherVariable, graphs
from purdist.arrays import Feed
from tests.nets import dense, linear, numbers, program, untouched

Values = Mapping[str, paddle.Tensor]
ops: Any = paddle  # more of it than purdist has types for
ROWS = 6


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


@attrs.frozen
class AnswerLoss(PairLoss):
    """Cross entropy to the class that the teacher finds most likely."""

    kind: ClassVar[str] = "answer"

    def digest(self, teacher: Values) -> Values:
        return {"classes": teacher["teacher_var"].argmax(-1)}

    def build(self, values: Values) -> paddle.Tensor:
        assert set(values) == {"classes", "student_var"}
        loss: paddle.Tensor = ops.nn.functional.cross_entropy(
            values["student_var"], values["classes"]
        )
        return loss


@functools.cache
def merged() -> purdist.Program:
    return purdist.merge(program(linear("y"), seed=1), program(linear()), {"y": "x"})


@functools.cache
def distilled(*specs: LossSpec) -> purdist.Distillation:
    return purdist.apply(merged(), specs)


def batches(count: int = 4) -> list[Feed]:
    return [{"x": numbers(k, ROWS, 6)} for k in range(count)]


def losses(training: purdist.Training, feeds: list[Feed]) -> list[float]:
    return [step.loss for step in purdist.train(training, feeds)]


def in_all_ways(distillation: purdist.Distillation, folder: Path) -> purdist.TeacherCache:
    """Trains with the teacher in the graph, in an engine and from a cache, alike."""
    expected = losses(purdist.minimize(distillation, sgd), batches())
    engine = purdist.minimize(distillation, sgd, teacher="inference")
    assert losses(engine, batches()) == pytest.approx(expected, rel=1e-5)
    cache = purdist.cache_teacher(distillation, batches(), folder / "cache")
    cached = purdist.minimize(distillation, sgd, teacher=cache)
    sampled: list[Feed] = [
        {**feed, "teacher_sample": np.arange(ROWS * k, ROWS * (k + 1))}
        for k, feed in enumerate(batches())
    ]
    assert losses(cached, sampled) == pytest.approx(expected, rel=1e-5)
    return cache


def test_what_is_computed_of_a_teacher_trains_alike_in_all_ways(tmp_path: Path) -> None:
    program = merged()
    with untouched(program):
        distillation = purdist.apply(program, [AnswerLoss("teacher_logits", "logits")])
    assert distillation.digests == {"teacher_": ("teacher_logits/classes",)}
    variable = distillation.program.variables["teacher_logits/classes"]
    assert (variable.owner, variable.network, variable.dtype) == ("loss", "teacher_", "int64")
    alone = purdist.student_of(distillation.program, name_prefix="teacher_")
    assert "logits" in alone.variables
    assert "logits/classes" not in alone.variables
    cache = in_all_ways(distillation, tmp_path)
    feed = batches(1)[0]
    logits = distillation.program.run(feed, ["teacher_logits"])["teacher_logits"]
    assert set(cache[:ROWS]) == {"teacher_logits/classes"}
    np.testing.assert_array_equal(cache[:ROWS]["teacher_logits/classes"], logits.argmax(-1))
    training = purdist.minimize(distillation, sgd)
    (step,) = purdist.train(training, [feed], fetch=["logits"])
    got = step.fetched["logits"].astype("float64")
    log = got - np.log(np.exp(got).sum(-1, keepdims=True))
    assert step.loss == pytest.approx(-log[np.arange(ROWS), logits.argmax(-1)].mean(), rel=1e-5)


def test_a_teacher_beside_variables_of_its_own_hands_on_both(tmp_path: Path) -> None:
    distillation = distilled(
        AnswerLoss("teacher_logits", "logits"), purdist.KDLoss("teacher_logits", "logits")
    )
    assert distillation.digests == {"teacher_": ("teacher_logits", "teacher_logits/classes")}
    in_all_ways(distillation, tmp_path)


def test_losses_that_need_the_same_share_it() -> None:
    distillation = distilled(
        AnswerLoss("teacher_logits", "logits"),
        AnswerLoss("teacher_logits", "logits", name="again", weight=0.5),
    )
    assert distillation.digests == {"teacher_": ("teacher_logits/classes",)}
    computed = [op.name() for op in graphs.operations(distillation.program.graph)]
    assert computed.count("pd_op.argmax") == 1


@attrs.frozen
class RankLoss(PairLoss):
    """What depends on something else of the teacher's, under the same key."""

    kind: ClassVar[str] = "rank"

    def digest(self, teacher: Values) -> Values:
        return {"classes": (-teacher["teacher_var"]).argmax(-1), "all": teacher["teacher_var"]}

    def build(self, values: Values) -> paddle.Tensor:
        weight = values["classes"].astype("float32").unsqueeze(-1)
        return (weight * (values["student_var"] - values["all"]).square()).mean()


def test_what_differs_under_one_name_is_numbered(tmp_path: Path) -> None:
    distillation = distilled(
        AnswerLoss("teacher_logits", "logits"), RankLoss("teacher_logits", "logits")
    )
    assert distillation.digests == {
        "teacher_": ("teacher_logits", "teacher_logits/classes", "teacher_logits/classes_1")
    }
    in_all_ways(distillation, tmp_path)


@attrs.frozen
class StepsLoss(PairLoss):
    """One digest is computed from another, and both lead over other ops of the teacher's."""

    kind: ClassVar[str] = "steps"

    def digest(self, teacher: Values) -> Values:
        soft = ops.nn.functional.softmax(teacher["teacher_var"] / 2.0)
        return {"soft": soft, "sure": soft.max(-1)}

    def build(self, values: Values) -> paddle.Tensor:
        student = ops.nn.functional.softmax(values["student_var"] / 2.0)
        rows = (values["soft"] - student).square().sum(-1)
        loss: paddle.Tensor = (values["sure"] * rows).mean()
        return loss


@pytest.mark.parametrize("twice", [False, True])
def test_a_digest_of_several_things_is_shared_whole(twice: bool, tmp_path: Path) -> None:  # noqa: FBT001
    specs = [StepsLoss("teacher_logits", "logits"), AnswerLoss("teacher_logits", "logits")]
    distillation = distilled(*specs, *([specs[0]] if twice else []))
    assert set(distillation.digests["teacher_"]) == {
        "teacher_logits/soft",
        "teacher_logits/sure",
        "teacher_logits/classes",
    }
    names = distillation.program.variables
    assert {v.network for n, v in names.items() if n.startswith("teacher_logits/")} == {"teacher_"}
    cache = in_all_ways(distillation, tmp_path)
    assert set(cache[:1]) == set(distillation.digests["teacher_"])


def test_low_floats_are_digested_in_more(tmp_path: Path) -> None:
    """What is cast for the digest is the teacher's too: no teacher is left in the step."""

    @attrs.frozen
    class Low(StepsLoss):
        kind: ClassVar[str] = "low"

        def check(self, variables: Mapping[str, purdist.Variable]) -> None:
            """Takes a pair of any floats."""

    def low() -> dict[str, paddle.Tensor]:
        logits: paddle.Tensor = linear("y")()["logits"]
        return {"low": logits.astype("bfloat16")}

    merged = purdist.merge(program(low, seed=1), program(linear()), {"y": "x"})
    distillation = purdist.apply(merged, [Low("teacher_low", "logits")])
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "cache")
    training = purdist.minimize(distillation, sgd, teacher=cache)
    assert {v.role for v in training.program.variables.values() if v.network == "teacher_"} == {
        "input"
    }
    expected = losses(purdist.minimize(distillation, sgd), batches())
    sampled: list[Feed] = [
        {**feed, "teacher_sample": np.arange(ROWS * k, ROWS * (k + 1))}
        for k, feed in enumerate(batches())
    ]
    assert losses(training, sampled) == pytest.approx(expected, rel=1e-5)


def test_what_is_taught_by_no_teacher_is_digested_too() -> None:
    """`build` sees one form, and no gradient goes to what teaches."""

    def heads() -> dict[str, paddle.Tensor]:
        image = paddle.static.data("x", [None, 6])
        return {"deep": dense(image, 6, 4), "shallow": dense(image, 6, 4)}

    distillation = purdist.apply(program(heads), [StepsLoss("deep", "shallow")])
    assert distillation.digests == {}
    training = purdist.minimize(distillation, sgd)
    before = training.program.run({}, training.program.weights)
    losses(training, batches())
    after = training.program.run({}, training.program.weights)
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {
        "dense_1.w",
        "dense_1.b",
    }


def test_what_is_fed_is_digested_too() -> None:
    fed = NewInput("soft", (-1, 4), "float32")
    distillation = purdist.apply(program(linear()), [AnswerLoss(fed, "logits")])
    assert distillation.digests == {}
    feed = {"x": numbers(0, ROWS, 6), "soft": numbers(1, ROWS, 4)}
    label = NewInput("label")
    expected = purdist.apply(program(linear()), [purdist.CrossEntropyLoss("logits", label)])
    labelled = {"x": feed["x"], "label": feed["soft"].argmax(-1)}
    assert distillation.program.run(feed, ["loss"])["loss"] == pytest.approx(
        expected.program.run(labelled, ["loss"])["loss"], rel=1e-6
    )


# --- several teachers ---------------------------------------------------------------------


@attrs.frozen
class MeanLoss(LossSpec):
    """Two teachers, whose answers are put together in `build`."""

    kind: ClassVar[str] = "mean_of_two"

    one: TeacherVariable
    other: TeacherVariable
    student_var: purdist.StudentVariable

    def build(self, values: Values) -> paddle.Tensor:
        mean = (values["one"] + values["other"]) / 2
        return (mean - values["student_var"]).square().mean()


@attrs.frozen
class EachLoss(MeanLoss):
    """As `MeanLoss`, of a digest of each."""

    kind: ClassVar[str] = "each_of_two"

    def digest(self, teacher: Values) -> Values:
        return {key: value * 2.0 for key, value in teacher.items()}


@attrs.frozen
class MixedLoss(MeanLoss):
    """Of a digest of both."""

    kind: ClassVar[str] = "mixed_of_two"

    def digest(self, teacher: Values) -> Values:
        return {"mean": (teacher["one"] + teacher["other"]) / 2}

    def build(self, values: Values) -> paddle.Tensor:
        return (values["mean"] - values["student_var"]).square().mean()


def two_teachers() -> purdist.Program:
    first, second = (program(linear("y"), seed=seed) for seed in (1, 2))
    one = purdist.merge(first, program(linear()), {"y": "x"}, name_prefix="t_")
    return purdist.merge(second, one, {"y": "x"}, name_prefix="u_")


@pytest.mark.parametrize(
    ("kind", "digests"),
    [
        (MeanLoss, {"t_": ("t_logits",), "u_": ("u_logits",)}),
        (EachLoss, {"t_": ("t_logits/one",), "u_": ("u_logits/other",)}),
    ],
)
def test_each_of_two_teachers_is_cut_on_its_own(
    kind: type[MeanLoss], digests: object, tmp_path: Path
) -> None:
    distillation = purdist.apply(two_teachers(), [kind("t_logits", "u_logits", "logits")])
    assert distillation.digests == digests
    expected = losses(purdist.minimize(distillation, sgd), batches())
    cache = purdist.cache_teacher(distillation, batches(), tmp_path / "c", name_prefix="u_")
    training = purdist.minimize(distillation, sgd, teacher={"t_": "inference", "u_": cache})
    sampled: list[Feed] = [
        {**feed, "u_sample": np.arange(ROWS * k, ROWS * (k + 1))}
        for k, feed in enumerate(batches())
    ]
    assert losses(training, sampled) == pytest.approx(expected, rel=1e-5)


# --- what a digest may not be -------------------------------------------------------------


def digesting(digest: Callable[[Values], object]) -> LossSpec:
    """A loss of that digest."""

    @attrs.frozen
    class Digesting(PairLoss):
        kind: ClassVar[str] = "digesting"

        def digest(self, teacher: Values) -> Values:
            made: Any = digest(teacher)
            return cast("Values", made)

        def build(self, values: Values) -> paddle.Tensor:
            return values["student_var"].mean()

    return Digesting("teacher_logits", "logits")


def mixed() -> object:
    return purdist.apply(two_teachers(), [MixedLoss("t_logits", "u_logits", "logits")])


REFUSED: dict[str, tuple[Callable[[Values], object], str]] = {
    "no mapping": (
        lambda teacher: 3,
        "Expected digest to return a mapping from keys to values, got 3.\n"
        "Return what ops on its argument compute: {'classes': x.argmax(-1)}.",
    ),
    "no value": (
        lambda teacher: {"a": 3},
        "Expected digest to return a mapping from keys to values, got {'a': 3}.\n"
        "Return what ops on its argument compute: {'classes': x.argmax(-1)}.",
    ),
    "a key that is taken": (
        lambda teacher: {"student_var": teacher["teacher_var"]},
        "Expected digest to return keys of its own, got 'student_var', which build gets already.\n"
        "Choose another key.",
    ),
    "a weight": (
        lambda teacher: {"a": paddle.nn.Linear(4, 4)(teacher["teacher_var"])},
        "Expected the digest 'a' to have no weights, got one with digesting_0/linear_0.b_0, "
        "digesting_0/linear_0.w_0.\n"
        "Make layers in build: what a digest computes is kept, and nothing of it learns.",
    ),
    "chance": (
        lambda teacher: {"a": ops.nn.functional.dropout(teacher["teacher_var"], 0.5)},
        "Expected the digest 'a' to draw no random numbers, got one with dropout.\n"
        "Draw in build: a digest is computed once, and may be kept.",
    ),
    "no rows": (
        lambda teacher: {"a": teacher["teacher_var"].mean(0)},
        "Expected the digest 'a' to have the batch on axis 0, got one of shape [4].\n"
        "Leave axis 0 as it is: a cache keeps a row for each sample.",
    ),
    "a scalar": (
        lambda teacher: {"a": teacher["teacher_var"].mean()},
        "Expected the digest 'a' to have the batch on axis 0, got one of shape [].\n"
        "Leave axis 0 as it is: a cache keeps a row for each sample.",
    ),
    "a constant": (
        lambda teacher: {"a": paddle.ones([3])},
        "Expected the digest 'a' to be computed from one teacher, got one from nothing.\n"
        "Return one for each, and put them together in build.",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_digest_may_not_be_is_refused(what: str) -> None:
    digest, text = REFUSED[what]
    program, spec = merged(), digesting(digest)
    with untouched(program), pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.apply(program, [spec])
    assert str(caught.value) == f"digesting_0: {text}"


def test_a_digest_of_two_teachers_is_refused() -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        mixed()
    assert str(caught.value) == (
        "mixed_of_two_0: Expected the digest 'mean' to be computed from one teacher, got one from "
        "'t_' and 'u_'.\nReturn one for each, and put them together in build."
    )


def test_what_the_code_of_a_digest_raises_is_handed_on() -> None:
    with pytest.raises(purdist.BuildError, match="no such thing") as caught:
        distilled(digesting(lambda teacher: teacher["no such thing"]))
    assert isinstance(caught.value.__cause__, KeyError)
