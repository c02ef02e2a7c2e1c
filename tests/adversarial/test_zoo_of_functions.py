"""Every function of ``paddle.nn.functional``, and the usual methods of tensors, as in dygraph."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.adversarial.asking import Outcomes
from tests.adversarial.judging import cases, wrong
from tests.adversarial.whole import F
from tests.adversarial.zoo import forgotten


@pytest.mark.parametrize("name", cases("function", "method", "paddle"))
def test_it_computes_what_dygraph_computes(name: str, came_to: Mapping[str, Outcomes]) -> None:
    assert wrong(name, came_to[name]) == []


def test_no_function_of_paddle_is_forgotten() -> None:
    assert forgotten("function", F) == []
