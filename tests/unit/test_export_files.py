"""The files of an export are of one export, whole and as they were written: all else is refused."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import paddle
import pytest

import purdist
from purdist.sources import model_files
from tests import nets
from tests.nets import numbers
from tests.profiles import SLOW

GOLDEN = Path(__file__).parent.parent / "golden"
SUFFIXES = (".json", ".manifest", ".pdiparams")
FEED = {"x": numbers(0, 3, 2)}
READS = 1000 if SLOW else 30
KILLS = 50 if SLOW else 4


@cache
def network(seed: int = 3) -> purdist.Program:
    return nets.program(nets.linear(sizes=(2, 2)), seed=seed)


def export(stem: Path, seed: int = 3) -> None:
    purdist.export(network(seed), stem, ["logits"], check=False)


def answer(program: purdist.Program) -> bytes:
    return program.run(FEED, ["logits"])["logits"].tobytes()


def read(stem: Path) -> bytes:
    return answer(purdist.from_exported(stem))


def refused(stem: Path) -> str:
    with pytest.raises(purdist.CorruptFileError) as caught:
        purdist.from_exported(stem)
    return str(caught.value)


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    export(tmp_path / "student")
    return tmp_path / "student"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- what was changed -------------------------------------------------------------------


def test_the_manifest_says_what_the_files_are(stem: Path) -> None:
    said = json.loads(Path(f"{stem}.manifest").read_text())
    assert said["version"] == 1
    for part, suffix in (("graph", ".json"), ("weights", ".pdiparams")):
        content = Path(f"{stem}{suffix}").read_bytes()
        assert said[part] == {"size": len(content), "checksum": purdist.storing.checksum(content)}
    assert read(stem) == answer(network())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_byte_that_is_flipped_or_cut_off_is_found(suffix: str, stem: Path) -> None:
    file = Path(f"{stem}{suffix}")
    whole = file.read_bytes()
    for k in range(len(whole)) if SLOW else range(0, len(whole), 23):
        for damaged in (whole[:k] + bytes([whole[k] ^ (1 << k % 8)]) + whole[k + 1 :], whole[:k]):
            file.write_bytes(damaged)
            refused(stem)
    file.write_bytes(whole)
    read(stem)


def test_a_file_of_another_export_says_what_to_do(stem: Path) -> None:
    other, wider = stem.with_name("other"), stem.with_name("wider")
    export(other, seed=4)
    purdist.export(nets.program(nets.linear(sizes=(2, 3))), wider, ["logits"], check=False)
    for suffix, source in ((".json", wider), (".pdiparams", other), (".manifest", wider)):
        file = Path(f"{stem}{suffix}")
        whole = file.read_bytes()
        shutil.copy(f"{source}{suffix}", file)
        told = Path(f"{stem}.json") if suffix == ".manifest" else file
        assert refused(stem) == (
            f"Expected the file that was exported in {str(told)!r}, got one that was changed "
            "after it was written, or is of another export.\n"
            "Export the model again, or copy all of its files: .json, .pdiparams and .manifest. If "
            "one was changed on purpose, delete the .manifest: nothing is compared then."
        )
        file.write_bytes(whole)
    shutil.copy(f"{other}.pdiparams", f"{stem}.pdiparams")
    Path(f"{stem}.manifest").unlink()
    assert read(stem) == answer(network(4))


@pytest.mark.usefixtures("dynamic")
def test_what_paddle_writes_over_an_export_is_not_taken_for_it(stem: Path) -> None:
    spec = [paddle.static.InputSpec([None, 2], name="x")]
    layer = paddle.jit.to_static(paddle.nn.Linear(2, 2), input_spec=spec, full_graph=True)
    paddle.jit.save(layer, str(stem))
    assert "delete the .manifest" in refused(stem)
    Path(f"{stem}.manifest").unlink()
    purdist.from_exported(stem)


# --- versions ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_an_export_of_each_version_is_read(version: int) -> None:
    sample = GOLDEN / f"export_{version}"
    assert Path(f"{sample}.manifest").exists() == (version > 0)
    assert read(sample) == answer(network())


def test_what_is_written_is_the_last_of_the_versions(stem: Path) -> None:
    for suffix in SUFFIXES:
        sample = (GOLDEN / f"export_{model_files._VERSION}{suffix}").read_bytes()
        assert Path(f"{stem}{suffix}").read_bytes() == sample


def test_a_later_version_is_refused_with_a_word(stem: Path) -> None:
    file = Path(f"{stem}.manifest")
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 7, "signed": "yes"}))
    assert refused(stem) == (
        f"Expected an export of format 1 in {str(file)!r}, got one of format 7.\n"
        "Read it with the purdist that wrote it, or export the model with this one."
    )


# --- paths ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".pdmodel", ".pdiparams", ".manifest"])
def test_a_path_with_a_models_suffix_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"student{suffix}"
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        export(path)
    bare = str(tmp_path / "student")
    assert str(caught.value) == (
        f"Expected a path without the suffix of a model's file, got {str(path)!r}.\n"
        f"Write {bare!r}: the files are {bare + '.json'!r} and {bare + '.pdiparams'!r}."
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("linked", [SUFFIXES, (".json", ".pdiparams"), (".json",)])
def test_an_export_through_links_writes_where_they_point(
    linked: tuple[str, ...], stem: Path
) -> None:
    folder = stem.with_name("folder")
    folder.mkdir()
    for suffix in SUFFIXES:
        Path(f"{stem}{suffix}").rename(folder / f"real{suffix}")
    for suffix in linked:
        Path(f"{stem}{suffix}").symlink_to(folder / f"real{suffix}")
    assert read(stem) == answer(network())
    export(stem, seed=4)
    assert all(Path(f"{stem}{suffix}").is_symlink() for suffix in linked)
    assert names(stem.parent) == sorted(["folder", *(f"student{suffix}" for suffix in linked)])
    assert read(stem) == read(folder / "real") == answer(network(4))
    (folder / "real.json").write_bytes(b"{}")
    refused(stem)


def test_links_that_lead_to_several_places_are_refused_and_may_be_read(stem: Path) -> None:
    real = stem.with_name("blob")
    Path(f"{stem}.json").rename(real)
    Path(f"{stem}.json").symlink_to(real)
    assert read(stem) == answer(network())
    with pytest.raises(purdist.InvalidArgumentError, match=r"got links that lead to .*blob"):
        export(stem, seed=4)
    assert read(stem) == answer(network())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_file_is_neither_written_over_nor_waited_for(suffix: str, stem: Path) -> None:
    file = Path(f"{stem}{suffix}")
    for make in (os.mkfifo, Path.mkdir):  # the folder comes last
        file.unlink(missing_ok=True)
        make(file)
        with pytest.raises(purdist.InvalidArgumentError, match=r"which is a (FIFO|folder)"):
            export(stem, seed=4)
        with pytest.raises(purdist.MissingFileError, match=f"regular file in .*{suffix}"):
            purdist.from_exported(stem)
    file.rmdir()


# --- processes --------------------------------------------------------------------------


PROCESSES = multiprocessing.get_context("forkserver")
"""Forked of one that has run nothing: Paddle does not survive a fork of one that has."""

PROCESSES.set_forkserver_preload([__name__])


def _exporting(stem: Path, seeds: tuple[int, ...]) -> None:
    paddle.enable_static()
    for seed in itertools.cycle(seeds):
        export(stem, seed)


@pytest.mark.parametrize("count", [2, 4])
def test_a_reader_never_sees_a_mixture_whoever_writes_and_is_killed(count: int, stem: Path) -> None:
    whole = {answer(network(seed)) for seed in (3, 4, 5)}

    def start(*seeds: int) -> multiprocessing.process.BaseProcess:
        process = PROCESSES.Process(target=_exporting, args=(stem, seeds))
        process.start()
        return process

    writers = [start(3 + k % 2, 5) for k in range(count - 1)]
    found = set()
    for k in range(READS):
        found.add(read(stem))
        if k % (READS // KILLS) == 0:
            killed = writers.pop(0)
            assert killed.pid is not None
            os.kill(killed.pid, signal.SIGKILL)
            killed.join()
            assert killed.exitcode == -signal.SIGKILL
            writers.append(start(3 + k % 3, 4))
    for writer in writers:
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
    assert found <= whole
    assert len(found) > 1
    assert read(stem) in whole
    export(stem)
    assert names(stem.parent) == [f"student{suffix}" for suffix in SUFFIXES]


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "export": export,
    "save_weights": lambda path, seed: purdist.save_weights(network(seed), path),
}
READERS: dict[str, Callable[[Path], bytes]] = {
    "export": read,
    "save_weights": lambda path: answer(purdist.load_weights(network(), path)),
}


def _writing(writer: str, path: Path) -> None:
    paddle.enable_static()
    for seed in itertools.cycle((3, 4)):
        WRITERS[writer](path, seed)


@pytest.mark.parametrize("writer", WRITERS)
def test_kills_leave_the_last_or_the_new(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "w"
    WRITERS[writer](path, 3)
    (first, *others) = tmp_path.iterdir()
    whole = {answer(network(seed)) for seed in (3, 4)}
    for k in range(KILLS):
        before = first.stat().st_mtime_ns
        process = PROCESSES.Process(target=_writing, args=(writer, path))
        process.start()
        while first.stat().st_mtime_ns == before:  # until it has begun
            time.sleep(0.01)
        time.sleep(0.007 * (k % 20))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert READERS[writer](path) in whole
    WRITERS[writer](path, 3)
    assert READERS[writer](path) == answer(network(3))
    assert len(names(tmp_path)) == 1 + len(others)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_may_only_be_read_is_read(stem: Path) -> None:
    stem.parent.chmod(0o555)
    assert read(stem) == answer(network())
    stem.parent.chmod(0o755)
