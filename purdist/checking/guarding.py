"""Public functions, constructors and methods, wrapped so that they check what they are handed."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints

import attrs

from purdist.checking.fields import made_of, resolve_hints
from purdist.checking.kinds import kind_of
from purdist.checking.plain import ANYTHING, Kind, MisfitError
from purdist.checking.showing import entry, shown
from purdist.errors import InvalidArgumentError, PurdistError, is_own_module, together

_CHECKED = "__purdist_checked__"
"""What marks a function that checks what it is handed."""

_HOOKS = ("check", "digest", "build")
"""Of a loss: purdist calls them, with what the loss reads, and converts their code."""

_NOT_CALLED = ("__init__", "__new__", "__init_subclass__", "__attrs_init_subclass__")
"""What is wrapped in another way, or by no hand of a user's called."""


def guard(names: Iterable[str], namespace: dict[str, Any]) -> None:
    """Has the functions and classes of those ``names`` check what they are handed."""
    for name in filter(namespace.__contains__, names):
        thing = namespace[name]
        if inspect.isfunction(thing):
            checked = _checked(thing, None)
            namespace[name] = checked
            home, known = vars(sys.modules[thing.__module__]), thing.__name__
            if home.get(known) is thing:  # pickle looks there, and so may a user
                home[known] = checked
        elif inspect.isclass(thing) and not _is_left_alone(thing):
            guard_class(thing)


def _is_left_alone(cls: type) -> bool:
    return issubclass(cls, Exception) or getattr(cls, "_is_protocol", False)


def guard_class(cls: type) -> None:
    """Has the constructor and the public methods of a class check what they are handed."""
    for name, held in list(vars(cls).items()):
        if inspect.isfunction(held) and _is_public(name, held):
            setattr(cls, name, _checked(held, cls, name))
        elif isinstance(held, staticmethod) and not name.startswith("_"):
            setattr(cls, name, staticmethod(_checked(held.__func__, cls, has_self=False)))
    made = vars(cls).get("__init__")
    if inspect.isfunction(made):
        if "__attrs_attrs__" in vars(cls):
            resolve_hints(cls)
        # Not setattr: mypy is right that one does not write __init__, save here.
        type.__setattr__(cls, "__init__", _checked(made, cls, "__init__"))


def _is_public(name: str, method: Callable[..., Any]) -> bool:
    if name.startswith("__"):
        of_attrs = name.startswith("__attrs_") or "cached_properties" in _parameters(method)
        return name not in _NOT_CALLED and not of_attrs and _is_typed(method)
    return not name.startswith("_") and name not in _HOOKS


def _is_typed(method: Callable[..., Any]) -> bool:
    return any(name != "return" for name in method.__annotations__)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _checked(
    function: Callable[..., Any], owner: type | None, name: str = "", *, has_self: bool = True
) -> Callable[..., Any]:
    """``function``, checking what it is handed, but called the same."""
    if hasattr(function, _CHECKED):
        return function
    bound = owner is not None and has_self
    check = functools.cache(lambda: _Check.of(function, owner, bound=bound))
    reflected = _REFLECTED.get(name) if owner else None

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_own_module(sys._getframe(1).f_globals.get("__name__")):  # which has checked it
            return function(self, *args, **kwargs)
        try:
            args, kwargs = check()(args, kwargs)
        except PurdistError:
            if reflected and any(_is_answered_by(other, reflected, self) for other in args):
                return NotImplemented
            raise
        return function(self, *args, **kwargs)

    def alone(*args: Any, **kwargs: Any) -> Any:
        if is_own_module(sys._getframe(1).f_globals.get("__name__")):
            return function(*args, **kwargs)
        args, kwargs = check()(args, kwargs)
        return function(*args, **kwargs)

    checked = method if bound else alone
    functools.update_wrapper(checked, function)
    setattr(checked, _CHECKED, True)
    return checked


_REFLECTED = {"__mul__": "__rmul__", "__add__": "__radd__"}


def _is_answered_by(other: object, reflected: str, own: object) -> bool:
    """Whether an operator is for the other side to answer, which is ours and of another kind."""
    theirs = getattr(type(other), reflected, None)
    return hasattr(theirs, _CHECKED) and theirs is not getattr(type(own), reflected, None)


