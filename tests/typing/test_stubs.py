"""Our stubs of Paddle say nothing that the installed Paddle does not have."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import paddle
import pytest
from paddle.base import framework
from paddle.base.libpaddle import pir

STUBS = Path(__file__).parents[2] / "stubs"
MODULES = {
    ".".join(path.relative_to(STUBS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(STUBS.rglob("*.pyi"))
    if "_typing" not in path.parts  # no module of Paddle: its own stubs
}

FURTHER = {"Tensor": pir.Value, "Program": framework.Program, "Block": framework.Block}
"""What else a class of the stubs stands for."""

GPU_ONLY = {"paddle.base.core.CUDAPlace.get_device_id"}

Function = ast.FunctionDef


def faults(body: list[ast.stmt], things: tuple[object, ...], path: str) -> Iterator[str]:
    """What the stub ``body`` of the runtime ``things`` says in vain."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue  # an attribute need not exist before there is an instance
        here = f"{path}.{node.name}"
        found = tuple(getattr(t, node.name) for t in things if hasattr(t, node.name))
        if isinstance(node, ast.ClassDef):
            if not node.name.startswith("_"):  # made for the stubs
                further = FURTHER.get(node.name)
                yield from faults(node.body, found + ((further,) if further else ()), here)
                if not found:
                    yield here
        elif not found and here not in GPU_ONLY:
            yield here
        elif found:
            yield from parameter_faults(node, found, here)


def parameter_faults(node: Function, found: tuple[object, ...], path: str) -> Iterator[str]:
    """The parameters that no runtime function has at that place, by that name."""
    known = [s for s in map(signature, found) if s is not None]
    operator = node.name.startswith("__") and node.name != "__init__"
    if not known or node.args.posonlyargs or operator:
        return  # compiled, or called without names
    bound = [a.arg for a in node.args.args[:1]] == ["cls"]
    for position, argument in enumerate(node.args.args[bound:]):
        if argument.arg != "self" and not any(
            at(s, position) == argument.arg or takes_any(s) for s in known
        ):
            yield f"{path}({argument.arg}) at {position}"
    for argument in node.args.kwonlyargs:
        if not any(argument.arg in s.parameters or takes_any(s) for s in known):
            yield f"{path}({argument.arg})"


def signature(thing: object) -> inspect.Signature | None:
    try:
        return inspect.signature(thing) if callable(thing) else None
    except ValueError:
        return None


def at(signature: inspect.Signature, position: int) -> str | None:
    names = list(signature.parameters)
    return names[position] if position < len(names) else None


def takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


@pytest.mark.parametrize("name", MODULES)
def test_paddle_has_what_the_stubs_say(name: str) -> None:
    module = paddle if name == "paddle" else importlib.import_module(name)
    assert list(faults(ast.parse(MODULES[name].read_text()).body, (module,), name)) == []
