"""`feeds`: what a Paddle user has becomes what is fed, in order, and nothing is left behind."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.io import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedBatchSampler,
    IterableDataset,
    RandomSampler,
    SequenceSampler,
    TensorDataset,
)

import purdist
from purdist import CrossEntropyLoss, NewInput, graphs
from tests import nets

NAMES = ["x", "label"]


class Samples(Dataset[Any]):
    """Rows of six of a number, and the number; it keeps which were read."""

    def __init__(self, count: int = 10) -> None:
        self.count, self.read = count, list[int]()

    def __getitem__(self, idx: int) -> tuple[nets.Array, nets.Array]:
        self.read.append(idx)
        return np.full(6, idx, "float32"), np.array(idx % 4)

    def __len__(self) -> int:
        return self.count


def loader(count: int = 10, **options: Any) -> DataLoader:
    return DataLoader(Samples(count), **{"batch_size": 4, **options})


def read(given: DataLoader) -> list[int]:
    """The samples that were read, in order."""
    assert isinstance(given.dataset, Samples)
    return given.dataset.read


def rows(feeds: Iterable[purdist.Feed]) -> list[list[int]]:
    """The samples that each feed is of."""
    return [np.asarray(feed["x"])[:, 0].astype(int).tolist() for feed in feeds]


def tensor(array: nets.Array) -> paddle.Tensor:
    with graphs.dynamic():
        return paddle.to_tensor(array)


def memory(array: nets.Array) -> graphs.Memory:
    """A tensor as a loader gives it in static mode."""
    made = graphs.Memory()
    made.set(array, paddle.CPUPlace())
    return made


X, Y = nets.numbers(0, 4, 6), np.array([0, 1, 2, 3])

# --- what a batch is -----------------------------------------------------------------------------

BATCHES: dict[str, Callable[[], object]] = {
    "a list of arrays": lambda: [X, Y],
    "a tuple of arrays": lambda: (X, Y),
    "a list of tensors": lambda: [tensor(X), tensor(Y)],
    "a dict of arrays": lambda: {"label": Y, "x": X},
    "a dict of tensors, and more": lambda: {"ids": X, "label": tensor(Y), "x": tensor(X)},
    "a dict in a list": lambda: [{"x": X, "label": Y}],
    "tensors as static mode has them": lambda: [memory(X), memory(Y)],
}


@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
def test_a_batch_of_any_form_is_a_feed(make: Callable[[], object]) -> None:
    (feed,) = purdist.feeds([make()], NAMES)
    assert [*feed] == NAMES
    np.testing.assert_array_equal(feed["x"], X)
    np.testing.assert_array_equal(feed["label"], Y)


@pytest.mark.parametrize("make", [lambda: X, lambda: tensor(X), lambda: [X], lambda: {"x": X}])
def test_of_one_name_a_batch_may_be_the_value(make: Callable[[], object]) -> None:
    (feed,) = purdist.feeds([make()], ["x"])
    np.testing.assert_array_equal(feed["x"], X)


DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_is_fed_without_a_copy(dtype: str) -> None:
    if dtype == "bool" and np.lib.NumpyVersion(np.__version__) < "1.25.0":
        pytest.skip("numpy takes no bool by DLPack")
    numbers = np.arange(12).reshape(4, 3).astype(dtype)
    given, held = tensor(numbers), memory(numbers)
    for one, address in [(given, given.get_tensor()._ptr()), (held, held._ptr())]:
        (feed,) = purdist.feeds([one], ["x"])
        array = np.asarray(feed["x"])
        assert (array.dtype, array.shape) == (np.dtype(dtype), (4, 3))
        assert array.ctypes.data == address
        assert array.tolist() == numbers.tolist()


def test_so_is_one_that_is_fed_by_hand() -> None:
    given = tensor(X)
    assert purdist.arrays.array_of("x", given, None).ctypes.data == given.get_tensor()._ptr()


def test_what_is_fed_lasts_longer_than_its_tensor() -> None:
    kept = [*purdist.feeds((tensor(np.full((4, 6), k, "float32")) for k in range(50)), ["x"])]
    gc.collect()
    for k, feed in enumerate(kept):
        np.testing.assert_array_equal(feed["x"], np.full((4, 6), k))


def test_a_view_of_a_tensor_is_fed_as_it_is() -> None:
    with graphs.dynamic():
        whole = paddle.to_tensor(X)
        turned = whole.T
    (feed,) = purdist.feeds([turned], ["x"])
    np.testing.assert_array_equal(feed["x"], X.T)


def test_what_has_no_numbers_is_left_to_who_runs_it() -> None:
    value = paddle.static.data("v", [2, 6])
    with graphs.dynamic():
        low = paddle.to_tensor(X).astype("bfloat16")
        sparse = paddle.to_tensor(X).to_sparse_coo(2)
    program = nets.program(nets.linear())
    for given, said in [(value, "no numbers yet"), (sparse, "sparse"), (low, "bfloat16")]:
        (feed,) = purdist.feeds([given], ["x"])
        assert feed["x"] is given
        with pytest.raises(purdist.PurdistError, match=said):
            program.run(feed, ["logits"])


# --- what comes of a loader ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_loader_gives_its_batches_in_either_mode(mode: str) -> None:
    if mode == "dynamic":
        paddle.disable_static()
    try:
        found = [*purdist.feeds(loader(drop_last=True), NAMES, epochs=2)]
    finally:
        paddle.enable_static()
    assert rows(found) == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2
    assert all(isinstance(array, np.ndarray) for feed in found for array in feed.values())


def test_a_loader_that_was_told_its_inputs_names_them_itself() -> None:
    told = [
        paddle.static.data(n, s, d) for n, s, d in [("x", [4, 6], None), ("label", [4], "int64")]
    ]
    given = loader(feed_list=told, return_list=False)
    assert [*next(purdist.feeds(given, ["label"]))] == ["label"]
    with pytest.raises(purdist.FeedError, match="got one with 'x', 'label'"):
        next(purdist.feeds(given, ["image"]))


def test_a_loader_without_batches_gives_what_the_dataset_does() -> None:
    with graphs.dynamic():
        whole = TensorDataset([tensor(np.stack([X, X + 1])), tensor(np.stack([Y, Y]))])
        given = DataLoader(whole, batch_size=None)
        first, second = purdist.feeds(given, NAMES)
        (again,) = purdist.feeds(given, NAMES, start=1)
    np.testing.assert_array_equal(second["x"], X + 1)
    np.testing.assert_array_equal(again["x"], second["x"])
    assert first.keys() == second.keys()


def test_a_loader_without_workers_loads_when_it_is_asked_and_in_this_thread() -> None:
    """Paddle's thread would compute in the mode of a graph that is built meanwhile."""
    given = loader()
    found = purdist.feeds(given, NAMES)
    assert read(given) == []
    next(found)
    assert read(given) == [0, 1, 2, 3]


