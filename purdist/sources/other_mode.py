"""Both modes of a network of which one is there."""

from __future__ import annotations

from purdist import graphs


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
    graphs.let_weights_learn(training)
    otherwise = graphs.noted_in_file(inference.program)
    if otherwise:
        graphs.note_otherwise(training, otherwise)
    graphs.set_inference(inference)
    return graphs.Modes(training.finish(), inference.finish())
