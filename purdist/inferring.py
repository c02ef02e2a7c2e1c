"""A network that computes: what `Program.run` keeps of its inference graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from purdist import graphs, scopes


class Inferring:
    """An inference graph cut to what is fetched, ready to run on the weights of a scope.

    It has a scope of its own, in which every weight is another name for the memory of that
    scope's, so that feeds and results never land there.

    Attributes:
        feeds: The inputs that are needed.
    """

    def __init__(
        self, graph: graphs.Graph, fetch: Sequence[str], scope: graphs.Scope, place: graphs.Place
    ) -> None:
        with graphs.building():
            part = graphs.cut(graph, fetch).finish()
        self._weights = graphs.parameter_names(graphs.operations(part.program))
        self._draws = bool(graphs.random_operations(part.program))
        self._source = scope
        self._scope = scopes.new_scope()
        # The executor looks its weights up as it is made.
        scopes.share(scope, self._scope, self._weights)
        self._runner = graphs.Runner(part, fetch, self._scope, place)
        self.feeds: frozenset[str] = self._runner.feeds

    def __call__(self, feed: Mapping[str, npt.NDArray[np.generic]]) -> list[npt.NDArray[Any]]:
        # Shared anew at each run: training may have moved a weight to other memory.
        scopes.share(self._source, self._scope, self._weights)
        if not self._draws:
            return self._runner(feed)
        with graphs.random_state(0):
            return self._runner(feed)
