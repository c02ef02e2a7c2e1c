"""Tracing dygraph layers: the graph that ``paddle.jit.to_static`` records, and who made what."""

from __future__ import annotations

import copy
import functools
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import attrs
import paddle
from paddle.base.dygraph import base as dygraph_base
from paddle.jit.dy2static import parameter_recorder
from paddle.nn.functional import common
from paddle.nn.layer import layers

from purdist.graphs.calling.asking import asking
from purdist.graphs.calling.casting import casting_as_in_dygraph
from purdist.graphs.calling.comparing import compared_sizes_of, guessed_sizes_of
from purdist.graphs.calling.converting import reading_sizes
from purdist.graphs.calling.keeping import keep_graph, keep_graph_for
from purdist.graphs.calling.layers import has_hooks
from purdist.graphs.calling.overwriting import Overwriting
from purdist.graphs.calling.writes import writes_as_in_dygraph
from purdist.graphs.drafts import Draft
from purdist.graphs.looking import DATA, PARAMETER, Operation, operations
from purdist.graphs.state import replaced


@attrs.frozen(eq=False)
class Call:
    """One call of a layer as it was traced.

    Attributes:
        layer: Who was called.
        output: What came out, values as nested as the layer returned them.
        operations: The ops of the call itself, not those of calls within.
        newest: What a value of the output was at the end of the call, if it was written over.
    """

    layer: paddle.nn.Layer
    output: object
    operations: Sequence[Operation]
    newest: Callable[[paddle.Tensor], paddle.Tensor]


@attrs.frozen(eq=False)
class Trace:
    """What a layer did when it was called once, as a graph.

    Attributes:
        draft: The graph. It ends with the layer's last op.
        weights: The tensors with memory that it reads, each with its value in the graph.
        calls: The calls in the order they ended, the layer's own last.
    """

    draft: Draft
    weights: Sequence[tuple[paddle.Tensor, paddle.Tensor]]
    calls: Sequence[Call]


class UntraceableError(Exception):
    """A layer cannot be called with graph values.

    Attributes:
        layer: In whose forward it failed.
    """

    def __init__(self, layer: paddle.nn.Layer) -> None:
        self.layer = layer
        super().__init__(type(layer).__name__)


def trace(
    layer: paddle.nn.Layer,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    unknown_as_paddle: bool = False,
) -> Trace:
    """Calls ``layer`` with graph values and records what it computes.

    Its hooks fire, as in any call. What the call leaves in the layer is undone.

    Args:
        layer: Who is called, in the mode it is in.
        args: The positional arguments, feeds given as named ``InputSpec``.
        kwargs: The arguments by keyword, likewise.
        unknown_as_paddle: An unknown size is -1 for the layer, equal to any other unknown one:
            code that asks for numbers goes on, to compute the right or the wrong.

    Raises:
        UntraceableError: The call failed, for the reason that is its cause.
        StaleReadError: It writes over a tensor where the graph cannot follow.
    """
    recorder, overwriting = _Recorder(), Overwriting()
    shape = guessed_sizes_of if unknown_as_paddle else compared_sizes_of
    with (
        untouched(layer),
        _alpha_dropout_of_any_size(),
        replaced(layers, {"name_struct": nullcontext}),  # it lists all ops at each call
        asking(shape=shape),
        reading_sizes(shape),
        casting_as_in_dygraph(),
        writes_as_in_dygraph(),
        _nothing_recorded_of_failures(),
        recorder.recording(layer.sublayers(include_self=True)),
        recorder.recording_no_grad(),
        overwriting.recorded(),
    ):
        static = paddle.jit.to_static(
            types.MethodType(_call, layer), input_spec=[list(args), dict(kwargs)], full_graph=True
        )
        try:
            traced = static.concrete_program
        except Exception as error:
            raise UntraceableError(recorder.innermost or layer) from error
    draft = Draft(traced.main_program)
    recorder.stop_gradients(draft)
    overwriting.settle(draft)
    calls = recorder.calls(draft.program, overwriting)
    return Trace(draft, list(zip(*traced.parameters, strict=True)), calls)


@contextmanager
def _nothing_recorded_of_failures() -> Iterator[None]:
    """Has Paddle forget what it recorded of a trace that failed.

    It goes by the address of the program, and the next program may have the same.
    """
    records = (
        parameter_recorder._global_parameter_recorder.params_dict,
        parameter_recorder._global_parameter_recorder.tensor2value,
        parameter_recorder._global_inplace_map.params_dict,
    )
    found = [set(record) for record in records]
    try:
        yield
    finally:
        for record, known in zip(records, found, strict=True):
            for program in set(record) - known:
                del record[program]


@contextmanager
def _alpha_dropout_of_any_size() -> Iterator[None]:
    """Alpha dropout inside takes a batch of unknown size, which Paddle's own does not."""
    found = common._feature_alpha_dropout_impl

    def drop(
        x: paddle.Tensor, *, feature_dropout: bool, p: float, training: bool, name: str | None
    ) -> paddle.Tensor:
        if not training or -1 not in x.shape or not 0 < p < 1:
            return found(x, feature_dropout=feature_dropout, p=p, training=training, name=name)
        # Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017, section 2: what is
        # dropped goes to where SELU saturates, and `a` and `b` keep mean and variance.
        saturation = -1.6732632423543772 * 1.0507009873554805
        a: float = ((1 - p) * (1 + p * saturation**2)) ** -0.5
        b = -a * saturation * p
        sizes = paddle.shape(x)
        if feature_dropout:
            sizes = paddle.concat([sizes[:2], paddle.ones([x.ndim - 2], sizes.dtype)])
        kept = paddle.cast(paddle.uniform(sizes, "float32", 0.0, 1.0) >= p, x.dtype)
        return (x * kept + (1.0 - kept) * saturation) * a + b

    common._feature_alpha_dropout_impl = drop
    try:
        yield
    finally:
        common._feature_alpha_dropout_impl = found


