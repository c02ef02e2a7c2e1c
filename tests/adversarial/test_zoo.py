"""Everything of ``paddle.nn`` computes with purdist what it computes in dygraph, or is refused.

The slow profile, ``PURDIST_TESTS=slow``, runs each case on its own and those, too, that stand
first in a network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from tests.adversarial import expected
from tests.adversarial.asking import Outcomes, outcomes
from tests.adversarial.battery import WAYS, Shown
from tests.adversarial.whole import F, nn
from tests.adversarial.zoo import WITHOUT, zoo

SLOW = "slow" in os.environ.get("PURDIST_TESTS", "")
CASES = {name: named for name, named in zoo().items() if SLOW or not named.first}


@pytest.fixture(scope="module")
def came_to(request: pytest.FixtureRequest) -> Mapping[str, Outcomes]:
    """What the selected cases come to."""
    selected = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "came_to" in item.fixturenames
    ]
    cases = {name: CASES[name] for name in selected}
    told = [
        name for name in cases if any(expected.of({**expected.REFUSED, **expected.KNOWN}, name))
    ]
    return outcomes(cases, list(WAYS), alone=told, size=1 if SLOW else 10)


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_dygraph_computes(name: str, came_to: Mapping[str, Outcomes]) -> None:
    refused, known = (
        dict(expected.of(expected.REFUSED, name)),
        dict(expected.of(expected.KNOWN, name)),
    )
    wrong = {
        way: f"{shown.error}: {shown.text}"
        for way, shown in came_to[name].items()
        if not _as_expected(shown, refused.get(way, "")) and way not in known
    }
    assert not wrong, "\n".join(f"{way}: {text}" for way, text in wrong.items())
    if known:
        pytest.xfail(", ".join(sorted(set(known.values()))))


def _as_expected(shown: Shown, error: str) -> bool:
    return shown.error == error


def test_nothing_is_without_a_case_that_is_there_no_more() -> None:
    assert set(WITHOUT) <= {*nn.__all__, *F.__all__}
