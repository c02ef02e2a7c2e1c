"""Losses, and options of losses, that ``losses.json`` has no entry of, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypedDict

import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    ContrastiveLoss,
    CrossEntropyLoss,
    DISTLoss,
    DKDLoss,
    FspLoss,
    KDLoss,
    L2Loss,
    LossSpec,
    MutualLoss,
    RKDDistanceLoss,
    SoftLabelLoss,
    SphericalKDLoss,
)
from purdist.testing import Arrays, evaluate_loss
from tests import nets
from tests.golden import references as ref
from tests.losses import ROWS
from tests.losses.row import LABEL, LABELLED, SCORES, Equation, Given, Reference, of
from tests.nets import Array
from tests.profiles import SLOW

CASES = {name: case for row in ROWS for name, case in row.equations.items()}


class Sides(TypedDict):
    teacher: Arrays
    student: Arrays
    inputs: Arrays


def sides(given: Given) -> Sides:
    inputs = {name: array for name, array in given.items() if name in ("label", "m")}
    return {"teacher": of(given, "t"), "student": of(given, "s"), "inputs": inputs}


def weights_of(spec: LossSpec, given: Given) -> dict[str, Array]:
    """The parameters of the loss's layers, which `evaluate_loss` draws alike."""

    def variables() -> dict[str, paddle.Tensor]:
        for name, array in given.items():
            if name != "label":
                paddle.static.data(name, [None, *array.shape[1:]], array.dtype.name)
        return {}

    program = purdist.apply(nets.program(variables), [spec]).program
    return {
        name.partition("/")[2]: array.astype("float64")
        for name, array in nets.weights(program).items()
    }


