"""The mean over rows: samples, tokens, pixels, boxes."""

from __future__ import annotations

import paddle

__all__ = ["mean_of_rows"]


def mean_of_rows(values: paddle.Tensor) -> paddle.Tensor:
    """The mean over rows of what each has: one number, or as many as any other row."""
    return values.mean()
