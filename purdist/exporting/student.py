"""`student_of`: one network of a program on its own again."""

from __future__ import annotations

from collections.abc import Sequence

from purdist.cutting import part, without_prefix
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError
from purdist.program import Program
from purdist.training import Training


def student_of(
    trained: Program | Distillation | Training, *, name_prefix: str | None = None
) -> Program:
    """The bare student: no teacher, no loss, no optimizer; its weights as they are now.

    Args:
        trained: What holds a student: a merged program, what `apply` or `minimize` made of
            it, or a network that is a student already.
        name_prefix: Another network instead, such as a peer: that of this prefix, under its own
            names, with its own inputs fed again. Two that were mapped to one variable are one.

    Returns:
        A program with weights of its own: training on does not reach it.

    Raises:
        InvalidArgumentError: No network has that prefix, or nothing is left of it.
    """
    source = trained if isinstance(trained, Program) else trained.program
    if name_prefix is None:
        own = [name for name, variable in source.variables.items() if variable.owner == "student"]
        # `names`: a teacher's input that reads a student's variable is a second name of that.
        return part(source, own, names=own)
    if name_prefix not in source.teachers + source.peers:
        there = ", ".join(map(repr, source.teachers + source.peers)) or "none"
        raise InvalidArgumentError(
            f"Expected the prefix of a network of the program, got {name_prefix!r}.",
            f"There are {there}. Leave name_prefix out for the student.",
        )
    own = [
        name
        for name, v in source.variables.items()
        if v.network == name_prefix and v.owner != "loss"
    ]
    others = {source.variables[n].given_name for n in source.weights if n not in own}
    alone = part(source, own, _mapped(source, own), names=own)
    return without_prefix(alone, name_prefix, others)


def _mapped(source: Program, own: Sequence[str]) -> list[str]:
    """The inputs of the network ``own`` that read what another network computes or is fed."""
    inputs: dict[str, str] = {}
    computed: set[str] = set()
    for name in own:
        variable = source.variables[name]
        value = source.modes.value(name).id
        if variable.is_mapped_input:
            inputs.setdefault(value, name)
        else:
            computed.add(value)
    return [name for value, name in inputs.items() if value not in computed]
