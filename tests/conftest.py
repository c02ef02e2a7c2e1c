"""What every test runs in."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType

# One thread for Paddle's kernels, which are small here and gain nothing by a second: the tests
# take the cores, a worker each. Paddle reads it when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import paddle
import pytest
from paddle.base import framework
from paddle.utils import unique_name

from tests.raising import recording

RUNNERS = tuple(f"{sysconfig.get_path('purelib')}/{name}/" for name in ("_pytest", "hypothesis"))

LINES = dict[tuple[CodeType, int], traceback.FrameSummary]()
"""What has stood in stacks."""


def stack_of_the_test(
    f: FrameType | None = None, limit: int | None = None
) -> traceback.StackSummary:
    """The stack, without the frames of what runs the test.

    Paddle writes the stack into each op that it builds. The eighty frames of pytest and
    hypothesis, which no program of a user's has, took a third of all time; asking the disk for
    each frame whether its file is still the same took a sixth of what was left.
    """
    frame: FrameType | None = f or sys._getframe(1)
    stack = traceback.StackSummary()
    while frame is not None and (limit is None or len(stack) < limit):
        at = frame.f_code, frame.f_lineno
        if (line := LINES.get(at)) is None:
            line = LINES[at] = traceback.FrameSummary(
                at[0].co_filename, at[1], at[0].co_name, lookup_line=True
            )
        if line.filename.startswith(RUNNERS):
            break
        stack.append(line)
        frame = frame.f_back
    stack.reverse()
    return stack


traceback.extract_stack = stack_of_the_test

# How long an example takes says how busy the machine is, and nothing of what is tested.
BUSY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("dev", BUSY, max_examples=50)
hypothesis.settings.register_profile("ci", BUSY, max_examples=100, derandomize=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "dev")


@pytest.fixture(autouse=True)
def paddle_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins in static mode, with programs, scope, counters and seed that are new."""
    monkeypatch.setattr(framework, "_name_struct", framework.NameStruct())
    paddle.enable_static()
    with (
        paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()),
        paddle.static.scope_guard(paddle.static.Scope()),
        unique_name.guard(),
    ):
        paddle.seed(0)
        yield
    paddle.enable_static()


@pytest.fixture(autouse=True)
def errors_are_documented() -> Iterator[None]:
    """No public function lets an error out of a kind that its docstring does not list."""
    with recording() as recorder:
        yield
    assert recorder.undocumented() == []


@pytest.fixture
def dynamic(paddle_of_its_own: None) -> Iterator[None]:
    """Dynamic mode, as a process starts in."""
    paddle.disable_static()
    yield
    paddle.enable_static()
