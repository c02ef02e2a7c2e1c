"""What a draft is: a folder with a name that nobody can foresee, locked while its process lives."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from purdist.storing.files import take_lock
from purdist.storing.targets import user

Identity: TypeAlias = tuple[int, int, int, int] | None
"""What tells a file from another and from itself before: None where there is none."""

_PREFIX = ".purdist-"
"""How the names of drafts begin."""

OPEN, COMMITTED, PLACES, NEW = "files", "committed", "places", "new"
"""In a draft: the folder of its files, before and after the commit, what they are to replace, and
one that shows what mode a new file gets."""

_LOCK = "lock"
"""The file that is locked."""


def drafts_in(holder: Path) -> list[Path]:
    """The drafts in ``holder`` that this user made."""
    with os.scandir(holder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    return [draft for draft in found if _is_ours(draft)]


def _is_ours(draft: Path) -> bool:
    """Whether it is a draft, by all that it is, and no folder of somebody's with such a name."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        status = draft.lstat()
        if (status.st_mode, status.st_uid) != (stat.S_IFDIR | 0o700, user()):
            return False
        found = {entry.name: entry.lstat().st_mode for entry in draft.iterdir()}
        kinds = {OPEN: stat.S_ISDIR, COMMITTED: stat.S_ISDIR}
        if not all(kinds.get(name, stat.S_ISREG)(mode) for name, mode in found.items()):
            return False
        if COMMITTED in found and not home_of(draft):
            return False
        return found.keys() <= {OPEN, COMMITTED, PLACES, _LOCK, NEW}
    return False


def new_draft(holder: Path) -> tuple[Path, int]:
    """A new draft in ``holder``, and its lock, open."""
    while True:
        draft = Path(tempfile.mkdtemp(dir=holder, prefix=_PREFIX))
        with suppress(FileNotFoundError):  # somebody took it for one that was left behind
            lock = _open_lock(draft)
            while take_lock(lock) is False:
                time.sleep(0.01)
            if (draft / _LOCK).exists():
                return draft, lock
            os.close(lock)


def _open_lock(draft: Path) -> int:
    return os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)


@contextmanager
def abandoned(draft: Path) -> Iterator[bool]:
    """Whether the process of ``draft`` is gone, as far as the system says so."""
    try:
        lock = _open_lock(draft)
    except OSError:
        yield False
        return
    try:
        yield take_lock(lock) is True
    finally:
        os.close(lock)


def home_of(draft: Path) -> tuple[int, int]:
    """Where a draft says that it is."""
    device, number = _written(draft)["holder"]
    return device, number


def _written(draft: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((draft / PLACES).read_text())
    return found


def places_of(draft: Path) -> Mapping[str, Identity]:
    """File -> what a draft says that it replaces."""
    replaced = _written(draft)["replaced"]
    return {name: tuple(found) if found else None for name, found in replaced.items()}


def identity_of(status: os.stat_result) -> Identity:
    """What tells a file from all others, and from itself before it was written again."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def identity_at(path: Path) -> Identity:
    """That of what is at ``path``, None where nothing is."""
    with suppress(FileNotFoundError):
        return identity_of(path.lstat())
    return None
