"""`VIDLoss`: the student's features as a guess at the teacher's, with a variance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle
from paddle import nn

from purdist.losses.adaptors import layers_of
from purdist.losses.checks import check_known, check_maps
from purdist.losses.maths import pooled_to_smaller
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable

_FIRST_VARIANCE = 5.0
_LEAST_VARIANCE = 1e-5


@attrs.frozen
class VIDLoss(PairLoss):
    r"""Variational information distillation: how well the student's map foretells the teacher's.

    .. math:: mean\left(\tfrac12 \left(\frac{(\mu(s) - t)^2}{\sigma^2_c}
        + \log \sigma^2_c\right)\right), \qquad \sigma^2_c = \log(1 + e^{\alpha_c}) + 10^{-5}

    The mean :math:`\mu` is three 1x1 convolutions without bias, ReLU between them, as wide as
    the teacher; :math:`\alpha` has an entry per channel of the teacher. Both are trained with
    the student; the variance begins at 5. Bounded below by :math:`\tfrac12 \log 10^{-5}`:
    at student == teacher it is whatever the regressor makes of it.

    Shapes: both [N, C, H, W]; C may differ and is known. Of two sizes the larger map is
    averaged down to the smaller (adaptive average pooling), each of height and width on its
    own.
    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR
    2019, section 2.2; RepDistiller ``distiller_zoo/VID.py``, which pools by height alone. The
    convolutions are initialised as Paddle's are.

    Attributes:
        teacher_var: A feature map of the teacher.
        student_var: A feature map of the student.

    Raises:
        ShapeMismatchError: A rank is not 4, the batches differ, the channels are unknown, or
            sizes differ of which one is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "vid"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_maps(variables)
        check_known(variables, {1: "C"}, "the regressor is made for")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = pooled_to_smaller(values["teacher_var"], values["student_var"])
        width = teacher.shape[1]
        with layers_of(student.dtype):
            regressor = nn.Sequential(
                nn.Conv2D(student.shape[1], width, 1, bias_attr=False),
                nn.ReLU(),
                nn.Conv2D(width, width, 1, bias_attr=False),
                nn.ReLU(),
                nn.Conv2D(width, width, 1, bias_attr=False),
            )
            first = math.log(math.expm1(_FIRST_VARIANCE - _LEAST_VARIANCE))
            # By a layer: paddle.create_parameter counts its names for the whole process.
            alpha = nn.Layer().create_parameter(
                [width], dtype=student.dtype, default_initializer=nn.initializer.Constant(first)
            )
        variance = (nn.functional.softplus(alpha) + _LEAST_VARIANCE).reshape([1, -1, 1, 1])
        error = (regressor(student) - teacher).square()
        return mean_of_rows(error / variance + variance.log()) / 2
