"""A size that a graph does not know, as a product of atoms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Protocol

import paddle

from purdist.graphs.looking import Operation

Size = tuple[int, tuple[int, ...]]
"""A factor and the atoms it is multiplied with, sorted."""

ONE: Size = (1, ())


class Walk(Protocol):
    """What is known of the sizes in a graph, as far as a walk through its ops has come."""

    def atom(self, key: Hashable, /) -> int:
        """The atom that is known by ``key``."""
        ...

    def known_or(self, size: int, key: Hashable, /) -> Size:
        """A size of the graph's, or where it is unknown the atom that is known by ``key``."""
        ...

    def now(self, size: Size, /) -> Size:
        """``size`` with what has been found to be one since."""
        ...

    def sizes(self, value: paddle.Tensor, /) -> tuple[Size, ...]:
        """The size of each axis of ``value``."""
        ...

    def numbers(self, value: paddle.Tensor, /) -> tuple[Size, ...] | None:
        """The integers that a small tensor holds, where they are sizes or constants."""
        ...

    def met(
        self, op: Operation, values: tuple[paddle.Tensor, paddle.Tensor], axes: tuple[int, int], /
    ) -> Size:
        """What is left of an axis of each of two values, which meet in ``op``."""
        ...


def product(sizes: Sequence[Size]) -> Size:
    """All of ``sizes`` multiplied."""
    atoms = sorted(atom for _, more in sizes for atom in more)
    return math.prod(factor for factor, _ in sizes), tuple(atoms)


def quotient(size: Size, divisor: Size) -> Size | None:
    """``size`` divided, None where that cannot be told."""
    atoms = list(size[1])
    for atom in divisor[1]:
        if atom not in atoms:
            return None
        atoms.remove(atom)
    if not divisor[0] or size[0] % divisor[0]:
        return None
    return size[0] // divisor[0], tuple(atoms)
