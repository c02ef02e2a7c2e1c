"""The laws of losses, and the one table of losses that they are held against."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import purdist
from purdist import (
    AttentionTransferLoss,
    ContrastiveLoss,
    CorrelationCongruenceLoss,
    CrossEntropyLoss,
    CustomLoss,
    DISTLoss,
    DKDLoss,
    FspLoss,
    HintLoss,
    KDLoss,
    L2Loss,
    LossSpec,
    MiniLMLoss,
    MutualLoss,
    NewInput,
    NSTLoss,
    PairLoss,
    PKTLoss,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    SimilarityPreservingLoss,
    SoftLabelLoss,
    SphericalKDLoss,
    VIDLoss,
)
from purdist.losses import CATALOGUE
from purdist.testing import (
    LOSS_LAWS,
    Arrays,
    LossLaw,
    evaluate_loss,
    nothing_flows_to_teacher,
    order_of_batch_is_free,
)
from tests.own_loss import PseudoHuberLoss

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
Rest = Callable[[Array], float]

LABEL = NewInput("label")


@attrs.frozen(eq=False)
class Sides:
    """What a loss reads of student and teacher: variable -> shape without the batch."""

    student: Shapes
    teacher: Shapes = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class Case:
    """A loss, what it reads, and what is special about it.

    Attributes:
        spec: The loss.
        sides: What it reads.
        classes: Of the feed ``label``, if it reads that.
        tokens: Of the feed ``mask``, if it reads that.
        least: No value is below it.
        at_rest: The value where the student's first array is the teacher's, from that array;
            None where it depends on layers of the loss's own, or there is no teacher.
        ordered: The order of the batch counts.
    """

    spec: LossSpec
    sides: Sides
    classes: int = 0
    tokens: int = 0
    least: float = 0.0
    at_rest: Rest | None = lambda _: 0.0
    ordered: bool = False

    def arrays(self, rows: int, fill: Callable[[tuple[int, ...]], Array]) -> dict[str, Arrays]:
        """The arguments of a law beside the loss."""
        random = np.random.RandomState(rows)
        inputs: dict[str, Array] = {}
        if self.classes:
            inputs["label"] = random.randint(0, self.classes, rows)
        if self.tokens:
            inputs["mask"] = random.randint(0, 2, (rows, self.tokens))
        return {
            "teacher": {k: fill((rows, *shape)) for k, shape in self.sides.teacher.items()},
            "student": {k: fill((rows, *shape)) for k, shape in self.sides.student.items()},
            "inputs": inputs,
        }


def probabilities(logits: Array) -> Array:
    raised: Array = np.exp(logits - logits.max(-1, keepdims=True))
    raised /= raised.sum(-1, keepdims=True)
    return raised


def entropy(logits: Array) -> float:
    p = probabilities(logits / 2.0)
    return float(-(p * np.log(p)).sum(-1).mean())


def uncorrelated(logits: Array) -> float:
    """What DIST's 1e-8 leaves of a correlation of 1, within samples and within classes."""
    p = probabilities(logits)
    left = 0.0
    for axis in (1, 0):
        squares = np.square(p - p.mean(axis, keepdims=True)).sum(axis)
        left += float((1e-8 / (squares + 1e-8)).mean())
    return left


ONE = Sides({"s": (5,)})
LOGITS = Sides({"s": (5,)}, {"t": (5,)})
FEATURES = Sides({"s": (4,)}, {"t": (6,)})
MAPS = Sides({"s": (2, 4, 6)}, {"t": (3, 4, 6)})
SAME_MAPS = Sides({"s": (2, 5, 5)}, {"t": (2, 5, 5)})
OTHER_MAPS = Sides({"s": (2, 4, 6)}, {"t": (3, 5, 5)})
TWO_MAPS = Sides({"s1": (2, 6, 6), "s2": (3, 3, 3)}, {"t1": (3, 6, 6), "t2": (4, 3, 3)})
FLOWS = Sides({"s1": (2, 3, 4), "s2": (5, 3, 4)}, {"t1": (2, 3, 4), "t2": (5, 3, 4)})
QKV = ("tq", "tk", "tv", "sq", "sk", "sv")
TOKENS = Sides(dict.fromkeys(QKV[3:], (3, 4)), dict.fromkeys(QKV[:3], (3, 8)))

