"""Files are whole or what they were: through kills, full disks, links and other users' drafts."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import purdist
from purdist import storing
from purdist.storing import draft_folders, drafts
from tests.profiles import SLOW

KILLS = 50 if SLOW else 5


def save(path: Path, text: str) -> None:
    with storing.replacing(path) as draft:
        draft.write_text(text)


def save_pair(folder: Path, text: str) -> None:
    with storing.folder_beside(folder / "pair") as draft:
        for name in ("one", "two"):
            (draft / name).write_text(text)
        storing.place(draft, folder)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@contextmanager
def limited(size: int) -> Iterator[None]:
    """A file of this process holds so many bytes and no more, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# --- modes and links --------------------------------------------------------------------


def test_a_new_file_has_the_mode_that_the_umask_gives_and_one_that_is_there_keeps_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "w"
    for mask in (0o022, 0o077, 0o002):
        with umask(mask):
            save(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        for mode in (0o600, 0o640, 0o644, 0o444):
            path.chmod(mode)
            save(path, "again")
            assert stat.S_IMODE(path.stat().st_mode) == mode
        path.unlink()


def test_a_save_through_a_link_writes_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for there in (True, False):
        target, link, chain = (tmp_path / name for name in ("folder/file", "link", "chain"))
        if there:
            target.write_text("before")
        link.symlink_to(Path("folder/file"))
        chain.symlink_to(link)
        save(chain, "new")
        assert target.read_text() == "new"
        assert link.is_symlink()
        assert chain.is_symlink()
        for path in (target, link, chain):
            path.unlink()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


def test_links_that_lead_back_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(purdist.WriteError) as caught:
        save(tmp_path / "a", "new")
    assert str(caught.value) == (
        f"Expected to write {str(tmp_path / 'a')!r}, got: Too many levels of symbolic links.\n"
        "Choose another path: the links on the way there lead back to themselves. What was there "
        "stays."
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_link_of_another_user_where_all_write_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a key")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "w"
    link.symlink_to(tmp_path / "mine")
    os.chown(link, 4321, 4321, follow_symlinks=False)
    with pytest.raises(purdist.InvalidArgumentError, match="got a link of user 4321"):
        save(link, "new")
    assert (tmp_path / "mine").read_text() == "a key"
    shared.chmod(0o755)
    save(link, "new")
    assert (tmp_path / "mine").read_text() == "new"


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("a FIFO", os.mkfifo),
        ("a socket", lambda path: socket.socket(socket.AF_UNIX).bind(str(path))),
        ("a device", lambda path: path.symlink_to("/dev/null")),
        ("a folder", Path.mkdir),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_regular_file_is_refused(
    what: str, make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path("w"))
    before = Path("w").stat()
    with pytest.raises(purdist.InvalidArgumentError, match=f"', which is {what}"):
        save(Path("w"), "new")
    assert Path("w").stat().st_mode == before.st_mode
    assert names(tmp_path) == ["w"]
    if not Path("w").is_symlink():
        Path("w").rename("one")
        with pytest.raises(purdist.InvalidArgumentError, match=f"one', which is {what}"):
            save_pair(tmp_path, "new")
        assert names(tmp_path) == ["one"]


# --- what the system refuses ------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("x" * 300, "File name too long.\nChoose a shorter name. What was there stays."),
        ("x" * 300 + "/w", "File name too long.\nChoose a shorter name. What was there stays."),
    ],
)
def test_names_that_are_too_long(path: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(purdist.WriteError) as caught:
        save(tmp_path / path, "new")
    assert str(caught.value) == f"Expected to write {str(tmp_path / path)!r}, got: {text}"
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == []


def test_names_that_are_odd(tmp_path: Path) -> None:
    for name in ("x" * 255, "naïve 文件", "a\nb", ".hidden", "-f"):
        save(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
    with pytest.raises(purdist.InvalidArgumentError, match="zero byte"):
        save(tmp_path / "a\0b", "new")


def test_no_room_leaves_what_was_there(tmp_path: Path) -> None:
    for write in (save_one, save_pair):
        write(tmp_path, "before")
        with limited(4000), pytest.raises(purdist.WriteError, match="File too large"):
            write(tmp_path, "x" * 5000)
    assert {(tmp_path / name).read_text() for name in ("w", "one", "two")} == {"before"}
    assert names(tmp_path) == ["one", "two", "w"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(purdist.WriteError, match="Permission denied"):
        save(tmp_path / "w", "new")


# --- drafts that are left behind, and drafts of others ----------------------------------


def save_one(folder: Path, text: str) -> None:
    save(folder / "w", text)


def saving(save: Callable[[Path, str], None], folder: Path) -> None:
    for k in itertools.count():
        save(folder, str(k) * 100_000)


@pytest.mark.parametrize(("save", "files"), [(save_one, ["w"]), (save_pair, ["one", "two"])])
def test_kills_leave_the_last_or_the_new_and_nothing_that_the_next_save_does_not_clean(
    save: Callable[[Path, str], None], files: list[str], tmp_path: Path
) -> None:
    fork = multiprocessing.get_context("fork")
    for k in range(KILLS):
        process = fork.Process(target=saving, args=(save, tmp_path))
        process.start()
        time.sleep(0.02 + 0.003 * (k % 10))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        storing.finish(tmp_path)
        with suppress(FileNotFoundError):  # killed before the first was there
            found = {(tmp_path / name).read_text() for name in files}
            assert len(found) == 1
            assert len(found.pop()) % 100_000 == 0
    save(tmp_path, "end")
    assert names(tmp_path) == files


@pytest.mark.parametrize("step", range(4))
def test_killed_at_any_step_of_placing_it_is_the_old_or_the_new(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pair(tmp_path, "old")
    renames = 0

    def counted(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def renamed(self: Path, target: Path) -> Path:
            nonlocal renames
            if renames == step:
                os.kill(os.getpid(), signal.SIGKILL)
            renames += 1
            return rename(self, target)

        return renamed

    def killed() -> None:
        monkeypatch.setattr(Path, "rename", counted(Path.rename))
        monkeypatch.setattr(Path, "replace", counted(Path.replace))
        save_pair(tmp_path, "new")

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if step < 3 else 0)
    storing.finish(tmp_path)
    expected = "old" if step == 0 else "new"
    assert {(tmp_path / name).read_text() for name in ("one", "two")} == {expected}
    save(tmp_path / "w", "cleans")
    assert names(tmp_path) == ["one", "two", "w"]


def test_a_draft_that_lives_is_left_alone_and_what_is_not_ours_too(tmp_path: Path) -> None:
    (tmp_path / ".purdist-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".purdist-file").touch()
    with storing.replacing(tmp_path / "w") as draft:
        draft.write_text("slow")
        save(tmp_path / "w", "fast")
        assert draft.parent.parent.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "w").read_text() == "slow"
    assert names(tmp_path) == [".purdist-file", ".purdist-link", "w"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_draft_of_another_user_is_neither_taken_nor_cleaned(tmp_path: Path) -> None:
    theirs = tmp_path / f"{draft_folders._PREFIX}theirs"
    (theirs / "committed").mkdir(parents=True)
    (theirs / "committed" / "w").write_text("planted")
    os.chown(theirs, 4321, 4321)
    save(tmp_path / "w", "mine")
    storing.finish(tmp_path)
    assert (tmp_path / "w").read_text() == "mine"
    assert theirs.exists()
    with pytest.raises(purdist.InvalidArgumentError, match="got one of user 4321"):
        storing.check_own(theirs)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(purdist.InvalidArgumentError, match="got a link"):
        storing.check_own(link)


# --- drafts that are not what they seem -------------------------------------------------


def committed(folder: Path, text: str = "draft") -> Path:
    """A draft of a pair that was killed after it was committed, before anything was moved."""

    def killed() -> None:
        drafts._move = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        save_pair(folder, text)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (draft,) = (file for file in folder.iterdir() if file.name.startswith(draft_folders._PREFIX))
    assert (draft / "committed").is_dir()
    return draft


def pair(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in ("one", "two")}


def test_a_draft_that_was_committed_is_finished_by_who_reads(tmp_path: Path) -> None:
    save_pair(tmp_path, "old")
    committed(tmp_path)
    storing.finish(tmp_path)
    assert pair(tmp_path) == {"draft"}
    assert names(tmp_path) == ["one", "two"]


def test_a_draft_whose_targets_were_written_meanwhile_is_never_finished(tmp_path: Path) -> None:
    save_pair(tmp_path, "old")
    committed(tmp_path)
    for name in ("one", "two"):  # by somebody who cannot see the draft
        (tmp_path / f"{name}.x").write_text("newer")
        (tmp_path / f"{name}.x").replace(tmp_path / name)
    storing.finish(tmp_path)
    assert pair(tmp_path) == {"newer"}
    save(tmp_path / "w", "cleans")
    assert pair(tmp_path) == {"newer"}
    assert names(tmp_path) == ["one", "two", "w"]


def test_a_copy_of_a_draft_is_never_finished(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    save_pair(source, "old")
    committed(source)
    subprocess.run(["cp", "-a", str(source), str(copy)], check=True)
    storing.finish(copy)
    assert pair(copy) == {"old"}
    save(copy / "w", "cleans")
    assert names(copy) == ["one", "two", "w"]
    source.rename(tmp_path / "moved")
    storing.finish(tmp_path / "moved")  # which is where it was written, by another name
    assert pair(tmp_path / "moved") == {"draft"}


@pytest.mark.parametrize("step", [1, 2])
def test_what_the_system_refuses_to_move_is_taken_back_or_said_to_be_a_mixture(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pair(tmp_path, "old")
    replace, calls = Path.replace, itertools.count(1)

    def refusing(self: Path, target: Path) -> Path:
        if next(calls) == step:
            raise PermissionError(1, "Operation not permitted")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(purdist.WriteError) as caught:
        save_pair(tmp_path, "new")
    monkeypatch.undo()
    if step == 1:
        assert "What was there stays." in str(caught.value)
        assert pair(tmp_path) == {"old"}
        assert names(tmp_path) == ["one", "two"]
    else:
        assert str(caught.value) == (
            f"Expected to put one and two into {str(tmp_path)!r} together, got, after the first: "
            "Operation not permitted.\n"
            "What is there is a mixture, and is refused where it is read: write it again."
        )
    save_pair(tmp_path, "newer")
    assert pair(tmp_path) == {"newer"}
    assert names(tmp_path) == ["one", "two"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_file_that_a_sticky_folder_keeps_is_refused_before_anything_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pair(tmp_path, "theirs")
    os.chown(tmp_path / "two", 4321, 4321)
    os.chown(tmp_path, 4321, 4321)
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(drafts, "user", lambda: 1234)
    monkeypatch.setattr(drafts, "_tidy", lambda _: None)
    with pytest.raises(purdist.WriteError, match="Operation not permitted"):
        save_pair(tmp_path, "mine")
    monkeypatch.undo()
    assert pair(tmp_path) == {"theirs"}
    assert names(tmp_path) == ["one", "two"]


def test_folders_of_somebodys_with_such_a_name_are_left_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    folder = tmp_path / "folder"
    folder.mkdir()
    planted: dict[str, Callable[[Path], object]] = {
        "notes": lambda draft: (draft / "thesis.txt").write_text("mine"),
        "linked": lambda draft: (draft / "committed").symlink_to(secret),
        "lock": lambda draft: (draft / "lock").symlink_to(tmp_path / "made"),
        "plain": lambda draft: (draft / "committed").mkdir(),
        "nested": lambda draft: (draft / "committed" / "one").mkdir(parents=True),
        "files": lambda draft: (draft / "files").write_text("a file"),
    }
    for mode in (0o700, 0o755):
        for name, plant in planted.items():
            draft = folder / f".purdist-{name}-{mode:o}"
            draft.mkdir(mode)
            draft.chmod(mode)
            plant(draft)
    (folder / ".purdist-plain-700" / "committed" / "one").write_text("planted")
    before = sorted(tmp_path.rglob("*"))
    save_pair(folder, "mine")
    storing.finish(folder)
    after = {path for path in tmp_path.rglob("*") if path.parent != folder or path.is_dir()}
    assert sorted(after) == before
    assert pair(folder) == {"mine"}
    assert (secret / "key").read_text() == "private"
    assert not (tmp_path / "made").exists()


def test_a_temporary_folder_is_gone_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def killed() -> None:
        with storing.scratch() as folder:
            (folder / "graph.json").write_text("{}")
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert len(names(tmp_path)) == 1
    with storing.scratch() as folder:
        assert len(names(tmp_path)) == 1
        (folder / "graph.json").write_text("{}")
    assert names(tmp_path) == []
    for path in (tmp_path / "gone", tmp_path / os.fsdecode(b"\xff")):
        monkeypatch.setattr("tempfile.tempdir", str(path))
        with (
            pytest.raises(purdist.WriteError, match="temporary folder to write to"),
            storing.scratch(),
        ):
            raise AssertionError


def test_a_reader_does_not_wait_long_for_who_only_holds_a_lock(tmp_path: Path) -> None:
    with storing.locked(tmp_path):
        begun = time.monotonic()
        with storing.undisturbed(tmp_path):
            waited = time.monotonic() - begun
    assert waited < 10


# --- locks ------------------------------------------------------------------------------


def _pairs(folder: Path, k: int) -> None:
    for _ in range(KILLS):
        save_pair(folder, str(k) * 1000)


def test_writers_of_one_pair_never_leave_one_mixed(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        processes = [fork.Process(target=_pairs, args=(tmp_path, k)) for k in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert len({(tmp_path / name).read_text() for name in ("one", "two")}) == 1
    assert names(tmp_path) == ["one", "two"]


def test_a_lock_is_held_by_one_and_ends_with_it(tmp_path: Path) -> None:
    entered = threading.Event()

    def wait() -> None:
        with storing.locked(tmp_path):
            entered.set()

    with storing.locked(tmp_path):
        with (
            pytest.raises(purdist.WriteError, match="to be the only one that writes"),
            storing.locked(tmp_path, patience=0.0),
        ):
            raise AssertionError
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()


def test_a_file_in_a_folder_of_ours_is_rewritten_whole(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    for text in ("one", "two"):
        (tmp_path / "manifest.new").write_text("of a call that was killed")
        storing.rewrite(path, text)
        assert path.read_text() == text
        assert names(tmp_path) == ["manifest"]
    with pytest.raises(purdist.WriteError, match="File exists"):
        storing.write_new(path, b"three")
    assert storing.checksum(b"two") == storing.checksum(b"o", storing.checksum(b"tw"))
    assert storing.checksum_of(path) == storing.checksum(b"two")
    path.write_bytes(b"")
    assert storing.checksum_of(path) == storing.checksum(b"") == "00000000"
