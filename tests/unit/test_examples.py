"""The examples in docstrings run as they stand, in a process that has just begun to use purdist."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
import purdist.testing
from purdist.losses import adaptors, arguments, checks, classes, maths, rows
from tests import nets

PACKAGE = Path(purdist.__file__).parent


@attrs.frozen
class Example:
    """A block of code in a docstring, and what it is found by."""

    where: str
    code: str


def examples(text: str, where: str) -> Iterator[Example]:
    """The blocks after ``::`` in a docstring, at any depth."""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if line.endswith("::"):
            depth = len(line) - len(line.lstrip())
            block = []
            for following in lines[k + 1 :]:
                if following.strip() and len(following) - len(following.lstrip()) <= depth:
                    break
                block.append(following)
            yield Example(where, textwrap.dedent("\n".join(block)).strip() + "\n")


def documented(tree: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Every docstring of a module, with the name of what it is of."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from documented(node, f"{name}.{node.name}")
    if isinstance(tree, ast.ClassDef | ast.FunctionDef | ast.Module):
        yield name, ast.get_docstring(tree) or ""


def in_file(file: Path) -> Iterator[Example]:
    module = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for name, text in documented(ast.parse(file.read_text("utf-8")), module):
        yield from examples(text, name)


EXAMPLES = [example for file in sorted(PACKAGE.rglob("*.py")) for example in in_file(file)]


# --- what an example finds there --------------------------------------------------------------


@functools.cache
def network(feed: str, seed: int) -> purdist.Program:
    def forward() -> dict[str, paddle.Tensor]:
        hidden = paddle.tanh(nets.dense(paddle.static.data(feed, [None, 6]), 6, 5))
        return {"hidden": hidden, "logits": nets.dense(hidden, 5, 4)}

    return nets.program(forward, seed=seed)


@functools.cache
def merged() -> purdist.Program:
    return purdist.merge(network("y", 1), network("x", 0), {"y": "x"})


@functools.cache
def distillation() -> purdist.Distillation:
    return purdist.apply(merged(), [purdist.KDLoss("teacher_logits", "logits")])


def make_optimizer() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


def layer() -> paddle.nn.Layer:
    with purdist.graphs.dynamic():
        return paddle.nn.Sequential(paddle.nn.Linear(6, 5), paddle.nn.Linear(5, 4))


MADE: Mapping[str, Callable[[], object]] = {
    "teacher": lambda: network("y", 1),
    "peer": lambda: network("y", 1),
    "student": lambda: network("x", 0),
    "merged": merged,
    "distillation": distillation,
    "training": lambda: purdist.minimize(distillation(), make_optimizer),
    "make_optimizer": lambda: make_optimizer,
    "layer": layer,
    "large": layer,
    "small": layer,
    "cache": lambda: purdist.cache_teacher(distillation(), [{"x": nets.numbers(0, 8, 6)}], "made"),
    "images": lambda: nets.numbers(0, 8, 6),
    "labels": lambda: np.arange(8) % 4,
    "batches": lambda: [{"x": nets.numbers(0, 8, 6)}],
    "dataset": lambda: [(row,) for row in nets.numbers(0, 64, 6)],
    "loader": lambda: [[nets.numbers(0, 8, 6)]],
}
"""What an example may use that it does not make."""

TOOLKIT: tuple[ModuleType, ...] = (adaptors, arguments, checks, classes, maths, rows)
IMPORTED: Mapping[str, object] = {
    **{name: getattr(m, name) for m in TOOLKIT for name in vars(m)["__all__"]},
    **{name: getattr(purdist.testing, name) for name in purdist.testing.__all__},
    **{name: getattr(purdist, name) for name in vars(purdist)["__all__"]},
    "ClassVar": ClassVar,
    "InputSpec": InputSpec,
    "attrs": attrs,
    "json": json,
    "numpy": np,
    "paddle": paddle,
    "tomllib": tomllib,
}


def layered(count: int) -> purdist.Program:
    """A network of so many layers in a list."""

    class Layered(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.layers = paddle.nn.LayerList(paddle.nn.Linear(6, 6) for _ in range(count))

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            for inner in self.layers:
                x = inner(x)
            return x

    with purdist.graphs.dynamic():
        return purdist.from_layer(Layered(), {"x": InputSpec([None, 6])})


def names_for(code: str) -> dict[str, Any]:
    """What ``code`` reads and does not import, new for it, and the files that it reads."""
    if '"layers.0."' in code:
        purdist.save_weights(layered(3), "teacher.safetensors")
        return {"__name__": "example", **IMPORTED, "student": layered(2)}
    if '"pretrained.safetensors"' in code:
        purdist.save_weights(network("x", 2), "pretrained.safetensors")
    read = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    made = {name: make() for name, make in MADE.items() if name in read}
    return {"__name__": "example", **IMPORTED, **made}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.where)
def test_an_example_runs(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = names_for(example.code)
    paddle.disable_static()
    file = tmp_path / "example.py"  # Paddle reads the source of what it converts
    file.write_text(example.code)
    exec(compile(example.code, str(file), "exec"), names)


def test_examples_are_written_in_one_way() -> None:
    texts = [file.read_text("utf-8") for file in PACKAGE.rglob("*.py")]
    assert not any(">>> " in text for text in texts)


FUNCTIONS = [n for n in vars(purdist)["__all__"] if inspect.isfunction(getattr(purdist, n))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_has_an_example(name: str) -> None:
    assert [*examples(inspect.getdoc(getattr(purdist, name)) or "", name)]


def test_the_examples_are_found() -> None:
    text = "As here::\n\n    a = 1\n\n    b = 2\n\nArgs:\n    c: Such as::\n\n        d = 4\n"
    assert [e.code for e in examples(text, "")] == ["a = 1\n\nb = 2\n", "d = 4\n"]
    where = {example.where for example in EXAMPLES}
    assert {"purdist.__init__", "purdist.merging.merge", "purdist.losses.spec.LossSpec"} <= where
