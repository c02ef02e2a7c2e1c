"""The house: small modules, and imports that go down the floors of the architecture page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import purdist

PACKAGE = Path(purdist.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
GRAPHS = PACKAGE / "graphs"
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
        elif isinstance(node, ast.Import):
            parts_of = [alias.name.split(".") for alias in node.names]
            yield from ([*parts, "__init__"][1] for parts in parts_of if parts[0] == "purdist")


def _is_room(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def groups() -> list[str]:
    """The groups of `purdist.graphs`, from the ground; the first is what stands beside them."""
    table = PAGE.partition("## Glossary")[0].partition("| group |")[2]
    return ["", *re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)[::-1]]


def group_of(module: Path) -> str:
    return "" if module.parent == GRAPHS else module.parent.name


def modules_imported(module: Path) -> Iterator[str]:
    """The modules that one imports from, each with its whole name."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                path = PACKAGE.parent / whole.replace(".", "/")
                yield (
                    whole
                    if path.is_dir() or path.with_suffix(".py").is_file()
                    else node.module or ""
                )


def groups_imported(module: Path) -> Iterator[str]:
    """The groups of `purdist.graphs` that a module of it imports."""
    for name in modules_imported(module):
        _, inside, rest = name.partition("purdist.graphs.")
        if inside:
            group = rest.split(".")[0]
            yield group if (GRAPHS / group).is_dir() else ""


def test_each_room_stands_on_a_floor() -> None:
    assert set(floors()) == {room_of(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(module: Path) -> None:
    levels, room = floors(), room_of(module)
    up = {other for other in imported(module) if other != room and levels[other] >= levels[room]}
    assert up == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Inside a room, where no floors are, imports go one way too."""
    names = {
        ".".join(m.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): m
        for m in MODULES
    }
    imports = {name: names.keys() & set(modules_imported(m)) for name, m in names.items()}
    assert len(list(TopologicalSorter(imports).static_order())) == len(MODULES)


def test_each_group_of_graphs_stands_on_a_floor() -> None:
    assert set(groups()) == {group_of(module) for module in GRAPHS.rglob("*.py")}


@pytest.mark.parametrize(
    "module",
    [module for module in sorted(GRAPHS.rglob("*.py")) if module != GRAPHS / "__init__.py"],
    ids=lambda path: str(path.relative_to(GRAPHS)),
)
def test_imports_go_down_inside_graphs(module: Path) -> None:
    assert "purdist.graphs" not in set(modules_imported(module)), "the names of all, asked inside"
    floor = groups().index(group_of(module))
    assert [name for name in groups_imported(module) if groups().index(name) > floor] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_small(module: Path) -> None:
    bound = 400 if room_of(module) == "graphs" else 300
    assert len(module.read_text().splitlines()) <= bound


FLAGS = {"stop_gradient", "trainable"}
"""What says of a value whether it takes a gradient, and of a weight whether it learns."""

SET_ELSEWHERE = {
    "building/terms.py": "the stand-in of a variable, in a program of its own",
    "drafting.py": "the weight of a term, a number that `train` writes",
    "graphs/running/files.py": "Paddle's own file, which is written and dropped",
    "sources/weights.py": "the tensors of a layer while it is traced, and what it says of them",
    "testing/evaluating.py": "the inputs of a loss that is differentiated by them",
}


def test_flags_of_gradients_are_set_in_one_place() -> None:
    """`graphs.learning`; and `graphs.calling`, where code of a user's sets them."""
    places = {"graphs/learning", "graphs/calling"}
    setting = {
        module.relative_to(PACKAGE)
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr in FLAGS
    }
    assert places <= {str(path.parent) for path in setting}
    elsewhere = {str(path) for path in setting if str(path.parent) not in places}
    assert elsewhere <= SET_ELSEWHERE.keys()
