"""Questions answered in forked children, so that what ends a process ends a child alone.

A server imports Paddle once and forks for each question: a child is there in some
milliseconds, and what one leaves behind in the process reaches no other. The process in which
purdist tries engines costs as much as Paddle's import: all children share one.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Self

import attrs

from purdist.graphs import child

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Answer:
    """What a generator gave in a child, and how that ended.

    Attributes:
        items: What it yielded, as far as it came.
        fault: Why it came no further: a signal, a time that ran out or a traceback; '' if it
            came to its end.
    """

    items: tuple[Any, ...]
    fault: str = ""


class Children:
    """A server to ask, one question at a time."""

    def __init__(self, *preload: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, *preload],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(
        self, function: Callable[..., Iterator[Any]], *arguments: object, seconds: float = 60
    ) -> Answer:
        """What ``function``, a generator of a module, yields in a child."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        pickle.dump((function, arguments, seconds), self._server.stdin)
        self._server.stdin.flush()
        return Answer(*pickle.load(self._server.stdout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    engines = child._Server.start()
    while True:
        try:
            function, arguments, seconds = pickle.load(questions)
        except EOFError:
            engines.stop()
            return
        answer = _forked(function, arguments, seconds, engines)
        if answer[1]:  # it may have been in the middle of a question to the other
            engines.process.kill()
            engines.stop()
            engines = child._Server.start()
        answers.write(pickle.dumps(answer))
        answers.flush()


def _forked(
    function: Callable[..., Iterator[Any]],
    arguments: tuple[object, ...],
    seconds: float,
    engines: child._Server,
) -> tuple[tuple[Any, ...], str]:
    """What a child answers, which tries engines in a process that others tried theirs in."""
    source, sink = os.pipe()
    forked = os.fork()
    if forked == 0:
        os.close(source)
        child._SERVERS[os.getpid()] = engines
        _answer(function, arguments, os.fdopen(sink, "wb"))
        os._exit(0)  # whatever Paddle would do at exit is not asked for
    os.close(sink)
    answered, timely = _all_of(source, seconds)
    os.close(source)
    if not timely:
        os.kill(forked, signal.SIGKILL)
    status = os.waitpid(forked, 0)[1]
    items, fault = _parts(answered)
    if not timely:
        fault = f"no end after {seconds:g} s"
    elif os.WIFSIGNALED(status):
        fault = f"ends the process: {signal.Signals(os.WTERMSIG(status)).name}"
    elif os.WEXITSTATUS(status):
        fault = f"ends the process: exit code {os.WEXITSTATUS(status)}"
    return items, fault


def _answer(
    function: Callable[..., Iterator[Any]], arguments: tuple[object, ...], sink: IO[bytes]
) -> None:
    try:
        for item in function(*arguments):
            sink.write(pickle.dumps((item, "")))
            sink.flush()
    except BaseException:
        sink.write(pickle.dumps((None, traceback.format_exc())))
    sink.flush()


def _all_of(source: int, seconds: float) -> tuple[bytes, bool]:
    """What comes until the other side closes, and whether it did so in time."""
    parts: list[bytes] = []
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([source], [], [], left)[0]:
            return b"".join(parts), False
        part = os.read(source, 1 << 16)
        if not part:
            return b"".join(parts), True
        parts.append(part)


def _parts(answered: bytes) -> tuple[tuple[Any, ...], str]:
    stream = BytesIO(answered)
    items: list[Any] = []
    while True:
        try:
            item, fault = pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return tuple(items), ""
        if fault:
            return tuple(items), fault
        items.append(item)


def _main() -> None:
    from tests.adversarial.whole import paddle

    paddle.disable_signal_handler()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a child prints is no answer
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