CASES = (
    Case(CrossEntropyLoss("s", LABEL), ONE, classes=5, at_rest=None),
    Case(CrossEntropyLoss("s", LABEL, label_smoothing=0.1), ONE, classes=5, at_rest=None),
    Case(SoftLabelLoss("t", "s", 2.0, 2.0), LOGITS, at_rest=entropy),
    Case(SoftLabelLoss("t", "s", 2.0, 3.0), LOGITS, at_rest=None),
    Case(KDLoss("t", "s"), LOGITS),
    Case(KDLoss("t", "s", temperature=3.0, standardize=True), LOGITS),
    Case(SphericalKDLoss("t", "s", temperature=1.5), LOGITS),
    Case(DKDLoss("t", "s", LABEL), LOGITS, classes=5),
    Case(DISTLoss("t", "s"), LOGITS, at_rest=uncorrelated),
    Case(MutualLoss("s1", "s2"), Sides({"s1": (5,), "s2": (5,)})),
    Case(L2Loss("t", "s"), LOGITS),
    Case(HintLoss("t", "s"), LOGITS),
    Case(HintLoss("t", "s", adaptor="conv"), MAPS, at_rest=None),
    Case(HintLoss("t", "s", adaptor="conv_bn_relu"), MAPS, at_rest=None),
    Case(HintLoss("t", "s", adaptor="linear"), FEATURES, at_rest=None),
    Case(FspLoss("t1", "t2", "s1", "s2"), FLOWS),
    Case(AttentionTransferLoss("t", "s"), MAPS),
    Case(AttentionTransferLoss("t", "s", p=1.0), OTHER_MAPS),
    Case(NSTLoss("t", "s"), MAPS),
    Case(VIDLoss("t", "s"), MAPS, least=float(np.log(1e-5)) / 2, at_rest=None),
    Case(ReviewKDLoss([("t1", "s1"), ("t2", "s2")]), TWO_MAPS, at_rest=None),
    Case(ReviewKDLoss([("t", "s")], fusion=False), SAME_MAPS),
    Case(SimilarityPreservingLoss("t", "s"), MAPS),
    Case(RKDDistanceLoss("t", "s"), FEATURES),
    Case(RKDAngleLoss("t", "s"), FEATURES),
    Case(PKTLoss("t", "s"), FEATURES),
    Case(CorrelationCongruenceLoss("t", "s"), LOGITS, ordered=True),
    Case(ContrastiveLoss("t", "s", dimension=3), FEATURES, at_rest=None),
    Case(MiniLMLoss(*QKV, heads=2), TOKENS),
    Case(MiniLMLoss(*QKV, heads=4, relations=("qk", "vv"), mask="mask"), TOKENS, tokens=3),
    Case(PseudoHuberLoss("t", "s", delta=0.5), LOGITS),
    Case(CustomLoss(lambda t, s: (t - s).abs().mean(), {"t": "t", "s": "s"}), LOGITS),
)


