"""`cut`: a program in two, at named variables."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from purdist import graphs
from purdist.checking import Names
from purdist.errors import InvalidArgumentError, PurdistError, together
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.variables import as_input, left_of


def cut(program: Program, at: Names) -> tuple[Program, Program]:
    """Splits a program at variables: one half computes them, the other takes them as feeds.

    The second half computes all that the first does not, to the bit as before if it is fed
    what the first computes. What both need, such as an input, both have.

    The second half goes on where the first ends::

        before, after = cut(student, ["hidden"])
        hidden = before.run({"x": images}, ["hidden"])
        answers = after.run(hidden, ["logits"])

    Args:
        program: What to split.
        at: The names of the variables to split at: activations.

    Returns:
        The half before and the half after, with weights of their own where they can change.

    Raises:
        UnknownVariableError: A name is none of a variable.
        InvalidArgumentError: There are no names, one is a weight, or one exists in one mode
            alone.
        SeveralFaultsError: Faults of both kinds.
    """
    names = tuple(dict.fromkeys(at))
    _check(program, names)
    before = part(program, names)
    after = part(program, [n for n in program.variables if n not in before.variables], names)
    return before, after


def part(
    program: Program,
    outputs: Iterable[str],
    inputs: Collection[str] = (),
    *,
    names: Collection[str] | None = None,
) -> Program:
    """What of ``program`` the ``outputs`` need, in each mode that has them.

    Args:
        program: What to take a part of. It is left as it is.
        outputs: The variables to compute.
        inputs: The variables to feed instead.
        names: The variables that may keep a name, all of them by default.
    """
    own = internals_of(program)
    with graphs.building():
        modes = own.modes.cut(outputs, inputs, names=names)
    # A variable that is fed goes by the name it is fed under; others it has are second names.
    fed = {program.variables[name].name: as_input(program.variables[name], name) for name in inputs}
    result = attrs.evolve(
        own,
        modes=modes,
        store=Store.at(program.place),
        variables=left_of({key: fed.get(v.name, v) for key, v in program.variables.items()}, modes),
    )
    own.store.hand_to(result.store, [program.variables[weight.name] for weight in result.held])
    return Program(result)


def without_prefix(program: Program, prefix: str, others: Collection[str]) -> Program:
    """One network of a program, all of it named ``prefix + name``, as ``name``.

    So are given names, where ``others`` have the bare one: `merge` told them apart. The weights
    are shared: ``program`` is a part that was taken for this, and is used no more.
    """

    def bare(name: str) -> str:
        return name.removeprefix(prefix)

    own = internals_of(program)
    with graphs.building():
        modes = own.modes.renamed(bare)
    result = attrs.evolve(
        own,
        modes=modes,
        store=Store.at(program.place),
        variables={
            bare(key): attrs.evolve(
                variable,
                name=bare(variable.name),
                given_name=bare(given) if bare(given) in others else given,
                network="",
                owner="student",
            )
            for key, variable in program.variables.items()
            for given in (variable.given_name,)
        },
        tensors={bare(n): t for n, t in own.tensors.items() if n in program.variables},
        inner={bare(name): "" for name, network in own.inner.items() if network == prefix},
    )
    own.store.hand_to(result.store, own.held, frozen=True, rename=bare)
    return Program(result)


def _check(program: Program, names: tuple[str, ...]) -> None:
    if not names:
        raise InvalidArgumentError(
            "Expected at least one variable to cut at, got none.",
            "print(program) lists the variables.",
        )
    own = internals_of(program)
    for mode, graph in (("training", own.modes.training), ("inference", own.modes.inference)):
        own.check_fetch(names, graph, mode)
    faults: list[PurdistError] = [
        InvalidArgumentError(
            f"Expected an activation to cut at, got the {variable.role} {variable}.",
            "Cut at what the network computes.",
        )
        for variable in map(program.variable, names)
        if variable.role in ("parameter", "buffer")
    ]
    if faults:
        raise together(faults)
