"""A cache is what the program and the data say: all else is refused, and no call is in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import pytest

import purdist
from purdist.arrays import Feed
from purdist.teachers.blocks import header
from tests.nets import ROOT, in_a_process, linear, numbers, program
from tests.profiles import SLOW

ROWS = numbers(3, 10, 6)
SIZES = (4, 4, 2)


@cache
def distilled(seed: int = 1) -> purdist.Distillation:
    teacher = program(linear("y"), seed=seed)
    merged = purdist.merge(teacher, program(linear(), seed=2), {"y": "x"})
    return purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])


@cache
def expected() -> npt.NDArray[Any]:
    return distilled().program.run({"x": ROWS}, ["teacher_logits"])["teacher_logits"]


def batches(sizes: tuple[int, ...] = SIZES) -> list[Feed]:
    ends = np.cumsum(sizes)
    return [{"x": ROWS[end - size : end]} for size, end in zip(sizes, ends, strict=True)]


def cached(path: Path, **other: Any) -> purdist.TeacherCache:
    return purdist.cache_teacher(distilled(**other), batches(), path)


def numbers_of(path: Path) -> npt.NDArray[Any]:
    """All that is in a cache, after a call on it."""
    return np.asarray(cached(path)[:]["teacher_logits"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def good(path: Path) -> Path:
    """A finished cache."""
    return cached(path).path


def test_the_files_are_numpys_own(good: Path) -> None:
    blocks = [np.load(good / f"{k}.0.npy", allow_pickle=False) for k in range(3)]
    assert [len(block) for block in blocks] == list(SIZES)
    np.testing.assert_allclose(np.concatenate(blocks), expected(), rtol=1e-5, atol=1e-6)
    names = {"manifest.json", "blocks.jsonl", *(f"{k}.0.npy" for k in range(3))}
    assert {file.name for file in good.iterdir()} == names


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint16", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (5, 1, 7), (123456, 10**9, 2, 3, 4, 5)])
def test_a_header_is_what_numpy_reads(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(header(np.dtype(dtype), shape))
    with (tmp_path / "file").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype(dtype))
        assert not file.read()
        assert file.tell() % 64 == 0


# --- damage -------------------------------------------------------------------------------


def test_every_byte_that_is_flipped_is_found(good: Path) -> None:
    believed = []
    for file in sorted(good.iterdir()):
        content = file.read_bytes()
        for k in range(len(content)) if SLOW else range(0, len(content), 7):
            file.write_bytes(content[:k] + bytes([content[k] ^ (1 << k % 8)]) + content[k + 1 :])
            try:
                numbers_of(good)
            except (purdist.CorruptFileError, purdist.StaleCacheError):
                continue
            finally:
                file.write_bytes(content)
            believed.append((file.name, k))
    assert believed == []
    numbers_of(good)


def test_every_cut_is_found(good: Path) -> None:
    believed = []
    for file in sorted(good.iterdir()):
        content = file.read_bytes()
        for k in range(len(content)) if SLOW else range(0, len(content), 11):
            file.write_bytes(content[:k])
            try:
                numbers_of(good)
            except (purdist.CorruptFileError, purdist.StaleCacheError):
                continue
            believed.append((file.name, k))
        file.write_bytes(content)
    assert believed == []


def test_a_file_that_shrinks_under_its_reader_is_an_error(path: Path) -> None:
    found = cached(path)
    found[:]
    os.truncate(path / "0.0.npy", 150)
    with pytest.raises(purdist.CorruptFileError, match="cut off"):
        found[:]


def test_an_old_cache_object_never_reads_another_caches_rows(path: Path) -> None:
    many = [{"x": ROWS[k % 10 : k % 10 + 1]} for k in range(300)]  # more than may be open
    old = purdist.cache_teacher(distilled(), many, path)
    before = old[:]["teacher_logits"]
    shutil.rmtree(path)
    purdist.cache_teacher(distilled(3), many, path)
    with pytest.raises(purdist.CorruptFileError, match="changed after it was written"):
        old[:]
    shutil.rmtree(path)
    purdist.cache_teacher(distilled(), many, path)
    np.testing.assert_array_equal(old[:]["teacher_logits"], before)


def test_what_may_not_be_read_is_not_said_to_be_damaged(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(purdist.MissingFileError) as caught:
        cached(good)
    assert str(caught.value) == (
        f"Expected a teacher cache that can be read in {str(good)!r}, got, of 'manifest.json': "
        "Permission denied.\n"
        "Ask whose it is for the right to read it, or choose another path."
    )


def test_what_is_no_cache_says_what_it_is(path: Path) -> None:
    path.write_text("import purdist")
    with pytest.raises(purdist.StaleCacheError) as caught:
        cached(path)
    assert str(caught.value) == (
        f"Expected a teacher cache in {str(path)!r}, got what is no folder.\nChoose another path."
    )


def test_what_is_found_in_training_is_told_there(path: Path) -> None:
    found = cached(path)
    training = purdist.minimize(distilled(), _sgd, teacher=found)
    file = path / "1.0.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    feeds: list[Feed] = [
        {"x": ROWS[k : k + 4], "teacher_sample": np.arange(k, k + 4)} for k in (0, 4)
    ]
    steps = purdist.train(training, feeds)
    next(steps)
    with pytest.raises(purdist.CorruptFileError, match=r"1\.0\.npy.*changed after it was written"):
        next(steps)


def _sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


def test_more_files_than_may_be_open_at_once(path: Path) -> None:
    many = [{"x": ROWS[k % 10 : k % 10 + 1]} for k in range(300)]
    found = purdist.cache_teacher(distilled(), many, path)
    order = np.random.RandomState(0).permutation(300)
    before = len(list(Path("/proc/self/fd").iterdir()))
    np.testing.assert_allclose(
        found[order]["teacher_logits"], expected()[order % 10], rtol=1e-5, atol=1e-6
    )
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 128
    del found
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


# --- what others planted ------------------------------------------------------------------


def manifest(folder: Path, **new: Any) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **new}))


def journal(folder: Path, **new: Any) -> None:
    """The first block said to be another one, with a checksum that is right."""
    file = folder / "blocks.jsonl"
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join([json.dumps({**json.loads(first), **new}) + "\n", *others]))
    manifest(folder, checksum=purdist.storing.checksum(file.read_bytes()))


def fifo(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


def sparse(folder: Path, name: str) -> None:
    os.truncate(folder / name, 1 << 40)


PLANTED: dict[str, Callable[[Path], object]] = {
    "objects": lambda folder: manifest(folder, dtypes=["object"]),
    "dtype O": lambda folder: manifest(folder, dtypes=["O"]),
    "another dtype of the same size": lambda folder: manifest(folder, dtypes=["int32"]),
    "another shape of the same size": lambda folder: manifest(folder, shapes=[[2, 2]]),
    "a block of another shape": lambda folder: journal(folder, shapes=[[2, 2]]),
    "a block of huge rows": lambda folder: journal(folder, shapes=[[10**400]]),
    "a block of many sizes": lambda folder: journal(folder, shapes=[[1] * 20_000]),
    "a block of many rows": lambda folder: journal(folder, rows=10**11),
    "a block of no rows": lambda folder: journal(folder, rows=0),
    "a block of fewer digests": lambda folder: journal(folder, shapes=[], checksums=[]),
    "a block that is another's": lambda folder: journal(folder, data="0" * 64),
    "other names": lambda folder: manifest(folder, names=["\x1b[2J\nteacher"]),
    "rows": lambda folder: manifest(folder, rows=10**11),
    "blocks": lambda folder: manifest(folder, blocks=10**11),
    "a text for a number": lambda folder: manifest(folder, rows="10"),
    "a field too many": lambda folder: manifest(folder, pickle="x"),
    "deep": lambda folder: (folder / "manifest.json").write_text("[" * 10**5),
    "deep journal": lambda folder: (folder / "blocks.jsonl").write_text("[" * 10**5),
    "no table": lambda folder: (folder / "manifest.json").write_text("[]"),
    "a manifest that is a FIFO": lambda folder: fifo(folder, "manifest.json"),
    "a journal that is a FIFO": lambda folder: fifo(folder, "blocks.jsonl"),
    "a block that is a FIFO": lambda folder: fifo(folder, "1.0.npy"),
    "a sparse manifest": lambda folder: sparse(folder, "manifest.json"),
    "a sparse journal": lambda folder: sparse(folder, "blocks.jsonl"),
    "a sparse block": lambda folder: sparse(folder, "1.0.npy"),
    "a later format": lambda folder: manifest(folder, version=3),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_was_planted_is_refused(what: str, good: Path) -> None:
    PLANTED[what](good)
    begun = time.process_time()
    with pytest.raises((purdist.StaleCacheError, purdist.CorruptFileError)) as caught:
        numbers_of(good)
    assert time.process_time() - begun < 1.0
    assert len(str(caught.value)) < 2000
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


NAMED = {
    "objects",
    "dtype O",
    "another dtype of the same size",
    "another shape of the same size",
    "a block that is another's",
    "other names",
    "a later format",
}
"""What is of something else. All others were cut off: what is whole of them is gone on with."""


@pytest.mark.parametrize("what", PLANTED)
def test_what_was_planted_unfinished_is_refused_or_made_anew(
    what: str, good: Path, path: Path
) -> None:
    draft = path.with_name("cache.part")
    good.rename(draft)
    PLANTED[what](draft)
    if what in NAMED:
        with pytest.raises(purdist.StaleCacheError, match=r"cache\.part(.|\n)*elete"):
            numbers_of(path)
        assert not path.exists()
    else:
        np.testing.assert_allclose(numbers_of(path), expected(), rtol=1e-5, atol=1e-6)
        assert not draft.exists()


def test_a_cache_of_the_earlier_format_is_to_be_made_anew(path: Path) -> None:
    path.mkdir()
    old = {"teacher": "0" * 64, "names": ["teacher_logits"], "batches": 1, "rows": 10}
    (path / "manifest.json").write_text(json.dumps({**old, "shapes": [[4]], "dtypes": ["float32"]}))
    (path / "0.bin").write_bytes(bytes(160))
    with pytest.raises(purdist.StaleCacheError) as caught:
        cached(path)
    assert str(caught.value) == (
        f"Expected a cache of format 2 in {str(path)!r}, got one of an earlier format.\n"
        "Delete it and make it anew with cache_teacher."
    )


def test_a_teacher_of_other_shapes_is_another_one(path: Path) -> None:
    paddle.disable_static()

    class Scaled(paddle.nn.Layer):
        def __init__(self, shape: list[int]) -> None:
            super().__init__()
            self.scale = self.create_parameter(shape)
            self.scale.set_value(np.array([1, 2], "float32").reshape(shape))

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return (x[:, :4].reshape([-1, 2, 2]) * self.scale).flatten(1)

    inputs = {"x": paddle.static.InputSpec([None, 6])}
    student = purdist.from_layer(paddle.nn.Linear(6, 4), inputs)

    def of(shape: list[int]) -> purdist.TeacherCache:
        teacher = purdist.from_layer(Scaled(shape), inputs)
        merged = purdist.merge(teacher, student, {"x": "x"})
        loss = purdist.KDLoss("teacher_output", "output")
        return purdist.cache_teacher(purdist.apply(merged, [loss]), batches(), path)

    of([2, 1])
    with pytest.raises(purdist.StaleCacheError, match="the teacher's graph and weights are others"):
        of([1, 2])


# --- drafts -------------------------------------------------------------------------------


def test_a_first_call_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "cache"
    with pytest.raises(purdist.ShapeMismatchError):
        purdist.cache_teacher(distilled(), [{"x": ROWS[:, :3]}], path)
    assert list(tmp_path.iterdir()) == []
    cached(path)


def test_what_a_users_batches_raise_is_left_alone(path: Path) -> None:
    def dying() -> Any:
        yield batches()[0]
        raise FileNotFoundError("an image")

    with pytest.raises(FileNotFoundError, match="an image") as caught:
        purdist.cache_teacher(distilled(), dying(), path)
    assert not isinstance(caught.value, purdist.PurdistError)
    np.testing.assert_allclose(numbers_of(path), expected(), rtol=1e-5, atol=1e-6)


def test_an_unfinished_cache_of_another_teacher_is_named(path: Path) -> None:
    def dying() -> Any:
        yield batches()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purdist.cache_teacher(distilled(3), dying(), path)
    with pytest.raises(purdist.StaleCacheError, match=r"cache\.part.*are others"):
        cached(path)
    assert cached(path, seed=3).path == path


def test_a_folder_of_somebodys_is_not_taken_for_a_draft(path: Path) -> None:
    draft = path.with_name("cache.part")
    draft.mkdir()
    (draft / "thesis.txt").write_text("mine")
    with pytest.raises(purdist.StaleCacheError, match=r"thesis\.txt"):
        cached(path)
    assert (draft / "thesis.txt").read_text() == "mine"


def test_a_link_where_the_draft_is_to_be_is_not_followed(tmp_path: Path, path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.with_name("cache.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(purdist.PurdistError):
        cached(path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["0.0.npy", "blocks.jsonl", "blocks.jsonl.new", "manifest.json"])
def test_links_in_a_draft_are_not_followed(name: str, tmp_path: Path, path: Path) -> None:
    (tmp_path / "key").write_text("private")
    draft = path.with_name("cache.part")
    draft.mkdir()
    (draft / name).symlink_to(tmp_path / "key")
    cached(path)
    assert (tmp_path / "key").read_text() == "private"


def test_a_draft_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name("cache.part").mkdir()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(purdist.InvalidArgumentError, match=f"one of user {me}"):
        cached(path)


FULL = """
    import resource, signal
    from pathlib import Path
    import paddle
    from tests.unit import test_cache_files as cases

    paddle.enable_static()
    cases.expected()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in range(0, 900, 75):
        path = Path(FOLDER) / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, whole[1]))
        try:
            cases.cached(path)
        except cases.purdist.WriteError:
            assert not path.exists()
            print("told")
        else:
            print("made")
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
        assert abs(cases.numbers_of(path) - cases.expected()).max() < 1e-5
