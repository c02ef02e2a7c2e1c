"""What a layer is called with: the feeds of `from_layer`, by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import paddle
from paddle.static import InputSpec

from purdist.errors import InvalidArgumentError

Inputs: TypeAlias = Mapping[str, object] | Sequence[object]
"""``InputSpec``s by feed name, or a sequence of named ones. Containers nest."""


def arguments(layer: paddle.nn.Layer, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What to call ``layer`` with: its arguments by position, and by keyword."""
    if not inputs:
        raise InvalidArgumentError(
            f"Expected inputs to be a mapping from feed name to InputSpec, got {inputs!r}.",
            "Write inputs={'x': paddle.static.InputSpec([None, 3, 224, 224])}.",
        )
    # A forward that was given to paddle.jit.to_static keeps the function it was.
    forward = getattr(layer.forward, "dygraph_function", layer.forward)
    signature = inspect.signature(forward)
    try:
        specs = _named(inputs)
    except RecursionError:
        raise InvalidArgumentError(
            "Expected inputs to nest as what forward takes, got containers of no end.",
            "Write inputs={'x': paddle.static.InputSpec([None, 3, 224, 224])}.",
        ) from None
    try:
        bound = _bind(signature, specs) if isinstance(specs, Mapping) else signature.bind(*specs)
    except TypeError as error:
        raise InvalidArgumentError(
            f"Expected inputs for {type(layer).__name__}.forward{signature}, got "
            f"{', '.join(repr(spec.name) for spec in flat(specs))}: {error}.",
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
    # What feeds this network may learn one day, and the layer says where that would stop.
    return InputSpec(inputs.shape, inputs.dtype, name, stop_gradient=False)


def flat(inputs: Any) -> Iterator[InputSpec]:
    """The ``InputSpec``s in nested containers."""
    if isinstance(inputs, InputSpec):
        yield inputs
    else:
        for item in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from flat(item)
