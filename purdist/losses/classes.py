"""The arithmetic over the classes of logits, exact where Paddle's own is not.

Losses take their logits from `logits_of`, with the classes on the last axis: all else here is
over that one. A row is what is left when the classes are taken away.

Every function is defined, with a finite gradient, at zeros, at equal rows, at 1e4 and where a
class is masked: one whose logit is `MASKED` or less, minus infinity included, is no class of that
row. What is masked in teacher and student alike counts nowhere. Where the teacher thinks possible
what the student masks by minus infinity, a divergence is infinite, and its gradient is finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import paddle

from purdist.losses.maths import TINY, number

__all__ = [
    "CLASSES",
    "IMPOSSIBLE",
    "MASKED",
    "centred",
    "deviation",
    "expected",
    "kl_divergence",
    "log_softmax",
    "log_total",
    "logits_of",
    "masked",
    "mean_over",
    "possible",
    "softened",
]

CLASSES = -1
"""The axis of the classes, of what `logits_of` returns and of variables that are checked."""

IMPOSSIBLE = -math.inf
"""The logit of what is left out of a softmax."""

MASKED = -1e9
"""The logit at which, and below which, a class counts as left out."""

_LOWEST = -3e38
"""What stands for the largest logit of a row where all are minus infinity."""


def logits_of(values: Mapping[str, paddle.Tensor], *keys: str) -> tuple[paddle.Tensor, ...]:
    """The logits under ``keys``, with their classes on the last axis."""
    return tuple(values[key] for key in keys)


def softened(logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """Logits over the temperature, less the largest of each row.

    A softmax does not see the shift, and the logarithm of its sum keeps its digits.
    """
    if temperature != 1:
        logits = logits / number(temperature, logits)
    return logits - _largest(logits)


def _largest(logits: paddle.Tensor) -> paddle.Tensor:
    return logits.max(axis=CLASSES, keepdim=True).detach().clip(min=_LOWEST)


def log_total(logits: paddle.Tensor) -> paddle.Tensor:
    """log(sum(exp(logits))) over the classes, which stays with size 1; finite in any case."""
    largest = _largest(logits)
    return largest + _log_of_sum(logits - largest)


def _log_of_sum(shifted: paddle.Tensor) -> paddle.Tensor:
    """The same of rows whose largest is 0: the sum is at least 1, or there is nothing to add up."""
    return shifted.exp().sum(axis=CLASSES, keepdim=True).clip(min=0.5).log()


def log_softmax(logits: paddle.Tensor, temperature: float = 1.0) -> paddle.Tensor:
    """log(softmax(logits / temperature)) over the classes, exact at any size of logits.

    Paddle's own kernel clamps at -64 on the CPU.
    """
    logits = softened(logits, temperature)
    return logits - _log_of_sum(logits)


def expected(log_probabilities: paddle.Tensor, values: paddle.Tensor) -> paddle.Tensor:
    """The mean of ``values`` over the classes, by probability; 0 * inf is 0 here."""
    # A probability below e^-1000 is 0, though Paddle's exp(-inf) is 5.6e-309.
    kept = paddle.where(log_probabilities > -1e3, values, paddle.zeros_like(values))
    return (log_probabilities.exp() * kept).sum(axis=CLASSES)


def kl_divergence(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """KL(teacher || student) for each row of log-probabilities, over the classes."""
    return expected(teacher, teacher - student)


def possible(logits: paddle.Tensor) -> paddle.Tensor:
    """Which classes are not masked."""
    return logits > MASKED


def masked(logits: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """Logits of which those that are not ``counted`` are left out of a softmax."""
    return paddle.where(counted, logits, paddle.full_like(logits, IMPOSSIBLE))


def mean_over(counted: paddle.Tensor, rows: paddle.Tensor) -> paddle.Tensor:
    """The mean of each row over what is counted, 0 where nothing is; the last axis has size 1."""
    kept = paddle.where(counted, rows, paddle.zeros_like(rows)).sum(axis=CLASSES, keepdim=True)
    return kept / counted.astype(rows.dtype).sum(axis=CLASSES, keepdim=True).clip(min=1)


def centred(rows: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """Rows, over the classes, less the mean of what is counted; 0 elsewhere."""
    return paddle.where(counted, rows - mean_over(counted, rows), paddle.zeros_like(rows))


def deviation(rows: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """The standard deviation of what is counted of each row with ddof 1, as in ``torch.std``."""
    squares = centred(rows, counted).square().sum(axis=CLASSES, keepdim=True)
    others = counted.astype(rows.dtype).sum(axis=CLASSES, keepdim=True) - 1
    return (squares / others.clip(min=1)).clip(min=TINY**2).sqrt()
