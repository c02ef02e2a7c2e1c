"""Updates: over several batches, withheld where the loss is not finite, averaged, and followed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import paddle
import pytest

import purdist
from purdist import scopes
from purdist.graphs.running import sections
from purdist.training.values import session_of
from tests import nets
from tests.nets import Array, numbers

OPTIMIZERS: dict[str, Callable[[], paddle.optimizer.Optimizer]] = {
    "SGD": lambda: paddle.optimizer.SGD(0.1),
    "Momentum": lambda: paddle.optimizer.Momentum(
        0.1, weight_decay=0.01, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.05)
    ),
    "Adam": lambda: paddle.optimizer.Adam(paddle.optimizer.lr.StepDecay(0.05, 2)),
    "AdamW": lambda: paddle.optimizer.AdamW(0.05, grad_clip=paddle.nn.ClipGradByValue(0.05)),
    "Lamb": lambda: paddle.optimizer.Lamb(0.05),
}


def normalised() -> dict[str, paddle.Tensor]:
    """A network with running statistics and dropout."""
    x = paddle.static.data("x", [None, 6])
    hidden = paddle.nn.BatchNorm1D(5)(paddle.nn.Linear(6, 5)(x))
    hidden = paddle.nn.functional.dropout(hidden, 0.3)
    return {"logits": paddle.nn.Linear(5, 4)(hidden), "hidden": hidden}


def distilled(
    forward: nets.Forward | None = None, *, dtype: str = "float32"
) -> purdist.Distillation:
    forward = forward or nets.linear(dtype=dtype)
    teacher = nets.program(nets.linear("y", dtype=dtype), seed=1)
    merged = purdist.merge(teacher, nets.program(forward), {"y": "x"})
    losses = [
        purdist.KDLoss("teacher_logits", "logits"),
        0.5 * purdist.L2Loss("teacher_logits", "logits"),
    ]
    return purdist.apply(merged, losses)


def values(scope: paddle.static.Scope, names: Iterable[str]) -> dict[str, Array]:
    """The weights of these names, in copies."""
    found: dict[str, Array] = {**scopes.values(scope, names)}
    return found


def kept(training: purdist.Training) -> dict[str, Array]:
    """All that moves."""
    session = session_of(training)
    return values(session.progress.scope, session.kept)


def trained(training: purdist.Training, feeds: list[dict[str, Array]]) -> list[purdist.Step]:
    return list(purdist.train(training, feeds))


def same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    assert one.keys() == other.keys()
    assert one
    return all(np.array_equal(one[name], other[name]) for name in one)


# --- several batches ----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_four_batches_make_the_update_of_the_joined_one(name: str) -> None:
    parts = [
        [numbers(10 * update + k, 4, 6, dtype="float64") for k in range(4)] for update in range(3)
    ]
    apart = purdist.minimize(distilled(dtype="float64"), OPTIMIZERS[name], accumulate=4)
    joined = purdist.minimize(distilled(dtype="float64"), OPTIMIZERS[name])
    told = trained(apart, [{"x": x} for batch in parts for x in batch])
    whole = trained(joined, [{"x": np.concatenate(batch)} for batch in parts])
    assert [step.index for step in told] == [0, 1, 2]
    assert apart.steps == joined.steps == 3
    for one, other in zip(told, whole, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.terms == pytest.approx(other.terms, rel=1e-6)
        assert one.learning_rate == other.learning_rate
    for name_, array in kept(joined).items():
        np.testing.assert_allclose(kept(apart)[name_], array, rtol=1e-6, atol=1e-7, err_msg=name_)


def test_a_step_of_several_batches_tells_means_and_fetches_of_the_last() -> None:
    feeds = [{"x": numbers(k, 4, 6)} for k in range(6)]
    one_by_one = purdist.minimize(distilled(), lambda: paddle.optimizer.SGD(0.0))
    alone = list(purdist.train(one_by_one, feeds, fetch=["logits"]))
    training = purdist.minimize(distilled(), lambda: paddle.optimizer.SGD(0.0), accumulate=3)
    steps = list(purdist.train(training, feeds, fetch=["logits"], log_every=2))
    assert [step.index for step in steps] == [1]
    assert steps[0].loss == pytest.approx(np.mean([step.loss for step in alone[3:]]), rel=1e-12)
    np.testing.assert_array_equal(steps[0].fetched["logits"], alone[5].fetched["logits"])


def test_a_plateau_is_told_the_mean_and_once_an_update() -> None:
    def make() -> paddle.optimizer.Optimizer:
        plateau = paddle.optimizer.lr.ReduceOnPlateau(0.1, patience=0, threshold=10.0)
        return paddle.optimizer.SGD(plateau)

    training = purdist.minimize(distilled(), make, accumulate=2)
    rates = [s.learning_rate for s in trained(training, [{"x": numbers(0, 4, 6)}] * 6)]
    assert rates == pytest.approx([0.1, 0.1, 0.01])


def test_a_rest_is_dropped_with_a_warning_and_moves_nothing() -> None:
    training = purdist.minimize(distilled(normalised), OPTIMIZERS["Adam"], accumulate=3, seed=3)
    whole = purdist.minimize(distilled(normalised), OPTIMIZERS["Adam"], accumulate=3, seed=3)
    feeds = [{"x": numbers(k, 4, 6)} for k in range(8)]
    before = trained(whole, feeds[:6])
    with pytest.warns(purdist.PurdistWarning, match="The last 2 batches are no update"):
        assert trained(training, feeds) == before
    assert same(kept(training), kept(whole))
    # The next update knows nothing of them.
    assert trained(training, feeds[:3]) == trained(whole, feeds[:3])
    assert same(kept(training), kept(whole))


def test_what_a_refused_batch_leaves_of_an_update_moves_nothing() -> None:
    training = purdist.minimize(distilled(normalised), OPTIMIZERS["Adam"], accumulate=3, seed=3)
    whole = purdist.minimize(distilled(normalised), OPTIMIZERS["Adam"], accumulate=3, seed=3)
    feeds = [{"x": numbers(k, 4, 6)} for k in range(3)]
    before = kept(training)
    with pytest.raises(purdist.ShapeMismatchError):
        trained(training, [*feeds[:2], {"x": numbers(0, 4, 7)}])
    assert same(kept(training), before)
    assert trained(training, feeds) == trained(whole, feeds)
    assert same(kept(training), kept(whole))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_in_sections_is_the_update_to_the_bit(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = [{"x": numbers(k, 4, 6)} for k in range(4)]

    def run() -> dict[str, Array]:
        training = purdist.minimize(
            distilled(normalised),
            OPTIMIZERS["Momentum"],
            accumulate=accumulate,
            average=0.9,
            seed=1,
        )
        trained(training, feeds)
        return kept(training)

    whole = run()
    monkeypatch.setattr(sections, "LONG", 1)
    monkeypatch.setattr(sections, "SECTION", 7)
    assert same(run(), whole)


# --- what is not finite -------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("log_every", [1, 100])
def test_an_update_of_a_loss_that_is_not_finite_is_withheld(
    name: str, accumulate: int, log_every: int
) -> None:
    training = purdist.minimize(
        distilled(normalised), OPTIMIZERS[name], accumulate=accumulate, average=0.9
    )
    good = [{"x": numbers(k, 4, 6)} for k in range(4)]
    list(purdist.train(training, good))
    before = kept(training)
    bad = numbers(9, 4, 6)
    bad[1, 2] = np.inf
    with pytest.raises(purdist.NonFiniteError) as caught:
        list(
            purdist.train(
                training, [good[0]] * (accumulate - 1) + [{"x": bad}], log_every=log_every
            )
        )
    text = str(caught.value)
    assert f"at step {4 // accumulate}: " in text
    assert "the term 'kd_0' is nan" in text
    assert "the term 'l2_0' is" in text
    assert "The first variable that is infinite is x [-1, 6] float32." in text
    assert same(kept(training), before)
    assert training.steps == 4 // accumulate
    list(purdist.train(training, good))  # and goes on


def test_what_is_infinite_at_every_batch_is_no_fault() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [None, 4])
        logits = paddle.nn.Linear(4, 4)(x)
        barred = paddle.log((paddle.arange(4) < 3).astype("float32"))  # log 0 for the last
        return {"masked": logits + barred, "root": paddle.sqrt(x[:, :1]), "logits": logits}

    def loss(masked: paddle.Tensor, root: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.softmax(masked).square().mean() + root.mean()

    program = nets.program(forward)
    term = purdist.CustomLoss(loss, {"masked": "masked", "root": "root"})
    training = purdist.minimize(purdist.apply(program, [term]), OPTIMIZERS["SGD"])
    good = np.abs(numbers(0, 3, 4))
    with pytest.raises(purdist.NonFiniteError, match="The first variable that is nan is root "):
        list(purdist.train(training, [{"x": good}, {"x": good}, {"x": -good}]))


def test_a_weight_that_is_not_finite_ends_training() -> None:
    def loss(x: paddle.Tensor) -> paddle.Tensor:  # sqrt at 0: 0, with an infinite gradient
        return paddle.sqrt((x - x.detach()).square()).mean()

    program = nets.program(nets.linear())
    term = purdist.CustomLoss(loss, {"x": "logits"})
    training = purdist.minimize(purdist.apply(program, [term]), OPTIMIZERS["SGD"])
    steps = purdist.train(training, [{"x": numbers(0, 3, 6)}])
    assert next(steps).loss == 0.0
    with pytest.raises(
        purdist.NonFiniteError, match="finite weights after step 0, got nan or infinite"
    ):
        next(steps)


# --- averages -----------------------------------------------------------------------------


def test_the_average_is_what_numpy_makes_of_the_weights() -> None:
    training = purdist.minimize(distilled(normalised), OPTIMIZERS["Adam"], average=0.8)
    program = training.program
    names = [n for n in program.parameters if program.variables[n].trainable]
    expected = values(program.scope, names)
    for _ in purdist.train(training, [{"x": numbers(k, 4, 6)} for k in range(5)]):
        now = values(program.scope, names)
        expected = {n: 0.8 * expected[n] + 0.2 * now[n] for n in names}
    averaged = purdist.student_of(training, averaged=True)
    plain = purdist.student_of(training)
    assert set(names) <= set(averaged.weights) == set(plain.weights)
    for name in averaged.weights:
        got = values(averaged.scope, [name])[name]
        if name in names:
            np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-7)
            assert not np.array_equal(got, values(plain.scope, [name])[name])
        else:
            np.testing.assert_array_equal(got, values(plain.scope, [name])[name])
    found = purdist.evaluate(training, [{"x": numbers(3, 5, 6)}], {"loss": "l2_0"}, averaged=True)
    again = purdist.evaluate(training, [{"x": numbers(3, 5, 6)}], {"loss": "l2_0"})
    assert found != again


def test_a_student_without_an_average_is_told_to_keep_one() -> None:
    training = purdist.minimize(distilled(), OPTIMIZERS["SGD"])
    with pytest.raises(purdist.InvalidArgumentError, match=r"average=0\.999"):
        purdist.student_of(training, averaged=True)
    with pytest.raises(purdist.InvalidArgumentError, match=r"average=0\.999"):
        purdist.student_of(training.program, averaged=True)


# --- a teacher that follows ---------------------------------------------------------------


def itself(seed: int = 0) -> purdist.Distillation:
    teacher = nets.program(renamed, seed=seed)
    merged = purdist.merge(teacher, nets.program(normalised), {"y": "x"})
    cross = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    return purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits"), cross])


def renamed() -> dict[str, paddle.Tensor]:
    y = paddle.static.data("y", [None, 6])
    hidden = paddle.nn.BatchNorm1D(5)(paddle.nn.Linear(6, 5)(y))
    hidden = paddle.nn.functional.dropout(hidden, 0.3)
    return {"logits": paddle.nn.Linear(5, 4)(hidden), "hidden": hidden}


def labelled(count: int) -> Iterator[dict[str, Array]]:
    for k in range(count):
        yield {"x": numbers(k, 4, 6), "label": np.arange(4) % 3}


@pytest.mark.parametrize("rate", [0.0, 0.9])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_teacher_follows_the_student_after_each_update(rate: float, accumulate: int) -> None:
    distillation = itself(seed=1)
    before = nets.weights(distillation.program)
    training = purdist.minimize(
        distillation, OPTIMIZERS["Momentum"], follow={"teacher_": rate}, accumulate=accumulate
    )
    program = training.program
    pairs = {n: n.removeprefix("teacher_") for n in program.weights if n.startswith("teacher_")}
    assert len(pairs) > 5
    expected = {n: before[n] for n in pairs}
    for _ in purdist.train(training, labelled(4)):
        now = values(program.scope, pairs.values())
        for name, student in pairs.items():
            if program.variables[name].role == "buffer":
                expected[name] = now[student]
            else:
                expected[name] = rate * expected[name] + (1 - rate) * now[student]
    for name, array in values(program.scope, pairs).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert same(nets.weights(distillation.program), before)  # nobody else's moved
    alone = purdist.student_of(training, name_prefix="teacher_")
    taken = nets.weights(alone)
    answer = alone.run({"y": numbers(7, 3, 6)}, ["logits"])["logits"]
    list(purdist.train(training, labelled(2)))
    assert same(nets.weights(alone), taken)  # nor what was taken out
    np.testing.assert_array_equal(alone.run({"y": numbers(7, 3, 6)}, ["logits"])["logits"], answer)


@pytest.mark.parametrize(
    ("follow", "teacher", "said"),
    [
        ({"t_": 0.9}, "graph", "Expected follow to name teachers of the program, got 't_'."),
        ({"teacher_": 0.9}, "inference", "to run in the graph, got 'teacher_' in follow and"),
        ({"teacher_": 1.0}, "graph", "follow"),
        ({"teacher_": -0.1}, "graph", "follow"),
    ],
)
def test_what_cannot_follow_is_refused(follow: dict[str, float], teacher: str, said: str) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match=re.escape(said)):
        purdist.minimize(itself(), OPTIMIZERS["SGD"], follow=follow, teacher=teacher)  # type: ignore[arg-type]


def test_a_teacher_with_other_weights_is_refused_by_name() -> None:
    teacher = nets.program(nets.linear("y", sizes=(6, 7, 4)), seed=1)
    merged = purdist.merge(teacher, nets.program(nets.linear(sizes=(6, 5, 4))), {"y": "x"})
    distillation = purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])
    with pytest.raises(
        purdist.InvalidArgumentError, match=r"teacher_\S+ \[6, 7\] float32"
    ) as caught:
        purdist.minimize(distillation, OPTIMIZERS["SGD"], follow={"teacher_": 0.9})
    assert "[6, 5] float32" in str(caught.value)


def test_a_scheduler_that_is_at_its_end_is_told_as_such() -> None:
    def make() -> paddle.optimizer.Optimizer:
        return paddle.optimizer.SGD(paddle.optimizer.lr.OneCycleLR(0.1, total_steps=2))

    training = purdist.minimize(distilled(), make)
    with pytest.raises(purdist.RunError, match=r"got OneCycleLR, which raises ValueError: "):
        list(purdist.train(training, [{"x": numbers(0, 4, 6)}] * 5))
    assert training.steps == 3


def test_what_is_saved_within_an_update_is_refused(tmp_path: Path) -> None:
    training = purdist.minimize(distilled(), OPTIMIZERS["SGD"], accumulate=2)

    def batches() -> Iterator[dict[str, Array]]:
        yield {"x": numbers(0, 4, 6)}
        yield {"x": numbers(0, 4, 6)}
        yield {"x": numbers(0, 4, 6)}
        purdist.save_checkpoint(training, tmp_path / "own")

    with pytest.raises(purdist.InvalidArgumentError, match="got one within step 1, which may"):
        list(purdist.train(training, batches()))
    purdist.save_checkpoint(training, tmp_path / "own")  # what was begun is put back


def test_a_loop_that_is_left_warns_of_weights_that_are_not_finite() -> None:
    program = nets.program(nets.linear())
    term = purdist.CustomLoss(lambda x: paddle.nn.functional.relu(x).mean(), {"x": "logits"})
    training = purdist.minimize(purdist.apply(program, [term]), OPTIMIZERS["SGD"])
    bad = numbers(0, 3, 6)
    bad[0, 0] = np.nan
    steps = purdist.train(training, [{"x": bad}] * 3)
    assert next(steps).index == 0
    with pytest.warns(purdist.PurdistWarning, match="Expected finite weights after step 0"):
        del steps
