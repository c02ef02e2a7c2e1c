"""A long program in sections that run one after the other, each a program of its own.

Paddle's executor copies its table of all values for each op that it makes ready, so that the first
run of a program takes a time that grows with the square of its ops; k sections take a k-th of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.graphs.looking import (
    Operation,
    declared_name,
    identity,
    is_declared,
    is_tensor,
    operations,
    overwritten,
    reads,
)
from purdist.graphs.making import CLONE

LONG = 1500
"""A program of so many ops is cut. Measured: 1,500 are made ready in 1.5 s, and the steps of
shorter ones, whose ops may run side by side, stay as they are."""

SECTION = 500
"""The ops of a section. Measured on 6,472: in sections of 250, 400 and 800 equally fast."""


_NAMING = frozenset({"builtin.set_parameter", "builtin.shadow_output"})


def plan_of(program: paddle.static.Program) -> core.Plan:
    """What the executor runs for ``program``: the whole, or its sections."""
    ops = list(operations(program))
    computing = [op for op in ops if not is_declared(op)]
    if len(computing) < LONG:
        return core.Plan([core.Job("default")], {"default": program})
    sections = list(_Sections(ops, computing).programs())
    names = [f"section{k}" for k in range(len(sections))]
    jobs = [core.Job(name) for name in names]
    wanted: set[str] = set()
    for job, section in zip(reversed(jobs), reversed(sections), strict=True):
        job.set_skip_gc_vars(set(wanted))  # what a later one reads is not freed
        wanted.update(declared_name(op) for op in operations(section) if is_declared(op))
    return core.Plan(jobs, dict(zip(names, sections, strict=True)))


@attrs.frozen(eq=False)
class _Sections:
    """Cuts a program of ``computing`` ops, and those that declare what they read."""

    ops: Sequence[Operation]
    computing: Sequence[Operation]

    def programs(self) -> Iterator[paddle.static.Program]:
        """The sections in order. What one hands to a later one lies in the scope meanwhile."""
        declared = {op.result(0).id: op for op in self.ops if is_declared(op)}
        taken = set(map(declared_name, declared.values()))
        last = {v.id: k for k, op in enumerate(self.computing) for v in _read(op)}
        handed: dict[str, str] = {}
        begin = 0
        for end in self._ends(last):
            section, mapping = paddle.static.Program(), pir.IrMapping()
            with paddle.static.program_guard(section):
                for op in self.computing[begin:end]:
                    for value in _read(op):
                        if mapping.has(value):
                            continue
                        if value.id in declared:
                            declared[value.id].clone(mapping, CLONE)
                        else:
                            mapping.add(value, _handed_in(handed[value.id], value))
                    op.clone(mapping, CLONE)
                for op in self.computing[begin:end]:
                    for value in op.results():
                        if identity(value) and last.get(value.id, 0) >= end:
                            handed[value.id] = _free(f"handed {len(handed)}", taken)
                            paddle._C_ops.set_persistable_value(
                                mapping.look_up(value), handed[value.id]
                            )
            yield section
            begin = end

    def _ends(self, last: Mapping[str, int]) -> Iterator[int]:
        """Where sections end: after `SECTION` ops, and what of those that follow is one with them.

        That is what takes apart or reads a list, and what reads or writes something that an op in
        place has written to, or that is to have a name of its own in the scope.
        """
        made = {v.id: k for k, op in enumerate(self.computing) for v in op.results() if identity(v)}
        until = list(range(len(self.computing)))
        for k, op in enumerate(self.computing):
            written = [v for v in _written(op) if identity(v)]
            here = [v for v in written if v.id in made]
            tied = [v for v in op.results() if identity(v) and (written or not is_tensor(v))]
            end = max((last.get(v.id, k) for v in (*here, *tied)), default=k)
            for start in (k, *(made[v.id] for v in here)):
                until[start] = max(until[start], end)
        begin, together = 0, 0
        for k, end in enumerate(until):
            together = max(together, end)
            if k >= together and (k + 1 - begin >= SECTION or k + 1 == len(until)):
                begin = k + 1
                yield begin


def _written(op: Operation) -> list[paddle.Tensor]:
    """What ``op`` writes to, or gives a name in the scope."""
    return op.operands_source() if op.name() in _NAMING else overwritten(op)


def _handed_in(name: str, value: paddle.Tensor) -> paddle.Tensor:
    """What reads ``value`` from the scope: `paddle.static.data` would look for its place."""
    return paddle._pir_ops.data(name, list(value.shape), value.dtype, core.Place())


def _read(op: Operation) -> list[paddle.Tensor]:
    return [v for v in reads(op) if identity(v)]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
