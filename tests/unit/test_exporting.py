from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import paddle
import paddle.inference
import pytest

import purdist
from purdist import engine, graphs
from purdist.graphs.child import Outcome
from tests import engines, nets, risky
from tests.engines import CASES
from tests.nets import Array, Forward

NETWORKS = {
    "linear": (nets.linear(), (6,)),
    "images": (nets.images(), (1, 4, 4)),
    "looping": (nets.looping(), (6,)),
}


def trained(forward: Forward, shape: tuple[int, ...], *, steps: int = 2) -> purdist.Training:
    """A student that has moved away from where it started."""
    teacher = nets.program(nets.images("y") if len(shape) == 3 else nets.linear("y"), seed=1)
    merged = purdist.merge(teacher, nets.program(forward, seed=2), {"y": "x"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")]),
        lambda: paddle.optimizer.Adam(0.1),
    )
    list(purdist.train(training, [feed(shape)] * steps))
    return training


def feed(shape: tuple[int, ...], batch: int = 3) -> dict[str, Array]:
    return {"x": nets.numbers(0, batch, *shape)}


def by_executor(path: Path, batch: dict[str, Array]) -> list[Array]:
    """What ``paddle.static.load_inference_model`` makes of the files."""
    executor = paddle.static.Executor()
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = paddle.static.load_inference_model(str(path), executor)
        assert feeds == list(batch)
        return [np.asarray(a) for a in executor.run(program, feed=batch, fetch_list=fetches)]


def by_inference(path: Path, batch: dict[str, Array]) -> list[Array]:
    """What Paddle Inference makes of the files."""
    config = paddle.inference.Config(f"{path}.json", f"{path}.pdiparams")
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    for name, array in batch.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    return [
        np.asarray(predictor.get_output_handle(name).copy_to_cpu())
        for name in predictor.get_output_names()
    ]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_student_is_what_it_was_in_the_training(network: str) -> None:
    forward, shape = NETWORKS[network]
    training = trained(forward, shape)
    student, alone = purdist.student_of(training), nets.program(forward, seed=2)
    assert set(student.variables) == set(alone.variables)
    assert {v.owner for v in student.variables.values()} == {"student"}
    assert student.inputs == ("x",)
    own = {name: a for name, a in nets.weights(training.program).items() if name in alone.weights}
    assert nets.moved(own, nets.weights(student)) == set()
    assert nets.moved(nets.weights(alone), nets.weights(student)) == set(alone.weights)
    fetch = [n for n, v in alone.variables.items() if v.role == "activation" and v.mode == "both"]
    fetch = [name for name in fetch if alone.variables[name].dtype != "bool"]
    expected = training.program.run(feed(shape), fetch)
    assert nets.moved(expected, student.run(feed(shape), fetch)) == set()


def test_training_on_does_not_reach_the_student() -> None:
    training = trained(*NETWORKS["images"])
    student = purdist.student_of(training)
    before = nets.weights(student)
    list(purdist.train(training, [feed((1, 4, 4))] * 2))
    assert nets.moved(before, nets.weights(student)) == set()
    assert nets.moved(before, nets.weights(purdist.student_of(training))) == set(before)


def test_there_is_a_student_in_whatever_holds_one() -> None:
    alone = nets.program(nets.linear())
    merged = purdist.merge(nets.program(nets.linear("y")), alone, {"y": "x"})
    distillation = purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")])
    for holder in (alone, merged, distillation.program):
        student = purdist.student_of(holder)
        assert set(student.variables) == set(alone.variables)
        assert nets.moved(nets.weights(alone), nets.weights(student)) == set()
        assert (
            nets.moved(alone.run(feed((6,)), ["logits"]), student.run(feed((6,)), ["logits"]))
            == set()
        )


def test_the_student_goes_on_being_taught_by_others() -> None:
    student = purdist.student_of(trained(*NETWORKS["images"]))
    merged = purdist.merge(nets.program(nets.images("z")), student, {"z": "x"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")]),
        lambda: paddle.optimizer.SGD(0.1),
    )
    before = nets.weights(student)
    list(purdist.train(training, [feed((1, 4, 4))]))
    own = {name: a for name, a in nets.weights(training.program).items() if name in before}
    assert nets.moved(before, own) == set(before)
    assert nets.moved(before, nets.weights(student)) == set()


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_exported_computes_the_same(network: str, tmp_path: Path) -> None:
    forward, shape = NETWORKS[network]
    training = trained(forward, shape)
    hidden = {"linear": "tanh_0", "images": "normed", "looping": "looped"}[network]
    purdist.export(training, tmp_path / "student", ["logits", hidden])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("student.json", "student.pdiparams", "student.manifest")
    }
    for batch in (feed(shape, 1), feed(shape, 4)):
        expected = training.program.run(batch, ["logits", hidden])
        for got in (
            by_executor(tmp_path / "student", batch),
            by_inference(tmp_path / "student", batch),
        ):
            assert len(got) == 2
            for array, name in zip(got, ["logits", hidden], strict=True):
                assert array.shape == expected[name].shape
                assert array == pytest.approx(expected[name], rel=1e-5, abs=1e-6)


def test_what_is_exported_ends_at_its_outputs(tmp_path: Path) -> None:
    training = trained(*NETWORKS["images"])
    purdist.export(training, str(tmp_path / "head"), ["convolved"])
    purdist.export(training, tmp_path / "whole", ["logits"])
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["head.pdiparams"] < sizes["whole.pdiparams"]
    assert sizes["head.json"] < sizes["whole.json"]
    expected = training.program.run(feed((1, 4, 4)), ["convolved"])["convolved"]
    (got,) = by_executor(tmp_path / "head", feed((1, 4, 4)))
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_an_export_without_weights_leaves_none_of_an_older_one(tmp_path: Path) -> None:
    plain = nets.program(lambda: {"logits": paddle.static.data("x", [None, 6]) * 2})
    for network in (nets.program(nets.linear()), plain):
        purdist.export(network, tmp_path / "student", ["logits"])
    assert {path.name for path in tmp_path.iterdir()} == {"student.json", "student.manifest"}
    (got,) = by_executor(tmp_path / "student", feed((6,)))
    assert got.tobytes() == (feed((6,))["x"] * 2).tobytes()


@pytest.mark.parametrize("moment", ["before writing", "while writing", "after writing"])
def test_an_export_that_is_broken_off_leaves_the_last_files(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trained(*NETWORKS["images"])
    purdist.export(training, tmp_path / "student", ["logits"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    list(purdist.train(training, [feed((1, 4, 4))]))
    save = graphs.save_inference

    def broken(graph: graphs.Graph, outputs: list[str], path: Path, *rest: object) -> None:
        if moment == "while writing":
            Path(f"{path}.pdiparams").write_bytes(b"half")
        if moment == "after writing":
            save(graph, outputs, path, *rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(graphs, "save_inference", broken)
    with pytest.raises(KeyboardInterrupt):
        purdist.export(training, tmp_path / "student", ["logits"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    purdist.export(training, tmp_path / "student", ["logits"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["student.pdiparams"] != before["student.pdiparams"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        purdist.export(nets.program(nets.linear()), tmp_path / "no" / "student", ["logits"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_again_learns_as_before_in_loops_too(tmp_path: Path) -> None:
    forward = nets.looping(dropout=0.0)
    original = nets.program(forward)
    purdist.export(original, tmp_path / "student", ["logits"])
    losses = []
    for network in (original, purdist.from_exported(tmp_path / "student")):
        answers = [n for n, v in network.variables.items() if v.shape == (-1, 4)][-1]
        spec = purdist.CustomLoss(lambda logits: logits.square().mean(), {"logits": answers})
        training = purdist.minimize(
            purdist.apply(network, [spec]), lambda: paddle.optimizer.SGD(0.1)
        )
        before = nets.weights(training.program)
        losses.append([s.loss for s in purdist.train(training, [feed((6,))] * 3)])
        assert nets.moved(before, nets.weights(training.program)) == set(before)
    assert losses[0] == losses[1]


def settings_of(text: str) -> list[str]:
    """The lines on a config that a warning names."""
    return text.partition("write ")[2].split("; ")


@pytest.mark.parametrize("case", CASES)
def test_where_paddle_inference_computes_something_else_it_is_said_what_to_set(
    case: str, tmp_path: Path
) -> None:
    make, shape, way = CASES[case]
    student, path = engines.network(make, "x", shape), tmp_path / "student"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", purdist.PurdistWarning)
        purdist.export(student, path, ["output"])
    assert len(caught) == (way != "oneDNN")
    settings = settings_of(str(caught[0].message)) if caught else []
    batch = {"x": nets.numbers(5, 4, *shape)}
    expected = student.run(batch, ["output"])["output"]
    # In a process of its own: what is not computed rightly may die, and leaves its layout.
    got = graphs.tried(risky.infers, str(path), batch, settings).value
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_loop_that_never_ends_in_paddle_inference_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 8.0)
    student, path = engines.network(engines.cells, "x", (5, 6)), tmp_path / "student"
    with pytest.warns(purdist.PurdistWarning, match="it took too long") as caught:
        purdist.export(student, path, ["output"])
    batch = {"x": nets.numbers(5, 4, 5, 6)}
    got = graphs.tried(risky.infers, str(path), batch, settings_of(str(caught[0].message))).value
    np.testing.assert_allclose(got, student.run(batch, ["output"])["output"], rtol=1e-4)


def test_unchecked_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape, _ = CASES["RMSNorm"]
    monkeypatch.setattr(graphs, "tried", None)
    purdist.export(engines.network(make, "x", shape), tmp_path / "s", ["output"], check=False)


def test_what_is_right_in_no_setting_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "tried", lambda *_, **__: Outcome(None, "ended by SIGSEGV", ""))
    student = nets.program(nets.linear())
    with pytest.warns(purdist.PurdistWarning) as caught:
        purdist.export(student, tmp_path / "s", ["logits"])
    assert str(caught[0].message) == (
        f"Expected Paddle Inference to compute {str(tmp_path / 's')!r} as the student does, got, "
        "as its Config is by default: ended by SIGSEGV.\n"
        "No setting is known that helps: run it with paddle.static.load_inference_model and an "
        "Executor."
    )
    assert by_executor(tmp_path / "s", feed((6,)))[0].shape == (3, 4)


def test_what_is_another_networks_is_exported_by_its_prefix(tmp_path: Path) -> None:
    peer, student = nets.program(nets.linear("y"), seed=1), nets.program(nets.linear(), seed=2)
    joined = purdist.join(peer, student, {"y": "x"})
    distillation = purdist.apply(joined, [purdist.MutualLoss("peer_logits", "logits")])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    merged = purdist.merge(peer, student, {"y": "x"})
    for holder, prefix in ((training, "peer_"), (joined, "peer_"), (merged, "teacher_")):
        with pytest.raises(purdist.UnknownVariableError) as caught:
            purdist.export(holder, tmp_path / "s", [f"{prefix}logits"])
        kind = "training" if holder is training else "program"
        assert caught.value.remedy == (
            "Only the student is exported. For that network write "
            f'export(student_of({kind}, name_prefix="{prefix}"), path, ["logits"]).'
        )
        alone = purdist.student_of(holder, name_prefix=prefix)
        purdist.export(alone, tmp_path / prefix, ["logits"], check=False)
    with pytest.raises(purdist.UnknownVariableError) as caught:
        purdist.export(joined, tmp_path / "s", ["peer_logits", "logits"])
    assert "print(student_of(...))" in caught.value.remedy
