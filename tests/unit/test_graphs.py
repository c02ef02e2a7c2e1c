from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import paddle
import pytest
from paddle.utils import unique_name

from purdist import graphs
from tests import nets
from tests.nets import Net


def names_of(net: Net, **given: paddle.Tensor) -> list[str]:
    return list(graphs.made_names(graphs.operations(net.main), given))


def test_values_are_named_in_program_order_by_op() -> None:
    net = Net.of(nets.linear(sizes=(6, 5, 4)))
    weights = [f"dense_{k}.{kind}" for k in (1, 0) for kind in "bw"]
    assert names_of(net) == [*weights, "x", "matmul_0", "add_0", "tanh_0", "matmul_1", "add_1"]
    assert names_of(net, out=net.names["logits"])[-2:] == ["matmul_1", "out"]


def test_further_results_of_an_op_are_numbered_after_a_point() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        values, places = paddle.topk(paddle.static.data("x", [None, 6]), 2)
        return {"values": values, "places": places}

    net = Net.of(forward)
    assert [name for name in names_of(net) if name.startswith("topk")] == ["topk_0", "topk_0.1"]


def test_a_made_name_never_meets_another() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        value = paddle.static.data("tanh_0", [None, 6])
        return {"out": paddle.tanh(paddle.tanh(value))}

    net = Net.of(forward)
    assert names_of(net) == ["tanh_0", "tanh_0_", "tanh_1"]
    ops = list(graphs.operations(net.main))
    under = graphs.made_names(ops, {}, prefix="loss/", taken=["loss/tanh_1"])
    assert list(under) == ["tanh_0", "loss/tanh_0", "loss/tanh_1_"]


def test_operations_in_regions_are_listed_on_request() -> None:
    net = Net.of(nets.looping())
    outside = [graphs.short_name(op) for op in graphs.operations(net.main)]
    inside = [graphs.short_name(op) for op in graphs.operations(net.main, regions=True)]
    assert "batch_norm" not in outside
    assert inside.count("batch_norm") == 2
    assert [name for name in inside if name == "while"] == ["while"]


def test_running_statistics_are_the_parameters_that_ops_write() -> None:
    statistics = {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
    net = Net.of(nets.images())
    assert graphs.written_parameters(net.main) == statistics
    assert graphs.written_parameters(Net.of(nets.linear()).main) == set()
    inferring = graphs.Graph(net.main, {}).copy()
    graphs.set_inference(inferring)
    assert graphs.written_parameters(inferring.program) == set()
    assert graphs.written_parameters(net.main) == statistics


def test_inference_mode_goes_into_regions() -> None:
    draft = graphs.Graph(Net.of(nets.looping()).main, {}).copy()
    assert graphs.random_operations(draft.program) == [("dropout", "")] * 2
    graphs.set_inference(draft)
    assert graphs.random_operations(draft.program) == []
    modes = [
        op.attrs()["is_test"]
        for op in graphs.operations(draft.program, regions=True)
        if op.has_attr("is_test")
    ]
    assert modes == [True] * 4


def test_a_draft_that_is_finished_is_changed_no_more() -> None:
    draft = graphs.Graph(Net.of(nets.linear()).main, {}).copy()
    finished = draft.finish()
    for change in (graphs.set_inference, graphs.derive_gradients, graphs.mend_loops):
        with pytest.raises(AssertionError, match="a graph that is finished is not changed"):
            change(draft)
    with pytest.raises(AssertionError), draft.appending():
        pass
    assert not graphs.optimizer_operations(finished.program)  # but may be looked at


def test_a_copy_carries_what_optimizers_ask_of_parameters() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        decay = paddle.regularizer.L2Decay(0.5)
        attr = paddle.ParamAttr(learning_rate=0.25, regularizer=decay, need_clip=False)
        layer = paddle.nn.Linear(6, 4, weight_attr=attr)
        return {"out": layer(paddle.static.data("x", [None, 6]))}

    net = Net.of(forward)
    graph = graphs.Graph(net.main, graphs.made_names(graphs.operations(net.main), net.names))
    for made in (
        graph.copy(),
        graphs.cut(graph, ["out"]),
        graphs.adopt(graph, without_memory=()),
    ):
        weight = made.values["linear_0.w_0"]
        assert weight.optimize_attr == {"learning_rate": 0.25}
        assert str(weight.regularizer) == "L2Decay, coeff=0.500000"
        assert not weight.need_clip
        assert weight.trainable
        assert made.values["linear_0.b_0"].need_clip


def test_optimizer_ops_are_known_by_name() -> None:
    net = Net.of(nets.linear())
    assert graphs.optimizer_operations(net.main) == []
    with paddle.static.program_guard(net.main, net.startup):
        paddle.optimizer.AdamW(0.1).minimize(net.names["logits"].mean())
    found = graphs.optimizer_operations(net.main)
    assert "adamw_" in found
    assert "matmul_grad" in found


def _dynamic() -> AbstractContextManager[object]:
    return paddle.base.dygraph.guard()


@pytest.mark.parametrize("mode", [nullcontext, _dynamic, paddle.pir_utils.OldIrGuard])
def test_building_is_static_and_pir_inside_and_as_found_outside(
    mode: Callable[[], AbstractContextManager[object]],
) -> None:
    with mode(), nets.untouched():
        with graphs.building():
            assert not paddle.in_dynamic_mode()
            assert paddle.framework.in_pir_mode()
            assert unique_name.generate("linear") == "linear_0"
            paddle.seed(5)
            paddle.nn.Linear(2, 2)(paddle.static.data("x", [None, 2]))
            with graphs.building():
                assert unique_name.generate("linear") == "linear_0"
            assert graphs.is_program(paddle.static.default_main_program())
        with pytest.raises(ZeroDivisionError):
            _break_off()


def _break_off() -> None:
    with graphs.building():
        paddle.nn.Linear(2, 2)
        raise ZeroDivisionError


def test_one_thread_builds_at_a_time() -> None:
    texts: set[str] = set()

    def build() -> None:
        for _ in range(20):
            with graphs.building():
                value = paddle.static.data("x", [None, 3])
                paddle.nn.Linear(3, 2)(paddle.nn.Linear(3, 3)(value))
                texts.add(str(paddle.static.default_main_program()))

    threads = [threading.Thread(target=build) for _ in range(4)]
    with nets.untouched():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 1


def test_a_seed_is_a_random_state_and_a_random_state_a_seed(dynamic: None) -> None:
    def state_of(seed: int) -> str:
        with graphs.random_state(seed):
            return nets.random_state()

    with nets.untouched():
        assert state_of(1) == state_of(1) != state_of(2)
    begun = graphs.seed_of_state()
    assert graphs.seed_of_state() == begun
    paddle.seed(7)
    seeded = graphs.seed_of_state()
    paddle.rand([2])
    assert len({begun, seeded, graphs.seed_of_state()}) == 3


def test_a_place_is_the_current_one_unless_given() -> None:
    assert str(graphs.place_of(None)) == "Place(cpu)"
    assert str(graphs.place_of("cpu")) == "Place(cpu)"
    place = paddle.CPUPlace()
    assert graphs.place_of(place) is place
