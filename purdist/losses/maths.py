"""The arithmetic that losses share, exact where Paddle's own is not.

Every function is defined, with a finite gradient, at zeros, at equal rows and at 1e4.
"""

from __future__ import annotations

import paddle

from purdist import graphs

__all__ = ["TINY", "length", "number", "pooled_to_smaller", "size", "unit"]

TINY = 1e-12
"""The length below which a vector counts as that long: PyTorch's ``F.normalize``."""


def number(known: float, like: paddle.Tensor) -> paddle.Tensor:
    """A number in the dtype of ``like``.

    A product or quotient of a tensor and a Python number rounds the number to float32.
    """
    return paddle.full([], known, like.dtype)


def size(value: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The size of an axis, in the dtype of ``value``: taken when the graph runs if need be."""
    known = value.shape[axis]
    return number(known, value) if known != -1 else paddle.shape(value)[axis].astype(value.dtype)


def length(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The L2 norm over ``axis``, which stays with size 1; never below `TINY`.

    A square root has no gradient at zero: nothing flows into shorter vectors.
    """
    return vectors.square().sum(axis=axis, keepdim=True).clip(min=TINY**2).sqrt()


def unit(vectors: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Vectors over ``axis`` divided by their length; zeros stay zeros."""
    return vectors / length(vectors, axis)


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
