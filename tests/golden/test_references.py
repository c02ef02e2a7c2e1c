"""Losses, and options of losses, that ``losses.json`` has no entry of, against numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypedDict

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    AttentionTransferLoss,
    ContrastiveLoss,
    CrossEntropyLoss,
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
    PKTLoss,
    ReviewKDLoss,
    RKDDistanceLoss,
    SoftLabelLoss,
    SphericalKDLoss,
    VIDLoss,
)
from purdist.testing import Arrays, evaluate_loss
from tests import nets
from tests.golden import references as ref
from tests.nets import Array

Given = Mapping[str, Array]
Reference = Callable[[Given, ref.Weights], float]

LABEL = NewInput("y")


@attrs.frozen(eq=False)
class Case:
    """A loss, the shapes of what it reads, and what it should be.

    Variables that begin with ``t`` are the teacher's, with ``s`` the student's; ``y`` are
    labels of five classes and ``m`` is a mask of ever fewer tokens.
    """

    spec: LossSpec
    shapes: Mapping[str, tuple[int, ...]]
    reference: Reference
    scale: float = 1.0

    def given(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for seed, (name, shape) in enumerate(self.shapes.items()):
            if name == "y":
                found[name] = np.random.RandomState(seed).randint(0, 5, shape)
            elif name == "m":
                found[name] = np.tri(*shape, dtype=np.int64)[::-1] * [[1], [1], [0]]
            else:
                found[name] = self.scale * nets.numbers(seed, *shape, dtype="float64")
        return found


def of(given: Given, side: str) -> dict[str, Array]:
    return {name: array for name, array in given.items() if name[0] == side}


def qkv(given: Given, side: str) -> dict[str, Array]:
    return {name[1:]: array for name, array in of(given, side).items()}


LOGITS = {"t": (6, 5), "s": (6, 5)}
LABELLED = {**LOGITS, "y": (6,)}
QKV = ("tq", "tk", "tv", "sq", "sk", "sv")
TOKENS = {**dict.fromkeys(QKV[:3], (3, 4, 12)), **dict.fromkeys(QKV[3:], (3, 4, 6))}


def maps(teacher: tuple[int, ...], student: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"t": (3, *teacher), "s": (3, *student)}


def hints(adaptor: str) -> Reference:
    return lambda a, w: ref.hint(a["t"], a["s"], w, adaptor)


CASES = {
    "cross entropy": Case(
        CrossEntropyLoss("s", LABEL),
        {"s": (6, 5), "y": (6,)},
        lambda a, _: ref.cross_entropy(a["s"], a["y"], 0.0),
    ),
    "cross entropy, smoothed": Case(
        CrossEntropyLoss("s", LABEL, label_smoothing=0.3),
        {"s": (6, 5), "y": (6,)},
        lambda a, _: ref.cross_entropy(a["s"], a["y"], 0.3),
    ),
    "kd, cold": Case(
        KDLoss("t", "s", temperature=0.3), LOGITS, lambda a, _: ref.kd(a["t"], a["s"], 0.3)
    ),
    "kd, a row for each place": Case(
        KDLoss("t", "s", temperature=3.0),
        {"t": (3, 2, 2, 5), "s": (3, 2, 2, 5)},
        lambda a, _: ref.kd(a["t"], a["s"], 3.0),
    ),
    "kd, standardised": Case(
        KDLoss("t", "s", temperature=3.0, standardize=True),
        LOGITS,
        lambda a, _: ref.kd(ref.standardised(a["t"]), ref.standardised(a["s"]), 3.0),
    ),
    "spherical": Case(
        SphericalKDLoss("t", "s", temperature=0.7),
        LOGITS,
        lambda a, _: ref.spherical(a["t"], a["s"], 0.7),
    ),
    "dkd": Case(
        DKDLoss("t", "s", LABEL, alpha=0.3, beta=2.5, temperature=1.7),
        LABELLED,
        lambda a, _: ref.dkd(a["t"], a["s"], a["y"], 0.3, 2.5, 1.7),
    ),
    "dist": Case(
        DISTLoss("t", "s", beta=0.3, gamma=2.5, temperature=0.7),
        LOGITS,
        lambda a, _: ref.dist(a["t"], a["s"], 0.3, 2.5, 0.7),
    ),
    "attention, p 1, smaller student": Case(
        AttentionTransferLoss("t", "s", p=1.0),
        maps((4, 7, 6), (3, 4, 3)),
        lambda a, _: ref.attention(a["t"], a["s"], 1.0),
    ),
    "attention, p 3, smaller teacher": Case(
        AttentionTransferLoss("t", "s", p=3.0),
        maps((4, 2, 3), (3, 4, 5)),
        lambda a, _: ref.attention(a["t"], a["s"], 3.0),
    ),
    "nst, each smaller once": Case(
        NSTLoss("t", "s"), maps((4, 2, 5), (3, 4, 3)), lambda a, _: ref.nst(a["t"], a["s"])
    ),
    "vid": Case(
        VIDLoss("t", "s"), maps((4, 4, 3), (3, 4, 3)), lambda a, w: ref.vid(a["t"], a["s"], w)
    ),
    "vid, smaller teacher": Case(
        VIDLoss("t", "s"), maps((4, 2, 2), (3, 4, 5)), lambda a, w: ref.vid(a["t"], a["s"], w)
    ),
    "hint by a linear layer": Case(
        HintLoss("t", "s", adaptor="linear"), {"t": (3, 2, 5), "s": (3, 2, 4)}, hints("linear")
    ),
    "hint by 1x1": Case(
        HintLoss("t", "s", adaptor="conv"), maps((4, 3, 2), (3, 3, 2)), hints("conv")
    ),
    "hint by 1x1, normalised": Case(
        HintLoss("t", "s", adaptor="conv_bn_relu"),
        maps((4, 3, 2), (3, 3, 2)),
        hints("conv_bn_relu"),
    ),
    "hint from double the size": Case(
        HintLoss("t", "s", adaptor="conv"), maps((4, 3, 2), (3, 6, 4)), hints("conv")
    ),
    "hint from half the size": Case(
        HintLoss("t", "s", adaptor="conv_bn_relu"),
        maps((4, 6, 4), (3, 3, 2)),
        hints("conv_bn_relu"),
    ),
    "hint from any larger map": Case(
        HintLoss("t", "s", adaptor="conv"), maps((4, 3, 4), (3, 5, 4)), hints("conv")
    ),
    "review, three maps": Case(
        ReviewKDLoss([("t0", "s0"), ("t1", "s1"), ("t2", "s2")]),
        {
            "t0": (3, 3, 8, 8),
            "t1": (3, 4, 4, 4),
            "t2": (3, 5, 1, 1),
            "s0": (3, 2, 6, 6),
            "s1": (3, 3, 3, 3),
            "s2": (3, 4, 1, 1),
        },
        lambda a, w: ref.review([*of(a, "t").values()], [*of(a, "s").values()], w),
    ),
    "review without fusion": Case(
        ReviewKDLoss([("t0", "s0"), ("t1", "s1")], fusion=False),
        {"t0": (3, 2, 5, 3), "t1": (3, 2, 4, 4), "s0": (3, 2, 5, 3), "s1": (3, 2, 4, 4)},
        lambda a, _: (
            ref.hierarchical_context(a["t0"], a["s0"]) + ref.hierarchical_context(a["t1"], a["s1"])
        ),
    ),
    "pkt of short features": Case(
        PKTLoss("t", "s"),
        {"t": (4, 5), "s": (4, 3)},
        lambda a, _: ref.pkt(a["t"], a["s"]),
        scale=1e-4,
    ),
    "contrastive": Case(
        ContrastiveLoss("t", "s", dimension=3, temperature=0.3),
        {"t": (4, 2, 3), "s": (4, 5)},
        lambda a, w: ref.contrastive(a["t"], a["s"], w, 0.3),
    ),
    "minilm 2": Case(
        MiniLMLoss(*QKV, heads=3),
        TOKENS,
        lambda a, _: ref.minilm(qkv(a, "t"), qkv(a, "s"), 3, ("qq", "kk", "vv"), None),
    ),
    "minilm, masked": Case(
        MiniLMLoss(*QKV, heads=2, relations=("qk", "vv"), mask="m"),
        {**TOKENS, "m": (3, 4)},
        lambda a, _: ref.minilm(qkv(a, "t"), qkv(a, "s"), 2, ("qk", "vv"), a["m"]),
    ),
}


class Sides(TypedDict):
    teacher: Arrays
    student: Arrays
    inputs: Arrays


def sides(given: Given) -> Sides:
    inputs = {name: array for name, array in given.items() if name in ("y", "m")}
    return {"teacher": of(given, "t"), "student": of(given, "s"), "inputs": inputs}


def weights_of(spec: LossSpec, given: Given) -> dict[str, Array]:
    """The parameters of the loss's layers, which `evaluate_loss` draws alike."""

    def variables() -> dict[str, paddle.Tensor]:
        for name, array in given.items():
            if name != "y":
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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("unknown", [(), (0,)], ids=["batch known", "batch unknown"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_value_and_gradient_are_those_of_the_equations(
    case: Case, unknown: tuple[int, ...], dtype: str
) -> None:
    given = case.given()
    narrow = {k: a if k in "ym" else a.astype(dtype) for k, a in given.items()}
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
def test_numbers_far_from_zero_keep_their_digits(spec: LossSpec) -> None:
    shapes = {name: (6, 5) for name in spec.variables.values() if isinstance(name, str)}
    given: dict[str, Array] = {
        k: nets.numbers(ord(k), *shape) + np.float32(1e4) for k, shape in shapes.items()
    }
    if "label" in spec.variables:
        given["y"] = np.arange(6) % 5
    wide = {k: a if k == "y" else a.astype("float64") for k, a in given.items()}

    found, expected = evaluate_loss(spec, **sides(given)), evaluate_loss(spec, **sides(wide))

    assert found.value == pytest.approx(expected.value, rel=1e-4)
    scale = np.abs(expected.gradients["s"]).max()
    np.testing.assert_allclose(
        found.gradients["s"], expected.gradients["s"], rtol=1e-4, atol=1e-4 * scale
    )


# --- the README's table from PaddleSlim -----------------------------------------------------

MAPS = {"t1": (3, 2, 4, 5), "t2": (3, 4, 4, 5), "s1": (3, 2, 4, 5), "s2": (3, 4, 4, 5)}

SLIM = {
    "fsp": Case(FspLoss("t1", "t2", "s1", "s2"), MAPS, lambda a, _: ref.slim_fsp(**a)),
    "l2": Case(L2Loss("t", "s"), LOGITS, lambda a, _: ref.slim_l2(a["t"], a["s"])),
    "soft_label": Case(
        SoftLabelLoss("t", "s", 2.0, 3.0),
        LOGITS,
        lambda a, _: ref.slim_soft_label(a["t"], a["s"], 2.0, 3.0),
    ),
    "skd": Case(
        5 / 4 * SphericalKDLoss("t", "s", temperature=(4 / 5) ** 0.5),
        LOGITS,
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
    given = Case(DKDLoss("t", "s", LABEL), LABELLED, lambda *_: 0.0, scale=3.0).given()
    logits = given["t"]
    gradient = numeric_gradient(partial(ref.slim_dkd, logits), logits)
    assert ref.slim_dkd(logits, logits) < -0.05
    assert np.abs(gradient).max() > 0.005
    ours = evaluate_loss(
        DKDLoss("t", "s", LABEL),
        teacher={"t": logits},
        student={"s": logits},
        inputs={"y": logits.argmax(1)},
    )
    assert ours.value == pytest.approx(0.0, abs=1e-12)
    assert np.abs(ours.gradients["s"]).max() < 1e-12
