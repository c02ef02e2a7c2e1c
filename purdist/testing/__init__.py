"""Strategies and laws for test suites: random networks and losses, and what must hold of them.

* `networks`, `network_pairs`, `batches`, `specs`, `schedules`, `arrays_for` and
  `feature_map_shapes` are hypothesis strategies. They alone need hypothesis, which
  ``pip install 'purdist[testing]'`` brings.
* `LOSS_LAWS` are what every loss obeys on arrays, `SPEC_LAWS` what it obeys as a value, and
  `PROGRAM_LAWS` what every pair of networks and every wrapper of `merge` does. A loss of one's own
  is held to them in a few lines, of which `arrays_for` shows some::

      t, s = numpy.random.rand(2, 8, 10).astype("float32")
      for law in SPEC_LAWS:
          law(KDLoss("t", "s"))
      for law in LOSS_LAWS:
          law(KDLoss("t", "s"), teacher={"t": t}, student={"s": s})

* `evaluate_loss` gives the value and the gradients of a loss on arrays.
* `unchanged` asserts that what a step was handed, and Paddle, come out as they were.

A program takes longer to build than the 200 ms that hypothesis allows an example: write
``@settings(deadline=None)``, or load a profile that has it.
"""

from __future__ import annotations

import importlib
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
from purdist.testing.pairs import NetworkPair
from purdist.testing.program_laws import (
    PROGRAM_LAWS,
    Merge,
    ProgramLaw,
    a_prefix_is_a_name,
    both_compute_as_alone,
    both_stay_as_they_were,
    halves_are_the_whole,
    pieces_are_the_whole,
    the_student_comes_back,
    trained_twice_it_is_the_same,
)
from purdist.testing.spec_laws import (
    SPEC_LAWS,
    SpecLaw,
    is_data,
    moves_to_other_variables,
    printed_as_the_call_that_makes_it,
    scaled_by_numbers,
    survives_pickle_and_copies,
    told_apart_by_every_field,
)
from purdist.testing.states import unchanged

if TYPE_CHECKING:
    from purdist.testing.spec_strategies import Given, arrays_for, schedules, specs
    from purdist.testing.strategies import (
        batches,
        feature_map_shapes,
        network_pairs,
        networks,
    )

__all__ = [
    "LOSS_LAWS",
    "PROGRAM_LAWS",
    "SPEC_LAWS",
    "Arrays",
    "BatchNorm",
    "Branch",
    "Conv",
    "Dropout",
    "Evaluation",
    "Given",
    "Layer",
    "Linear",
    "LossLaw",
    "Merge",
    "Network",
    "NetworkPair",
    "ProgramLaw",
    "Relu",
    "SpecLaw",
    "StaticNetwork",
    "a_prefix_is_a_name",
    "arrays_for",
    "batch_may_be_unknown",
    "batches",
    "both_compute_as_alone",
    "both_stay_as_they_were",
    "evaluate_loss",
    "feature_map_shapes",
    "float32_agrees_with_float64",
    "halves_are_the_whole",
    "is_data",
    "linear_in_weight",
    "moves_to_other_variables",
    "network_pairs",
    "networks",
    "nothing_flows_to_teacher",
    "order_of_batch_is_free",
    "pieces_are_the_whole",
    "printed_as_the_call_that_makes_it",
    "scaled_by_numbers",
    "schedules",
    "specs",
    "survives_pickle_and_copies",
    "the_student_comes_back",
    "told_apart_by_every_field",
    "trained_twice_it_is_the_same",
    "unchanged",
]

guard(__all__, globals())


_WITH_HYPOTHESIS = {
    **dict.fromkeys(("Given", "arrays_for", "schedules", "specs"), "spec_strategies"),
    **dict.fromkeys(("batches", "feature_map_shapes", "network_pairs", "networks"), "strategies"),
}


def __getattr__(name: str) -> Any:
    """The strategies, which ask for hypothesis, as they are wanted."""
    if name not in _WITH_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import hypothesis  # noqa: F401, PLC0415 - may be missing
    except ImportError as error:
        raise ImportError(
            f"purdist.testing.{name} needs hypothesis, which is not installed.\n"
            "Install it: pip install 'purdist[testing]'."
        ) from error
    module = importlib.import_module(f"purdist.testing.{_WITH_HYPOTHESIS[name]}")
    return getattr(module, name)
