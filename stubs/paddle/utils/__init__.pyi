from collections.abc import Callable
from typing import Any

from paddle.utils import unique_name as unique_name

def flatten(nest: Any) -> list[Any]: ...

from paddle.utils import inplace_utils as inplace_utils

def map_structure(func: Callable[..., Any], *structures: Any) -> Any: ...
