"""What a file's cases of the zoo come to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.adversarial.asking import Outcomes
from tests.adversarial.judging import come_to


@pytest.fixture(scope="module")
def came_to(request: pytest.FixtureRequest) -> Mapping[str, Outcomes]:
    """By case, of those that are selected of the file."""
    return come_to(
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and "came_to" in item.fixturenames
    )
