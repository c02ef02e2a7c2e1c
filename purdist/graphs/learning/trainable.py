"""Which weights learn, as the owner of a network, an old program or a file says.

Where gradients flow follows from that, in `gradients`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import paddle

from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.learning.differentiating import FLOATS
from purdist.graphs.learning.gradients import derive_gradients, record_stops
from purdist.graphs.looking import (
    PARAMETER,
    Operation,
    is_old_parameter,
    is_parameter,
    is_tensor,
    own_names,
    parameter_name,
    written_parameters,
)


def set_trainable(
    draft: Draft, weights: Container[str], some: Iterable[Operation] | None = None
) -> None:
    """Lets ``weights`` learn, and no others that ``draft``, or ``some`` of its ops, declare."""
    _set_trainable(draft.operations(some), weights)


def _set_trainable(ops: Iterable[Operation], weights: Container[str]) -> None:
    for op in ops:
        if op.name() == PARAMETER:
            op.result(0).trainable = parameter_name(op) in weights
        for block in op.blocks() if op.num_regions() else ():
            _set_trainable(block.ops, weights)


def freeze(draft: Draft, some: Iterable[Operation] | None = None) -> None:
    """Lets no weight of ``draft``, or of ``some`` of its ops, learn, and no gradient to them."""
    set_trainable(draft, (), some)
    derive_gradients(draft)


def record_owner(draft: Draft) -> None:
    """Keeps what the owner said of gradients: where they stop, and which weights are frozen."""
    record_stops(draft)
    learning = {n for n, v in _weights(draft).items() if v.trainable and not v.stop_gradient}
    set_trainable(draft, learning)


def record_old(
    main: paddle.static.Program, draft: Draft, versions: Mapping[str, Sequence[paddle.Tensor]]
) -> None:
    """The same of an old program that ``draft`` is the translation of, to these ``versions``.

    The translator marks the values it inserts itself (the reshape of a bias, that of the input
    of a matmul) as if they stopped gradients, and forgets all flags of a parameter. What the old
    program says is kept as if all that it begins with flowed.
    """
    derive_gradients(draft, begins=lambda _: True)
    begins = {value.id for value in own_names(draft.operations()).values()}
    for old in main.list_vars():
        for value in filter(is_tensor, versions.get(old.name, ())):
            if is_parameter(value):
                _restore(old, value)
            elif value.id not in begins:
                value.stop_gradient = old.stop_gradient
    record_stops(draft)


def _restore(old: paddle.Tensor, value: paddle.Tensor) -> None:
    is_parameter = is_old_parameter(old)
    value.persistable = True
    value.is_parameter = is_parameter
    value.trainable = is_parameter and old.trainable and not old.stop_gradient
    value.need_clip = getattr(old, "need_clip", True)
    value.regularizer = getattr(old, "regularizer", None)
    value.optimize_attr = getattr(old, "optimize_attr", {"learning_rate": 1.0})


def let_weights_learn(draft: Draft) -> None:
    """Makes the floating-point weights of ``draft``, made of a file, learn, statistics apart.

    Where the file says of some that they learn, those: the others are buffers, or frozen. It may
    hold the flags of a network that was frozen as a whole, and then says nothing.
    """
    weights, statistics = _weights(draft), written_parameters(draft.program)
    said = {name for name, value in weights.items() if value.trainable} - statistics
    floats = {name for name, value in weights.items() if dtype_name(value.dtype) in FLOATS}
    set_trainable(draft, (said or floats) & (floats - statistics))
    for value in weights.values():
        value.is_parameter = value.trainable
        value.need_clip = True


def _weights(draft: Draft) -> dict[str, paddle.Tensor]:
    own = own_names(draft.operations())
    return {name: value for name, value in own.items() if is_parameter(value)}
