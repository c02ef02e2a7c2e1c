"""Files of weights: damaged, of other writers and versions, huge, and on a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import struct
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import paddle
import pytest
from safetensors.numpy import save_file

import purdist
from purdist.weight_files import WeightFile
from tests import nets
from tests.nets import moved, weights
from tests.unit.test_drafts import limited

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = sorted(GOLDEN.glob("weights_*.safetensors"))


@cache
def network() -> purdist.Program:
    return nets.program(nets.linear(sizes=(2, 2)), seed=3)


@cache
def large(seed: int = 0) -> purdist.Program:
    return nets.program(nets.linear(sizes=(64, 500)), seed=seed)


def refused(path: Path) -> str:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.load_weights(network(), path)
    return str(caught.value)


@pytest.mark.parametrize("sample", VERSIONS, ids=lambda path: path.stem)
def test_a_file_of_each_version_is_read(sample: Path) -> None:
    assert moved(weights(network()), weights(purdist.load_weights(network(), sample))) == set()


def test_what_is_written_is_the_last_of_the_versions(tmp_path: Path) -> None:
    purdist.save_weights(network(), tmp_path / "w")
    written, sample = (path.read_bytes() for path in (tmp_path / "w", VERSIONS[-1]))
    assert written == sample
    assert len(VERSIONS) == 2


@pytest.mark.parametrize("changed", [0x01, 0x20, 0x80, 0xFF])
def test_each_byte_that_is_flipped_is_found(changed: int, tmp_path: Path) -> None:
    path, whole = tmp_path / "w", VERSIONS[-1].read_bytes()
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ changed]) + whole[k + 1 :])
        refused(path)


def test_a_later_version_is_refused_with_a_word(tmp_path: Path) -> None:
    path, whole = tmp_path / "w", VERSIONS[-1].read_bytes()
    path.write_bytes(whole.replace(b'"purdist":"1 ', b'"purdist":"7 '))
    assert refused(path) == (
        f"Expected weights of format 1 in {str(path)!r}, got those of format 7, which a later "
        "purdist wrote.\n"
        "Read them with that purdist, or save them with this one."
    )


def test_what_another_library_wrote_is_read(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file(weights(network()), tmp_path / "w", metadata)
        loaded = purdist.load_weights(network(), tmp_path / "w")
        assert moved(weights(network()), weights(loaded)) == set()


def written(path: Path, header: object, size: int = 0) -> Path:
    """A file with this header, its weights a hole of ``size`` bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + size)
    return path


def entry(size: int, dtype: str = "F32", at: int = 0) -> dict[str, object]:
    return {"dtype": dtype, "shape": [size], "data_offsets": [at, at + 4 * size]}


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"w": {}},
        {"w": []},
        {"w": {**entry(2), "shape": [-1, -2]}},
        {"w": {**entry(2), "shape": [True, 2]}},
        {"w": {**entry(2), "shape": 2}},
        {"w": {**entry(2), "dtype": ["F32"]}},
        {"w": {**entry(2), "data_offsets": [0, 4]}},
        {"w": {**entry(2), "data_offsets": [4, 12]}},
        {"w": {**entry(2), "data_offsets": [0, "8"]}},
        {"w": entry(2), "v": entry(2)},
        {"w": {**entry(2), "shape": [2, 10**40]}},
        {"__metadata__": 3, "w": entry(2)},
        b"[" * 100_000,
        b'{"w": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"",
    ],
)
def test_headers_that_mean_nothing(header: object, tmp_path: Path) -> None:
    assert "Expected a safetensors file" in refused(written(tmp_path / "w", header, 8))


def test_sizes_are_compared_before_anything_large_is_read(tmp_path: Path) -> None:
    sparse = written(tmp_path / "sparse", {"w": entry(1 << 30)}, 4 << 30)
    headed = tmp_path / "headed"
    headed.write_bytes(struct.pack("<Q", 90_000_000))
    os.truncate(headed, 90_000_008)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert "got none for 2 of them" in refused(sparse)
    assert "got a header of 90000000 bytes, where 16777216 are the most" in refused(headed)
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_names_of_strangers_are_cut_short_and_printable(tmp_path: Path) -> None:
    text = refused(written(tmp_path / "w", {"\x1b[2J\nroot: all is well" * 50_000: entry(2)}, 8))
    assert len(text) < 1000
    assert "\x1b" not in text
    assert "\nroot" not in text
    odd = {"dense_0.w": {**entry(4), "dtype": "F\x1b" * 5000, "shape": [2, 2]}}
    text = refused(written(tmp_path / "w", odd, 16))
    assert len(text) < 1000
    assert "\x1b" not in text


def test_at_most_twenty_faults_are_told(tmp_path: Path) -> None:
    many = nets.program(nets.linear(sizes=(3,) * 40))
    other = nets.program(nets.linear(sizes=(4,) * 40))
    purdist.save_weights(other, tmp_path / "w")
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        purdist.load_weights(many, tmp_path / "w")
    assert len(caught.value.faults) == 20


# --- a disk that is full ----------------------------------------------------------------

WRITERS: dict[str, Callable[[purdist.Program, Path], object]] = {
    "save_weights": purdist.save_weights,
    "export": lambda network, path: purdist.export(network, path, ["logits"]),
    "the graph of an export": lambda network, path: purdist.export(network, path, ["logits"]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_no_room_leaves_what_was_there(writer: str, tmp_path: Path) -> None:
    write, path = WRITERS[writer], tmp_path / "w"
    write(large(1), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for size in (500,) if "graph" in writer else (50_000, 100_000):
        with limited(size), pytest.raises(purdist.WriteError):
            write(large(2), path)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(large(2), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} != before


def test_a_teacher_that_is_not_written_whole_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    teacher = nets.program(nets.linear("y", sizes=(64, 500)))
    merged = purdist.merge(teacher, large(), {"y": "x"})
    distillation = purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")])
    with limited(50_000), pytest.raises(purdist.WriteError, match="write 'teacher"):
        purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), teacher="inference")
    assert not [*tmp_path.iterdir()]


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    purdist.save_weights(large(), path)
    with path.open("rb") as opened:
        file = WeightFile.of(opened, path)
        os.truncate(path, 100_000)
        with pytest.raises(purdist.CorruptFileError, match="ends while it is read"):
            list(file.weights())
