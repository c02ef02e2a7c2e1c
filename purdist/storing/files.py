"""Single files: written and synced, their checksums, and locks."""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from purdist.errors import WriteError
from purdist.storing.targets import telling

_PATIENCE = 60.0
"""How many seconds a lock is waited for that others hold while they rename a few files."""

QUICKLY = 2.0
"""How many seconds a reader waits for who moves files: anybody who may read can hold a lock."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Without blocking: opening a FIFO would wait for somebody who writes to it."""


def open_regular(path: Path) -> int | None:
    """A file to read from, as the system's number of it; None of a folder, a FIFO, a device.

    Raises:
        OSError: The system does not open it.
    """
    number = os.open(path, _FLAGS)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    return None


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Writes a file that is not there yet, to its end, and syncs it.

    Raises:
        WriteError: The system refuses, or something is there.
    """
    with telling(path), path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def rewrite(path: Path, text: str) -> None:
    """Puts ``text`` into a file in a folder of ours; until it is whole the last one is there.

    The draft has one name: who is killed leaves a single one behind, which the next call takes.

    Raises:
        WriteError: The system refuses.
    """
    draft = path.with_name(f"{path.name}.new")
    with telling(path):
        draft.unlink(missing_ok=True)
        write_new(draft, text.encode())
        rename(draft, path)


def rename(draft: Path, target: Path) -> None:
    """Gives what is whole and synced its name.

    Raises:
        WriteError: The system refuses.
    """
    with telling(target):
        draft.replace(target)
        sync(target.parent)


def make_folders(path: Path) -> None:
    """Makes a folder that is not there, and those that it is to be in.

    Raises:
        WriteError: The system refuses.
    """
    with telling(path):
        if not path.is_dir():
            make_folders(path.parent)
            path.mkdir(exist_ok=True)
            sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk, where the system can tell."""
    if os.name == "nt":  # which opens no folders
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a network's file system
            raise
    finally:
        os.close(opened)


def checksum(content: bytes | memoryview, before: str = "") -> str:
    """Of ``content``, which follows what ``before`` is that of. It finds damage, not forgery.

    CRC-32 takes about a second for a gigabyte, SHA-256 up to nine.
    """
    return f"{zlib.crc32(content, int(before or '0', 16)):08x}"


def checksum_of(path: Path) -> str:
    """That of a whole file."""
    with path.open("rb") as file:
        return checksum_in(file)


def checksum_in(file: BinaryIO) -> str:
    """That of what is left of an open file."""
    found = checksum(b"")
    while chunk := file.read(1 << 22):
        found = checksum(chunk, found)
    return found


@contextmanager
def locked(path: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """Of all threads and processes that say so of ``path``, one goes on at a time.

    The lock ends with its process. Where the file system has none, all go on.

    Args:
        path: A file or a folder that is there.
        patience: How many seconds to wait for who has it.

    Raises:
        WriteError: Somebody has it for longer, or ``path`` cannot be opened.
    """
    if os.name == "nt":
        yield
        return
    with telling(path):
        opened = os.open(path, os.O_RDONLY)
    try:
        if not _waited(opened, patience, shared=False):
            raise WriteError(
                f"Expected to be the only one that writes to {str(path)!r}, got another "
                "process or thread that does.",
                "Wait until it has ended, or choose another path.",
            )
        yield
    finally:
        os.close(opened)


@contextmanager
def undisturbed(folder: Path) -> Iterator[None]:
    """While nobody who has ``folder`` `locked` moves files in it, as far as the system says so.

    It is for who opens several that belong together, and may read where nobody may write.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:  # what is in it may be read all the same, or says itself what is wrong
        yield
        return
    try:
        _waited(opened, QUICKLY, shared=True)
        yield
    finally:
        os.close(opened)


def _waited(opened: int, patience: float, *, shared: bool) -> bool:
    """Waits for the lock of an open file: whether it came, or there is none."""
    end = time.monotonic() + patience
    while take_lock(opened, shared=shared) is False:
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)
    return True


def take_lock(opened: int, *, shared: bool = False) -> bool | None:
    """Takes the lock of an open file: whether it was free, None where there is no such lock.

    It is held until all that share ``opened`` have closed it or ended.
    """
    try:
        import fcntl  # noqa: PLC0415 - not every system has it

        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(opened, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True
