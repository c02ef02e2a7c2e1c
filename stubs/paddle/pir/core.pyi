from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from paddle.static import Program

def switch_main_program(program: Program, insertion_point: Any = None) -> Any: ...
def static_op_arg_cast_guard(hook: Callable[[Any], Any]) -> AbstractContextManager[None]: ...
