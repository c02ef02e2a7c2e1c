"""`CorrelationCongruenceLoss`: samples must not err together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import check_rank, check_same_shape
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class CorrelationCongruenceLoss(PairLoss):
    r"""Each sample's error times its neighbour's: samples must not err together.

    .. math:: \frac{1}{N - 1} \sum_{n < N} \sum_d \delta_{nd} \, \delta_{n+1, d}, \qquad
        \delta = |s - t|

    Neighbours are those in the batch, so its order counts. Of a batch of one it is 0.

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, D].
    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019, in
    the form that its authors gave RepDistiller, ``distiller_zoo/CC.py``; the paper has
    the squared difference of two correlation matrices instead.

    Attributes:
        teacher_var: Features of the teacher.
        student_var: Features of the student, in the same number.

    Raises:
        ShapeMismatchError: A rank is not 2, or the shapes differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "correlation_congruence"

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        check_rank(variables, 2, "[N, D]")
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        errors = (values["student_var"] - values["teacher_var"]).abs()
        pairs = paddle.ones_like(errors[1:, :1]).sum().clip(min=1)
        return (errors[:-1] * errors[1:]).sum() / pairs
