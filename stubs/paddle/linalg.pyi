from collections.abc import Sequence

from paddle import Tensor

def norm(
    x: Tensor,
    p: float | str | None = None,
    axis: int | Sequence[int] | None = None,
    keepdim: bool = False,
) -> Tensor: ...
