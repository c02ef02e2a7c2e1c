"""`purdist.graphs` is the one place with Paddle's private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import purdist

PACKAGE = Path(purdist.__file__).parent
OUTSIDE = [file for file in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "graphs" not in file.parents]

PUBLIC = {
    *("paddle", "paddle.distributed", "paddle.inference", "paddle.io", "paddle.metric"),
    *("paddle.nn", "paddle.nn.functional", "paddle.optimizer", "paddle.optimizer.lr"),
    *("paddle.static", "paddle.utils", "paddle.utils.unique_name"),
}
"""The modules of Paddle that its documentation tells users to import."""

HIDDEN = {"base", "core", "dy2static", "framework", "libpaddle", "pir", "pir_utils"}
"""The modules under them that it does not."""


UNDOCUMENTED = {
    *("all_used_ops", "as_vec_type", "attrs", "copy_to_block", "erase", "first_use"),
    *("get_defining_op", "get_parent_block", "has_attr", "has_one_use", "is_dense_tensor_type"),
    *("id", "initialized", "move_after", "move_before", "num_operands", "num_regions"),
    *("num_results", "operand", "operand_source", "operands", "operands_source", "regions"),
    *("replace_all_uses_with", "replace_grad_users_with", "results", "set_bool_attr"),
    *("set_int_attr", "set_source", "set_str_attr", "str_attr", "use_empty"),
}
"""What an op, a value or a block of a PIR program has, and a tensor or a program has not."""

CALLED = {"name": 0, "result": 1}
"""The same of what others have too: with how many arguments an op's is called."""

LEFT = {("exporting/inference.py", "id"), ("training/metrics.py", "name")}
"""Where one is left, or a metric asked for its name."""


def private_names(source: str) -> Iterator[str]:
    """Each use of a private name in ``source``: what a class of its own calls so is its own."""
    tree = ast.parse(source)
    own = set(own_names(tree))
    for node in ast.walk(tree):
        for name in names_in(node):
            if is_private(name) and name not in own:
                yield f"{ast.unparse(node)}: {name}"


def names_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        from_module = getattr(node, "module", None)
        modules = [from_module] if from_module else [alias.name for alias in node.names]
        yield from (name for name in modules if name.split(".")[0] == "paddle")
        if from_module in PUBLIC:
            yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Attribute):
        whole = ast.unparse(node)
        yield node.attr
        if whole.startswith("paddle."):
            yield from (part for part in whole.split(".") if part in HIDDEN)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
        yield from (str(a.value) for a in node.args[1:2] if isinstance(a, ast.Constant))


def undocumented(source: str) -> Iterator[str]:
    """Each use in ``source`` of what is undocumented of ops: `graphs` has functions for it."""
    tree = ast.parse(source)
    own = set(own_names(tree))
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    called = [
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and CALLED.get(node.func.attr) == len(node.args) + len(node.keywords)
    ]
    for node in [*(node for node in asked if node.attr in UNDOCUMENTED), *called]:
        if node.attr not in own and ast.unparse(node.value) != "graphs":
            yield node.attr


def is_private(name: str) -> bool:
    if name.split(".", maxsplit=1)[0] == "paddle":
        return name not in PUBLIC
    if name in ("_fields", "_getframe", "_is_protocol"):  # Python's own
        return False
    return name in HIDDEN or (name.startswith("_") and not name.startswith("__"))


def own_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef):
                    yield inner.name
                elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield inner.id
                elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    yield from [inner.attr] if ast.unparse(inner.value) == "self" else []


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_module_outside_graphs_has_a_private_name_of_paddles(file: Path) -> None:
    assert list(private_names(file.read_text())) == []


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_module_outside_graphs_asks_an_op_for_what_is_undocumented(file: Path) -> None:
    found = {(str(file.relative_to(PACKAGE)), name) for name in undocumented(file.read_text())}
    assert found <= LEFT


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_a_draft_or_a_new_program_is_appended_to(file: Path) -> None:
    """The type checker refuses a `Graph`; Paddle's guard would take the program it holds."""
    guards = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("program_guard")
    ]
    assert [guard for guard in guards if "." in guard.partition("(")[2]] == []


@pytest.mark.parametrize(
    "source",
    [
        "from paddle.base import core",
        "from paddle import base",
        "from paddle import _C_ops",
        "import paddle.base.libpaddle",
        "import paddle.jit.dy2static",
        "paddle.base.framework.Parameter",
        "paddle.pir_utils.IrGuard()",
        "paddle._pir_ops.fetch(value)",
        "tensor._dtype()",
        "optimizer._learning_rate = 0.1",
        "getattr(optimizer, '_lazy_mode', False)",
        "self.optimizer._learning_rate",
        "class Own:\n    def __init__(self): self._mine = 0\nlayer._buffers",
    ],
)
def test_a_private_name_is_seen(source: str) -> None:
    assert list(private_names(source))


@pytest.mark.parametrize(
    "source",
    [
        "from paddle.nn import functional as F",
        "from paddle.utils import unique_name",
        "paddle.static.Program()",
        "class Own:\n    def __init__(self): self._mine = 0\n    def met(self, o): return o._mine",
        "class Own:\n    _mine: int\nown._mine",
        "other.__class__",
    ],
)
def test_a_public_name_or_ones_own_is_not(source: str) -> None:
    assert list(private_names(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "graphs.op_of(total).operands_source()[1]",
        "op.operand_source(1)",
        "op.attrs()['dropout_prob']",
        "[v for op in ops for v in op.results()]",
        "op.result(0)",
        "op.name() == 'pd_op.data'",
        "first.replace_all_uses_with(second)",
        "known[value.id]",
        "ids = map(op.id, ops)",
    ],
)
def test_what_is_undocumented_of_ops_is_seen(source: str) -> None:
    assert list(undocumented(source))


@pytest.mark.parametrize(
    "source",
    [
        "tensor.name",
        "step.result()",
        "term.result",
        "attrs.evolve(cut)",
        "id(tensor)",
        "graphs.erase(draft, ops)",
    ],
)
def test_what_bears_such_a_name_elsewhere_is_not(source: str) -> None:
    assert not list(undocumented(source))
