"""Where nothing can be written, nothing is, and the path is said to be what is wrong."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import purdist
from purdist.storing import replacing
from tests.nets import in_a_process, linear, numbers, program


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


READERS: dict[str, Callable[[Path], object]] = {
    "load_weights": lambda path: purdist.load_weights(student(), path),
    "from_exported": purdist.from_exported,
}
ODD = {
    "": "a path that a file can have",
    "a\0b": "a path that a file can have",
    "x" * 300: "a path that a file can have",
    ".": "",
    "..": "",
    "/": "",
    "folder": "a folder",
    "file/in": "",
    "fifo": "a FIFO|a pipe",
    "loop": "symbolic links",
    "nowhere/w": "",
    "\x1b[2J\nroot: all is well": "",
}
"""Paths, and what is said of them by who is pointed at the file itself."""


@pytest.fixture
def odd(here: Path) -> Path:
    for suffix in ("", ".json"):
        (here / f"folder{suffix}").mkdir(exist_ok=True)
        os.mkfifo(here / f"fifo{suffix}")
        (here / f"loop{suffix}").symlink_to(f"loop{suffix}")
    return here


@pytest.mark.parametrize("path", ODD, ids=[f"path {k}" for k in range(len(ODD))])
@pytest.mark.parametrize("name", [*WRITERS, *READERS])
def test_paths_that_are_odd_are_told_as_ours_and_nothing_is_left(
    name: str, path: str, odd: Path
) -> None:
    before = sorted(odd.rglob("*"))
    call = {**WRITERS, **READERS}[name]
    if name in WRITERS and path.startswith("\x1b"):
        call(Path(path))  # an odd name is a name
        return
    if name == "cache_teacher" and path == "nowhere/w":
        return  # which makes the folders on its way
    with pytest.raises(purdist.PurdistError) as caught:
        call(path)  # type: ignore[arg-type]
    first, *rest = str(caught.value).split("\n")
    assert "\x1b" not in first
    assert len(rest) == 1
    if name != "cache_teacher":
        assert re.search(ODD[path], first)
    assert sorted(odd.rglob("*")) == before


READ_ONLY = """
    import os, paddle
    from pathlib import Path
    from tests.unit import test_storing as cases
    import purdist

    paddle.enable_static()

    def write_and_read():
        for name, write in cases.WRITERS.items():
            try:
                write(Path(name))
            except purdist.WriteError as error:
                yield name, str(error).partition(", got: ")[2].partition(".")[0]
        for path, name in (("saved", "load_weights"), ("exported", "from_exported")):
            network = cases.READERS[name](Path(FOLDER) / path)
            yield path, list(network.run({"x": cases.numbers(0, 4, 6)}, ["logits"]))

    os.mkdir(OTHER)
    os.chdir(OTHER)
    list(write_and_read())  # imports all that it needs, which another user may not
    os.chdir(FOLDER)
    os.environ["HOME"] = FOLDER
    if not os.geteuid():
        os.setuid(65534)
    for said in write_and_read():
        print(*said)
"""


def test_a_folder_and_a_home_that_cannot_be_written_to_are_read_from(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    purdist.save_weights(student(), folder / "saved")
    purdist.export(student(), folder / "exported", ["logits"])
    before = sorted(folder.iterdir())
    for holder in (folder, *list(folder.parents)[:-1]):
        mode = holder.stat().st_mode
        if holder == folder or mode & 0o005 != 0o005:
            holder.chmod(0o555 if holder == folder else 0o755)
    code = textwrap.dedent(READ_ONLY).replace("FOLDER", repr(str(folder)))
    said = in_a_process(code.replace("OTHER", repr(str(tmp_path / "other"))))
    folder.chmod(0o755)
    assert said.splitlines() == [
        "save_weights Permission denied",
        "export Permission denied",
        "cache_teacher Permission denied",
        "saved ['logits']",
        "exported ['logits']",
    ]
    assert sorted(folder.iterdir()) == before
