"""The losses: frozen values that say what to teach by."""

from purdist.losses.classes import DISTLoss, DKDLoss
from purdist.losses.contrastive import ContrastiveLoss
from purdist.losses.custom import CustomLoss
from purdist.losses.feature import (
    AttentionTransferLoss,
    FspLoss,
    HintLoss,
    L2Loss,
    NSTLoss,
)
from purdist.losses.fields import Label, Mask, StudentVariable, TeacherVariable
from purdist.losses.relation import (
    CorrelationCongruenceLoss,
    PKTLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    SimilarityPreservingLoss,
)
from purdist.losses.response import (
    CrossEntropyLoss,
    KDLoss,
    MutualLoss,
    SoftLabelLoss,
    SphericalKDLoss,
)
from purdist.losses.review import ReviewKDLoss
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec, PairLoss
from purdist.losses.transformer import MiniLMLoss
from purdist.losses.variational import VIDLoss

CATALOGUE: tuple[type[LossSpec], ...] = (
    CrossEntropyLoss,
    SoftLabelLoss,
    KDLoss,
    SphericalKDLoss,
    DKDLoss,
    DISTLoss,
    MutualLoss,
    L2Loss,
    HintLoss,
    FspLoss,
    AttentionTransferLoss,
    NSTLoss,
    VIDLoss,
    ReviewKDLoss,
    SimilarityPreservingLoss,
    RKDDistanceLoss,
    RKDAngleLoss,
    PKTLoss,
    CorrelationCongruenceLoss,
    ContrastiveLoss,
    MiniLMLoss,
)
"""Every loss that is a value through and through: all but `CustomLoss`, which holds a function."""

__all__ = [
    "CATALOGUE",
    "AttentionTransferLoss",
    "ContrastiveLoss",
    "CorrelationCongruenceLoss",
    "CrossEntropyLoss",
    "CustomLoss",
    "DISTLoss",
    "DKDLoss",
    "FspLoss",
    "HintLoss",
    "KDLoss",
    "L2Loss",
    "Label",
    "LossSpec",
    "Mask",
    "MiniLMLoss",
    "MutualLoss",
    "NSTLoss",
    "PKTLoss",
    "PairLoss",
    "RKDAngleLoss",
    "RKDDistanceLoss",
    "ReviewKDLoss",
    "Schedule",
    "SimilarityPreservingLoss",
    "SoftLabelLoss",
    "SphericalKDLoss",
    "StudentVariable",
    "TeacherVariable",
    "VIDLoss",
]