def test_what_a_dataset_raises_comes_as_it_is() -> None:
    class Failing(Samples):
        def __getitem__(self, idx: int) -> tuple[nets.Array, nets.Array]:
            if idx == 5:
                raise LookupError("no fifth")
            return super().__getitem__(idx)

    found = purdist.feeds(DataLoader(Failing(), batch_size=4), NAMES)
    next(found)
    with pytest.raises(LookupError, match="no fifth"):
        next(found)
    assert [*found] == []


class Counted:
    """Batches that can be read again, whose number is not known before."""

    def __iter__(self) -> Iterator[object]:
        return (
            [np.full((2, 6), 2 * k + np.arange(2)[:, None], "float32"), Y[:2]] for k in range(3)
        )


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[nets.Array, nets.Array]]:
        return ((np.full(6, k, "float32"), np.array(k % 4)) for k in range(6))


LOADERS: dict[str, tuple[Callable[[], Any], int | None]] = {
    "a loader": (lambda: loader(6, batch_size=2), 3),
    "a sampler told its epoch": (
        lambda: DataLoader(
            Samples(6), batch_sampler=DistributedBatchSampler(Samples(6), 2, shuffle=True)
        ),
        3,
    ),
    "a list": (lambda: [*Counted()], 3),
    "an object": (Counted, None),
    "a stream": (lambda: DataLoader(Stream(), batch_size=2), None),
    "a sampler in order": (
        lambda: DataLoader(
            Samples(6),
            batch_sampler=BatchSampler(sampler=SequenceSampler(Samples(6)), batch_size=2),
        ),
        3,
    ),
    "a sampler of numbers": (
        lambda: DataLoader(
            Samples(6), batch_sampler=BatchSampler(sampler=[5, 4, 3, 2, 1, 0], batch_size=2)
        ),
        3,
    ),
}


