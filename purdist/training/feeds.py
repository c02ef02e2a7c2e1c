"""`feeds`: what a Paddle user has, as what is fed."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Annotated, Any, TypeAlias

import attrs
import numpy as np
import paddle

from purdist import graphs
from purdist.arrays import Feed
from purdist.checking import IN_ORDER, LAZY, Names, Number, shown
from purdist.errors import FeedError, InvalidArgumentError, some
from purdist.training.loaders import Source, source_of

Loader: TypeAlias = Annotated[Iterable[object], LAZY]
"""Batches of any form, read one at a time."""


def feeds(
    loader: Loader,
    names: Annotated[Names, IN_ORDER],
    *,
    epochs: Annotated[int, Number(least=1, whole=True)] = 1,
    start: Annotated[int, Number(least=0, whole=True)] = 0,
) -> Iterator[Feed]:
    """The batches of a DataLoader, or of whatever gives tensors or arrays, as feeds.

    Nothing of them is copied, where tensors are on the CPU. A batch is a list or tuple, whose
    values are named in order; a mapping, of which the names are taken and the rest left; or one
    tensor or array::

        loader = paddle.io.DataLoader(dataset, batch_size=32, num_workers=2)  # of (x, ...)
        for step in train(training, feeds(loader, ["x"], epochs=10)):
            print(step.loss)

    A run that was cut off goes on where it was, with ``start=training.steps``, times what
    `minimize` accumulates. No sample of the batches before is loaded, save those of an
    `IterableDataset` or a generator, which are read and dropped. In the middle of an epoch that
    needs an order that can be found again: that of a `DistributedBatchSampler`, or of samples in
    turn. What the dataset itself draws follows from no seed of purdist's.

    The workers of a DataLoader, and all else that works for it, end with an epoch, with an error,
    and when the iterator is closed or nobody holds it any more; those that are persistent stay
    from epoch to epoch. Without workers a batch is loaded when it is asked for, in the thread
    that trains. The loader itself is left as it is, but for one thing: a sampler that has a
    ``set_epoch`` is told each epoch, counted from 0.

    Args:
        loader: A `paddle.io.DataLoader`, or any iterable of batches. Of a generator, or another
            iterator, there is one epoch.
        names: Of the inputs that are fed. Those of values, in their order, or keys.
        epochs: How often the batches are read.
        start: How many batches, over all epochs, are left out at the beginning.

    Returns:
        An iterator over feeds. It has a length, of the feeds that are left, where the loader has
        one.

    Raises:
        InvalidArgumentError: ``loader`` is one batch, or can be read once and there are several
            epochs; ``names`` are none, or hold one twice; or ``start`` is behind the last batch,
            or in the middle of an epoch whose order cannot be found again.
        FeedError: A batch does not have what is named, or has more values than names (when it is
            asked for).
        RunError: A worker of the DataLoader ends before its time (likewise).
    """
    names = tuple(names)
    _check(loader, names)
    source = source_of(loader)
    source.check(epochs)
    batches = _Batches(source, epochs, start)
    batches.check()
    found = _named(batches.read(), names)
    if source.length is None:
        return _Feeds(names, found)
    return _Counted(names, found, epochs * source.length - start)


class _Feeds(Iterator[Feed]):
    """Feeds, read one at a time."""

    def __init__(self, names: tuple[str, ...], found: Generator[Feed]) -> None:
        self._names = names
        self._found = found

    def __next__(self) -> Feed:
        return next(self._found)

    def __repr__(self) -> str:
        return f"feeds of {', '.join(self._names)}"

    def close(self) -> None:
        """Ends all that works for it."""
        self._found.close()


class _Counted(_Feeds):
    """Feeds of which it is known how many are left."""

    def __init__(self, names: tuple[str, ...], found: Generator[Feed], left: int) -> None:
        super().__init__(names, found)
        self._left = left

    def __next__(self) -> Feed:
        feed = super().__next__()
        self._left -= 1
        return feed

    def __len__(self) -> int:
        return max(self._left, 0)


@attrs.frozen(eq=False)
class _Batches:
    """The batches of several epochs, but for the first.

    Attributes:
        source: Gives them.
        epochs: How many epochs there are.
        start: How many batches are left out.
    """

    source: Source
    epochs: int
    start: int

    def check(self) -> None:
        """Refuses to begin behind the end, or where the batches are not known any more."""
        length = self.source.length
        if length is None:
            return
        if self.start > self.epochs * length:
            raise self._too_late(self.epochs * length)
        if length and self.start % length:
            self.source.check_order(self.start % length)

    def read(self) -> Iterator[object]:
        """They, and what works for them has ended afterwards."""
        length = self.source.length
        first, skipped = divmod(self.start, length) if length else (0, 0)
        dropped, seen = 0 if length else self.start, 0
        with closing(self.source):
            for number in range(first, self.epochs):
                before = seen
                self.source.tell(number)
                for batch in self.source.epoch(skipped):
                    seen += 1
                    if seen > dropped:
                        yield batch
                if seen == before and number > first and seen:
                    raise _read_once(number)
                skipped = 0
        if seen < dropped:
            raise self._too_late(seen)

    def _too_late(self, count: int) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"Expected start to be at most {count}, the number of all batches, got "
            f"{shown(self.start)}.",
            f"It counts batches over all epochs, of which there are {self.epochs}: give more "
            "epochs, or training.steps as start.",
        )


def _read_once(number: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Expected batches that can be read again, got none in epoch {number + 1}.",
        "Give a list or a DataLoader, or an object whose __iter__ begins anew.",
    )


def _check(loader: Iterable[object], names: tuple[str, ...]) -> None:
    """Refuses what is no loader, and names that say nothing."""
    if isinstance(loader, Mapping):
        raise InvalidArgumentError(
            "Expected loader to be an iterable of batches, got one batch with "
            f"{some(map(repr, loader))}.",
            "Write feeds([batch], names).",
        )
    if len({*names}) < max(len(names), 1):
        raise InvalidArgumentError(
            f"Expected the names of what is fed, each once, got {names!r}.",
            "Give the name of an input for each value of a batch: program.inputs lists them.",
        )


def _named(batches: Iterator[object], names: tuple[str, ...]) -> Generator[Feed]:
    """Each batch as a feed."""
    with closing(batches):  # type: ignore[type-var]
        for batch in batches:
            yield {name: _lent(value) for name, value in _values(batch, names)}


def _values(batch: object, names: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """What of ``batch`` each name is for."""
    if isinstance(batch, list | tuple) and len(batch) == 1 and isinstance(batch[0], Mapping):
        batch = batch[0]  # what static mode makes of one place
    if isinstance(batch, Mapping):
        missing = [name for name in names if name not in batch]
        if missing:
            raise FeedError(
                f"Expected batches with {some(map(repr, names), 20)}, got one with "
                f"{some(map(repr, batch), 20) or 'nothing'}.",
                f"Call what is to be fed as {some(map(repr, missing), 20)} so in the dataset, or "
                "where it is collated; or leave the name out.",
            )
        yield from ((name, batch[name]) for name in names)
        return
    values = batch if isinstance(batch, list | tuple) else [batch]
    if len(values) != len(names):
        got = f"{len(values)}: {some(map(shown, values), 20)}" if values else "none"
        raise FeedError(
            f"Expected batches of {len(names)} value{'s' * (len(names) > 1)}, for "
            f"{some(map(repr, names), 20)}, got one of {got}.",
            "Name each value, in order; what is not to be fed is left out by the dataset, or "
            "where it is collated.",
        )
    yield from zip(names, values, strict=True)


def _lent(value: object) -> Any:
    """``value``, as an array without a copy where it is a tensor that numpy can look at."""
    if not isinstance(value, paddle.Tensor | graphs.Memory) or graphs.is_in_a_program(value):
        return value
    array = graphs.lent(value)
    if array is not None:
        return array
    return value if isinstance(value, paddle.Tensor) else np.array(value)
