"""The losses: frozen values that say what to teach by."""

from purdist.losses.custom import CustomLoss
from purdist.losses.feature import FspLoss, L2Loss
from purdist.losses.response import SoftLabelLoss
from purdist.losses.spec import LossSpec

__all__ = ["CustomLoss", "FspLoss", "L2Loss", "LossSpec", "SoftLabelLoss"]
