"""Knowledge distillation on PaddlePaddle's static graphs.

The road is one way, and every step makes a new value::

    from_static | from_layer | from_exported -> merge -> apply -> minimize -> train
        -> student_of, export, to_layer
"""

from purdist.applying import apply
from purdist.caching import TeacherCache, cache_teacher
from purdist.cutting import cut
from purdist.distillation import Distillation
from purdist.errors import (
    BuildError,
    CorruptFileError,
    DtypeMismatchError,
    EngineError,
    FeedError,
    ForeignValueError,
    IncompleteMapError,
    InvalidArgumentError,
    MapDirectionError,
    MissingFileError,
    NameClashError,
    PurdistError,
    PurdistWarning,
    RandomInferenceError,
    SeveralFaultsError,
    ShapeMismatchError,
    StaleCacheError,
    TracingError,
    UninitializedWeightsError,
    UnknownVariableError,
)
from purdist.exporting.inference import export
from purdist.exporting.layers import to_layer
from purdist.exporting.student import student_of
from purdist.exporting.weights import load_weights, save_weights
from purdist.losses import (
    AttentionTransferLoss,
    ContrastiveLoss,
    CorrelationCongruenceLoss,
    CrossEntropyLoss,
    CustomLoss,
    DISTLoss,
    DKDLoss,
    FspLoss,
    HintLoss,
    KDLoss,
    L2Loss,
    Label,
    LossSpec,
    Mask,
    MiniLMLoss,
    MutualLoss,
    NSTLoss,
    PairLoss,
    PKTLoss,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    Schedule,
    SimilarityPreservingLoss,
    SoftLabelLoss,
    SphericalKDLoss,
    StudentVariable,
    TeacherVariable,
    VIDLoss,
)
from purdist.merging import join, merge
from purdist.program import Program
from purdist.serialising import losses_from_data, losses_to_data
from purdist.sources.exported import from_exported
from purdist.sources.layer import from_layer
from purdist.sources.static import from_static
from purdist.training import Step, Training, minimize, train
from purdist.variables import NewInput, Variable

__all__ = [
    "AttentionTransferLoss",
    "BuildError",
    "ContrastiveLoss",
    "CorrelationCongruenceLoss",
    "CorruptFileError",
    "CrossEntropyLoss",
    "CustomLoss",
    "DISTLoss",
    "DKDLoss",
    "Distillation",
    "DtypeMismatchError",
    "EngineError",
    "FeedError",
    "ForeignValueError",
    "FspLoss",
    "HintLoss",
    "IncompleteMapError",
    "InvalidArgumentError",
    "KDLoss",
    "L2Loss",
    "Label",
    "LossSpec",
    "MapDirectionError",
    "Mask",
    "MiniLMLoss",
    "MissingFileError",
    "MutualLoss",
    "NSTLoss",
    "NameClashError",
    "NewInput",
    "PKTLoss",
    "PairLoss",
    "Program",
    "PurdistError",
    "PurdistWarning",
    "RKDAngleLoss",
    "RKDDistanceLoss",
    "RandomInferenceError",
    "ReviewKDLoss",
    "Schedule",
    "SeveralFaultsError",
    "ShapeMismatchError",
    "SimilarityPreservingLoss",
    "SoftLabelLoss",
    "SphericalKDLoss",
    "StaleCacheError",
    "Step",
    "StudentVariable",
    "TeacherCache",
    "TeacherVariable",
    "TracingError",
    "Training",
    "UninitializedWeightsError",
    "UnknownVariableError",
    "VIDLoss",
    "Variable",
    "apply",
    "cache_teacher",
    "cut",
    "export",
    "from_exported",
    "from_layer",
    "from_static",
    "join",
    "load_weights",
    "losses_from_data",
    "losses_to_data",
    "merge",
    "minimize",
    "save_weights",
    "student_of",
    "to_layer",
    "train",
]
