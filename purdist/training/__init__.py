"""From a loss to steps: `minimize` adds gradients and an optimizer, `train` takes the steps."""

from purdist.training.minimizing import minimize
from purdist.training.optimizing import MakeOptimizer
from purdist.training.stepping import train
from purdist.training.values import Step, Training

__all__ = ["MakeOptimizer", "Step", "Training", "minimize", "train"]
