"""`L2Loss`: mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.adaptors import check_unadapted
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class L2Loss(PairLoss):
    r"""Mean squared error.

    .. math:: mean\,((s - t)^2)

    Shapes: both the same, any rank. Nothing is broadcast.
    Source: PaddleSlim's ``l2_loss``; for hints, Romero et al., "FitNets", ICLR 2015, eq. 3.

    Attributes:
        teacher_var: What the teacher computed.
        student_var: What the student computed.

    Raises:
        ShapeMismatchError: The shapes differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "l2"

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        check_unadapted(variables, "adapt the student to the teacher in a HintLoss with {}")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return mean_of_rows((values["student_var"] - values["teacher_var"]).square())
