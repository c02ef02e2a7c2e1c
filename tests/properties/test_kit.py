"""The kit finds what it is there to find: faults planted in losses and in wrappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import purdist
from purdist import (
    InvalidArgumentError,
    Label,
    LossSpec,
    NewInput,
    PairLoss,
    Program,
    Schedule,
    StudentVariable,
    TeacherVariable,
    scopes,
)
from purdist.losses import CATALOGUE
from purdist.losses.checks import check_same_shape
from purdist.program import internals_of
from purdist.store import Store
from purdist.testing import (
    LOSS_LAWS,
    PROGRAM_LAWS,
    SPEC_LAWS,
    BatchNorm,
    Branch,
    Conv,
    Linear,
    LossLaw,
    Merge,
    Network,
    NetworkPair,
    ProgramLaw,
    SpecLaw,
    arrays_for,
    batches,
    both_compute_as_alone,
    both_stay_as_they_were,
    nothing_flows_to_teacher,
    order_of_batch_is_free,
    printed_as_the_call_that_makes_it,
    schedules,
    specs,
    told_apart_by_every_field,
    trained_twice_it_is_the_same,
)
from tests.properties.pairs import pairs, small

# --- what is drawn ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.kind)
@settings(max_examples=2)
@given(st.data())
def test_every_loss_is_drawn_and_obeys_every_law(kind: type[LossSpec], data: st.DataObject) -> None:
    spec = data.draw(specs(kind))
    assert type(spec) is kind
    for value_law in SPEC_LAWS:
        value_law(spec)
    law = data.draw(st.sampled_from(LOSS_LAWS))
    if not (kind is purdist.CorrelationCongruenceLoss and law is order_of_batch_is_free):
        law(spec, **data.draw(arrays_for(spec)))


def test_options_of_every_kind_are_drawn() -> None:
    seen: dict[str, set[object]] = {}

    @settings(max_examples=200, derandomize=True)
    @given(specs(purdist.KDLoss, purdist.MiniLMLoss, purdist.DKDLoss, purdist.ReviewKDLoss))
    def look(spec: LossSpec) -> None:
        seen.setdefault("weight", set()).add(type(spec.weight))
        for name, value in attrs.asdict(spec, recurse=False).items():
            found = value if isinstance(value, bool) or value is None else type(value)
            seen.setdefault(name, set()).add(found)

    look()
    assert seen["standardize"] == seen["fusion"] == {True, False}
    assert seen["label"] == {str, NewInput}
    assert seen["mask"] == {None, str, NewInput}
    assert len(seen["weight"]) > 3


@settings(max_examples=100)
@given(schedules(), st.integers(0, 200))
def test_schedules_are_values(schedule: Schedule, step: int) -> None:
    assert eval(repr(schedule)) == schedule
    assert np.isfinite(schedule.at(step))


@settings(max_examples=10)
@given(st.data(), small)
def test_batches_are_what_a_program_takes(data: st.DataObject, network: Network) -> None:
    program = network.program()
    drawn = data.draw(batches(program, min_batches=2, max_batches=3, max_rows=5))
    assert 2 <= len(drawn) <= 3
    for feed in drawn:
        (found,) = program.run(feed, [network.outputs[-1]]).values()
        assert 1 <= len(found) == len(feed["image"]) <= 5


def test_what_cannot_be_drawn_says_what_to_do() -> None:
    @attrs.frozen
    class Odd(PairLoss):
        kind: ClassVar[str] = "odd"

        how: str

        def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
            return values["student_var"].mean()

    with pytest.raises(InvalidArgumentError) as caught:
        specs(Odd)
    assert str(caught.value) == (
        "Expected the type of Odd.how to say what it takes, got str.\n"
        "Draw it yourself: hypothesis.strategies.builds(Odd, ...)."
    )
    with pytest.raises(InvalidArgumentError, match="over variables of one shape"):
        arrays_for(purdist.HintLoss("t", NewInput("s", (-1,) * 7, "float32")))
    with pytest.raises(InvalidArgumentError, match="max_batches to be at least"):
        batches(Network((1, 1, 1), ()).program(), min_batches=3, max_batches=2)


def test_everything_that_a_network_holds_is_drawn() -> None:
    network = Network((2, 3, 3), (Conv(3), BatchNorm(), Linear(4)))
    seen: dict[str, set[bytes]] = {}
    for seed in range(5):
        program = network.program(seed=seed)
        for name, weight in scopes.values(program.scope, program.weights).items():
            seen.setdefault(name, set()).add(weight.tobytes())
            assert name != "batch_norm2d_0.w_2" or weight.min() > 0
    assert len(seen) == 8
    assert {len(values) for values in seen.values()} == {5}
    assert network.program(seed=0) is network.program(seed=0)


@pytest.mark.parametrize("law", PROGRAM_LAWS, ids=lambda law: law.__name__)
@settings(max_examples=3)
@given(pairs)
def test_every_law_of_programs_holds(law: ProgramLaw, pair: NetworkPair) -> None:
    law(*pair.programs(), pair.data_name_map)


def test_a_training_that_diverges_is_the_same_twice() -> None:
    wide = Branch("add", (Conv(2, 1), Conv(2, 3), Conv(2, 3)))
    teacher = Network((3, 2, 4), (Linear(2),))
    pair = NetworkPair(teacher, Network((3, 2, 4), (wide, wide, Linear(2))))
    trained_twice_it_is_the_same(*pair.programs(), pair.data_name_map)


# --- planted faults -----------------------------------------------------------------------


def resetting(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    name_prefix: str = "teacher_",
) -> Program:
    """Statistics begin anew."""
    merged = purdist.merge(teacher, student, data_name_map, name_prefix=name_prefix)
    own = internals_of(merged)
    made = Program(attrs.evolve(own, store=Store.at(merged.place), origins=(), tensors={}))
    for name, weight in scopes.values(merged.scope, merged.weights).items():
        anew = np.full_like(weight, name.endswith(".w_2"))
        is_statistic = merged.variables[name].role == "buffer"
        scopes.put(made.scope, name, anew if is_statistic else weight, made.place)
    return made


def swapping(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    name_prefix: str = "teacher_",
) -> Program:
    """The teacher sees something else than the map says, where the shapes allow it."""
    swapped = dict(data_name_map)
    for source, variable in data_name_map.items():
        for name, v in student.variables.items():
            same = v.shape == teacher.variables[source].shape and v.role == "activation"
            if same and name != variable and v.mode == "both":
                swapped[source] = name
    return purdist.merge(teacher, student, swapped, name_prefix=name_prefix)


def sharing(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    name_prefix: str = "teacher_",
) -> Program:
    """What is merged writes to the student that it was made of."""
    merged = purdist.merge(teacher, student, data_name_map, name_prefix=name_prefix)
    for name in student.parameters:
        scopes.write(student.scope, name, 0.5, student.place)
    return merged


@attrs.frozen
class First(PairLoss):
    """A loss that looks at the first sample alone."""

    kind: ClassVar[str] = "first_alone"

    def check(self, variables: Mapping[str, purdist.Variable]) -> None:
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return (values["student_var"][0] - values["teacher_var"][0]).square().mean()


@attrs.frozen(repr=False)
class Forgetful(LossSpec):
    """A loss whose text leaves out one of its fields."""

    kind: ClassVar[str] = "forgetful"

    teacher_var: TeacherVariable
    student_var: StudentVariable
    label: Label
    beta: float = attrs.field(default=1.0, kw_only=True)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return self.beta * (values["student_var"] - values["teacher_var"]).square().mean()

    def __repr__(self) -> str:
        return f"Forgetful({self.teacher_var!r}, {self.student_var!r}, {self.label!r})"


@attrs.frozen
class Stopped(PairLoss):
    """A loss that nothing flows through."""

    kind: ClassVar[str] = "stopped"

    def check(self, variables: Mapping[str, purdist.Variable]) -> None:
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return (values["student_var"].detach() - values["teacher_var"]).square().mean()


Held = Callable[[st.DataObject], object]


def unshared(pair: NetworkPair) -> tuple[Program, Program]:
    """Programs that nobody else has: some faults write to them."""
    described = (pair.teacher, "photo", 1), (pair.student, "image", 2)
    built = [network.static(name=name, seed=seed) for network, name, seed in described]
    teacher, student = (purdist.from_static(b.main, scope=b.scope, names=b.names) for b in built)
    return teacher, student


def of_programs(law: ProgramLaw, merge: Merge) -> Held:
    def held(data: st.DataObject) -> object:
        pair = data.draw(pairs)
        return broken(pair, lambda: law(*unshared(pair), pair.data_name_map, merge=merge))

    return held


def of_losses(law: LossLaw, kind: type[LossSpec]) -> Held:
    def held(data: st.DataObject) -> object:
        spec = data.draw(specs(kind))
        given = data.draw(arrays_for(spec))
        return broken(spec, lambda: law(spec, **given))

    return held


def of_values(law: SpecLaw, kind: type[LossSpec]) -> Held:
    def held(data: st.DataObject) -> object:
        spec = data.draw(specs(kind))
        return broken(spec, lambda: law(spec))

    return held


def broken(what: object, law: Callable[[], None]) -> object:
    """``what`` was drawn, if it breaks the law."""
    try:
        law()
    except AssertionError:
        return what
    return None


@attrs.frozen
class Uncounted(PairLoss):
    """A loss of which one field does not count."""

    kind: ClassVar[str] = "uncounted"

    power: float = attrs.field(default=1.0, kw_only=True, eq=False)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return values["student_var"].abs().mean() ** self.power


FAULTS: Mapping[str, tuple[Held, str]] = {
    "resets statistics": (of_programs(both_compute_as_alone, resetting), "BatchNorm"),
    "swaps a map": (of_programs(both_compute_as_alone, swapping), "Network"),
    "shares an array": (of_programs(both_stay_as_they_were, sharing), "Linear"),
    "one row alone": (of_losses(order_of_batch_is_free, First), "First"),
    "no gradient": (of_losses(nothing_flows_to_teacher, Stopped), "Stopped"),
    "a field that does not count": (of_values(told_apart_by_every_field, Uncounted), "Uncounted"),
    "a text that forgets": (of_values(printed_as_the_call_that_makes_it, Forgetful), "beta"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_shrunk(name: str) -> None:
    held, part = FAULTS[name]
    found: list[object] = []

    @settings(
        max_examples=40,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        breaking = held(data)
        if breaking is not None:
            found.append(breaking)
        assert breaking is None

    with pytest.raises(AssertionError):
        holds()
    last = found[-1]
    if isinstance(last, NetworkPair):
        assert len(last.teacher.layers) + len(last.student.layers) <= 4
        assert part in repr(last)
    else:
        assert isinstance(last, LossSpec)
        assert last.weight == 1.0
        assert part in str(attrs.asdict(last, recurse=False)) + type(last).__name__
