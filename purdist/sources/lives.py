"""The graph that trains, of a network of which only the one that infers is there."""

from __future__ import annotations

import paddle

from purdist import pir
from purdist.variables import FLOATS


def that_trains(inference: pir.Graph) -> pir.Graph:
    """The graph that trains, derived from the one that infers, as a file holds it."""
    pir.record_stops(pir.operations(inference.program))
    training = pir.copy(inference)
    pir.set_training(pir.operations(training.program))
    _let_learn(training.program)
    return training


def _let_learn(program: paddle.static.Program) -> None:
    """Makes the floating-point weights of ``program`` trainable, running statistics apart.

    Where the file says of some that they learn, those: the others are buffers, or frozen. It may
    hold the flags of a network that was frozen as a whole, and then says nothing.
    """
    statistics = pir.written_parameters(program)
    weights = {
        name: value
        for name, value in pir.own_names(pir.operations(program)).items()
        if pir.is_parameter(value)
    }
    told = {name for name, value in weights.items() if value.trainable} - statistics
    for name, value in weights.items():
        learns = pir.dtype_name(value.dtype) in FLOATS and name not in statistics
        value.is_parameter = value.trainable = learns and (not told or name in told)
        value.need_clip = True
