"""Whatever is put on disk: written beside its target and renamed, so that nothing is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the file system of ``target``, to write in and rename from; then it is gone."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write, which becomes ``target`` at the end: a reader never sees half of a file.

    Where writing raises, ``target`` stays what it was.
    """
    with folder_beside(target) as folder:
        draft = folder / target.name
        yield draft
        draft.replace(target)
