"""Other Pythons that take steps when told to, so that they can be timed in turn with ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

HERE = Path(__file__).parent


@attrs.frozen(eq=False)
class Side:
    """A process that takes a step for each line it gets.

    Attributes:
        first: What it said when it was ready.
    """

    first: object
    _process: subprocess.Popen[str]

    def __call__(self) -> float:
        """One step, in seconds by its own clock."""
        return float(_ask(self._process))


@contextmanager
def side(python: str, script: str, *arguments: str, path: str | None = None) -> Iterator[Side]:
    """Starts ``script``, with the name of a pair first, and with ``path`` as its PYTHONPATH."""
    with subprocess.Popen(
        [python, str(HERE / script), *arguments],
        env=None if path is None else {**os.environ, "PYTHONPATH": str(Path(path).resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Side(_answer(process), process)
        finally:
            process.kill()


def _ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    return str(_answer(process))


def _answer(process: subprocess.Popen[str]) -> object:
    assert process.stdout
    for line in process.stdout:  # Paddle prints, too
        try:
            return json.loads(line)
        except ValueError:
            continue
    raise RuntimeError(f"{process.args!r} has died")
