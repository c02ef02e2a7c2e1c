"""The laws that every loss obeys as a value."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Sequence
from typing import Protocol

import attrs

import purdist.losses.catalogue as catalogue
from purdist.checking import guard
from purdist.losses.custom import CustomLoss
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec
from purdist.serialising import losses_from_data, losses_to_data
from purdist.testing.holding import hold
from purdist.variables import NewInput, name_of


class SpecLaw(Protocol):
    """What every loss obeys as a value: raises AssertionError where it does not."""

    @property
    def __name__(self) -> str: ...

    def __call__(self, spec: LossSpec) -> None: ...


def printed_as_the_call_that_makes_it(spec: LossSpec) -> None:
    """``eval(repr(spec))`` is equal, where the names of its module are known."""
    held = spec.function if isinstance(spec, CustomLoss) else spec
    names = {
        **vars(sys.modules[getattr(held, "__module__", "builtins")]),
        **{kind.__name__: kind for kind in (type(spec), NewInput, Schedule)},
    }
    made = eval(repr(spec), names)
    hold(made == spec, f"Expected {spec!r} to print as what makes it, got {made!r}.")


def survives_pickle_and_copies(spec: LossSpec) -> None:
    """What is pickled and read again, and each copy, is equal, and hashes alike."""
    for way, made in (
        ("pickle", pickle.loads(pickle.dumps(spec))),
        ("copy", copy.copy(spec)),
        ("deepcopy", copy.deepcopy(spec)),
        ("evolve", attrs.evolve(spec)),
    ):
        hold(made == spec, f"Expected {way} to leave {spec!r}, got {made!r}.")
        hold(hash(made) == hash(spec), f"Expected {way} to leave the hash of {spec!r}.")


def told_apart_by_every_field(spec: LossSpec) -> None:
    """Another weight, name or variable is another loss, and each field of its own counts."""
    kind = type(spec)
    hold("__eq__" in vars(kind), f"Expected {kind.__name__} to compare its own fields.")
    left = [field.name for field in attrs.fields(kind) if not field.eq]
    hold(not left, f"Expected all fields of {kind.__name__} to count, got {left} left out.")
    for other in (
        2 * spec if _number(spec) else attrs.evolve(spec, weight=1.0),
        attrs.evolve(spec, name=f"{spec.name}_"),
        spec.map_variables(lambda name: f"{name}_"),
    ):
        hold(other != spec, f"Expected {other!r} to be another than {spec!r}.")
        hold(len({spec, other, attrs.evolve(spec)}) == 2, f"Expected two losses of {spec!r}.")


def is_data(spec: LossSpec) -> None:
    """As JSON, and read from it, it is equal. No law of a `CustomLoss`, which holds a function."""
    text = json.dumps(losses_to_data([spec]))
    own = [] if type(spec) in vars(catalogue).values() else [type(spec)]
    read = losses_from_data(json.loads(text), own=own)
    hold(read == (spec,), f"Expected {spec!r} from data, got {list(read)!r}.")


def moves_to_other_variables(spec: LossSpec) -> None:
    """Renamed there and back it is equal; all else stays, under its own class."""
    moved = spec.map_variables(lambda name: f"moved/{name}")
    back = moved.map_variables(lambda name: name.removeprefix("moved/"))
    hold(back == spec == spec.renamed({}), f"Expected {spec!r} back, got {back!r}.")
    hold(type(moved) is type(spec), f"Expected a {type(spec).__name__}, got {moved!r}.")
    hold(
        _names(moved) == [f"moved/{name}" for name in _names(spec)],
        f"Expected {moved!r} to read what {spec!r} does, under moved/.",
    )
    same = (moved.weight, moved.name) == (spec.weight, spec.name)
    hold(same, f"Expected {moved!r} to keep the weight and name of {spec!r}.")


def scaled_by_numbers(spec: LossSpec) -> None:
    """``0.5 * spec`` is the same loss of half the weight, from either side; ``1 * spec`` is it."""
    half = 0.5 * spec
    hold(half == spec * 0.5, f"Expected {half!r} from both sides, got {spec * 0.5!r}.")
    hold(type(half) is type(spec), f"Expected a {type(spec).__name__}, got {half!r}.")
    hold(half.weight == spec.weight * 0.5, f"Expected half of {spec.weight}, got {half.weight}.")
    hold(1 * spec == spec, f"Expected {spec!r}, got {1 * spec!r}.")
    hold(
        attrs.evolve(half, weight=spec.weight) == spec,
        f"Expected {half!r} to differ from {spec!r} in its weight alone.",
    )


def _names(spec: LossSpec) -> Sequence[str]:
    return [name_of(read) for read in spec.variables.values()]


def _number(spec: LossSpec) -> float:
    """The weight, 0 where it is a schedule."""
    return 0.0 if isinstance(spec.weight, Schedule) else spec.weight


guard(
    (
        "printed_as_the_call_that_makes_it",
        "survives_pickle_and_copies",
        "told_apart_by_every_field",
        "is_data",
        "moves_to_other_variables",
        "scaled_by_numbers",
    ),
    globals(),
)

SPEC_LAWS: tuple[SpecLaw, ...] = (
    printed_as_the_call_that_makes_it,
    survives_pickle_and_copies,
    told_apart_by_every_field,
    is_data,
    moves_to_other_variables,
    scaled_by_numbers,
)
"""What every loss obeys as a value."""
