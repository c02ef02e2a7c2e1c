"""What is shown of what takes long: a few times a second, and nothing where nobody looks."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time

import attrs
import paddle
import pytest

import purdist
from purdist import progress
from purdist.training.values import session_of
from tests import nets


class Output(io.StringIO):
    """The standard error, a terminal or a file."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def fileno(self) -> int:
        return 2


class Clock:
    """Each look at it is some seconds later than the last."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def shown(
    monkeypatch: pytest.MonkeyPatch,
    *,
    terminal: bool,
    seconds: float,
    count: int = 1000,
    total: int | None = 1000,
) -> str:
    """What is written of ``count`` things that take some ``seconds`` each."""
    output = Output(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    monkeypatch.setattr(time, "monotonic", Clock(seconds))
    with progress.showing("step", total) as show:
        for done in range(1, count + 1):
            show(done, lambda done=done: f"loss={done}")  # type: ignore[misc]
    return output.getvalue()


def test_a_bar_is_redrawn_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = shown(monkeypatch, terminal=True, seconds=0.001).split("\r")
    assert 4 <= len(bars) - 1 <= 6  # at the beginning, at the end, and in a second of steps
    assert " 1000/1000 " in bars[-1]
    assert "step/s, loss=1000" in bars[-1]
    assert "<" in bars[-1]  # the time left


@pytest.mark.parametrize("columns", [0, 60])
def test_a_terminal_gets_a_bar_if_it_says_how_large_it_is(columns: int) -> None:
    main, other = pty.openpty()
    size = struct.pack("HHHH", 24 if columns else 0, columns, 0, 0)
    fcntl.ioctl(other, termios.TIOCSWINSZ, size)
    code = (
        "from purdist import progress\nwith progress.showing('step', 3) as s: s(3, lambda: 'l=1')"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=nets.ROOT, stderr=other, check=True
    )
    os.close(other)
    written = os.read(main, 1 << 16).decode().rstrip("\r\n")
    os.close(main)
    assert "3/3" in written
    assert "l=1" in written
    bars = written.replace("\r\n", "").split("\r")[1:]
    assert all(len(bar) <= columns for bar in bars)
    assert bool(bars) == bool(columns)


def test_a_file_gets_a_line_twice_a_minute_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown(monkeypatch, terminal=False, seconds=0.1)
    lines = text.splitlines()
    assert 4 <= len(lines) <= 6
    assert "\r" not in text
    assert text.isascii()
    assert "loss=300, " in lines[1].replace("]", ", ")
    assert "1000/1000" in lines[-1]
    assert "loss=1000" in lines[-1]


def test_an_unknown_length_has_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    last = shown(monkeypatch, terminal=False, seconds=0.1, total=None).splitlines()[-1]
    assert last.startswith("1000step [")
    assert "<" not in last


def test_who_stops_early_sees_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    last = shown(monkeypatch, terminal=False, seconds=0.01, count=7).splitlines()[-1]
    assert " 7/1000 " in last
    assert "loss=7" in last


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_shown_without_an_output(
    monkeypatch: pytest.MonkeyPatch, *, closed: bool
) -> None:
    output = Output(terminal=True) if closed else None
    if output is not None:
        output.close()
    monkeypatch.setattr(sys, "stderr", output)
    with progress.showing("step", 3) as show:
        show(1, str)


def test_an_output_that_can_only_be_written_to_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sink:
        said = ""

        def write(self, text: str) -> None:
            self.said += text

        def flush(self) -> None:
            pass

    sink = Sink()
    monkeypatch.setattr(sys, "stderr", sink)
    with progress.showing("step", 3) as show:
        show(3, lambda: "loss=1")
    assert "3/3" in sink.said


def test_an_output_that_is_closed_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Output):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken(terminal=False))
    with progress.showing("step", 3) as show:
        show(1, str)


def test_training_shows_loss_terms_and_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distillation = purdist.apply(
        nets.program(nets.linear()),
        [purdist.CustomLoss(lambda x: x.square().mean(), {"x": "logits"}, name="squares")],
    )
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    batches = [{"x": nets.numbers(k, 4, 6)} for k in range(10)]
    threads = threading.active_count()
    output = Output(terminal=False)
    monkeypatch.setattr(sys, "stderr", output)
    steps = list(purdist.train(training, batches, log_every=4, progress=True))
    last = output.getvalue().splitlines()[-1]
    assert "10/10" in last
    assert f"loss={steps[-1].loss:.4g}, squares={steps[-1].loss:.4g}" in last
    list(purdist.train(training, iter(batches), progress=True))
    assert "10step [" in output.getvalue().splitlines()[-1]
    shown = output.getvalue()
    second = attrs.evolve(training, session=attrs.evolve(session_of(training), rank=1))
    list(purdist.train(second, batches, progress=True))
    list(purdist.train(training, batches))
    assert output.getvalue() == shown
    assert threading.active_count() == threads
