"""Losses between feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.spec import (
    LossSpec,
    check_floats,
    check_rank,
    check_same_axes,
    check_same_shape,
)
from purdist.variables import Variable


@attrs.frozen
class L2Loss(LossSpec):
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

    teacher_var: str
    student_var: str

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

    teacher_var1: str
    teacher_var2: str
    student_var1: str
    student_var2: str

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_rank(variables, 4, "[N, C, H, W]")
        check_same_axes(variables, "teacher_var1", "teacher_var2", {0: "N", 2: "H", 3: "W"})
        check_same_axes(variables, "student_var1", "student_var2", {0: "N", 2: "H", 3: "W"})
        check_same_shape(variables, "teacher_var1", "student_var1")
        check_same_shape(variables, "teacher_var2", "student_var2")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        student = _flow(values["student_var1"], values["student_var2"])
        teacher = _flow(values["teacher_var1"], values["teacher_var2"])
        return (student - teacher).square().mean()


def _flow(earlier: paddle.Tensor, later: paddle.Tensor) -> paddle.Tensor:
    """The FSP matrix [N, C1, C2] of two maps [N, C1, H, W] and [N, C2, H, W]."""
    rows, columns = earlier.flatten(2), later.flatten(2)
    return paddle.matmul(rows, columns, transpose_y=True) / _size(rows)


def _size(flat: paddle.Tensor) -> float | paddle.Tensor:
    """The length of the last axis, taken when the graph runs if it is unknown now."""
    known = flat.shape[-1]
    return known if known != -1 else paddle.shape(flat)[-1].astype(flat.dtype)
