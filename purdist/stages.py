"""The teacher as a stage of its own, ahead of the student's step.

A teacher's ops reach the rest of a program at a few variables, those that the losses
listen to. Cut there, it is a program of its own, and Paddle Inference may run it with
fusions and kernels that a training program cannot use.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy.typing as npt
import paddle

from purdist import graphs
from purdist.cutting import part
from purdist.engine import (
    REFUSALS,
    Engine,
    Sample,
    Way,
    Written,
    difference,
    fingerprint,
    first_right,
    precision_of,
    samples_of,
    ways_for,
)
from purdist.errors import EngineError, InvalidArgumentError, PurdistWarning
from purdist.program import Feed, Program


@attrs.frozen(eq=False)
class Stage:
    """A teacher cut out of a program, to compute ahead of the student's step.

    Attributes:
        names: The variables it computes: those that the rest of the program listens to.
        feeds: The inputs it reads.
        compute: What it says to one batch: variable -> array.
        describe: Tells where and how it computes.
    """

    names: tuple[str, ...]
    feeds: frozenset[str]
    compute: Callable[[Feed], Mapping[str, npt.NDArray[Any]]]
    describe: Callable[[], str]


def listened(program: Program) -> tuple[str, ...]:
    """The activations of teachers that anything else reads, in program order.

    A weight that is read, and what is computed from weights alone, is the same for every batch:
    that stays with who reads it.
    """
    values = program.modes.training.values
    others = {
        values[n].id for n, v in program.variables.items() if v.owner != "teacher" and n in values
    }
    names = {
        values[name].id: name
        for name, variable in program.variables.items()
        if name in values
        and name == variable.name
        and (variable.owner, variable.role) == ("teacher", "activation")
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


def teacher_of(program: Program) -> tuple[tuple[str, ...], Program]:
    """The variables that losses listen to, and the part of ``program`` that computes them.

    Raises:
        InvalidArgumentError: There is no teacher, or it reads what the student learns.
    """
    names = listened(program)
    if not names:
        raise InvalidArgumentError(
            "Expected a program whose losses listen to a teacher, got one without.",
            "Merge a teacher into it first, or train it as it is.",
        )
    teacher = part(program, names)
    learning = [v.spec for v in teacher.variables.values() if v.changes]
    if learning:
        raise InvalidArgumentError(
            f"Expected a teacher that reads feeds alone, got one that reads what the student "
            f"computes with {', '.join(learning[:3])}{', ...' if len(learning) > 3 else ''}, which "
            "training changes.",
            "Train with teacher='graph', without a cache.",
        )
    return names, teacher


def without_teacher(program: Program) -> tuple[str, ...]:
    """The names of all that is left of ``program`` once its teachers are cut out."""
    return tuple(name for name, v in program.variables.items() if v.owner != "teacher")


def make_stage(program: Program) -> Stage:
    """The teachers of ``program``, compiled by Paddle Inference.

    Raises:
        InvalidArgumentError: There is no teacher, or it reads what the student learns.
        EngineError: Paddle Inference computes it in no way as the graph does.
    """
    names, teacher = teacher_of(program)
    compiled = _Compiled.of(teacher, names)
    return Stage(names, compiled.engine.feeds, compiled.compute, compiled.describe)


_CHOSEN: dict[str, tuple[Way, str]] = {}
"""Fingerprint -> the way that was found to compute it, and why not the first."""


@attrs.define(eq=False)
class _Compiled:
    """Teachers in the first way of compiling them that computes what the graph does.

    Attributes:
        names: What they compute.
        engine: It, compiled.
        way: In which way.
        network: Their graph, until the first batch has been compared with it.
        tried: Whether they were tried on random feeds before.
    """

    names: tuple[str, ...]
    engine: Engine
    way: Way
    network: Program | None
    tried: bool

    @classmethod
    def of(cls, network: Program, names: tuple[str, ...]) -> _Compiled:
        """What was found before for such a network, or is found now."""
        key = fingerprint(network, names)
        known, samples = _CHOSEN.get(key), []
        if known is None:
            samples = samples_of(network, names)
        engine, way, fault = _compile(network, names, samples, ways_for(network), known)
        if samples:
            _CHOSEN[key] = way, fault
        return cls(names, engine, way, network, bool(known or samples))

    def describe(self) -> str:
        """In words how it computes."""
        return f"in Paddle Inference, {self.way}"

    def compute(self, feed: Feed) -> dict[str, npt.NDArray[Any]]:
        """What the teachers say to a batch, the first one compared with the graph's answer."""
        if self.network is not None:
            self._compare(self.network, {name: feed[name] for name in self.engine.feeds})
            self.network = None
        return self._answer(feed)

    def _compare(self, network: Program, feed: Feed) -> None:
        """Falls back until the answer to ``feed`` is the graph's, and remembers to what."""
        sample, ways = Sample.of(network, self.names, feed), ways_for(network)
        if not self.tried:
            self.engine, self.way, _ = _compile(network, self.names, [sample], ways)
        while fault := self._fault(sample, precision_of(network)):
            ways = ways[ways.index(self.way) + 1 :]
            self.engine, self.way, _ = _compile(network, self.names, [sample], ways, fault=fault)
            _CHOSEN[fingerprint(network, self.names)] = self.way, fault

    def _fault(self, sample: Sample, precision: str) -> str:
        try:
            return difference(self.engine(sample.feed), sample.answers, precision)
        except REFUSALS as error:
            return str(error).strip()

    def _answer(self, feed: Feed) -> dict[str, npt.NDArray[Any]]:
        try:
            return self.engine(feed)
        except REFUSALS as error:
            raise _refused(error) from error


def _compile(
    network: Program,
    names: tuple[str, ...],
    samples: Sequence[Sample],
    ways: Sequence[Way],
    known: tuple[Way, str] | None = None,
    *,
    fault: str = "",
) -> tuple[Engine, Way, str]:
    """The first right one of ``ways``, compiled; ``fault`` is what was wrong with one before."""
    with tempfile.TemporaryDirectory() as folder:
        written = Written.write(network, names, Path(folder) / "teacher")
        way, found = known or first_right(written, ways, samples)
        fault = fault or found
        if way is None:
            raise EngineError(
                f"Expected Paddle Inference to compute what the teacher's graph does, got another "
                f"answer in each way of compiling it: {fault}.",
                "Use teacher='graph', which runs it beside the student.",
            )
        try:
            engine = written.compiled(way)
        except REFUSALS as error:
            raise _refused(error) from error
    if not way.onednn and isinstance(network.place, paddle.CPUPlace):
        why = fault or "oneDNN is wrong at networks in NHWC, NLC or NDHWC"
        warnings.warn(
            f"Expected Paddle Inference to compute the teacher with oneDNN, got a teacher that it "
            f"computes rightly only without: {why}.\n"
            "The numbers are those of the graph; teacher='graph' may be as fast.",
            PurdistWarning,
            stacklevel=5,
        )
    return engine, way, fault


def _refused(error: Exception) -> EngineError:
    return EngineError(
        f"Expected Paddle Inference to take the teacher, got: {str(error).strip()}",
        "Use teacher='graph', which runs it beside the student.",
    )
