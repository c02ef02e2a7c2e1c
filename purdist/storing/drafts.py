"""Drafts: what is written beside its target, and takes its place when it is whole.

A draft is a folder beside the target, under a name that nobody can foresee, open to nobody else,
and locked while its process lives. Its files are committed by one rename, of the folder in it that
holds them, and then moved to their places. What was killed after the commit is finished by the next
who writes or reads there, what was killed before it is cleaned away by the next who writes.

A draft says where it is and what it replaces: a copy of it, or one whose targets somebody else has
written meanwhile, is never finished.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from purdist.errors import PurdistError, WriteError
from purdist.interrupts import uninterrupted
from purdist.storing.draft_folders import (
    COMMITTED,
    NEW,
    OPEN,
    PLACES,
    Identity,
    abandoned,
    drafts_in,
    home_of,
    identity_at,
    new_draft,
    places_of,
)
from purdist.storing.files import QUICKLY, locked, sync, write_new
from purdist.storing.targets import check_file, check_target, telling, user, where_it_points


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the file system of ``target``, to write in, for `place`; then it is gone.

    Raises:
        PurdistError: Nothing can be written there, as in `check_target`.
        WriteError: The system refuses to write, here or in what the folder is used for.
    """
    check_target(target)
    with telling(target), _draft_in(target.parent) as files:
        yield files


@contextmanager
def _draft_in(holder: Path) -> Iterator[Path]:
    """The files of a new draft in ``holder``, which is gone afterwards, but for what is committed.

    Those of processes that are gone are ended before.
    """
    _tidy(holder)
    made: tuple[Path, int] | None = None
    try:
        with uninterrupted():
            made = draft, _ = new_draft(holder)
        files = draft / OPEN
        files.mkdir()
        yield files
    finally:
        if made:
            _end(*made)


def _end(draft: Path, lock: int) -> None:
    with uninterrupted():
        if not (draft / COMMITTED).exists():  # which holds what could not be moved
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
        check_file(target, alone=False)
        mode = _mode(target, folder.parent)
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)
        sync(file)
    sync(folder)
    with locked(holder):
        _finish_all(holder)
        _note_places(folder, holder)
        with uninterrupted():  # it is too late to go back
            committed = folder.rename(folder.with_name(COMMITTED))
            try:
                sync(folder.parent)
                _move(committed, holder)
            except OSError as error:
                _take_back(committed, folder, holder, error)
                raise
        if without:
            without.unlink(missing_ok=True)


def _note_places(folder: Path, holder: Path) -> None:
    """Writes down where a draft is, and what its files replace.

    Raises:
        PermissionError: Another user's file is there, and may not be replaced.
    """
    within = holder.stat()
    replaced: dict[str, Identity] = {}
    for file in sorted(folder.iterdir()):
        target = holder / file.name
        replaced[file.name] = identity_at(target)
        sticky = within.st_mode & stat.S_ISVTX and user() not in (0, within.st_uid)
        if sticky and target.exists() and target.stat().st_uid != user():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    places = {"holder": [within.st_dev, within.st_ino], "replaced": replaced}
    write_new(folder.with_name(PLACES), json.dumps(places).encode())


def _take_back(committed: Path, folder: Path, holder: Path, error: OSError) -> None:
    """After the system refused to move a file: nothing was moved, or some were, which it says.

    Raises:
        WriteError: Some were.
    """
    left = sorted(file.name for file in committed.iterdir())
    moved = sorted(places_of(committed.parent).keys() - set(left))
    if moved:
        raise WriteError(
            f"Expected to put {', '.join(moved)} and {', '.join(left)} into {str(holder)!r} "
            f"together, got, after the first: {error.strerror}.",
            "What is there is a mixture, and is refused where it is read: write it again.",
        ) from error
    committed.rename(folder)


def finish(holder: Path) -> None:
    """Moves what was committed into ``holder`` by processes that are gone, if that can be done."""
    with suppress(OSError, PurdistError):
        if any((draft / COMMITTED).exists() for draft in drafts_in(holder)):
            with locked(holder, patience=QUICKLY):
                _finish_all(holder)


def _finish_all(holder: Path) -> None:
    """The same where ``holder`` is locked."""
    for draft in drafts_in(holder):
        committed = draft / COMMITTED
        if committed.exists():
            with abandoned(draft) as is_gone, suppress(OSError):
                if is_gone and _is_due(draft, holder):
                    _move(committed, holder)
                    shutil.rmtree(draft, ignore_errors=True)


def _is_due(draft: Path, holder: Path) -> bool:
    """Whether a committed draft is where it was written, and all is there that it replaces."""
    within, places = holder.stat(), places_of(draft)
    files = {file.name: file.lstat() for file in (draft / COMMITTED).iterdir()}
    return (
        home_of(draft) == (within.st_dev, within.st_ino)
        and files.keys() <= places.keys()
        and all(stat.S_ISREG(status.st_mode) for status in files.values())
        and all(identity_at(holder / name) == places[name] for name in files)
    )


def _move(committed: Path, holder: Path) -> None:
    if not committed.exists():
        return
    for file in sorted(committed.iterdir()):
        file.replace(holder / file.name)
    sync(holder)
    committed.rmdir()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process's own for what is gone when the block ends, or the next begins.

    Raises:
        WriteError: There is no temporary folder that can be written to.
    """
    with ExitStack() as stack:
        try:
            holder = Path(tempfile.gettempdir())
            str(holder).encode()  # Paddle keeps paths in UTF-8
            files = stack.enter_context(_draft_in(holder))
        except (OSError, UnicodeEncodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "its name is not UTF-8"
            raise WriteError(
                f"Expected a temporary folder to write to, got: {said}.",
                "Make room there, or let TMPDIR name another folder.",
            ) from error
        yield files


def _tidy(holder: Path) -> None:
    """Ends the drafts in ``holder`` whose processes are gone."""
    finish(holder)
    for draft in drafts_in(holder):
        with abandoned(draft) as is_gone:
            # What could not be moved waits for who may; what is not due never is.
            if is_gone and not ((draft / COMMITTED).exists() and _is_due(draft, holder)):
                shutil.rmtree(draft, ignore_errors=True)


def _mode(target: Path, draft: Path) -> int:
    """Of the file that is there, or what a new one gets."""
    found = target
    if not target.exists():
        found = draft / NEW
        found.touch()
    return stat.S_IMODE(found.stat().st_mode) & 0o777
