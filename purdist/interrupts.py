"""Ctrl-C, and what else a process is told by a signal, at a time when it leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import TypeAlias

import attrs

_HELD = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""What others send, and whose handlers may raise."""

_Handler: TypeAlias = Callable[[int, FrameType | None], object]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal comes afterwards: one in the middle would leave what nobody knows to end.

    And what its handler raises within a fork, Python drops. Only handlers are held, of Python: a
    signal that this thread blocks another one takes, and the handler runs here all the same.
    """
    if current_thread() is not main_thread():  # no handler runs in it
        yield
        return
    with ExitStack() as answering, ExitStack() as restoring:  # all of them, whatever one raises
        for number in _HELD:
            found = signal.getsignal(number)
            if callable(found):
                held = _Held(found)
                answering.callback(held.answer)
                restoring.callback(signal.signal, number, found)
                signal.signal(number, held)
        yield


def handle_at_once(*, besides: Collection[int]) -> None:
    """Lets signals of this process, which was forked while they were held, be handled again."""
    for number in _HELD:
        held = signal.getsignal(number)
        if isinstance(held, _Held) and number not in besides:
            signal.signal(number, held.found)


@attrs.define(eq=False)
class _Held:
    """Stands for the handler of a signal.

    Attributes:
        found: The handler.
    """

    found: _Handler
    _came: list[tuple[int, FrameType | None]] = attrs.field(factory=list, init=False)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))

    def answer(self) -> None:
        """Has the signal handled, if it came."""
        if self._came:
            self.found(*self._came[0])
