"""Where nothing can be written, nothing is, and the path is said to be what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import purdist
from purdist.storing import replacing
from tests.nets import linear, numbers, program


@cache
def student() -> purdist.Program:
    return program(linear(), seed=2)


@cache
def distilled() -> purdist.Distillation:
    merged = purdist.merge(program(linear("y"), seed=1), student(), {"y": "x"})
    return purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])


WRITERS: dict[str, Callable[[Path], object]] = {
    "save_weights": lambda path: purdist.save_weights(student(), path),
    "export": lambda path: purdist.export(student(), path, ["logits"]),
    "cache_teacher": lambda path: purdist.cache_teacher(
        distilled(), [{"x": numbers(0, 4, 6)}], path
    ),
}

NO_FOLDER = "Expected 'nowhere' to be a folder, to write 'w' in, got nothing there.\n"
A_FILE = "Expected 'file' to be a folder, to write 'w' in, got a file.\n"
MAKE = "Make the folder first, or choose another path."
NAMELESS = "Expected a path to write to, got {!r}, which names a folder.\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("nowhere/w", purdist.MissingFileError, NO_FOLDER + MAKE),
        ("file/w", purdist.MissingFileError, A_FILE + MAKE),
        (
            ".",
            purdist.InvalidArgumentError,
            NAMELESS.format(".") + "Name what is to be in it: 'student'.",
        ),
        (
            "..",
            purdist.InvalidArgumentError,
            NAMELESS.format("..") + "Name what is to be in it: '../student'.",
        ),
    ],
)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_path_that_nothing_can_be_written_to(
    writer: str, path: str, kind: type[purdist.PurdistError], text: str, here: Path
) -> None:
    if (writer, path) == ("cache_teacher", "nowhere/w"):
        return  # which makes the folders on its way
    with pytest.raises(purdist.PurdistError) as caught:
        WRITERS[writer](Path(path))
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert sorted(file.name for file in here.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("write", [purdist.save_weights, purdist.export])
def test_a_path_that_ends_as_that_of_a_folder_does(write: Any, here: Path) -> None:
    outputs = {"outputs": ["logits"]} if write is purdist.export else {}
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        write(student(), "folder/", **outputs)
    assert str(caught.value) == (
        NAMELESS.format("folder/") + "Name what is to be in it: 'folder/student'."
    )
    assert sorted(file.name for file in here.rglob("*")) == ["file", "folder"]


def test_a_folder_where_a_file_is_to_be(here: Path) -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        WRITERS["save_weights"](Path("folder"))
    assert str(caught.value) == (
        "Expected the path of a file, got 'folder', which is a folder.\n"
        "Name a file in it: 'folder/student'."
    )
    assert sorted(file.name for file in here.rglob("*")) == ["file", "folder"]


def test_what_fails_while_it_is_written_leaves_what_was_there(here: Path) -> None:
    (here / "file").write_text("before")

    def write_half() -> None:
        with replacing(here / "file") as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert (here / "file").read_text() == "before"
    assert sorted(file.name for file in here.rglob("*")) == ["file", "folder"]
