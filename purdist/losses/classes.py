"""Losses between logits that look at the right class, or at all of a batch, apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import (
    check_classes,
    check_floats,
    check_known,
    check_labels,
    check_logits,
    check_rank,
    check_same_shape,
    not_negative,
    tempered,
)
from purdist.losses.fields import Label
from purdist.losses.maths import (
    IMPOSSIBLE,
    centred,
    kl_divergence,
    length,
    log_softmax,
    log_total,
    mean_over,
    number,
    possible,
    softened,
)
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class DKDLoss(PairLoss):
    r"""Decoupled knowledge distillation: the right class, and the others among themselves.

    .. math:: \frac{T^2}{N} \sum_n \alpha \, KL(b^t_n \,\|\, b^s_n)
        + \beta \, KL(o^t_n \,\|\, o^s_n)

    With :math:`p = softmax(z / T)`, :math:`b = (p_y, 1 - p_y)` says how likely the label is
    and :math:`o` is the softmax over the classes other than the label.

    Shapes: logits [N, C], both the same, C at least 3: of two classes the second term is
    always 0. Labels [N] of an integer dtype, each in [0, C).
    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7; mdistiller
    ``distillers/DKD.py``, which lowers the label's logit by 1000 to leave it out and takes
    the logarithm of a probability: this one is exact at logits of 1e4.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        label: The labels: the name of a variable, or a `NewInput`, which adds a feed.
        alpha: The weight of the right class, at least 0.
        beta: The weight of the others, at least 0.
        temperature: :math:`T`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: A weight is below 0, or the temperature outside its range.
        ShapeMismatchError: The ranks are not 2 and 1, the shapes differ, or there are fewer
            than 3 classes (in `apply`).
        DtypeMismatchError: The dtypes of the logits differ or are not floating-point, or the
            labels are not integers (in `apply`).
    """

    kind: ClassVar[str] = "dkd"

    label: Label
    alpha: float = attrs.field(default=1.0, kw_only=True, validator=not_negative)
    beta: float = attrs.field(default=8.0, kw_only=True, validator=not_negative)
    temperature: float = attrs.field(default=4.0, kw_only=True, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        logits = {key: variables[key] for key in ("teacher_var", "student_var")}
        check_floats(logits)
        check_rank(logits, 2, "[N, C]")
        check_same_shape(variables, "teacher_var", "student_var")
        check_labels(variables["label"], variables["student_var"])
        check_logits(*logits.values())
        check_classes(
            variables["student_var"],
            3,
            "or beside the label there is one",
            "Take KDLoss, which is defined for two.",
        )
        check_known(logits, {1: "C"}, "the label is one of")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        right_teacher, others_teacher = self._decoupled(values["teacher_var"], values["label"])
        right_student, others_student = self._decoupled(values["student_var"], values["label"])
        right = kl_divergence(right_teacher, right_student)
        others = kl_divergence(others_teacher, others_student)
        loss = number(self.alpha, right) * right + number(self.beta, others) * others
        return loss.mean() * number(self.temperature**2, loss)

    def _decoupled(
        self, logits: paddle.Tensor, label: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The logarithms of b, [N, 2], and of o, [N, C], as of which the label is impossible."""
        logits = softened(logits, self.temperature)
        is_label = paddle.nn.functional.one_hot(label, logits.shape[-1]) > 0
        beside = paddle.where(is_label, paddle.full_like(logits, IMPOSSIBLE), logits)
        total = log_total(logits)
        right = paddle.index_sample(logits, label.unsqueeze(1)) - total
        wrong = log_total(beside) - total
        return paddle.concat([right, wrong], axis=1), log_softmax(beside)


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
        check_floats(variables)
        check_rank(variables, 2, "[N, C]")
        check_same_shape(variables, "teacher_var", "student_var")
        check_logits(*variables.values())

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = values["teacher_var"], values["student_var"]
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
