"""`PKTLoss`: whom each sample would pick as its neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import check_rank, check_same_batch
from purdist.losses.maths import length
from purdist.losses.spec import PairLoss
from purdist.variables import Variable

_EPSILON = 1e-7


@attrs.frozen
class PKTLoss(PairLoss):
    r"""Probabilistic knowledge transfer: whom each sample would pick as its neighbour.

    .. math:: \frac{1}{N^2} \sum_{ij} p^t_{ij} \log \frac{p^t_{ij} + \epsilon}{p^s_{ij} + \epsilon},
        \qquad p_{i:} = k_{i:} / |k_{i:}|_1, \qquad k_{ij} = (\cos(x_i, x_j) + 1) / 2

    with :math:`\epsilon = 10^{-7}`, which is also added to the norms in the cosine.

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, D]; D may differ.
    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018, with the cosine kernel; RepDistiller ``distiller_zoo/PKT.py``. The
    mean is over pairs, where the paper has the sum.

    Attributes:
        teacher_var: Features of the teacher, mostly the last before the logits.
        student_var: Features of the student.

    Raises:
        ShapeMismatchError: A rank is not 2, or the batches differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "pkt"

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        check_rank(variables, 2, "[N, D]")
        check_same_batch(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = _neighbours(values["teacher_var"]), _neighbours(values["student_var"])
        ratio = (teacher + _EPSILON) / (student + _EPSILON)
        return (teacher * ratio.log()).mean()


def _neighbours(rows: paddle.Tensor) -> paddle.Tensor:
    """p, [N, N], of features [N, D]."""
    rows = rows / (length(rows, axis=1) + _EPSILON)
    kernel = (paddle.matmul(rows, rows, transpose_y=True) + 1) / 2
    return kernel / kernel.sum(axis=1, keepdim=True)
