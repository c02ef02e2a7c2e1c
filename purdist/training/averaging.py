"""Weights that follow others: moving averages of a student's, and a teacher that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import paddle

from purdist import graphs, scopes
from purdist.arrays import widened
from purdist.errors import InvalidArgumentError, PurdistError, listed, together
from purdist.program import Program, internals_of
from purdist.variables import changes, learns


def average_name(name: str) -> str:
    """Where the scope keeps the moving average of a weight."""
    return f"average/{name}"


def averages_of(gradients: Sequence[graphs.Gradient], program: Program) -> dict[str, paddle.Tensor]:
    """The weights of networks that learn -> where their moving average is kept."""
    weights = [p for p, _ in gradients if learns(program.variables[p.name])]
    return {
        weight.name: graphs.kept_in_scope(
            average_name(weight.name), weight.shape, graphs.wide(weight.dtype)
        )
        for weight in weights
    }


def begin_averages(program: Program, names: Iterable[str]) -> None:
    """Lets each average begin as the weight itself."""
    for name, array in scopes.values(program.scope, names).items():
        wide = widened(array, program.variables[name].dtype)
        scopes.put(program.scope, average_name(name), wide, program.place)


def moving_names(program: Program) -> list[str]:
    """The weights of a program that training moves, its factors of terms left out."""
    own, written = internals_of(program), graphs.written_parameters(program.graph)
    moving = [v for v in own.held if changes(v) or v.name in own.store.following]
    following = own.store.following
    return [v.name for v in moving if v.role != "buffer" or v.name in written | following]


def statistics_of(program: Program) -> list[str]:
    """The running statistics that the forward graph moves."""
    written = graphs.written_parameters(program.graph)
    return [name for name in moving_names(program) if name in written]


def followed(program: Program, prefixes: Iterable[str]) -> dict[str, str]:
    """The weights of the teachers of these ``prefixes`` -> those of the student that they follow.

    Raises:
        PurdistError: A teacher is not there, or not as the student is.
    """
    pairs: dict[str, str] = {}
    faults: list[PurdistError] = []
    for prefix in prefixes:
        own = [name for name in program.weights if program.variables[name].network == prefix]
        if not own:
            faults.append(
                InvalidArgumentError(
                    f"Expected follow to name teachers of the program, got {prefix!r}.",
                    f"There are {listed(map(repr, program.teachers))}, as far as losses need "
                    "their weights.",
                )
            )
        pairs.update((name, name.removeprefix(prefix)) for name in own)
    faults += _unlike(program, pairs)
    if faults:
        raise together(faults)
    return pairs


def _unlike(program: Program, pairs: Mapping[str, str]) -> Iterator[InvalidArgumentError]:
    for teacher, name in pairs.items():
        own, there = program.variables[teacher], program.variables.get(name)
        if there is None or not learns(there):
            got = f"none of the name {name!r}"
        elif (there.shape, there.dtype, there.role) != (own.shape, own.dtype, own.role):
            got = f"the {there.role} {there}"
        else:
            continue
        yield InvalidArgumentError(
            f"Expected the student to have a weight for the {own.role} {own} of the teacher that "
            f"follows it, got {got}.",
            "Make teacher and student of one class, with the same sizes: "
            "from_layer(layer, ...) twice, or of two layers.",
        )


def pairs_of(
    program: Program, values: Mapping[str, paddle.Tensor], rates: Mapping[str, float]
) -> list[tuple[paddle.Tensor, paddle.Tensor, float]]:
    """Each weight of a teacher that follows, what it follows, and its rate.

    Running statistics are copied.
    """
    found = []
    for teacher, student in followed(program, rates).items():
        variable = program.variables[teacher]
        rate = rates[str(variable.network)] if variable.role == "parameter" else 0.0
        found.append((values[teacher], values[student], rate))
    return found
