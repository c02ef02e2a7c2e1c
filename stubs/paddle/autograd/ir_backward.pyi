from collections.abc import Callable

append_backward_ops: Callable[..., None]
