"""A teacher and a student that see the same images and know the same classes."""

from __future__ import annotations

from typing import Any

import attrs
import numpy.typing as npt
from hypothesis import strategies as st

from purdist import Program, merge
from purdist.testing import Arrays, Network, networks

CLASSES = 3
SHAPE = (2, 3, 3)

small = networks(shape=SHAPE, classes=CLASSES, max_layers=4)


@attrs.frozen
class Pair:
    """Two networks described, and how they meet."""

    teacher: Network
    student: Network
    prefix: str = "teacher_"

    def programs(self) -> tuple[Program, Program]:
        return self.teacher.program(name="photo", seed=1), self.student.program(seed=2)

    def merged(self) -> Program:
        return merge(*self.programs(), {"photo": "image"}, name_prefix=self.prefix)

    @property
    def heads(self) -> tuple[str, str]:
        """The names of both networks' logits in the merged program."""
        return self.prefix + self.teacher.outputs[-1], self.student.outputs[-1]


pairs = st.builds(Pair, small, small)


def computed(program: Program) -> list[str]:
    """The names of all that a program computes in inference mode."""
    return [
        name
        for name, variable in program.variables.items()
        if variable.role == "activation" and variable.mode != "training"
    ]


def differing(one: Arrays, other: Arrays) -> set[str]:
    """The names whose arrays are not equal to the last bit."""
    return {
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or _bits(one[name]) != _bits(other[name])
    }


def _bits(array: npt.NDArray[Any]) -> tuple[object, ...]:
    return array.dtype, array.shape, array.tobytes()
