"""Drafts: what is written beside its target, and takes its place when it is whole.

A draft is a folder beside the target, under a name that nobody can foresee, open to nobody else,
and locked while its process lives. Its files are committed by one rename, of the folder in it that
holds them, and then moved to their places. What was killed after the commit is finished by the next
who writes or reads there, what was killed before it is cleaned away by the next who writes.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from purdist.errors import PurdistError
from purdist.storing.files import locked, sync, take_lock
from purdist.storing.targets import check_file, check_target, telling, user, where_it_points

_PREFIX = ".purdist-"
"""How the names of drafts begin."""

_OPEN, _COMMITTED, _LOCK = "files", "committed", "lock"
"""In a draft: the folder of its files, before and after the commit, and the file that is locked."""


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the file system of ``target``, to write in, for `place`; then it is gone.

    Raises:
        PurdistError: Nothing can be written there, as in `check_target`.
        WriteError: The system refuses to write, here or in what the folder is used for.
    """
    check_target(target)
    with telling(target):
        _tidy(target.parent)
        draft, lock = _new_draft(target.parent)
        try:
            files = draft / _OPEN
            files.mkdir()
            yield files
        finally:
            if not (draft / _COMMITTED).exists():  # which holds what could not be moved
                shutil.rmtree(draft, ignore_errors=True)
            os.close(lock)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write, which becomes ``target`` at the end: a reader never sees half of a file.

    Where writing raises, ``target`` stays what it was.

    Raises:
        InvalidArgumentError: A folder is there, a device, a FIFO, or another user's link.
        PurdistError: Nothing can be written there, as in `folder_beside`.
    """
    check_target(target)
    real = where_it_points(target)
    check_file(real)
    with telling(target), folder_beside(real) as folder:
        yield folder / real.name
        place(folder, real.parent)


def place(folder: Path, holder: Path, *, without: Path | None = None) -> None:
    """Puts all files of a `folder_beside` into ``holder``, under their names, all or none.

    Args:
        folder: Holds the files, each written to its end.
        holder: What the folder is in.
        without: A file that goes when they come.

    Raises:
        InvalidArgumentError: Something there is no regular file.
        WriteError: The system refuses.
    """
    for file in folder.iterdir():
        target = holder / file.name
        check_file(target)
        mode = _mode(target, folder.parent)
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)
        sync(file)
    sync(folder)
    with locked(holder):
        _finish_all(holder)
        committed = folder.rename(folder.with_name(_COMMITTED))
        try:
            sync(folder.parent)
            _move(committed, holder)
        except BaseException:  # interrupted: it is too late to go back
            _move(committed, holder)
            raise
        if without:
            without.unlink(missing_ok=True)


def finish(holder: Path) -> None:
    """Moves what was committed into ``holder`` by processes that are gone, if that can be done."""
    with suppress(OSError, PurdistError):
        if any((draft / _COMMITTED).exists() for draft in _drafts(holder)):
            with locked(holder):
                _finish_all(holder)


def _finish_all(holder: Path) -> None:
    """The same where ``holder`` is locked."""
    for draft in _drafts(holder):
        committed = draft / _COMMITTED
        if committed.exists():
            with _abandoned(draft) as is_gone:
                if is_gone:
                    _move(committed, holder)
                    shutil.rmtree(draft, ignore_errors=True)


def _move(committed: Path, holder: Path) -> None:
    if not committed.exists():
        return
    for file in sorted(committed.iterdir()):
        file.replace(holder / file.name)
    sync(holder)
    committed.rmdir()


def _tidy(holder: Path) -> None:
    """Ends the drafts in ``holder`` whose processes are gone."""
    finish(holder)
    for draft in _drafts(holder):
        with _abandoned(draft) as is_gone:
            if is_gone and not (draft / _COMMITTED).exists():
                shutil.rmtree(draft, ignore_errors=True)


def _drafts(holder: Path) -> list[Path]:
    """The drafts in ``holder`` that this user made."""
    with os.scandir(holder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    return [draft for draft in found if _is_ours(draft)]


def _is_ours(draft: Path) -> bool:
    with suppress(OSError):
        status = draft.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == user()
    return False


def _new_draft(holder: Path) -> tuple[Path, int]:
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
    return os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def _abandoned(draft: Path) -> Iterator[bool]:
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


def _mode(target: Path, draft: Path) -> int:
    """Of the file that is there, or what a new one gets."""
    found = target
    if not target.exists():
        found = draft / "new"
        found.touch()
    return stat.S_IMODE(found.stat().st_mode) & 0o777
