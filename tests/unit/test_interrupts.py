"""A signal, as Ctrl-C sends one, comes when what must not be left half done is done."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from purdist.interrupts import uninterrupted
from purdist.storing import file_at, replacing


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_comes_afterwards_and_once() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            interrupt()
            done.append("first")
            interrupt()
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with uninterrupted():
        pass


def test_it_comes_with_what_else_is_raised() -> None:
    def fail() -> None:
        with uninterrupted():
            interrupt()
            raise OSError("full")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, OSError)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def test_who_catches_interrupts_goes_on_to() -> None:
    came = []
    found = [signal.signal(number, lambda number, _: came.append(number)) for number in SIGNALS]
    try:
        with uninterrupted():
            for number in SIGNALS:
                os.kill(os.getpid(), number)
            assert came == []
        assert {*came} == {*SIGNALS}
    finally:
        for number, handler in zip(SIGNALS, found, strict=True):
            signal.signal(number, handler)


def test_all_that_came_is_handled_and_all_is_as_it_was_whatever_a_handler_raises() -> None:
    came = []

    def stop(number: int, _: object) -> None:
        came.append(number)
        raise SystemExit(number)

    def work() -> None:
        with uninterrupted():
            for number in SIGNALS:
                os.kill(os.getpid(), number)

    found = [signal.signal(number, stop) for number in SIGNALS]
    try:
        with pytest.raises(SystemExit):
            work()
        assert {*came} == {*SIGNALS}
        assert all(signal.getsignal(number) is stop for number in SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, found, strict=True):
            signal.signal(number, handler)


def test_a_thread_that_gets_no_interrupts_is_left_alone() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]


MOMENTS: dict[str, tuple[Any, str]] = {
    "a draft is made": (tempfile, "mkdtemp"),
    "it is committed": (Path, "rename"),
    "it is moved": (Path, "replace"),
    "it is cleaned away": (shutil, "rmtree"),
}


@pytest.mark.parametrize(("owner", "name"), MOMENTS.values(), ids=MOMENTS)
def test_an_interrupt_while_a_file_is_written_leaves_the_old_or_the_new(
    owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    real: Callable[..., Any] = getattr(owner, name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        interrupt()
        result = real(*args, **kwargs)
        interrupt()
        return result

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(file_at(path)) as draft:
        draft.write_text("new")
    monkeypatch.undo()
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == ("old" if name == "mkdtemp" else "new")
