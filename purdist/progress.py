"""How far something is that takes long, for whom somebody looks at it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeAlias

import attrs
from tqdm import tqdm

Show: TypeAlias = Callable[[int, Callable[[], str]], None]
"""Is told how many are done, and asked for what else is to be shown when it is."""

_REDRAWN = 0.25
_WRITTEN = 30.0
"""How many seconds lie between two looks: of a terminal, of a file."""


class _Bar(tqdm):  # type: ignore[type-arg] # it is generic in its stubs alone
    """Redrawn when it is told to, so without the thread that looks after those that are not."""

    monitor_interval = 0


@attrs.frozen
class _Lines:
    """A file that is no terminal: what would be drawn over what was there is a line of its own."""

    file: TextIO

    def write(self, text: str) -> None:
        if line := text.strip():
            with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
                self.file.write(f"{line}\n")

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.file.flush()


@contextmanager
def showing(unit: str, total: int | None) -> Iterator[Show]:
    """Shows on the standard error how many are done, how fast, and how long the rest takes.

    A bar that is redrawn four times a second; where no terminal is, a line twice a minute. What
    came last is shown at the end. Where there is no such output nothing is.

    Args:
        unit: What is counted.
        total: How many there are, None if nobody knows.
    """
    file = sys.stderr
    if file is None or getattr(file, "closed", False):
        yield lambda *_: None
        return
    terminal = _can_be_drawn_on(file)
    every = _REDRAWN if terminal else _WRITTEN
    newest: tuple[int, Callable[[], str]] = (0, str)
    due = time.monotonic() + every

    def show(done: int, text: Callable[[], str]) -> None:
        nonlocal newest, due
        newest = done, text
        now = time.monotonic()
        if now >= due:
            due = now + every
            bar.set_postfix_str(text(), refresh=False)
            bar.update(done - bar.n)

    with _Bar(
        total=total,
        unit=unit,
        file=file if terminal else _Lines(file),
        mininterval=0,
        miniters=1,  # each update is one that is due
        dynamic_ncols=terminal,
    ) as bar:
        try:
            yield show
        finally:
            bar.n, text = newest
            bar.set_postfix_str(text(), refresh=False)


def _can_be_drawn_on(file: TextIO) -> bool:
    """Whether it is a terminal, and one that says how large it is."""
    try:
        return file.isatty() and all(os.get_terminal_size(file.fileno()))
    except (OSError, ValueError, AttributeError):  # what stands in for a file may know no more
        return False
