"""Whatever is handed to a public function is taken for what it is, or refused by purdist itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversarial.arguments import TAKES, VALID, Outcome, outcomes, targets
from tests.adversarial.children import Children
from tests.profiles import SLOW

RIGHT = ("refused", "taken")
NAMES = sorted(targets())
PARTS = [tuple(NAMES[k::2]) for k in range(2)]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children("tests.adversarial.arguments") as server:
        yield server


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[str]]:
    """What came of all, printed in the end."""
    counted: Counter[str] = Counter()
    yield counted
    print(f"\n{sum(counted.values())} values handed over: {dict(counted)}")


def test_every_public_call_is_in_the_table() -> None:
    missing = [
        f"{target.name}({name}: {kind})"
        for target in targets().values()
        for name, kind in target.parameters.items()
        if target.name not in VALID or kind not in TAKES
    ]
    assert missing == []


@pytest.mark.parametrize("names", PARTS, ids=range(len(PARTS)))
def test_no_value_is_taken_for_another(
    names: tuple[str, ...], children: Children, counts: Counter[str], tmp_path: Path
) -> None:
    answer = children.ask(in_a_folder, names, str(tmp_path), seconds=3000)
    counts.update(outcome.came for outcome in answer.items)
    wrong = [outcome for outcome in answer.items if outcome.came not in RIGHT]
    assert (wrong, answer.fault) == ([], "")


def in_a_folder(names: tuple[str, ...], folder: str) -> Iterator[Outcome]:
    os.chdir(folder)
    yield from outcomes(names, every=SLOW)
