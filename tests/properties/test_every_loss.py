"""What every loss of the table must withstand: masked classes, single logits, extreme numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import CustomLoss, LossSpec, NewInput, PKTLoss, PurdistError, RKDAngleLoss
from purdist.testing import Arrays, Evaluation, evaluate_loss
from tests import nets
from tests.losses import OVER_CLASSES, each_case, identity
from tests.losses.row import Case
from tests.nets import Array
from tests.properties.test_loss_laws import normal

pytestmark = pytest.mark.usefixtures("built_once")

Fill = Callable[[tuple[int, ...]], Array]

KEPT = [0, 2, 3, 5, 6]
"""Where the five classes of a case are among seven, of which the others are masked."""

MASKS = (-np.inf, -1e30, float(np.finfo("float32").min), -1e9)


def wide(array: Array, classes: int, mask: float) -> Array:
    """The array with masked classes between its own."""
    result = np.full((*array.shape[:-1], classes), mask, array.dtype)
    result[..., KEPT] = array
    return result


def evaluated(spec: LossSpec, arrays: Mapping[str, Arrays]) -> Evaluation:
    return evaluate_loss(
        spec, teacher=arrays["teacher"], student=arrays["student"], inputs=arrays["inputs"]
    )


def is_over_classes(case: Case) -> bool:
    """Whether a case's loss is a softmax's: whether it refuses a single logit."""
    try:
        evaluated(case.spec, single(case))
    except PurdistError as refusal:
        return "sigmoid" in str(refusal)
    return False


def single(case: Case) -> dict[str, Arrays]:
    """Arrays of one number to a row."""
    arrays = case.arrays(4, normal(0))
    return {
        side: {
            k: np.zeros_like(a) if side == "inputs" and k == "label" else a[..., :1]
            for k, a in given.items()
        }
        for side, given in arrays.items()
    }


over_classes = pytest.mark.parametrize("case", OVER_CLASSES, ids=identity)


def of_dtype(fill: Fill, dtype: str) -> Fill:
    return lambda shape: fill(shape).astype(dtype)


def scaled(fill: Fill, factor: float) -> Fill:
    return lambda shape: np.float32(factor) * fill(shape)


def assert_sound(found: Evaluation) -> None:
    assert not np.isnan(found.value)
    for name, gradient in found.gradients.items():
        assert np.isfinite(gradient).all(), f"gradient of {name}"


def assert_close(found: Evaluation, expected: Evaluation, tolerance: float = 1e-5) -> None:
    assert found.value == pytest.approx(expected.value, rel=tolerance, abs=tolerance / 10)
    for name, gradient in expected.gradients.items():
        np.testing.assert_allclose(
            found.gradients[name],
            gradient,
            rtol=tolerance,
            atol=tolerance * float(np.abs(gradient).max()) + 1e-7,
            err_msg=name,
        )


def fed(value: Any, arrays: Arrays) -> Any:
    """The same with a `NewInput` for each name of an array."""
    if isinstance(value, tuple):
        return tuple(fed(inner, arrays) for inner in value)
    if isinstance(value, str) and value in arrays:
        array = arrays[value]
        dtype: Any = array.dtype.name
        return NewInput(value, (-1, *array.shape[1:]), dtype)
    return value


@each_case
def test_what_a_loss_reads_may_be_fed(case: Case) -> None:
    """The teacher's variables and masks: a student that is fed could learn nothing."""
    if isinstance(case.spec, CustomLoss):
        return
    arrays = case.arrays(4, normal(6))
    given = {**arrays["teacher"], **arrays["inputs"]}
    loss = type(case.spec)
    fields = {field.alias: getattr(case.spec, field.name) for field in attrs.fields(loss)}
    spec = loss(**{name: fed(value, given) for name, value in fields.items()})

    found = evaluate_loss(spec, student=arrays["student"], inputs=given)

    new = {name for name in spec.variables.values() if isinstance(name, NewInput)}
    assert {name.name for name in new} == given.keys()
    assert found.gradients.keys() == arrays["student"].keys()
    if case.at_rest is not None:  # no layers of its own, which differ from call to call
        assert_close(found, evaluated(case.spec, arrays))
    given.update(arrays["student"])
    spec = loss(**{name: fed(value, given) for name, value in fields.items()})
    assert purdist.apply(nets.program(nets.linear()), [spec]).terms == (f"{spec.kind}_0",)


@each_case
def test_losses_over_classes_are_known(case: Case) -> None:
    assert is_over_classes(case) == (case in OVER_CLASSES)


@each_case
def test_a_single_logit_is_refused_or_taught(case: Case) -> None:
    try:
        found = evaluated(case.spec, single(case))
    except PurdistError:
        return
    # In one dimension there are two directions, and no angle between them moves.
    if not isinstance(case.spec, PKTLoss | RKDAngleLoss):
        assert any(np.abs(gradient).max() > 0 for gradient in found.gradients.values())


