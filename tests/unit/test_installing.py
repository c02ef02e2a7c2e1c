"""How purdist is installed: what a wheel of it is, what its sources hold, what it imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import purdist
from tests.installing import built, copied, unpacked
from tests.nets import ROOT

PACKAGE = Path(purdist.__file__).parent
ELSEWHERE = {"fcntl", "grp", "pwd", "resource", "termios"}
"""Modules that other systems than Linux lack."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is cloned."""
    return copied(tmp_path_factory.mktemp("sources"))


def test_the_sources_hold_what_the_tests_need(sources: Path, tmp_path: Path) -> None:
    with tarfile.open(built(sources, "sdist", tmp_path)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("purdist", "tests", "stubs")
    wanted = [
        path for folder in folders for path in (sources / folder).rglob("*") if path.is_file()
    ]
    assert len(wanted) > 300
    names = {str(path.relative_to(sources)) for path in wanted}
    assert {*names, "README.md", "mypy.ini", "pyproject.toml", ".ci/run"} <= held
    assert not [name for name in held if "__pycache__" in name or "cache/" in name]


@pytest.fixture(scope="module")
def editable(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with an editable install and nothing else."""
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (folder / "wheel").mkdir()
    unpacked(built(sources, "editable", folder / "wheel"), site)
    return python


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # Everything behind what it finds takes it long to look at.
        (["mypy", "--follow-imports=skip", "--config-file=", "--python-executable"], "no issues"),
        (["basedpyright", "--pythonpath"], 'is "str"'),
    ],
    ids=["mypy", "pyright"],
)
def test_type_checkers_see_an_editable_install(
    editable: Path, options: list[str], said: str, tmp_path: Path
) -> None:
    user = tmp_path / "user.py"
    user.write_text("import purdist\n\nreveal_type(purdist.__version__)\n")
    done = subprocess.run(
        [sys.executable, "-m", *options, str(editable), str(user)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stdout


def test_the_version_is_told() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", purdist.__version__)


def imported_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """What a module imports as it is imported itself: what stands in no function."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from imported_at_once(getattr(node, part, []))


def test_nothing_is_imported_that_other_systems_lack() -> None:
    modules = [*PACKAGE.rglob("*.py")]
    assert len(modules) > 100
    imported = {
        name for module in modules for name in imported_at_once(ast.parse(module.read_text()).body)
    }
    assert "paddle" in imported
    assert imported & ELSEWHERE == set()
    lazily = {
        name
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Import)
        for name in (alias.name for alias in node.names)
    }
    assert {"fcntl", "resource"} <= lazily
