"""What holds of losses whatever they read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import paddle
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    Dtype,
    FspLoss,
    L2Loss,
    LossSpec,
    NewInput,
    PurdistError,
    SoftLabelLoss,
    Variable,
    apply,
)
from purdist.testing import Arrays, NetworkPair, evaluate_loss, feature_map_shapes
from tests.profiles import examples
from tests.properties.pairs import CLASSES, differing, pairs

# --- FSP --------------------------------------------------------------------------------

KEYS = ("teacher_var1", "teacher_var2", "student_var1", "student_var2")
SIZES = st.sampled_from((-1, 2, 3))


@st.composite
def four_maps(draw: st.DrawFn) -> dict[str, Variable]:
    """Four variables as FSP wants them, or not quite."""
    n, c1, c2, h, w = draw(st.tuples(*[SIZES] * 5))
    free = draw(st.integers(0, 3))  # any sizes on this axis, those of FSP on the others
    shapes: dict[str, Sequence[int]] = {}
    for key in KEYS:
        shape = [n, c1 if key.endswith("1") else c2, h, w]
        shape[free] = draw(SIZES)
        shapes[key] = shape
    others = st.dictionaries(
        st.sampled_from(KEYS), feature_map_shapes(min_rank=2, max_rank=5), max_size=2
    )
    shapes |= draw(st.builds(dict[str, Sequence[int]]) | others)
    every: tuple[Dtype, ...] = ("float32", "float64", "int64")
    dtypes = dict.fromkeys(KEYS, draw(st.sampled_from(every)))
    one: tuple[Dtype, ...] = ("float32", "int32", "bool")
    some = st.sampled_from(one)
    dtypes |= draw(
        st.builds(dict[str, Dtype]) | st.dictionaries(st.sampled_from(KEYS), some, max_size=1)
    )
    return {key: Variable(key, tuple(shapes[key]), dtypes[key], "activation") for key in KEYS}


def is_fit_for_fsp(maps: Mapping[str, Variable]) -> bool:
    """DESIGN's sentence, word for word: written apart from the code that is tested."""
    t1, t2, s1, s2 = (maps[key].shape for key in KEYS)

    def agree(a: int, b: int) -> bool:
        return a == b or a == -1 or b == -1

    return (
        all(len(shape) == 4 for shape in (t1, t2, s1, s2))
        and {m.dtype for m in maps.values()} in ({"float32"}, {"float64"})
        and all(agree(t1[k], t2[k]) and agree(s1[k], s2[k]) for k in (0, 2, 3))
        and all(agree(t1[k], s1[k]) and agree(t2[k], s2[k]) for k in (0, 1, 2, 3))
    )


def is_accepted(spec: LossSpec, variables: Mapping[str, Variable]) -> bool:
    try:
        spec.check(variables)
    except PurdistError:
        return False
    return True


@pytest.mark.parametrize("axis", range(4), ids="NCHW")
def test_fsp_is_accepted_exactly_where_the_sizes_of_an_axis_agree(axis: int) -> None:
    """Every way to be known and unknown, alike and different, on one axis."""
    for sizes in itertools.product((-1, 2, 3), repeat=4):
        maps = {}
        for key, size in zip(KEYS, sizes, strict=True):
            shape = [5, 6, 7, 8]
            shape[axis] = size
            maps[key] = Variable(key, tuple(shape), "float32", "activation")

        assert is_accepted(FspLoss(*KEYS), maps) == is_fit_for_fsp(maps), sizes


@settings(max_examples=500)
@given(four_maps())
def test_fsp_is_accepted_exactly_where_it_is_defined(maps: dict[str, Variable]) -> None:
    fit = is_fit_for_fsp(maps)
    event(f"fit: {fit}")

    assert is_accepted(FspLoss(*KEYS), maps) == fit


@settings(max_examples=examples(25))
@given(
    st.tuples(*[st.integers(1, 4)] * 5),
    st.integers(0, 2**32 - 1),
    st.sets(st.integers(0, 3)),
    st.sampled_from((np.float32, np.float64)),
)
def test_fsp_is_the_formula_whatever_sizes_are_unknown(
    sizes: tuple[int, int, int, int, int], seed: int, unknown: set[int], dtype: type[np.floating]
) -> None:
    n, c1, c2, h, w = sizes
    random = np.random.RandomState(seed)
    maps = {
        key: random.standard_normal((n, c1 if key.endswith("1") else c2, h, w)).astype(dtype)
        for key in KEYS
    }

    found = evaluate_loss(
        FspLoss(*KEYS),
        teacher={key: maps[key] for key in KEYS[:2]},
        student={key: maps[key] for key in KEYS[2:]},
        unknown_axes=unknown,
    )

    flows = [
        np.einsum("nahw,nbhw->nab", maps[one].astype(float), maps[two].astype(float)) / (h * w)
        for one, two in (KEYS[:2], KEYS[2:])
    ]
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(
        found.value, np.square(flows[1] - flows[0]).mean(), rtol=tolerance, atol=tolerance
    )
    assert found.gradients.keys() == set(KEYS[2:])


# --- the total --------------------------------------------------------------------------


def distance(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    return (teacher - student).abs().mean()


def terms_of(pair: NetworkPair) -> list[LossSpec]:
    """One spec of each kind between the heads, under names that no order changes."""
    teacher, student = pair.outputs
    return [
        L2Loss(teacher, student, name="squares"),
        SoftLabelLoss(teacher, student, 4.0, 2.0, name="answers"),
        CrossEntropyLoss(student, NewInput("label"), name="labels"),
        CustomLoss(distance, {"teacher": teacher, "student": student}, name="distances"),
    ]


weights = st.floats(0.01, 100) | st.floats(-100, -0.01)


@settings(max_examples=examples(15))
@given(st.data(), pairs, st.dictionaries(st.integers(0, 3), weights, min_size=1))
def test_the_total_is_the_weighted_sum_in_any_order(
    data: st.DataObject, pair: NetworkPair, weights: dict[int, float]
) -> None:
    terms = terms_of(pair)
    chosen = [weight * terms[k] for k, weight in weights.items()]
    merged = pair.merged()
    feed: Arrays = {"image": pair.student.images(3), "label": np.arange(3) % CLASSES}

    def found(specs: list[LossSpec]) -> Arrays:
        distillation = apply(merged, specs)
        assert distillation.terms == tuple(spec.name for spec in specs)
        needed = {name: feed[name] for name in distillation.program.inputs}
        return distillation.program.run(needed, ["loss", *distillation.terms])

    straight = found(chosen)
    turned = found(data.draw(st.permutations(chosen)))

    assert differing({**straight, "loss": turned["loss"]}, turned) == set()
    parts = [weight * float(straight[terms[k].name or ""]) for k, weight in weights.items()]
    tolerance = 1e-6 * sum(map(abs, parts))
    assert float(straight["loss"]) == pytest.approx(sum(parts), abs=tolerance, rel=0)
    assert float(turned["loss"]) == pytest.approx(sum(parts), abs=tolerance, rel=0)
