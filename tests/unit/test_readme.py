"""The Python in the README runs as it stands, each block in a process of its own.

A block that imports nothing stands behind the first one.
"""

from __future__ import annotations

import re

import pytest

from tests.nets import ROOT, in_a_process

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)


def test_there_is_something_to_run() -> None:
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n", 1)[0] for block in BLOCKS])
def test_a_block_runs(block: str, tmp_path: object) -> None:
    first = "" if block.startswith("import ") else BLOCKS[0]
    in_a_process(f"import os; os.chdir({str(tmp_path)!r})\n{first}{block}")


def test_it_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 165
