"""Something risky, tried in a child process: a crash or a hang there is an answer here.

A server that has Paddle loaded is started at the first need, with an interpreter of its own:
the caller's ``__main__`` is not imported, and no thread or lock of the caller's gets there. It
forks for each try, which takes a tenth of a second, and ends with its caller, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

import attrs
import paddle
from paddle.base import core

_START = "import sys; sys.path[:] = {path!r}; from purdist.graphs.child import serve; serve({fd})"

_PATIENCE = 120.0
"""How many seconds a server may take to load Paddle, and to answer once a try has ended."""

_PRINTED = 1 << 16
"""How much of what a try prints is kept: the end."""


@attrs.frozen
class Outcome:
    """How a try in a child process ended.

    Attributes:
        value: What the function returned, None if it did not.
        failure: Why it did not return: an error, a signal, no time left. '' if it did.
        printed: What it wrote to standard output and standard error.
        late: Whether that is because it took too long.
    """

    value: Any
    failure: str
    printed: str
    late: bool = False


def tried(function: Callable[..., object], *args: object, seconds: float = 300.0) -> Outcome:
    """What ``function(*args)`` returns, or how it ends, in a child process.

    The child has this process's environment, folder and flags of Paddle, and nothing else.

    Args:
        function: One at the top of a module other than ``__main__``.
        args: What it is called with. They are pickled, as is what it returns.
        seconds: How long it may take.
    """
    if function.__module__ == "__main__":
        raise ValueError(f"{function.__qualname__} is of __main__, which a child does not import")
    request = pickle.dumps((seconds, pickle.dumps((_surroundings(), function, args))))
    with _LOCK:
        said = ""
        for _ in range(2):  # a server that somebody ended is started anew, once
            server = _server()
            with _dropped_if_interrupted():
                answer = server.ask(request, seconds)
            if answer is not None:
                return _outcome(*answer)
            said = _drop()
    return Outcome(None, f"its server ended: {said}", said)


def _found_from_anywhere() -> list[str]:
    """Where this process looks for modules, wherever that is looked up."""
    found = []
    for path in map(str, sys.path):
        with contextlib.suppress(FileNotFoundError):  # of a working directory that is gone
            found.append(os.path.abspath(path))  # noqa: PTH100 - '' is the working directory
    return found


def _surroundings() -> tuple[dict[str, str], str | None, dict[str, object]]:
    """Environment, folder and Paddle's flags, as they are now."""
    flags = core.globals()
    public = [name for name in flags.keys() if flags.is_public(name)]  # noqa: SIM118 - no mapping
    try:
        folder = os.getcwd()  # noqa: PTH109 - as text
    except FileNotFoundError:
        folder = None
    return dict(os.environ), folder, {name: flags[name] for name in public}


def _outcome(status: int | None, result: bytes, printed: bytes) -> Outcome:
    text = printed.decode(errors="replace")
    if status is None:
        return Outcome(None, "it took too long", text, late=True)
    if result and os.WIFEXITED(status):
        value, failure = pickle.loads(result)
        return Outcome(value, failure, text)
    if os.WIFSIGNALED(status):
        return Outcome(None, f"ended by {signal.Signals(os.WTERMSIG(status)).name}", text)
    return Outcome(None, f"ended with exit code {os.waitstatus_to_exitcode(status)}", text)


# --- the caller's side --------------------------------------------------------------------


