"""What the tests try in a child process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import paddle
import paddle.inference

from purdist import graphs


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
    queue.put(graphs.tried(os.getppid).failure)


def infers(path: str, feed: Mapping[str, npt.NDArray[Any]], settings: Sequence[str]) -> object:
    """What Paddle Inference makes of the files, its config set up by lines of code."""
    config = paddle.inference.Config(f"{path}.json", f"{path}.pdiparams")
    for line in settings:
        exec(line, {"config": config})
    predictor = paddle.inference.create_predictor(config)
    for name, array in feed.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
