"""What a user may import: all that `purdist.__all__` names, documented, and nothing else."""

from __future__ import annotations

import builtins
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest

import purdist

EXPORTED: list[str] = vars(purdist)["__all__"]
ALIASES = {name for name in EXPORTED if get_origin(getattr(purdist, name)) is not None}
PUBLIC = sorted({*EXPORTED} - ALIASES)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_ours_and_documented(name: str) -> None:
    thing = getattr(purdist, name)
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].endswith((".", ":"))
    assert thing.__module__.partition(".")[0] == "purdist"
    assert thing.__name__ == name


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_the_name_of_a_type_is_documented_where_it_is_defined(name: str) -> None:
    modules = [
        purdist.arrays,
        purdist.losses.fields,
        purdist.training.evaluating,
        purdist.variables,
    ]
    sources = "".join(map(inspect.getsource, modules))
    written = rf"^{name}: TypeAlias = " + r'[^"]+(?:"\w+"[^"]+)*\n"""[A-Z].*[.:]"""$'
    assert re.search(written, sources, re.MULTILINE)


def test_nothing_else_is_public() -> None:
    modules = {module.name for module in pkgutil.iter_modules(purdist.__path__)}
    reachable = {name for name in vars(purdist) if not name.startswith("_")}
    assert reachable - set(EXPORTED) <= modules
    assert all(isinstance(getattr(purdist, n), ModuleType) for n in reachable - set(EXPORTED))


def _functions() -> list[str]:
    return [name for name in PUBLIC if inspect.isfunction(getattr(purdist, name))]


@pytest.mark.parametrize("name", _functions())
def test_a_function_documents_its_arguments_and_what_it_raises(name: str) -> None:
    function = getattr(purdist, name)
    arguments = _section("Args", inspect.getdoc(function) or "")
    parameters = list(inspect.signature(function).parameters)
    assert arguments == parameters or (not arguments and len(parameters) == 1)
    for kind in _section("Raises", inspect.getdoc(function) or ""):
        assert kind in EXPORTED or hasattr(builtins, kind)


def _section(name: str, text: str) -> list[str]:
    """What a section of a docstring has entries for."""
    found = re.search(rf"^{name}:\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE)
    return re.findall(r"^    (\w+):", found.group(1), re.MULTILINE) if found else []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_error_is_a_purdist_error(name: str) -> None:
    thing = getattr(purdist, name)
    is_error = inspect.isclass(thing) and issubclass(thing, Exception)
    assert is_error == name.endswith(("Error", "Warning"))
    if is_error:
        assert issubclass(thing, purdist.PurdistError | purdist.PurdistWarning)


def test_every_error_that_there_is_is_public() -> None:
    kinds = {name for name, thing in vars(purdist.errors).items() if inspect.isclass(thing)}
    assert {name for name in kinds if name.endswith("Error")} <= set(EXPORTED)


# --- the toolkit for losses of one's own -------------------------------------------------------

LOSSES = Path(purdist.losses.__file__).parent
TABLES = re.findall(
    r"(?:^\|.*\n)+", (LOSSES / "README.md").read_text("utf-8"), re.MULTILINE
)  # of the losses, and of the toolkit
TOOLKIT = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", TABLES[1], re.MULTILINE))


def test_the_table_of_losses_is_the_catalogue() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| .+ \|$", TABLES[0], re.MULTILINE)
    assert sorted(rows) == sorted(
        (loss.__name__, loss.__module__.split(".")[2]) for loss in purdist.losses.CATALOGUE
    )


def test_the_table_of_the_toolkit_names_its_modules() -> None:
    with_names = {file.stem for file in LOSSES.glob("*.py") if "\n__all__ = [" in file.read_text()}
    assert set(TOOLKIT) == with_names


@pytest.mark.parametrize("name", sorted(TOOLKIT))
def test_a_module_of_the_toolkit_is_listed_and_documented(name: str) -> None:
    module = importlib.import_module(f"purdist.losses.{name}")
    assert re.findall(r"`(\w+)`", TOOLKIT[name]) == module.__all__
    own = {k for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    assert {key for key in own if not key.startswith("_")} <= set(module.__all__)
    for key in module.__all__:
        thing = getattr(module, key)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing)


SHOWN = {
    purdist.Program: "describe graph inference_graph inputs parameters peers place run scope "
    "teachers variable variables weights",
    purdist.Distillation: "digests loss program source specs terms",
    purdist.Training: "loss program steps terms",
    purdist.Checkpoints: "directory every keep",
    purdist.Step: "fetched index learning_rate loss terms weights",
    purdist.Variable: "dtype given_name layer mode name network op owner role shape trainable",
}


@pytest.mark.parametrize("value", SHOWN)
def test_what_a_value_is_inside_is_not_public(value: type) -> None:
    assert [name for name in dir(value) if name[0] != "_"] == SHOWN[value].split()
