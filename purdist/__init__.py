"""Knowledge distillation on PaddlePaddle's static graphs.

The road is one way, and every step makes a new value::

    from_static | from_layer | from_exported -> merge -> apply -> minimize -> train
        -> student_of, export, to_layer
"""

from purdist.applying import apply
from purdist.caching import TeacherCache, cache_teacher
from purdist.checkpoints import load_weights, save_weights, to_layer
from purdist.cutting import cut
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
from purdist.exporting import export, student_of
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
    LossSpec,
    MiniLMLoss,
    MutualLoss,
    NSTLoss,
    PKTLoss,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    Schedule,
    SimilarityPreservingLoss,
    SoftLabelLoss,
    SphericalKDLoss,
    VIDLoss,
)
from purdist.merging import join, merge
from purdist.program import Distillation, Program, Step, Training
from purdist.serialising import losses_from_data, losses_to_data
from purdist.sources.exported import from_exported
from purdist.sources.layer import from_layer
from purdist.sources.static import from_static
from purdist.training import minimize, train
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
    "LossSpec",
    "MapDirectionError",
    "MiniLMLoss",
    "MissingFileError",
    "MutualLoss",
    "NSTLoss",
    "NameClashError",
    "NewInput",
    "PKTLoss",
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
    "TeacherCache",
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
