"""The arithmetic that losses share, exact where Paddle's own is not.

Every function is defined, with a finite gradient, at zeros, at equal rows, at 1e4 and where a
class is masked: one whose logit is `MASKED` or less, minus infinity included, is no class of that
row. What is masked in teacher and student alike counts nowhere. Where the teacher thinks possible
what the student masks by minus infinity, a divergence is infinite, and its gradient is finite.
"""

from __future__ import annotations

import math

import paddle

from purdist import graphs

TINY = 1e-12
"""The length below which a vector counts as that long: PyTorch's ``F.normalize``."""

IMPOSSIBLE = -math.inf
"""The logit of what is left out of a softmax."""

MASKED = -1e9
"""The logit at which, and below which, a class counts as left out."""

_LOWEST = -3e38
"""What stands for the largest logit of a row where all are minus infinity."""


def number(known: float, like: paddle.Tensor) -> paddle.Tensor:
    """A number in the dtype of ``like``.

    A product or quotient of a tensor and a Python number rounds the number to float32.
    """
    return paddle.full([], known, like.dtype)


def size(value: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The size of an axis, in the dtype of ``value``: taken when the graph runs if need be."""
    known = value.shape[axis]
    return number(known, value) if known != -1 else paddle.shape(value)[axis].astype(value.dtype)


def softened(logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """Logits over the temperature, less the largest of each row.

    A softmax does not see the shift, and the logarithm of its sum keeps its digits.
    """
    if temperature != 1:
        logits = logits / number(temperature, logits)
    return logits - _largest(logits)


def _largest(logits: paddle.Tensor) -> paddle.Tensor:
    return logits.max(axis=-1, keepdim=True).detach().clip(min=_LOWEST)


def log_total(logits: paddle.Tensor) -> paddle.Tensor:
    """log(sum(exp(logits))) over the last axis, which stays with size 1; finite in any case."""
    largest = _largest(logits)
    return largest + _log_of_sum(logits - largest)


def _log_of_sum(shifted: paddle.Tensor) -> paddle.Tensor:
    """The same of rows whose largest is 0: the sum is at least 1, or there is nothing to add up."""
    return shifted.exp().sum(axis=-1, keepdim=True).clip(min=0.5).log()


def log_softmax(logits: paddle.Tensor, temperature: float = 1.0) -> paddle.Tensor:
    """log(softmax(logits / temperature)) over the last axis, exact at any size of logits.

    Paddle's own kernel clamps at -64 on the CPU.
    """
    logits = softened(logits, temperature)
    return logits - _log_of_sum(logits)


def expected(log_probabilities: paddle.Tensor, values: paddle.Tensor) -> paddle.Tensor:
    """The mean of ``values`` over the last axis, by probability; 0 * inf is 0 here."""
    # A probability below e^-1000 is 0, though Paddle's exp(-inf) is 5.6e-309.
    kept = paddle.where(log_probabilities > -1e3, values, paddle.zeros_like(values))
    return (log_probabilities.exp() * kept).sum(axis=-1)


def kl_divergence(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """KL(teacher || student) for each row of log-probabilities, over the last axis."""
    return expected(teacher, teacher - student)


def possible(logits: paddle.Tensor) -> paddle.Tensor:
    """Which classes are not masked."""
    return logits > MASKED


def length(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The L2 norm over ``axis``, which stays with size 1; never below `TINY`.

    A square root has no gradient at zero: nothing flows into shorter vectors.
    """
    return vectors.square().sum(axis=axis, keepdim=True).clip(min=TINY**2).sqrt()


def unit(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Vectors over ``axis`` divided by their length; zeros stay zeros."""
    return vectors / length(vectors, axis)


def mean_over(counted: paddle.Tensor, rows: paddle.Tensor) -> paddle.Tensor:
    """The mean of each row over what is counted, 0 where nothing is; the last axis has size 1."""
    kept = paddle.where(counted, rows, paddle.zeros_like(rows)).sum(axis=-1, keepdim=True)
    return kept / counted.astype(rows.dtype).sum(axis=-1, keepdim=True).clip(min=1)


def centred(rows: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """Rows, over the last axis, less the mean of what is counted; 0 elsewhere."""
    return paddle.where(counted, rows - mean_over(counted, rows), paddle.zeros_like(rows))


def deviation(rows: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """The standard deviation of what is counted of each row with ddof 1, as in ``torch.std``."""
    squares = centred(rows, counted).square().sum(axis=-1, keepdim=True)
    others = counted.astype(rows.dtype).sum(axis=-1, keepdim=True) - 1
    return (squares / others.clip(min=1)).clip(min=TINY**2).sqrt()


def pooled_to_smaller(
    one: paddle.Tensor, other: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Two maps [N, C, H, W], averaged down to the smaller height and the smaller width.

    An unknown size counts as equal, and must be when the graph runs.
    """
    sizes = [
        (a, b) if -1 in (a, b) else (min(a, b), min(a, b))
        for a, b in zip(one.shape[2:], other.shape[2:], strict=True)
    ]
    graphs.must_meet(one, other, (2, 3))
    wanted, wanted_other = ([pair[k] for pair in sizes] for k in (0, 1))
    return _pooled(one, wanted), _pooled(other, wanted_other)


def _pooled(feature_map: paddle.Tensor, wanted: list[int]) -> paddle.Tensor:
    if list(feature_map.shape[2:]) == wanted:
        return feature_map
    return paddle.nn.functional.adaptive_avg_pool2d(feature_map, wanted)
