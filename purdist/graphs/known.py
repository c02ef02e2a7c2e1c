"""What Paddle's public names mean where an argument is checked."""

from __future__ import annotations

import paddle
from paddle.base import framework
from paddle.base.libpaddle import pir

from purdist.checking import known
from purdist.graphs.state import Scope


def tell_names() -> None:
    """Says what the classes behind Paddle's names are called, and which stand for each other."""
    known(paddle.static.Program, "a paddle.static.Program", pir.Program, framework.Program)
    known(paddle.Tensor, "a Tensor", pir.Value, framework.Variable)
    known(paddle.nn.Layer, "a paddle.nn.Layer")
    known(Scope, "a paddle.static.Scope")
