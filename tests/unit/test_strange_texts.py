"""What strangers wrote stands in messages escaped and cut short, and costs no time before."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.base.proto import framework_pb2
from paddle.static import InputSpec

import purdist
from tests import damaging

pytestmark = pytest.mark.usefixtures("dynamic")

COLOURS = "\x1b[2J\nroot: all is well"
LONG = "n" * 1_000_000
TEXTS = {"colours": COLOURS, "long": LONG, "surrogate": "\udcff"}

Feed = {"x": np.ones((2, 6), "float32")}


def network() -> purdist.Program:
    return purdist.from_layer(paddle.nn.Linear(6, 4), {"x": InputSpec([None, 6])}, check=False)


def check(read: Callable[[], object]) -> None:
    """Refuses an error that is none of ours, is late or long, or has a line that is not ours."""
    before = time.process_time()
    with pytest.raises(purdist.PurdistError) as caught:
        read()
    text = str(caught.value)
    assert time.process_time() - before < 2.0
    assert len(text) < 2000
    assert all(line.isprintable() and not line.startswith("root") for line in text.split("\n"))


# --- weights ------------------------------------------------------------------------------


def entry(shape: object = (0,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}


HEADERS: dict[str, object] = {
    **{f"name, {kind}": {text: entry()} for kind, text in TEXTS.items()},
    **{f"dtype, {kind}": {"weight": entry(dtype=text)} for kind, text in TEXTS.items()},
    **{f"key, {kind}": {"weight": {text: 1}} for kind, text in TEXTS.items()},
    "axes": {"weight": entry([1] * 2_000_000 + [0])},
    "axes as many as may be": {"weight": entry([(1 << 63) - 1] * 63 + [0])},
    "sizes": {"weight": entry([10**4000] * 240)},
    "size": {"weight": entry([10**19, 0])},
    "format": {"__metadata__": {"purdist": "9" * 4000 + " " + COLOURS}},
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_file_of_weights(header: str, tmp_path: Path) -> None:
    content = json.dumps(HEADERS[header]).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(content)) + content)
    program = network()
    check(lambda: purdist.load_weights(program, tmp_path / "w"))


def test_a_number_that_python_would_not_print(tmp_path: Path) -> None:
    content = b'{"weight": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}"
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(content)) + content)
    (tmp_path / "m.json").write_bytes(b'{"base_code": ' + b"9" * 5000 + b"}")
    program = network()
    with pytest.raises(purdist.CorruptFileError, match="a number of 5000 digits"):
        purdist.load_weights(program, tmp_path / "w")
    with pytest.raises(purdist.CorruptFileError, match="a number of 5000 digits"):
        purdist.from_exported(tmp_path / "m")


# --- models -------------------------------------------------------------------------------


def exported(path: Path) -> Any:
    purdist.export(network(), path, ["output"], check=False)
    Path(f"{path}.manifest").unlink()
    return json.loads(Path(f"{path}.json").read_text())


def of_a_weight(graph: Any, text: str) -> None:
    operations(graph)[0]["A"][3] = text


def of_an_op(graph: Any, text: str) -> None:
    operations(graph)[-2]["#"] = f"1.{text}"


def of_an_attribute(graph: Any, text: str) -> None:
    operations(graph)[-1]["A"][0]["N"] = text


def of_a_tag(graph: Any, text: str) -> None:
    operations(graph)[-1]["A"][0]["AT"]["#"] = text


def operations(graph: Any) -> Any:
    return graph["program"]["regions"][0]["blocks"][0]["ops"]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("place", [of_a_weight, of_an_op, of_an_attribute, of_a_tag])
def test_a_graph(place: Callable[[Any, str], None], kind: str, tmp_path: Path) -> None:
    graph = exported(tmp_path / "m")
    place(graph, TEXTS[kind])
    (tmp_path / "m.json").write_text(json.dumps(graph))
    check(lambda: purdist.from_exported(tmp_path / "m"))


def test_a_weight_of_many_axes_in_a_graph(tmp_path: Path) -> None:
    graph = exported(tmp_path / "m")
    operations(graph)[0]["O"]["TT"]["D"][1] = [1] * 2000
    (tmp_path / "m.json").write_text(json.dumps(graph))
    check(lambda: purdist.from_exported(tmp_path / "m"))


@pytest.mark.parametrize("sizes", [[1] * 2000, [-1] * 370, [(1 << 63) - 1] * 64])
def test_a_weight_of_many_axes_in_its_file(sizes: list[int], tmp_path: Path) -> None:
    exported(tmp_path / "m")
    tensor: Any = framework_pb2.VarType.TensorDesc()
    tensor.data_type = framework_pb2.VarType.Type.Value("FP32")
    tensor.dims.extend(sizes)
    content = tensor.SerializeToString()
    head = struct.pack("<IQIi", 0, 0, 0, len(content))
    (tmp_path / "m.pdiparams").write_bytes(head + content)
    check(lambda: purdist.from_exported(tmp_path / "m"))


@pytest.mark.parametrize("kind", ["colours", "long"])
def test_an_old_graph(kind: str, tmp_path: Path) -> None:
    paddle.enable_static()
    damaging.save_old_loop(tmp_path / "m")
    whole = (tmp_path / "m.pdmodel").read_bytes()
    for damage in ("variable", "op", "argument", "attribute"):
        model: Any = framework_pb2.ProgramDesc.FromString(whole)
        block, op = model.blocks[0], model.blocks[0].ops[1]
        if damage == "variable":
            block.vars[0].name = TEXTS[kind]
        elif damage == "op":
            op.type = TEXTS[kind]
        elif damage == "argument":
            op.outputs[0].arguments[:] = [TEXTS[kind]]
        else:
            op.attrs.add(name=TEXTS[kind], type=0)
        (tmp_path / "m.pdmodel").write_bytes(model.SerializeToString())
        check(lambda: purdist.from_exported(tmp_path / "m"))


@pytest.mark.parametrize("kind", TEXTS)
def test_a_manifest_of_an_export(kind: str, tmp_path: Path) -> None:
    purdist.export(network(), tmp_path / "m", ["output"], check=False)
    file = tmp_path / "m.manifest"
    whole = json.loads(file.read_text())
    for damaged in ({**whole, TEXTS[kind]: 1}, {**whole, "graph": TEXTS[kind]}):
        file.write_text(json.dumps(damaged))
        check(lambda: purdist.from_exported(tmp_path / "m"))


# --- caches -------------------------------------------------------------------------------


def distillation() -> purdist.Distillation:
    merged = purdist.merge(network(), network(), {"x": "x"})
    return purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])


@pytest.mark.parametrize("kind", TEXTS)
def test_a_cache(kind: str, tmp_path: Path) -> None:
    source = distillation()
    purdist.cache_teacher(source, [Feed], tmp_path / "c")
    file = tmp_path / "c" / "manifest.json"
    whole = json.loads(file.read_text())
    for damaged in (
        {**whole, "teacher": TEXTS[kind]},
        {**whole, "names": [TEXTS[kind]]},
        {**whole, TEXTS[kind]: 1},
    ):
        file.write_text(json.dumps(damaged))
        check(lambda: purdist.cache_teacher(source, [Feed], tmp_path / "c"))
    file.write_text(json.dumps(whole))
    lines = json.dumps({TEXTS[kind]: 1}) + "\n"
    (tmp_path / "c" / "blocks.jsonl").write_text(lines)
    check(lambda: purdist.cache_teacher(source, [Feed], tmp_path / "c"))


# --- losses -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXTS)
def test_losses(kind: str) -> None:
    text = TEXTS[kind]
    kd = {"kind": "kd", "teacher_var": "a", "student_var": "b"}
    for data in (
        {"kind": text},
        {**kd, text: 1},
        {**kd, "temperature": text},
        {**kd, "weight": {"kind": text}},
        {**kd, "weight": {"kind": "linear", text: 1}},
        {**kd, "teacher_var": {text: 1}},
    ):
        check(lambda data=data: purdist.losses_from_data([data]))  # type: ignore[misc]


# --- paths, and disks that cannot be read -------------------------------------------------


def test_paths(tmp_path: Path) -> None:
    program, source = network(), distillation()
    for name in (COLOURS.replace("/", ""), "\udcff"):
        path = tmp_path / name
        check(lambda path=path: purdist.load_weights(program, path))  # type: ignore[misc]
        check(lambda path=path: purdist.from_exported(path))  # type: ignore[misc]
        purdist.cache_teacher(source, [Feed], path)
        check(lambda path=path: purdist.cache_teacher(source, [Feed] * 2, path))  # type: ignore[misc]
        (path / "manifest.json").write_text('{"version": 99}')
        check(lambda path=path: purdist.cache_teacher(source, [Feed], path))  # type: ignore[misc]
        (path / "manifest.json").unlink()
        check(lambda path=path: purdist.cache_teacher(source, [Feed], path))  # type: ignore[misc]


def test_a_path_that_paddle_does_not_take_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    program = network()
    with pytest.raises(purdist.WriteError, match="in UTF-8"):
        purdist.export(program, folder / "m", ["output"], check=False)
    assert not list(folder.iterdir())
    purdist.save_weights(program, folder / "w")
    purdist.load_weights(program, folder / "w")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    program = network()
    with pytest.raises(purdist.WriteError):
        purdist.export(program, f"{tmp_path}/{'n/' * 3000}m", ["output"], check=False)
    with pytest.raises(purdist.PurdistError):
        purdist.from_exported(f"{tmp_path}/{'n/' * 3000}m")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no such file here")
def test_what_the_system_cannot_read() -> None:
    program = network()
    with pytest.raises(purdist.CorruptFileError, match="Input/output error"):
        purdist.load_weights(program, "/proc/self/mem")
