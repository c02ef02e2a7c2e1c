"""`Inference`: the teacher in Paddle Inference, ahead of the student's step.

On its own it may be run with fusions and kernels that a training program cannot use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
import paddle

from purdist import graphs
from purdist.arrays import Arrays
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
from purdist.errors import EngineError, warn
from purdist.program import Program
from purdist.storing import scratch
from purdist.teachers.backend import Backend, Running
from purdist.variables import Variable


@attrs.frozen
class Inference(Backend):
    """The teacher in Paddle Inference, on the next batch while the student trains on this one.

    The numbers are those of the graph up to rounding. It is tried first against the graph, in a
    child process, and again on the first batch, and compiled in the first way that is right:
    ``str(training)`` tells which. Trying takes two to three times as long as compiling the
    teacher, and the child 3 s to start, once in a process. Short: ``"inference"``.
    """

    @property
    def ahead(self) -> int:
        return 1

    def start(self, teacher: Program, outputs: tuple[str, ...]) -> Running:
        """The teacher, compiled.

        Raises:
            EngineError: Paddle Inference computes it in no way as the graph does.
            WriteError: The temporary folder has no room for its files.
        """
        return _Compiled.of(teacher, outputs)


_CHOSEN: dict[str, tuple[Way, str]] = {}
"""Fingerprint -> the way that was found to compute it, and why not the first."""


@attrs.define(eq=False)
class _Compiled(Running):
    """A teacher in the first way of compiling it that computes what the graph does.

    Attributes:
        names: What it computes.
        engine: It, compiled.
        way: In which way.
        feeds: What it reads.
        network: Its graph, until the first batch has been compared with it.
        tried: Whether it was tried on random feeds before.
    """

    names: tuple[str, ...]
    engine: Engine
    way: Way
    feeds: Mapping[str, Variable]
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
        feeds = {name: network.variables[name] for name in engine.feeds}
        return cls(names, engine, way, feeds, network, bool(known or samples))

    def __str__(self) -> str:
        return f"in Paddle Inference, {self.way}"

    def ask(self, feed: Arrays) -> Callable[[], Arrays]:
        """Begins nothing: the predictor holds the interpreter lock until it is done."""
        return partial(self._compared, feed)

    def _compared(self, feed: Arrays) -> Arrays:
        """What the teacher says to a batch, the first one compared with the graph's answer."""
        if self.network is not None:
            self._compare(self.network, {name: feed[name] for name in self.feeds})
            self.network = None
        return self._answer(feed)

    def _compare(self, network: Program, feed: Arrays) -> None:
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
            return graphs.said(str(error))

    def _answer(self, feed: Arrays) -> Arrays:
        try:
            return self.engine(feed)
        except REFUSALS as error:
            raise EngineError(
                f"Expected Paddle Inference to answer the teacher's feeds, got "
                f"{graphs.shapes_of({name: feed[name] for name in self.feeds})}, at which it "
                f"fails: {graphs.said(str(error))}",
                "Look at their shapes; or use teacher='graph', which runs it beside the student.",
            ) from error


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
    with scratch() as folder:
        written = Written.write(network, names, folder / "teacher")
        way, found = known or first_right(written, ways, samples)
        fault = fault or found
        if way is None:
            raise EngineError(
                f"Expected Paddle Inference to compute what the teacher's graph does, got another "
                f"answer in each way of compiling it: {fault.rstrip('.')}.",
                "Use teacher='graph', which runs it beside the student.",
            )
        try:
            engine = written.compiled(way)
        except REFUSALS as error:
            raise EngineError(
                f"Expected Paddle Inference to take the teacher, got: {graphs.said(str(error))}",
                "Use teacher='graph', which runs it beside the student.",
            ) from error
    if not way.onednn and isinstance(network.place, paddle.CPUPlace):
        why = fault or "oneDNN is wrong at networks in NHWC, NLC or NDHWC"
        warn(
            f"Expected Paddle Inference to compute the teacher with oneDNN, got a teacher that it "
            f"computes rightly only without: {why.rstrip('.')}.\n"
            "The numbers are those of the graph; teacher='graph' may be as fast."
        )
    return engine, way, fault
