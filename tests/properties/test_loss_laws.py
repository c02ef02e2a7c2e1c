"""The laws of losses, held against the one table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import purdist
from purdist import CustomLoss, LossSpec, PairLoss
from purdist.losses import CATALOGUE
from purdist.testing import (
    LOSS_LAWS,
    Arrays,
    LossLaw,
    evaluate_loss,
    nothing_flows_to_teacher,
    order_of_batch_is_free,
)
from tests.losses import CASES, ROWS, each_case, identity
from tests.losses.row import Case

Array = npt.NDArray[Any]

pytestmark = pytest.mark.usefixtures("built_once")


def test_every_loss_is_in_the_table_once() -> None:
    public = {
        thing
        for thing in vars(purdist).values()
        if isinstance(thing, type) and issubclass(thing, LossSpec)
    }
    assert public == {LossSpec, PairLoss, CustomLoss, *CATALOGUE}
    assert sorted(row.loss.kind for row in ROWS) == sorted(loss.kind for loss in CATALOGUE)
    assert all(type(case.spec) is row.loss for row in ROWS for case in row.cases)


# Of two samples or fewer, several losses between samples are 0 whatever they are.
some = st.tuples(st.integers(3, 5), st.integers(0, 2**32 - 1))


def normal(seed: int) -> Callable[[tuple[int, ...]], Array]:
    random = np.random.RandomState(seed)
    return lambda shape: random.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "law"),
    [
        pytest.param(case, law, id=f"{identity(case)}-{getattr(law, '__name__', law)}")
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


@pytest.mark.parametrize("case", [case for case in CASES if case.at_rest], ids=identity)
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
