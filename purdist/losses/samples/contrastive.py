"""`ContrastiveLoss`: the teacher's view of a sample told from its views of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle
from paddle import nn
from paddle.nn.functional import softplus

from purdist.losses.adaptors import layers_of
from purdist.losses.arguments import count, tempered
from purdist.losses.checks import check_known, check_samples
from purdist.losses.maths import number, unit
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class ContrastiveLoss(PairLoss):
    r"""Contrastive representation distillation (CRD), with the batch for negatives.

    .. math:: -\frac2N \left( \sum_i \log h_{ii} + \sum_{i \ne j} \log (1 - h_{ij}) \right),
        \qquad h_{ij} = \frac{r_{ij}}{r_{ij} + M}, \qquad
        r_{ij} = \frac{e^{u_i \cdot v_j / \tau}}{Z}

    :math:`u` and :math:`v` are a linear layer each of student and teacher, divided by their
    L2 norm, both trained; :math:`M = N - 1` is the number of negatives; :math:`Z` is the mean
    of :math:`e^{u_i \cdot v_j / \tau}` over the batch, through which no gradient flows.
    The 2 is for the two anchors: the student's sample among the teacher's and the other way
    round come to the same sum. Of a batch of one, :math:`M` counts as 1. The least is above
    0 and not reached by equal features.

    In the paper the negatives are thousands of samples of other classes from the whole data
    set, taken from a memory bank of earlier embeddings. Here they are the other samples of
    the batch, of whatever class, embedded at this step: no memory, no index of a sample to
    be fed, but fewer negatives, so that a large batch helps. Z is each batch's own where
    the reference keeps that of its first; with it the size of the data set cancels out. The
    reference's 1e-7 in the denominators is left out: logarithms are taken exactly.

    Samples meet only those of their own batch, where ``minimize`` accumulates several and where
    processes have one each.

    Shapes: both [N, ...], flattened to [N, D]; all but N may differ and are known.
    Source: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020,
    eq. 18 as the reference counts; RepDistiller ``crd/criterion.py`` and ``crd/memory.py``.

    Attributes:
        teacher_var: Features of the teacher, mostly the last before the logits.
        student_var: Features of the student.
        dimension: How long u and v are.
        temperature: :math:`\tau`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: ``dimension`` is not above 0, or ``temperature`` outside its
            range.
        ShapeMismatchError: A rank is below 2, the batches differ, or a size other than theirs
            is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "contrastive"

    dimension: int = attrs.field(default=128, kw_only=True, validator=count)
    temperature: float = attrs.field(default=0.07, kw_only=True, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_samples(variables)
        for key, variable in variables.items():
            features = dict.fromkeys(range(1, len(variable.shape)), "of a feature")
            check_known({key: variable}, features, "the embedding is made for")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        student = self._embedded(values["student_var"])
        teacher = self._embedded(values["teacher_var"])
        scores = paddle.matmul(student, teacher, transpose_y=True)
        scores = scores / number(self.temperature, scores)
        pairs = paddle.diag(paddle.ones_like(scores[:, 0]))
        samples = pairs.sum()
        normalisation = paddle.logsumexp(scores, axis=[0, 1]).detach() - 2 * samples.log()
        margin = scores - normalisation - (samples - 1).clip(min=1).log()  # log(r / M)
        missed = pairs * softplus(-margin) + (1 - pairs) * softplus(margin)
        return 2 * missed.sum() / samples

    def _embedded(self, features: paddle.Tensor) -> paddle.Tensor:
        rows = features.flatten(1)
        with layers_of(rows.dtype):
            return unit(nn.Linear(rows.shape[1], self.dimension)(rows), axis=1)
