"""`DISTLoss`: correlation with a stronger teacher, by sample and by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import not_negative, tempered
from purdist.losses.checks import check_pair_of_logits, check_rank
from purdist.losses.classes import centred, log_softmax, logits_of, mean_over, possible
from purdist.losses.maths import length, number
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class DISTLoss(PairLoss):
    r"""Correlation with a stronger teacher, within each sample and within each class.

    .. math:: T^2 \left( \beta \, (1 - \tfrac1N \sum_n \rho(p^s_{n:}, p^t_{n:}))
        + \gamma \, (1 - \tfrac1C \sum_c \rho(p^s_{:c}, p^t_{:c})) \right), \qquad
        p = softmax(z / T)

    Pearson's correlation is :math:`\rho(a, b) = a \cdot b \, / \, (|a| |b| + 10^{-8})` of the
    centred vectors. Its 1e-8 is the reference's: at student == teacher the loss is not 0 but
    the mean of :math:`10^{-8} / |a|^2`, and what is constant, such as every class in a batch
    of one, counts as uncorrelated (1).

    Classes are correlated over each batch on its own, where ``minimize`` accumulates several
    and where processes have one each.

    Shapes: both [N, C], C at least 2.
    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
    its inter-class and intra-class relations; DIST_KD ``segmentation/losses/dist_kd.py``, and
    the temperature that its classification has.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        beta: The weight of the correlation within samples ("inter-class"), at least 0.
        gamma: The weight of the correlation within classes ("intra-class"), at least 0.
        temperature: :math:`T`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: A weight is below 0, or the temperature outside its range.
        ShapeMismatchError: A rank is not 2, the shapes differ, or there is one class (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "dist"

    beta: float = attrs.field(default=1.0, kw_only=True, validator=not_negative)
    gamma: float = attrs.field(default=1.0, kw_only=True, validator=not_negative)
    temperature: float = attrs.field(default=1.0, kw_only=True, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_rank(variables, 2, "[N, C]")
        check_pair_of_logits(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = logits_of(values, "teacher_var", "student_var")
        counted = possible(paddle.maximum(teacher, student))
        teacher = log_softmax(teacher, self.temperature).exp()
        student = log_softmax(student, self.temperature).exp()
        samples = 1 - _correlation(student, teacher, counted)
        classes = 1 - _correlation(student.T, teacher.T, counted.T)
        loss = number(self.beta, samples) * samples + number(self.gamma, classes) * classes
        return loss * number(self.temperature**2, loss)


def _correlation(one: paddle.Tensor, other: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """Pearson's correlation of each row of one with that of the other, averaged."""
    one, other = centred(one, counted), centred(other, counted)
    lengths = length(one, axis=-1) * length(other, axis=-1)
    correlations = (one * other).sum(axis=-1, keepdim=True) / (lengths + 1e-8)
    return mean_over(counted.any(axis=-1), correlations.flatten()).sum()
