"""`NetworkPair`: a teacher and a student that fit, described."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import attrs

from purdist.merging import merge
from purdist.program import Program
from purdist.testing.architectures import Network


@attrs.frozen
class NetworkPair:
    """A teacher and a student that see the same images: a value, as its networks are.

    Attributes:
        teacher: Its input is ``photo``.
        student: Its input is ``image``.
    """

    teacher: Network
    student: Network

    data_name_map: ClassVar[Mapping[str, str]] = MappingProxyType({"photo": "image"})
    """What `merge` is handed with the two."""

    def programs(self) -> tuple[Program, Program]:
        """Teacher and student, with weights of different seeds."""
        return self.teacher.program(name="photo", seed=1), self.student.program(seed=2)

    def merged(self, *, name_prefix: str = "teacher_") -> Program:
        """Both in one program."""
        return merge(*self.programs(), self.data_name_map, name_prefix=name_prefix)

    @property
    def outputs(self) -> tuple[str, str]:
        """What teacher and student put out in that program, under the default prefix."""
        return f"teacher_{self.teacher.outputs[-1]}", self.student.outputs[-1]
