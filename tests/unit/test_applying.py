from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    FspLoss,
    L2Loss,
    NewInput,
    PurdistWarning,
    SoftLabelLoss,
)
from purdist.losses import CATALOGUE
from tests import nets
from tests.nets import Array

TAUGHT = {"teacher": "teacher_logits", "student": "logits"}


@pytest.fixture
def merged() -> purdist.Program:
    teacher = nets.program(nets.linear("y", (6, 7, 4)), seed=1)
    return purdist.merge(teacher, nets.program(nets.linear(), seed=2), {"y": "x"})


@pytest.fixture
def featured() -> purdist.Program:
    teacher = nets.program(nets.images("y"), seed=1)
    return purdist.merge(teacher, nets.program(nets.images(), seed=2), {"y": "x"})


def feed(seed: int = 0) -> dict[str, Array]:
    return {"x": nets.numbers(seed, 5, 6)}


def value(program: purdist.Program, *specs: purdist.LossSpec) -> dict[str, float]:
    """The loss and its terms, in inference mode."""
    distillation = purdist.apply(program, specs)
    names = (distillation.loss, *distillation.terms)
    return {k: float(v) for k, v in distillation.program.run(feed(), names).items()}


def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    return (paddle.nn.Linear(4, 4)(student) - teacher).square().mean()


def test_terms_are_named_by_kind_and_number_or_as_asked(merged: purdist.Program) -> None:
    specs = [
        L2Loss("teacher_logits", "logits"),
        SoftLabelLoss("teacher_logits", "logits", name="answers"),
        L2Loss("teacher_logits", "logits"),
        CustomLoss(adapted, TAUGHT),
    ]
    distillation = purdist.apply(merged, specs)
    assert distillation.loss == "loss"
    assert distillation.terms == ("l2_0", "answers", "l2_1", "custom_0")
    for name in ("loss", *distillation.terms):
        variable = distillation.program.variables[name]
        assert (variable.shape, variable.dtype, variable.owner) == ((), "float32", "loss")


def test_a_number_gives_way_to_a_name(merged: purdist.Program) -> None:
    plain = L2Loss("teacher_logits", "logits")
    specs = [plain, attrs.evolve(plain, name="l2_0"), plain]
    assert purdist.apply(merged, specs).terms == ("l2_1", "l2_0", "l2_2")


def test_the_loss_is_the_weighted_sum_of_unweighted_terms(merged: purdist.Program) -> None:
    l2, soft = L2Loss("teacher_logits", "logits"), SoftLabelLoss("teacher_logits", "logits")
    got = value(merged, 0.25 * l2, soft * -2)
    out = merged.run(feed(), ["logits", "teacher_logits"])
    student, teacher = (out[name].astype("float64") for name in ("logits", "teacher_logits"))
    squares = ((student - teacher) ** 2).mean()
    assert got["l2_0"] == pytest.approx(squares, rel=1e-6)
    assert got["soft_label_0"] == pytest.approx(
        -(_softmax(teacher) * np.log(_softmax(student))).sum(-1).mean(), rel=1e-6
    )
    assert got["loss"] == pytest.approx(0.25 * got["l2_0"] - 2 * got["soft_label_0"], rel=1e-6)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def test_what_losses_make_is_under_their_names(merged: purdist.Program) -> None:
    twice = [CustomLoss(adapted, TAUGHT), CustomLoss(adapted, TAUGHT, name="again")]
    distillation = purdist.apply(merged, twice)
    made = {name: v for name, v in distillation.program.variables.items() if v.owner == "loss"}
    parameters = {name for name, v in made.items() if v.role == "parameter"}
    assert parameters == {
        f"{term}/linear_0.{kind}_0" for term in ("custom_0", "again") for kind in "wb"
    }
    assert all(made[name].trainable for name in parameters)
    assert {name.partition("/")[0] for name in made} == {"custom_0", "again", "loss"}
    assert set(merged.variables).isdisjoint(made)


