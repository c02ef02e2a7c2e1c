"""Models that somebody else wrote: what they may hold, and what reading them never does."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.base import core
from paddle.base.proto import framework_pb2
from paddle.static import InputSpec

import purdist
from purdist.graphs.running import computing, signatures
from purdist.graphs.running.opening import LARGEST_GRAPH
from tests import damaging, nets
from tests.nets import in_a_process
from tests.profiles import SLOW

dynamic = pytest.mark.usefixtures("dynamic")
Json = dict[str, Any]

# --- ops ----------------------------------------------------------------------------------

_ELSEWHERE = re.compile(r"_(sp|sr|xpu)_?$|^sparse_(?!attention)")
"""Ops of sparse tensors, and of a device that is none of ours."""


def registered() -> set[str]:
    """The ops of the current form, as Paddle's headers name them."""
    headers = (Path(paddle.__file__).parent / "include").rglob("*.h")
    name = re.compile(r'return "((?:pd_op|cf|builtin)\.\w+)"')
    return {found for h in headers for found in name.findall(h.read_text(errors="replace"))}


def test_every_op_of_this_paddle_was_looked_at() -> None:
    current = registered()
    old = set(core.get_all_op_names())
    more = {name for names in computing.MORE.values() for name in names.split()}
    assert len(current) > 1500
    assert len(old) > 1000
    assert current >= computing.COMPUTING  # Paddle does not survive the name of another
    for op in current | old:
        bare = op.rpartition(".")[2]
        allowed = computing.computes(op)
        assert allowed + (bare in more) + bool(_ELSEWHERE.search(bare)) == 1, op


def test_no_op_that_saves_loads_prints_or_sends_is_allowed() -> None:
    words = re.compile(r"(^|_|\.)(save|load|read_file|print|send_v2|recv_v2|py|engine|reader)(_|$)")
    assert not [op for op in computing.COMPUTING | computing.COMPUTING_OLD if words.search(op)]


# --- files with other ops -----------------------------------------------------------------


def saved(path: Path, layer: paddle.nn.Layer) -> Json:
    """The graph of a layer that was written, as data."""
    spec = [InputSpec([None, 6], name="x")]
    paddle.jit.save(paddle.jit.to_static(layer, input_spec=spec, full_graph=True), str(path))
    graph: Json = json.loads(Path(f"{path}.json").read_text())
    return graph


def operations(graph: Json) -> list[Json]:
    found: list[Json] = graph["program"]["regions"][0]["blocks"][0]["ops"]
    return found


def write(path: Path, graph: Json) -> None:
    Path(f"{path}.json").write_text(json.dumps(graph))


def attribute(name: str, kind: str, value: object) -> Json:
    return {"AT": {"#": f"0.a_{kind}", "D": value}, "N": name}


def operation(name: str, read: int, result: Json, *attributes: Json) -> Json:
    return {"#": name, "A": [*attributes], "I": [{"%": read}], "O": [result], "OA": []}


@dynamic
def test_an_op_that_saves_in_a_branch_is_refused(tmp_path: Path) -> None:
    graph = saved(tmp_path / "m", damaging._Branch())
    branch = next(op for op in operations(graph) if op["#"] == "1.if")
    ops = branch["regions"][0]["blocks"][0]["ops"]
    exp = ops[0]["O"][0]
    listed = {"#": "0.t_vec", "D": [exp["TT"]]}
    prey = tmp_path / "prey"
    ops[1:1] = [
        {
            "#": "0.combine",
            "A": [],
            "I": [{"%": exp["%"]}],
            "O": [{"%": 901, "TT": listed}],
            "OA": [],
        },
        operation(
            "1.save_combine",
            901,
            {"%": 902, "TT": {"#": "NULL"}},
            attribute("file_path", "str", str(prey)),
            attribute("overwrite", "bool", True),  # noqa: FBT003
            attribute("save_as_fp16", "bool", False),  # noqa: FBT003
            attribute("save_to_memory", "bool", False),  # noqa: FBT003
        ),
    ]
    write(tmp_path / "m", graph)
    with pytest.raises(purdist.UnsafeModelError) as caught:
        purdist.from_exported(tmp_path / "m")
    at = operations(graph).index(branch)
    assert str(caught.value) == (
        "Expected a model of ops that compute and no more, got 'pd_op.save_combine' (op 2 of "
        f"region 0 of if, op {at}), which reads, writes or parses files.\n"
        "It does so as soon as the model runs. If you know who wrote it, and want it to, call "
        "from_exported(..., allow_ops=['pd_op.save_combine'])."
    )
    purdist.from_exported(tmp_path / "m", allow_ops=["save_combine"])
    allowed = purdist.from_exported(tmp_path / "m", allow_ops=["pd_op.save_combine"])
    assert not prey.exists()
    allowed.run({"x": np.ones((1, 6), "float32")}, ["output"])
    assert prey.exists()


