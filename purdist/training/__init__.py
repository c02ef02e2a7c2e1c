"""From a loss to steps, and what they have taught: `minimize`, `train`, `evaluate`."""

from purdist.training.evaluating import MetricSpec, evaluate
from purdist.training.minimizing import minimize
from purdist.training.optimizing import MakeOptimizer
from purdist.training.stepping import train
from purdist.training.values import Step, Training

__all__ = [
    "MakeOptimizer",
    "MetricSpec",
    "Step",
    "Training",
    "evaluate",
    "minimize",
    "train",
]
