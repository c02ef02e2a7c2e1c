"""Running programs on the weights of a scope, and writing them to disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from paddle.base import core

from purdist.pir.looking import data_name, is_feed, operations
from purdist.pir.making import Graph, copy
from purdist.pir.state import Place, building, executing


def run_once(startup: paddle.static.Program, scope: paddle.static.Scope, place: Place) -> None:
    """Runs a startup program: ``scope`` then holds the weights it sets."""
    if startup.global_block().ops:
        paddle.static.Executor(place).run(startup, scope=scope)


def save_inference(
    graph: Graph, outputs: Iterable[str], path: Path, scope: paddle.static.Scope, place: Place
) -> None:
    """Writes ``path.json`` and ``path.pdiparams``, feeds in the order of the program."""
    feeds = [op.result(0) for op in operations(graph.program) if is_feed(op)]
    with paddle.static.scope_guard(scope):
        paddle.static.save_inference_model(
            str(path),
            feeds,
            [graph.values[name] for name in outputs],
            paddle.static.Executor(place),
            program=graph.program,
        )


class Runner:
    """A graph compiled to run on the weights of one scope.

    ``Executor.run`` does the same with a look-up, two scans of the program and a
    write of the learning rate into the global scope at every call.
    """

    def __init__(
        self, graph: Graph, fetch: Sequence[str], scope: paddle.static.Scope, place: Place
    ) -> None:
        self.feeds = frozenset(data_name(op) for op in operations(graph.program) if is_feed(op))
        self._scope = scope  # the executor holds no reference of its own
        self._place = place
        with building():
            compiled = copy(graph)
            with paddle.static.program_guard(compiled.program):
                for position, name in enumerate(fetch):
                    value = compiled.values[name]
                    paddle._pir_ops.fetch(value, f"fetch{position}", position).persistable = True
            anywhere = core.Place()
            anywhere.set_place(place)
            plan = core.Plan([core.Job("default")], {"default": compiled.program})
            self._executor = core.StandaloneExecutor(anywhere, plan, scope)

    def __call__(self, feed: Mapping[str, npt.NDArray[np.generic]]) -> list[npt.NDArray[Any]]:
        """Runs once and returns what was asked for, in order."""
        with executing():
            for name in self.feeds:
                tensor = core.DenseTensor()
                tensor.set(feed[name], self._place)
                core.set_feed_variable(self._scope, tensor, name, 0)
            fetched = self._executor.run(list(self.feeds), False)._move_to_list()  # noqa: FBT003
        return [np.array(tensor) for tensor in fetched]
