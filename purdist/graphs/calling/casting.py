"""Automatic casting to lower precision, as the layer itself would do it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import paddle
from paddle.base import framework

_AUTO_CAST: Any = sys.modules["paddle.amp.auto_cast"]  # a function of that name hides it


@contextmanager
def casting_as_in_dygraph() -> Iterator[None]:
    """On the CPU ``auto_cast`` does nothing in dynamic mode, and so it does nothing inside."""
    if not isinstance(framework._current_expected_place_(), paddle.CPUPlace):
        yield
        return
    found = _AUTO_CAST.amp_guard

    def guard(enable: bool = True, *args: Any, **kwargs: Any) -> AbstractContextManager[None]:  # noqa: FBT001, FBT002 - Paddle's own
        del enable
        manager: AbstractContextManager[None] = found(False, *args, **kwargs)  # noqa: FBT003
        return manager

    _AUTO_CAST.amp_guard = guard
    try:
        yield
    finally:
        _AUTO_CAST.amp_guard = found