@pytest.mark.parametrize(("make", "length"), LOADERS.values(), ids=LOADERS)
def test_a_start_anywhere_gives_the_rest(make: Callable[[], Any], length: int | None) -> None:
    whole = rows(purdist.feeds(make(), NAMES, epochs=3))
    assert len(whole) == 9
    for start in range(10):
        found = purdist.feeds(make(), NAMES, epochs=3, start=start)
        assert hasattr(found, "__len__") == (length is not None)
        if length is not None:
            assert len(found) == 9 - start  # type: ignore[arg-type]
        assert rows(found) == whole[start:]


def test_a_start_loads_nothing_of_what_was_seen() -> None:
    given = loader(10)
    assert rows(purdist.feeds(given, NAMES, epochs=2, start=4)) == [[4, 5, 6, 7], [8, 9]]
    assert read(given) == [4, 5, 6, 7, 8, 9]


def test_a_length_counts_what_is_left() -> None:
    found = purdist.feeds(loader(10), NAMES, epochs=2, start=1)
    for left in (5, 4, 3):
        assert len(found) == left  # type: ignore[arg-type]
        next(found)


def test_each_epoch_is_told_to_the_sampler_and_nothing_else_changes() -> None:
    samples = Samples(8)
    sampler = DistributedBatchSampler(samples, 4, shuffle=True)
    given = DataLoader(samples, batch_sampler=sampler)
    before = dict(vars(given))
    found = rows(purdist.feeds(given, NAMES, epochs=3, start=2))
    expected = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        expected += [*sampler]
    assert found == expected
    assert dict(vars(given)) == before


class Shuffled(BatchSampler):
    def __iter__(self) -> Iterator[Sequence[int]]:
        return iter([*super().__iter__()][::-1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shuffle": True}, "RandomSampler, which draws it anew"),
        (
            {"batch_size": 1, "batch_sampler": Shuffled(Samples(), batch_size=4)},
            "Shuffled, which has no set_epoch",
        ),
        (
            {
                "batch_size": 1,
                "batch_sampler": BatchSampler(sampler=RandomSampler(Samples()), batch_size=4),
            },
            "RandomSampler, which draws it anew",
        ),
    ],
)
def test_an_order_that_is_gone_is_refused_in_the_middle_of_an_epoch(
    options: dict[str, Any], said: str
) -> None:
    given = loader(**options)
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.feeds(given, NAMES, epochs=3, start=4)
    assert str(caught.value) == (
        "Expected an order of samples that can be found again, to begin with batch 1 of the 3 of "
        f"an epoch, got that of a {said}.\n"
        "Make the DataLoader with batch_sampler=paddle.io.DistributedBatchSampler(dataset, 4, "
        "shuffle=True), whose order follows from the epoch that it is told; or begin with a whole "
        "epoch: start is a multiple of 3."
    )
    assert read(given) == []
    assert len([*purdist.feeds(given, NAMES, epochs=3, start=3)]) == 6


def test_what_is_refused_says_what_to_write() -> None:
    code = "paddle.io.DistributedBatchSampler(dataset, 4, shuffle=True, drop_last=True)"
    with pytest.raises(purdist.InvalidArgumentError, match=re.escape(code)):
        purdist.feeds(loader(12, shuffle=True, drop_last=True), NAMES, start=1)


# --- what is refused at once ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: iter([X]), lambda: (X for _ in "ab"), lambda: map(abs, [X])]
)
def test_what_can_be_read_once_has_one_epoch(make: Callable[[], Any]) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="can be read again, to make 2 epochs"):
        purdist.feeds(make(), ["x"], epochs=2)
    assert len([*purdist.feeds(make(), ["x"])]) > 0


