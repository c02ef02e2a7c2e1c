"""The two modes of a network as one value."""

from __future__ import annotations

import attrs
import paddle
import pytest

import purdist
from purdist.errors import InvalidArgumentError
from purdist.program import internals_of
from tests import nets

TRAINING_ALONE = "dropout_0.1"
"""The mask of a dropout."""


@pytest.fixture
def network() -> purdist.Program:
    return nets.program(nets.images())


@pytest.fixture
def merged(network: purdist.Program) -> purdist.Program:
    return purdist.merge(network, network, {"x": "x"})


def test_a_name_is_of_the_modes_that_compute_it(network: purdist.Program) -> None:
    modes = internals_of(network).modes
    assert modes.mode_of("logits") == "both"
    assert modes.mode_of(TRAINING_ALONE) == "training"
    assert modes.mode_of("nobody") is None
    assert set(modes.names()) == {*modes.training.values, *modes.inference.values}
    assert modes.value("logits").id == modes.training.values["logits"].id


def test_all_of_a_merged_network_is_in_both_modes(merged: purdist.Program) -> None:
    assert internals_of(merged).modes.mode_of("teacher_logits") == "both"
    assert internals_of(merged).modes.mode_of(f"teacher_{TRAINING_ALONE}") is None
    assert f"teacher_{TRAINING_ALONE}" not in merged.variables
    assert internals_of(merged).modes.mode_of("teacher_") is None  # no more than the prefix


def test_what_pruning_leaves_in_one_mode_says_so(merged: purdist.Program) -> None:
    """A loss that only training computes leaves nothing of a teacher in the graph that infers."""

    def share(mask: paddle.Tensor, logits: paddle.Tensor) -> paddle.Tensor:
        return mask.astype("float32").mean() * logits.mean()

    spec = purdist.CustomLoss(share, {"mask": TRAINING_ALONE, "logits": "teacher_logits"})
    program = purdist.apply(merged, [spec]).program
    assert program.variables["teacher_logits"].mode == "training"
    assert program.variables["logits"].mode == "both"
    with pytest.raises(InvalidArgumentError, match="which is computed in training alone"):
        program.run({"x": nets.numbers(0, 2, 1, 4, 4)}, ["teacher_logits"])


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("logits", {"mode": "training"}, "logits is in both, not in training"),
        (TRAINING_ALONE, {"mode": "both"}, "dropout_0.1 is in training, not in both"),
        ("logits", {"role": "input"}, "input logits is declared as {None}"),
    ],
)
def test_variables_that_the_graphs_do_not_hold_make_no_program(
    network: purdist.Program, name: str, changes: dict[str, str], fault: str
) -> None:
    wrong = attrs.evolve(network.variables[name], **changes)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=fault):
        attrs.evolve(internals_of(network), variables={**network.variables, name: wrong})
    without = {key: v for key, v in network.variables.items() if key != name}
    attrs.evolve(internals_of(network), variables=without)  # a value need have no name
