"""The recipes of the architecture page, followed to the letter in a copy."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import paddle
import pytest

import purdist
from tests.nets import ROOT, linear, numbers, program

PAGE = ROOT / "purdist" / "README.md"
FILE = re.compile(
    r"`([\w/]+\.(?:py|md))`:\n\n(?:<!-- fmt: off -->\n)?```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"```sh\n(.*?)\n```", re.DOTALL)


def recipe(title: str) -> str:
    """What the page says under a title."""
    _, _, text = PAGE.read_text("utf-8").partition(f"### {title}\n")
    assert text
    return re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]


def write(file: Path, block: str) -> None:
    """A new file; a row at the end of the table that a file ends in, or has first; a line."""
    if not file.exists():
        file.write_text(block, "utf-8")
        return
    text = file.read_text("utf-8")
    if file.suffix == ".md":
        table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert table
        end = table.end()
    else:
        end = len(text) - len("]\n") if text.endswith("\n]\n") else len(text)
    file.write_text(text[:end] + block + text[end:], "utf-8")


def test_a_new_loss_is_what_the_recipe_says(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("purdist", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    steps = FILE.findall(recipe("A new loss"))
    assert [path for path, _ in steps] == [
        "purdist/losses/features/log_cosh.py",
        "purdist/losses/catalogue.py",
        "tests/losses/features.py",
        "purdist/losses/README.md",
    ]
    for path, block in steps:
        write(tmp_path / path, block)

    (command,) = COMMAND.findall(recipe("A new loss"))
    python, *arguments = shlex.split(command)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments, "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 20


def test_a_new_backend_is_what_the_recipe_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)^```", recipe("A new backend"), re.MULTILINE | re.DOTALL)
    functions = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef)]
    assert all(function.returns for function in functions), "as a strict type checker wants it"
    names: dict[str, Any] = {}
    exec(code, names)
    merged = purdist.merge(program(linear("y"), seed=1), program(linear()), {"y": "x"})
    distillation = purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])
    feeds = [{"x": numbers(k, 6, 6)} for k in range(4)]
    graph, at_home = (
        purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), teacher=teacher)
        for teacher in ("graph", names["AtHome"]())
    )
    assert "teacher  at home\n" in str(at_home)
    losses = [[step.loss for step in purdist.train(one, feeds)] for one in (graph, at_home)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
