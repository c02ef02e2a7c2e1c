"""`from_exported`: what a file holds, in both forms, and `export` on the way back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.sources.weights import held_by
from tests import layers, nets
from tests.layers import CASES
from tests.nets import Net, in_a_process, moved, numbers, read, untouched, weights
from tests.profiles import SLOW
from tests.unit.test_layer import mean_square, one_step, total

dynamic = pytest.mark.usefixtures("dynamic")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Writes the layer of a case, without dropout, once, as ``paddle.jit.save`` does."""
    folder = tmp_path_factory.mktemp("saved")

    def save(name: str) -> str:
        path = folder / name
        if not path.with_name(f"{name}.json").exists():
            layer = layers.without_dropout(layers.layer(name))
            layer.eval()
            CASES[name].saved(layer, str(path))
        return str(path)

    return save


@dynamic
@pytest.mark.parametrize("name", CASES)
def test_a_saved_layer_computes_the_same(name: str, saved: Callable[[str], str]) -> None:
    case = CASES[name]
    path = saved(name)
    with untouched():
        program = purdist.from_exported(path)
    layer = layers.without_dropout(layers.layer(name))
    expected = [tensor.numpy() for tensor in case.call(layer).values()]
    outputs = [f"output.{k}" for k in range(len(expected))] if len(expected) > 1 else ["output"]
    got = program.run(case.feed, outputs)
    assert set(program.inputs) == set(case.feed)
    # Paddle flattens dictionaries in the order of their keys, as ours are.
    for output, array in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(got[output], array)


@dynamic
@pytest.mark.parametrize("name", CASES)
def test_a_saved_layer_learns_as_in_dygraph(
    name: str, saved: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "has_fast_kernels", lambda _: False)  # see test_layer
    case = CASES[name]
    program = purdist.from_exported(saved(name))
    layer = layers.without_dropout(layers.layer(name))
    layer.train()
    outputs = case.call(layer)
    total(outputs).backward()
    found = [n for n in program.variables if n.startswith("output")]
    trained = one_step(program, found, dict(case.feed))
    before, after = read(program.scope), read(trained.program.scope)
    own = {tensor.name.partition("_deepcopy")[0]: tensor for _, tensor, _ in held_by(layer)}
    learned = 0
    for weight in program.weights:
        variable = program.variables[weight]
        tensor = own.get(weight.partition("_deepcopy")[0])
        if tensor is None or not tensor._is_initialized():
            continue
        if variable.role == "buffer":
            np.testing.assert_allclose(after[weight], tensor.numpy(), rtol=1e-6, atol=1e-6)
        elif tensor.grad is not None:
            gradient, expected = before[weight] - after[weight], tensor.grad.numpy()
            scale = max(1.0, np.abs(expected).max(), np.abs(before[weight]).max())
            assert np.abs(gradient - expected).max() <= 1e-6 * scale, weight
            learned += 1
    assert learned > 0


@dynamic
def test_weights_are_trainable_and_statistics_are_not(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Dropout(0.5))
    for parameter in layer.parameters():
        parameter.stop_gradient = True  # a teacher's, and now to learn
    layer.eval()
    paddle.jit.save(layer, str(tmp_path / "m"), [InputSpec([None, 3, 8, 8], "float32", "x")])
    program = purdist.from_exported(tmp_path / "m")
    kinds = {
        name: (v.role, v.trainable)
        for name, v in program.variables.items()
        if v.role != "activation"
    }
    assert sorted(kinds.values()) == [
        ("buffer", False),
        ("buffer", False),
        ("input", False),
        *[("parameter", True)] * 4,
    ]
    feed = {"x": numbers(0, 4, 3, 8, 8)}
    loss = purdist.CustomLoss(mean_square, {"value": "output"})
    training = purdist.minimize(purdist.apply(program, [loss]), lambda: paddle.optimizer.SGD(0.1))
    one, _ = purdist.train(training, [feed, feed], fetch=["output"])
    assert 0.4 < (one.fetched["output"] == 0).mean() < 0.6  # dropout drops again
    assert moved(weights(program), weights(training.program)) == set(program.weights)


