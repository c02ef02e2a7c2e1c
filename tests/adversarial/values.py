"""Values that no argument expects, each with what it is: what a type may take it for."""

from __future__ import annotations

import pathlib
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import attrs
import numpy as np
import paddle

import purdist

NONE: Any = object()
"""Of a value that means itself."""


@attrs.frozen(eq=False)
class Value:
    """A value to hand over.

    Attributes:
        make: Makes it: some can be used but once.
        tags: What it is.
        means: What is meant by it, if it is taken, and is not that itself.
    """

    make: Callable[[], Any]
    tags: frozenset[str]
    means: Any = NONE


def value(make: Callable[[], Any], *tags: str, means: Any = NONE) -> Value:
    return Value(make, frozenset((*tags, "anything")), means)


class Text(str):
    """A text that is equal to none."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class Whole(int):
    """A number of one's own."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _raises(*_: object) -> NoReturn:
    raise RuntimeError("asked")


def raising(*names: str) -> Any:
    """An object that raises when it is asked for ``names``."""
    return type("Raising", (), dict.fromkeys(names, _raises))()


class Liar:
    """What says that it is of another class, and raises."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("asked")

    @__class__.setter
    def __class__(self, _: object) -> None: ...


class Fspath:
    """A path whose text is none."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __fspath__(self) -> Any:
        return self.text


def deep(container: type[Any]) -> Any:
    thing: Any = container()
    for _ in range(2000):
        thing = [thing] if container is list else {"x": thing}
    return thing


def endless() -> Iterator[int]:
    while True:
        yield 0


def cyclic() -> list[Any]:
    thing: list[Any] = []
    thing.append(thing)
    return thing


def objects() -> Any:
    array = np.empty(2, object)
    array[:] = [raising("__repr__"), None]
    return array


