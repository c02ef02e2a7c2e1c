"""The weights of a layer, and their names."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import paddle

from purdist import graphs, scopes
from purdist.errors import UninitializedWeightsError, some
from purdist.origins import Tensors
from purdist.sources.names import free


def held_by(layer: paddle.nn.Layer) -> Iterator[tuple[str, paddle.Tensor, bool]]:
    """The parameters and buffers of a layer by path, and whether each is a parameter.

    One that is shared comes once for each of its names.
    """
    for path, sublayer in layer.named_sublayers(include_self=True, remove_duplicate=False):
        own_parameters, own_buffers = graphs.parameters_in(sublayer), graphs.buffers_in(sublayer)
        for own, parameter in ((own_parameters, True), (own_buffers, False)):
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
        trainable: Whether it is one that is not frozen.
    """

    names: list[str]
    tensor: paddle.Tensor
    parameter: bool
    trainable: bool


class Weights:
    """The weights of a layer and their names."""

    def __init__(self, layer: paddle.nn.Layer) -> None:
        self._known: dict[int, _Weight] = {}
        for name, tensor, parameter in held_by(layer):
            self._add(name, tensor, parameter=parameter)
        parameters = [weight for weight in self._known.values() if weight.parameter]
        absent = [w.names[0] for w in parameters if not graphs.has_memory(w.tensor)]
        if absent:
            raise UninitializedWeightsError(
                f"Expected {type(layer).__name__} to hold {len(parameters)} weights, got no memory "
                f"for {len(absent)} of them: {some(absent)}.",
                "Initialise the layer first: it was made under paddle.LazyGuard.",
            )

    def _add(self, name: str, tensor: paddle.Tensor, *, parameter: bool) -> _Weight:
        trainable = parameter and not tensor.stop_gradient
        weight = self._known.setdefault(id(tensor), _Weight([], tensor, parameter, trainable))
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

    @contextmanager
    def learning(self) -> Iterator[None]:
        """All weights take gradients inside, so that only the layer's own word stops them."""
        found = [(weight.tensor, weight.tensor.stop_gradient) for weight in self._known.values()]
        for tensor, _ in found:
            tensor.stop_gradient = False
        try:
            yield
        finally:
            for tensor, stops in found:
                tensor.stop_gradient = stops

    def place_in(self, trace: graphs.Trace) -> dict[str, paddle.Tensor]:
        """Gives the weights of a trace their names, and puts them first, in their order."""
        values: dict[int, paddle.Tensor] = {}
        for tensor, value in trace.weights:
            weight = self._known.get(id(tensor))
            if weight is None:  # one that forward finds elsewhere
                weight = self._add(free(tensor.name, {}, None, self.names), tensor, parameter=False)
            values[id(tensor)] = value
            graphs.name_parameter(trace.draft, value, weight.names[0])
            value.trainable = weight.trainable
            if weight.parameter:
                value.need_clip = tensor.need_clip
                value.optimize_attr = tensor.optimize_attr
                value.regularizer = tensor.regularizer
        read = {key: weight for key, weight in self._known.items() if key in values}
        graphs.to_front(trace.draft, [values[key] for key in read])
        return {name: values[key] for key, weight in read.items() for name in weight.names}

    def given_names(self) -> dict[str, str]:
        """What the layer calls its weights: ``p.name``, by their names here."""
        return {weight.names[0]: weight.tensor.name for weight in self._known.values()}

    def tensors(self) -> Tensors:
        """Where they are in the layer, by their names here."""
        return {weight.names[0]: weakref.ref(weight.tensor) for weight in self._known.values()}

    def scope(self) -> graphs.Scope:
        """A scope in which the names stand for the memory of the layer."""
        scope = scopes.new_scope()
        for weight in self._known.values():
            if graphs.has_memory(weight.tensor):
                scopes.hold(scope, weight.names[0], weight.tensor)
        return scope
