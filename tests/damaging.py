"""Files of models that were damaged, read many to a process: one that ends it is told by its place.

Runs in a process of its own, which forks: `purdist` reads what nobody should have written.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import paddle
from paddle.base.proto import framework_pb2
from paddle.static import InputSpec

import purdist
from purdist.graphs.running.old_structure import _MAY_BE_EMPTY
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


def faults(
    stem: Path, suffix: str, damaged: Sequence[Damaged], *, senseless: bool = False
) -> list[str]:
    """What reading ``stem`` does that it should not, its file with ``suffix`` damaged in turn.

    What is ``senseless`` is to be refused, what is damaged may be read: a number is another one.
    """
    file = Path(f"{stem}{suffix}")
    whole = file.read_bytes()
    found: list[str] = []
    start = 0
    while start < len(damaged):
        batch = damaged[start : start + _PER_PROCESS]
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _read(stem, file, batch, writing, senseless=senseless)
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


def _read(
    stem: Path, file: Path, batch: Sequence[Damaged], answers: int, *, senseless: bool
) -> NoReturn:
    for what, content in batch:
        file.write_bytes(content)
        said = ""
        try:
            purdist.from_exported(stem)
            said = f"{file.name}, {what}: read" if senseless else ""
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


# --- graphs that make no sense ------------------------------------------------------------


class _Several(paddle.nn.Layer):
    """Ops with several inputs, lists, what may be left out, and attributes of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(1, 2, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        hidden = self.conv(x.reshape([-1, 1, 2, 3])).flatten(1)
        best, _ = paddle.topk(paddle.concat([hidden, x], 1), 6)
        found: paddle.Tensor = paddle.nn.functional.softmax(best).exp()
        return found + paddle.full([6], 1.0)


_TEXT = {"#": "0.a_str", "D": "x"}
_NUMBER = {"#": "0.a_i32", "D": 1}
_TRUTH = {"#": "0.a_bool", "D": True}


def _operands(op: Any) -> Iterator[tuple[str, Any]]:
    """The op with other inputs, and with something else said of its results."""
    for k in range(len(op["I"])):
        for what, inputs in {
            f"without input {k}": op["I"][:k] + op["I"][k + 1 :],
            f"input {k} twice": [*op["I"], op["I"][k]],
            f"input {k} empty": [*op["I"][:k], {"%": 0}, *op["I"][k + 1 :]],
        }.items():
            yield what, {**op, "I": inputs}
    for mark in op["OA"][:1]:
        truths = mark["AT"]["D"]
        for what, said in {"more": [*truths, _TRUTH], "another": [_TEXT, *truths[1:]]}.items():
            other = {**mark, "AT": {**mark["AT"], "D": said}}
            yield f"{what} mark", {**op, "OA": [other, *op["OA"][1:]]}


def _attributes(op: Any) -> Iterator[tuple[str, Any]]:
    """The op without an attribute, and with another kind of it."""
    for k, attribute in enumerate(op["A"]):
        name, value = attribute["N"], attribute["AT"]
        before, behind = op["A"][:k], op["A"][k + 1 :]
        if name not in ("struct_name", "op_callstack"):
            yield f"without {name}", {**op, "A": before + behind}
            other = _NUMBER if value["#"] == "0.a_str" else _TEXT
            yield f"other {name}", {**op, "A": [*before, {"N": name, "AT": other}, *behind]}
        if value["#"] == "0.a_array" and len(value["D"]) > 1:
            mixed = {**value, "D": [*value["D"][:-1], _TRUTH]}
            yield f"mixed {name}", {**op, "A": [*before, {"N": name, "AT": mixed}, *behind]}


def senseless(graph: Any) -> Iterator[Damaged]:
    """A graph, each time with another op that Paddle has no such of."""
    ops = graph["program"]["regions"][0]["blocks"][0]["ops"]
    for k, op in enumerate(list(ops)):
        if op["#"] not in ("p", "1.fetch"):
            for what, other in (*_operands(op), *_attributes(op)):
                ops[k] = other
                yield f"{op['#']} {what}", json.dumps(graph).encode()
            ops[k] = op


def senseless_old(whole: bytes) -> Iterator[Damaged]:
    """The same of the old form: slots that are empty, hold too many, are called otherwise."""
    model: Any = framework_pb2.ProgramDesc.FromString(whole)
    places = [
        (b, k, side, j)
        for b, block in enumerate(model.blocks)
        for k, op in enumerate(block.ops)
        for side in ("inputs", "outputs")
        for j, slot in enumerate(getattr(op, side))
        if slot.arguments and (op.type, slot.parameter) not in _MAY_BE_EMPTY
    ]
    for b, k, side, j in places:
        for what, arguments in {"empty": [], "nothing": ["@EMPTY@"], "renamed": None}.items():
            damaged: Any = framework_pb2.ProgramDesc.FromString(whole)
            op = damaged.blocks[b].ops[k]
            slot = getattr(op, side)[j]
            if arguments is None:
                slot.parameter = "Z"
            else:
                slot.arguments[:] = arguments
            yield f"{op.type}, {slot.parameter}: {what}", damaged.SerializeToString()


def renamed_fields(whole: bytes) -> Iterator[Damaged]:
    """The bits flipped that make the arguments of a slot a field that is none."""
    for before in (b"\n\x01X", b"\n\x03Out", b"\n\tCondition"):
        at = whole.find(before + b"\x12")
        while at >= 0:
            for bit in (0x08, 0x40):
                damaged = bytearray(whole)
                damaged[at + len(before)] ^= bit
                yield f"bit {bit} of byte {at + len(before)}", bytes(damaged)
            at = whole.find(before + b"\x12", at + 1)


def all_senseless(folder: str) -> list[str]:
    """What is read of graphs that make no sense, or ends the process."""
    paddle.disable_static()
    layers: list[tuple[str, paddle.nn.Layer]] = [("several", _Several()), ("loop", _Loop())]
    found: list[str] = []
    for name, layer in layers:
        stem = Path(folder) / name
        spec = [InputSpec([None, 6], name="x")]
        layer.eval()
        paddle.jit.save(paddle.jit.to_static(layer, input_spec=spec, full_graph=True), str(stem))
        graph = json.loads(Path(f"{stem}.json").read_text())
        found += faults(stem, ".json", list(senseless(graph)), senseless=True)
    paddle.enable_static()
    stem = Path(folder) / "old"
    save_old_loop(stem)
    whole = Path(f"{stem}.pdmodel").read_bytes()
    damaged = [*senseless_old(whole), *renamed_fields(whole)]
    return found + faults(stem, ".pdmodel", damaged, senseless=True)
