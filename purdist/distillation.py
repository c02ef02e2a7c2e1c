"""`Distillation`: a program and the loss that `apply` has put into it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from purdist.checking import OfThisProcess
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec
from purdist.program import Program


@attrs.frozen(eq=False)
class Distillation(OfThisProcess):
    """A program with a loss.

    Attributes:
        program: The program, loss included.
        loss: The name of the variable to minimise: the weighted sum of the terms.
        terms: The names of the terms, unweighted, in the order of their specs.
        specs: What each of them is.
        source: The program that `apply` was given, nothing of it pruned: `apply` adds terms to it.
        digests: Prefix of a teacher -> the variables that the terms need of it, computed on its
            own side (`LossSpec.digest`).
    """

    program: Program
    loss: str
    terms: tuple[str, ...]
    specs: tuple[LossSpec, ...] = attrs.field(repr=False)
    source: Program = attrs.field(repr=False)
    digests: Mapping[str, tuple[str, ...]] = attrs.field(repr=False)


def moving_weights(distillation: Distillation) -> dict[str, str]:
    """The terms whose weight a schedule moves -> where the scope keeps it."""
    return {
        term: weight_name(distillation.loss, term)
        for term, spec in zip(distillation.terms, distillation.specs, strict=True)
        if isinstance(spec.weight, Schedule)
    }


def weight_name(loss: str, term: str) -> str:
    """Where the scope keeps the weight of a term that moves."""
    return f"{loss}/{term}.weight"
