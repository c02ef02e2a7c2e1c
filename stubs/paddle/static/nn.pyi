from collections.abc import Callable, Sequence
from typing import TypeVar

from paddle import Tensor, _Attr

_T = TypeVar("_T")

def batch_norm(
    input: Tensor, act: str | None = None, is_test: bool = False, *, name: str | None = None
) -> Tensor: ...
def cond(
    pred: Tensor, true_fn: Callable[[], _T] | None = None, false_fn: Callable[[], _T] | None = None
) -> _T: ...
def conv2d(
    input: Tensor,
    num_filters: int,
    filter_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    *,
    groups: int | None = None,
    param_attr: _Attr = None,
    bias_attr: _Attr = None,
    act: str | None = None,
    name: str | None = None,
) -> Tensor: ...
def fc(
    x: Tensor,
    size: int,
    num_flatten_dims: int = 1,
    weight_attr: _Attr = None,
    bias_attr: _Attr = None,
    activation: str | None = None,
    name: str | None = None,
) -> Tensor: ...
def while_loop(
    cond: Callable[..., Tensor],
    body: Callable[..., Sequence[Tensor]],
    loop_vars: Sequence[Tensor],
    is_test: bool = False,
) -> list[Tensor]: ...
