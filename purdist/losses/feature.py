"""Losses between feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist import graphs
from purdist.errors import InvalidArgumentError
from purdist.losses.adaptors import Adaptor, adapted, check_adaptable
from purdist.losses.checks import (
    at_least_one,
    check_floats,
    check_poolable,
    check_rank,
    check_same_axes,
    check_same_batch,
    check_same_shape,
)
from purdist.losses.fields import StudentVariable, TeacherVariable
from purdist.losses.maths import pooled_to_smaller, size, unit
from purdist.losses.spec import LossSpec, PairLoss
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
        check_floats(variables)
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return (values["student_var"] - values["teacher_var"]).square().mean()


@attrs.frozen
class FspLoss(LossSpec):
    r"""How features flow from one layer to a later one, alike in teacher and student.

    .. math:: G = F_1 F_2^\top / (H W), \qquad mean\,((G_s - G_t)^2)

    Shapes: all four [N, C, H, W]. The two maps of one network share N, H and W;
    the first maps of both networks are of one shape, and so are the second.
    Source: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017, eq. 1 and 2, as
    in RepDistiller ``distiller_zoo/FSP.py`` for maps of one size.

    Attributes:
        teacher_var1: The teacher's earlier feature map.
        teacher_var2: The teacher's later feature map.
        student_var1: The student's earlier feature map.
        student_var2: The student's later feature map.

    Raises:
        ShapeMismatchError: A rank is not 4, or sizes differ that must agree (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "fsp"

    teacher_var1: TeacherVariable
    teacher_var2: TeacherVariable
    student_var1: StudentVariable
    student_var2: StudentVariable

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_rank(variables, 4, "[N, C, H, W]")
        check_same_axes(variables, "teacher_var1", "teacher_var2", {0: "N", 2: "H", 3: "W"})
        check_same_axes(variables, "student_var1", "student_var2", {0: "N", 2: "H", 3: "W"})
        check_same_shape(variables, "teacher_var1", "student_var1")
        check_same_shape(variables, "teacher_var2", "student_var2")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        graphs.must_meet(values["student_var1"], values["teacher_var1"], (2, 3))
        student = _flow(values["student_var1"], values["student_var2"])
        teacher = _flow(values["teacher_var1"], values["teacher_var2"])
        return (student - teacher).square().mean()


def _flow(earlier: paddle.Tensor, later: paddle.Tensor) -> paddle.Tensor:
    """The FSP matrix [N, C1, C2] of two maps [N, C1, H, W] and [N, C2, H, W]."""
    graphs.must_meet(earlier, later, (2, 3))
    rows, columns = earlier.flatten(2), later.flatten(2)
    return paddle.matmul(rows, columns, transpose_y=True) / size(rows, -1)


def _known_adaptor(_: object, __: object, value: object) -> None:
    if value not in (None, "conv", "conv_bn_relu", "linear"):
        raise InvalidArgumentError(
            f"Expected adaptor to be None, 'conv', 'conv_bn_relu' or 'linear', got {value!r}.",
            "Write a CustomLoss to adapt with layers of your own.",
        )


@attrs.frozen
class HintLoss(PairLoss):
    r"""A layer of the teacher as the hint for one of the student, through an adaptor that learns.

    .. math:: mean\,((r(s) - t)^2)

    The adaptor :math:`r` is nothing (``None``), a convolution (``"conv"``), a convolution,
    batch normalisation and ReLU (``"conv_bn_relu"``) or a linear layer over the last axis
    (``"linear"``). A convolution is 1x1 between maps of one size; others it resizes as the
    reference does: 3x3 with stride 2 down to half the size, 4x4 transposed with stride 2 up
    to double, and without padding from any larger map. What else differs is refused.

    Shapes: without an adaptor both the same; with a convolution both [N, C, H, W]; with a
    linear layer both [N, ..., D] and equal but for D. C and D are known.
    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, eq. 3;
    RepDistiller ``distiller_zoo/FitNet.py``, ``ConvReg`` and ``LinearEmbed`` in
    ``models/util.py``. The mean is over all elements, where the paper has half the sum.

    Attributes:
        teacher_var: The hint: what a layer of the teacher computed.
        student_var: The guided layer of the student.
        adaptor: What stands between: its parameters are trained with the student.

    Raises:
        InvalidArgumentError: There is no such adaptor.
        ShapeMismatchError: The adaptor cannot bring the shapes together (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "hint"

    adaptor: Adaptor | None = attrs.field(default=None, kw_only=True, validator=_known_adaptor)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        if self.adaptor is None:
            check_same_shape(variables, "teacher_var", "student_var")
        else:
            check_adaptable(variables, self.adaptor)
            check_same_batch(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = values["teacher_var"], values["student_var"]
        if self.adaptor is not None:
            student = adapted(student, teacher, self.adaptor)
        return (student - teacher).square().mean()


@attrs.frozen
class AttentionTransferLoss(PairLoss):
    r"""Where the teacher looks: its activation summed over channels, place by place.

    .. math:: mean\,((q_s - q_t)^2), \qquad q = a / |a|_2, \qquad
        a_{n, hw} = \tfrac1C \sum_c |f_{n, c, hw}|^p

    Shapes: both [N, C, H, W]; C may differ. Of two sizes the larger map is averaged down to
    the smaller (adaptive average pooling), each of height and width on its own.
    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. 2;
    RepDistiller ``distiller_zoo/AT.py`` for one stage, which leaves out the absolute value
    (the same for an even p) and pools by height alone. The paper has the norm where the
    code has the mean of squares.

    Attributes:
        teacher_var: A feature map of the teacher.
        student_var: A feature map of the student.
        p: The power, at least 1.

    Raises:
        InvalidArgumentError: ``p`` is below 1.
        ShapeMismatchError: A rank is not 4, the batches differ, or sizes differ of which one
            is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "attention_transfer"

    p: float = attrs.field(default=2.0, kw_only=True, validator=at_least_one)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_maps(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = pooled_to_smaller(values["teacher_var"], values["student_var"])
        return (self._attention(student) - self._attention(teacher)).square().mean()

    def _attention(self, feature_map: paddle.Tensor) -> paddle.Tensor:
        return unit(feature_map.abs().pow(self.p).mean(axis=1).flatten(1), axis=1)


@attrs.frozen
class NSTLoss(PairLoss):
    r"""Neuron selectivity transfer: the same distribution of channels, seen as patterns in space.

    .. math:: \frac1N \sum_n \overline{k(t, t')} + \overline{k(s, s')} - 2 \, \overline{k(s, t)},
        \qquad k(x, y) = (x \cdot y)^2

    The squared maximum mean discrepancy between the channels of both maps, each flattened
    over space and divided by its L2 norm; the bars are means over all pairs of channels.

    Shapes: both [N, C, H, W]; C may differ. Of two sizes the larger map is averaged down to
    the smaller (adaptive average pooling), each of height and width on its own.
    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity
    Transfer", 2017, section 4 with the polynomial kernel of d = 2, c = 0; RepDistiller
    ``distiller_zoo/NST.py`` for one stage, which pools by height alone.

    Attributes:
        teacher_var: A feature map of the teacher.
        student_var: A feature map of the student.

    Raises:
        ShapeMismatchError: A rank is not 4, the batches differ, or sizes differ of which one
            is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "nst"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_maps(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        maps = pooled_to_smaller(values["teacher_var"], values["student_var"])
        teacher, student = (unit(feature_map.flatten(2), axis=2) for feature_map in maps)
        among_both = _kernel(teacher, teacher) + _kernel(student, student)
        return among_both - 2 * _kernel(student, teacher)


def check_maps(variables: Mapping[str, Variable]) -> None:
    """Refuses ``teacher_var`` and ``student_var`` that cannot be compared as maps.

    Raises:
        ShapeMismatchError: A rank is not 4, or sizes differ that must agree.
        DtypeMismatchError: They are not of one floating-point dtype.
    """
    check_floats(variables)
    check_rank(variables, 4, "[N, C, H, W]")
    check_same_batch(variables, "teacher_var", "student_var")
    check_poolable(variables, "teacher_var", "student_var")


def _kernel(one: paddle.Tensor, other: paddle.Tensor) -> paddle.Tensor:
    """(x . y)^2, averaged over all pairs of rows of [N, C, D] and [N, C', D]."""
    return paddle.matmul(one, other, transpose_y=True).square().mean()
