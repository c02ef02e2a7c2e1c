"""Which kinds of errors public functions let out, held to the ``Raises:`` of their docstrings.

While a test runs, every error of purdist's is kept, and behind it its traceback says through which
functions it went: all that it names but the first, which caught it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any

import attrs

import purdist
import purdist.testing
import purdist.training.stepping
from purdist.errors import PurdistError

ITERATES = {purdist.training.stepping._steps: "train"}
"""What takes the steps of an iterator that a public function returned."""

_KEPT = 64
"""How many errors are kept at once: a property's hundreds of examples hold much memory."""


@attrs.frozen
class Public:
    """A public function, constructor or method.

    Attributes:
        name: As a docstring refers to it.
        text: The docstring that says what it raises.
    """

    name: str
    text: str

    @functools.cached_property
    def kinds(self) -> frozenset[str]:
        """All kinds that it may raise, those included that it leaves to others' docstrings."""
        found = set()
        for kind, text in _raised(self.text):
            found.add(kind)
            if kind == "PurdistError":
                for reference in re.findall(r"`([\w.]+)`", text):
                    found |= by_name()[reference].kinds
        return frozenset(found)


def _raised(text: str) -> list[tuple[str, str]]:
    """The entries of a docstring's section ``Raises:``: a kind and when."""
    sections = re.findall(r"^Raises:\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE)
    entries = re.split(r"^    (?=\w+:)", "\n".join(sections), flags=re.MULTILINE)
    return [(kind, when) for kind, _, when in (e.partition(":") for e in entries) if when]


def _of_class(name: str, cls: type) -> Iterator[tuple[Any, Public]]:
    # What a base lists holds of its heirs, too.
    text = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__[:-1])
    yield vars(cls).get("__init__"), Public(name, text)
    for key, held in vars(cls).items():
        if key == "__replace__":  # of all attrs classes, by one code, from Python 3.13 on
            continue
        function = held
        if isinstance(held, property):
            function = held.fget
        elif isinstance(held, functools.cached_property):
            function = held.func
        elif isinstance(held, staticmethod | classmethod):
            function = held.__func__
        if isinstance(function, FunctionType) and not (key.startswith("_") and key[:2] != "__"):
            # What has no docstring is a loss' check, documented where the loss is, or an operator.
            own = inspect.cleandoc(function.__doc__ or "") or text
            yield function, Public(f"{name}.{key}", own)


@functools.cache
def public() -> Mapping[int, Public]:
    """All public functions, constructors and methods, by the id of their code.

    Code that was made alike, as that of constructors is, is equal.
    """
    found: dict[int, Public] = {}
    for module in (purdist, purdist.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                pairs = [(thing, Public(name, inspect.getdoc(thing) or ""))]
            elif inspect.isclass(thing) and not issubclass(thing, Exception):
                pairs = list(_of_class(name, thing))
            else:
                continue
            for function, known in pairs:
                code = getattr(inspect.unwrap(function), "__code__", None)
                if code is not None:
                    found.setdefault(id(code), known)
    named = {known.name: known for known in found.values()}
    return found | {id(function.__code__): named[name] for function, name in ITERATES.items()}


@functools.cache
def by_name() -> Mapping[str, Public]:
    """The same by their names."""
    return {known.name: known for known in public().values()}


def _left(error: PurdistError) -> Iterator[Public]:
    """The public functions that an error went through."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
        known = public().get(id(_code(traceback.tb_frame)))
        if known is not None:
            yield known


def _code(frame: FrameType) -> CodeType:
    """Of what runs, or of the public function that it is wrapped around."""
    if frame.f_code in _wrappers():
        wrapped = inspect.unwrap(frame.f_locals["function"])
        return getattr(wrapped, "__code__", frame.f_code)
    return frame.f_code


@functools.cache
def _wrappers() -> frozenset[CodeType]:
    """The code of what public functions are wrapped in: it knows one as ``function``."""
    things = [*vars(purdist).values(), *(v for c in _classes() for v in vars(c).values())]
    wrapped = (t for t in things if inspect.isfunction(t) and hasattr(t, "__wrapped__"))
    return frozenset(thing.__code__ for thing in wrapped)


def _classes() -> list[type]:
    return [thing for thing in vars(purdist).values() if inspect.isclass(thing)]


def _kinds(error: PurdistError) -> set[str]:
    return {type(error).__name__}.union(*map(_kinds, error.faults))


class Recorder:
    """Keeps errors, and knows of those that were let out undocumented."""

    def __init__(self) -> None:
        self._kept: list[PurdistError] = []
        self._undocumented: dict[str, str] = {}

    def keep(self, error: PurdistError) -> None:
        self._kept.append(error)
        if len(self._kept) >= 2 * _KEPT:  # the last ones may be on their way
            self._judge(self._kept[:_KEPT])
            del self._kept[:_KEPT]

    def undocumented(self) -> list[str]:
        """A line for each kind that went out of a function whose docstring does not list it."""
        self._judge(self._kept)
        self._kept.clear()
        found, self._undocumented = list(self._undocumented.values()), {}
        return found

    def _judge(self, errors: list[PurdistError]) -> None:
        for error in errors:
            for known in _left(error):
                for kind in _kinds(error) - known.kinds:
                    line = f"{known.name} raises {kind}, which its docstring does not list: {error}"
                    self._undocumented[f"{known.name} {kind}"] = line


@contextmanager
def recording() -> Iterator[Recorder]:
    """Records all errors that are made meanwhile."""
    recorder, init = Recorder(), PurdistError.__init__
    own = inspect.unwrap(init)  # one that records within another is alone

    @functools.wraps(own)
    def recorded(self: PurdistError, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        recorder.keep(self)

    PurdistError.__init__ = recorded  # type: ignore[method-assign]
    try:
        yield recorder
    finally:
        PurdistError.__init__ = init  # type: ignore[method-assign]
