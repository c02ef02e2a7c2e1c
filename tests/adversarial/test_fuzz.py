"""Whatever is drawn trains with purdist as it does by hand in dygraph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.adversarial.children import Children
from tests.adversarial.examples import Example, examples
from tests.adversarial.fuzz import differs
from tests.profiles import SLOW


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children("tests.adversarial.fuzz") as server:
        yield server


@settings(
    max_examples=2000 if SLOW else 3,
    derandomize=not SLOW,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(examples())
def test_any_distillation_trains_as_by_hand(children: Children, example: Example) -> None:
    answer = children.ask(differs, example, seconds=300)
    unexpected = [item for item in answer.items if item not in ("expected", "no engine")]
    assert (unexpected, answer.fault) == ([], "")