VALUES: dict[str, Value] = {
    "None": value(lambda: None, "none"),
    "True": value(lambda: True, "bool"),
    "False": value(lambda: False, "bool"),
    "numpy's True": value(lambda: np.bool_(1), "bool", means=True),
    "0": value(lambda: 0, "int", "float"),
    "-1": value(lambda: -1, "int", "float"),
    "3": value(lambda: 3, "int", "float", "3"),
    "numpy's 3": value(lambda: np.int16(3), "int", "float", "3", means=3),
    "huge": value(lambda: 2**70, "int", "float"),
    "too long to print": value(lambda: 10**5000, "int", "float"),
    "a whole number of one's own": value(lambda: Whole(3), "int", "float", "3", means=3),
    "0.5": value(lambda: 0.5, "float"),
    "-0.5": value(lambda: -0.5, "float"),
    "2.0": value(lambda: 2.0, "float"),
    "numpy's 0.5": value(lambda: np.float16(0.5), "float", means=0.5),
    "nan": value(lambda: float("nan"), "float"),
    "inf": value(lambda: float("inf"), "float"),
    "numpy's nan": value(lambda: np.float32("nan"), "float", means=float("nan")),
    "complex": value(lambda: 1j),
    "empty text": value(lambda: "", "str"),
    "x": value(lambda: "x", "str", "path"),
    "a long text": value(lambda: "x" * 5000, "str", "path"),
    "NUL": value(lambda: "a\0b", "str"),
    "half a pair": value(lambda: "\ud800", "str"),
    "line break": value(lambda: "a\nb", "str", "path"),
    "text of one's own": value(lambda: Text("x"), "str", "path", means="x"),
    "numpy's text": value(lambda: np.str_("x"), "str", "path", means="x"),
    "bytes": value(lambda: b"x"),
    "bytearray": value(lambda: bytearray(b"x")),
    "a path": value(lambda: pathlib.Path("nowhere/x"), "path", "Path"),
    "a path of bytes": value(lambda: Fspath(b"x")),
    "a path of a number": value(lambda: Fspath(3)),
    "no path": value(lambda: raising("__fspath__")),
    "[]": value(list, "list"),
    "()": value(lambda: (), "list"),
    "['x']": value(lambda: ["x"], "list of str"),
    "[0]": value(lambda: [0], "list of int"),
    "[None]": value(lambda: [None], "others"),
    "[['x']]": value(lambda: [["x"]], "pairs"),
    "{}": value(dict, "mapping", "str keys"),
    "{'x': 'x'}": value(lambda: {"x": "x"}, "mapping of str", "str keys"),
    "{'x': 1}": value(lambda: {"x": 1}, "mapping of int", "str keys"),
    "{0: 0.5}": value(lambda: {0: 0.5}, "pieces", "int keys"),
    "an ordered mapping": value(lambda: OrderedDict(x=None), "str keys", means=OrderedDict(x=None)),
    "a read-only mapping": value(
        lambda: types.MappingProxyType({"x": "x"}),
        "mapping of str",
        "str keys",
        means={"x": "x"},
    ),
    "set": value(lambda: {"x"}, "unordered"),
    "empty set": value(set, "empty set"),
    "frozenset": value(lambda: frozenset({0}), "int keys", "frozenset"),
    "generator of names": value(lambda: (name for name in ("x",)), "lazy of str", means=["x"]),
    "generator that raises": value(lambda: (_raises() for _ in "x"), "lazy"),
    "generator with no end": value(endless, "endless"),
    "range": value(lambda: range(3), "list of int", means=[0, 1, 2]),
    "slice": value(lambda: slice(None), "slice"),
    "array": value(lambda: np.zeros((2, 2), np.float32), "array"),
    "whole array": value(lambda: np.arange(2), "array", "whole array"),
    "empty array": value(lambda: np.zeros((0,), np.float32), "array", "empty array"),
    "array of texts": value(lambda: np.array(["x"]), "texts", means=["x"]),
    "array of objects": value(objects, "array of objects"),
    "array of dates": value(lambda: np.array(["2020-01-01"], "datetime64[D]"), "others"),
    "huge array": value(lambda: np.broadcast_to(np.float32(0), (1 << 20, 1 << 10)), "array"),
    "tensor": value(lambda: paddle.zeros([2]) if paddle.in_dynamic_mode() else None, "none"),
    "a class": value(lambda: purdist.Program, "callable"),
    "a class of losses": value(lambda: purdist.L2Loss, "callable", "class of losses"),
    "a built-in class": value(lambda: int, "callable"),
    "a function": value(lambda: lambda: None, "callable"),
    "a module": value(lambda: np),
    "object": value(object),
    "NotImplemented": value(lambda: NotImplemented),
    "no repr": value(lambda: raising("__repr__", "__str__", "__format__")),
    "no equality": value(lambda: raising("__eq__", "__hash__")),
    "no iteration": value(lambda: raising("__iter__"), "lazy"),
    "no length": value(lambda: raising("__len__", "__getitem__"), "lazy"),
    "no truth": value(lambda: raising("__bool__")),
    "no attribute": value(lambda: raising("__getattr__")),
    "no class": value(Liar),
    "deep lists": value(lambda: deep(list), "others"),
    "deep mappings": value(lambda: deep(dict), "str keys"),
    "a list in itself": value(cyclic, "others"),
    "a loss": value(lambda: purdist.L2Loss("t", "s"), "loss"),
    "a schedule": value(lambda: purdist.Schedule.linear(0.0, 1.0, 3), "schedule"),
    "a new input": value(lambda: purdist.NewInput("x"), "new input"),
    "a place": value(paddle.CPUPlace, "place"),
    "a scope": value(paddle.static.Scope, "scope"),
    "a static program": value(paddle.static.Program, "static program"),
    "an input spec": value(lambda: paddle.static.InputSpec([1], name="x")),
}
"""Beside these come a program, a distillation, a training, a cache and a layer of a network."""
