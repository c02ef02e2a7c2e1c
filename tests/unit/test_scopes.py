from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import paddle
import pytest

import purdist
from purdist import scopes
from tests import nets


@pytest.fixture
def source() -> paddle.static.Scope:
    """A scope that holds ``w``, and the bare name ``absent``."""
    scope = scopes.new_scope()
    scope.var("absent")
    scope.var("w").get_tensor().set(nets.numbers(0, 2, 3), paddle.CPUPlace())
    return scope


def rewrite(scope: paddle.static.Scope, name: str) -> None:
    scope.var(name).get_tensor().set(nets.numbers(1, 2, 3), paddle.CPUPlace())


def test_absent_is_a_name_without_memory(source: paddle.static.Scope) -> None:
    assert scopes.tensor_of(source, "absent") is None
    assert scopes.tensor_of(source, "a name that it has not") is None
    tensor = scopes.tensor_of(source, "w")
    assert tensor is not None
    assert tensor.shape() == [2, 3]


def test_shared_is_another_name_for_the_same_memory(source: paddle.static.Scope) -> None:
    target = scopes.new_scope()
    scopes.share(source, target, ["w"], rename="t_".__add__)
    here, there = scopes.tensor_of(source, "w"), scopes.tensor_of(target, "t_w")
    assert here is not None
    assert there is not None
    assert here._ptr() == there._ptr()
    assert target.local_var_names() == ["t_w"]


def test_copied_has_memory_of_its_own(source: paddle.static.Scope) -> None:
    target = scopes.new_scope()
    scopes.copy(source, target, ["w"], paddle.CPUPlace(), rename="s_".__add__)
    before = nets.read(source)["w"].tobytes()
    rewrite(target, "s_w")
    assert nets.read(source)["w"].tobytes() == before
    rewrite(source, "w")
    scopes.copy(source, target, ["w"], paddle.CPUPlace())
    assert nets.read(target)["w"].tobytes() == nets.read(source)["w"].tobytes()


def test_values_are_arrays_of_their_own(source: paddle.static.Scope) -> None:
    held = scopes.values(source, ["w"])
    before = held["w"].copy()
    rewrite(source, "w")
    assert list(held) == ["w"]
    assert held["w"].tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_is_written_in_the_dtype_that_is_there(dtype: str) -> None:
    scope = scopes.new_scope()
    rate = nets.numbers(0, 1, dtype=dtype)
    scope.var("rate").get_tensor().set(rate, paddle.CPUPlace())
    scopes.write(scope, "rate", 0.25, paddle.CPUPlace())
    got = nets.read(scope)["rate"]
    assert (got.dtype, got.tolist()) == (rate.dtype, [0.25])


def test_what_has_no_memory_cannot_be_handed_on(source: paddle.static.Scope) -> None:
    with pytest.raises(purdist.UninitializedWeightsError) as caught:
        scopes.share(source, scopes.new_scope(), ["absent"])
    assert str(caught.value) == (
        "Expected the scope to hold the weight 'absent', got no memory for it.\n"
        "Run the startup program in this scope first."
    )


def test_a_scope_goes_with_its_weights_when_nobody_holds_it() -> None:
    """One of Paddle's own stays until the process ends."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    array = np.ones(1 << 20, "float32")
    before = resident()
    for _ in range(50):
        scopes.put(scopes.new_scope(), "w", array, paddle.CPUPlace())
    assert resident() - before < 10 * array.nbytes


def test_a_scope_stays_for_who_holds_it_alone() -> None:
    network = nets.program(nets.linear())
    scope, before = network.scope, nets.weights(network)
    del network
    gc.collect()
    held = nets.read(scope)
    assert {name: held[name].tobytes() for name in before} == {
        name: array.tobytes() for name, array in before.items()
    }


def test_a_weight_stays_for_who_holds_it_alone() -> None:
    expected = nets.weights(nets.program(nets.linear()))
    for name, array in expected.items():
        variable = nets.program(nets.linear()).scope.find_var(name)
        assert variable is not None
        tensor = nets.program(nets.linear()).scope.find_var(name).get_tensor()  # type: ignore[union-attr]
        gc.collect()
        for _ in range(5):
            nets.program(nets.linear(), seed=3)  # would write over memory that was given back
        assert np.array(tensor).tobytes() == array.tobytes()
        assert np.array(variable.get_tensor()).tobytes() == array.tobytes()