@over_classes
def test_a_row_of_which_one_class_is_left_is_finite(case: Case) -> None:
    arrays = case.arrays(4, normal(5))
    for side in ("teacher", "student"):
        for array in arrays[side].values():
            array[0, ..., 1:] = -np.inf
    if "label" in arrays["inputs"]:
        arrays["inputs"]["label"][0] = 0
    assert_sound(evaluated(case.spec, arrays))


@over_classes
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_both_mask_counts_nowhere(case: Case, mask: float, dtype: str) -> None:
    plain = case.arrays(4, of_dtype(normal(5), dtype))
    expected = evaluated(case.spec, plain)
    masked = {
        side: {k: a if side == "inputs" else wide(a, 7, mask) for k, a in given.items()}
        for side, given in plain.items()
    }
    if case.classes:
        masked["inputs"] = {"label": np.array(KEPT)[plain["inputs"]["label"]]}
    found = evaluated(case.spec, masked)
    gradients = {k: wide(g, 7, 0.0) for k, g in expected.gradients.items()}
    assert_close(found, Evaluation(expected.value, gradients))


@over_classes
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_what_one_side_masks_leaves_the_gradient_finite(case: Case, mask: float, side: str) -> None:
    arrays = case.arrays(4, normal(3))
    for array in list(arrays[side].values())[:1]:
        array[1, 2] = array[3, 0] = array[3, 4] = mask
    assert_sound(evaluated(case.spec, arrays))


def test_a_divergence_is_infinite_where_the_student_masks_what_the_teacher_thinks() -> None:
    teacher, student = np.zeros((2, 3), "f4"), np.zeros((2, 3), "f4")
    student[0, 1] = -np.inf
    spec = purdist.KDLoss("t", "s")
    assert evaluate_loss(spec, teacher={"t": teacher}, student={"s": student}).value == np.inf
    found = evaluate_loss(spec, teacher={"t": student}, student={"s": teacher})
    assert found.value == pytest.approx(16 * np.log(1.5) / 2, rel=1e-6)


@over_classes
def test_a_row_of_no_class_leaves_the_gradient_finite(case: Case) -> None:
    arrays = case.arrays(4, normal(3))
    for side in ("teacher", "student"):
        for array in arrays[side].values():
            array[1] = -np.inf
    found = evaluated(case.spec, arrays)
    for gradient in found.gradients.values():
        assert not np.isnan(gradient).any()


def temperatures(spec: LossSpec) -> list[str]:
    return [field.name for field in attrs.fields(type(spec)) if "temperature" in field.name]


def with_fields(spec: LossSpec, **fields: Any) -> LossSpec:
    return attrs.evolve(spec, **fields)


@each_case
def test_temperatures_are_refused_or_give_numbers(case: Case) -> None:
    names = temperatures(case.spec)
    for value in (1e-40, 1e-7, 1001.0, 1e30):
        for name in names:
            with pytest.raises(purdist.InvalidArgumentError, match="from 1e-06 to 1000, got"):
                with_fields(case.spec, **{name: value})
    for value in (1e-6, 1e3) if names else ():
        spec = with_fields(case.spec, **dict.fromkeys(names, value))
        assert_sound(evaluated(spec, case.arrays(4, normal(1))))
        assert_sound(evaluated(spec, case.arrays(4, scaled(normal(1), 1e4))))


@each_case
def test_half_the_digits_are_computed_in_float32(case: Case) -> None:
    exact = case.arrays(4, of_dtype(of_dtype(normal(2), "float16"), "float32"))
    half = {
        side: {k: a if side == "inputs" else a.astype("float16") for k, a in given.items()}
        for side, given in exact.items()
    }
    if case.at_rest is None and case.spec.kind not in ("cross_entropy", "soft_label"):
        assert_sound(evaluated(case.spec, half))  # layers of its own differ from call to call
    else:
        assert_close(evaluated(case.spec, half), evaluated(case.spec, exact), 2e-3)


@each_case
def test_bfloat16_is_computed_in_float32(case: Case) -> None:
    arrays = case.arrays(4, normal(2))
    sides = {**arrays["teacher"], **arrays["student"]}

    def forward() -> dict[str, paddle.Tensor]:
        if case.tokens:
            paddle.static.data("mask", [None, case.tokens], "int64")
        return {
            name: paddle.static.data(f"{name}_fed", [None, *array.shape[1:]]).astype("bfloat16")
            for name, array in sides.items()
        }

    distillation = purdist.apply(nets.program(forward), [case.spec])
    feed = {f"{name}_fed": array for name, array in sides.items()}
    found = distillation.program.run({**feed, **arrays["inputs"]}, ["loss"])["loss"]
    assert found.dtype == np.float32
    assert np.isfinite(found)
