"""Dtypes by name, as Paddle writes them and as numpy has them."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

import numpy as np
import paddle

Dtype: TypeAlias = Literal[
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
"""The dtypes of what is fed and computed with, as Paddle writes them."""

Kind: TypeAlias = "tuple[tuple[int, ...], str]"
"""What a weight is: its shape and dtype."""


def dtype_name(dtype: paddle.dtype) -> Dtype:
    """``paddle.float32`` -> ``float32``."""
    return cast("Dtype", str(dtype).removeprefix("paddle."))


def array_dtype(name: str) -> np.dtype[np.generic]:
    """What numpy holds a tensor of the dtype ``name`` as: it has no bfloat16."""
    return np.dtype({"bfloat16": "uint16"}.get(name, name))