def numeric_gradient(function: Callable[[Array], float], at: Array) -> Array:
    """By central differences."""
    gradient, step = np.empty_like(at), 1e-6 * float(np.abs(at).max())
    for index in np.ndindex(at.shape):
        moved = [at.copy(), at.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        gradient[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient


def _with(
    reference: Reference, given: Given, weights: ref.Weights, name: str, moved: Array
) -> float:
    return reference({**given, name: moved}, weights)


# That an unknown batch changes nothing, and a dtype no more than rounding, are laws of all losses.
@pytest.mark.parametrize(
    ("dtype", "unknown"), [("float64", (0,)), *([("float32", ())] if SLOW else [])]
)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_value_and_gradient_are_those_of_the_equations(
    case: Equation, dtype: str, unknown: tuple[int, ...]
) -> None:
    given = case.given()
    narrow = {k: a if k in ("label", "m") else a.astype(dtype) for k, a in given.items()}
    tolerance = 1e-6 if dtype == "float64" else 1e-4
    weights = weights_of(case.spec, narrow)

    found = evaluate_loss(case.spec, **sides(narrow), unknown_axes=unknown)

    assert found.value == pytest.approx(case.reference(given, weights), rel=tolerance)
    if isinstance(case.spec, ContrastiveLoss):  # Z is held fixed
        z = ref.normalisation(given["t"], given["s"], weights, case.spec.temperature)
        weights["normalisation"] = np.array(z)
    student = of(given, "s")
    assert found.gradients.keys() == student.keys()
    for name, array in student.items():
        expected = numeric_gradient(partial(_with, case.reference, given, weights, name), array)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found.gradients[name], expected, rtol=tolerance, atol=tolerance * scale
        )


def test_the_variance_of_vid_begins_at_five() -> None:
    maps = {"t": nets.numbers(0, 2, 3, 4, 4), "s": nets.numbers(1, 2, 5, 4, 4)}
    drawn = weights_of(purdist.VIDLoss("t", "s"), maps)
    (alpha,) = [w for w in drawn.values() if w.ndim == 1]
    np.testing.assert_allclose(np.log1p(np.exp(alpha)) + 1e-5, np.full(3, 5.0), rtol=1e-6)


def test_review_mixes_as_many_channels_as_the_deepest_map_of_the_student_has() -> None:
    case = CASES["review, three maps"]
    given = case.given()
    mixing = [w for w in weights_of(case.spec, given).values() if w.shape[2:] == (1, 1)]
    # Each map of the student brought to that width, and two shares of it and a deeper one.
    wide = given["s2"].shape[1]
    assert {w.shape[0] for w in mixing} == {wide, 2}
    assert {w.shape[1] for w in mixing if w.shape[0] == 2} == {2 * wide}


def test_each_of_two_learns_from_the_other_held_fixed() -> None:
    one, other = nets.numbers(0, 6, 5, dtype="float64"), nets.numbers(1, 6, 5, dtype="float64")

    found = evaluate_loss(MutualLoss("s1", "s2"), student={"s1": one, "s2": other})

    assert found.value == pytest.approx(ref.kd(one, other, 1.0) + ref.kd(other, one, 1.0))
    for name, fixed, learns in (("s1", other, one), ("s2", one, other)):
        expected = numeric_gradient(partial(ref.kd, fixed, temperature=1.0), learns)
        np.testing.assert_allclose(found.gradients[name], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "spec",
    [
        CrossEntropyLoss("s", LABEL),
        KDLoss("t", "s"),
        DKDLoss("t", "s", LABEL),
        DISTLoss("t", "s"),
        SphericalKDLoss("t", "s"),
        RKDDistanceLoss("t", "s"),
    ],
    ids=lambda spec: spec.kind,
)
@pytest.mark.parametrize("far", [1e4, -1e4])
def test_numbers_far_from_zero_keep_their_digits(far: float, spec: LossSpec) -> None:
    shapes = {name: (6, 5) for name in spec.variables.values() if isinstance(name, str)}
    given: dict[str, Array] = {
        k: nets.numbers(ord(k), *shape) + np.float32(far) for k, shape in shapes.items()
    }
    # None of these sees a shift.
    near: dict[str, Array] = {k: a.astype("float64") - far for k, a in given.items()}
    if "label" in spec.variables:
        given["label"] = near["label"] = np.arange(6) % 5

    found, expected = evaluate_loss(spec, **sides(given)), evaluate_loss(spec, **sides(near))

    assert found.value == pytest.approx(expected.value, rel=1e-4)
    scale = np.abs(expected.gradients["s"]).max()
    np.testing.assert_allclose(
        found.gradients["s"], expected.gradients["s"], rtol=1e-4, atol=1e-4 * scale
    )


# --- the README's table from PaddleSlim -----------------------------------------------------

MAPS = {"t1": (3, 2, 4, 5), "t2": (3, 4, 4, 5), "s1": (3, 2, 4, 5), "s2": (3, 4, 4, 5)}

SLIM = {
    "fsp": Equation(FspLoss("t1", "t2", "s1", "s2"), MAPS, lambda a, _: ref.slim_fsp(**a)),
    "l2": Equation(L2Loss("t", "s"), SCORES, lambda a, _: ref.slim_l2(a["t"], a["s"])),
    "soft_label": Equation(
        SoftLabelLoss("t", "s", 2.0, 3.0),
        SCORES,
        lambda a, _: ref.slim_soft_label(a["t"], a["s"], 2.0, 3.0),
    ),
    "skd": Equation(
        5 / 4 * SphericalKDLoss("t", "s", temperature=(4 / 5) ** 0.5),
        SCORES,
        lambda a, _: ref.slim_skd(a["t"], a["s"]),
        scale=3.0,
    ),
}


@pytest.mark.parametrize("name", SLIM)
def test_a_row_from_paddleslim_has_its_gradient(name: str) -> None:
    case = SLIM[name]
    given = case.given()
    found = evaluate_loss(case.spec, **sides(given), unknown_axes=(0,))
    value = case.reference(given, {})
    if name == "skd":  # which is a cross entropy: larger by what the teacher alone decides
        value -= ref.slim_skd(given["t"], given["t"])
    assert found.value == pytest.approx(value, rel=1e-6)
    for side, array in of(given, "s").items():
        expected = numeric_gradient(partial(_with, case.reference, given, {}, side), array)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.gradients[side], expected, rtol=1e-6, atol=1e-6 * scale)


def test_no_row_computes_what_paddleslim_calls_dkd() -> None:
    """The README says why: at a student that answers as its teacher it is far from its least."""
    given = Equation(DKDLoss("t", "s", LABEL), LABELLED, lambda *_: 0.0, scale=3.0).given()
    logits = given["t"]
    gradient = numeric_gradient(partial(ref.slim_dkd, logits), logits)
    assert ref.slim_dkd(logits, logits) < -0.05
    assert np.abs(gradient).max() > 0.005
    ours = evaluate_loss(
        DKDLoss("t", "s", LABEL),
        teacher={"t": logits},
        student={"s": logits},
        inputs={"label": logits.argmax(1)},
    )
    assert ours.value == pytest.approx(0.0, abs=1e-12)
    assert np.abs(ours.gradients["s"]).max() < 1e-12
