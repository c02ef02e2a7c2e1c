"""Strategies and laws for test suites: random small networks, and what must hold of them.

* `networks` and `feature_map_shapes` are hypothesis strategies. They alone need hypothesis, which
  ``pip install 'purdist[test]'`` brings.
* `evaluate_loss` gives the value and the gradients of a loss on arrays; `LOSS_LAWS` are what
  every loss obeys, functions with the arguments of `evaluate_loss`::

      t, s = numpy.random.rand(2, 8, 10).astype("float32")
      for law in LOSS_LAWS:
          law(KDLoss("t", "s"), teacher={"t": t}, student={"s": s})

* `unchanged` asserts that what a step was handed, and Paddle, come out as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purdist.arrays import Arrays
from purdist.checking import guard
from purdist.testing.architectures import (
    BatchNorm,
    Branch,
    Conv,
    Dropout,
    Layer,
    Linear,
    Network,
    Relu,
    StaticNetwork,
)
from purdist.testing.evaluating import Evaluation, evaluate_loss
from purdist.testing.laws import (
    LOSS_LAWS,
    LossLaw,
    batch_may_be_unknown,
    float32_agrees_with_float64,
    linear_in_weight,
    nothing_flows_to_teacher,
    order_of_batch_is_free,
)
from purdist.testing.states import unchanged

if TYPE_CHECKING:
    from purdist.testing.strategies import feature_map_shapes, networks

__all__ = [
    "LOSS_LAWS",
    "Arrays",
    "BatchNorm",
    "Branch",
    "Conv",
    "Dropout",
    "Evaluation",
    "Layer",
    "Linear",
    "LossLaw",
    "Network",
    "Relu",
    "StaticNetwork",
    "batch_may_be_unknown",
    "evaluate_loss",
    "feature_map_shapes",
    "float32_agrees_with_float64",
    "linear_in_weight",
    "networks",
    "nothing_flows_to_teacher",
    "order_of_batch_is_free",
    "unchanged",
]

guard(__all__, globals())


def __getattr__(name: str) -> Any:
    """The strategies, which ask for hypothesis, as they are wanted."""
    if name not in ("feature_map_shapes", "networks"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from purdist.testing import strategies  # noqa: PLC0415 - hypothesis may be missing

    return getattr(strategies, name)
