"""`student_of`: one network of a program on its own again."""

from __future__ import annotations

from collections.abc import Sequence

from purdist import graphs
from purdist.cutting import part, without_prefix
from purdist.errors import InvalidArgumentError, listed
from purdist.program import Program, internals_of
from purdist.training import Training
from purdist.training.source import program_of
from purdist.variables import is_mapped_input


def student_of(
    source: Program | Training, *, name_prefix: str | None = None, averaged: bool = False
) -> Program:
    """The bare student: no teacher, no loss, no optimizer; its weights as they are now.

    It answers as the training left it::

        student = student_of(training)
        answers = student.run({"x": images}, ["logits"])

    Args:
        source: What holds a student: a merged program, what `minimize` made of it, or a network
            that is a student already. A `Distillation` never trains: it is refused.
        name_prefix: Another network instead, such as a peer: that of this prefix, under its own
            names, with its own inputs fed again. Two that were mapped to one variable are one.
        averaged: Take the moving averages of the weights that learn, which ``minimize(...,
            average=0.999)`` keeps; running statistics are as they are now.

    Returns:
        A program with weights of its own: training on does not reach it.

    Raises:
        InvalidArgumentError: ``source`` is neither; or no network has that prefix, or nothing is
            left of it; or it keeps no averages.
    """
    program = program_of(source, averaged=averaged)
    if name_prefix is None:
        own = [name for name, variable in program.variables.items() if variable.owner == "student"]
        # `names`: a teacher's input that reads a student's variable is a second name of that.
        return part(program, own, names=own)
    if name_prefix not in program.teachers + program.peers:
        there = listed(map(repr, program.teachers + program.peers))
        raise InvalidArgumentError(
            f"Expected the prefix of a network of the program, got {name_prefix!r}.",
            f"There are {there}. Leave name_prefix out for the student.",
        )
    own = [
        name
        for name, v in program.variables.items()
        if v.network == name_prefix and v.owner != "loss"
    ]
    others = {program.variables[n].given_name for n in program.weights if n not in own}
    alone = part(program, own, _mapped(program, own), names=own)
    return without_prefix(alone, name_prefix, others)


def _mapped(program: Program, own: Sequence[str]) -> list[str]:
    """The inputs of the network ``own`` that read what another network computes or is fed."""
    inputs: dict[str, str] = {}
    computed: set[str] = set()
    for name in own:
        variable = program.variables[name]
        value = graphs.value_id(internals_of(program).modes.value(name))
        if is_mapped_input(variable):
            inputs.setdefault(value, name)
        else:
            computed.add(value)
    return [name for value, name in inputs.items() if value not in computed]