def test_one_may_apply_to_what_was_applied_already(merged: purdist.Program) -> None:
    specs = [L2Loss("teacher_logits", "logits"), CustomLoss(adapted, TAUGHT)]
    first = purdist.apply(merged, specs)
    with pytest.warns(PurdistWarning) as warned:
        second = purdist.apply(first.program, [*specs, L2Loss("l2_0", "custom_0")])
    assert [str(warning.message) for warning in warned] == [
        "The program holds 'loss', the loss of a distillation, whose terms are no part of the new "
        "one, 'loss_1'. To add terms to it, give apply the distillation; to begin anew, its source."
    ]
    assert (second.loss, second.terms) == ("loss_1", ("l2_1", "custom_1", "l2_2"))
    got = second.program.run(feed(), ["l2_0", "l2_1", "l2_2", "custom_0"])
    assert got["l2_0"].tobytes() == got["l2_1"].tobytes()
    assert got["l2_2"] == pytest.approx((got["l2_0"] - got["custom_0"]) ** 2)
    assert "loss" not in second.program.variables, "nothing needs the first sum any more"
    training = purdist.minimize(second, lambda: paddle.optimizer.SGD(0.1))
    losses = [step.loss for step in purdist.train(training, [feed()] * 3)]
    assert losses == sorted(set(losses), reverse=True)


def test_a_new_input_is_fed_and_shared_by_the_losses_that_ask_for_it(
    merged: purdist.Program,
) -> None:
    label = NewInput("label")
    specs = [CrossEntropyLoss("logits", label), CrossEntropyLoss("logits", label)]
    distillation = purdist.apply(merged, specs)
    variable = distillation.program.variables["label"]
    assert (variable.role, variable.shape, variable.dtype) == ("input", (-1,), "int64")
    assert set(distillation.program.inputs) == {"x", "label"}
    labels = np.array([0, 3, 1, 2, 0])
    got = distillation.program.run({**feed(), "label": labels}, ["cross_entropy_0", "logits"])
    chosen = np.log(_softmax(got["logits"].astype("float64")))[np.arange(5), labels]
    assert float(got["cross_entropy_0"]) == pytest.approx(-chosen.mean(), rel=1e-6)
    again = purdist.apply(distillation, [CrossEntropyLoss("logits", label)])
    assert set(again.program.inputs) == {"x", "label"}


@pytest.mark.parametrize("prune", [True, False])
def test_terms_are_added_to_a_distillation_as_if_all_had_been_there(
    featured: purdist.Program, *, prune: bool
) -> None:
    first = [L2Loss("teacher_logits", "logits"), CustomLoss(adapted, TAUGHT, name="adapted")]
    more = [  # of which one needs what was pruned, and one a feed
        L2Loss("teacher_convolved", "convolved"),
        0.5 * CrossEntropyLoss("logits", NewInput("label")),
    ]
    distillation = purdist.apply(featured, first)
    added, whole = (
        purdist.apply(distillation, more, prune=prune),
        purdist.apply(featured, [*first, *more], prune=prune),
    )
    assert added.terms == whole.terms == ("l2_0", "adapted", "l2_1", "cross_entropy_0")
    assert (added.loss, added.specs, added.source) == ("loss", (*first, *more), featured)
    assert added.program.variables == whole.program.variables
    assert added.digests == whole.digests
    images = {"x": nets.numbers(0, 5, 1, 4, 4), "label": np.zeros(5, "int64")}
    names = [name for name in added.terms if name != "adapted"]  # whose layer is drawn anew
    got, expected = (d.program.run(images, names) for d in (added, whole))
    for name in names:
        assert got[name].tobytes() == expected[name].tobytes()
    assert purdist.apply(distillation, []).terms == distillation.terms
    assert added.source.scope is featured.scope, "shared, at no cost"


def test_a_network_of_its_own_is_no_distillations_program(merged: purdist.Program) -> None:
    specs = [L2Loss("teacher_logits", "logits")]
    distillation = purdist.apply(merged, specs)
    purdist.apply(distillation.source, specs)  # and warns not
    bare = purdist.student_of(distillation.program)
    purdist.apply(bare, [CrossEntropyLoss("logits", NewInput("label"))])

    def forward() -> dict[str, paddle.Tensor]:
        return {**nets.linear()(), "loss": paddle.zeros([1])}

    network = nets.program(forward)
    assert purdist.apply(network, [CrossEntropyLoss("logits", NewInput("y"))]).loss == "loss_1"


