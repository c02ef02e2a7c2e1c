"""`HintLoss`: a layer of the teacher guides one of the student, through an adaptor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.adaptors import Adaptor, adapted, check_adaptable, check_unadapted
from purdist.losses.checks import check_same_batch
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class HintLoss(PairLoss):
    r"""A layer of the teacher as the hint for one of the student, through an adaptor that learns.

    .. math:: mean\,((r(s) - t)^2)

    The adaptor :math:`r` is nothing (``None``), a convolution (``"conv"``), a convolution,
    batch normalisation and ReLU (``"conv_bn_relu"``) or a linear layer over the last axis
    (``"linear"``). A convolution is 1x1 between maps of one size; others it resizes as the
    reference does: 3x3 with stride 2 down to half the size, 4x4 transposed with stride 2 up
    to double, and without padding from any larger map. What else differs is refused::

        distillation = apply(merged, [HintLoss("teacher_hidden", "hidden", adaptor="linear")])

    Shapes: without an adaptor both the same; with a convolution both [N, C, H, W]; with a
    linear layer both [N, ..., D] and equal but for D. C and D are known.
    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, eq. 3;
    RepDistiller ``distiller_zoo/FitNet.py``, ``ConvReg`` and ``LinearEmbed`` in
    ``models/util.py``. The mean is over all elements, where the paper has half the sum.

    Attributes:
        teacher_var: The hint: what a layer of the teacher computed.
        student_var: The guided layer of the student.
        adaptor: What stands between, and is trained with the student; layers of your own do in a
            `CustomLoss`.

    Raises:
        InvalidArgumentError: There is no such adaptor.
        ShapeMismatchError: The adaptor cannot bring the shapes together (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "hint"

    adaptor: Adaptor | None = attrs.field(default=None, kw_only=True)

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        if self.adaptor is None:
            check_unadapted(variables, "write {}, which adapts the student to the teacher")
        else:
            check_adaptable(variables, self.adaptor)
            check_same_batch(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = values["teacher_var"], values["student_var"]
        if self.adaptor is not None:
            student = adapted(student, teacher, self.adaptor)
        return mean_of_rows((student - teacher).square())