def test_an_op_that_saves_in_a_loop_of_the_old_form_is_refused(tmp_path: Path) -> None:
    damaging.save_old_loop(tmp_path / "m")
    model = old_graph(tmp_path / "m")
    result = model.blocks[1].ops[1].outputs[0].arguments[0]
    op = model.blocks[1].ops.add(type="save_combine")
    op.inputs.add(parameter="X", arguments=[result])
    write_old(tmp_path / "m", model)
    with pytest.raises(purdist.UnsafeModelError, match=r"'save_combine' \(op \d of block 1\)"):
        purdist.from_exported(tmp_path / "m")


@dynamic
@pytest.mark.parametrize("name", ["1.exp_v9", "9.exp", "1.reshape2", "exp", "1.print", "3.mine"])
def test_an_op_that_is_not_known_is_refused(name: str, tmp_path: Path) -> None:
    graph = saved(tmp_path / "m", paddle.nn.Linear(6, 4))
    operations(graph)[-2]["#"] = name
    write(tmp_path / "m", graph)
    with pytest.raises(purdist.UnsafeModelError):
        purdist.from_exported(tmp_path / "m")


@dynamic
def test_at_most_twenty_ops_are_told(tmp_path: Path) -> None:
    graph = saved(tmp_path / "m", paddle.nn.Linear(6, 4))
    operations(graph)[:0] = [{"#": "1.nop", "A": [], "I": [], "O": [], "OA": []}] * 50
    write(tmp_path / "m", graph)
    with pytest.raises(purdist.UnsafeModelError) as caught:
        purdist.from_exported(tmp_path / "m")
    assert len(caught.value.faults) == 50
    assert str(caught.value).startswith("50 faults:\n1. ")
    assert str(caught.value).endswith("\n... and 30 more.")


def test_a_static_program_with_such_an_op_is_warned_of(tmp_path: Path) -> None:
    def forward() -> dict[str, paddle.Tensor]:
        h = paddle.static.data("x", [None, 6])
        chosen = paddle.static.nn.cond(h.sum() > 0, lambda: paddle.static.Print(h) * 2, lambda: h)
        return {"chosen": chosen}

    net = nets.Net.of(forward)
    with pytest.warns(purdist.PurdistWarning, match=r"more than compute.*: pd_op\.print\."):
        program = net.program()
    purdist.export(program, tmp_path / "m", ["chosen"], check=False)  # as he was told
    with pytest.raises(purdist.UnsafeModelError):
        purdist.from_exported(tmp_path / "m")
    purdist.from_exported(tmp_path / "m", allow_ops=["pd_op.print"])


# --- files that are damaged ---------------------------------------------------------------


def test_a_model_with_any_byte_flipped_or_cut_ends_nothing(tmp_path: Path) -> None:
    count = None if SLOW else 25
    printed = in_a_process(
        f"""
        from tests.damaging import all_faults
        print(all_faults({str(tmp_path)!r}, {count}))
        """,
        OMP_NUM_THREADS="1",
    )
    assert printed.splitlines()[-1] == "[]"