def test_so_has_what_shows_it_later() -> None:
    class Once:
        batches = iter([X, X])

        def __iter__(self) -> Iterator[object]:
            return self.batches

    found = purdist.feeds(Once(), ["x"], epochs=2)
    assert len([next(found), next(found)]) == 2
    with pytest.raises(purdist.InvalidArgumentError, match="read again, got none in epoch 2"):
        next(found)


@pytest.mark.parametrize("given", [[X] * 3, loader(), Counted()])
def test_a_start_behind_the_end_is_refused(given: Any) -> None:
    assert [*purdist.feeds(given, ["x"], epochs=2, start=6)] == []
    with pytest.raises(purdist.InvalidArgumentError, match=r"start to be at most 6.*, got 7"):
        next(purdist.feeds(given, ["x"], epochs=2, start=7))


@pytest.mark.parametrize(
    ("given", "names", "said"),
    [
        ({"x": X}, ["x"], r"Expected loader to be an iterable of batches, got one batch with 'x'."),
        ([X], [], r"Expected the names of what is fed, each once, got \(\)."),
        ([X], ["x", "x"], r"each once, got \('x', 'x'\)."),
        ([X], {"x"}, "a list of names in order"),
        (3, ["x"], "Expected loader to be an iterable, got 3."),
    ],
)
def test_what_is_no_loader_or_no_names_is_refused(given: Any, names: Any, said: str) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match=said):
        purdist.feeds(given, names)


# --- what is refused at the first batch ----------------------------------------------------------


def training(**options: Any) -> purdist.Training:
    network = nets.program(nets.linear())
    distillation = purdist.apply(network, [CrossEntropyLoss("logits", NewInput("label"))])
    return purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), seed=0, **options)


