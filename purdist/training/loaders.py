"""What batches come from, epoch by epoch: a DataLoader, or whatever can be iterated over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import attrs
import numpy as np
from paddle.io import BatchSampler, DataLoader, SequenceSampler

from purdist import graphs
from purdist.errors import InvalidArgumentError


class Source(Protocol):
    """Gives the batches of an epoch. Whoever takes them closes it."""

    @property
    def length(self) -> int | None:
        """How many batches an epoch has, None if nobody knows."""

    def check(self, epochs: int) -> None:
        """Refuses to give them so often."""

    def check_order(self, batch: int) -> None:
        """Refuses to begin with a ``batch`` in the middle of an epoch."""

    def tell(self, epoch: int) -> None:
        """Says which epoch comes next."""

    def epoch(self, skipped: int) -> Iterator[object]:
        """The batches of an epoch behind those ``skipped``."""

    def close(self) -> None:
        """Ends what works for it."""


def source_of(loader: Iterable[object]) -> Source:
    """What gives the batches of ``loader``."""
    # One that is iterated in a way of its own is what that says.
    if isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__:
        return Loaded(loader, graphs.Loading(loader))
    return Iterated(loader)


@attrs.frozen(eq=False)
class Iterated:
    """Batches of anything that can be iterated over."""

    loader: Iterable[object]

    @property
    def length(self) -> int | None:
        return length_of(self.loader)

    def check(self, epochs: int) -> None:
        if epochs > 1 and isinstance(self.loader, Iterator):
            kind = type(self.loader).__name__
            raise InvalidArgumentError(
                f"Expected batches that can be read again, to make {epochs} epochs of them, got "
                f"a {kind}, which can be read once.",
                "Give a list or a DataLoader, or an object whose __iter__ begins anew; or let the "
                "generator make all epochs, and leave epochs out.",
            )

    def check_order(self, batch: int) -> None:
        """Nothing is known of the order: who wrote it knows."""

    def tell(self, epoch: int) -> None:
        """It counts by itself."""

    def epoch(self, skipped: int) -> Iterator[object]:
        if isinstance(self.loader, Sequence):
            return (self.loader[k] for k in range(skipped, len(self.loader)))
        return islice(self.loader, skipped, None)

    def close(self) -> None:
        """It is somebody else's, who may go on with it."""


@attrs.frozen(eq=False)
class Loaded:
    """Batches of a DataLoader, whose sampler is told the epoch."""

    loader: DataLoader
    loading: graphs.Loading

    @property
    def length(self) -> int | None:
        return length_of(self.loader)

    def check(self, epochs: int) -> None:
        """It can be read as often as one likes."""

    def check_order(self, batch: int) -> None:
        sampler, length = _wayward(self.loader.batch_sampler), len(self.loader)
        if sampler is None:
            return
        of_paddle = type(sampler).__module__.partition(".")[0] == "paddle"
        why = "which draws it anew" if of_paddle else "which has no set_epoch"
        size = getattr(self.loader.batch_sampler, "batch_size", "batch_size")
        last = ", drop_last=True" if getattr(self.loader.batch_sampler, "drop_last", False) else ""
        raise InvalidArgumentError(
            "Expected an order of samples that can be found again, to begin with batch "
            f"{batch} of the {length} of an epoch, got that of a {type(sampler).__name__}, {why}.",
            "Make the DataLoader with batch_sampler=paddle.io.DistributedBatchSampler(dataset, "
            f"{size}, shuffle=True{last}), whose order follows from the epoch that it is told; or "
            "begin with a whole epoch: start is a multiple of "
            f"{length}.",
        )

    def tell(self, epoch: int) -> None:
        for sampler in _samplers(self.loader.batch_sampler):
            tell = getattr(sampler, "set_epoch", None)
            if callable(tell):
                tell(epoch)

    def epoch(self, skipped: int) -> Iterator[object]:
        return self.loading.epoch(skipped)

    def close(self) -> None:
        self.loading.close()


def length_of(batches: object) -> int | None:
    """How many there are; None if that is not known."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except Exception:  # whatever theirs raise that have a length of others alone
        return None


def _samplers(batch_sampler: object) -> tuple[object, object]:
    return batch_sampler, getattr(batch_sampler, "sampler", None)


def _wayward(batch_sampler: object) -> object:
    """What gives samples in an order that is gone when it has been; None if there is none."""
    batches, samples = _samplers(batch_sampler)
    if batches is None or any(hasattr(s, "set_epoch") for s in (batches, samples)):
        return None
    if not _is_plain(batches, BatchSampler):
        return batches
    in_order = isinstance(samples, Sequence | np.ndarray) or _is_plain(samples, SequenceSampler)
    return None if in_order else samples


def _is_plain(thing: object, cls: type[Iterable[object]]) -> bool:
    """Whether it is iterated as ``cls`` is, whatever else it does."""
    return isinstance(thing, cls) and type(thing).__iter__ is cls.__iter__
