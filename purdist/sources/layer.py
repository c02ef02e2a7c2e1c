"""The door for dygraph layers: `from_layer`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import attrs
import paddle
from paddle.static import InputSpec

from purdist import pir, scopes
from purdist.errors import (
    InvalidArgumentError,
    NameClashError,
    TracingError,
    UninitializedWeightsError,
)
from purdist.program import Program
from purdist.sources.static import enter

Inputs: TypeAlias = "Mapping[str, Any] | Sequence[Any]"
"""``InputSpec``s by feed name, or a sequence of named ones. Containers nest."""


def from_layer(
    layer: paddle.nn.Layer,
    inputs: Inputs,
    *,
    place: pir.Place | str | None = None,
    share: bool = False,
) -> Program:
    """A network from a dygraph layer, traced in both modes.

    Variables are named by sublayer path: the output of ``layer1.0.conv1`` is the variable
    ``layer1.0.conv1``, its weight ``layer1.0.conv1.weight``. A sublayer that is called more
    than once gives ``path``, ``path#1``, ..., several outputs give ``path.0``, ``path.1``,
    nested as the sublayer returned them, or ``path.key`` for a dictionary. What the layer
    itself returns is ``output``, ``output.0``, ..., or under the keys of a dictionary. A name
    that stands for something else already gets ``#1``, too.

    The graph that trains is traced after ``layer.train()``, or, if the layer is in training
    mode already, as it stands, with the parts that are frozen in eval mode; the graph that
    infers after ``layer.eval()``. The layer is left as it was. Its hooks fire, twice, and get
    graph values: one that needs numbers must not be on it, and one that keeps what it gets
    keeps values of a graph that is gone, which to touch ends the process.

    Args:
        layer: The network, made in dynamic mode.
        inputs: Feed name -> ``InputSpec``: a name that is a parameter of ``forward`` is passed
            as that, the others fill the remaining parameters in order. Or a sequence of named
            ``InputSpec``s, passed in order. Where ``forward`` takes a dictionary or a list,
            give one, of ``InputSpec``s; the keys are the feed names.
        place: Where the program lives and runs, Paddle's current place by default.
        share: Take the weights as they lie in the layer instead of a copy. No memory is
            spent, and whoever changes them there in place, such as an optimizer, changes them
            here.

    Returns:
        The network. Parameters that stop gradients in the layer are frozen.

    Raises:
        InvalidArgumentError: ``inputs`` holds no ``InputSpec``, one has no name, they do not
            fit ``forward``, or the layer was made in static mode.
        NameClashError: A feed name stands twice, or is that of a sublayer or weight.
        TracingError: The layer cannot be called with graph values.
        UninitializedWeightsError: A parameter has no memory.
        RandomInferenceError: The layer draws random numbers in eval mode.
    """
    _check_made_in_dynamic_mode(layer)
    with pir.building():  # another thread may be tracing the same layer
        args, kwargs = _arguments(layer, inputs)
        weights = _Weights(layer)
        paths = _paths(layer)
        _check_feed_names(args, kwargs, weights, paths)
        with pir.untouched(layer), weights.renamed():
            if not layer.training:
                layer.train()
            training = _Life.of(layer, args, kwargs, weights, paths)
            layer.eval()
            inference = _Life.of(layer, args, kwargs, weights, paths)
        pir.freeze(pir.operations(inference.trace.program))
        taken = {*training.given, *inference.given}
        trains = training.graph({}, taken)
        infers = inference.graph(
            _made_in_both(training, trains, inference), {*taken, *trains.values}
        )
        return enter(
            trains,
            infers,
            weights.scope(),
            pir.place_of(place),
            share=share,
            inner=training.inner | inference.inner,
        )


# --- arguments --------------------------------------------------------------------------


def _arguments(layer: paddle.nn.Layer, inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What to call ``layer`` with: its arguments by position, and by keyword."""
    if not isinstance(inputs, Mapping | Sequence) or not inputs:
        raise InvalidArgumentError(
            f"Expected inputs to be a mapping from feed name to InputSpec, got {inputs!r}.",
            "Write inputs={'x': paddle.static.InputSpec([None, 3, 224, 224])}.",
        )
    # A forward that was given to paddle.jit.to_static keeps the function it was.
    forward = getattr(layer.forward, "dygraph_function", layer.forward)
    signature = inspect.signature(forward)
    specs = _named(inputs)
    try:
        bound = _bind(signature, specs) if isinstance(specs, Mapping) else signature.bind(*specs)
    except TypeError as error:
        raise InvalidArgumentError(
            f"Expected inputs for {type(layer).__name__}.forward{signature}, got "
            f"{', '.join(repr(spec.name) for spec in _flat(specs))}: {error}.",
            "Give an InputSpec for each tensor that forward needs.",
        ) from None
    return bound.args, bound.kwargs


