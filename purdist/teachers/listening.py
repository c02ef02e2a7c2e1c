"""A teacher cut out of a program, at the few variables where the rest of it listens."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from purdist import graphs
from purdist.cutting import part
from purdist.errors import InvalidArgumentError, some
from purdist.program import Program


@attrs.frozen(eq=False)
class Cut:
    """A teacher on its own.

    Attributes:
        prefix: Of its names in the program that it was cut out of.
        outputs: The variables that the rest of that program reads.
        network: What computes them.
    """

    prefix: str
    outputs: tuple[str, ...]
    network: Program


def cut_out(program: Program, prefix: str) -> Cut:
    """The teacher of that prefix, as far as the losses listen to it.

    Raises:
        InvalidArgumentError: It reads what the student learns.
    """
    outputs = listened(program, prefix)
    network = part(program, outputs)
    learning = [v.spec for v in network.variables.values() if v.changes]
    if learning:
        raise InvalidArgumentError(
            f"Expected a teacher that reads feeds alone, got one that reads what the student "
            f"computes with {some(learning)}, which training changes.",
            "Train with teacher='graph', without a cache.",
        )
    return Cut(prefix, outputs, network)


def listened_teachers(program: Program) -> tuple[str, ...]:
    """The prefixes of the teachers that the losses listen to.

    Raises:
        InvalidArgumentError: There is none.
    """
    found = tuple(prefix for prefix in program.teachers if listened(program, prefix))
    if not found:
        raise InvalidArgumentError(
            "Expected a program whose losses listen to a teacher, got one without.",
            "Merge a teacher into it first, or train it as it is.",
        )
    return found


def listened(program: Program, prefix: str) -> tuple[str, ...]:
    """The activations of the teacher of that prefix that anything else reads, in program order.

    A weight that is read, and what is computed from weights alone, is the same for every batch:
    that stays with who reads it.
    """
    values = program.modes.training.values
    others = {
        values[n].id for n, v in program.variables.items() if v.network != prefix and n in values
    }
    names = {
        values[name].id: name
        for name, variable in program.variables.items()
        if name in values
        and name == variable.name
        and (variable.network, variable.role) == (prefix, "activation")
        and values[name].id not in others  # a mapped input is the student's variable
    }
    operations, all_lists = list(graphs.operations(program.graph)), _lists(program)
    theirs, lists = set[int](), set[str]()
    read: set[str] = set()
    for op in reversed(operations):
        if _is_teachers(op, names, others, theirs) or _works_on(op, lists):
            theirs.add(op.id())
            lists |= graphs.read_ids([op]) & all_lists
        else:
            read |= graphs.read_ids([op])
    read &= _fed(program)
    return tuple(name for identity, name in names.items() if identity in read)


def _lists(program: Program) -> set[str]:
    """The ids of the lists of tensors, which loops and branches fill."""
    results = [
        v for op in graphs.operations(program.graph) for v in op.results() if graphs.identity(v)
    ]
    return {v.id for v in results if not graphs.is_tensor(v)}


def _fed(program: Program) -> set[str]:
    """The ids of the values of the graph that trains that depend on a feed."""
    fed, lists = set[str](), _lists(program)
    for op in graphs.operations(program.graph):
        read = graphs.read_ids([op])
        if graphs.is_feed(op) or not fed.isdisjoint(read):
            fed |= graphs.value_ids([op]) | (read & lists)  # which it may have filled
    return fed


def _is_teachers(
    op: graphs.Operation,
    names: Collection[str],
    others: Collection[str],
    theirs: Collection[int],
) -> bool:
    results = [v for v in op.results() if graphs.identity(v)]
    if any(v.id in names for v in results):
        return True
    # What has no name, such as a list of tensors, is whose it serves.
    nameless = [v for v in results if v.id not in others]
    return any(user.id() in theirs for v in nameless for user in v.all_used_ops())


def _works_on(op: graphs.Operation, lists: Collection[str]) -> bool:
    """Whether ``op`` puts out no tensor and works on one of ``lists``, such as a loop over rows."""
    silent = not any(graphs.is_tensor(v) for v in op.results())
    return silent and not graphs.read_ids([op]).isdisjoint(lists)
