"""The losses: frozen values that say what to teach by."""

import inspect

from purdist.losses import catalogue
from purdist.losses.catalogue import *  # noqa: F403
from purdist.losses.custom import CustomLoss as CustomLoss
from purdist.losses.fields import Label as Label
from purdist.losses.fields import Mask as Mask
from purdist.losses.fields import StudentVariable as StudentVariable
from purdist.losses.fields import TeacherVariable as TeacherVariable
from purdist.losses.schedule import Schedule as Schedule
from purdist.losses.spec import LossSpec as LossSpec
from purdist.losses.spec import PairLoss as PairLoss

CATALOGUE: tuple[type[LossSpec], ...] = tuple(filter(inspect.isclass, vars(catalogue).values()))
"""Every loss that is a value through and through: all but `CustomLoss`, which holds a function."""
