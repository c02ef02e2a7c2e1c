"""`to_layer`: weights back in a dygraph layer."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import paddle
from paddle.utils import unique_name

from purdist import graphs, scopes
from purdist.comparing import Holder
from purdist.errors import together
from purdist.exporting.student import student_of
from purdist.program import Program, internals_of
from purdist.sources.misplaced import check_can_be_traced
from purdist.sources.refusals import check_made_in_dynamic_mode
from purdist.sources.weights import held_by
from purdist.training import Training
from purdist.variables import changes

L = TypeVar("L", bound=paddle.nn.Layer)

_MADE = itertools.count()
"""Counts the layers that were made."""


def to_layer(source: Program | Training, layer: L) -> L:
    """A new dygraph layer with the weights of a student, as they are now.

    A layer that was trained as a graph::

        student = from_layer(layer, {"x": InputSpec([None, 6])})
        distillation = apply(student, [CrossEntropyLoss("output", NewInput("label"))])
        training = minimize(distillation, make_optimizer)
        for step in train(training, [{"x": images, "label": labels}]):
            print(step.loss)
        trained = to_layer(training, layer)

    Args:
        source: What holds a student that came from a layer of this structure by
            `from_layer`, so that its weights are named by their paths there. Of `join`, too, it
            is the student; a peer is ``to_layer(student_of(training, name_prefix="peer_"),
            layer)``.
        layer: A layer of that structure. It is copied, and left as it is.

    Raises:
        InvalidArgumentError: ``source`` is neither, such as a `Distillation`, which never trains;
            or ``layer`` is no layer, or was made in static mode.
        UninitializedWeightsError: The student does not have all weights of the layer.
        UnknownVariableError: The layer does not have all that the student trains.
        ShapeMismatchError: A weight has another shape in the layer.
        DtypeMismatchError: A weight has another dtype in the layer.
        SeveralFaultsError: Several of these.
    """
    check_can_be_traced(layer)
    check_made_in_dynamic_mode(layer)
    student = student_of(source)
    # Names of its own, by which an optimizer knows them, and none of Paddle's counters moves.
    with graphs.dynamic(), unique_name.guard(f"_to_layer_{next(_MADE)}"):
        copied = copy.deepcopy(layer)
    tensors = _tensors(copied)
    kinds = {name: (tuple(t.shape), graphs.dtype_name(t.dtype)) for name, t in tensors.items()}
    expected = [
        variable
        for variable in internals_of(student).held
        # What forward found elsewhere, such as a constant of its module, is not the layer's.
        if variable.name in tensors or changes(variable)
    ]
    here = Holder(f"in {type(layer).__name__}")
    faults = [*here.faults(expected, kinds), *here.surplus(expected, kinds)]
    if faults:
        raise together(faults)
    for name, tensor in tensors.items():
        scopes.write_into(tensor, student.scope, name)
    return copied


def _tensors(layer: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """What ``layer`` holds by the first of its names, by which a program knows it."""
    tensors: dict[str, paddle.Tensor] = {}
    known: set[int] = set()
    for name, tensor, _ in held_by(layer):
        if id(tensor) not in known and not graphs.is_scratch(tensor):
            known.add(id(tensor))
            tensors[name] = tensor
    return tensors
