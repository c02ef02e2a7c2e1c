"""Losses between the samples of a batch: how they relate, not what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle
from paddle.nn import functional as F  # noqa: N812 - the field's name for it

from purdist.losses.checks import check_floats, check_rank, check_same_batch, check_same_shape
from purdist.losses.maths import TINY, length, unit
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


def check_samples(variables: Mapping[str, Variable]) -> None:
    """Refuses variables that are not features of the samples of one batch, [N, ...].

    Raises:
        ShapeMismatchError: A rank is below 2, or the batches differ.
        DtypeMismatchError: They are not of one floating-point dtype.
    """
    check_floats(variables)
    check_rank(variables, 2, "[N, ...]", or_more=True)
    check_same_batch(variables, "teacher_var", "student_var")


@attrs.frozen
class SimilarityPreservingLoss(PairLoss):
    r"""Samples alike for the teacher are alike for the student.

    .. math:: \frac{1}{N^2} \sum_{ij} (G^s_{ij} - G^t_{ij})^2, \qquad
        G_{i:} = \tilde G_{i:} / |\tilde G_{i:}|_2, \qquad \tilde G = Q Q^\top

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


@attrs.frozen
class RKDDistanceLoss(PairLoss):
    r"""Samples as far apart for the student as for the teacher, in units of the mean distance.

    .. math:: \frac{1}{N^2} \sum_{ij} \ell(d^s_{ij} / \bar d^s, \, d^t_{ij} / \bar d^t), \qquad
        d_{ij} = |x_i - x_j|_2, \qquad
        \ell(a, b) = \begin{cases} (a - b)^2 / 2 & |a - b| \le 1 \\ |a - b| - 1/2 & \end{cases}

    The mean distance is over :math:`i \ne j`. Of a batch of one it is 0.

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


@attrs.frozen
class PKTLoss(PairLoss):
    r"""Probabilistic knowledge transfer: whom each sample would pick as its neighbour.

    .. math:: \frac{1}{N^2} \sum_{ij} p^t_{ij} \log \frac{p^t_{ij} + \epsilon}{p^s_{ij} + \epsilon},
        \qquad p_{i:} = k_{i:} / |k_{i:}|_1, \qquad k_{ij} = (\cos(x_i, x_j) + 1) / 2

    with :math:`\epsilon = 10^{-7}`, which is also added to the norms in the cosine.

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
        check_floats(variables)
        check_rank(variables, 2, "[N, D]")
        check_same_batch(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = _neighbours(values["teacher_var"]), _neighbours(values["student_var"])
        ratio = (teacher + _PKT_EPSILON) / (student + _PKT_EPSILON)
        return (teacher * ratio.log()).mean()


_PKT_EPSILON = 1e-7


def _neighbours(rows: paddle.Tensor) -> paddle.Tensor:
    """p, [N, N], of features [N, D]."""
    rows = rows / (length(rows, axis=1) + _PKT_EPSILON)
    kernel = (paddle.matmul(rows, rows, transpose_y=True) + 1) / 2
    return kernel / kernel.sum(axis=1, keepdim=True)


@attrs.frozen
class CorrelationCongruenceLoss(PairLoss):
    r"""Each sample's error times its neighbour's: samples must not err together.

    .. math:: \frac{1}{N - 1} \sum_{n < N} \sum_d \delta_{nd} \, \delta_{n+1, d}, \qquad
        \delta = |s - t|

    Neighbours are those in the batch, so its order counts. Of a batch of one it is 0.

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
        check_floats(variables)
        check_rank(variables, 2, "[N, D]")
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        errors = (values["student_var"] - values["teacher_var"]).abs()
        pairs = paddle.ones_like(errors[1:, :1]).sum().clip(min=1)
        return (errors[:-1] * errors[1:]).sum() / pairs
