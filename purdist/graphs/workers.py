"""The worker processes of Paddle's DataLoader, and an end of them."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.util import Finalize
from pathlib import Path
from threading import Thread

from paddle.base import core
from paddle.io import DataLoader
from paddle.io.dataloader.dataloader_iter import _DataLoaderIterMultiProcess

from purdist.errors import RunError
from purdist.interrupts import handle_at_once

_LOOKS = 0.1
"""How many seconds lie between two looks of a thread at whether it is to end."""

_PATIENCE = 1.0
"""How many seconds a worker has to end where nobody wants its batch, and after its parent."""

_LAST = -100
"""Behind all that multiprocessing does at the end: the queue of a worker writes until then."""

_SHARED = Path("/dev/shm")
"""Where memory is that processes share, under names."""


class Workers(_DataLoaderIterMultiProcess):
    """The worker processes of a loader, and what they load in an order of ours."""

    def __init__(self, loader: DataLoader, order: Iterable[object]) -> None:
        self._order = order
        self._failure: Exception | None = None
        super().__init__(loader)
        atexit.register(self.end)  # before Python terminates them, of which Paddle would complain

    def _init_workers(self) -> None:
        self._worker_init_fn = _beginning(self._worker_init_fn)
        collects = gc.isenabled()
        gc.disable()  # so that a worker begins without, see there
        try:
            super()._init_workers()
        finally:
            if collects:
                gc.enable()
        # Paddle would raise wherever this process is when a worker ends, in a step or in code of
        # others. Its thread looks after them too, and says so where a batch is asked for.
        core._erase_process_pids(id(self))

    @property
    def _index_sampler(self) -> Iterable[object]:
        return self._order

    @property
    def _timeout(self) -> float:
        return _LOOKS

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        """Paddle says how long its thread waits for a batch before it looks whether to end."""

    def go_on(self, order: Iterable[object]) -> None:
        """Begins an epoch with the workers of the last one."""
        self._order = order
        self._reset()

    def end(self) -> None:
        """Ends the workers, and the thread that takes what they have loaded."""
        atexit.unregister(self.end)
        self._try_shutdown_all(_PATIENCE)
        for worker in self._workers:
            worker.kill()
            worker.join()
            _let_go_of_shared(worker.pid)
        self._thread.join()
        for queue in self._indices_queues:
            feeder: Thread | None = getattr(queue, "_thread", None)
            if feeder is not None:
                feeder.join(_PATIENCE)
        self._reader = self._blocking_queue = None  # which have threads, of Paddle's own

    def __next__(self) -> object:
        try:
            return super().__next__()
        except SystemError as error:
            # It gets no name: this frame would hold what holds the frame, and Paddle's threads.
            raise self._what_failed() from error

    def _what_failed(self) -> Exception:
        failure, self._failure = self._failure, None
        return failure or RunError(
            f"Expected a batch from the {len(self._workers)} workers of the DataLoader, got none: "
            "one of them ended before its time.",
            "The system ends what takes more memory than there is. With num_workers=0 the dataset "
            "is read in this process, and shows where it fails.",
        )

    def _get_data(self) -> object:
        """In Paddle's thread, which would print what failed, and tell nobody what it was."""
        try:
            return super()._get_data()
        except Exception as error:
            self._failure = error
            return None


def _beginning(init: Callable[[int], None] | None) -> Callable[[int], None]:
    """What a worker does first, before what its loader says."""
    parent = os.getpid()

    def begin(worker: int) -> None:
        # What was garbage when the worker was forked is the parent's: to take down what has
        # threads of Paddle's, which are not here, never ends.
        gc.freeze()
        gc.enable()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        handle_at_once(besides=[signal.SIGTERM])  # which Paddle handles here
        Thread(target=_follow, args=(parent,), daemon=True).start()
        Finalize(None, _clean_up_after, (parent,), exitpriority=_LAST)
        if init is not None:
            init(worker)

    return begin


def _follow(parent: int) -> None:
    """Ends this process soon after its parent, for which Paddle's worker may wait."""
    while os.getppid() == parent:
        time.sleep(_PATIENCE)
    _clean_up_after(parent)
    os._exit(1)


def _clean_up_after(parent: int) -> None:
    """Lets go of what this process shares, if its parent was killed, and will not."""
    if os.getppid() != parent:
        _let_go_of_shared(os.getpid())


def _let_go_of_shared(process: int | None) -> None:
    """Drops what a process shared and nobody took: who took it holds it without its name."""
    for file in _SHARED.glob(f"paddle_{process}_*"):
        file.unlink(missing_ok=True)
