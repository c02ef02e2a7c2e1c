"""From a loss to steps, and what they have taught: `minimize`, `train`, `evaluate`."""

from purdist.training.checkpoints import Checkpoints, save_checkpoint
from purdist.training.evaluating import MetricSpec, evaluate
from purdist.training.feeds import feeds
from purdist.training.minimizing import minimize
from purdist.training.optimizing import MakeOptimizer
from purdist.training.resuming import resume
from purdist.training.stepping import train
from purdist.training.values import Step, Training

__all__ = [
    "Checkpoints",
    "MakeOptimizer",
    "MetricSpec",
    "Step",
    "Training",
    "evaluate",
    "feeds",
    "minimize",
    "resume",
    "save_checkpoint",
    "train",
]
