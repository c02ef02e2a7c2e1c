"""What was got and what to do, in the words of an error."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np

from purdist.errors import is_own_module

_SHORT = 80
"""How many characters of a value an error shows."""

_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None))


def shown(value: object) -> str:
    """``value`` in short, whatever it is: some cannot be printed, and some are huge."""
    try:
        return _shown(value)
    except Exception:
        return article(type(value).__name__)


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) in _PLAIN or is_own_module(type(value).__module__):
        return _cut(repr(value))
    if isinstance(value, np.generic):
        return _cut(repr(value))
    shape, dtype = (getattr(value, name, None) for name in ("shape", "dtype"))
    if dtype is not None and isinstance(shape, list | tuple):
        # Never the numbers: of a tensor of a graph there are none.
        return _cut(f"{article(type(value).__name__)} {list(shape)} {dtype}")
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    if type(value).__repr__ is object.__repr__:
        return article(type(value).__name__)
    return _cut(repr(value))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def article(name: str) -> str:
    """``name`` with a or an before it."""
    vowel = name[:1] in "AEFHILMNORSX" if name.isupper() else name[:1].lower() in "aeio"
    return f"{'an' if vowel else 'a'} {name}"


def near(value: object, choices: tuple[object, ...]) -> str:
    """Which of ``choices`` may be meant by ``value``, as a remedy; '' if none is near."""
    texts = [choice for choice in choices if isinstance(choice, str)]
    # A dtype of Paddle or numpy has a name.
    said = value if isinstance(value, str) else getattr(value, "name", "")
    said = said or (value.__name__ if isinstance(value, type) else "")
    lower = said.lower() if isinstance(said, str) else ""
    found = get_close_matches(lower, texts, n=1)
    return f"Did you mean {found[0]!r}?" if found else ""


_MAKERS = {
    "Program": "from_static, from_layer and from_exported make one; so do merge and join.",
    "Distillation": "apply makes one, of a program and losses.",
    "Training": "minimize makes one, of what apply returned.",
    "TeacherCache": "cache_teacher makes one.",
    "LossSpec": "Make one of purdist's losses, such as L2Loss('teacher_logits', 'logits').",
    "Schedule": "Schedule.linear, Schedule.cosine and others make one.",
    "paddle.Layer": "A static program goes to from_static, a path to from_exported.",
    "paddle.Program": "Give the program that the network was built in: "
    "static.default_main_program().",
}
"""What makes a value of a class."""

_LOADED = "paddle.jit.load returned it: give from_exported the path that was loaded."

_SOURCES = {
    "paddle.Layer": "A layer goes to from_layer: from_layer(layer, {'x': InputSpec([None, 8])}).",
    "paddle.TranslatedLayer": _LOADED,
    "paddle.PirTranslatedLayer": _LOADED,
    "str": "A path goes to from_exported.",
    "PurePath": "A path goes to from_exported.",
}
"""Which function takes what no program has been made of."""

_INSTEAD = {
    (
        "Training",
        "Distillation",
    ): "Pass the training that minimize made: it holds the weights that train changes, and a "
    "Distillation those from before. These are in distillation.program.",
    ("Program", "Distillation"): "Pass its program: distillation.program.",
    ("Program", "Training"): "Pass training.program, or student_of(training).",
    ("Program", "paddle.Program"): "from_static makes one of a Paddle program.",
    ("function", "paddle.Optimizer"): "Write a function that makes it: lambda: "
    "paddle.optimizer.Adam(1e-3).",
    ("Distillation", "Training"): "Pass what minimize was given.",
    ("paddle.Layer", "paddle.Model"): "Give the network in it: model.network.",
    **{
        (wanted, got): text
        for wanted in ("Program", "paddle.Program")
        for got, text in _SOURCES.items()
    },
}
"""What to do where a value of one class is wanted and one of another is got."""


def as_code(value: object) -> str:
    """``value`` as one writes it in Python; '' if that is long, or not known."""
    if isinstance(value, type):
        return value.__name__
    if not (type(value) in _PLAIN or is_own_module(type(value).__module__)):
        return ""
    written = shown(value)
    return "" if written.endswith("...") else written


def remedy_for(wanted: type, got: object) -> str:
    """How to come by a value of the class ``wanted``, for who has ``got``; '' if unknown."""
    maker = _MAKERS.get(known_as(wanted), "")
    if isinstance(got, type):
        of_class = f"Make one: {got.__name__}(...)." if issubclass(got, wanted) else ""
        return maker or _MAKERS.get(known_as(got), of_class)
    for kind in type(got).__mro__:
        instead = _INSTEAD.get((known_as(wanted), known_as(kind)))
        if instead is not None:
            return instead
    return maker


def is_general(remedy: str) -> bool:
    """Whether a remedy says no more than what makes a value of the class that is wanted."""
    return remedy in _MAKERS.values()


def known_as(cls: type) -> str:
    """A class by its name; there are a Program of Paddle's and one of ours."""
    paddles = "paddle." if cls.__module__.partition(".")[0] == "paddle" else ""
    return paddles + cls.__name__


def entry(function: Callable[..., Any], owner: type | None, name: str) -> str:
    """What the docstring of a function, or of the class that it makes, says of an argument."""
    of_class = owner is not None and function.__name__ == "__init__"
    text = inspect.getdoc(owner if of_class else function) or ""
    found = re.search(rf"^ {{4}}{name}: (.+(?:\n {{8,}}.+)*)", text, re.MULTILINE)
    if not found:
        return ""
    said = " ".join(found.group(1).split()).partition("::")[0].rstrip(".")
    said = re.split(r"(?<=[^.])\. (?=[A-Z])", said)[0]
    caller = owner.__name__ if of_class and owner is not None else function.__name__
    return f"{caller} says of {name}: {said.replace('`', '')}."