def told(case: Case) -> str:
    """A loss in the name of a test, the same in every process: functions without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(case.spec))[:60]


each_case = pytest.mark.parametrize("case", CASES, ids=told)


def test_every_loss_is_in_the_table() -> None:
    public = {
        thing
        for thing in vars(purdist).values()
        if isinstance(thing, type) and issubclass(thing, LossSpec)
    }
    assert public == {LossSpec, PairLoss, CustomLoss, *CATALOGUE}
    assert {type(case.spec) for case in CASES} == {CustomLoss, PseudoHuberLoss, *CATALOGUE}


# Of two samples or fewer, several losses between samples are 0 whatever they are.
some = st.tuples(st.integers(3, 5), st.integers(0, 2**32 - 1))


def normal(seed: int) -> Callable[[tuple[int, ...]], Array]:
    random = np.random.RandomState(seed)
    return lambda shape: random.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "law"),
    [
        pytest.param(case, law, id=f"{told(case)}-{getattr(law, '__name__', law)}")
        for case in CASES
        for law in LOSS_LAWS
        if not (case.ordered and law is order_of_batch_is_free)
        # A generator may be taught through a teacher, by a function that judges its answers.
        and not (isinstance(case.spec, CustomLoss) and law is nothing_flows_to_teacher)
    ],
)
@settings(max_examples=2)
@given(some)
def test_laws(case: Case, law: LossLaw, some: tuple[int, int]) -> None:
    rows, seed = some
    law(case.spec, **case.arrays(rows, normal(seed)))


def test_an_order_that_counts_does_count() -> None:
    (case,) = (case for case in CASES if case.ordered)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        order_of_batch_is_free(case.spec, **case.arrays(4, normal(0)))


@pytest.mark.parametrize("case", [case for case in CASES if case.at_rest], ids=told)
@settings(max_examples=2)
@given(some)
def test_a_student_like_its_teacher_has_nothing_to_learn(case: Case, some: tuple[int, int]) -> None:
    rows, seed = some
    given = case.arrays(rows, normal(seed))
    student = {k: a.astype(np.float64) for k, a in given["student"].items()}
    teacher: Arrays = {}
    if case.sides.teacher:
        teacher = dict(zip(case.sides.teacher, student.values(), strict=True))
    else:
        student = dict.fromkeys(student, next(iter(student.values())))

    found = evaluate_loss(case.spec, teacher=teacher, student=student, inputs=given["inputs"])

    assert case.at_rest is not None
    expected = case.at_rest(next(iter(student.values())))
    assert found.value == pytest.approx(expected, rel=1e-6, abs=1e-9)
    for gradient in found.gradients.values():
        np.testing.assert_allclose(gradient, 0, atol=1e-4 if expected else 1e-7)


def _constant_rows(numbers: Array) -> Array:
    first = numbers.reshape(len(numbers), -1)[:, 0]
    return np.broadcast_to(first.reshape(-1, *[1] * (numbers.ndim - 1)), numbers.shape)


EXTREMES: Mapping[str, Callable[[Array], Array]] = {
    "ordinary": lambda numbers: numbers,
    "1e4": lambda numbers: 1e4 * numbers,
    "1e-30": lambda numbers: 1e-30 * numbers,
    "zeros": np.zeros_like,
    "constant rows": _constant_rows,
    "equal rows": lambda numbers: np.broadcast_to(numbers[:1], numbers.shape),
}
extremes = st.sampled_from(sorted(EXTREMES))


@each_case
@settings(max_examples=4)
@given(
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    extremes,
    extremes,
    st.sampled_from(("float32", "float64")),
)
@example(rows=1, seed=0, of_teacher="ordinary", of_student="ordinary", dtype="float32")
@example(rows=3, seed=0, of_teacher="ordinary", of_student="zeros", dtype="float32")
@example(rows=3, seed=0, of_teacher="1e4", of_student="1e4", dtype="float32")
@example(rows=3, seed=0, of_teacher="ordinary", of_student="1e-30", dtype="float64")
def test_extremes_leave_value_and_gradient_finite_and_no_value_below_the_least(
    case: Case, rows: int, seed: int, of_teacher: str, of_student: str, dtype: str
) -> None:
    given = case.arrays(rows, normal(seed))
    teacher, student = (
        {k: np.array(EXTREMES[how](a.astype(dtype)), dtype) for k, a in given[side].items()}
        for side, how in (("teacher", of_teacher), ("student", of_student))
    )

    found = evaluate_loss(case.spec, teacher=teacher, student=student, inputs=given["inputs"])

    assert np.isfinite(found.value)
    assert found.value >= case.least - 1e-6 * (1 + abs(found.value))
    for name, gradient in found.gradients.items():
        assert np.isfinite(gradient).all(), f"gradient of {name}: {gradient}"
