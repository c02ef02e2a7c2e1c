"""What Paddle's DataLoader loads, with no thread and no process of it left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import paddle
from paddle.io import DataLoader
from paddle.io.dataloader.collate import default_collate_fn, default_convert_fn
from paddle.io.dataloader.dataloader_iter import (
    _DatasetKind,
    _InfiniteIterableSampler,
)
from paddle.io.dataloader.flat import _flatten_batch

from purdist.graphs.workers import Workers
from purdist.interrupts import uninterrupted


class Loading:
    """The batches of a loader, epoch by epoch. Whoever takes them closes it.

    A loader without workers loads in the thread that asks. Paddle has a thread for it: that one
    computes in the mode that the process is in by then, draws of the random state that a step was
    given, and where the dataset fails it is waited for without an end.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._workers: Workers | None = None

    def epoch(self, skipped: int) -> Iterator[object]:
        """The batches of an epoch behind those ``skipped``, of which none is loaded.

        Of an `IterableDataset` none can be skipped.
        """
        order = _Order(self._loader, skipped)
        return self._beside(order) if self._loader.num_workers else self._here(order)

    def close(self) -> None:
        """Ends the workers, if there are any."""
        if self._workers is not None:
            with uninterrupted():
                self._workers.end()
            self._workers = None

    def _beside(self, order: _Order) -> Iterator[object]:
        """What the workers load, which stay for the next epoch if they are to."""
        if self._workers is None:
            with uninterrupted():
                self._workers = Workers(self._loader, order)
        else:
            self._workers.go_on(order)
        yield from self._workers
        if not self._loader._persistent_workers:
            self.close()

    def _here(self, order: _Order) -> Iterator[object]:
        """What is loaded in this thread."""
        loader = self._loader
        fetcher = _DatasetKind.create_fetcher(
            loader.dataset_kind,
            loader.dataset,
            loader.auto_collate_batch,
            _collating(loader),
            loader.drop_last,
        )
        named = _naming(loader)
        for samples in order:
            try:
                batch = fetcher.fetch(samples)
            except StopIteration:
                if loader.dataset_kind == _DatasetKind.ITER:
                    return
                raise
            yield named(batch)


class _Order:
    """Which samples make each batch of an epoch, from the batch ``first`` on."""

    def __init__(self, loader: DataLoader, first: int) -> None:
        self._loader = loader
        self._first = first

    def __iter__(self) -> Iterator[object]:
        return islice(self._whole(), self._first, None)

    def _whole(self) -> Iterator[object]:
        loader = self._loader
        if loader.auto_collate_batch and loader.batch_sampler is not None:
            return iter(loader.batch_sampler)
        if loader.dataset_kind == _DatasetKind.MAP:
            return iter(range(len(loader.dataset)))
        return iter(_InfiniteIterableSampler(loader.dataset, 1))


def _collating(loader: DataLoader) -> Callable[[Any], Any]:
    return loader.collate_fn or (
        default_collate_fn if loader.auto_collate_batch else default_convert_fn
    )


def _naming(loader: DataLoader) -> Callable[[object], object]:
    """What Paddle makes of a batch in static mode, where its inputs may have been told."""
    if loader.return_list or not loader.feed_list or paddle.in_dynamic_mode():
        return lambda batch: batch
    names = [value.name for value in loader.feed_list]
    return lambda batch: dict(zip(names, _flatten_batch(batch)[0], strict=True))
