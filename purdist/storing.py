"""Whatever is put on disk: written beside its target and renamed, so that nothing is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purdist.errors import InvalidArgumentError, MissingFileError


def check_target(target: Path, *, makes_folders: bool = False) -> None:
    """Refuses a path that nothing can be written to.

    Args:
        target: What is to be written.
        makes_folders: Whether folders on the way there are made.

    Raises:
        InvalidArgumentError: It has no name at its end.
        MissingFileError: What it is to be in is no folder.
    """
    if target.name in ("", ".."):
        raise InvalidArgumentError(
            f"Expected a path to write to, got {str(target)!r}, which names a folder.",
            f"Name what is to be in it: {str(target / 'student')!r}.",
        )
    holder = target.parent
    while makes_folders and not holder.exists():
        holder = holder.parent
    if not holder.is_dir():
        what = "a file" if holder.exists() else "nothing there"
        raise MissingFileError(
            f"Expected {str(holder)!r} to be a folder, to write {target.name!r} in, got {what}.",
            "Make the folder first, or choose another path.",
        )


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the file system of ``target``, to write in and rename from; then it is gone.

    Raises:
        PurdistError: Nothing can be written there, as in `check_target`.
    """
    check_target(target)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write, which becomes ``target`` at the end: a reader never sees half of a file.

    Where writing raises, ``target`` stays what it was.

    Raises:
        InvalidArgumentError: A folder is there.
        PurdistError: Nothing can be written there, as in `check_target`.
    """
    with folder_beside(target) as folder:
        if target.is_dir():
            raise InvalidArgumentError(
                f"Expected the path of a file, got {str(target)!r}, which is a folder.",
                f"Name a file in it: {str(target / 'student')!r}.",
            )
        draft = folder / target.name
        yield draft
        draft.replace(target)


def rewrite(target: Path, text: str) -> None:
    """Puts ``text`` into a file that is written often; until it is whole the last one is there.

    The draft has one name: who is killed leaves a single one behind, which the next call takes.
    """
    draft = target.with_name(f"{target.name}.new")
    draft.write_text(text)
    draft.replace(target)
