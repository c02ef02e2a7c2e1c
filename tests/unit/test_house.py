"""The house: small modules, and imports that go down the floors of the architecture page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import purdist

PACKAGE = Path(purdist.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGE = (PACKAGE / "README.md").read_text()


def floors() -> dict[str, int]:
    """Room -> its floor, counted from the ground."""
    rows = re.findall(r"^\| [^|`]+ \| (`[^|]+`) \|", PAGE.partition("## Glossary")[0], re.MULTILINE)
    return {
        room: floor for floor, row in enumerate(rows[::-1]) for room in re.findall(r"`(\w+)`", row)
    }


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> Iterator[str]:
    """The rooms that a module imports, itself left out."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "purdist":
            parts = (node.module or "").split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            yield from (name if _is_room(name) else "__init__" for name in names)
        elif isinstance(node, ast.Import) and any(a.name == "purdist" for a in node.names):
            yield "__init__"


def _is_room(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def test_each_room_stands_on_a_floor() -> None:
    assert set(floors()) == {room_of(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(module: Path) -> None:
    levels, room = floors(), room_of(module)
    up = {other for other in imported(module) if other != room and levels[other] >= levels[room]}
    assert up == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_small(module: Path) -> None:
    bound = 400 if room_of(module) == "graphs" else 300
    assert len(module.read_text().splitlines()) <= bound
