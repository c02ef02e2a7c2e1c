"""Every loss that is a value through and through, a line each: `as` makes its name public."""

from purdist.losses.features.hint import HintLoss as HintLoss
from purdist.losses.features.l2 import L2Loss as L2Loss
from purdist.losses.logits.cross_entropy import CrossEntropyLoss as CrossEntropyLoss
from purdist.losses.logits.dist import DISTLoss as DISTLoss
from purdist.losses.logits.dkd import DKDLoss as DKDLoss
from purdist.losses.logits.kd import KDLoss as KDLoss
from purdist.losses.logits.kd import SphericalKDLoss as SphericalKDLoss
from purdist.losses.logits.mutual import MutualLoss as MutualLoss
from purdist.losses.logits.soft_label import SoftLabelLoss as SoftLabelLoss
from purdist.losses.maps.attention import AttentionTransferLoss as AttentionTransferLoss
from purdist.losses.maps.fsp import FspLoss as FspLoss
from purdist.losses.maps.nst import NSTLoss as NSTLoss
from purdist.losses.maps.review import ReviewKDLoss as ReviewKDLoss
from purdist.losses.maps.vid import VIDLoss as VIDLoss
from purdist.losses.samples.contrastive import ContrastiveLoss as ContrastiveLoss
from purdist.losses.samples.correlation import (
    CorrelationCongruenceLoss as CorrelationCongruenceLoss,
)
from purdist.losses.samples.pkt import PKTLoss as PKTLoss
from purdist.losses.samples.rkd import RKDAngleLoss as RKDAngleLoss
from purdist.losses.samples.rkd import RKDDistanceLoss as RKDDistanceLoss
from purdist.losses.samples.similarity import SimilarityPreservingLoss as SimilarityPreservingLoss
from purdist.losses.tokens.minilm import MiniLMLoss as MiniLMLoss
