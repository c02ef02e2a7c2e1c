"""What a dygraph layer itself holds, its sublayers left out.

``layer.named_parameters`` does not work in static mode, and hands out what one had better not
touch: a parameter of a program that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import paddle
from paddle.nn.layer import layers

from purdist.graphs.state import replaced


def parameters_in(layer: paddle.nn.Layer) -> Mapping[str, paddle.Tensor | None]:
    """The parameters of ``layer`` itself by name, None for one that it does without."""
    return layer._parameters


def buffers_in(layer: paddle.nn.Layer) -> Mapping[str, paddle.Tensor | None]:
    """The buffers of ``layer`` itself by name."""
    return layer._buffers


@contextmanager
def parameters_listed() -> Iterator[None]:
    """Inside, ``parameters()`` and ``named_parameters()`` list a dygraph layer's in static mode."""
    with replaced(layers, {"ValueSet": set}):  # which takes values of graphs alone
        yield


def has_hooks(layer: paddle.nn.Layer) -> bool:
    """Whether ``layer`` has hooks that may make something of a value, and keep it.

    Paddle's own keep nothing.
    """
    hooks = (*layer._forward_pre_hooks.values(), *layer._forward_post_hooks.values())
    return any(not str(getattr(hook, "__module__", "")).startswith("paddle.") for hook in hooks)
