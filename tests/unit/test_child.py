"""Something risky in a child process: whatever it does, the caller gets an answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purdist import graphs
from purdist.graphs import child
from tests import risky
from tests.nets import ROOT, in_a_process


def server_alive() -> int:
    return child._server().process.pid


def gone(process: int) -> bool:
    """Whether a process, and all of its session, end within some seconds."""
    for _ in range(100):
        if not any(_belongs(stat, process) for stat in Path("/proc").glob("[0-9]*/stat")):
            return True
        time.sleep(0.1)
    return False


def _belongs(stat: Path, process: int) -> bool:
    try:
        state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return False
    return state != "Z" and process in (int(stat.parent.name), int(session))


def test_it_answers_with_what_the_function_returns() -> None:
    array = np.arange(1_000_000.0)
    np.testing.assert_array_equal(graphs.tried(risky.answers, array).value, array + 1)


@pytest.mark.parametrize(
    ("function", "args", "failure"),
    [
        (risky.segfaults, (), "ended by SIGSEGV"),
        (os.abort, (), "ended by SIGABRT"),
        (os._exit, (3,), "ended with exit code 3"),
        (os._exit, (0,), "ended with exit code 0"),
        (sys.exit, (3,), "SystemExit: 3"),
        (divmod, (1, 0), "ZeroDivisionError: integer division or modulo by zero"),
        (threading.Lock, (), "TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_however_it_ends_the_next_is_answered(
    function: Callable[..., object], args: tuple[object, ...], failure: str
) -> None:
    assert graphs.tried(function, *args, seconds=10).failure == failure
    assert graphs.tried(divmod, 7, 2).value == (3, 1)


def test_what_hangs_is_ended() -> None:
    assert graphs.tried(time.sleep, 60, seconds=0.3).failure == "it took too long"
    assert graphs.tried(divmod, 7, 2).value == (3, 1)


def test_what_it_prints_is_kept_and_printed_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert sorted(graphs.tried(risky.prints).printed.splitlines()) == ["of C", "of Python"]
    outcome = graphs.tried(risky.prints_much)
    assert (outcome.value, len(outcome.printed)) == (1, 65536)
    assert capfd.readouterr() == ("", "")


def test_it_has_the_caller_s_environment_folder_and_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graphs.tried(os.getpid)  # the server is there
    monkeypatch.setenv("PURDIST_TEST", "said")
    monkeypatch.chdir(tmp_path)
    assert graphs.tried(os.getenv, "PURDIST_TEST").value == "said"
    assert graphs.tried(os.getcwd).value == str(tmp_path)
    with graphs.freeing_in_bulk():
        assert graphs.tried(risky.flag).value == 2.0**-10
    assert graphs.tried(risky.flag).value == 0.0
    tmp_path.rmdir()
    assert graphs.tried(divmod, 7, 2).value == (3, 1)


def test_a_try_takes_a_tenth_of_a_second_and_leaves_no_process() -> None:
    server = server_alive()
    graphs.tried(os.getpid)
    start = time.monotonic()
    tries = [graphs.tried(os.getpid).value for _ in range(5)]
    assert time.monotonic() - start < 5
    assert len(set(tries)) == 5
    assert all(gone(process) for process in tries)
    assert server_alive() == server


def test_threads_take_turns() -> None:
    with ThreadPoolExecutor(8) as workers:
        got = list(workers.map(lambda k: graphs.tried(divmod, k, 1).value, range(16)))
    assert got == [(k, 0) for k in range(16)]


def test_a_server_that_is_killed_is_started_anew() -> None:
    server = server_alive()
    graphs.tried(os.getpid)
    os.kill(server, signal.SIGKILL)
    assert graphs.tried(divmod, 7, 2).value == (3, 1)
    assert server_alive() != server


def test_what_ends_its_server_is_said() -> None:
    assert graphs.tried(risky.ends_its_server).failure.startswith("its server ended")
    assert graphs.tried(divmod, 7, 2).value == (3, 1)


def test_a_forked_process_has_a_server_of_its_own() -> None:
    server = server_alive()
    graphs.tried(os.getpid)
    reading, writing = os.pipe()
    forked = os.fork()
    if not forked:
        try:
            os.write(writing, str(graphs.tried(divmod, 7, 2).value).encode())
        finally:
            os._exit(0)
    os.waitpid(forked, 0)
    assert os.read(reading, 100) == b"(3, 1)"
    os.close(reading)
    os.close(writing)
    assert graphs.tried(divmod, 7, 2).value == (3, 1)
    assert server_alive() == server


def test_it_works_in_a_daemonic_process() -> None:
    context: Any = multiprocessing.get_context("fork")
    queue = context.Queue()
    daemon = context.Process(target=risky.in_a_daemon, args=(queue,), daemon=True)
    daemon.start()
    assert queue.get(timeout=120) == ""
    daemon.join()


SCRIPT = """
import os, sys, threading, time
print("begun")
from purdist import graphs
print(graphs.tried(os.getppid).value, flush=True)
"""
KILLED = """
threading.Timer(0.5, os.kill, [os.getpid(), 9]).start()
graphs.tried(time.sleep, 300)
"""


@pytest.mark.parametrize("way", ["file", "stdin", "killed"])
def test_the_caller_s_script_is_not_run_again_and_nothing_is_left(way: str, tmp_path: Path) -> None:
    """Without a guard, from a file and from stdin, and if the caller is killed amid a try."""
    code = SCRIPT + (KILLED if way == "killed" else "")
    script = tmp_path / "script.py"
    script.write_text(code)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-" if way == "stdin" else str(script)],
        input=code if way == "stdin" else "",
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (-9 if way == "killed" else 0), done.stderr
    begun, server = done.stdout.split()
    assert begun == "begun"
    assert gone(int(server))
    assert list(temporary.iterdir()) == []


def test_an_interrupted_try_is_over() -> None:
    server = server_alive()
    graphs.tried(os.getpid)
    over = threading.Event()

    def interrupt() -> None:  # again where it came while Python collected, which ignores it
        over.wait(0.5)
        while not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(1)

    # Where tests run in the background it is ignored.
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            graphs.tried(time.sleep, 300)
    finally:
        over.set()
        signal.signal(signal.SIGINT, found)
    assert gone(server)
    assert graphs.tried(divmod, 7, 2).value == (3, 1)


def test_it_starts_where_the_working_directory_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    printed = in_a_process(
        f"""
        import os
        from purdist import graphs
        os.chdir({str(gone)!r})
        os.rmdir({str(gone)!r})
        print(graphs.tried(divmod, 7, 2, seconds=60.0))
        """,
        PYTHONPATH=str(ROOT),
    )
    assert "value=(3, 1)" in printed


def test_a_function_of_main_is_refused() -> None:
    code = """
        from purdist import graphs
        def own(): pass
        try:
            graphs.tried(own)
        except ValueError as error:
            print(error)
    """
    assert in_a_process(code) == "own is of __main__, which a child does not import\n"
