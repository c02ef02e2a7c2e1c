from collections.abc import Callable
from typing import Any

from paddle.static import Program

check_view_api_used_by_inplace: Callable[[Program], None]

class FunctionCache:
    _code_to_ast_caches: dict[str, object]
    def convert_with_cache(self, func: Callable[..., Any]) -> Callable[..., Any]: ...
    def _convert(self, func: Callable[..., Any]) -> Any: ...

_FUNCTION_CACHE: FunctionCache

def convert_to_static(function: Callable[..., Any]) -> Any: ...

class ProgramTranslator:
    enable_to_static: bool
    @classmethod
    def get_instance(cls) -> ProgramTranslator: ...
