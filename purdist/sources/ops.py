"""The ops of a network: which are refused, and which are warned of."""

from __future__ import annotations

import paddle

from purdist import graphs
from purdist.errors import InvalidArgumentError, RandomInferenceError, layer_in_words, some, warn


def check_forward(program: paddle.static.Program) -> None:
    """Refuses a program that trains already."""
    ops = graphs.optimizer_operations(program)
    if ops:
        raise InvalidArgumentError(
            f"Expected a forward program, got one with gradient or optimizer ops: {some(ops)}.",
            "Hand over the program as it was before minimize, or the same network built again "
            "under paddle.utils.unique_name.guard(); the scope may be the trained one.",
        )


def check_deterministic(program: paddle.static.Program) -> None:
    """Refuses random ops in the graph that infers."""
    for op, layer in graphs.random_operations(program):
        raise RandomInferenceError(
            f"Expected a network that infers without random numbers, got the op {op!r} in "
            f"{layer_in_words(layer)}, which inference mode does not switch off.",
            "Take the op out, or use a form of dropout that Paddle keeps as one op "
            "(paddle.nn.Dropout).",
        )


def warn_of_unsafe(program: paddle.static.Program) -> None:
    """Warns of ops that do more than compute: they do it whenever the network runs."""
    if ops := graphs.unsafe_operations(program):
        warn(
            f"The network has ops that do more than compute, as files and prints: {some(ops)}. "
            "They do it whenever it runs. What is exported of it, from_exported refuses without "
            "allow_ops."
        )
