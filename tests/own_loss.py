"""A loss of a user's own, written as `LossSpec` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist import PairLoss, Variable
from purdist.losses.arguments import positive
from purdist.losses.checks import check_same_shape


@attrs.frozen
class PseudoHuberLoss(PairLoss):
    """mean(d^2 (sqrt(1 + ((s - t) / d)^2) - 1)): squares near 0, absolute values far off."""

    kind: ClassVar[str] = "pseudo_huber"

    delta: float = attrs.field(default=1.0, kw_only=True, validator=positive)

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        error = (values["student_var"] - values["teacher_var"]) / self.delta
        return (((error.square() + 1).sqrt() - 1) * self.delta**2).mean()
