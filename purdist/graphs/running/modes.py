"""The two modes of a network: it trains, and it infers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import attrs
import paddle

from purdist.graphs.drafts import Graph
from purdist.graphs.learning.gradients import derive_gradients
from purdist.graphs.looking import declared_name, identity, is_declared, op_of
from purdist.graphs.making import append, cut, renamed

Mode: TypeAlias = Literal["both", "training", "inference"]


@attrs.frozen(eq=False)
class Modes:
    """The two graphs of one network, over the same weights and names.

    A name means one variable in both, and may be one that a single mode computes.

    Attributes:
        training: The graph that trains: dropout drops, batch norm gathers.
        inference: The graph that infers.
    """

    training: Graph
    inference: Graph

    def __iter__(self) -> Iterator[Graph]:
        """The graph that trains, then the one that infers."""
        return iter((self.training, self.inference))

    def names(self) -> Iterator[str]:
        """All names: those of training, then those that inference alone has."""
        yield from self.training.values
        yield from (name for name in self.inference.values if name not in self.training.values)

    def mode_of(self, name: str) -> Mode | None:
        """In which mode there is a value of that name, None where there is none in either."""
        trains, infers = (name in graph.values for graph in self)
        if trains:
            return "both" if infers else "training"
        return "inference" if infers else None

    def value(self, name: str) -> paddle.Tensor:
        """The value of that name as it trains, or as it infers if that mode alone has it."""
        graph = self.training if name in self.training.values else self.inference
        return graph.values[name]

    def identities(self, name: str) -> tuple[str | None, str | None]:
        """What tells the variable of that name from others: two names may be one variable."""
        trains, infers = (
            identity(graph.values[name]) if name in graph.values else None for graph in self
        )
        return trains, infers

    def declared(self, name: str) -> set[str | None]:
        """Under which names its ops take the feed, or the weight, that ``name`` is."""
        ops = [op_of(graph.values[name]) for graph in self if name in graph.values]
        return {declared_name(op) if is_declared(op) else None for op in ops}

    def inferring(self) -> Modes:
        """The graph that infers, in both modes: what becomes of a teacher."""
        return Modes(self.inference, self.inference)

    def cut(
        self,
        outputs: Iterable[str],
        inputs: Collection[str] = (),
        *,
        names: Collection[str] | None = None,
    ) -> Modes:
        """What the ``outputs`` need in each mode that has them, as `graphs.cut`.

        Only ``names`` are kept, if they are given.
        """
        outputs = tuple(outputs)
        training, inference = (cut(graph, graph.known(outputs), inputs) for graph in self)
        if any(map(self.takes_gradient, inputs)):
            derive_gradients(training)
        modes = Modes(training.finish(), inference.finish())
        return modes if names is None else modes.named(names)

    def named(self, names: Collection[str]) -> Modes:
        """The same with these names alone."""
        return Modes(self.training.named(names), self.inference.named(names))

    def takes_gradient(self, name: str) -> bool:
        """Whether something that learns lies upstream of ``name`` as it trains."""
        value = self.training.values.get(name)
        return value is not None and not value.stop_gradient

    def append(
        self, other: Modes, feeds: Mapping[str, str], *, own_names: Collection[str], prefix: str
    ) -> Modes:
        """Both networks beside each other, in each mode, as `graphs.append`.

        ``feeds`` says which names of this one stand in for which inputs of the ``other``.
        """
        training, inference = (
            _appended(ours, theirs, feeds, own_names, prefix)
            for ours, theirs in zip(self, other, strict=True)
        )
        return Modes(training, inference)

    def renamed(self, rename: Callable[[str], str]) -> Modes:
        """The same under other names, those of its feeds and weights included."""
        training, inference = (renamed(graph, rename).finish() for graph in self)
        return Modes(training, inference)


def _appended(
    ours: Graph, theirs: Graph, feeds: Mapping[str, str], own_names: Collection[str], prefix: str
) -> Graph:
    draft = ours.copy()
    values = {source: draft.values[name] for source, name in feeds.items()}
    append(draft, theirs, values, own_names=own_names, prefix=prefix)
    if any(not value.stop_gradient for value in values.values()):
        derive_gradients(draft)  # else what flowed before does, and no more
    return draft.finish()
