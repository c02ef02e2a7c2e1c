"""What a term's digest computes, held to what a digest may be: it is to run with the teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import paddle

from purdist import graphs
from purdist.building.additions import name_under
from purdist.building.terms import Term
from purdist.errors import InvalidArgumentError, PurdistError, some, together


@attrs.frozen(eq=False)
class Digest:
    """One thing that a loss needs of its teacher.

    Attributes:
        key: What its `build` gets it by.
        value: It, in the program of the term.
        reads: The keys of the variables that it is computed from; of the one that it is, alone.
        teacher: The prefix of the teacher that it is computed from, None if it is of no teacher:
            then it is computed in the step.
        computed: Whether it is computed, and no variable.
    """

    key: str
    value: paddle.Tensor
    reads: tuple[str, ...]
    teacher: str | None
    computed: bool = True


def digests_of(term: str, built: Term, teachers: Mapping[str, str | None]) -> list[Digest]:
    """What the digest of a term returned.

    Args:
        term: Its name.
        built: What its spec built.
        teachers: Key of a variable that the digest got -> the prefix of the teacher whose it is,
            None if it is nobody's who computes on his own.

    Raises:
        InvalidArgumentError: A digest has other rows than the batch, has weights, draws random
            numbers, or is not computed from one teacher alone.
    """
    variables = {graphs.value_id(value): key for key, value in built.feeds.items()}
    found: list[Digest] = []
    faults: list[PurdistError] = []
    for key, value in built.digests.items():
        variable = variables.get(graphs.value_id(value))
        if variable is not None:
            found.append(Digest(key, value, (variable,), teachers[variable], computed=False))
            continue
        ops = graphs.upstream(graphs.operations(built.program), value)
        read = graphs.value_ids(op for op in ops if graphs.is_feed(op))
        reads = tuple(key for identity, key in variables.items() if identity in read)
        of = {teachers[key] for key in reads}
        rows = {built.feeds[key].shape[0] for key in reads if built.feeds[key].shape}
        faults += _faults(term, key, value, ops, rows, of)
        found.append(Digest(key, value, reads, next(iter(of), None)))
    if faults:
        raise together(faults)
    return found


def _faults(
    term: str,
    key: str,
    value: paddle.Tensor,
    ops: Sequence[graphs.Operation],
    rows: set[int],
    teachers: set[str | None],
) -> Iterator[PurdistError]:
    weights = [name_under(term, name) for name in graphs.parameter_names(ops)]
    expected = f"{term}: Expected the digest {key!r}"
    drawn = [graphs.short_name(op) for op in ops if graphs.draws(op)]
    if weights:
        yield InvalidArgumentError(
            f"{expected} to have no weights, got one with {some(weights)}.",
            "Make layers in build: what a digest computes is kept, and nothing of it learns.",
        )
    if drawn:
        yield InvalidArgumentError(
            f"{expected} to draw no random numbers, got one with {some(drawn)}.",
            "Draw in build: a digest is computed once, and may be kept.",
        )
    if len(teachers) != 1:
        whose = " and ".join(sorted(repr(t) if t is not None else "no teacher" for t in teachers))
        yield InvalidArgumentError(
            f"{expected} to be computed from one teacher, got one from {whose or 'nothing'}.",
            "Return one for each, and put them together in build.",
        )
    elif not value.shape or value.shape[0] not in rows:
        yield InvalidArgumentError(
            f"{expected} to have the batch on axis 0, got one of shape {list(value.shape)}.",
            "Leave axis 0 as it is: a cache keeps a row for each sample.",
        )
