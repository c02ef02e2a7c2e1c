"""What `from_layer` refuses, and what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import paddle

from purdist import graphs
from purdist.errors import InvalidArgumentError, NameClashError, TracingError, some
from purdist.sources.arguments import flat
from purdist.sources.names import Paths, leaves, same
from purdist.sources.weights import Weights
from purdist.variables import check_name


def check_no_casting() -> None:
    """Refuses to trace under ``auto_cast``: what it casts would depend on who traces."""
    if paddle.amp.is_autocast_enabled():
        raise InvalidArgumentError(
            "Expected from_layer to be called outside paddle.amp.auto_cast, got it inside.",
            "Write auto_cast inside the layer's forward, around what is to be cast, or take the "
            "with statement away.",
        )


def check_made_in_dynamic_mode(layer: paddle.nn.Layer) -> None:
    """Refuses a layer that holds values of a static program."""
    for sublayer in layer.sublayers(include_self=True):
        for parameter in graphs.parameters_in(sublayer).values():
            if parameter is not None and not isinstance(parameter, paddle.Tensor):
                raise InvalidArgumentError(
                    f"Expected a layer made in dynamic mode, got {type(layer).__name__} made in "
                    "static mode.",
                    "Make it under paddle.disable_static(), or hand the program it is part of to "
                    "from_static.",
                )


def check_feed_names(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    weights: Weights,
    paths: Paths,
) -> None:
    """Refuses feeds that share a name, or have that of a sublayer or weight; names for none."""
    names = [spec.name for spec in flat([*args, *kwargs.values()])]
    owned = weights.names.union(*paths.values())
    for name in names:
        check_name(name, "a feed")
    for name in sorted(owned - {""}):
        check_name(name, "a sublayer or weight")
    for name in names:
        if names.count(name) > 1 or name in owned:
            why = "a sublayer or weight" if name in owned else "another feed"
            raise NameClashError(
                f"Expected each feed to have a name of its own, got {name!r}, which is that of "
                f"{why}.",
                "Choose another feed name.",
            )


def check_none_made(layer: paddle.nn.Layer, weights: Weights, graph: graphs.Graph) -> None:
    """Refuses weights that ``forward`` made: a graph would have one, and each call another."""
    read = graphs.parameter_names(graphs.operations(graph.program))
    made = [name for name in read if name not in weights.names]
    if made:
        raise TracingError(
            f"Expected {type(layer).__name__} to hold the weights that it computes with, got "
            f"{len(made)} that its forward makes at each call: {some(made)}.",
            "Make layers and parameters in __init__, and keep them: self.fc = paddle.nn.Linear(8, "
            "4).",
        )


def check_outputs(
    layer: paddle.nn.Layer,
    output: object,
    outputs: Mapping[str, paddle.Tensor],
    declared: Mapping[str, paddle.Tensor],
) -> None:
    """Refuses what a layer returned that has no name, or that of something else.

    Args:
        layer: Who returned it.
        output: What it returned.
        outputs: The tensors in it by name.
        declared: The feeds and weights.
    """
    strange = {name: leaf for name, leaf in leaves("", output) if name not in outputs}
    for name, leaf in strange.items():
        if leaf is not None and not isinstance(leaf, Number | str):
            raise TracingError(
                f"Expected {type(layer).__name__} to return tensors, in lists, tuples, "
                f"dictionaries or dataclasses, got {_kind(leaf)} as {name!r}.",
                "Return a dictionary of the tensors.",
            )
    if not outputs:
        raise TracingError(
            f"Expected {type(layer).__name__} to return tensors, got {output!r}.",
            "Let forward return what the network computes.",
        )
    for name, value in outputs.items():
        check_name(name, f"what {type(layer).__name__} returns")
        if name in declared and not same(declared[name], value):
            raise NameClashError(
                f"Expected what {type(layer).__name__} returns to have names of its own, got "
                f"{name!r}, which is that of a feed or weight.",
                "Return it under another key, or choose another feed name.",
            )


def _kind(leaf: object) -> str:
    return "a list that a loop made" if graphs.is_value(leaf) else type(leaf).__name__


def lost_write(layer: paddle.nn.Layer, error: graphs.StaleReadError) -> TracingError:
    """The error for a statement that writes over a tensor where the graph cannot follow."""
    return TracingError(
        f"Expected {type(layer).__name__} to compute the same as a graph, got the statement "
        f"{error.statement}, which writes over a tensor that is read later: {error.why}.",
        "Assign what it computes to a name instead, h = F.relu(h) for F.relu_(h), and "
        "h = h.clone() before h[0] = 0.",
    )


def reason(error: BaseException | None) -> str:
    """What an error says. Paddle wraps its text in the code that it ran."""
    kind = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line[line.index(kind) :] for line in lines if re.match(rf"([\w.]+\.)?{kind}: ", line)]
    return said[-1] if said else ": ".join([kind, *lines[:1]])


def untraceable(
    layer: paddle.nn.Layer, error: graphs.UntraceableError, paths: Paths
) -> TracingError:
    """The error for a layer that failed when it was called with graph values."""
    path = paths[id(error.layer)][0]
    where = f" at its sublayer {path!r}, {type(error.layer).__name__}" if path else ""
    return TracingError(
        f"Expected {type(layer).__name__} to compute with graph values, it failed{where}: "
        f"{reason(error.__cause__)}",
        _remedy(error),
    )


def _remedy(error: graphs.UntraceableError) -> str:
    """What to write in the place of what failed."""
    said = str(error.__cause__)
    if getattr(type(error.layer).forward, "__name__", "") == "<lambda>":
        return "Write forward with def: Paddle converts its source, and finds none of a lambda."
    if "no attribute 'set_value'" in said:
        return (
            "set_value writes numbers, which are not there yet: write paddle.assign(value, "
            "output=self.buffer)."
        )
    if "PyLayer.forward" in said:
        return (
            "Write Name.apply(x), of the PyLayer's own name, in forward: handed on as a function, "
            "its apply is called as in dynamic mode."
        )
    return "In forward and hooks, use Paddle's ops on tensors: their numbers are not there yet."
