"""Losses as plain data, and back: an experiment's losses in a TOML or JSON file.

A loss is its ``kind`` and the fields it is made with; a field with a default may be left
out. A schedule is written the same way, a new input without a kind::

    text = '''
    [[losses]]
    kind = "dkd"
    teacher_var = "teacher_logits"
    student_var = "logits"
    label = {name = "label"}
    weight = {kind = "linear", start = 0.0, end = 0.9, steps = 1000}
    '''
    (loss,) = losses_from_data(tomllib.loads(text)["losses"])
    weight = Schedule.linear(0.0, 0.9, 1000)
    assert loss == weight * DKDLoss("teacher_logits", "logits", NewInput("label"))
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, get_args

from purdist.checking import CHECKED_INSIDE
from purdist.errors import InvalidArgumentError
from purdist.losses import CATALOGUE, CustomLoss, LossSpec, Schedule
from purdist.losses.fields import is_variable
from purdist.losses.schedule import SCHEDULES
from purdist.structuring import Structurer
from purdist.variables import NewInput


def losses_to_data(specs: Iterable[LossSpec]) -> list[dict[str, Any]]:
    """The losses as lists, dicts, numbers and texts, what is as by default left out.

    Into a file of JSON, and out of it::

        text = json.dumps(losses_to_data([0.9 * KDLoss("teacher_logits", "logits")]))
        losses = losses_from_data(json.loads(text))

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
    kinds = tuple(dict.fromkeys((*CATALOGUE, *map(type, specs))))
    data: list[dict[str, Any]] = _converter(kinds).unstructure(specs, list[LossSpec])
    return data


def losses_from_data(
    data: Sequence[Annotated[Mapping[str, object], CHECKED_INSIDE]],
    *,
    own: Iterable[type[LossSpec]] = (),
) -> tuple[LossSpec, ...]:
    """The losses that `losses_to_data` made ``data`` of, or that somebody wrote down so.

    They are as if they had been written in Python::

        table = {"kind": "kd", "teacher_var": "teacher_logits", "student_var": "logits"}
        (loss,) = losses_from_data([table])
        assert loss == KDLoss("teacher_logits", "logits")

    Args:
        data: The tables, in a list: of ``[[losses]]`` in a TOML file,
            ``tomllib.load(file)["losses"]``.
        own: Losses of yours that may be among them.

    Raises:
        InvalidArgumentError: A kind or field is unknown, a field is missing, or a value is of
            another type or not allowed. All are told, each by its path, such as
            ``losses[0].temperature``.
        SeveralFaultsError: Faults of several kinds.
    """
    own = tuple(dict.fromkeys(own))
    for loss in own:
        if inspect.isabstract(loss) or issubclass(loss, CustomLoss):
            raise InvalidArgumentError(
                f"Expected own to be classes of losses that are data, got {loss.__name__}.",
                "A CustomLoss holds a function: make it a LossSpec of your own."
                if issubclass(loss, CustomLoss)
                else "It is abstract: give the classes that are made of it.",
            )
    _check_kinds((*CATALOGUE, *own))
    return _converter((*CATALOGUE, *own)).read(data, tuple[LossSpec, ...], "losses")


def _check_kinds(losses: Iterable[type[LossSpec]]) -> None:
    """Refuses two classes of one kind: one that is made anew replaces the old one everywhere."""
    known: dict[str, type[LossSpec]] = {}
    for loss in losses:
        other = known.setdefault(loss.kind, loss)
        if other is not loss:
            raise InvalidArgumentError(
                f"Expected classes of a kind each, got two of {loss.kind!r}: {other.__qualname__} "
                f"and {loss.__qualname__}.",
                "Give the one that was made last.",
            )


@lru_cache(maxsize=8)  # to make one takes some 40 ms
def _converter(losses: tuple[type[LossSpec], ...]) -> Structurer:
    """One that knows these losses, all schedules, and what a loss reads."""
    converter = Structurer()

    def variable(data: object, kind: object) -> str | NewInput | None:
        if data is None and type(None) in get_args(kind):
            return None
        if isinstance(data, Mapping):
            return converter.structure(data, NewInput)
        return converter.structure(data, str)

    def weight(data: object, _: object) -> float | Schedule:
        if isinstance(data, Mapping):
            return read_schedule(data).simplest()
        return converter.structure(data, float)

    def schedule(data: object, kind: object) -> Schedule:
        found = weight(data, kind)
        return found if isinstance(found, Schedule) else Schedule.constant(found)

    def written(weight: float | Schedule) -> object:
        return write_schedule(weight) if isinstance(weight, Schedule) else weight

    converter.register_structure_hook_func(is_variable, variable)
    converter.register_structure_hook(float | Schedule, weight)
    converter.register_structure_hook_func(lambda kind: kind is Schedule, schedule)
    converter.register_unstructure_hook(float | Schedule, written)
    converter.register_unstructure_hook_func(lambda kind: kind is Schedule, written)
    # cattrs looks up how fields are read and written here: after what is said above.
    read_schedule, write_schedule = converter.by_kind(SCHEDULES, "a schedule")
    read_loss, write_loss = converter.by_kind(
        losses, "a loss", "One of your own is known by own=[YourLoss]."
    )
    converter.register_structure_hook_func(
        lambda kind: kind is LossSpec, lambda data, _: read_loss(data)
    )
    converter.register_unstructure_hook_func(lambda kind: kind is LossSpec, write_loss)
    return converter