def _call(self: paddle.nn.Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    # Paddle takes the method apart, and expects its first argument to be called self. A
    # call of the layer, and not of its forward, is what its own hooks see.
    return self(*args, **kwargs)


@contextmanager
def untouched(layer: paddle.nn.Layer) -> Iterator[None]:
    """Undoes what happens to ``layer`` and its sublayers inside, save to their weights.

    Attributes, hooks, modes, and what the lists, dictionaries and sets among the attributes
    hold: a layer that keeps features in itself would be left with values of a graph that is
    gone, and to touch one of those ends the process.
    """
    attributes = [sublayer.__dict__ for sublayer in layer.sublayers(include_self=True)]
    holders = attributes + [
        held
        for own in attributes
        for held in own.values()
        if type(held) in (dict, OrderedDict, list, set)
    ]
    found = [(holder, copy.copy(holder)) for holder in holders]
    try:
        yield
    finally:
        for holder, content in found:
            holder.clear()
            if isinstance(holder, list):
                holder.extend(content)
            else:
                holder.update(content)


class _Recorder:
    """Records the calls of layers.

    Ops are numbered as they are made, so the numbers of the newest op when a call begins and
    when it ends tell which ops are its.
    """

    def __init__(self) -> None:
        self._newest = -1
        self._open: list[tuple[paddle.nn.Layer, int]] = []
        self._ended: list[tuple[paddle.nn.Layer, object, int, int]] = []
        self._switched: list[tuple[int, bool]] = []
        self._hooked = False

    @contextmanager
    def recording(self, layers: Sequence[paddle.nn.Layer]) -> Iterator[None]:
        """Has hooks on ``layers``, the last to fire, and takes them off again."""
        with ExitStack() as hooks:
            self._hooked = any(map(has_hooks, layers))
            for layer in layers:
                hooks.callback(layer.register_forward_pre_hook(self._begin).remove)
                hooks.callback(layer.register_forward_post_hook(self._end).remove)
            yield

    def _begin(self, layer: paddle.nn.Layer, given: object) -> None:
        keep_graph_for(given, paddle.static.default_main_program())
        if self._hooked and not self._open:
            keep_graph(paddle.static.default_main_program())
        self._open.append((layer, self._mark()))

    def _end(self, layer: paddle.nn.Layer, _: object, output: object) -> None:
        keep_graph_for(output, paddle.static.default_main_program())
        opened, begin = self._open.pop()
        while opened is not layer:  # a call within that raised, and was caught
            opened, begin = self._open.pop()
        self._ended.append((layer, output, begin, self._mark()))

    @contextmanager
    def recording_no_grad(self) -> Iterator[None]:
        """Notices which ops are made in ``no_grad`` parts: Paddle itself forgets some of them."""
        switch = dygraph_base._set_grad_enabled

        def switching(mode: bool) -> None:  # noqa: FBT001 - Paddle's own
            self._switched.append((self._mark(), mode))
            switch(mode)

        dygraph_base._set_grad_enabled = switching
        try:
            yield
        finally:
            dygraph_base._set_grad_enabled = switch

    def stop_gradients(self, draft: Draft) -> None:
        """Lets nothing that was made in a ``no_grad`` part take a gradient."""
        ends = [begin for begin, _ in self._switched[1:]] + [sys.maxsize]
        parts = [
            range(begin + 1, end + 1)
            for (begin, mode), end in zip(self._switched, ends, strict=False)
            if not mode
        ]
        for op in operations(draft.program, regions=True) if parts else ():
            if any(op.id() in part for part in parts):
                for value in op.results():
                    if value.initialized():
                        value.stop_gradient = True

    @property
    def innermost(self) -> paddle.nn.Layer | None:
        """Who is being called, None outside all calls."""
        return self._open[-1][0] if self._open else None

    def _mark(self) -> int:
        """The number of the newest op."""
        self._newest = max(self._newest, _newest(paddle.static.default_main_program()))
        return self._newest

    def calls(self, program: paddle.static.Program, overwriting: Overwriting) -> list[Call]:
        """The calls that ended, each with its own ops."""
        made = sorted(
            (op for op in operations(program, regions=True) if op.name() not in (PARAMETER, DATA)),
            key=lambda op: -op.id(),
        )
        calls = []
        waiting: list[Operation] = []
        for layer, output, begin, end in self._ended:  # a call within ends before the call around
            while made and made[-1].id() <= end:
                waiting.append(made.pop())
            own: list[Operation] = []
            while waiting and waiting[-1].id() > begin:
                own.append(waiting.pop())
            newest = functools.partial(overwriting.newest, until=end)
            calls.append(Call(layer, output, own[::-1], newest))
        return calls


def _newest(program: paddle.static.Program) -> int:
    """The highest number among the last ops of ``program`` and of their regions."""
    highest = -1
    blocks = [program.global_block()]
    while blocks:
        block = blocks.pop()
        if not block.empty():
            last = block.back()
            highest = max(highest, last.id())
            blocks.extend(last.blocks() if last.num_regions() else ())
    return highest
