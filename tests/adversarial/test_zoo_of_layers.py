"""Every layer of ``paddle.nn`` computes with purdist what it does in dygraph, or is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.adversarial.asking import Outcomes
from tests.adversarial.judging import cases, wrong
from tests.adversarial.whole import nn
from tests.adversarial.zoo import WITHOUT, forgotten


@pytest.mark.parametrize("name", cases("layer", "net"))
def test_it_computes_what_dygraph_computes(name: str, came_to: Mapping[str, Outcomes]) -> None:
    assert wrong(name, came_to[name]) == []


def test_no_layer_of_paddle_is_forgotten() -> None:
    assert forgotten("layer", nn) == []


def test_nothing_is_without_a_case_that_is_there_no_more() -> None:
    assert set(WITHOUT) <= {*nn.__all__, *nn.functional.__all__}
