"""Losses as plain data, and back: an experiment's losses in a TOML or JSON file.

A loss is its ``kind`` and the fields it is made with; a field with a default may be left
out. A schedule is written the same way, a new input without a kind::

    [[losses]]
    kind = "dkd"
    teacher_var = "teacher_logits"
    student_var = "logits"
    label = {name = "label"}
    weight = {kind = "linear", start = 0.0, end = 0.9, steps = 1000}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_unstructure_fn

from purdist.errors import InvalidArgumentError, PurdistError, together
from purdist.losses import CATALOGUE, CustomLoss, LossSpec, Schedule
from purdist.losses.fields import is_variable
from purdist.losses.schedule import SCHEDULES
from purdist.variables import NewInput

T = TypeVar("T")
P = TypeVar("P", float, int, str, bool)

_PLAIN: Mapping[type, str] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
}


def losses_to_data(specs: Iterable[LossSpec]) -> list[dict[str, Any]]:
    """The losses as lists, dicts, numbers and texts, what is as by default left out.

    Raises:
        InvalidArgumentError: One is a `CustomLoss`: a function is no data.
    """
    specs = list(specs)
    for spec in specs:
        if isinstance(spec, CustomLoss):
            raise InvalidArgumentError(
                f"Expected losses that are data, got {spec}, which holds a function.",
                "Make it a LossSpec of your own.",
            )
    converter = _Converter({})
    return [converter.unstructure(spec) for spec in specs]


def losses_from_data(
    data: Iterable[Mapping[str, Any]], *, own: Iterable[type[LossSpec]] = ()
) -> tuple[LossSpec, ...]:
    """The losses that `losses_to_data` made ``data`` of, or that somebody wrote down so.

    Args:
        data: As ``tomllib`` and ``json`` read it: a list of tables.
        own: Losses of yours that may be among them.

    Raises:
        InvalidArgumentError: A kind or field is unknown, a field is missing, or a value is of
            another type or not allowed. All are told, each by its path, such as
            ``losses[0].temperature``.
        SeveralFaultsError: Faults of several kinds.
    """
    converter = _Converter({spec.kind: spec for spec in (*CATALOGUE, *own)})
    try:
        return converter.structure(data, tuple[LossSpec, ...])
    except (BaseValidationError, PurdistError) as error:
        raise together(list(_faults(error, "losses"))) from None


class _Converter(cattrs.Converter):
    """Knows losses of some kinds, and takes nothing for something else.

    cattrs itself makes a text of a number, and a list of a text.
    """

    def __init__(self, kinds: Mapping[str, type[LossSpec]]) -> None:
        super().__init__(
            forbid_extra_keys=True,
            omit_if_default=True,
            unstruct_collection_overrides={tuple: list},
        )
        self._losses = kinds
        self._schedules = {schedule.kind: schedule for schedule in SCHEDULES}
        self.register_unstructure_hook_factory(_has_kind, self._with_kind)
        for plain in _PLAIN:
            self.register_structure_hook(plain, _plain)
        self.register_structure_hook(float | Schedule, self._weight)
        self.register_structure_hook_func(is_variable, self._variable)
        self.register_structure_hook_func(lambda kind: kind is LossSpec, self._loss)
        self.register_structure_hook_func(lambda kind: kind is Schedule, self._schedule)
        self.register_structure_hook_func(_is_some(Literal), _literal)
        self.register_structure_hook_func(_is_some(tuple), self._tuple)

    def _with_kind(self, kind: type[Any]) -> Callable[[Any], Any]:
        if kind in (LossSpec, Schedule):  # a field may be declared so: look at what it holds
            return lambda value: self.unstructure(value, type(value))
        fields = make_dict_unstructure_fn(kind, self, _cattrs_omit_if_default=True)
        return lambda value: {"kind": value.kind, **fields(value)}

    def _loss(self, data: object, _: object) -> LossSpec:
        return self._of_kind(data, self._losses, "a loss")

    def _weight(self, data: object, _: object) -> float | Schedule:
        if isinstance(data, Mapping):
            return self._of_kind(data, self._schedules, "a schedule")
        return _plain(data, float)

    def _schedule(self, data: object, kind: object) -> Schedule:
        found = self._weight(data, kind)
        return found if isinstance(found, Schedule) else Schedule.constant(found)

    def _of_kind(self, data: object, kinds: Mapping[str, type[T]], what: str) -> T:
        """The value that a table with a ``kind`` describes."""
        if not isinstance(data, Mapping):
            raise InvalidArgumentError(
                f"Expected {what}, got {data!r}.", "Write a table: {kind = ..., ...}."
            )
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise InvalidArgumentError(
                f"Expected kind to be one of {', '.join(kinds)}, got {kind!r}.",
                _did_you_mean(kind, kinds),
            )
        return self.structure({k: v for k, v in data.items() if k != "kind"}, kinds[kind])

    def _variable(self, data: object, kind: object) -> str | NewInput | None:
        if data is None and type(None) in get_args(kind):
            return None
        return self.structure(data, NewInput) if isinstance(data, Mapping) else _plain(data, str)

    def _tuple(self, data: object, kind: object) -> tuple[object, ...]:
        if not isinstance(data, list | tuple):
            raise InvalidArgumentError(f"Expected a list, got {data!r}.")
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(data)
        if len(data) != len(kinds):
            raise InvalidArgumentError(f"Expected a list of {len(kinds)}, got {data!r}.")
        made: list[object] = []
        faults: list[Exception] = []
        for index, (entry, of) in enumerate(zip(data, kinds, strict=True)):
            try:
                made.append(self.structure(entry, of))
            except (BaseValidationError, PurdistError) as error:
                error.add_note(IterableValidationNote(f"entry {index}", index, of))
                faults.append(error)
        if faults:
            raise IterableValidationError("entries of a list", faults, tuple)
        return tuple(made)


def _is_some(origin: object) -> Callable[[Any], bool]:
    """Whether a type is ``origin[...]``."""
    return lambda kind: get_origin(kind) is origin


def _has_kind(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, LossSpec | Schedule)


def _plain(data: object, kind: type[P]) -> P:
    """``data`` if it is of that plain type; a whole number is a number too."""
    wanted = (int, float) if kind is float else kind
    if not isinstance(data, wanted) or (isinstance(data, bool) and kind is not bool):
        raise InvalidArgumentError(f"Expected {_PLAIN[kind]}, got {data!r}.")
    return kind(data)


def _literal(data: object, kind: object) -> object:
    allowed = get_args(kind)
    if data not in allowed:
        raise InvalidArgumentError(
            f"Expected one of {', '.join(map(repr, allowed))}, got {data!r}."
        )
    return data


def _faults(error: Exception, path: str) -> Iterator[PurdistError]:
    """Each fault with where it is."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, bare = error.group_exceptions()
        for inner, note in noted:
            at = f"[{note.index}]" if isinstance(note, IterableValidationNote) else f".{note.name}"
            yield from _faults(inner, path + at)
        for inner in bare:
            yield from _faults(inner, path)
    elif isinstance(error, PurdistError):
        for fault in error.faults or (error,):
            yield type(fault)(f"{path}: {fault.problem}", fault.remedy)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.alias for field in attrs.fields(error.cl)]
        for name in sorted(error.extra_fields):
            yield InvalidArgumentError(
                f"{path}.{name}: Expected a field of {error.cl.__name__}, one of "
                f"{', '.join(known)}.",
                _did_you_mean(name, known),
            )
    elif isinstance(error, KeyError):
        yield InvalidArgumentError(f"{path}: Expected a value, got none.", "It has no default.")
    else:
        raise error


def _did_you_mean(name: object, known: Iterable[str]) -> str:
    near = get_close_matches(str(name), list(known), n=1)
    return f"Did you mean {near[0]}?" if near else ""