class Detaching(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.below = nn.Linear(4, 4)
        self.above = nn.Linear(4, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.above(self.below(x).detach())


@dynamic
def test_a_gradient_that_was_stopped_stays_so(tmp_path: Path) -> None:
    layer = Detaching()
    paddle.jit.save(layer, str(tmp_path / "m"), [InputSpec([None, 4], "float32", "x")])
    program = purdist.from_exported(tmp_path / "m")
    training = one_step(program, ["output"], {"x": numbers(0, 3, 4)})
    above = {layer.above.weight.name, layer.above.bias.name}
    assert moved(weights(program), weights(training.program)) == above


def test_a_static_model_by_its_own_names(tmp_path: Path) -> None:
    net = Net.of(nets.images(dropout=0.0))
    feeds = [op.result(0) for op in net.main.global_block().ops if op.name() == "pd_op.data"]
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(
            str(tmp_path / "m"),
            feeds,
            [net.names["logits"], net.names["normed"]],
            paddle.static.Executor(),
            program=net.main,
        )
    program = purdist.from_exported(tmp_path / "m")
    assert program.variables["fetch_name_0"] is program.variables["output.0"]
    feed = {"x": numbers(0, 3, 1, 4, 4)}
    got = program.run(feed, ["output.0", "output.1"])
    expected = net.program().run(feed, ["logits", "normed"])
    np.testing.assert_array_equal(got["output.0"], expected["logits"])
    np.testing.assert_array_equal(got["output.1"], expected["normed"])


def save_old(path: Path) -> tuple[purdist.Program, dict[str, nets.Array]]:
    """An old-form model on disk, and the program it was made from."""
    with nets.old_form():
        main, startup, scope = (
            paddle.static.Program(),
            paddle.static.Program(),
            paddle.static.Scope(),
        )
        with paddle.static.program_guard(main, startup):
            image = paddle.static.data("image", [None, 3, 8, 8])
            more = paddle.static.data("more", [None, 4])
            hidden = paddle.static.nn.conv2d(image, 4, 3, name="s1")
            hidden = paddle.static.nn.batch_norm(hidden, name="norm")
            hidden = nn.functional.dropout(hidden, 0.5)
            pooled = paddle.add(hidden.mean([2, 3]), more)
            logits = paddle.static.nn.fc(pooled, 5, name="fc")
        executor = paddle.static.Executor()
        with paddle.static.scope_guard(scope):
            executor.run(startup)
            paddle.static.save_inference_model(
                str(path), [image, more], [logits, hidden], executor, program=main
            )
        program = purdist.from_static(main, scope=scope)
    feed = {"image": numbers(0, 4, 3, 8, 8), "more": numbers(1, 4, 4)}
    return program, feed


def test_an_old_model_by_all_its_names(tmp_path: Path) -> None:
    source, feed = save_old(tmp_path / "m")
    with untouched():
        program = purdist.from_exported(tmp_path / "m")
    assert program.inputs == ("image", "more")
    assert {"s1.tmp_1", "s1.w_0", "norm.w_1", "fc.tmp_1"} <= program.variables.keys()
    assert program.variables["output.0"] is program.variables["fc.tmp_1"]
    assert program.variables["norm.w_1"].role == "buffer"
    assert {v.trainable for v in map(program.variable, program.parameters)} == {True}
    common = [n for n, v in program.variables.items() if v.mode == "both" and ".tmp_" in n]
    assert len(common) > 5
    got, expected = program.run(feed, common), source.run(feed, common)
    for name in common:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    trained = [one_step(p, ["fc.tmp_1"], feed).program for p in (program, source)]
    ours, theirs = (read(p.scope)["norm.w_1"] for p in trained)
    np.testing.assert_array_equal(ours, theirs)
    moved_weights = moved(weights(program), weights(trained[0]))
    assert moved_weights == moved(weights(source), weights(trained[1])) == set(program.weights)


def test_an_old_model_from_jit_save(tmp_path: Path) -> None:
    in_a_process(
        f"""
        import paddle, numpy as np
        from paddle.static import InputSpec
        paddle.seed(0)
        net = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.ReLU(), paddle.nn.Linear(4, 2))
        net.eval()
        path = {str(tmp_path / "m")!r}
        paddle.jit.save(net, path, [InputSpec([None, 4], "float32", "x")])
        x = np.arange(8, dtype="float32").reshape(2, 4)
        np.save(path + ".npy", net(paddle.to_tensor(x)).numpy())
        """,
        FLAGS_enable_pir_api="0",
    )
    assert (tmp_path / "m.pdmodel").exists()
    program = purdist.from_exported(tmp_path / "m")
    feed = {"x": np.arange(8, dtype="float32").reshape(2, 4)}
    got = program.run(feed, ["output"])["output"]
    np.testing.assert_array_equal(got, np.load(tmp_path / "m.npy"))


def test_both_forms_in_the_old_mode(tmp_path: Path) -> None:
    source, feed = save_old(tmp_path / "old")
    for name, array in feed.items():
        np.save(tmp_path / f"{name}.npy", array)
    purdist.export(source, tmp_path / "new", ["fc.tmp_1"])
    printed = in_a_process(
        f"""
        import numpy as np, purdist
        from tests.nets import untouched

        folder = {str(tmp_path)!r}
        feed = {{name: np.load(f"{{folder}}/{{name}}.npy") for name in ("image", "more")}}
        with untouched():
            found = [purdist.from_exported(f"{{folder}}/{{form}}") for form in ("old", "new")]
        old, new = (program.run(feed, ["fc.tmp_1"])["fc.tmp_1"] for program in found)
        print(np.array_equal(old, new), float(np.abs(old).sum()))
        """,
        FLAGS_enable_pir_api="0",
    )
    expected = source.run(feed, ["fc.tmp_1"])["fc.tmp_1"]
    assert printed == f"True {float(np.abs(expected).sum())}\n"


# --- the way back -----------------------------------------------------------------------


@dynamic
def test_export_and_back(tmp_path: Path) -> None:
    program = layers.program("resnet18")
    outputs = ["output", "layer2.1", "layer1.0.conv1"]
    purdist.export(program, tmp_path / "m", outputs)
    back = purdist.from_exported(tmp_path / "m")
    assert back.inputs == program.inputs
    assert set(back.weights) == set(program.weights)
    for name in (*outputs, *program.weights, *program.inputs):
        ours, theirs = program.variable(name), back.variables[name]
        assert (ours.shape, ours.dtype, ours.role) == (theirs.shape, theirs.dtype, theirs.role)
    assert back.variables["layer2.1"].layer == program.variable("layer2.1").layer
    feed = dict(CASES["resnet18"].feed)
    got, expected = back.run(feed, outputs), program.run(feed, outputs)
    for name in outputs:
        np.testing.assert_array_equal(got[name], expected[name])
    assert moved(weights(program), weights(back)) == set()


def predicted(path: Path, feed: dict[str, nets.Array]) -> dict[str, nets.Array]:
    """What Paddle Inference computes, by the names of the outputs."""
    config = paddle.inference.Config(f"{path}.json", f"{path}.pdiparams")
    config.disable_glog_info()
    config.disable_mkldnn()
    predictor = paddle.inference.create_predictor(config)
    for name, array in feed.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    handles = {name: predictor.get_output_handle(name) for name in predictor.get_output_names()}
    return {name: handle.copy_to_cpu() for name, handle in handles.items()}


@dynamic
def test_from_a_layer_and_a_file_to_a_student_on_disk(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    teacher = layers.program("resnet50" if SLOW else "resnet18")
    student = purdist.from_exported(saved("mobilenet_v2" if SLOW else "resnet18"))
    merged = purdist.merge(teacher, student, {"x": "x"})
    features = student.variables["output"].name
    spec = purdist.SoftLabelLoss("teacher_output", features, 4.0, 4.0)
    adapted = purdist.CustomLoss(
        lambda teacher, student: (nn.Linear(10, 10)(student) - teacher).square().mean(),
        {"teacher": "teacher_output", "student": features},
        weight=0.1,
    )
    training = purdist.minimize(
        purdist.apply(merged, [spec, adapted]), lambda: paddle.optimizer.Adam(1e-3)
    )
    feed = {"x": numbers(0, 4, 3, 32, 32)}
    steps = list(purdist.train(training, [feed] * 5))
    assert steps[-1].loss < steps[0].loss
    purdist.export(training, tmp_path / "student", ["output"])
    bare = purdist.student_of(training)
    expected = bare.run(feed, ["output"])["output"]
    got = predicted(tmp_path / "student", feed)
    assert list(got) == ["output"]
    np.testing.assert_array_equal(got["output"], expected)
    np.testing.assert_array_equal(training.program.run(feed, ["output"])["output"], expected)
    back = purdist.from_exported(tmp_path / "student")
    assert set(back.weights) == set(student.weights)
    np.testing.assert_array_equal(back.run(feed, ["output"])["output"], expected)
    # The student's size: its weights, and nothing of teacher, adaptor or optimizer.
    size = sum(array.nbytes for array in weights(student).values())
    written = (tmp_path / "student.pdiparams").stat().st_size
    assert size < written < size * 1.02
    assert "teacher_" not in (tmp_path / "student.json").read_text()


@dynamic
def test_the_names_of_outputs_come_in_their_order(tmp_path: Path) -> None:
    program = layers.program("dictionaries")
    outputs = ["maps.1", "logits", "embed"]
    purdist.export(program, tmp_path / "m", outputs)
    feed = dict(CASES["dictionaries"].feed)
    got, expected = predicted(tmp_path / "m", feed), program.run(feed, outputs)
    assert list(got) == outputs
    for name in outputs:
        np.testing.assert_array_equal(got[name], expected[name])


@dynamic
def test_onnx_runs_an_exported_student(tmp_path: Path) -> None:
    paddle2onnx = pytest.importorskip("paddle2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    program = layers.program("resnet18")
    purdist.export(program, tmp_path / "m", ["output", "layer2.1"])
    # Its optimizers would install packages as they run.
    paddle2onnx.export(
        str(tmp_path / "m.json"),
        str(tmp_path / "m.pdiparams"),
        str(tmp_path / "m.onnx"),
        optimize_tool="None",
    )
    session = onnxruntime.InferenceSession(
        str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [output.name for output in session.get_outputs()] == ["output", "layer2.1"]
    feed = dict(CASES["resnet18"].feed)
    expected = program.run(feed, ["output", "layer2.1"])
    for got, name in zip(session.run(None, feed), expected, strict=True):
        np.testing.assert_allclose(got, expected[name], rtol=1e-4, atol=1e-4)


# --- errors -----------------------------------------------------------------------------


def small(path: Path) -> dict[str, nets.Array]:
    """A small model on disk."""
    purdist.export(nets.program(nets.images()), path, ["logits"])
    return {"x": numbers(0, 2, 1, 4, 4)}


def refused(path: Path) -> tuple[type[purdist.PurdistError], str]:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.from_exported(path)
    return type(caught.value), str(caught.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    assert refused(path) == (
        purdist.MissingFileError,
        f"Expected a model at {str(path)!r}, got neither 'm.json.json' nor 'm.json.pdmodel' "
        "there.\n"
        "Give the path without a suffix, as it was given to paddle.jit.save.",
    )


def test_a_model_without_its_weights(tmp_path: Path) -> None:
    small(tmp_path / "m")
    (tmp_path / "m.pdiparams").unlink()
    assert refused(tmp_path / "m") == (
        purdist.MissingFileError,
        f"Expected the weights of the model in {str(tmp_path / 'm.pdiparams')!r}, got no such "
        "file.\n"
        "Put it beside the model: the two are written together.",
    )


def test_the_weights_of_another_model(tmp_path: Path) -> None:
    small(tmp_path / "m")
    purdist.export(nets.program(nets.images(channels=5)), tmp_path / "n", ["logits"])
    (tmp_path / "n.pdiparams").replace(tmp_path / "m.pdiparams")
    (tmp_path / "m.manifest").unlink(missing_ok=True)
    assert refused(tmp_path / "m") == (
        purdist.CorruptFileError,
        "Expected the weight batch_norm2d_0.b_0 [3] float32 in "
        f"{str(tmp_path / 'm.pdiparams')!r}, got [5] float32.\n"
        "Export the model again: the file is cut off, damaged or of another model.",
    )


@pytest.mark.parametrize(
    "text", ['{"base_code": {}}', '{"base_code": []}', '{"base_code": {"magic": 1}}', "[]", "1"]
)
def test_json_that_is_no_program(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    assert refused(tmp_path / "m") == (
        purdist.CorruptFileError,
        f"Expected a PIR program in {str(tmp_path / 'm.json')!r}, got JSON of another kind.\n"
        "Export the model again: the file is cut off, damaged or of another model.",
    )


def test_a_file_that_is_cut_at_any_byte(tmp_path: Path) -> None:
    small(tmp_path / "new")
    save_old(tmp_path / "old")
    for stem, suffix in itertools.product(("new", "old"), (".json", ".pdmodel", ".pdiparams")):
        file = tmp_path / f"{stem}{suffix}"
        if not file.exists():
            continue
        whole = file.read_bytes()
        some = range(0, len(whole) - 64, 7 if SLOW else 31)
        for end in (*some, *range(len(whole) - 64, len(whole), 1 if SLOW else 3)):
            file.write_bytes(whole[:end])
            with pytest.raises(purdist.CorruptFileError):
                purdist.from_exported(tmp_path / stem)
        file.write_bytes(whole)
        purdist.from_exported(tmp_path / stem)


def test_weights_that_lack_or_have_a_byte_anywhere(tmp_path: Path) -> None:
    purdist.export(nets.program(nets.linear(sizes=(2, 2))), tmp_path / "m", ["logits"])
    file = tmp_path / "m.pdiparams"
    whole = file.read_bytes()
    for k in range(len(whole) + 1):
        for damaged in (whole[:k] + whole[k + 1 :], whole[:k] + b"\\0" + whole[k:]):
            if damaged != whole:
                file.write_bytes(damaged)
                with pytest.raises(purdist.CorruptFileError):
                    purdist.from_exported(tmp_path / "m")


@dynamic
def test_a_batch_size_that_was_exported(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    paddle.jit.save(layer, str(tmp_path / "m"), [InputSpec([4, 2, 2], "float32", "x")])
    teacher = purdist.from_exported(tmp_path / "m")
    feed = {"x": numbers(0, 3, 2, 2)}
    expected = (
        "Expected the feed x [4, 2, 2] float32, got an array of shape [3, 2, 2].\n"
        "Axis 0 must be 4, it is 3."
    )
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        teacher.run(feed, ["output"])
    assert str(caught.value) == expected
    student = purdist.from_layer(layer, {"x": InputSpec([None, 2, 2])})
    merged = purdist.merge(teacher, student, {"x": "x"})
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        merged.run(feed, ["output"])
    assert str(caught.value) == expected
    purdist.student_of(merged).run(feed, ["output"])  # alone it takes any batch
    fixed = purdist.from_layer(layer, {"x": InputSpec([3, 2, 2])})
    with pytest.raises(purdist.ShapeMismatchError) as caught:
        purdist.merge(teacher, fixed, {"x": "x"})
    assert str(caught.value) == (
        "Expected sizes that agree where both are known, got the teacher input x [4, 2, 2] "
        "float32 and the student variable x [3, 2, 2] float32.\n"
        "Map to a variable of its size, or feed it on its own: keep_inputs=['x']."
    )


@dynamic
def test_a_teacher_input_that_does_not_fit(tmp_path: Path) -> None:
    paddle.jit.save(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).astype("float64"),
        str(tmp_path / "m"),
        [InputSpec([None, 2, 2], "float64", "image")],
    )
    teacher = purdist.from_exported(tmp_path / "m")
    student = purdist.from_layer(nn.Linear(4, 2), {"x": InputSpec([None, 4])})
    with pytest.raises(purdist.SeveralFaultsError) as caught:
        purdist.merge(teacher, student, {"image": "x"})
    assert str(caught.value) == (
        "2 faults:\n"
        "1. Expected one dtype, got the teacher input image [-1, 2, 2] float64 and the student "
        "variable x [-1, 4] float32.\n"
        "Cast in the student's network, and map to a float64 variable.\n"
        "2. Expected one rank, got the teacher input image [-1, 2, 2] float64 and the student "
        "variable x [-1, 4] float32.\n"
        "Reshape in the student's network, and map to a variable of rank 3."
    )


@dynamic
@pytest.mark.parametrize("by_paddle", [False, True])
def test_a_buffer_and_what_was_frozen_do_not_learn_when_read_again(
    by_paddle: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    class Masked(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 5)
            self.last.weight.stop_gradient = True
            self.register_buffer("mask", paddle.to_tensor([1.0, 1.0, 0.0, 1.0, 0.0]))

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return self.last(self.first(x) * self.mask)

    layer, path = Masked(), str(tmp_path / "model")
    if by_paddle:
        layer.eval()
        paddle.jit.save(layer, path, input_spec=[InputSpec([None, 6])])
    else:
        purdist.export(purdist.from_layer(layer, {"x": InputSpec([None, 6])}), path, ["output"])
    again = purdist.from_exported(path)
    sizes = sorted(v.shape for v in again.variables.values() if v.trainable)
    assert sizes == [(5,), (5,), (6, 5)]
    assert len(again.weights) == 5
