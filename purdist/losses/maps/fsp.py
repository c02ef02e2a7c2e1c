"""`FspLoss`: how features flow from one layer to a later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist import graphs
from purdist.losses.checks import check_floats, check_rank, check_same_axes, check_same_shape
from purdist.losses.fields import StudentVariable, TeacherVariable
from purdist.losses.maths import size
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import LossSpec
from purdist.variables import Variable


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
        return mean_of_rows((student - teacher).square())


def _flow(earlier: paddle.Tensor, later: paddle.Tensor) -> paddle.Tensor:
    """The FSP matrix [N, C1, C2] of two maps [N, C1, H, W] and [N, C2, H, W]."""
    graphs.must_meet(earlier, later, (2, 3))
    rows, columns = earlier.flatten(2), later.flatten(2)
    return paddle.matmul(rows, columns, transpose_y=True) / size(rows, -1)
