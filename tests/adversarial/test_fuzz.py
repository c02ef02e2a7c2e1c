"""Whatever is drawn trains with purdist as it does by hand in dygraph."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.adversarial.children import Children
from tests.adversarial.fuzz import Example, differs, examples

SLOW = "slow" in os.environ.get("PURDIST_TESTS", "")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children("tests.adversarial.fuzz") as server:
        yield server


@settings(
    max_examples=2000 if SLOW else 30,
    derandomize=not SLOW,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
@given(examples())
def test_any_distillation_trains_as_by_hand(children: Children, example: Example) -> None:
    answer = children.ask(differs, example, seconds=60)
    if not answer.items and not answer.fault:
        return  # nothing that dygraph computes
    assert (answer.items, answer.fault) == (("expected",), ""), example
