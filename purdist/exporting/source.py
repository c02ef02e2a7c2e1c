"""Whose weights are taken out: a program's, or a training's as they are now."""

from __future__ import annotations

from purdist.program import Program
from purdist.training import Training


def program_of(source: Program | Training) -> Program:
    """The program of ``source``."""
    return source.program if isinstance(source, Training) else source
