"""`Internals`: what a `Program` is inside, for the steps that make one of another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

import attrs

from purdist import graphs
from purdist.arrays import Array, Arrays
from purdist.checking import Names
from purdist.describing import suggestion
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
from purdist.variables import Role, Variable, check_described, is_made_up

_COMPILED = 8
"""How many compiled fetches a program keeps."""


def _read_only(mapping: Mapping[str, Variable]) -> Mapping[str, Variable]:
    # `FrozenMapping` itself as a converter would take no mapping that mypy knows.
    return FrozenMapping(mapping)


@attrs.frozen(eq=False)
class Internals:
    """The graphs and weights of a program, and what is known of its variables.

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

    def names_of(self, *roles: Role) -> tuple[str, ...]:
        """The names of the variables of these roles, each once."""
        return tuple(k for k, v in self.variables.items() if v.role in roles and k == v.name)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the feeds."""
        return self.names_of("input")

    @cached_property
    def held(self) -> tuple[Variable, ...]:
        """What is known of all weights: parameters and buffers."""
        return tuple(map(self.variables.__getitem__, self.names_of("parameter", "buffer")))

    def takes_gradient(self, name: str) -> bool:
        """Whether something that learns lies upstream of ``name`` as it trains."""
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
            str(variable)
            for key, variable in self.variables.items()
            if variable.mode == mode and not is_made_up(variable, key)
        ]
        others = f" In {mode} alone there are {', '.join(own[:5])}." if own else ""
        return InvalidArgumentError(
            f"Expected a variable of the {mode} graph, got {name!r}, which is computed in "
            f"{self.variables[name].mode} alone.",
            f"Name what is computed in {mode}: print(program) says where a variable is computed "
            f"in one mode alone.{others}",
        )

    def compiled(self, names: tuple[str, ...]) -> Inferring:
        """What computes variables in inference mode, compiled once."""
        compiled = self._runners.get(names)
        if compiled is None:
            compiled = Inferring(self.modes.inference, names, self.store.scope, self.store.place)
            while len(self._runners) >= _COMPILED:
                del self._runners[next(iter(self._runners))]
            self._runners[names] = compiled
        return compiled

    def computed(self, names: tuple[str, ...], feed: Arrays) -> dict[str, Array]:
        """Variables in inference mode, of a feed that fits.

        Raises:
            PurdistError: As in `Program.run`.
        """
        try:
            return dict(zip(names, self.compiled(names)(feed), strict=True))
        except RunError as error:
            raise self.explained(error, feed) from error.__cause__

    def explained(self, error: RunError, feed: Arrays) -> PurdistError:
        """What to raise where running failed with ``error``: sizes of a loss that do not meet."""
        known = isinstance(error, graphs.UnmetSizesError)
        for term, *names in graphs.guarded(self.modes.training.program):
            if known and not error.problem.startswith(f"{term}: "):
                continue
            try:
                arrays = self.compiled(tuple(names))(feed)
            except RunError:
                continue  # what the loss reads fails itself
            if len({array.shape for array in arrays}) > 1 == len({array.ndim for array in arrays}):
                shapes = ", ".join(
                    f"{name} {list(array.shape)}" for name, array in zip(names, arrays, strict=True)
                )
                return ShapeMismatchError(
                    f"{term}: Expected variables whose sizes meet, got {shapes}.",
                    "Those sizes were not known before. Name layers between which they stay the "
                    "same, or resize one in its network.",
                )
        return ShapeMismatchError(error.problem, error.remedy) if known else error

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
