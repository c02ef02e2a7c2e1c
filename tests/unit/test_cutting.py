"""`cut`: a program in two."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

import purdist
from tests.nets import images, looping, numbers, program, untouched


@pytest.mark.parametrize("at", [["convolved"], ["normed"], ["dropped"], ["convolved", "normed"]])
def test_both_halves_are_the_whole_to_the_bit(at: list[str]) -> None:
    network = program(images())
    feed = {"x": numbers(1, 5, 1, 4, 4)}
    with untouched(network):
        before, after = purdist.cut(network, at)
    fetched = before.run(feed, at)
    fed = {name: array for name, array in (fetched | feed).items() if name in after.inputs}
    whole = network.run(feed, ["logits"])["logits"]
    assert after.run(fed, ["logits"])["logits"].tobytes() == whole.tobytes()


def test_the_halves_own_what_they_compute_with() -> None:
    before, after = purdist.cut(program(images()), ["normed"])
    assert before.inputs == ("x",)
    assert after.inputs == ("normed",)
    assert set(before.parameters).isdisjoint(after.parameters)
    assert "logits" not in before.variables
    assert "convolved" not in after.variables
    assert after.variables["normed"].role == "input"
    assert after.variables["normed"].shape == (-1, 3, 4, 4)


def test_what_is_fed_goes_by_the_name_it_was_cut_at() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        values = dict(images()())
        return {**values, "second name": values["normed"]}

    for at, other in (("normed", "second name"), ("second name", "normed")):
        _, after = purdist.cut(program(forward), [at])
        assert after.inputs == (at,)
        assert after.variables[other].name == at
        answer = after.run({at: numbers(1, 5, 3, 4, 4)}, ["logits", other])
        np.testing.assert_array_equal(answer[other], numbers(1, 5, 3, 4, 4))


def test_an_input_that_both_need_both_have() -> None:
    before, after = purdist.cut(program(looping()), ["looped"])
    assert before.inputs == ("x",)
    assert after.inputs == ("looped",)


def test_what_is_cut_off_trains_on() -> None:
    _, after = purdist.cut(program(images()), ["normed"])
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    training = purdist.minimize(purdist.apply(after, [loss]), lambda: paddle.optimizer.Adam(0.01))
    feed = {"normed": numbers(1, 8, 3, 4, 4), "label": np.arange(8) % 4}
    steps = [step.loss for step in purdist.train(training, [feed] * 20)]
    assert steps[-1] < steps[0]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (
            [],
            "Expected at least one variable to cut at, got none.\n"
            "print(program) lists the variables.",
        ),
        (
            ["conv2d_0.w_0"],
            "Expected an activation to cut at, got the parameter conv2d_0.w_0 [3, 1, 3, 3] "
            "float32.\nCut at what the network computes.",
        ),
        (
            ["lögits"],
            "Expected the name of a variable, got 'lögits', which the program does not have.\n"
            "Did you mean logits [-1, 4] float32?",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(at: list[str], text: str) -> None:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.cut(program(images()), at)
    assert str(caught.value) == text