WRONG: dict[str, tuple[object, list[str], str]] = {
    "too many values": (
        [X, Y, Y],
        NAMES,
        "Expected batches of 2 values, for 'x', 'label', got one of 3: a",
    ),
    "too few values": ([X], NAMES, "Expected batches of 2 values, for 'x', 'label', got one of 1"),
    "no values": ([], ["x"], "Expected batches of 1 value, for 'x', got one of none."),
    "a value for two": (X, NAMES, "Expected batches of 2 values, for 'x', 'label', got one of 1"),
    "other keys": (
        {"image": X, "label": Y},
        NAMES,
        "Expected batches with 'x', 'label', got one with 'image', 'label'.\nCall what is to be "
        "fed as 'x' so in the dataset",
    ),
    "a name of no input": (
        [X, Y, Y],
        [*NAMES, "ids"],
        "Take 'ids' out of the feed, or name what is to be fed with feeds(loader, names).",
    ),
    "a name that lacks": ([X], ["x"], "Expected a feed for label [-1] int64, got feeds for 'x'."),
    "names in another order": ([Y, X], NAMES, "Expected the feed x [-1, 6] float32, got an array"),
    "another shape": ([X[:, :5], Y], NAMES, "Axis 1 must be 6, it is 5."),
    "another dtype": ([X.astype("float64"), Y], NAMES, "got an array of float64."),
    "a text": (["x", Y], NAMES, "Expected an array of numbers as the feed 'x', got str."),
}


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize(("batch", "names", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_batches_is_told_before_anything_runs(
    batch: Any, names: list[str], said: str, *, tensors: bool
) -> None:
    trained = training()
    before = nets.weights(trained.program)
    if tensors and isinstance(batch, list):
        batch = [tensor(v) if isinstance(v, np.ndarray) else v for v in batch]
    with pytest.raises(purdist.PurdistError) as caught:
        next(purdist.train(trained, purdist.feeds([batch], names)))
    assert said in str(caught.value)
    assert nets.moved(before, nets.weights(trained.program)) == set()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_trains_as_its_arrays_do(workers: int) -> None:
    arrays = [
        {"x": np.repeat(np.arange(k, k + 4, dtype="float32"), 6).reshape(4, 6), "label": Y}
        for k in (0, 4)
    ]
    by_hand, by_loader = training(), training()
    expected = [step.loss for step in purdist.train(by_hand, arrays * 2)]
    given = purdist.feeds(loader(8, num_workers=workers), NAMES, epochs=2)
    assert [step.loss for step in purdist.train(by_loader, given)] == expected
    after = nets.weights(by_loader.program)
    assert nets.moved(nets.weights(by_hand.program), after) == set()


def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    def batches(start: int) -> Iterator[purdist.Feed]:
        samples = Samples(12)
        sampler = DistributedBatchSampler(samples, 4, shuffle=True)
        given = DataLoader(samples, batch_sampler=sampler)
        return purdist.feeds(given, NAMES, epochs=4, start=start * 2)

    def begun() -> purdist.Training:
        return training(accumulate=2)

    whole = [step.loss for step in purdist.train(begun(), batches(0))]
    assert len({*whole}) == 6  # of two batches each, and three make an epoch
    for cut in range(1, 6):
        first = begun()
        told = [step.loss for step in islice(purdist.train(first, batches(0)), cut)]
        purdist.save_checkpoint(first, tmp_path / "half")
        again = purdist.resume(begun(), tmp_path / "half")
        told += [step.loss for step in purdist.train(again, batches(again.steps))]
        assert told == whole


def test_the_time_left_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    given = purdist.feeds(loader(8), NAMES, epochs=2, start=1)
    assert len([*purdist.train(training(), given, progress=True)]) == 3
    assert "3/3" in capsys.readouterr().err


# --- what works for a loader, and must not stay --------------------------------------------------

BEGUN = """
    import gc, os, signal, sys, tempfile, threading, time
    import numpy as np, paddle
    from paddle.io import DataLoader, Dataset, IterableDataset
    import purdist
    from purdist import feeds

    class Samples(Dataset):
        def __init__(self, wrong=""):
            self.wrong = wrong

        def __getitem__(self, k):
            if self.wrong == "raises" and k == 9:
                raise LookupError("no ninth")
            if self.wrong == "dies" and k == 9:
                time.sleep(0.5)  # what it has loaded is on its way
                os.kill(os.getpid(), signal.SIGKILL)
            if self.wrong == "slow":
                time.sleep(0.02)
            return np.full([6], k, "float32"), np.array(k % 4)

        def __len__(self):
            return 40

    class Stream(IterableDataset):
        def __iter__(self):
            return ((np.full([6], k, "float32"), np.array(k % 4)) for k in range(8))

    def left():
        children = []
        for found in filter(str.isdecimal, os.listdir("/proc")):
            try:
                with open(f"/proc/{found}/stat") as file:
                    parent = file.read().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == os.getpid():
                children.append(found)
        shared = [name.split("_") for name in os.listdir("/dev/shm")]
        held = [name for name in shared if name[0] == "paddle" and name[1] in forked]
        threads = len(os.listdir("/proc/self/task"))
        return threads, threading.active_count(), children, held

    forked, fork = [], os.fork

    def forking():
        process = fork()
        forked.append(str(process))
        return process

    os.fork = forking

    def loader(wrong="", **options):
        return DataLoader(Samples(wrong), batch_size=4, num_workers=2, **options)

    def firsts(found):
        return [int(np.asarray(feed["x"])[0, 0]) for feed in found]

    paddle.set_device("cpu")
    before = left()
    NAMES = ["x", "y"]
"""


def test_the_workers_of_a_loader_end_whatever_happens() -> None:
    out = nets.in_a_process(
        BEGUN
        + """
    listening, telling = os.pipe()
    killed = os.fork()
    if not killed:
        held = feeds(loader("slow"), NAMES)
        next(held)
        os.write(telling, " ".join(left()[2]).encode())
        time.sleep(60)
    workers = os.read(listening, 100).decode().split()
    assert len(workers) == 2
    forked += workers
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    until = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < until, "a worker outlives its parent"
        time.sleep(0.1)
    assert left() == before, ("killed", left())

    for options in ({}, {"persistent_workers": True}, {"use_shared_memory": False}):
        given = loader(**options)
        assert firsts(feeds(given, NAMES, epochs=2, start=17)) == [28, 32, 36], options
        assert left() == before, ("read", options, left())
        closed = feeds(given, NAMES, epochs=2, start=9)
        assert firsts([next(closed), next(closed)]) == [36, 0], options
        assert len(left()[2]) == 2
        closed.close()
        assert left() == before, ("closed", options, left())
        dropped = feeds(given, NAMES)
        kept = next(dropped)
        del dropped
        assert left()[:3] == before[:3], ("dropped", options, left())
        assert np.asarray(kept["x"])[:, 0].tolist() == [0, 1, 2, 3]
        del kept

    paddle.enable_static()
    assert firsts(feeds(loader(), NAMES)) == list(range(0, 40, 4))
    paddle.disable_static()
    # Each worker reads the stream.
    stream = DataLoader(Stream(), batch_size=4, num_workers=2)
    assert firsts(feeds(stream, NAMES, epochs=2, start=3)) == [4, 0, 0, 4, 4]
    assert left() == before, left()

    try:
        print(firsts(feeds(loader("raises"), NAMES)))
    except LookupError as error:
        assert "no ninth" in str(error)
    assert left() == before, ("raised", left())

    try:
        print(firsts(feeds(loader("dies"), NAMES)))
    except purdist.RunError as error:
        assert "one of them ended before its time" in str(error)
    assert left() == before, ("died", left())

    dying = feeds(loader("dies"), NAMES)
    try:
        next(dying)
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # where Paddle would raise
        print(firsts(dying))
    except purdist.RunError as error:
        assert "one of them ended before its time" in str(error)
    assert left() == before, ("died elsewhere", left())

    training = purdist.minimize(
        purdist.apply(
            purdist.from_layer(
                paddle.nn.Linear(6, 4), {"x": paddle.static.InputSpec([None, 6])}, check=False
            ),
            [purdist.CrossEntropyLoss("output", purdist.NewInput("y"))],
        ),
        lambda: paddle.optimizer.SGD(0.001),
    )
    next(purdist.train(training, feeds(loader(), NAMES)))
    trained = left()  # Paddle's executor has threads of its own
    assert trained[1:] == before[1:], trained
    checkpoints = purdist.Checkpoints(tempfile.mkdtemp(), every=2)
    os.setsid()  # what a terminal sends, all get that it runs
    for _ in range(2):
        timer = threading.Timer(0.5, os.killpg, (0, signal.SIGINT))
        timer.start()
        slow = feeds(loader("slow"), NAMES, epochs=1000)
        try:
            for step in purdist.train(training, slow, checkpoints=checkpoints):
                pass
        except KeyboardInterrupt:
            timer.join()
        del slow
        gc.collect()  # an ExitStack that is interrupted holds itself
        assert left() == trained, ("interrupted", left(), trained)
        files = os.listdir(checkpoints.directory)
        assert not any(".purdist" in name for name in files), files
        kept = purdist.resume(training, checkpoints.directory).steps
        assert training.steps - 2 <= kept <= training.steps
    held = feeds(loader(), NAMES)  # and at the end of the process
    next(held)
    print("done", flush=True)
    """
    )
    assert out.splitlines() == ["done"]


def test_a_signal_while_workers_begin_is_handled_when_they_have() -> None:
    """What a handler raises within a fork, where this one is sent, Python drops."""
    out = nets.in_a_process(
        BEGUN
        + """
    class Stop(SystemExit):
        pass

    def stop(number, frame):
        raise Stop(number)

    def check(worker):
        assert all(signal.getsignal(n) is stop for n in (signal.SIGHUP, signal.SIGUSR1))

    sent = []
    os.register_at_fork(after_in_parent=lambda: sent and signal.raise_signal(sent.pop()))
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    for number in numbers:
        signal.signal(number, stop)
    for number in numbers:
        sent.append(number)
        try:
            print(firsts(feeds(loader(), NAMES)))
        except Stop as error:
            print(error.code == number)
        assert left() == before, (number, left())
    assert firsts(feeds(loader(worker_init_fn=check), NAMES)) == list(range(0, 40, 4))
    assert all(signal.getsignal(n) is stop for n in numbers)
    print("done", flush=True)
    """
    )
    assert out.split() == ["True"] * 4 + ["done"]