def test_a_dtype_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    damaging.save_old_loop(path)
    file = Path(f"{path}.pdmodel")
    whole = framework_pb2.ProgramDesc.FromString(file.read_bytes())
    variables = [(b, k) for b, block in enumerate(whole.blocks) for k in range(len(block.vars))]
    refused = 0
    for b, k in variables:
        damaged = framework_pb2.ProgramDesc.FromString(file.read_bytes())
        kind = damaged.blocks[b].vars[k].type
        if kind.HasField("dense_tensor") and kind.type == framework_pb2.VarType.DENSE_TENSOR:
            kind.dense_tensor.tensor.data_type = framework_pb2.VarType.Type.Value("DENSE_TENSOR")
            Path(f"{path}_.pdmodel").write_bytes(damaged.SerializeToString())
            with pytest.raises(purdist.CorruptFileError, match="of a dtype that is none"):
                purdist.from_exported(f"{path}_")
            refused += 1
    assert refused > 5
    for op in (op for block in whole.blocks for op in block.ops):
        for attribute in (a for a in op.attrs if a.name in ("dtype", "out_dtype") and not a.type):
            attribute.i = framework_pb2.VarType.Type.Value("DENSE_TENSOR")
    file.write_bytes(whole.SerializeToString())
    with pytest.raises(purdist.CorruptFileError, match="dtype' that is none"):
        purdist.from_exported(path)


def test_a_graph_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    printed = in_a_process(
        f"""
        from tests.damaging import all_senseless
        print(all_senseless({str(tmp_path)!r}))
        """,
        OMP_NUM_THREADS="1",
    )
    assert printed.splitlines()[-1] == "[]"


def test_what_is_known_of_ops_is_what_paddles_headers_say() -> None:
    folder = Path(paddle.__file__).parent / "include" / "paddle" / "fluid" / "pir" / "dialect"
    header = (folder / "operator" / "ir" / "pd_op.h").read_text()
    seen = set()
    for text in header.split("\nclass ")[1:]:
        op = re.search(r'return "(pd_op\.\w+)"', text)
        known = signatures.signature(op[1]) if op and op[1] in computing.COMPUTING else None
        if op and known:
            reads, gives = (re.findall(rf"(\w+)\(\) {{ return {what}\(", text) for what in _SIDES)
            assert [name.rstrip("*~?") for name in known.reads] == reads, op[1]
            assert [name.rstrip("*") for name in known.gives] == gives, op[1]
            assert f"attributes_num = {len(known.attributes)};" in text, op[1]
            seen.add(op[1])
    unknown = {op for op in computing.COMPUTING if signatures.signature(op) is None}
    assert {op for op in unknown if op.startswith("pd_op.")} == _OF_NO_FIXED_KIND
    assert len(seen) > 1200


_SIDES = ("operand_source", "result")

_OF_NO_FIXED_KIND = {"pd_op.if", "pd_op.while", "pd_op.select_input", "pd_op.select_output"}


def nested(path: Path, depth: int) -> None:
    """Writes an old loop in a loop in a loop."""
    damaging.save_old_loop(path)
    model = old_graph(path)
    loop = next(op for op in model.blocks[0].ops if op.type == "while")
    for index in range(2, depth + 2):
        inner = model.blocks.add()
        inner.CopyFrom(model.blocks[1])
        inner.idx, inner.parent_idx = index, index - 1
        op = model.blocks[index - 1].ops.add()
        op.CopyFrom(loop)
        next(a for a in op.attrs if a.name == "sub_block").block_idx = index
    write_old(path, model)


def test_loops_that_are_nested_deeper_than_any_are_refused_at_once(tmp_path: Path) -> None:
    nested(tmp_path / "m", 300)
    before = time.process_time()
    with pytest.raises(purdist.CorruptFileError, match="nested too deep"):
        purdist.from_exported(tmp_path / "m")
    assert time.process_time() - before < 1.0


def old_graph(path: Path) -> Any:
    return framework_pb2.ProgramDesc.FromString(Path(f"{path}.pdmodel").read_bytes())


def write_old(path: Path, model: Any) -> None:
    Path(f"{path}.pdmodel").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("block", [-1, 0, 2, 7, 1 << 30])
