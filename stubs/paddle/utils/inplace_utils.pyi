from collections.abc import Callable
from typing import Any

in_pir_mode: Callable[[], bool]
eval: Callable[[str], Callable[..., Any]]  # which Paddle takes from the built-ins
