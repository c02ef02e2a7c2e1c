"""The laws that every pair of networks obeys, and every wrapper of `merge`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Protocol

import attrs
import numpy as np
import paddle

from purdist import graphs, merging, scopes
from purdist.applying import apply
from purdist.arrays import Arrays
from purdist.checking import guard
from purdist.cutting import cut
from purdist.distillation import Distillation
from purdist.errors import NonFiniteError, PurdistError
from purdist.exporting.student import student_of
from purdist.losses.custom import CustomLoss
from purdist.program import Program, internals_of
from purdist.testing.holding import hold, hold_same
from purdist.testing.states import unchanged
from purdist.training import Step, Training, minimize, train
from purdist.trying import random_feed
from purdist.variables import FLOATS, is_mapped_input

_STEPS = 3


class Merge(Protocol):
    """`purdist.merge`, or what stands in for it."""

    def __call__(
        self,
        teacher: Program,
        student: Program,
        data_name_map: Mapping[str, str],
        /,
        *,
        name_prefix: str = ...,
    ) -> Program: ...


class ProgramLaw(Protocol):
    """What every pair of networks obeys: raises AssertionError where it does not."""

    @property
    def __name__(self) -> str: ...

    def __call__(
        self,
        teacher: Program,
        student: Program,
        data_name_map: Mapping[str, str],
        *,
        merge: Merge = merging.merge,
    ) -> None: ...


@attrs.frozen(eq=False)
class _Networks:
    """What a law is held against: two networks, and what merges them."""

    teacher: Program
    student: Program
    data_name_map: Mapping[str, str]
    merge: Merge

    def merged(self) -> Program:
        """Both in one program."""
        return self.merge(self.teacher, self.student, self.data_name_map)


def _law(holds: Callable[[_Networks], None]) -> ProgramLaw:
    """A law as it is called, under the name and the text of what holds it."""

    def law(
        teacher: Program,
        student: Program,
        data_name_map: Mapping[str, str],
        *,
        merge: Merge = merging.merge,
    ) -> None:
        holds(_Networks(teacher, student, data_name_map, merge))

    law.__name__, law.__qualname__, law.__doc__ = holds.__name__, holds.__qualname__, holds.__doc__
    return law


@_law
def both_compute_as_alone(of: _Networks) -> None:
    """In the merged program each network computes what it does alone, to the bit.

    So a teacher is fed what the map says, and weights and statistics are its own.
    """
    merged = of.merged()
    feed = batch_of(merged)
    read = merged.run(feed, list(of.data_name_map.values()))
    names = _computed(of.teacher)
    alone = of.teacher.run({name: read[v] for name, v in of.data_name_map.items()}, names)
    found = merged.run(feed, [f"teacher_{name}" for name in names])
    hold_same("the teacher", {k.removeprefix("teacher_"): a for k, a in found.items()}, alone)
    names = _computed(of.student)
    hold_same("the student", merged.run(feed, names), of.student.run(feed, names))


@_law
def both_stay_as_they_were(of: _Networks) -> None:
    """Merging, and training what was merged, changes neither network, nor anything of Paddle."""
    with unchanged(of.teacher, of.student, of.data_name_map):
        _trained(of.merged())


@_law
def the_student_comes_back(of: _Networks) -> None:
    """`student_of` a merged program is the student: names, weights, and what it computes."""
    found = student_of(of.merged())
    hold(
        dict(found.variables) == dict(of.student.variables),
        f"Expected the variables {sorted(of.student.variables)}, got {sorted(found.variables)}.",
    )
    hold_same("the student", _weights(found), _weights(of.student))
    feed, names = batch_of(of.student), _computed(of.student)
    hold_same("the student", found.run(feed, names), of.student.run(feed, names))


@_law
def a_prefix_is_a_name(of: _Networks) -> None:
    """Another prefix gives the teacher's variables other names, and nothing else."""
    ours, other = (
        of.merge(of.teacher, of.student, of.data_name_map, name_prefix=prefix)
        for prefix in ("t_", "other.")
    )
    renamed = {
        f"other.{name.removeprefix('t_')}" if v.owner == "teacher" else name
        for name, v in ours.variables.items()
    }
    found = set(other.variables)
    hold(found == renamed, f"Expected the names {sorted(renamed)}, got {sorted(found)}.")
    feed, names = batch_of(ours), _computed(of.teacher)
    one, two = (
        program.run(feed, [prefix + name for name in names])
        for program, prefix in ((ours, "t_"), (other, "other."))
    )
    hold_same("the teacher", {f"t_{k.removeprefix('other.')}": a for k, a in two.items()}, one)


