"""`Schedule`: what it is at each step, and that it is a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import purdist
from purdist import InvalidArgumentError, KDLoss, Schedule

numbers = st.floats(-100, 100)
steps = st.integers(1, 1000)
basic = (
    st.builds(Schedule.constant, numbers)
    | st.builds(Schedule.linear, numbers, numbers, steps)
    | st.builds(Schedule.cosine, numbers, numbers, steps)
    | st.builds(Schedule.warmup, steps)
)


def pieces_of(inner: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    later = st.dictionaries(steps, inner | numbers, max_size=3)
    return st.builds(lambda first, rest: Schedule.piecewise({**rest, 0: first}), inner, later)


schedules = st.recursive(
    basic,
    lambda inner: pieces_of(inner) | st.builds(lambda a, b: a * b, inner, inner),
    max_leaves=4,
)


def test_constant_is_one_number() -> None:
    assert [Schedule.constant(0.3).at(step) for step in (0, 1, 10**9)] == [0.3, 0.3, 0.3]


def test_linear_goes_in_equal_strides_and_stays() -> None:
    schedule = Schedule.linear(1.0, 0.0, 4)
    assert [schedule.at(step) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_warmup_begins_at_nothing() -> None:
    assert [Schedule.warmup(2).at(step) for step in range(4)] == [0.0, 0.5, 1.0, 1.0]
    assert Schedule.warmup(2) == Schedule.linear(0, 1, 2)


def test_cosine_is_half_a_wave() -> None:
    schedule = Schedule.cosine(3.0, 1.0, 8)
    expected = [2 + math.cos(math.pi * step / 8) for step in range(9)]
    assert [schedule.at(step) for step in range(9)] == pytest.approx(expected)
    assert schedule.at(8) == schedule.at(100) == 1.0


def test_each_piece_counts_from_its_own_beginning() -> None:
    schedule = Schedule.piecewise({6: Schedule.linear(4.0, 0.0, 2), 0: Schedule.warmup(2), 4: 5.0})
    found = [schedule.at(step) for step in range(10)]
    assert found == [0.0, 0.5, 1.0, 1.0, 5.0, 5.0, 4.0, 2.0, 0.0, 0.0]


@given(schedules, schedules, numbers, st.integers(0, 3000))
def test_a_product_multiplies_at_each_step(
    one: Schedule, other: Schedule, number: float, step: int
) -> None:
    expected = one.at(step) * other.at(step) * number
    assert (one * other * number).at(step) == pytest.approx(expected)
    assert (number * (one * other)).at(step) == pytest.approx(expected)


@given(schedules)
def test_a_schedule_prints_as_what_makes_it(schedule: Schedule) -> None:
    again = eval(repr(schedule), {"Schedule": Schedule})
    assert again == schedule
    assert hash(again) == hash(schedule)


def test_what_is_printed() -> None:
    schedule = Schedule.piecewise({0: 0.5 * Schedule.warmup(10), 20: Schedule.cosine(1, 0, 5)})
    assert repr(schedule) == (
        "Schedule.piecewise({0: Schedule.constant(0.5) * Schedule.linear(0.0, 1.0, 10), "
        "20: Schedule.cosine(1.0, 0.0, 5)})"
    )


def test_products_that_are_equal_are_equal() -> None:
    schedule = Schedule.warmup(10)
    assert 2 * schedule * 0.5 == schedule
    assert 2 * (3 * schedule) == schedule * 6
    assert Schedule.constant(2) * Schedule.constant(3) == Schedule.constant(6)


@given(schedules, schedules)
def test_schedules_that_mean_the_same_are_one_value(one: Schedule, other: Schedule) -> None:
    alike = [
        (one * other, other * one),
        (Schedule.piecewise({0: one}), one),
        (
            Schedule.piecewise({0: Schedule.piecewise({0: one, 7: other}), 5: 2}),
            Schedule.piecewise({0: one, 5: 2.0}),
        ),
        (
            Schedule.piecewise({0: one, 3: Schedule.piecewise({0: 1, 4: other})}),
            Schedule.piecewise({0: one, 3: 1, 5: 1.0, 7: other}),
        ),
        (0 * one, Schedule.constant(0)),
        (Schedule.linear(2, 2, 9), Schedule.cosine(2.0, 2.0, 3)),
    ]
    for left, right in alike:
        assert left == right
        assert hash(left) == hash(right)
        assert repr(left) == repr(right)
        assert [left.at(step) for step in range(12)] == [right.at(step) for step in range(12)]


def test_a_schedule_that_stays_is_its_number_to_a_loss() -> None:
    loss: Any = KDLoss("t", "s")
    for same in (Schedule.constant(2) * loss, KDLoss("t", "s", weight=2), np.float32(2) * loss):
        assert same == 2.0 * loss
        assert hash(same) == hash(2.0 * loss)
        assert repr(same) == "KDLoss('t', 's', weight=2.0)"
        assert purdist.losses_to_data([same])[0]["weight"] == 2.0


def test_a_loss_takes_a_schedule_for_a_weight() -> None:
    schedule, loss = Schedule.warmup(10), KDLoss("t", "s")
    scheduled = schedule * loss
    assert scheduled == loss * schedule == KDLoss("t", "s", weight=schedule)
    assert 0.5 * scheduled == KDLoss("t", "s", weight=0.5 * schedule)
    assert hash(scheduled) == hash(KDLoss("t", "s", weight=schedule))
    assert eval(repr(scheduled), vars(purdist)) == scheduled


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Schedule.linear(0, 1, 0),
            "Expected steps to be a whole number above 0, got 0.\nGive steps such a number.",
        ),
        (
            lambda: Schedule.cosine(0, math.inf, 5),
            "Expected end to be a finite number, got inf.\nGive end such a number.",
        ),
        (
            lambda: Schedule.constant("0.5"),  # type: ignore[arg-type]  # is what is tested
            "Expected value to be a finite number, got '0.5'.\nWrite value=0.5, without quotes.",
        ),
        (
            lambda: Schedule.piecewise({10: 1.0, 5: 2.0}),
            "Expected one piece to begin at step 0 and each other later, got steps [5, 10].\n"
            "Write Schedule.piecewise({0: ..., 1000: ...}).",
        ),
    ],
)
def test_what_is_no_schedule_is_refused(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert str(caught.value) == text


def test_a_schedule_is_multiplied_by_numbers_schedules_and_losses_alone() -> None:
    with pytest.raises(TypeError):
        Schedule.warmup(3) * "x"  # type: ignore[operator]  # is what is tested


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.constant(0.5),
        Schedule.linear(0, 1, 4),
        Schedule.cosine(0, 1, 4),
        Schedule.piecewise({0: 1.0}),
        Schedule.warmup(4) * Schedule.warmup(4),
    ],
)
def test_every_schedule_asks_for_a_step(schedule: Schedule) -> None:
    for wrong in (-1, 1.0, True, None, "1"):
        with pytest.raises(InvalidArgumentError, match="Expected step to be a whole number"):
            schedule.at(wrong)  # type: ignore[arg-type]  # is what is tested
    assert type(schedule.at(np.int64(3))) is float  # type: ignore[arg-type]
    assert schedule.at(10**400) == schedule.at(4)


@pytest.mark.parametrize("thing", [Schedule.warmup(3), KDLoss("t", "s")])
def test_an_array_is_no_factor_on_either_side(thing: Any) -> None:
    for array in (np.ones(3), np.array(2.0), np.ones((0, 2))):
        for left, right in ((array, thing), (thing, array)):
            with pytest.raises(InvalidArgumentError, match="Expected factor to be a finite number"):
                left * right
    assert np.float32(2) * thing == thing * np.float64(2) == 2 * thing
