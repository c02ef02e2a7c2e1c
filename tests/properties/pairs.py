"""A teacher and a student that see the same images and know the same classes."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from purdist import Program
from purdist.testing import Arrays, network_pairs, networks

CLASSES = 3
SHAPE = (2, 3, 3)

small = networks(shape=SHAPE, classes=CLASSES, max_layers=4)


pairs = network_pairs(shape=SHAPE, classes=CLASSES)


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
