"""`InGraph`: the teacher in the graph of the student's step."""

from __future__ import annotations

import attrs

from purdist.program import Program
from purdist.teachers.backend import Backend


@attrs.frozen
class InGraph(Backend):
    """The teacher in the step's own graph, beside the student: the default, short ``"graph"``."""

    @property
    def ahead(self) -> int:
        return 0

    @property
    def in_step(self) -> bool:
        return True

    def start(self, teacher: Program, outputs: tuple[str, ...]) -> None:
        """There is nothing to start: the step computes the teacher."""
