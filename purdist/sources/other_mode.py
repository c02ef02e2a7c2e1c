"""Both modes of a network of which one is there."""

from __future__ import annotations

from purdist import graphs
from purdist.variables import FLOATS


def derived(training: graphs.Draft) -> graphs.Modes:
    """The modes of a network that trains as it stands."""
    inference = training.copy()
    graphs.set_inference(inference)
    return graphs.Modes(training.finish(), inference.finish())


def derived_from_inference(inference: graphs.Draft) -> graphs.Modes:
    """The modes of a network that infers as it stands, as a file holds it.

    Where the file says that it trained otherwise, the graph that trains says so too.
    """
    graphs.record_stops(inference)
    training = inference.copy()
    graphs.set_training(training)
    _let_learn(training)
    otherwise = graphs.noted_in_file(inference.program)
    if otherwise:
        graphs.note_otherwise(training, otherwise)
    graphs.set_inference(inference)
    return graphs.Modes(training.finish(), inference.finish())


def _let_learn(draft: graphs.Draft) -> None:
    """Makes the floating-point weights of ``draft`` trainable, running statistics apart.

    Where the file says of some that they learn, those: the others are buffers, or frozen. It may
    hold the flags of a network that was frozen as a whole, and then says nothing.
    """
    statistics = graphs.written_parameters(draft.program)
    weights = {
        name: value
        for name, value in graphs.own_names(draft.operations()).items()
        if graphs.is_parameter(value)
    }
    said = {name for name, value in weights.items() if value.trainable} - statistics
    for name, value in weights.items():
        learns = graphs.dtype_name(value.dtype) in FLOATS and name not in statistics
        value.is_parameter = value.trainable = learns and (not said or name in said)
        value.need_clip = True
