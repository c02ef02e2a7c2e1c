"""Whose weights are taken out: a program's, or a training's as they are now."""

from __future__ import annotations

from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError
from purdist.program import Program
from purdist.training import Training


def program_of(source: Program | Training) -> Program:
    """The program of ``source``.

    Raises:
        InvalidArgumentError: It is neither, such as a `Distillation`, which never trains.
    """
    if isinstance(source, Training):
        return source.program
    if isinstance(source, Program):
        return source
    got: object = source
    raise InvalidArgumentError(
        f"Expected source to be a Program or a Training, got {type(got).__name__}.",
        "Give what minimize returned: it holds the weights that train changes, and a Distillation "
        "those from before. These are in distillation.program."
        if isinstance(got, Distillation)
        else "Give what minimize returned, or a program such as from_layer's.",
    )