def _bind(signature: inspect.Signature, specs: Mapping[str, Any]) -> inspect.BoundArguments:
    """Those whose names are parameters as these, the others in order where there is room."""
    own = {name: spec for name, spec in specs.items() if name in signature.parameters}
    others = [spec for name, spec in specs.items() if name not in own]
    positional = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    room = [name for name in positional if name not in own]
    own.update(zip(room, others, strict=False))
    rest = others[len(room) :]
    leading = [own.pop(name) for name in positional if name in own] if rest else []
    return signature.bind(*leading, *rest, **own)


def _named(inputs: Any, name: str | None = None) -> Any:
    """``inputs`` with each ``InputSpec`` under its feed name: its key, or its own."""
    if isinstance(inputs, Mapping):
        return {key: _named(item, str(key)) for key, item in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [_named(item) for item in inputs]
    if not isinstance(inputs, InputSpec):
        raise InvalidArgumentError(
            f"Expected an InputSpec for each feed, got {type(inputs).__name__}"
            f"{f' for {name!r}' if name else ''}.",
            "Write paddle.static.InputSpec([None, 3, 224, 224], 'float32'), None for a size "
            "that varies.",
        )
    name = name or inputs.name
    if not name:
        raise InvalidArgumentError(
            f"Expected each InputSpec to have a name, got {inputs}.",
            "Write InputSpec(shape, dtype, name='x'), or inputs={'x': InputSpec(shape, dtype)}.",
        )
    return InputSpec(inputs.shape, inputs.dtype, name, stop_gradient=True)


def _flat(inputs: Any) -> Iterator[InputSpec]:
    if isinstance(inputs, InputSpec):
        yield inputs
    else:
        for item in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from _flat(item)


# --- names ------------------------------------------------------------------------------


def _paths(layer: paddle.nn.Layer) -> dict[int, list[str]]:
    """The id of a sublayer -> its paths, more than one if it is shared."""
    paths: dict[int, list[str]] = {}
    for path, sublayer in layer.named_sublayers(include_self=True, remove_duplicate=False):
        paths.setdefault(id(sublayer), []).append(path)
    return paths


def held_by(layer: paddle.nn.Layer) -> Iterator[tuple[str, paddle.Tensor, bool]]:
    """The parameters and buffers of a layer by path, and whether each is a parameter.

    One that is shared comes once for each of its names. ``layer.named_parameters`` does not
    work in static mode.
    """
    for path, sublayer in layer.named_sublayers(include_self=True, remove_duplicate=False):
        for own, parameter in ((sublayer._parameters, True), (sublayer._buffers, False)):
            for name, tensor in own.items():
                if tensor is not None:
                    yield f"{path}.{name}" if path else name, tensor, parameter


@attrs.frozen(eq=False)
class _Weight:
    """A tensor with memory that a layer reads.

    Attributes:
        names: Its paths in the layer, more than one if it is shared.
        tensor: The tensor itself.
        parameter: Whether it is a parameter of the layer: what it only holds on to, such as
            a buffer, does not train.
    """

    names: list[str]
    tensor: paddle.Tensor
    parameter: bool


class _Weights:
    """The weights of a layer and their names."""

    def __init__(self, layer: paddle.nn.Layer) -> None:
        self._known: dict[int, _Weight] = {}
        for name, tensor, parameter in held_by(layer):
            self._add(name, tensor, parameter=parameter)
        parameters = [weight for weight in self._known.values() if weight.parameter]
        absent = [w.names[0] for w in parameters if not w.tensor._is_initialized()]
        if absent:
            some = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
            raise UninitializedWeightsError(
                f"Expected {type(layer).__name__} to hold {len(parameters)} weights, got no memory "
                f"for {len(absent)} of them: {some}.",
                "Initialise the layer first: it was made under paddle.LazyGuard.",
            )

    def _add(self, name: str, tensor: paddle.Tensor, *, parameter: bool) -> _Weight:
        weight = self._known.setdefault(id(tensor), _Weight([], tensor, parameter))
        weight.names.append(name)
        return weight

    @property
    def names(self) -> set[str]:
        """All names."""
        return {name for weight in self._known.values() for name in weight.names}

    @contextmanager
    def renamed(self) -> Iterator[None]:
        """No two tensors have one name inside: Paddle's tracer takes them for one then."""
        found = [(weight.tensor, weight.tensor.name) for weight in self._known.values()]
        for k, (tensor, name) in enumerate(found):
            tensor.name = f"{k}:{name}"
        try:
            yield
        finally:
            for tensor, name in found:
                tensor.name = name

    def place_in(self, trace: pir.Trace) -> dict[str, paddle.Tensor]:
        """Gives the weights of a trace their names, and puts them first, in their order."""
        values: dict[int, paddle.Tensor] = {}
        for tensor, value in trace.weights:
            weight = self._known.get(id(tensor))
            if weight is None:  # one that forward finds elsewhere
                weight = self._add(_free(tensor.name, self.names), tensor, parameter=False)
            values[id(tensor)] = value
            pir.op_of(value).set_str_attr("parameter_name", weight.names[0])
            value.trainable = weight.parameter and not tensor.stop_gradient
            value.stop_gradient = not value.trainable
            if weight.parameter:
                value.need_clip = tensor.need_clip
                value.optimize_attr = tensor.optimize_attr
                value.regularizer = tensor.regularizer
        read = {key: weight for key, weight in self._known.items() if key in values}
        pir.to_front(trace.program, [values[key] for key in read])
        return {name: values[key] for key, weight in read.items() for name in weight.names}

    def scope(self) -> pir.Scope:
        """A scope in which the names stand for the memory of the layer."""
        scope = scopes.new_scope()
        for weight in self._known.values():
            if weight.tensor._is_initialized():
                scopes.hold(scope, weight.names[0], weight.tensor)
        return scope


@attrs.frozen(eq=False)
class _Life:
    """A layer traced in one of its modes.

    Attributes:
        trace: What it did.
        given: The names of what has better ones than those that are made.
        inner: The names of what lies inside while and if regions.
        calls: The calls by path and count.
    """

    trace: pir.Trace
    given: Mapping[str, paddle.Tensor]
    inner: frozenset[str]
    calls: Mapping[str, pir.Call]

    @classmethod
    def of(
        cls,
        layer: paddle.nn.Layer,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        weights: _Weights,
        paths: Mapping[int, Sequence[str]],
    ) -> _Life:
        """The layer in the mode it is in."""
        try:
            trace = pir.trace(layer, args, kwargs)
        except pir.UntraceableError as error:
            raise _untraceable(layer, error, paths) from error.__cause__
        given = weights.place_in(trace)
        given.update(pir.own_names(pir.operations(trace.program)))
        memory = {id(tensor): value for tensor, value in trace.weights}
        reachable = pir.reachable_ids(trace.program)
        inner: set[str] = set()
        calls: dict[str, pir.Call] = {}
        for path, names, call in _numbered(trace.calls, paths):
            for op in call.operations:
                op.set_str_attr("struct_name", path)
            calls[names[0]] = call
            for name in names:
                for full_name, leaf in _leaves(name, call.output):
                    value = memory.get(id(leaf), leaf)
                    if not pir.is_value(value) or not pir.is_tensor(value):
                        continue
                    if value.id in reachable:
                        given[_free(full_name, given, value)] = value
                    else:
                        inner.add(full_name)
        return cls(trace, given, frozenset(inner), calls)

    def graph(self, made: Mapping[str, paddle.Tensor], taken: Iterable[str]) -> pir.Graph:
        """The graph, with names for what has none, those in ``made`` first."""
        ops = pir.operations(self.trace.program)
        values = pir.made_names(ops, {**self.given, **made}, taken=taken)
        return pir.Graph(self.trace.program, values)


def _numbered(
    calls: Iterable[pir.Call], paths: Mapping[int, Sequence[str]]
) -> Iterator[tuple[str, list[str], pir.Call]]:
    """Each call with the path of who was called, and its names: ``path``, ``path#1``, ..."""
    times: Counter[int] = Counter()
    for call in calls:
        key = id(call.layer)
        number = f"#{times[key]}" if times[key] else ""
        times[key] += 1
        yield paths[key][0], [path + number for path in paths[key]], call


def _leaves(name: str, output: object) -> Iterator[tuple[str, object]]:
    """What a layer called ``name`` put out, '' being the network itself."""
    if isinstance(output, Mapping):
        for key, item in output.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
    elif isinstance(output, list | tuple):
        for k, item in enumerate(output):
            yield from _leaves(f"{name or 'output'}.{k}", item)
    else:
        yield name or "output", output


def _free(name: str, taken: Any, value: paddle.Tensor | None = None) -> str:
    """``name``, or ``name#1``, ... where it stands for something other than ``value``."""
    free, k = name, 0
    while free in taken and not (value is not None and taken[free].id == value.id):
        k += 1
        free = f"{name}#{k}"
    return free


def _made_in_both(training: _Life, graph: pir.Graph, inference: _Life) -> dict[str, paddle.Tensor]:
    """The made names of the graph that trains -> their values in the one that infers.

    Two values are one variable if they are what the same op computes in the same call. That
    can be told for calls that do the same in both modes; where a layer does one thing in
    training and another in eval mode, nothing says which of its values are meant to be one.
    """
    made = {v.id: name for name, v in graph.values.items() if name not in training.given}
    named = {value.id for value in inference.given.values()}
    both: dict[str, paddle.Tensor] = {}
    for name, call in training.calls.items():
        other = inference.calls.get(name)
        if other is None or _kinds(call) != _kinds(other):
            continue
        for one, two in zip(call.operations, other.operations, strict=True):
            for value, twin in zip(one.results(), two.results(), strict=True):
                if pir.identity(value) in made and twin.id not in named:
                    both[made[value.id]] = twin
    return both


def _kinds(call: pir.Call) -> list[str]:
    return [op.name() for op in call.operations]


# --- checks -----------------------------------------------------------------------------


def _check_made_in_dynamic_mode(layer: paddle.nn.Layer) -> None:
    if not isinstance(layer, paddle.nn.Layer):
        raise InvalidArgumentError(
            f"Expected a paddle.nn.Layer, got {type(layer).__name__}.",
            "A static program goes to from_static, a path to from_exported.",
        )
    for sublayer in layer.sublayers(include_self=True):
        for parameter in sublayer._parameters.values():
            if parameter is not None and not isinstance(parameter, paddle.Tensor):
                raise InvalidArgumentError(
                    f"Expected a layer made in dynamic mode, got {type(layer).__name__} made in "
                    "static mode.",
                    "Make it under paddle.disable_static(), or hand the program it is part of to "
                    "from_static.",
                )


def _check_feed_names(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    weights: _Weights,
    paths: Mapping[int, Sequence[str]],
) -> None:
    names = [spec.name for spec in _flat([*args, *kwargs.values()])]
    owned = weights.names.union(*paths.values())
    for name in names:
        if names.count(name) > 1 or name in owned:
            why = "a sublayer or weight" if name in owned else "another feed"
            raise NameClashError(
                f"Expected each feed to have a name of its own, got {name!r}, which is that of "
                f"{why}.",
                "Choose another feed name.",
            )


def _reason(error: BaseException | None) -> str:
    """What an error says. Paddle wraps its text in the code that it ran."""
    kind = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(f"{kind}: ")]
    return told[-1] if told else ": ".join([kind, *lines[:1]])


def _untraceable(
    layer: paddle.nn.Layer, error: pir.UntraceableError, paths: Mapping[int, Sequence[str]]
) -> TracingError:
    path = paths[id(error.layer)][0]
    where = f" at its sublayer {path!r}, {type(error.layer).__name__}" if path else ""
    return TracingError(
        f"Expected {type(layer).__name__} to compute with graph values, it failed{where}: "
        f"{_reason(error.__cause__)}",
        "In forward and hooks, use Paddle's ops on tensors: their numbers are not there yet.",
    )
