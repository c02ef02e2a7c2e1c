"""Calls that users get wrong: what the second line of the error says to write is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from tests import nets

KD = purdist.KDLoss("teacher_logits", "logits")
ANY: Any = purdist  # for calls that its types refuse


def refusal(call: Callable[[], object]) -> purdist.PurdistError:
    with pytest.raises(purdist.PurdistError) as caught:
        call()
    return caught.value


def remedy(call: Callable[[], object]) -> str:
    return refusal(call).remedy


def student() -> purdist.Program:
    return nets.program(nets.linear())


def merged() -> purdist.Program:
    return purdist.merge(nets.program(nets.linear("y", (6, 5, 4))), student(), {"y": "x"})


def distillation() -> purdist.Distillation:
    return purdist.apply(merged(), [KD])


def training() -> purdist.Training:
    return purdist.minimize(distillation(), lambda: paddle.optimizer.SGD(0.1))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ANY.KDLoss("t", "s", temperature="2"), "Write temperature=2, without quotes."),
        (lambda: ANY.MiniLMLoss(*"tkvskv", heads="4"), "Write heads=4, without quotes."),
        (lambda: ANY.Schedule.warmup("500"), "Write steps=500, without quotes."),
        (lambda: ANY.NewInput("m", [-1, "3"]), "NewInput says of shape: "),
        (lambda: ANY.MiniLMLoss(*"tkvskv", heads="0"), "Write heads=12 or leave it out."),
        (lambda: ANY.MiniLMLoss(*"tkvskv", heads="4.0"), "Write heads=12 or leave it out."),
        (lambda: ANY.KDLoss("t", "s", temperature="high"), "Write temperature=4.0 or leave it"),
        (lambda: ANY.minimize(distillation(), list, seed="7"), "Write seed=7, without quotes."),
        (lambda: ANY.train(training(), [], log_every="5"), "Write log_every=5, without quotes."),
        (lambda: ANY.train(training(), [], log_every="0"), "Write log_every=1 or leave it out."),
    ],
)
def test_a_number_in_quotes_is_to_be_written_without(call: Callable[[], object], text: str) -> None:
    assert remedy(call).startswith(text)


def test_an_optimizer_is_to_be_made_by_a_function() -> None:
    with graphs.dynamic():
        made = paddle.optimizer.AdamW(1e-3, parameters=nn.Linear(2, 2).parameters())
    assert remedy(lambda: ANY.minimize(distillation(), made)) == (
        "Write a function that makes it: lambda: paddle.optimizer.Adam(1e-3)."
    )


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: ANY.apply([KD], merged()), "program and specs"),
        (lambda: ANY.cut(["0"], student()), "program and at"),
        (lambda: ANY.train([{}], training()), "training and batches"),
        (lambda: ANY.export("folder/model", student(), ["logits"]), "source and path"),
        (lambda: ANY.to_layer(nn.Linear(6, 4), student()), "source and layer"),
        (lambda: ANY.cache_teacher(distillation(), "folder", [{}]), "batches and path"),
    ],
)
def test_two_arguments_that_are_swapped_are_said_to_be(
    call: Callable[[], object], names: str
) -> None:
    error = refusal(call)
    assert len(error.faults) == 2
    for fault in error.faults:
        assert fault.remedy == f"{names} are swapped: exchange the two."


def test_two_arguments_that_are_wrong_are_not_always_swapped() -> None:
    error = refusal(lambda: ANY.apply(3, 4))
    assert [fault.remedy for fault in error.faults] == [
        "from_static, from_layer and from_exported make one; so do merge and join.",
        "apply says of specs: The terms, at least one.",
    ]


def test_what_is_to_be_written_is_code() -> None:
    assert remedy(lambda: ANY.apply(merged(), KD)) == (
        "Write specs=[KDLoss('teacher_logits', 'logits')]."
    )
    assert remedy(lambda: ANY.losses_from_data([], own=purdist.KDLoss)) == "Write own=[KDLoss]."
    long = purdist.KDLoss("teacher_" + "x" * 80, "logits")
    assert remedy(lambda: ANY.apply(merged(), long)) == (
        "apply says of specs: The terms, at least one."
    )


@pytest.mark.parametrize(
    "dtype", [paddle.float32, np.float32, np.dtype("float32"), "Float32"], ids=str
)
def test_a_dtype_is_its_name(dtype: Any) -> None:
    assert remedy(lambda: purdist.NewInput("m", (-1,), dtype)) == "Did you mean 'float32'?"


def test_a_layer_where_a_program_or_a_training_will_do_goes_to_from_layer() -> None:
    layer = nn.Linear(6, 4)
    for call in (
        lambda: ANY.export(layer, "folder/model", ["output"]),
        lambda: ANY.student_of(layer),
        lambda: ANY.save_weights(layer, "file"),
    ):
        assert remedy(call).startswith("A layer goes to from_layer: ")


@pytest.mark.parametrize(
    ("spec", "shape", "text"),
    [
        (InputSpec([None], "int64"), (8, 10), "Feed 'x' one number where this has a row: array."),
        (InputSpec([None], "int64"), (8, 1), "Reshape it to [-1]."),
        (InputSpec([None, 1, 8, 8]), (5, 8, 8), "Reshape it to [-1, 1, 8, 8]."),
        (InputSpec([None, 3, 8, 8]), (3, 8, 8), "Reshape it to [-1, 3, 8, 8]."),
        (InputSpec([None, 3, 8, 8]), (5, 8, 8), "Add the axes that it lacks: array[None] is "),
        (InputSpec([None, None], "int64"), (7,), "Add the axes that it lacks: array[None] is "),
        (InputSpec([None, 6]), (2, 3, 4), "Feed 'x' an array of rank 2."),
        (InputSpec([None, 6]), (2, 3, 6), "Feed 'x' an array of rank 2."),
    ],
)
def test_an_array_of_another_rank_keeps_its_rows(
    spec: InputSpec, shape: tuple[int, ...], text: str
) -> None:
    with graphs.dynamic():
        program = purdist.from_layer(Doubled(), {"x": spec})
    array = np.ones(shape).astype(program.variables["x"].dtype)
    assert remedy(lambda: program.run({"x": array}, ["output"])).startswith(text)
    if text.startswith("Reshape"):
        array = array.reshape(program.variables["x"].shape)
        assert program.run({"x": array}, ["output"])["output"].shape == array.shape


class Doubled(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + x


def test_sizes_that_are_wrong_are_one_fault() -> None:
    with graphs.dynamic():
        program = purdist.from_layer(Doubled(), {"x": InputSpec([None, 1, 8, 8])})
    error = refusal(lambda: program.run({"x": np.zeros((2, 1, 16, 9), "float32")}, ["output"]))
    assert not error.faults
    assert error.remedy == "Axis 2 must be 8, it is 16; axis 3 must be 8, it is 9."


def test_a_label_or_mask_that_is_no_variable_is_to_be_fed() -> None:
    loss = purdist.CrossEntropyLoss("logits", "label")
    assert remedy(lambda: purdist.apply(student(), [loss])).startswith(
        "To feed it, write NewInput('label'). "
    )
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    assert "label" in purdist.apply(student(), [loss]).program.inputs
    other = purdist.KDLoss("teacher_lgits", "logits")
    assert "NewInput" not in remedy(lambda: purdist.apply(merged(), [other]))


def joined() -> purdist.Program:
    return purdist.join(nets.program(nets.linear("y", (6, 5, 4))), student(), {"y": "x"})


def test_a_peer_is_called_a_peer() -> None:
    program = joined()
    assert remedy(lambda: purdist.apply(program, [purdist.MutualLoss("logits", "logits")])) == (
        "What is a peer's bears the prefix given to join: 'peer_output'."
    )
    lost = purdist.MutualLoss("teacher_logits", "logits")
    assert remedy(lambda: purdist.apply(program, [lost])) == (
        "No teacher is merged into this program, but a peer is joined to it: 'peer_logits'."
    )
    peer = nets.program(nets.linear("y", (6, 5, 4)))
    error = refusal(lambda: purdist.join(peer, student(), {"peer_y": "x"}))
    assert [fault.problem.partition(", got")[0] for fault in error.faults] == [
        "Expected the name of a peer input",
        "Expected data_name_map to cover every peer input",
    ]
    assert refusal(lambda: purdist.join(peer, student(), {"x": "y"})).problem.endswith(
        "which goes from student to peer."
    )
