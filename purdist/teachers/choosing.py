"""Which backend each teacher of a program runs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError, listed
from purdist.teachers.backend import Backend
from purdist.teachers.cut import needed_teachers
from purdist.teachers.graph import InGraph
from purdist.teachers.inference import Inference

Choice: TypeAlias = Backend | Literal["graph", "inference"]
"""A backend, or the short name of one as it is by default."""

_SHORT: Mapping[str, Backend] = {"graph": InGraph(), "inference": Inference()}


def backends_of(
    distillation: Distillation, teacher: Choice | Mapping[str, Choice]
) -> dict[str, Backend]:
    """Prefix -> backend, of each teacher that is not in the step's graph.

    Args:
        distillation: Whose teachers.
        teacher: One for all of them, or prefix -> one; what is not named runs in the graph.

    Raises:
        InvalidArgumentError: It is none, a prefix is none of a teacher, or no loss listens to it.
    """
    if not isinstance(teacher, Mapping):
        backend = _backend(teacher)
        return {} if backend.in_step else dict.fromkeys(needed_teachers(distillation), backend)
    teachers = distillation.program.teachers
    backends = {prefix: _backend(choice) for prefix, choice in teacher.items()}
    for prefix in backends:
        if prefix not in teachers:
            raise InvalidArgumentError(
                f"Expected the prefixes of teachers, got {prefix!r}.",
                f"There are {listed(map(repr, teachers))}.",
            )
    chosen = {prefix: one for prefix, one in backends.items() if not one.in_step}
    needed = needed_teachers(distillation) if chosen else ()
    for prefix in chosen:
        if prefix not in needed:
            raise InvalidArgumentError(
                f"Expected a teacher that a loss listens to, got {prefix!r}, which none reads.",
                "Leave it out of teacher=.",
            )
    return chosen


def _backend(choice: Choice) -> Backend:
    return _SHORT[choice] if isinstance(choice, str) else choice