def test_a_loop_into_a_block_that_is_not_its_own(block: int, tmp_path: Path) -> None:
    damaging.save_old_loop(tmp_path / "m")
    model = old_graph(tmp_path / "m")
    for given in (a for op in model.blocks[0].ops for a in op.attrs if a.name == "sub_block"):
        given.block_idx = block
    write_old(tmp_path / "m", model)
    with pytest.raises(purdist.CorruptFileError, match="'while' with block"):
        purdist.from_exported(tmp_path / "m")


def undefined(graph: Json) -> None:
    operations(graph)[-1]["I"] = [{"%": 77}]


def twice(graph: Json) -> None:
    operations(graph)[1]["O"]["%"] = operations(graph)[0]["O"]["%"]


def unknown_size(graph: Json) -> None:
    operations(graph)[0]["O"]["TT"]["D"][1] = [-1]


def long_name(graph: Json) -> None:
    operations(graph)[0]["A"][3] = "w" * 5_000_000


def name_with_colours(graph: Json) -> None:
    operations(graph)[0]["A"][3] = "w\x1b[31m\nERROR all is lost"


@dynamic
@pytest.mark.parametrize("damage", [undefined, twice, unknown_size, long_name, name_with_colours])
def test_what_hangs_not_together(damage: Callable[[Json], None], tmp_path: Path) -> None:
    graph = saved(tmp_path / "m", paddle.nn.Linear(6, 4))
    damage(graph)
    write(tmp_path / "m", graph)
    with pytest.raises(purdist.CorruptFileError) as caught:
        purdist.from_exported(tmp_path / "m")
    assert len(str(caught.value)) < 1000
    assert all(line.isprintable() for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"base_code":' * 5000,
        b'{"base_code":{"magic":"pir","magic":"pir"}}',
        b'{"base_code":{"magic":"pir","version":NaN}}',
        '{"base_code":{"magic":"pir"}}'.encode("utf-16"),
        b'{"base_code":{"magic":"pir","version":' + b"1" * 400 + b"}}",
        b'{"base_code":{"magic":"pir","version":4},"program":{"regions":[]}}',
    ],
)
def test_json_of_another_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(purdist.CorruptFileError):
        purdist.from_exported(tmp_path / "m")


# --- files that are too large, or none ----------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".pdmodel"])
def test_a_graph_of_gigabytes_is_not_read(suffix: str, tmp_path: Path) -> None:
    with (tmp_path / f"m{suffix}").open("wb") as file:
        file.truncate(LARGEST_GRAPH + 1)
    with pytest.raises(purdist.CorruptFileError, match="Expected at most"):
        purdist.from_exported(tmp_path / "m")


@dynamic
def test_weights_are_read_as_far_as_the_graph_wants_them(tmp_path: Path) -> None:
    saved(tmp_path / "m", paddle.nn.Linear(6, 4))
    with (tmp_path / "m.pdiparams").open("r+b") as file:
        file.truncate(1 << 42)  # sparse: it takes no room
    with pytest.raises(purdist.CorruptFileError, match="bytes more"):
        purdist.from_exported(tmp_path / "m")


@dynamic
def test_a_weight_larger_than_its_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    graph = saved(tmp_path / "m", paddle.nn.Linear(6, 4))
    operations(graph)[0]["O"]["TT"]["D"][1] = [1 << 40, 1 << 40]
    write(tmp_path / "m", graph)
    with pytest.raises(purdist.CorruptFileError):
        purdist.from_exported(tmp_path / "m")


@dynamic
@pytest.mark.parametrize("suffix", [".json", ".pdmodel", ".pdiparams"])
def test_a_pipe_is_no_file(suffix: str, tmp_path: Path) -> None:
    if suffix == ".pdiparams":
        saved(tmp_path / "m", paddle.nn.Linear(6, 4))
        (tmp_path / "m.pdiparams").unlink()
    os.mkfifo(tmp_path / f"m{suffix}")
    with pytest.raises(purdist.MissingFileError):
        purdist.from_exported(tmp_path / "m")
