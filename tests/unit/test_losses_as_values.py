"""A loss is a value: over which variables it is, how it prints, which weights it may have."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    CustomLoss,
    InvalidArgumentError,
    KDLoss,
    L2Loss,
    Label,
    LossSpec,
    NewInput,
    ReviewKDLoss,
    StudentVariable,
    TeacherVariable,
)
from tests import nets
from tests.losses import each_case
from tests.losses.row import Case
from tests.unit.test_fields import HINTS, MaskedHintLoss

Values = Mapping[str, paddle.Tensor]


# --- other variables ----------------------------------------------------------------------


def moved(variable: str | NewInput) -> str | NewInput:
    if isinstance(variable, NewInput):
        return attrs.evolve(variable, name=f"other_{variable.name}")
    return f"other_{variable}"


@each_case
def test_every_loss_is_the_same_over_other_variables(case: Case) -> None:
    spec = case.spec
    changed = spec.map_variables(lambda name: f"other_{name}")
    assert type(changed) is type(spec)
    assert changed.variables == {key: moved(name) for key, name in spec.variables.items()}
    assert changed.map_variables(lambda name: name.removeprefix("other_")) == spec
    names = [v if isinstance(v, str) else v.name for v in spec.variables.values()]
    assert spec.renamed({name: f"other_{name}" for name in names}) == changed
    assert spec.renamed({"nobody's": "x"}) == spec


def test_a_variable_may_become_a_new_input_and_a_new_input_gets_another_name() -> None:
    spec = MaskedHintLoss(HINTS, "y", counted="m", extra=("n", NewInput("z")), margin=2.0)
    fed = NewInput("fed", (-1, 4), "float32")
    assert 0.5 * spec.renamed({"a": fed, "d": "e", "b": "a", "z": "y"}) == MaskedHintLoss(
        ((fed, "a"), ("c", NewInput("e", (-1, 3), "float32"))),
        "y",
        counted="m",
        extra=("n", NewInput("y")),
        margin=2.0,
        weight=0.5,
    )


def test_what_is_no_name_is_refused() -> None:
    wrong: Any = {"a": None, "s": 3}
    for spec in (
        L2Loss("t", "a"),
        CustomLoss(abs, {"x": "a"}),
        MaskedHintLoss((), "y", counted="a"),
    ):
        with pytest.raises(InvalidArgumentError, match="Expected function to give a name or a New"):
            spec.map_variables(wrong.get)
    with pytest.raises(InvalidArgumentError, match=r"got KeyError\('s'\)") as caught:
        L2Loss("t", "s").map_variables({"t": "u"}.__getitem__)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(InvalidArgumentError, match=r"Expected names\['s'\] to be a text or a New"):
        L2Loss("t", "s").renamed({"s": wrong["s"]})


@attrs.frozen
class HiddenLoss(LossSpec):
    """Reads what no field declares."""

    kind: ClassVar[str] = "hidden"

    layer: str

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        return {"one": f"{self.layer}.one", "other": f"{self.layer}.other"}

    def build(self, values: Values) -> paddle.Tensor:
        return values["one"].mean()


def test_what_no_field_declares_is_never_left_behind_in_silence() -> None:
    spec = HiddenLoss("layer1")
    assert spec.renamed({"x": "y"}) == spec
    with pytest.raises(InvalidArgumentError) as caught:
        spec.map_variables(str.upper)
    assert caught.value.remedy == "It overrides variables: have it override map_variables, too."


# --- the call that makes it ---------------------------------------------------------------


class Way(Enum):
    UP = "up"


@attrs.frozen
class MandatoryLoss(LossSpec):
    """Has what must be said by its name, and what no call says."""

    kind: ClassVar[str] = "mandatory"

    teacher_var: TeacherVariable = attrs.field(kw_only=True)
    student_var: StudentVariable
    way: Way = attrs.field(kw_only=True)
    by: Callable[..., Any]
    label: Label = attrs.field(kw_only=True)
    sizes: tuple[int, ...] = (1,)
    _hidden: float = 0.0
    made: int = attrs.field(init=False, default=3)

    def build(self, values: Values) -> paddle.Tensor:
        return values["student_var"].mean()


def of_a_module(t: paddle.Tensor, s: paddle.Tensor, width: int = 1) -> paddle.Tensor:
    return (t - s).abs().mean()


KNOWN = {**vars(purdist), **globals()}
PRINTED = [
    MandatoryLoss("s", abs, teacher_var="t", way=Way.UP, label=NewInput("y")),
    MandatoryLoss("s", of_a_module, (np.int64(2), 3), 0.5, teacher_var="t", way=Way.UP, label="y"),  # type: ignore[arg-type]
    CustomLoss(of_a_module, {"t": "t", "s": NewInput("x", (-1, 3), "float32")}, name="mine"),
    CustomLoss(functools.partial(of_a_module, width=3), {"t": "t", "s": "s"}) * 0.5,
    CustomLoss(paddle.nn.functional.relu, {"x": "s"}),
    CustomLoss(nets.numbers, {"x": "s"}, weight=purdist.Schedule.warmup(3)),  # type: ignore[arg-type]
    ReviewKDLoss([("a", "b")], fusion=False),
]


@pytest.mark.parametrize("spec", PRINTED, ids=lambda spec: type(spec).__name__)
def test_a_loss_prints_as_the_call_that_makes_it(spec: LossSpec) -> None:
    known = {**KNOWN, "relu": paddle.nn.functional.relu, "numbers": nets.numbers}
    again = eval(repr(spec), known)
    assert repr(again) == repr(spec)
    if not isinstance(getattr(spec, "function", None), functools.partial):  # equal by identity
        assert again == spec


@each_case
def test_every_loss_prints_so(case: Case) -> None:
    again = eval(repr(case.spec).replace("<lambda>", "_"), {**KNOWN, "_": None} | _here(case.spec))
    assert again == case.spec


def _here(spec: LossSpec) -> dict[str, object]:
    function = getattr(spec, "function", None)
    return {
        "_": function,
        getattr(function, "__name__", "_"): function,
        type(spec).__name__: type(spec),
    }


def test_what_is_printed() -> None:
    def inside(t: paddle.Tensor, s: paddle.Tensor) -> paddle.Tensor:
        return (t - s).mean()

    spec = CustomLoss(inside, {"t": "a", "s": "b"})
    assert repr(spec) == "CustomLoss(inside, {'s': 'b', 't': 'a'})"
    assert repr(PRINTED[0]) == (
        "MandatoryLoss('s', abs, teacher_var='t', way=Way.UP, "
        "label=NewInput(name='y', shape=(-1,), dtype='int64'))"
    )


def test_numbers_of_numpy_are_pythons() -> None:
    spec = PRINTED[1]
    assert isinstance(spec, MandatoryLoss)
    assert type(spec.sizes[0]) is int
    halves: tuple[Any, ...] = (np.float32(0.5), np.float64(0.5), np.array(0.5)[()])
    for half in halves:
        plain: Any = KDLoss("t", "s")
        for loss in (half * plain, plain * half):
            assert repr(loss) == "KDLoss('t', 's', weight=0.5)"
            assert type(loss.weight) is float


# --- types ----------------------------------------------------------------------------------


MADE = [
    thing
    for thing in map(vars(purdist).__getitem__, vars(purdist)["__all__"])
    if isinstance(thing, type) and attrs.has(thing)
]


@pytest.mark.parametrize("thing", MADE, ids=lambda thing: thing.__name__)
def test_typing_knows_what_a_constructor_takes(thing: Any) -> None:
    hints = typing.get_type_hints(vars(thing)["__init__"])
    assert hints.keys() == {f.alias for f in attrs.fields(thing) if f.init} | {"return"}


# --- weights --------------------------------------------------------------------------------


def merged() -> purdist.Program:
    teacher = nets.program(nets.linear("y", (6, 7, 4)), seed=1)
    return purdist.merge(teacher, nets.program(nets.linear(), seed=2), {"y": "x"})


def steps(*specs: LossSpec, count: int = 3) -> tuple[list[purdist.Step], dict[str, nets.Array]]:
    training = purdist.minimize(
        purdist.apply(merged(), specs), lambda: paddle.optimizer.Adam(0.1), seed=0
    )
    batches = [{"x": nets.numbers(k, 5, 6)} for k in range(count)]
    taken = list(purdist.train(training, batches))
    return taken, nets.weights(purdist.student_of(training))


def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    return (paddle.nn.Linear(4, 4)(student) - teacher).square().mean()


def endless(student: paddle.Tensor) -> paddle.Tensor:
    return (student - student).log().mean()


@pytest.mark.parametrize(
    "watched",
    [
        0 * L2Loss("teacher_logits", "logits"),
        purdist.Schedule.constant(0) * L2Loss("teacher_logits", "logits"),
        CustomLoss(adapted, {"teacher": "teacher_logits", "student": "logits"}, weight=0),
        0.0 * CustomLoss(endless, {"student": "logits"}),  # times 0, infinity is no number
    ],
    ids=["number", "schedule", "with layers", "infinite"],
)
def test_a_term_of_weight_nothing_is_watched_and_not_learnt_from(watched: LossSpec) -> None:
    taught = KDLoss("teacher_logits", "logits")
    alone, expected = steps(taught)
    beside, found = steps(taught, watched)
    assert [step.loss for step in beside] == [step.loss for step in alone]
    assert all(len(step.terms) == 2 for step in beside)
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes()


def test_what_is_watched_alone_teaches_nothing() -> None:
    distillation = purdist.apply(merged(), [0 * L2Loss("teacher_logits", "logits")])
    assert distillation.terms == ("l2_0",)
    values = distillation.program.run({"x": nets.numbers(0, 5, 6)}, ["l2_0", "loss"])
    assert values["l2_0"] > 0
    assert values["loss"] == 0
    with pytest.raises(InvalidArgumentError, match="Expected 'loss' to depend on a trainable"):
        purdist.minimize(distillation, lambda: paddle.optimizer.Adam(0.1))
