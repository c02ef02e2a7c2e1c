"""Random feeds, and whether two answers are one."""

from __future__ import annotations

import numpy as np
import pytest

from purdist.trying import agree, random_feed
from purdist.variables import Variable


def test_a_feed_has_the_known_sizes_and_the_given_unknown_ones() -> None:
    inputs = [
        Variable("x", (-1, 3, -1), "float32", "input"),
        Variable("ids", (-1,), "int64", "input"),
        Variable("half", (2, 2), "bfloat16", "input"),
        Variable("mask", (-1, -1), "bool", "input"),
    ]
    feed = random_feed(inputs, {"ids": (5, 9)}, rows=40, size=7)
    assert {k: (a.shape, a.dtype.name) for k, a in feed.items()} == {
        "x": ((40, 3, 7), "float32"),
        "ids": ((40,), "int64"),
        "half": ((2, 2), "uint16"),
        "mask": ((40, 7), "bool"),
    }
    assert set(feed["ids"]) == {5, 6, 7, 8}


def test_a_bfloat16_feed_is_the_upper_half_of_its_numbers() -> None:
    (halves,) = random_feed(
        [Variable("h", (100,), "bfloat16", "input")], {}, rows=1, size=1
    ).values()
    numbers = np.random.RandomState(0).standard_normal(100)
    read = (halves.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(read, numbers, rtol=1e-2)


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        ([1.0, 2.0], [1.0, 2.00001], True),
        ([1.0, 2.0], [1.0, 2.01], False),
        ([0.0, 1000.0], [0.01, 1000.0], True),  # of the largest number
        ([np.nan, np.inf], [np.nan, np.inf], True),
        ([np.nan, -np.inf], [np.nan, np.inf], False),
        ([1.0, np.nan], [1.0, 1.0], False),
        ([1.0], [[1.0]], False),
        ([], [], True),
    ],
)
def test_answers_agree_up_to_rounding(got: object, expected: object, same: bool) -> None:  # noqa: FBT001
    assert agree(np.array(got), np.array(expected)) == same


def test_integers_agree_to_the_last() -> None:
    assert agree(np.array([1, 2]), np.array([1, 2]))
    assert not agree(np.array([10_000_000, 2]), np.array([10_000_001, 2]))
