"""Calling dygraph layers as they are: in dynamic mode, without a trace in them or in Paddle."""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import paddle
from paddle.base.core import DenseTensor
from paddle.jit.dy2static.program_translator import ProgramTranslator

from purdist.graphs.calling.tracing import untouched


@contextmanager
def as_it_is(layer: paddle.nn.Layer, written: Iterable[paddle.Tensor]) -> Iterator[None]:
    """Inside, ``layer`` may be called in dynamic mode; afterwards it is as it was before.

    Args:
        layer: Who may be called.
        written: The tensors that a call writes to, such as running statistics.
    """
    tensors = {id(tensor): tensor.get_tensor() for tensor in written if tensor._is_initialized()}
    found = [(tensor, _copy(tensor)) for tensor in tensors.values()]
    translator = ProgramTranslator.get_instance()
    converting = translator.enable_to_static
    # A guard has a tracer of its own, and so its own counters of names.
    with untouched(layer), paddle.base.dygraph.guard(), paddle.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        translator.enable_to_static = False
        try:
            yield
        finally:
            translator.enable_to_static = converting
            for held, copied in found:
                held._copy_from(copied, held._place())


def _copy(tensor: DenseTensor) -> DenseTensor:
    copied = DenseTensor()
    copied._copy_from(tensor, tensor._place())
    return copied


@contextmanager
def generators_put_back() -> Iterator[None]:
    """Whatever is drawn inside, Python's and numpy's own random generators stand as before."""
    found = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(found[0])
        np.random.set_state(found[1])


def generators() -> bytes:
    """Where Python's and numpy's own random generators stand, to compare."""
    return pickle.dumps((random.getstate(), np.random.get_state()))  # repr takes a hundred times it


def plain_attributes(layer: paddle.nn.Layer) -> list[dict[str, object]]:
    """The numbers and texts that a layer and its sublayers hold, to compare."""
    return [
        {
            name: held
            for name, held in vars(sublayer).items()
            if isinstance(held, int | float | str) and name != "_built"  # Paddle's own
        }
        for sublayer in layer.sublayers(include_self=True)
    ]


def call(
    layer: paddle.nn.Layer,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    record: Callable[[paddle.nn.Layer, object], None],
) -> None:
    """Calls ``layer``, and hands ``record`` what each sublayer puts out, itself the last."""

    def hook(called: paddle.nn.Layer, _: object, output: object) -> None:
        record(called, output)

    with ExitStack() as hooks:
        for sublayer in layer.sublayers(include_self=True):
            hooks.callback(sublayer.register_forward_post_hook(hook).remove)
        layer(*args, **kwargs)
