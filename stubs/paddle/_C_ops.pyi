from collections.abc import Callable
from typing import Any

from paddle import Tensor

set_value_: Callable[..., Tensor]
set_value_with_tensor_: Callable[..., Tensor]

def set_value_with_tensor(x: Tensor, values: Tensor, /, *args: Any) -> Tensor: ...
def unbind(input: Tensor, axis: int) -> list[Tensor]: ...
