"""What the tests try in a child process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import numpy.typing as npt
import paddle

from purdist import pir


def answers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array + 1


def prints() -> None:
    print("of Python")
    os.write(2, b"of C\n")


def prints_much() -> int:
    for _ in range(100):
        os.write(1, b"x" * 65536)
    return 1


def segfaults() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def ends_its_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def flag() -> object:
    return paddle.get_flags("FLAGS_eager_delete_tensor_gb")["FLAGS_eager_delete_tensor_gb"]


def in_a_daemon(queue: multiprocessing.Queue[object]) -> None:
    queue.put(pir.tried(os.getppid).failure)
