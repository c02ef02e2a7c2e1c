"""`RKDDistanceLoss` and `RKDAngleLoss`: distances and angles between samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle
from paddle.nn import functional as F  # noqa: N812 - the field's name for it

from purdist.losses.checks import check_samples
from purdist.losses.maths import TINY, unit
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class RKDDistanceLoss(PairLoss):
    r"""Samples as far apart for the student as for the teacher, in units of the mean distance.

    .. math:: \frac{1}{N^2} \sum_{ij} \ell(d^s_{ij} / \bar d^s, \, d^t_{ij} / \bar d^t), \qquad
        d_{ij} = |x_i - x_j|_2, \qquad
        \ell(a, b) = \begin{cases} (a - b)^2 / 2 & |a - b| \le 1 \\ |a - b| - 1/2 & \end{cases}

    The mean distance is over :math:`i \ne j`. Of a batch of one it is 0.

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, ...], flattened to [N, D]; all but N may differ.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2.1;
    lenscloth/RKD ``metric/loss.py``, its 1e-12 under the root included.

    Attributes:
        teacher_var: Features of the teacher, mostly the last before the logits.
        student_var: Features of the student.

    Raises:
        ShapeMismatchError: A rank is below 2, or the batches differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "rkd_distance"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_samples(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return F.smooth_l1_loss(
            _relative_distances(values["student_var"].flatten(1)),
            _relative_distances(values["teacher_var"].flatten(1)),
        )


def _relative_distances(rows: paddle.Tensor) -> paddle.Tensor:
    """The distances between rows [N, D] over their mean: [N, N], zeros on the diagonal."""
    # Distances do not see the shift, and what is left when squares cancel keeps its digits.
    rows = rows - rows.mean(axis=0, keepdim=True).detach()
    squares = rows.square().sum(axis=1)
    products = paddle.matmul(rows, rows, transpose_y=True)
    apart = squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * products
    others = 1 - paddle.diag(paddle.ones_like(squares))
    distances = apart.clip(min=TINY).sqrt() * others
    mean = distances.sum() / others.sum().clip(min=1)
    return distances / mean.clip(min=TINY)  # below it is the 0 of a batch of one


@attrs.frozen
class RKDAngleLoss(PairLoss):
    r"""Triplets of samples span the same angles for the student as for the teacher.

    .. math:: \frac{1}{N^3} \sum_{ijk} \ell(\cos^s_{ijk}, \cos^t_{ijk}), \qquad
        \cos_{ijk} = e_{ij} \cdot e_{ik}, \qquad e_{ij} = (x_i - x_j) / |x_i - x_j|_2

    with the smooth L1 of `RKDDistanceLoss`. Takes memory for N * N * D numbers.

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, ...], flattened to [N, D]; all but N may differ.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2.2;
    RepDistiller ``distiller_zoo/RKD.py``, lenscloth/RKD ``metric/loss.py``.

    Attributes:
        teacher_var: Features of the teacher, mostly the last before the logits.
        student_var: Features of the student.

    Raises:
        ShapeMismatchError: A rank is below 2, or the batches differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "rkd_angle"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_samples(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return F.smooth_l1_loss(
            _angles(values["student_var"].flatten(1)), _angles(values["teacher_var"].flatten(1))
        )


def _angles(rows: paddle.Tensor) -> paddle.Tensor:
    """The cosines of the angles between rows [N, D] as seen from each: [N, N, N]."""
    directions = unit(rows.unsqueeze(0) - rows.unsqueeze(1), axis=2)
    return paddle.matmul(directions, directions, transpose_y=True)
