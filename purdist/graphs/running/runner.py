"""Running programs on the weights of a scope."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from paddle.base import core

from purdist.graphs.drafts import Graph
from purdist.graphs.failing import check_not_empty, failure, unprepared
from purdist.graphs.learning.precision import in_float32_where_needed
from purdist.graphs.looking import data_name, is_feed, is_tensor, layouts, operations, short_name
from purdist.graphs.running.sections import plan_of
from purdist.graphs.sizes.lengths import check_lengths
from purdist.graphs.state import Place, Scope, building, executing, freeing_in_bulk, plain_layout

_SMALL = 1 << 14
"""Below so many numbers to an op, handing ops to threads costs more than it gains.

Measured on two cores, MLPs and transformers of several widths: the executor that takes ops
in order is up to 1.2 times as fast below, the one with threads 1.2 times above.
"""


class Runner:
    """A graph compiled to run on the weights of one scope.

    ``Executor.run`` does the same with a look-up, two scans of the program and a
    write of the learning rate into the global scope at every call.

    Args:
        graph: What is compiled.
        fetch: The names of what is asked for.
        scope: Where the weights are.
        place: Where it runs.
        in_order: Take the ops in their order, None for whatever is faster.

    Raises:
        RunError: Paddle cannot prepare the graph; what it raised is the cause.
    """

    def __init__(
        self,
        graph: Graph,
        fetch: Sequence[str],
        scope: Scope,
        place: Place,
        *,
        in_order: bool | None = None,
    ) -> None:
        with building():
            draft = graph.copy()
            if isinstance(place, paddle.CPUPlace):
                in_float32_where_needed(draft)
            check_lengths(draft)
            with draft.appending():
                for position, name in enumerate(fetch):
                    value = draft.values[name]
                    paddle._pir_ops.fetch(value, f"fetch{position}", position).persistable = True
            anywhere = core.Place()
            anywhere.set_place(place)
            # First, so that it goes first: it holds the scope without keeping it.
            prepare = partial(
                core.StandaloneExecutor, anywhere, plan_of(draft.finish().program), scope
            )
            with _told():
                self._executor = prepare()
        self._prepare = prepare
        _keep_feature_maps()
        self.feeds: frozenset[str] = frozenset(
            data_name(op) for op in operations(graph.program) if is_feed(op)
        )
        self._graph = graph
        self._scope = scope
        self._place = place
        self._has_onednn = any(
            op.name().startswith("onednn_op.") for op in operations(graph.program)
        )
        # Nothing else reads the thread's layout or changes it.
        self._needs_layout = self._has_onednn or not layouts(graph.program) <= {"NCHW"}
        self._threads: dict[int, weakref.ref[threading.Thread]] = {}
        # Paddle's recurrent layers end the process where a sequence has no steps.
        self._needs_steps = any(
            short_name(op) == "rnn" for op in operations(graph.program, regions=True)
        )
        self._in_order = in_order
        self._first = True

    def __call__(
        self,
        feed: Mapping[str, npt.NDArray[np.generic]],
        *,
        read: int | None = None,
        starting: Callable[[], object] = lambda: None,
    ) -> list[npt.NDArray[Any]]:
        """Runs once and returns what was asked for, in order: the first ``read``, or all.

        ``starting`` is called when the feeds are there, right before the interpreter lock is
        let go.

        Raises:
            RunError: Paddle fails at it; what it raised is the cause.
            InvalidArgumentError: A length is above the size that it is a length of.
            ShapeMismatchError: A feed is empty, and a layer is recurrent.
        """
        if self._needs_steps:
            check_not_empty({name: feed[name] for name in self.feeds})
        if self._has_onednn:
            self._forget_threads_that_are_gone()
        first, self._first = self._first, False
        if self._in_order is None:
            rows = max((len(array) for array in feed.values() if array.ndim), default=1)
            self._in_order = _mean_size(self._graph, rows) < _SMALL or _processors() == 1
        with (
            executing(in_order=self._in_order),
            freeing_in_bulk() if first else nullcontext(),
            plain_layout() if self._needs_layout else nullcontext(),
        ):
            for name in self.feeds:
                tensor = core.DenseTensor()
                tensor.set(feed[name], self._place)
                core.set_feed_variable(self._scope, tensor, name, 0)
            starting()
            return self._fetched(feed, read)

    def _forget_threads_that_are_gone(self) -> None:
        """Prepares anew where a thread has run this that is gone, and whose number is another's.

        oneDNN keeps what it has prepared for a thread by its number. With the thread goes what the
        last executor that it ran has kept; an if inside this one, or a section, is one too.
        """
        thread = threading.current_thread()
        number = threading.get_ident()
        known = self._threads.get(number)
        if known is not None and known() is not thread:
            with building(), _told():
                self._executor = self._prepare()
            self._first = True
            self._threads.clear()
        self._threads[number] = weakref.ref(thread)

    def _fetched(
        self, feed: Mapping[str, npt.NDArray[np.generic]], read: int | None
    ) -> list[npt.NDArray[Any]]:
        try:
            fetched = self._executor.run(list(self.feeds), False)._move_to_list()  # noqa: FBT003
            return [np.array(tensor) for tensor in fetched[:read]]
        except MemoryError:
            raise
        except Exception as error:
            raise failure(error, {name: feed[name] for name in self.feeds}) from error


@contextmanager
def _told() -> Iterator[None]:
    """Tells what Paddle says of a graph that it cannot prepare."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise unprepared(error) from error


@cache
def _keep_feature_maps() -> None:
    """Lets the C library keep large blocks for the next step. Once is enough for the process.

    glibc gives what is larger than a bound back to the system at once, and has to take it again
    page by page, which was half of a step with feature maps of 4 MiB. The bound follows the
    largest block up to 32 MiB that was ever freed (mallopt(3), M_MMAP_THRESHOLD).
    """
    np.empty(31 << 20, np.uint8)  # freed again


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def _mean_size(graph: Graph, rows: int) -> float:
    """How many numbers an op puts out on average, if unknown sizes are ``rows``."""
    sizes = [
        math.prod(rows if size == -1 else size for size in value.shape)
        for op in operations(graph.program)
        for value in op.results()
        if is_tensor(value)
    ]
    return sum(sizes) / max(len(sizes), 1)