@attrs.frozen(eq=False)
class _Server:
    """The server of this process: it sends a word when it is ready for a request."""

    process: subprocess.Popen[bytes]
    line: Connection

    @classmethod
    def start(cls) -> _Server:
        """A server that is loading Paddle."""
        ours, theirs = Pipe()
        with theirs:
            code = _START.format(path=_found_from_anywhere(), fd=theirs.fileno())
            executable = os.fsdecode(spawn.get_executable())
            process = subprocess.Popen(
                [executable, "-W", "ignore", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                cwd=os.sep,  # the caller's may be gone, and Python does not start there
                start_new_session=True,  # Ctrl-C is for the caller
            )
        return cls(process, ours)

    def ask(self, request: bytes, seconds: float) -> tuple[int | None, bytes, bytes] | None:
        """Its answer, None if it is gone."""
        try:
            if not self.line.poll(_PATIENCE):
                return None
            self.line.recv()  # it is there
            self.line.send_bytes(request)
            if not self.line.poll(seconds + _PATIENCE):
                return None
            answer: tuple[int | None, bytes, bytes] = self.line.recv()
        except (EOFError, OSError):
            return None
        return answer

    def stop(self) -> str:
        """Ends it, and returns the last that it said."""
        self.line.close()
        if self.process.poll() is None:
            try:
                self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        _, said = self.process.communicate()
        return said.decode(errors="replace").strip()[-_PRINTED:]


_LOCK = threading.RLock()
_SERVERS: dict[int, _Server] = {}
"""This process's server, by the process's id: one that was forked has none yet."""


def _server() -> _Server:
    if os.getpid() not in _SERVERS:
        _SERVERS[os.getpid()] = _Server.start()
    return _SERVERS[os.getpid()]


def _drop() -> str:
    server = _SERVERS.pop(os.getpid(), None)
    return server.stop() if server else ""


@contextlib.contextmanager
def _dropped_if_interrupted() -> Iterator[None]:
    """A server whose answer nobody waited for is of no more use."""
    try:
        yield
    except BaseException:
        _drop()
        raise


def _forked() -> None:
    """Lets go of the server of the process that this one was forked from."""
    global _LOCK  # noqa: PLW0603 - another thread may have held it
    _LOCK = threading.RLock()
    for server in _SERVERS.values():
        server.line.close()
        if server.process.stderr:
            server.process.stderr.close()
        server.process.returncode = 0  # not this process's to wait for
    _SERVERS.clear()


atexit.register(_drop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# --- the server's side --------------------------------------------------------------------


def serve(fd: int) -> NoReturn:
    """Answers what comes over the socket ``fd``, until it closes or the caller is gone."""
    parent = os.getppid()
    line = Connection(fd)
    with contextlib.suppress(EOFError, OSError):
        line.send(None)
        while line.poll(5.0) or os.getppid() == parent:
            if line.poll():
                seconds, request = pickle.loads(line.recv_bytes())
                line.send(_watched(line, request, seconds))
                line.send(None)
    os._exit(0)


def _watched(line: Connection, request: bytes, seconds: float) -> tuple[int | None, bytes, bytes]:
    """Status, answer and output of a child that takes ``request``: no status if it was late."""
    (answers, answering), (prints, printing) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        line.close()
        _take(request, answering, printing, seconds)
    os.close(answering)
    os.close(printing)
    end, late = time.monotonic() + seconds, False
    found = {answers: bytearray(), prints: bytearray()}
    waiting: list[int | Connection] = [*found, line]
    while answers in waiting and not late:
        ready = wait(waiting, max(end - time.monotonic(), 0.0))
        late = not ready
        if line in ready:
            break  # the caller is gone
        for pipe in found.keys() & set(ready):
            if not _read(pipe, found[pipe]):
                waiting.remove(pipe)
    if answers in waiting:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.set_blocking(prints, False)  # whoever else may hold its other end
    with contextlib.suppress(BlockingIOError):
        while _read(prints, found[prints]):
            pass
    for pipe in found:
        os.close(pipe)
    return None if late else status, bytes(found[answers]), bytes(found[prints][-_PRINTED:])


def _read(pipe: int, found: bytearray) -> int:
    """Reads what is there, and tells how much it was: nothing if that was all."""
    read = os.read(pipe, 1 << 20)
    found += read
    return len(read)


def _take(request: bytes, answering: int, printing: int, seconds: float) -> NoReturn:
    """The child: calls what it is asked to, and ends without looking back."""
    try:
        import resource  # noqa: PLC0415 - not everywhere

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(math.ceil(seconds) + 5)  # if the server is killed, too
        for stream in (1, 2):
            os.dup2(printing, stream)
        answer = _called(request)
        sys.stdout.flush()
        with open(answering, "wb") as out:
            out.write(answer)
    finally:
        os._exit(0)


def _called(request: bytes) -> bytes:
    try:
        (environment, folder, flags), function, args = pickle.loads(request)
        os.environ.clear()
        os.environ.update(environment)
        if folder is not None:
            os.chdir(folder)
        _set_flags(flags)
        return pickle.dumps((function(*args), ""))
    except BaseException as error:  # whatever it raises is the answer
        return pickle.dumps((None, f"{type(error).__name__}: {str(error).strip()}"))


def _set_flags(wanted: Mapping[str, Any]) -> None:
    flags = core.globals()
    other = {name: value for name, value in wanted.items() if flags[name] != value}
    if other:
        paddle.set_flags(other)
