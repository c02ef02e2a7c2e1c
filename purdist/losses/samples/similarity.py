"""`SimilarityPreservingLoss`: samples alike for the teacher are alike for the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import check_samples
from purdist.losses.maths import unit
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class SimilarityPreservingLoss(PairLoss):
    r"""Samples alike for the teacher are alike for the student.

    .. math:: \frac{1}{N^2} \sum_{ij} (G^s_{ij} - G^t_{ij})^2, \qquad
        G_{i:} = \tilde G_{i:} / |\tilde G_{i:}|_2, \qquad \tilde G = Q Q^\top

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, ...], flattened to [N, D]; all but N may differ.
    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, eq. 1
    to 3; RepDistiller ``distiller_zoo/SP.py``.

    Attributes:
        teacher_var: Features of the teacher.
        student_var: Features of the student.

    Raises:
        ShapeMismatchError: A rank is below 2, or the batches differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "similarity_preserving"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_samples(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = _similarity(values["teacher_var"]), _similarity(values["student_var"])
        return (student - teacher).square().mean()


def _similarity(features: paddle.Tensor) -> paddle.Tensor:
    rows = features.flatten(1)
    return unit(paddle.matmul(rows, rows, transpose_y=True), axis=1)
