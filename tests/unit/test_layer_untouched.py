"""`from_layer` leaves the layer, the process and other threads as they were."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.jit.dy2static import parameter_recorder
from paddle.static import InputSpec

import purdist
from purdist.sources.weights import held_by
from tests import layers
from tests.nets import in_a_process, numbers, untouched

ROW = InputSpec([None, 4])


class Remembering(nn.Layer):
    """Keeps in itself what it sees, in every way that Python has."""

    calls: paddle.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1D(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", paddle.zeros([1]))
        self.features: list[paddle.Tensor] = []
        self.by_name: dict[str, paddle.Tensor] = {}
        self.times = 0

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.drop(self.norm(self.linear(x)))
        self.calls = self.calls + 1.0
        self.features.append(x)
        self.by_name["x"] = x
        self.times += 1
        self.latest = x
        return x * self.calls


def state(layer: nn.Layer) -> dict[str, Any]:
    """All that there is to know of a layer."""
    found: dict[str, Any] = {}
    for path, sublayer in layer.named_sublayers(include_self=True):
        for key, held in sublayer.__dict__.items():
            found[f"{path}/{key}"] = (id(held), list(held) if hasattr(held, "__iter__") else held)
            if isinstance(held, dict):
                found[f"{path}/{key}/values"] = [id(value) for value in held.values()]
    for name, tensor, _ in held_by(layer):
        found[f"{name}/memory"] = tensor.get_tensor()._ptr()
        found[f"{name}/bytes"] = np.array(tensor).tobytes()
        found[f"{name}/flag"] = tensor.stop_gradient
    return found


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("training", [True, False])
def test_the_layer_is_as_it_was(*, training: bool) -> None:
    layer = Remembering()
    (layer.train if training else layer.eval)()
    layer.norm.eval()
    layer(paddle.to_tensor(numbers(0, 3, 4)))
    called: list[str] = []
    layer.linear.register_forward_pre_hook(lambda *_: called.append("before"))
    layer.linear.register_forward_post_hook(lambda *_: called.append("after"))
    before = state(layer)
    with untouched():
        program = purdist.from_layer(layer, {"x": ROW})
    assert state(layer) == before
    # Both modes traced, both tried, and tried again: an attribute counts the calls.
    assert called == ["before", "after"] * 6
    assert len(layer.features) == 1
    x = numbers(0, 3, 4)
    assert program.run({"x": x}, ["output"])["output"].shape == (3, 4)
    assert state(layer) == before  # not at the run either


@pytest.mark.usefixtures("dynamic")
def test_a_hook_that_replaces_an_output_does_so_in_the_program() -> None:
    layer = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    layer[0].register_forward_post_hook(lambda _, __, output: output * 2.0)
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1.0,))
    layer.register_forward_post_hook(lambda _, __, output: {"logits": output})
    layer.eval()
    x = numbers(0, 3, 4)
    program = purdist.from_layer(layer, {"x": ROW})
    got = program.run({"x": x}, ["0", "logits"])
    expected = layer(paddle.to_tensor(x))["logits"]
    np.testing.assert_array_equal(got["logits"], expected.numpy())
    hidden = layer[0](paddle.to_tensor(x) + 1.0)
    np.testing.assert_array_equal(got["0"], hidden.numpy())


@pytest.mark.usefixtures("dynamic")
def test_a_layer_that_fails_is_as_it_was_too() -> None:
    layer = nn.Sequential(Remembering(), nn.Linear(5, 2))
    before = state(layer)
    with untouched(), pytest.raises(purdist.TracingError):
        purdist.from_layer(layer, {"x": ROW})
    assert state(layer) == before
    # By the address of a program that is gone, and that the next may have.
    assert not parameter_recorder._global_parameter_recorder.params_dict


def test_static_mode_is_left_too() -> None:
    paddle.disable_static()
    layer = Remembering()
    paddle.enable_static()
    before = state(layer)
    with untouched():
        program = purdist.from_layer(layer, {"x": ROW})
    assert state(layer) == before
    x = numbers(0, 3, 4)
    got = program.run({"x": x}, ["output"])["output"]
    paddle.disable_static()
    layer.eval()
    np.testing.assert_array_equal(got, layer(paddle.to_tensor(x)).numpy())


def test_the_old_mode_is_left_too() -> None:
    printed = in_a_process(
        """
        import numpy as np, paddle, purdist
        from tests import layers
        from tests.nets import untouched

        case = layers.CASES["looping"]
        layer = layers.layer("looping")
        with untouched():
            program = layers.program("looping")
        got = program.run(case.feed, ["output"])["output"]
        print(np.array_equal(got, case.call(layer)["output"].numpy()))
        """,
        FLAGS_enable_pir_api="0",
    )
    assert printed == "True\n"


@pytest.mark.usefixtures("dynamic")
def test_threads_do_not_disturb_each_other() -> None:
    names = ["shared", "looping", "gru", "transformer", "shared"]
    made = [layers.layer(name) for name in names]
    programs: list[purdist.Program | None] = [None] * len(names)

    def enter(k: int) -> None:
        programs[k] = purdist.from_layer(made[k], layers.CASES[names[k]].inputs())

    threads = [threading.Thread(target=enter, args=(k,)) for k in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, layer, program in zip(names, made, programs, strict=True):
        case = layers.CASES[name]
        expected = case.call(layer)
        assert program is not None
        got = program.run(case.feed, list(expected))
        for output, tensor in expected.items():
            np.testing.assert_array_equal(got[output], tensor.numpy())


def test_what_a_hook_keeps_can_be_looked_at() -> None:
    printed = in_a_process(
        """
        import gc, paddle, purdist
        from paddle import nn
        from paddle.static import InputSpec

        kept = []

        class Keeping(nn.Layer):
            def forward(self, x):
                kept.append(x)
                return x * 2.0

        def fails(layer, given, output):
            raise ValueError("no")

        X = {"x": InputSpec([None, 6])}
        layer = nn.Sequential(nn.Linear(6, 5), Keeping(), nn.Linear(5, 3))
        layer[0].register_forward_post_hook(lambda _, given, out: kept.append((out, out.detach())))
        purdist.from_layer(layer, X)
        purdist.from_layer(nn.Sequential(nn.Linear(6, 5), Keeping()), X)
        layer[2].register_forward_post_hook(fails)
        try:
            purdist.from_layer(layer, X)
        except purdist.TracingError:
            del layer
        gc.collect()
        for thing in kept:
            for value in thing if isinstance(thing, tuple) else [thing]:
                print(value.shape[-1], end=" ")
                str(value)
        """
    )
    assert set(printed.split()) == {"5"}