def test_prune_keeps_what_the_loss_and_the_student_need(featured: purdist.Program) -> None:
    spec = L2Loss("teacher_convolved", "convolved")
    pruned = purdist.apply(featured, [spec]).program
    whole = purdist.apply(featured, [spec], prune=False).program
    for name in featured.variables:
        assert name in whole.variables
        assert (name in pruned.variables) == (
            not name.startswith("teacher_") or name in _feeding_convolved(featured)
        )
    assert len(pruned.graph.global_block().ops) < len(whole.graph.global_block().ops)
    image = {"x": nets.numbers(0, 5, 1, 4, 4)}
    fetch = ["loss", "logits", "teacher_convolved"]
    assert nets.moved(pruned.run(image, fetch), whole.run(image, fetch)) == set()
    held = set(nets.read(pruned.scope))
    assert {name for name in held if name.startswith("teacher_")} == {
        "teacher_conv2d_0.w_0",
        "teacher_conv2d_0.b_0",
    }


def _feeding_convolved(featured: purdist.Program) -> set[str]:
    """The teacher's names up to its convolution."""
    names = [name for name in featured.variables if name.startswith("teacher_")]
    computed = [n for n in names if featured.variables[n].role == "activation"]
    upto = computed[: computed.index("teacher_convolved") + 1]
    return {*upto, "teacher_conv2d_0.w_0", "teacher_conv2d_0.b_0"}


def test_prune_drops_feeds_that_nothing_reads() -> None:
    teacher = nets.program(nets.linear("y"))
    merged = purdist.merge(teacher, nets.program(nets.linear()), {}, keep_inputs=["y"])
    spec = CustomLoss(lambda logits: logits.mean(), {"logits": "logits"})
    assert purdist.apply(merged, [spec]).program.inputs == ("x",)
    assert set(purdist.apply(merged, [spec], prune=False).program.inputs) == {"x", "teacher_y"}


def test_fsp_is_defined_where_sizes_are_known_when_the_graph_runs() -> None:
    def forward(feed: str) -> nets.Forward:
        def build() -> dict[str, paddle.Tensor]:
            image = paddle.static.data(feed, [None, 1, None, None])
            early = paddle.nn.Conv2D(1, 3, 3, padding=1)(image)
            return {"early": early, "late": paddle.nn.Conv2D(3, 2, 3, padding=1)(early)}

        return build

    teacher, student = nets.program(forward("y"), seed=1), nets.program(forward("x"), seed=2)
    merged = purdist.merge(teacher, student, {"y": "x"})
    spec = FspLoss("teacher_early", "teacher_late", "early", "late")
    program = purdist.apply(merged, [spec]).program
    for height, width in ((4, 4), (3, 5)):
        names = ("early", "late", "teacher_early", "teacher_late")
        got = program.run({"x": nets.numbers(0, 2, 1, height, width)}, ["loss", *names])
        maps = [got[name].astype("float64") for name in names]
        ours, theirs = (
            np.einsum("nihw,njhw->nij", first, second) / (height * width)
            for first, second in (maps[:2], maps[2:])
        )
        assert float(got["loss"]) == pytest.approx(((ours - theirs) ** 2).mean(), rel=1e-5)


def test_a_loss_of_ones_own_is_a_spec_like_the_others(merged: purdist.Program) -> None:
    @attrs.frozen
    class AbsoluteLoss(purdist.LossSpec):
        kind: ClassVar[str] = "absolute"

        teacher_var: purdist.TeacherVariable
        student_var: purdist.StudentVariable

        def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
            return (values["teacher_var"] - values["student_var"]).abs().mean()

    got = value(merged, 0.5 * AbsoluteLoss("teacher_logits", "logits"))
    out = merged.run(feed(), ["logits", "teacher_logits"])
    expected = np.abs(out["logits"] - out["teacher_logits"]).mean()
    assert got["absolute_0"] == pytest.approx(expected, rel=1e-6)
    assert got["loss"] == pytest.approx(0.5 * expected, rel=1e-6)


def test_specs_are_values() -> None:
    spec = SoftLabelLoss("t", "s", 2.0, weight=3)
    assert spec == SoftLabelLoss("t", "s", teacher_temperature=2.0, weight=3)
    assert hash(spec) == hash(SoftLabelLoss("t", "s", 2.0, weight=3))
    assert len({spec, spec * 1, 2 * spec, L2Loss("t", "s")}) == 3
    assert spec.weight == 3
    assert (2 * spec).weight == (spec * 2).weight == 6
    assert isinstance(2 * spec, SoftLabelLoss)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.weight = 1.0  # type: ignore[misc]
    same = CustomLoss(adapted, {"student": "logits", "teacher": "teacher_logits"})
    assert same == CustomLoss(adapted, TAUGHT)
    assert hash(same) == hash(CustomLoss(adapted, TAUGHT))
    assert same != CustomLoss(paddle.add, TAUGHT)


