from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from threading import Thread
from typing import Any

from paddle.io import DataLoader, Dataset

class _DatasetKind:
    MAP: _DatasetKind
    ITER: _DatasetKind
    @staticmethod
    def create_fetcher(
        kind: _DatasetKind,
        dataset: Dataset[Any],
        auto_collate_batch: bool,
        collate_fn: Callable[[Any], Any],
        drop_last: bool,
        /,
    ) -> _Fetcher: ...

class _Fetcher:
    def fetch(self, indices: object, /) -> object: ...

class _InfiniteIterableSampler:
    def __init__(self, dataset: Dataset[Any], batch_size: int = 1) -> None: ...
    def __iter__(self) -> Iterator[list[None]]: ...

class _DataLoaderIterMultiProcess(Iterator[object]):
    _thread: Thread
    _reader: object
    _blocking_queue: object
    _worker_init_fn: Callable[[int], None] | None
    _workers: list[BaseProcess]
    _indices_queues: list[Queue[Any]]
    @property
    def _index_sampler(self) -> Iterable[object]: ...
    def __init__(self, loader: DataLoader) -> None: ...
    def __next__(self) -> object: ...
    def _get_data(self) -> object: ...
    def _init_workers(self) -> None: ...
    def _reset(self) -> None: ...
    def _try_shutdown_all(self, timeout: float | None = None) -> None: ...
