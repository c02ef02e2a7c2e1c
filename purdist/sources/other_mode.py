"""The graph that trains, of a network of which only the one that infers is there."""

from __future__ import annotations

import paddle

from purdist import graphs
from purdist.variables import FLOATS


def that_trains(inference: graphs.Graph) -> graphs.Graph:
    """The graph that trains, derived from the one that infers, as a file holds it."""
    graphs.record_stops(graphs.operations(inference.program))
    training = graphs.copy(inference)
    graphs.set_training(graphs.operations(training.program))
    _let_learn(training.program)
    return training


def _let_learn(program: paddle.static.Program) -> None:
    """Makes the floating-point weights of ``program`` trainable, running statistics apart.

    Where the file says of some that they learn, those: the others are buffers, or frozen. It may
    hold the flags of a network that was frozen as a whole, and then says nothing.
    """
    statistics = graphs.written_parameters(program)
    weights = {
        name: value
        for name, value in graphs.own_names(graphs.operations(program)).items()
        if graphs.is_parameter(value)
    }
    told = {name for name, value in weights.items() if value.trainable} - statistics
    for name, value in weights.items():
        learns = graphs.dtype_name(value.dtype) in FLOATS and name not in statistics
        value.is_parameter = value.trainable = learns and (not told or name in told)
        value.need_clip = True