@attrs.frozen(eq=False)
class _Check:
    """What a function takes.

    Attributes:
        function: The function, as it was written.
        owner: The class whose method it is.
        positional: What it takes by position, in order.
        by_name: What it takes by name.
        more: What it takes of any number by position, None if it takes no such.
        defaults: What is taken where nothing is given.
    """

    function: Callable[..., Any]
    owner: type | None
    positional: tuple[tuple[str, Kind], ...]
    by_name: Mapping[str, Kind]
    more: tuple[str, Kind] | None
    defaults: Mapping[str, object]

    @classmethod
    def of(cls, function: Callable[..., Any], owner: type | None, *, bound: bool) -> _Check:
        """That of a function, or of a method, whose first parameter nobody hands it."""
        parameters = list(inspect.signature(function).parameters.values())[bound:]
        hints = _hints(function, owner)
        kinds = {p.name: hints.get(p.name, ANYTHING) for p in parameters}
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        more = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
        return cls(
            function,
            owner,
            tuple((p.name, kinds[p.name]) for p in parameters if p.kind in by_position),
            {p.name: kinds[p.name] for p in parameters if p.name not in more},
            (more[0], kinds[more[0]]) if more else None,
            {p.name: p.default for p in parameters if p.default is not p.empty},
        )

    def __call__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What was handed over, as it is used.

        Raises:
            InvalidArgumentError: Something is not as its type says.
        """
        faults: list[PurdistError] = []
        taken = []
        wrong: list[tuple[str, Kind, object]] = []
        for (name, kind), value in zip(self._kinds(len(args)), args, strict=False):
            try:
                taken.append(kind.read(value))
            except Exception as error:
                faults.append(self._fault(name, kind, value, error))
                wrong.append((name, kind, value))
        if _are_swapped(wrong):
            (one, *_), (other, *_) = wrong
            remedy = f"{one} and {other} are swapped: exchange the two."
            faults = [fault.reworded(fault.problem, remedy) for fault in faults]
        for name, value in kwargs.items():
            found = self.by_name.get(name)
            if found is not None:
                try:
                    kwargs[name] = found.read(value)
                except Exception as error:
                    faults.append(self._fault(name, found, value, error))
        if faults:
            raise together(faults) from faults[0].__cause__
        # What is too much stays: Python itself says so.
        return (*taken, *args[len(taken) :]), kwargs

    def _kinds(self, count: int) -> Iterable[tuple[str, Kind]]:
        if self.more is None or count <= len(self.positional):
            return self.positional
        return (*self.positional, *[self.more] * (count - len(self.positional)))

    def _fault(self, name: str, kind: Kind, value: object, error: Exception) -> PurdistError:
        misfit = error if isinstance(error, MisfitError) else MisfitError(kind.words, value)
        name = name.lstrip("_")
        fault = InvalidArgumentError(
            f"Expected {name}{misfit.at} to be {misfit.expected}, got {shown(misfit.got)}.",
            self._remedy(name, kind, misfit, error),
        )
        if misfit is not error:  # what it is asked fails
            fault.__cause__ = error
        return fault

    def _remedy(self, name: str, kind: Kind, misfit: MisfitError, error: Exception) -> str:
        if misfit is not error:
            return f"It raised {type(error).__name__} as it was looked at."
        if misfit.write and not misfit.at:
            return f"Write {name}={misfit.write}."
        default = self.defaults.get(name)
        plain = isinstance(default, int | float) and not isinstance(default, bool)
        if kind.number is not None and isinstance(misfit.got, str) and not misfit.at:
            return kind.number.remedy(name, misfit.got, default if plain else attrs.NOTHING)
        if plain:
            return f"Write {name}={default!r} or leave it out."
        if misfit.remedy:
            return misfit.remedy
        said = entry(self.function, self.owner, name)
        wanted = "such a number" if kind.number else misfit.expected
        out = f"Leave {name} out, or give it" if name in self.defaults else f"Give {name}"
        return said or f"{out} {wanted}."


def _are_swapped(wrong: Sequence[tuple[str, Kind, object]]) -> bool:
    """Whether what does not fit are two arguments, of which each is what the other should be."""
    if len(wrong) != 2:
        return False
    (_, one, for_other), (_, other, for_one) = wrong
    try:
        one.read(for_one)
        other.read(for_other)
    except Exception:
        return False
    return True


def _hints(function: Callable[..., Any], owner: type | None) -> dict[str, Kind]:
    if owner is not None and function.__name__ == "__init__" and attrs.has(owner):
        return dict(made_of(owner))
    inside = {} if owner is None else dict(vars(owner))
    hints = get_type_hints(function, localns=inside, include_extras=True)
    return {name: kind_of(hint) for name, hint in hints.items() if name != "return"}
