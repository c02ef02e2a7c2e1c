from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from paddle import Tensor
from paddle.io.dataloader.dataloader_iter import _DatasetKind

_T = TypeVar("_T")

class Dataset(Generic[_T]):
    def __getitem__(self, idx: int) -> _T: ...
    def __len__(self) -> int: ...

class IterableDataset(Dataset[_T]):
    def __iter__(self) -> Iterator[_T]: ...

class TensorDataset(Dataset[Tensor]):
    def __init__(self, tensors: Sequence[Tensor]) -> None: ...

class Sampler(Generic[_T]):
    def __iter__(self) -> Iterator[_T]: ...

class SequenceSampler(Sampler[int]):
    def __init__(self, data_source: Sized) -> None: ...

class RandomSampler(Sampler[int]):
    def __init__(self, data_source: Sized) -> None: ...

class BatchSampler(Sampler[Sequence[int]]):
    sampler: Sampler[int] | Iterable[int]
    batch_size: int
    drop_last: bool
    def __init__(
        self,
        dataset: Sized | None = None,
        sampler: Sampler[int] | Iterable[int] | None = None,
        shuffle: bool = False,
        batch_size: int = 1,
        drop_last: bool = False,
    ) -> None: ...
    def __len__(self) -> int: ...

class DistributedBatchSampler(BatchSampler):
    epoch: int
    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...

class DataLoader:
    return_list: bool
    collate_fn: Callable[[Any], Any] | None
    dataset: Dataset[Any]
    feed_list: Sequence[Tensor] | None
    num_workers: int
    dataset_kind: _DatasetKind
    batch_sampler: BatchSampler | None
    drop_last: bool
    auto_collate_batch: bool
    _persistent_workers: bool
    def __init__(
        self,
        dataset: Dataset[Any],
        feed_list: Sequence[Tensor] | None = None,
        places: object = None,
        return_list: bool = True,
        batch_sampler: BatchSampler | None = None,
        batch_size: int | None = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
        use_buffer_reader: bool = True,
        reader_buffer_size: int = 2,
        prefetch_factor: int = 2,
        use_shared_memory: bool = True,
        timeout: int = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        persistent_workers: bool = False,
    ) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
