"""Files of models that were damaged, read many to a process: one that ends it is told by its place.

Runs in a process of its own, which forks: `purdist` reads what nobody should have written.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import paddle
from paddle.static import InputSpec

import purdist
from tests.nets import old_form

Damaged = tuple[str, bytes]
"""What was done to a file, and what became of it."""

_PER_PROCESS = 100


def flipped(whole: bytes, count: int | None) -> Iterator[Damaged]:
    """One bit of each byte flipped, of ``count`` bytes if that is told."""
    draws = random.Random(0)
    places = range(len(whole)) if count is None else draws.sample(range(len(whole)), count)
    for k in places:
        bit = draws.randrange(8)
        damaged = bytearray(whole)
        damaged[k] ^= 1 << bit
        yield f"bit {bit} of byte {k}", bytes(damaged)


def cut(whole: bytes, count: int | None) -> Iterator[Damaged]:
    """What is left of it where it ends early."""
    ends = range(len(whole))
    for k in ends if count is None else random.Random(1).sample(ends, count):
        yield f"cut at byte {k}", whole[:k]


def faults(stem: Path, suffix: str, damaged: Sequence[Damaged]) -> list[str]:
    """What reading ``stem`` does that it should not, its file with ``suffix`` damaged in turn."""
    file = Path(f"{stem}{suffix}")
    whole = file.read_bytes()
    found: list[str] = []
    start = 0
    while start < len(damaged):
        batch = damaged[start : start + _PER_PROCESS]
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _read(stem, file, batch, writing)
        os.close(writing)
        with os.fdopen(reading) as answers:
            lines = answers.read().splitlines()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found += [line for line in lines if line]
        start += len(lines)
        if code:
            found.append(f"{stem.name}{suffix}, {damaged[start][0]}: ended the process ({code})")
            start += 1
    file.write_bytes(whole)
    return found


def _read(stem: Path, file: Path, batch: Sequence[Damaged], answers: int) -> NoReturn:
    for what, content in batch:
        file.write_bytes(content)
        said = ""
        try:
            purdist.from_exported(stem)
        except purdist.PurdistError as error:
            if len(str(error)) > 5000 or "\x1b" in str(error):
                said = f"{file.name}, {what}: {len(str(error))} characters"
        except BaseException as error:
            said = f"{file.name}, {what}: {type(error).__name__}"
        os.write(answers, f"{said}\n".encode())
    os._exit(0)


# --- models -----------------------------------------------------------------------------


class _Loop(paddle.nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        begin = [paddle.zeros([], "int64"), x]
        done = paddle.static.nn.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, h.exp()), begin)
        looped: paddle.Tensor = done[1]
        return looped


class _Branch(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.fc = paddle.nn.Linear(6, 4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        hidden = self.fc(x)
        return paddle.static.nn.cond(hidden.sum() > -1e9, hidden.exp, lambda: hidden)


LAYERS: Mapping[str, tuple[Callable[[], paddle.nn.Layer], list[int | None]]] = {
    "linear": (lambda: paddle.nn.Linear(2, 2), [None, 2]),
    "normed": (
        lambda: paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 3), paddle.nn.BatchNorm2D(2)),
        [None, 1, 4, 4],
    ),
    "loop": (_Loop, [None, 6]),
    "branch": (_Branch, [None, 6]),
}


def save(folder: Path) -> list[tuple[Path, str]]:
    """Writes a model of each kind, in both forms, and tells their graphs by path and suffix."""
    paddle.disable_static()
    for name, (make, shape) in LAYERS.items():
        layer = make()
        layer.eval()
        static = paddle.jit.to_static(
            layer, input_spec=[InputSpec(shape, name="x")], full_graph=True
        )
        paddle.jit.save(static, str(folder / name))
    paddle.enable_static()
    save_old_loop(folder / "old_loop")
    graphs = [(folder / name, ".json") for name in LAYERS]
    return [*graphs, (folder / "old_loop", ".pdmodel"), (folder / "linear", ".pdiparams")]


def save_old_loop(path: Path) -> None:
    """A while loop in the old form, in static mode."""
    with old_form():
        main, startup, scope = (
            paddle.static.Program(),
            paddle.static.Program(),
            paddle.static.Scope(),
        )
        with paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
            x = paddle.static.data("x", [None, 6])
            begin = [paddle.full([1], 0, "int64"), paddle.static.nn.fc(x, 4)]
            end = paddle.full([1], 1, "int64")
            _, y = paddle.static.nn.while_loop(
                lambda i, _: i < end, lambda i, h: (i + 1, h * 2), begin
            )
            executor = paddle.static.Executor()
            executor.run(startup)
            paddle.static.save_inference_model(str(path), [x], [y], executor, program=main)


def all_faults(folder: str, count: int | None) -> list[str]:
    """What reading any of the models does that it should not, each damaged ``2 * count`` times."""
    found: list[str] = []
    for stem, suffix in save(Path(folder)):
        whole = Path(f"{stem}{suffix}").read_bytes()
        found += faults(stem, suffix, [("as written", whole), *flipped(whole, count)])
        found += faults(stem, suffix, list(cut(whole, count)))
    return found
