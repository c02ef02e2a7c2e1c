"""Knowledge distillation on PaddlePaddle's static graphs.

The road is one way, and every step makes a new value::

    from_static -> merge -> apply -> minimize -> train -> student_of, export
"""

from purdist.applying import apply
from purdist.cutting import cut
from purdist.errors import (
    DtypeMismatchError,
    FeedError,
    ForeignValueError,
    IncompleteMapError,
    InvalidArgumentError,
    MapDirectionError,
    NameClashError,
    PurdistError,
    RandomInferenceError,
    SeveralFaultsError,
    ShapeMismatchError,
    UninitializedWeightsError,
    UnknownVariableError,
)
from purdist.exporting import export, student_of
from purdist.losses import CrossEntropyLoss, CustomLoss, FspLoss, L2Loss, LossSpec, SoftLabelLoss
from purdist.merging import merge
from purdist.program import Distillation, Program, Step, Training
from purdist.sources.static import from_static
from purdist.training import minimize, train
from purdist.variables import NewInput, Variable

__all__ = [
    "CrossEntropyLoss",
    "CustomLoss",
    "Distillation",
    "DtypeMismatchError",
    "FeedError",
    "ForeignValueError",
    "FspLoss",
    "IncompleteMapError",
    "InvalidArgumentError",
    "L2Loss",
    "LossSpec",
    "MapDirectionError",
    "NameClashError",
    "NewInput",
    "Program",
    "PurdistError",
    "RandomInferenceError",
    "SeveralFaultsError",
    "ShapeMismatchError",
    "SoftLabelLoss",
    "Step",
    "Training",
    "UninitializedWeightsError",
    "UnknownVariableError",
    "Variable",
    "apply",
    "cut",
    "export",
    "from_static",
    "merge",
    "minimize",
    "student_of",
    "train",
]
