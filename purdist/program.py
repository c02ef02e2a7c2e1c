"""`Program`: a network as a user holds it, a frozen value."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import attrs
import numpy.typing as npt
import paddle

from purdist import graphs
from purdist.arrays import Arrays, Feed
from purdist.checking import Names, OfThisProcess
from purdist.describing import overview, suggestion, table
from purdist.errors import (
    InvalidArgumentError,
    PurdistError,
    RunError,
    ShapeMismatchError,
    UnknownVariableError,
    together,
)
from purdist.feeding import FeedRules
from purdist.inferring import Inferring
from purdist.mappings import FrozenMapping
from purdist.origins import Origin, Tensors
from purdist.store import Store
from purdist.variables import Owner, Role, Variable, check_described

_COMPILED = 8
"""How many compiled fetches a program keeps."""


def _read_only(mapping: Mapping[str, Variable]) -> Mapping[str, Variable]:
    # `FrozenMapping` itself as a converter would take no mapping that mypy knows.
    return FrozenMapping(mapping)


@attrs.frozen(eq=False, repr=False)
class Program(OfThisProcess):
    """A network: its graphs, its weights and the variables that have names.

    Nothing about it changes once it is made, save the weights of the program of a
    `Training`. Two programs are never equal: compare what they compute.

    Attributes:
        modes: Its two graphs, the one that trains and the one that infers.
        store: Where the weights are. It is this program's own.
        variables: Name -> what is known of it, in the order they are computed.
        origins: Where the weights came from.
        tensors: Of which tensors of a layer they are copies.
        inner: Names inside while and if regions, which nobody can reach -> the prefix of the
            network whose they are.
    """

    modes: graphs.Modes
    store: Store
    variables: Mapping[str, Variable] = attrs.field(converter=_read_only)
    origins: tuple[Origin, ...] = ()
    tensors: Tensors = MappingProxyType({})
    inner: Mapping[str, str] = MappingProxyType({})
    _runners: dict[tuple[str, ...], Inferring] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        check_described(self.variables, self.modes)

    @property
    def scope(self) -> graphs.Scope:
        """Holds the weights."""
        return self.store.scope

    @property
    def place(self) -> graphs.Place:
        """Where the weights are kept and where it runs."""
        return self.store.place

    @property
    def graph(self) -> paddle.static.Program:
        """The PIR program that trains."""
        return self.modes.training.program

    @property
    def inference_graph(self) -> paddle.static.Program:
        """The PIR program that infers."""
        return self.modes.inference.program

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the feeds."""
        return self._names_of("input")

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the weights, running statistics (``role == "buffer"``) left out."""
        return self._names_of("parameter")

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of all that the scope holds for this program: parameters and buffers."""
        return self._names_of("parameter", "buffer")

    @cached_property
    def held(self) -> tuple[Variable, ...]:
        """What is known of all `weights`."""
        return tuple(map(self.variables.__getitem__, self.weights))

    @cached_property
    def teachers(self) -> tuple[str, ...]:
        """The prefixes of the networks that were merged, as far as something is left of them."""
        return self._prefixes("teacher")

    @cached_property
    def peers(self) -> tuple[str, ...]:
        """The prefixes of the networks that were joined."""
        return self._prefixes("peer")

    def _prefixes(self, owner: Owner) -> tuple[str, ...]:
        own = (v for v in self.variables.values() if v.owner == owner and not v.is_mapped_input)
        return tuple(dict.fromkeys(v.network for v in own if v.network is not None))

    def _names_of(self, *roles: Role) -> tuple[str, ...]:
        return tuple(k for k, v in self.variables.items() if v.role in roles and k == v.name)

    def variable(self, name: str) -> Variable:
        """The variable of that name.

        Raises:
            UnknownVariableError: There is none. The text names those that are near.
        """
        found = self.variables.get(name)
        if found is None:
            raise self.unknown(name)
        return found

    def takes_gradient(self, name: str) -> bool:
        """Whether something that learns lies upstream of ``name`` as it trains.

        Raises:
            UnknownVariableError: There is no such variable.
        """
        if name not in self.variables:
            raise self.unknown(name)
        return self.modes.takes_gradient(name)

    def unknown(self, name: str) -> UnknownVariableError:
        """The error for a name that no variable bears, with those that are near."""
        if name in self.inner:
            return UnknownVariableError(
                f"Expected the name of a variable, got {name!r}, which is inside a while or if "
                "region.",
                "Values inside a region cannot be reached: return it from the region and name "
                "what comes out.",
            )
        return UnknownVariableError(
            f"Expected the name of a variable, got {name!r}, which the program does not have.",
            suggestion(self.variables, name),
        )

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
        names = tuple(dict.fromkeys(self.check_fetch(fetch, self.modes.inference, "inference")))
        compiled = self._compiled(names)
        arrays = self.check_feed(feed, compiled.feeds)
        try:
            return dict(zip(names, compiled(arrays), strict=True))
        except RunError as error:
            raise self.explained(error, arrays) from error.__cause__

    def _compiled(self, names: tuple[str, ...]) -> Inferring:
        compiled = self._runners.get(names)
        if compiled is None:
            compiled = Inferring(self.modes.inference, names, self.scope, self.place)
            while len(self._runners) >= _COMPILED:
                del self._runners[next(iter(self._runners))]
            self._runners[names] = compiled
        return compiled

    def explained(self, error: RunError, feed: Arrays) -> PurdistError:
        """What to raise where running failed with ``error``: sizes of a loss that do not meet."""
        for term, *names in graphs.guarded(self.graph):
            try:
                arrays = self._compiled(tuple(names))(feed)
            except RunError:
                continue  # what the loss reads fails itself
            if len({array.shape for array in arrays}) > 1:
                shapes = ", ".join(
                    f"{name} {list(array.shape)}" for name, array in zip(names, arrays, strict=True)
                )
                return ShapeMismatchError(
                    f"{term}: Expected variables whose sizes meet, got {shapes}.",
                    "Those sizes were not known before. Name layers between which they stay the "
                    "same, or resize one in its network.",
                )
        return error

    def check_fetch(self, names: Names, graph: graphs.Graph, mode: str) -> tuple[str, ...]:
        """``names``, if ``graph``, this program's in that ``mode``, computes all of them.

        Raises:
            PurdistError: As in `Program.run`.
        """
        names = tuple(names)
        faults: list[PurdistError] = [self.unknown(n) for n in names if n not in self.variables]
        faults += [
            self.lacking(name, mode)
            for name in names
            if name in self.variables and name not in graph.values
        ]
        if faults:
            raise together(faults)
        return names

    def lacking(self, name: str, mode: str) -> InvalidArgumentError:
        """The error for a variable that is not computed in ``mode``, with those that are there."""
        own = [
            variable.spec
            for key, variable in self.variables.items()
            if variable.mode == mode and not variable.is_made_up(key)
        ]
        others = f" In {mode} alone there are {', '.join(own[:5])}." if own else ""
        return InvalidArgumentError(
            f"Expected a variable of the {mode} graph, got {name!r}, which is computed in "
            f"{self.variable(name).mode} alone.",
            f"Name what is computed in {mode}: print(program) says where a variable is computed "
            f"in one mode alone.{others}",
        )

    def check_feed(self, feed: Feed, needed: Names) -> Arrays:
        """``feed`` in arrays, refused if it does not fit: `FeedRules.check` says how.

        Raises:
            PurdistError: As in `Program.run`.
        """
        return self.feed_rules.check(feed, needed)

    @cached_property
    def feed_rules(self) -> FeedRules:
        """What the feeds must be to each other and to what they look up."""
        return FeedRules.of(self.modes.training, self._fed)

    @cached_property
    def _fed(self) -> Mapping[str, Variable]:
        """The inputs, with what a teacher that reads one knows of its sizes."""
        ids = {name: graphs.value_id(self.modes.value(name)) for name in self.variables}
        inputs = {ids[name]: self.variables[name] for name in self.inputs}
        for name, variable in self.variables.items():
            read = inputs.get(ids[name]) if variable.owner == "teacher" else None
            if read is not None:
                shape = tuple(map(max, read.shape, variable.shape))  # -1 is unknown
                inputs[ids[name]] = attrs.evolve(read, shape=shape)
        return {variable.name: variable for variable in inputs.values()}

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