@_law
def halves_are_the_whole(of: _Networks) -> None:
    """A network that is `cut`, its second half fed what its first computes, is the network."""
    merged = of.merged()
    names = _computed(merged)
    place, last = names[len(names) // 2], names[-1]
    if place == last:
        return
    feed = batch_of(merged)
    first, second = cut(merged, [place])
    fed = {name: array for name, array in feed.items() if name in second.inputs}
    middle = first.run({name: feed[name] for name in first.inputs}, [place])
    got = second.run({**fed, **{k: a for k, a in middle.items() if k in second.inputs}}, [last])
    hold_same("both halves", got, merged.run(feed, [last]))


@_law
def trained_twice_it_is_the_same(of: _Networks) -> None:
    """`minimize` twice of one distillation, one seed: the same losses and weights, to the bit."""
    merged = of.merged()
    one, two = (_trained(merged) for _ in range(2))
    if one and two:
        _hold_trained_alike(one, two)


@_law
def pieces_are_the_whole(of: _Networks) -> None:
    """Two calls of `train` that follow each other are one over all batches, to the bit."""
    merged = of.merged()
    whole = _trained(merged)
    pieces = _trained(merged, lambda batches: (list(islice(batches, 1)), list(batches)))
    if whole and pieces:
        _hold_trained_alike(pieces, whole)


def batch_of(program: Program, *, rows: int = 3, size: int = 3, seed: int = 0) -> Arrays:
    """A batch that ``program`` takes, of so many rows, other sizes ``size`` if it has no others."""
    inputs = [program.variables[name] for name in program.inputs]
    ranges = graphs.value_ranges(internals_of(program).modes.inference)
    return random_feed(inputs, ranges, rows=rows, size=size, seed=seed)


def _computed(program: Program) -> list[str]:
    """What ``program`` computes as it infers."""
    return [
        name
        for name, v in program.variables.items()
        if v.role == "activation" and v.mode != "training" and not is_mapped_input(v)
    ]


def _weights(program: Program) -> Arrays:
    return scopes.values(program.scope, program.weights)


def _distilled(program: Program) -> Iterator[Distillation]:
    """``program`` under a loss over the last of the student's values that learns, if one does."""
    for name, v in reversed(list(program.variables.items())):
        if v.owner == "student" and v.role == "activation" and v.dtype in FLOATS:
            try:
                yield apply(program, [CustomLoss(_to_a_half, {"value": name})])
            except PurdistError:  # nothing that learns lies upstream of it, or one mode lacks it
                continue


def _to_a_half(value: paddle.Tensor) -> paddle.Tensor:
    return (value - 0.5).square().mean()


def _sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


_Pieces = Callable[[Iterator[Arrays]], Iterable[Iterable[Arrays]]]


def _trained(
    program: Program, pieces: _Pieces = lambda batches: (batches,)
) -> tuple[Training, list[Step]] | None:
    """``program`` after a few steps, and those steps; None if nothing of it learns."""
    for distillation in _distilled(program):
        try:
            training = minimize(distillation, _sgd, seed=1)
        except PurdistError:
            continue
        batches = iter([batch_of(training.program, seed=k) for k in range(_STEPS)])
        steps: list[Step] = []
        with suppress(NonFiniteError):  # one that diverges ends in the same step
            for piece in pieces(batches):
                for step in train(training, piece):
                    steps.append(step)  # noqa: PERF402 - those before an error stay
        return training, steps
    return None


def _hold_trained_alike(
    got: tuple[Training, list[Step]], expected: tuple[Training, list[Step]]
) -> None:
    ours, theirs = ([step.loss for step in steps] for _, steps in (got, expected))
    same = np.array(ours).tobytes() == np.array(theirs).tobytes()  # nan is nan, here
    hold(same, f"Expected losses of {theirs}, got {ours}.")
    hold_same("the trained student", *(_weights(one.program) for one, _ in (got, expected)))


guard(
    (
        "both_compute_as_alone",
        "both_stay_as_they_were",
        "the_student_comes_back",
        "a_prefix_is_a_name",
        "halves_are_the_whole",
        "trained_twice_it_is_the_same",
        "pieces_are_the_whole",
    ),
    globals(),
)

PROGRAM_LAWS: tuple[ProgramLaw, ...] = (
    both_compute_as_alone,
    both_stay_as_they_were,
    the_student_comes_back,
    a_prefix_is_a_name,
    halves_are_the_whole,
    trained_twice_it_is_the_same,
    pieces_are_the_whole,
)
"""What every pair of networks obeys, under `merge` and whatever stands in for it."""
