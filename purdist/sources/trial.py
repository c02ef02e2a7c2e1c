"""The check of `from_layer`: both graphs are run once against the layer itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import paddle
from paddle.static import InputSpec

from purdist import graphs, scopes
from purdist.arrays import Arrays
from purdist.errors import TracingError
from purdist.program import Program, internals_of
from purdist.sources.differences import Difference, Outputs, nudged, same
from purdist.sources.names import Paths, leaves
from purdist.sources.refusals import reason
from purdist.sources.traced import Traced
from purdist.sources.weights import held_by
from purdist.trying import agree, random_feed, vary

_ROWS = 2
_SIZES = (8, 16, 32, 64, 128, 224)
_OTHER_ROWS = 5
_OTHER_SIZES = (27, 48, 96, 160)
_SEED = 1


@attrs.frozen(eq=False)
class Trial:
    """A layer, and the program that was made of it.

    Attributes:
        layer: The layer.
        args: What it is called with by position, ``InputSpec``s for feeds.
        kwargs: And by keyword.
        paths: The paths of its sublayers.
        program: What it became.
        guessed: It was traced with -1 for unknown sizes, which must not be taken on one trial:
            it must hold at inputs of two sizes, in all that varies.
    """

    layer: paddle.nn.Layer
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    paths: Paths
    program: Program
    guessed: bool = False

    def check(self, training: Traced, inference: Traced, recorded: graphs.Modes) -> None:
        """Runs both modes. ``recorded`` are the graphs of the traces, as they were before.

        Raises:
            TracingError: An output of the layer or of a sublayer is not what the graph computes,
                or the layer computes something else at each call.
        """
        modes = internals_of(self.program).modes
        self._check_mode(_Mode("training", modes.training, training, recorded.training))
        self._check_mode(_Mode("inference", modes.inference, inference, recorded.inference))

    def _check_mode(self, mode: _Mode) -> None:
        low = graphs.computes_low(mode.graph.program)  # where dynamic mode keeps to float32
        tried = [] if low else list(self._tried(mode))
        if self.guessed and len(tried) < 2:
            raise TracingError(
                f"Expected {type(self.layer).__name__} to take inputs of two sizes, of those tried "
                f"it takes {len(tried)}.",
                "Let forward take sizes that vary from paddle.shape(x), which a graph follows.",
            )
        for feed, expected in tried:
            self._compare(mode, feed, expected)

    def _tried(self, mode: _Mode) -> Iterator[tuple[Arrays, Outputs]]:
        """Inputs and what the layer computes of them."""
        yield from filter(None, [self._first_feed_that_fits(mode, _ROWS, _SIZES)])
        if self.guessed:
            yield from filter(None, [self._first_feed_that_fits(mode, _OTHER_ROWS, _OTHER_SIZES)])

    def _compare(self, mode: _Mode, feed: Arrays, expected: Outputs) -> None:
        pairs = list(_pairs(mode, expected))
        got = self._computed(mode, feed, sorted({name for _, _, name in pairs}))
        for key, k, name in pairs:
            array = expected[key][k]
            if not agree(got[name], array, array.dtype.name):
                self._judge(mode, feed, expected, Difference(key, k, name, got[name], array))

    def _first_feed_that_fits(
        self, mode: _Mode, rows: int, sizes: Sequence[int]
    ) -> tuple[Arrays, Outputs] | None:
        """Random inputs that the layer takes, and what it computes of them."""
        for feed in self._feeds(mode, rows, sizes):
            with self._in(mode):
                generators, numbers = graphs.generators(), graphs.plain_attributes(self.layer)
                try:
                    outputs = self._call(feed)
                except Exception:
                    continue
                drawn = graphs.generators() != generators
                counted = graphs.plain_attributes(self.layer)
            if drawn or (counted != numbers and self._counts(mode, feed, outputs, counted)):
                raise self._no_function(mode, drawn=drawn)
            return feed, outputs
        return None

    def _counts(
        self,
        mode: _Mode,
        feed: Arrays,
        outputs: Outputs,
        numbers: Sequence[Mapping[str, object]],
    ) -> bool:
        """Whether the numbers that a call left in the layer's attributes change the next one."""
        with self._in(mode):
            for sublayer, own in zip(self.layer.sublayers(include_self=True), numbers, strict=True):
                vars(sublayer).update(own)
            return not same(outputs, self._call(feed))

    def _feeds(self, mode: _Mode, rows: int, sizes: Sequence[int]) -> Iterator[Arrays]:
        inputs = [self.program.variables[name] for name in self.program.inputs]
        ranges = graphs.value_ranges(mode.graph)
        for size in sizes if vary(inputs) else sizes[:1]:
            feed = random_feed(inputs, ranges, rows=rows, size=size)
            if self._has_sizes(mode, feed):
                yield feed

    def _has_sizes(self, mode: _Mode, feed: Arrays) -> bool:
        """Whether all that the layer computes of ``feed`` has a size: Paddle crashes at less."""
        if not vary(map(self.program.variable, feed)):
            return graphs.has_sizes(mode.graph.program)
        specs = {
            name: InputSpec(array.shape, self.program.variables[name].dtype, name)
            for name, array in feed.items()
        }
        with graphs.untouched(self.layer):
            _set(self.layer, mode)
            try:
                trace = graphs.trace(
                    self.layer, _filled(self.args, specs), _filled(self.kwargs, specs)
                )
            except (graphs.UntraceableError, graphs.StaleReadError):
                return False
        return graphs.has_sizes(trace.draft.program)

    @contextmanager
    def _in(self, mode: _Mode) -> Iterator[None]:
        """The layer in a mode; what a call leaves in it is undone at the end."""
        written = graphs.written_parameters(mode.recorded.program)
        tensors = [
            tensor
            for tensor, value in mode.traced.trace.weights
            if graphs.parameter_name(graphs.op_of(value)) in written
        ]
        tensors += [tensor for _, tensor, parameter in held_by(self.layer) if not parameter]
        with graphs.as_it_is(self.layer, tensors):
            _set(self.layer, mode)
            yield

    def _call(self, feed: Arrays) -> Outputs:
        outputs: Outputs = {}
        times: Counter[int] = Counter()

        def record(layer: paddle.nn.Layer, output: object) -> None:
            key = id(layer), times[id(layer)]
            times[id(layer)] += 1
            tensors = [v for _, v in leaves("", output) if isinstance(v, paddle.Tensor)]
            outputs[key] = [np.array(tensor.numpy()) for tensor in tensors]

        paddle.seed(_SEED)
        tensors = {name: paddle.to_tensor(array) for name, array in feed.items()}
        graphs.call(self.layer, _filled(self.args, tensors), _filled(self.kwargs, tensors), record)
        return outputs

    def _computed(self, mode: _Mode, feed: Arrays, names: Sequence[str]) -> Arrays:
        """What the graph computes, on weights that it may write to."""
        program, place = self.program, self.program.place
        scope = scopes.new_scope()
        weights = graphs.parameter_names(graphs.operations(mode.graph.program))
        written = graphs.written_parameters(mode.graph.program)
        scopes.share(program.scope, scope, [name for name in weights if name not in written])
        scopes.copy(program.scope, scope, [name for name in weights if name in written], place)
        runner = graphs.Runner(mode.graph, names, scope, place, in_order=True)  # of what is drawn
        paddle.seed(_SEED)
        try:
            return dict(zip(names, runner(feed), strict=True))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise TracingError(
                f"Expected {type(self.layer).__name__} to compute the same as a graph, the graph "
                f"fails in {mode.name} mode where the layer does not, at {shapes}: "
                f"{reason(error)}",
                "Let forward take sizes that vary from paddle.shape(x), which a graph follows.",
            ) from error

    def _judge(self, mode: _Mode, feed: Arrays, expected: Outputs, difference: Difference) -> None:
        """Refuses a difference, unless rounding may have made it."""
        with self._in(mode):
            if not same(expected, self._call(feed)):
                raise self._no_function(mode, drawn=False)
        with self._in(mode):
            moved = self._call(nudged(feed)).get(difference.key, [])
        if difference.is_rounding(moved):
            return
        path = self.paths[difference.key[0]][0]
        kind = type(self._sublayer(path)).__name__
        where = f"what its sublayer {path!r}, {kind}, puts out" if path else "what it returns"
        raise TracingError(
            f"Expected {type(self.layer).__name__} to compute the same as a graph, in {mode.name} "
            f"mode it does not: the first to differ is {where}, the variable "
            f"{difference.name!r}: {difference}.",
            "Look at how forward comes there: let it compute with Paddle's ops on tensors, and "
            "take neither numbers nor sizes out of them.",
        )

    def _sublayer(self, path: str) -> paddle.nn.Layer:
        return dict(self.layer.named_sublayers(include_self=True, remove_duplicate=False))[path]

    def _no_function(self, mode: _Mode, *, drawn: bool) -> TracingError:
        why = "it draws from Python's random or numpy.random" if drawn else "it does not"
        return TracingError(
            f"Expected {type(self.layer).__name__} to compute the same at each call with the same "
            f"inputs, in {mode.name} mode {why}: its graph would hold what one call happened to "
            "take.",
            "Draw with Paddle's ops (paddle.rand, paddle.nn.Dropout), count in a buffer, and "
            "hand in as inputs what changes from call to call.",
        )


