"""A graph that is being built, and one that is finished: two types.

Whatever changes a graph takes a `Draft`. A `Graph` is what a draft becomes, or anybody's program
that is only looked at, so that a type checker refuses to change one that somebody holds.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.looking import Operation, operations


@attrs.frozen(eq=False)
class Graph:
    """A program that is finished, and the values in it that have names.

    Attributes:
        program: The PIR program.
        values: Name -> value, in the order the values are computed.
    """

    program: paddle.static.Program
    values: Mapping[str, paddle.Tensor]

    def known(self, names: Iterable[str]) -> Iterator[str]:
        """Those of ``names`` that this graph has: the other mode of a network may have others."""
        return filter(self.values.__contains__, names)

    def named(self, names: Collection[str]) -> Graph:
        """The same with these names alone."""
        return Graph(self.program, {n: v for n, v in self.values.items() if n in names})

    def copy(self) -> Draft:
        """The whole once more, in a program of its own."""
        return _copied(self.program, self.values)


@attrs.define(eq=False)
class Draft:
    """A program while it is built, and the values in it that have names.

    It is nobody's yet. Once it is finished it is used up: there is nothing left to change.

    Attributes:
        values: Name -> value.
    """

    _program: paddle.static.Program | None = attrs.field()
    values: Mapping[str, paddle.Tensor] = attrs.field(factory=dict)

    @_program.default
    def _empty(self) -> paddle.static.Program:
        # As a factory, it would be what the name means now: it may be the old form.
        return paddle.static.Program()

    @property
    def program(self) -> paddle.static.Program:
        """The PIR program."""
        assert self._program is not None, "a graph that is finished is not changed"
        return self._program

    def operations(self, some: Iterable[Operation] | None = None) -> list[Operation]:
        """What to change: ``some`` of its ops, or all outside regions."""
        program = self.program
        return list(operations(program) if some is None else some)

    @contextmanager
    def appending(self, startup: paddle.static.Program | None = None) -> Iterator[None]:
        """What is computed inside gets to the end of the program, its parameters to ``startup``."""
        with paddle.static.program_guard(self.program, startup):
            yield

    def copy(self) -> Draft:
        """The whole as it is now once more."""
        return _copied(self.program, self.values)

    def finish(self) -> Graph:
        """The graph."""
        program, self._program = self.program, None
        return Graph(program, self.values)


def _copied(program: paddle.static.Program, values: Mapping[str, paddle.Tensor]) -> Draft:
    mapping = pir.IrMapping()
    clone = program.clone(mapping)
    carry_parameter_attributes(program.global_block().all_parameters(), mapping)
    return Draft(clone, {name: mapping.look_up(value) for name, value in values.items()})


def carry_parameter_attributes(parameters: Iterable[paddle.Tensor], mapping: pir.IrMapping) -> None:
    """What optimizers ask of parameters and cloning forgets, from the old ones to the new."""
    for old in parameters:
        carry_attributes(old, mapping.look_up(old))


def carry_attributes(old: paddle.Tensor, new: paddle.Tensor) -> None:
    """The same of one parameter, in copies: whoever made the old ones may change them."""
    new.optimize_attr = dict(old.optimize_attr or {"learning_rate": 1.0})
    new.regularizer = copy.copy(old.regularizer)
