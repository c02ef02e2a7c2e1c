"""`Program`: a network as a user holds it, a frozen value."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs
import numpy.typing as npt
import paddle

from purdist import graphs
from purdist.arrays import Feed
from purdist.checking import Names, OfThisProcess
from purdist.describing import overview, table
from purdist.internals import Internals
from purdist.variables import Owner, Variable, is_mapped_input


@attrs.frozen(eq=False, repr=False)
class Program(OfThisProcess):
    """A network: its graphs, its weights and the variables that have names.

    Nothing about it changes once it is made, save the weights of the program of a
    `Training`. Two programs are never equal: compare what they compute.
    """

    _internals: Internals

    @property
    def variables(self) -> Mapping[str, Variable]:
        """Name -> what is known of it, in the order they are computed."""
        return self._internals.variables

    @property
    def scope(self) -> graphs.Scope:
        """Holds the weights."""
        return self._internals.store.scope

    @property
    def place(self) -> graphs.Place:
        """Where the weights are kept and where it runs."""
        return self._internals.store.place

    @property
    def graph(self) -> paddle.static.Program:
        """The PIR program that trains."""
        return self._internals.modes.training.program

    @property
    def inference_graph(self) -> paddle.static.Program:
        """The PIR program that infers."""
        return self._internals.modes.inference.program

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the feeds."""
        return self._internals.inputs

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the weights, running statistics (``role == "buffer"``) left out."""
        return self._internals.names_of("parameter")

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of all that the scope holds for this program: parameters and buffers."""
        return self._internals.names_of("parameter", "buffer")

    @cached_property
    def teachers(self) -> tuple[str, ...]:
        """The prefixes of the networks that were merged, as far as something is left of them."""
        return self._prefixes("teacher")

    @cached_property
    def peers(self) -> tuple[str, ...]:
        """The prefixes of the networks that were joined."""
        return self._prefixes("peer")

    def _prefixes(self, owner: Owner) -> tuple[str, ...]:
        own = (v for v in self.variables.values() if v.owner == owner and not is_mapped_input(v))
        return tuple(dict.fromkeys(v.network for v in own if v.network is not None))

    def variable(self, name: str) -> Variable:
        """The variable of that name.

        Raises:
            UnknownVariableError: There is none. The text names those that are near.
        """
        found = self.variables.get(name)
        if found is None:
            raise self._internals.unknown(name)
        return found

    def run(self, feed: Feed, fetch: Names) -> dict[str, npt.NDArray[Any]]:
        """Computes variables in inference mode. Changes nothing.

        Only what ``fetch`` needs is computed, and only its inputs need be fed. A random op of a
        loss draws what it would after ``paddle.seed(0)``: one feed has one answer.

        Args:
            feed: Input name -> array or tensor, of the rank, known sizes and dtype of the input; or
                lists of numbers, which have no dtype and get its.
            fetch: The names of the variables to compute.

        Returns:
            Name -> array.

        Raises:
            UnknownVariableError: A fetched name is none of a variable.
            FeedError: A feed is missing, is none of an input or a masked array; or it is no
                mapping.
            ShapeMismatchError: A feed has another rank, or another size on a known axis, or two
                have not the same number of rows; or a recurrent layer gets an empty one; or
                variables of a loss do not meet.
            DtypeMismatchError: A feed has another dtype.
            InvalidArgumentError: A fetched variable exists in training alone, or a feed has a
                value outside the range of what is looked up by it.
            RunError: Paddle fails as it computes, at sizes or numbers that only then meet; its
                own error is the cause.
            SeveralFaultsError: Faults of several of these kinds.
        """
        own = self._internals
        names = tuple(dict.fromkeys(own.check_fetch(fetch, own.modes.inference, "inference")))
        return own.computed(names, own.feed_rules.check(feed, own.compiled(names).feeds))

    def describe(self, match: str = "*") -> str:
        """A table of the variables for a person to pick from.

        Args:
            match: Only names that fit this shell pattern: ``"layer1.*"``.
        """
        names = [name for name in self.variables if fnmatch.fnmatchcase(name, match)]
        return table(self.variables, names)

    def __str__(self) -> str:
        """The table; of a long one the variables that somebody named, the first of them."""
        return overview(self.variables)

    def __repr__(self) -> str:
        return (
            f"<Program inputs={list(self.inputs)} parameters={len(self.parameters)} "
            f"variables={len(self.variables)} place={self.place}>"
        )


def internals_of(program: Program) -> Internals:
    """What a program is inside, which those need who make one of another."""
    return program._internals
