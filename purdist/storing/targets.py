"""What may be written to, and how it is said where the system refuses."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from purdist.errors import InvalidArgumentError, MissingFileError, PurdistError, WriteError, some

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a FIFO",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISLNK: "a link",
}

_REMEDIES = {
    errno.ENOSPC: "Make room there, or choose another path.",
    errno.EDQUOT: "Make room there, or choose another path.",
    errno.EFBIG: "Raise the limit to the size of files (ulimit -f), or choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Choose another path: the links on the way there lead back to themselves.",
}


def user() -> int:
    """Who runs this, 0 where the system does not say."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def check_target(target: Path, *, makes_folders: bool = False) -> None:
    """Refuses a path that nothing can be written to.

    Args:
        target: What is to be written.
        makes_folders: Whether folders on the way there are made.

    Raises:
        InvalidArgumentError: It has no name at its end, or a zero byte in it.
        MissingFileError: What it is to be in is no folder.
        WriteError: The system does not let see what is there.
    """
    if "\0" in str(target):
        raise InvalidArgumentError(
            f"Expected a path to write to, got {str(target)!r}, which has a zero byte in it.",
            "Name it without one.",
        )
    if target.name in ("", ".."):
        raise InvalidArgumentError(
            f"Expected a path to write to, got {str(target)!r}, which names a folder.",
            f"Name what is to be in it: {str(target / 'student')!r}.",
        )
    with telling(target):
        holder = target.parent
        while makes_folders and not holder.exists():
            holder = holder.parent
        if not holder.is_dir():
            what = "a file" if holder.exists() else "nothing there"
            raise MissingFileError(
                f"Expected {str(holder)!r} to be a folder, to write {target.name!r} in, got "
                f"{what}.",
                "Make the folder first, or choose another path.",
            )


def file_at(path: str | os.PathLike[str]) -> Path:
    """The path of a file, which does not end as that of a folder does.

    Raises:
        InvalidArgumentError: It does.
    """
    text = os.fspath(path)
    if text.endswith(os.sep):
        raise InvalidArgumentError(
            f"Expected a path to write to, got {text!r}, which names a folder.",
            f"Name what is to be in it: {f'{text}student'!r}.",
        )
    return Path(text)


def check_file(target: Path, *, alone: bool = True) -> None:
    """Refuses what is there and is no regular file, nor a link to one.

    Args:
        target: What is to be written.
        alone: Whether it is what somebody named, and no other file goes with it.

    Raises:
        InvalidArgumentError: It is a folder, a device, a FIFO, a socket.
        WriteError: The system does not let see what is there.
    """
    with telling(target):
        what = _kind(target)
    if what:
        inside = f"Name a file in it: {str(target / 'student')!r}."
        raise InvalidArgumentError(
            f"Expected the path of a file, got {str(target)!r}, which is {what}.",
            inside if what == "a folder" and alone else "Choose another path.",
        )


def check_own(draft: Path) -> None:
    """Refuses a draft under a name that others can foresee, unless it is a folder of ours.

    Raises:
        InvalidArgumentError: It is a link, no folder, or another user's.
        WriteError: It is not there, or the system does not let see it.
    """
    with telling(draft):
        found = draft.lstat()
    if not stat.S_ISDIR(found.st_mode):
        got = _named(found.st_mode) or "a file"
    elif found.st_uid != user():
        got = f"one of user {found.st_uid}"
    else:
        return
    raise InvalidArgumentError(
        f"Expected an unfinished folder of yours in {str(draft)!r}, got {got}.",
        "Delete it, or choose a path in a folder that nobody else writes to.",
    )


def where_it_points(target: Path) -> Path:
    """Where a save to ``target`` writes: through a link, to what that points to.

    Raises:
        InvalidArgumentError: The link is another user's, in a folder that all write to.
        WriteError: The system does not let see where it points.
    """
    with telling(target):
        if not target.is_symlink():
            return target
        link, holder = target.lstat(), target.parent.stat()
        of_all = holder.st_mode & stat.S_ISVTX and holder.st_mode & stat.S_IWOTH
        if of_all and link.st_uid not in (user(), holder.st_uid):
            raise InvalidArgumentError(
                f"Expected a file or a link of yours at {str(target)!r}, got a link of user "
                f"{link.st_uid}.",
                "Delete it, or choose a path in a folder that nobody else writes to.",
            )
        _kind(target)  # of links that go round in a circle the system says so
        return target.resolve()


def where_files_point(stem: Path, suffixes: Iterable[str]) -> Path:
    """The same for files that belong together: where all of them are, without their suffixes.

    Raises:
        InvalidArgumentError: Links lead to several places, or are another user's, as above.
        WriteError: The system does not let see where they point.
    """
    files = [(Path(f"{stem}{suffix}"), suffix) for suffix in suffixes]
    with telling(stem):
        if not any(file.is_symlink() for file, _ in files):
            return stem
    ends = {(str(where_it_points(file)), suffix) for file, suffix in files if os.path.lexists(file)}
    stems = {end.removesuffix(suffix) for end, suffix in ends if end.endswith(suffix)}
    if len(stems) == 1 and all(end.endswith(suffix) for end, suffix in ends):
        return Path(stems.pop())
    raise InvalidArgumentError(
        f"Expected files that belong together at {str(stem)!r}, got links that lead to "
        f"{some(sorted(end for end, _ in ends))}.",
        "Delete the links, or give the path that they are to lead to.",
    )


def _kind(path: Path) -> str:
    """What is at ``path``, links followed, '' for a regular file or nothing."""
    try:
        return _named(path.stat().st_mode)
    except FileNotFoundError:
        return ""


def _named(mode: int) -> str:
    return next((what for holds, what in _KINDS.items() if holds(mode)), "")


@contextmanager
def telling(target: Path) -> Iterator[None]:
    """Tells what the system refuses meanwhile as a `WriteError` of ``target``."""
    try:
        yield
    except PurdistError:
        raise
    except OSError as error:
        raise unwritten(target, error) from error


def unwritten(target: Path, error: Exception) -> WriteError:
    """The error for a ``target`` that cannot be written."""
    code = getattr(error, "errno", None) or 0
    return WriteError(
        f"Expected to write {str(target)!r}, got: {os.strerror(code) if code else error}.",
        _REMEDIES.get(code, "Choose a path that you may write to.") + " What was there stays.",
    )
