"""The losses: frozen values that say what to teach by."""

from purdist.losses.custom import CustomLoss
from purdist.losses.feature import FspLoss, L2Loss
from purdist.losses.response import CrossEntropyLoss, SoftLabelLoss
from purdist.losses.spec import LossSpec

__all__ = ["CrossEntropyLoss", "CustomLoss", "FspLoss", "L2Loss", "LossSpec", "SoftLabelLoss"]
