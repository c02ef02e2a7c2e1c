"""Ctrl-C, at a time when it leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """An interrupt comes afterwards: one in the middle would leave what nobody knows to end."""
    found = signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or found is None:  # not Python's to set
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *interrupt: came.append(interrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, found)
        if came and callable(found):
            found(*came[0])