@attrs.frozen(eq=False)
class _Mode:
    """One mode of a layer: its graph, and how that came about."""

    name: str
    graph: graphs.Graph
    traced: Traced
    recorded: graphs.Graph


def _pairs(mode: _Mode, expected: Outputs) -> Iterator[tuple[tuple[int, int], int, str]]:
    """The outputs that have a variable, as far as calls and variables can be told to be one.

    A loop calls a layer many times, and its graph once.
    """
    called, traced = Counter(key for key, _ in expected), Counter(k for k, _ in mode.traced.named)
    for key, arrays in expected.items():
        names = mode.traced.named.get(key, ())
        if called[key[0]] == traced[key[0]] and len(names) == len(arrays):
            yield from ((key, k, n) for k, n in enumerate(names) if n in mode.graph.values)


def _set(layer: paddle.nn.Layer, mode: _Mode) -> None:
    if mode.name == "inference":
        layer.eval()
    elif not layer.training:
        layer.train()


def _filled(inputs: Any, feed: Mapping[str, object]) -> Any:
    """``inputs`` with what is fed in place of each ``InputSpec``."""
    if isinstance(inputs, InputSpec):
        return feed[str(inputs.name)]
    if isinstance(inputs, Mapping):
        return {key: _filled(item, feed) for key, item in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [_filled(item, feed) for item in inputs]
    return inputs
