"""Whose weights are taken out: a program's, or a training's as they are now."""

from __future__ import annotations

import attrs
import paddle

from purdist import graphs, scopes
from purdist.errors import InvalidArgumentError
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.training.averaging import average_name
from purdist.training.values import Training, session_of


def program_of(source: Program | Training, *, averaged: bool = False) -> Program:
    """The program of ``source``, with the moving averages of its weights where they are asked for.

    Raises:
        InvalidArgumentError: ``source`` keeps no averages.
    """
    if not averaged:
        return source.program if isinstance(source, Training) else source
    if not isinstance(source, Training) or session_of(source).update.average is None:
        raise InvalidArgumentError(
            "Expected a training that keeps a moving average of its weights, got "
            f"{'one without' if isinstance(source, Training) else 'a Program'}.",
            "Write minimize(..., average=0.999).",
        )
    own, kept = internals_of(source.program), session_of(source).kept
    store = Store.at(source.program.place)
    own.store.hand_to(store, own.held)
    names = [variable for variable in own.held if average_name(variable.name) in kept]
    for variable in names:
        (average,) = scopes.values(own.store.scope, [average_name(variable.name)]).values()
        if graphs.wide(variable.dtype) != variable.dtype:
            with graphs.dynamic():
                average = paddle.to_tensor(average).astype(variable.dtype).numpy()
        scopes.put(store.scope, variable.name, average, store.place)
    return Program(attrs.evolve(own, store=store, origins=(), tensors={}))
