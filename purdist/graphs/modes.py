"""The two modes of a network: it trains, and it infers."""

from __future__ import annotations

import attrs

from purdist.graphs.making import Graph


@attrs.frozen(eq=False)
class Modes:
    """The two graphs of one network, over the same weights and names.

    Attributes:
        training: The graph that trains: dropout drops, batch norm gathers.
        inference: The graph that infers.
    """

    training: Graph
    inference: Graph
