"""The arithmetic that losses share, exact where Paddle's own is not.

Every function is defined, with a finite gradient, at zeros, at equal rows and at 1e4.
"""

from __future__ import annotations

import paddle

TINY = 1e-12
"""The length below which a vector counts as that long: PyTorch's ``F.normalize``."""

IMPOSSIBLE = -1e30
"""The logit of what is left out of a softmax: its probability is 0, and its logarithm finite."""


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
    return logits - logits.max(axis=-1, keepdim=True).detach()


def log_softmax(logits: paddle.Tensor, temperature: float = 1.0) -> paddle.Tensor:
    """log(softmax(logits / temperature)) over the last axis, exact at any size of logits.

    Paddle's own kernel clamps at -64 on the CPU.
    """
    logits = softened(logits, temperature)
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


def kl_divergence(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """KL(teacher || student) for each row of log-probabilities, over the last axis.

    Where a class is impossible, both may say so by one number of great size.
    """
    return (teacher.exp() * (teacher - student)).sum(axis=-1)


def length(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The L2 norm over ``axis``, which stays with size 1; never below `TINY`.

    A square root has no gradient at zero: nothing flows into shorter vectors.
    """
    return vectors.square().sum(axis=axis, keepdim=True).clip(min=TINY**2).sqrt()


def unit(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Vectors over ``axis`` divided by their length; zeros stay zeros."""
    return vectors / length(vectors, axis)


def centred(rows: paddle.Tensor) -> paddle.Tensor:
    """Rows, over the last axis, less their mean."""
    return rows - rows.mean(axis=-1, keepdim=True)


def deviation(rows: paddle.Tensor) -> paddle.Tensor:
    """The standard deviation of each row with ddof 1, as ``torch.std`` has it."""
    squares = centred(rows).square().sum(axis=-1, keepdim=True)
    return (squares / (size(rows, -1) - 1)).clip(min=TINY**2).sqrt()


def pooled_to_smaller(
    one: paddle.Tensor, other: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Two maps [N, C, H, W], averaged down to the smaller height and the smaller width.

    An unknown size counts as equal.
    """
    sizes = [
        (a, b) if -1 in (a, b) else (min(a, b), min(a, b))
        for a, b in zip(one.shape[2:], other.shape[2:], strict=True)
    ]
    wanted, wanted_other = ([pair[k] for pair in sizes] for k in (0, 1))
    return _pooled(one, wanted), _pooled(other, wanted_other)


def _pooled(feature_map: paddle.Tensor, wanted: list[int]) -> paddle.Tensor:
    if list(feature_map.shape[2:]) == wanted:
        return feature_map
    return paddle.nn.functional.adaptive_avg_pool2d(feature_map, wanted)
