"""A teacher cut out of a distillation, at what the losses need of it."""

from __future__ import annotations

import attrs

from purdist.cutting import part
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError, some
from purdist.program import Program, internals_of
from purdist.variables import changes


@attrs.frozen(eq=False)
class Cut:
    """A teacher on its own.

    Attributes:
        prefix: Of its names in the program that it was cut out of.
        outputs: What the losses need of it.
        network: What computes that.
    """

    prefix: str
    outputs: tuple[str, ...]
    network: Program


def cut_out(distillation: Distillation, prefix: str) -> Cut:
    """The teacher of that prefix, as far as the losses need it.

    Raises:
        InvalidArgumentError: It reads what the student learns.
    """
    program = distillation.program
    outputs = distillation.digests.get(prefix) or _learning(program, prefix)
    network = part(program, outputs)
    learning = [str(v) for v in network.variables.values() if changes(v)]
    if learning:
        raise InvalidArgumentError(
            f"Expected a teacher that reads feeds alone, got one that reads what the student "
            f"computes with {some(learning)}, which training changes.",
            "Train with teacher='graph', without a cache.",
        )
    return Cut(prefix, outputs, network)


def needed_teachers(distillation: Distillation) -> tuple[str, ...]:
    """The prefixes of the teachers that the losses need something of.

    Raises:
        InvalidArgumentError: There is none.
    """
    program = distillation.program
    found = tuple(p for p in program.teachers if distillation.digests.get(p))
    found = found or tuple(p for p in program.teachers if _learning(program, p))
    if not found:
        raise InvalidArgumentError(
            "Expected a program whose losses listen to a teacher, got one without.",
            "Merge a teacher into it first, or train it as it is.",
        )
    return found


def _learning(program: Program, prefix: str) -> tuple[str, ...]:
    """What of a teacher depends on what the student learns: `cut_out` tells of it."""
    own = (name for name, v in program.variables.items() if v.network == prefix)
    return tuple(filter(internals_of(program).takes_gradient, own))
