from collections.abc import Callable

from paddle.static import Program

check_view_api_used_by_inplace: Callable[[Program], None]