"""


def test_where_there_is_no_room_an_error_says_so_and_the_next_call_goes_on(tmp_path: Path) -> None:
    code = textwrap.dedent(FULL).replace("FOLDER", repr(str(tmp_path)))
    said = in_a_process(code).split()
    assert said == sorted(said, reverse=True)  # told of the small limits, made at the large ones
    assert set(said) == {"told", "made"}


# --- processes ----------------------------------------------------------------------------

MAKE = """
    import sys
    from pathlib import Path
    import paddle
    from tests.unit import test_cache_files as cases
    paddle.enable_static()
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            cases.numbers_of(Path(line.strip()))
        except cases.purdist.WriteError as error:
            print("told", flush=True)
        else:
            print("made", flush=True)
"""


def making() -> subprocess.Popen[str]:
    """A process that makes caches at the paths that it is told."""
    made = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(MAKE)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert made.stdout is not None
    while made.stdout.readline().strip() != "ready":
        assert made.poll() is None
    return made


def tell(process: subprocess.Popen[str], path: Path) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    while (said := process.stdout.readline().strip()) not in ("made", "told"):
        assert process.poll() is None
    return said


@pytest.mark.parametrize("count", [2, 4] if SLOW else [2])
def test_of_several_that_make_one_cache_one_does(count: int, tmp_path: Path) -> None:
    processes = [making() for _ in range(count)]
    try:
        for k in range(50 if SLOW else 4):
            path = tmp_path / f"{k}"
            for process in processes:
                tell(process, path)
            assert "made" in [answer(process) for process in processes]
            np.testing.assert_allclose(numbers_of(path), expected(), rtol=1e-5, atol=1e-6)
            assert not (tmp_path / f"{k}.part").exists()
    finally:
        for process in processes:
            process.kill()
            process.communicate()


KILL = """
    import os, random, signal, time
    import numpy as np
    import paddle
    from pathlib import Path
    from tests.unit import test_cache_files as cases

    paddle.enable_static()
    os.chdir(FOLDER)

    feeds = [{"x": cases.ROWS[k : k + 1]} for k in range(10)]
    cases.expected()
    answers = {
        feed["x"].tobytes(): cases.distilled().program.run(feed, ["teacher_logits"])
        for feed in feeds
    }
    # No child computes: who forks has threads of Paddle's.
    cases.purdist.Program.run = lambda self, feed, fetch: answers[feed["x"].tobytes()]

    def call(path):
        return cases.purdist.cache_teacher(cases.distilled(), feeds, path)

    begun = time.monotonic()
    call(Path("whole"))
    taken, random = time.monotonic() - begun, random.Random(0)
    for k in range(KILLS):
        path = Path(str(k))
        child = os.fork()
        if not child:
            try:
                call(path)
            finally:
                os._exit(0)
        time.sleep(1.2 * taken * random.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left = len(list(Path(f"{path}.part").glob("*.npy")))
        print("whole" if path.exists() else "some" if left else "none")
        np.testing.assert_allclose(
            call(path)[:]["teacher_logits"], cases.expected(), rtol=1e-5, atol=1e-6
        )
        assert not Path(f"{path}.part").exists()
"""


def test_a_call_that_was_killed_is_never_in_the_way(tmp_path: Path) -> None:
    kills = 50 if SLOW else 6
    code = textwrap.dedent(KILL).replace("KILLS", str(kills))
    found = in_a_process(code.replace("FOLDER", repr(str(tmp_path)))).split()
    assert len(found) == kills
    if SLOW:
        assert {"some", "whole", "none"} <= set(found)