def test_a_custom_loss_may_call_a_layer_without_parameters(merged: purdist.Program) -> None:
    relu = paddle.nn.ReLU()
    spec = CustomLoss(lambda student: relu(student).mean(), {"student": "logits"})
    out = merged.run(feed(), ["logits"])["logits"]
    assert value(merged, spec)["loss"] == pytest.approx(np.maximum(out, 0).mean(), rel=1e-6)


@pytest.mark.parametrize(("batch", "rows"), [(5, [5, 5]), (None, [None, None, 4, 6])])
def test_the_function_of_a_custom_loss_is_called_twice_and_at_known_sizes(
    batch: int | None, rows: list[int | None]
) -> None:
    calls: list[int | None] = []

    def counted(logits: Any) -> Any:
        calls.append(logits.shape[0] if isinstance(logits.shape[0], int) else None)
        return logits.mean()

    network = nets.program(nets.linear(batch=batch))
    purdist.apply(network, [CustomLoss(counted, {"logits": "logits"})])
    assert calls == rows


@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_a_value_of_one_number_is_a_scalar(merged: purdist.Program, shape: list[int]) -> None:
    spec = CustomLoss(lambda student: student.mean().reshape(shape), {"student": "logits"})
    distillation = purdist.apply(merged, [spec])
    assert distillation.program.variables["custom_0"].shape == ()
    assert distillation.program.run(feed(), ["loss"])["loss"].shape == ()


def test_terms_of_two_dtypes_are_summed_in_the_wider() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        image = paddle.static.data("x", [None, 6])
        return {"single": image.mean(), "double": image.astype("float64").mean()}

    def itself(value: paddle.Tensor) -> paddle.Tensor:
        return value * 1

    specs = [CustomLoss(itself, {"value": name}) for name in ("single", "double")]
    distillation = purdist.apply(nets.program(forward), specs)
    kinds = [distillation.program.variables[n].dtype for n in ("loss", *distillation.terms)]
    assert kinds == ["float64", "float32", "float64"]


def test_a_loss_may_read_what_training_alone_computes(featured: purdist.Program) -> None:
    mask = next(n for n, v in featured.variables.items() if v.mode == "training")

    def share(mask: paddle.Tensor, logits: paddle.Tensor) -> paddle.Tensor:
        return mask.astype("float32").mean() * logits.mean()

    spec = CustomLoss(share, {"mask": mask, "logits": "logits"})
    distillation = purdist.apply(featured, [spec])
    assert distillation.program.variables["loss"].mode == "training"
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    (step,) = purdist.train(training, [{"x": nets.numbers(0, 5, 1, 4, 4)}])
    assert np.isfinite(step.loss)


def teaching(kind: type[purdist.LossSpec], name: str) -> purdist.LossSpec:
    """A loss that has ``name`` for whatever teaches and learns."""
    others: dict[str, Any] = {"label": NewInput("label"), "pairs": [(name, name)]}
    given = {
        field.name: others.get(field.name, name)
        for field in attrs.fields(kind)
        if field.default is attrs.NOTHING
    }
    return kind(**given)


def compares(kind: type[purdist.LossSpec]) -> bool:
    """Whether it reads more than one variable that teaches or learns."""
    spec = teaching(kind, "any")
    return sum(spec.part(key) in ("teacher", "student") for key in spec.variables) > 1


KINDS = [kind for kind in CATALOGUE if compares(kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_variable_of_a_network_that_learns_teaches_itself(
    kind: type[purdist.LossSpec], merged: purdist.Program
) -> None:
    with pytest.raises(purdist.PurdistError, match="learns nothing from itself"):
        purdist.apply(merged, [teaching(kind, "logits")])
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.apply(merged, [teaching(kind, "teacher_logits")])
    assert "from itself" not in str(caught.value), "there is more to say"


def test_all_losses_that_compare_are_walked() -> None:
    assert len(KINDS) >= 20
