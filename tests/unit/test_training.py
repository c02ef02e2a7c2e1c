from __future__ import annotations

import copy
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import paddle
import pytest
from paddle.optimizer.lr import LRScheduler

import purdist
from purdist.program import internals_of
from purdist.training.values import session_of
from tests import nets
from tests.nets import Array, Forward, Net

Optimizer = paddle.optimizer.Optimizer
MakeOptimizer = Callable[[], Optimizer]


def mean_square(logits: paddle.Tensor) -> paddle.Tensor:
    return logits.square().mean()


MEAN_SQUARE = purdist.CustomLoss(mean_square, {"logits": "logits"})


def sgd() -> Optimizer:
    return paddle.optimizer.SGD(0.1)


def clipped(optimizer: Callable[..., Optimizer]) -> MakeOptimizer:
    return lambda: optimizer(0.1, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.1))


def scheduled(make: Callable[[], LRScheduler]) -> MakeOptimizer:
    return lambda: paddle.optimizer.Momentum(make())


def halved_every_two_steps() -> LRScheduler:
    return paddle.optimizer.lr.StepDecay(0.2, step_size=2, gamma=0.5)


def halved_on_a_plateau() -> LRScheduler:
    return paddle.optimizer.lr.ReduceOnPlateau(0.2, factor=0.5, patience=0, threshold=0.5)


def batches(*shape: int, count: int = 5) -> list[dict[str, Array]]:
    return [{"x": nets.numbers(k, 3, *shape)} for k in range(count)]


def by_paddle(
    forward: Forward,
    make_optimizer: MakeOptimizer,
    feeds: Sequence[Mapping[str, Array]],
    *,
    seed: int = 0,
    every: int = 1,
) -> tuple[list[float], dict[str, Array]]:
    """Losses and weights of the network trained to answer zero, by Paddle alone."""
    net = Net.of(forward, initialised=False)
    executor, losses = paddle.static.Executor(), []
    # Paddle writes a scheduled learning rate to the global scope, whatever scope it is given.
    with paddle.static.scope_guard(net.scope):
        with paddle.static.program_guard(net.main, net.startup):
            loss = mean_square(net.names["logits"])
            optimizer = make_optimizer()
            optimizer.minimize(loss)
        paddle.seed(seed)
        executor.run(net.startup)
        for k, feed in enumerate(feeds, start=1):
            losses.append(float(executor.run(net.main, feed=feed, fetch_list=[loss])[0]))
            schedule = optimizer._learning_rate
            if k % every:
                continue
            if isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau):
                schedule.step(losses[-1])
            elif isinstance(schedule, LRScheduler):
                schedule.step()
    return losses, nets.read(net.scope)


def by_purdist(
    forward: Forward,
    make_optimizer: MakeOptimizer,
    feeds: Sequence[Mapping[str, Array]],
    *,
    seed: int = 0,
    every: int = 1,
    taught: bool = False,
) -> tuple[list[float], dict[str, Array]]:
    """The same by purdist, beside a teacher that the loss does not read if ``taught``."""
    program = nets.program(forward, seed=seed)
    if taught:
        program = purdist.merge(nets.program(nets.linear("y")), program, {"y": "x"})
    distillation = purdist.apply(program, [MEAN_SQUARE], prune=not taught)
    training = purdist.minimize(distillation, make_optimizer, scheduler_every=every)
    steps = list(purdist.train(training, feeds))
    return [step.loss for step in steps], nets.weights(purdist.student_of(training))


def assert_alike(
    ours: tuple[list[float], dict[str, Array]], theirs: tuple[list[float], dict[str, Array]]
) -> None:
    """To the bit; up to rounding with convolutions and wide layers, which have other kernels."""
    assert ours[1]
    other = any(weight.ndim == 4 or weight.size >= 1 << 14 for weight in ours[1].values())
    off = 1e-5 if other else 0.0
    np.testing.assert_allclose(ours[0], theirs[0], rtol=off)
    for name, weight in ours[1].items():
        np.testing.assert_allclose(weight, theirs[1][name], rtol=off, atol=off, err_msg=name)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        pytest.param(sgd, id="sgd"),
        pytest.param(lambda: paddle.optimizer.Momentum(0.1, use_nesterov=True), id="momentum"),
        pytest.param(lambda: paddle.optimizer.Adam(0.1), id="adam"),
        pytest.param(lambda: paddle.optimizer.AdamW(0.1, weight_decay=0.3), id="adamw"),
        pytest.param(
            lambda: paddle.optimizer.SGD(0.1, weight_decay=paddle.regularizer.L1Decay(0.1)),
            id="regularised sgd",
        ),
        pytest.param(clipped(paddle.optimizer.SGD), id="clipped sgd"),
        pytest.param(clipped(paddle.optimizer.AdamW), id="clipped adamw"),
        pytest.param(scheduled(halved_every_two_steps), id="step decay"),
        pytest.param(scheduled(halved_on_a_plateau), id="plateau"),
    ],
)
def test_training_is_paddles(make_optimizer: MakeOptimizer) -> None:
    feeds = batches(6)
    theirs = by_paddle(nets.linear(), make_optimizer, feeds, seed=4)
    assert len(set(theirs[0])) == len(feeds)
    assert_alike(by_purdist(nets.linear(), make_optimizer, feeds, seed=4), theirs)
    assert_alike(by_purdist(nets.linear(), make_optimizer, feeds, seed=4, taught=True), theirs)


@pytest.mark.parametrize("schedule", [halved_every_two_steps, halved_on_a_plateau])
def test_the_scheduler_steps_once_every_scheduler_every_steps(
    schedule: Callable[[], LRScheduler],
) -> None:
    feeds, make = batches(6, count=7), scheduled(schedule)
    ours = by_purdist(nets.linear(), make, feeds, every=3)
    assert_alike(ours, by_paddle(nets.linear(), make, feeds, every=3))
    assert ours[0] != by_paddle(nets.linear(), make, feeds)[0]


def particular() -> dict[str, paddle.Tensor]:
    """A network each of whose parameters asks something else of the optimizer."""
    attr = paddle.ParamAttr
    hidden = paddle.nn.Linear(
        6,
        5,
        weight_attr=attr(learning_rate=0.25),
        bias_attr=attr(regularizer=paddle.regularizer.L2Decay(0.5)),
    )(paddle.static.data("x", [None, 6]))
    hidden = paddle.nn.Linear(
        5, 5, weight_attr=attr(need_clip=False), bias_attr=attr(trainable=False)
    )(paddle.tanh(hidden))
    frozen = paddle.nn.Linear(5, 4, weight_attr=attr(trainable=False))
    return {"logits": frozen(paddle.tanh(hidden))}


def test_what_parameters_ask_of_the_optimizer_is_kept() -> None:
    make, feeds = clipped(paddle.optimizer.SGD), batches(6, count=3)
    theirs = by_paddle(particular, make, feeds)
    before = nets.weights(nets.program(particular))
    for taught in (False, True):
        ours = by_purdist(particular, make, feeds, taught=taught)
        assert_alike(ours, theirs)
        frozen = {"linear_1.b_0", "linear_2.w_0"}
        assert nets.moved(before, ours[1]) == set(before) - frozen
    # Each of them matters: without it other weights come out.
    plain = by_paddle(nets.linear(sizes=(6, 5, 5, 4)), make, feeds)
    assert plain[0] != theirs[0]


def old_particular() -> dict[str, paddle.Tensor]:
    """Likewise, as an old program."""
    attr = paddle.ParamAttr
    image = paddle.static.data("x", [None, 1, 4, 4])
    hidden = paddle.static.nn.conv2d(
        image,
        3,
        3,
        param_attr=attr(learning_rate=0.25),
        bias_attr=attr(regularizer=paddle.regularizer.L2Decay(0.5)),
    )
    hidden = paddle.static.nn.fc(hidden, 5, weight_attr=attr(need_clip=False), activation="tanh")
    hidden = paddle.static.nn.fc(hidden, 5, bias_attr=attr(trainable=False))
    return {"logits": paddle.static.nn.fc(hidden, 4)}


def old_layers() -> dict[str, paddle.Tensor]:
    """Biases, whose reshapes Paddle's translation marks as if no gradient flowed."""
    image = paddle.static.data("x", [None, 1, 4, 4])
    hidden = paddle.static.nn.conv2d(image, 3, 3, name="c1", act="relu")
    hidden = paddle.static.nn.batch_norm(hidden, name="bn")
    hidden = paddle.static.nn.conv2d(hidden, 3, 1, name="c2")
    return {"logits": paddle.static.nn.fc(hidden, 4, name="f1")}


def old_loop() -> dict[str, paddle.Tensor]:
    """A loop, which an old program runs by writing over its variables."""
    image = paddle.static.data("x", [None, 1, 4, 4])
    _, hidden = paddle.static.nn.while_loop(
        lambda k, _: k < 3,
        lambda k, value: [k + 1, paddle.static.nn.fc(value, 5, name="in", activation="tanh")],
        [paddle.full([1], 0, "int64"), paddle.static.nn.fc(image, 5, name="before")],
    )
    return {"logits": paddle.static.nn.fc(hidden, 4, name="after")}


@pytest.mark.parametrize("forward", [old_particular, old_layers, old_loop])
def test_old_programs_train_as_in_paddle(forward: Forward) -> None:
    feeds = batches(1, 4, 4)
    with nets.old_form():
        theirs = by_paddle(forward, sgd, feeds)
        before = nets.weights(nets.program(forward))
        ours = by_purdist(forward, sgd, feeds)
    assert_alike(ours, theirs)
    frozen = {"fc_1.b_0"} if forward is old_particular else set()
    assert nets.moved(before, ours[1]) == set(before) - frozen


def test_a_gradient_flows_through_an_overwritten_variable() -> None:
    """Paddle's own is wrong here: its backward pass reads what was written over."""

    def chain(*, overwrite: bool) -> dict[str, paddle.Tensor]:
        value = paddle.static.nn.fc(paddle.static.data("x", [None, 6]), 5, name="f1")
        if overwrite:
            value = paddle.assign(value)
        later = paddle.static.nn.fc(value, 5, name="f2")
        if overwrite:
            paddle.assign(later, output=value)
        return {"logits": paddle.static.nn.fc(value if overwrite else later, 4, name="f3")}

    with nets.old_form():
        theirs = by_paddle(lambda: chain(overwrite=False), sgd, batches(6))
        ours = by_purdist(lambda: chain(overwrite=True), sgd, batches(6))
    assert_alike(ours, theirs)


def test_an_old_parameter_may_be_exempt_from_clipping() -> None:
    """Paddle cannot clip an old program itself, so there is nothing to compare with."""
    with nets.old_form():
        program = nets.program(old_particular)
    values = {
        name: internals_of(program).modes.training.values[name] for name in program.parameters
    }
    assert {name for name, value in values.items() if not value.need_clip} == {"fc_0.w_0"}
    make, feeds = clipped(paddle.optimizer.SGD), batches(1, 4, 4)
    training = purdist.minimize(purdist.apply(program, [MEAN_SQUARE]), make)
    before = nets.weights(program)
    list(purdist.train(training, feeds[:1]))
    after = nets.weights(training.program)
    change = {name: np.linalg.norm(after[name] - before[name]) for name in before}
    assert change["fc_0.w_0"] > 0.01
    assert all(
        norm <= 0.01 for name, norm in change.items() if name not in ("fc_0.w_0", "conv2d_0.b_0")
    )


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        pytest.param(nets.looping(dropout=0.0), (6,), id="while and if"),
        pytest.param(nets.images(dropout=0.0), (1, 4, 4), id="convolution and norm"),
    ],
)
def test_regions_and_norms_train_as_in_paddle(forward: Forward, shape: tuple[int, ...]) -> None:
    feeds = batches(*shape)
    ours = by_purdist(forward, sgd, feeds)
    assert_alike(ours, by_paddle(forward, sgd, feeds))
    assert nets.moved(nets.weights(nets.program(forward)), ours[1]) == set(ours[1])


def test_steps_tell_where_training_stands() -> None:
    merged = purdist.merge(
        nets.program(nets.linear("y"), seed=1), nets.program(nets.linear(), seed=2), {"y": "x"}
    )
    specs = [
        0.25 * purdist.L2Loss("teacher_logits", "logits"),
        3 * purdist.SoftLabelLoss("teacher_logits", "logits", name="soft"),
    ]
    distillation = purdist.apply(merged, specs)
    training = purdist.minimize(distillation, sgd)
    steps = list(purdist.train(training, batches(6), fetch=["logits", "soft"]))
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    for step in steps:
        assert set(step.terms) == {"l2_0", "soft"}
        weighed = 0.25 * step.terms["l2_0"] + 3 * step.terms["soft"]
        assert step.loss == pytest.approx(weighed, rel=1e-6)
        assert set(step.fetched) == {"logits", "soft"}
        assert float(step.fetched["soft"]) == step.terms["soft"]
    # The loss is the one before the step: what the distillation's own weights give.
    at_first = distillation.program.run(batches(6)[0], ["loss", "logits"])
    assert steps[0].loss == float(at_first["loss"])
    assert steps[0].fetched["logits"].tobytes() == at_first["logits"].tobytes()


def a_training(make_optimizer: MakeOptimizer = sgd, *, seed: int | None = None) -> purdist.Training:
    program = nets.program(nets.images())
    return purdist.minimize(purdist.apply(program, [MEAN_SQUARE]), make_optimizer, seed=seed)


def test_a_batch_is_read_when_its_step_is_due() -> None:
    read: list[int] = []

    def feeds() -> Iterator[dict[str, Array]]:
        for k, feed in enumerate(batches(1, 4, 4)):
            read.append(k)
            yield feed

    training = a_training()
    before = nets.weights(training.program)
    steps = purdist.train(training, feeds())
    assert read == []
    assert nets.moved(before, nets.weights(training.program)) == set()
    next(steps)
    assert read == [0]
    assert nets.moved(before, nets.weights(training.program)) == set(before)
    assert [step.index for step in steps] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "make_optimizer", [scheduled(halved_every_two_steps), lambda: paddle.optimizer.Adam(0.1)]
)
def test_training_goes_on_where_it_stopped(make_optimizer: MakeOptimizer) -> None:
    feeds = batches(1, 4, 4)
    whole, parted = (a_training(make_optimizer, seed=3) for _ in range(2))
    at_once = list(purdist.train(whole, feeds))
    first = list(purdist.train(parted, feeds[:2]))
    assert (whole.steps, parted.steps) == (len(feeds), 2)
    paddle.rand([7])
    second = list(purdist.train(parted, feeds[2:], fetch=["logits"]))
    assert [*first, *second] == at_once
    assert nets.moved(nets.weights(whole.program), nets.weights(parted.program)) == set()


def test_a_feed_that_does_not_fit_takes_no_step() -> None:
    training, good = a_training(), batches(1, 4, 4, count=1)[0]
    steps = purdist.train(training, [good, {"x": good["x"][0]}, good])
    next(steps)
    before = nets.weights(training.program)
    with pytest.raises(purdist.ShapeMismatchError):
        next(steps)
    assert nets.moved(before, nets.weights(training.program)) == set()
    (step,) = purdist.train(training, [good])
    assert step.index == 1


def losses(training: purdist.Training) -> list[float]:
    return [step.loss for step in purdist.train(training, batches(1, 4, 4))]


def test_a_seed_repeats_a_training_and_paddles_random_state_does_not_matter() -> None:
    expected = losses(a_training(seed=1))
    paddle.seed(123)
    assert losses(a_training(seed=1)) == expected
    assert losses(a_training(seed=2)) != expected

    def drawing() -> Iterator[dict[str, Array]]:
        for feed in batches(1, 4, 4):
            paddle.seed(9)
            yield feed

    steps = purdist.train(a_training(seed=1), drawing())
    assert [step.loss for step in steps] == expected


def test_without_a_seed_it_follows_from_paddles_random_state() -> None:
    distillation = purdist.apply(nets.program(nets.images()), [MEAN_SQUARE])
    seeds = []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        seeds += [session_of(purdist.minimize(distillation, sgd)).seed for _ in range(2)]
    assert len({*seeds[:4]}) == 1
    assert len({*seeds}) == 2


def test_two_trainings_share_nothing() -> None:
    distillation = purdist.apply(nets.program(nets.images()), [MEAN_SQUARE])
    one, other = (purdist.minimize(distillation, sgd, seed=0) for _ in range(2))
    with nets.untouched(other.program, distillation.program):
        losses(one)
    assert losses(other) == losses(purdist.minimize(distillation, sgd, seed=0))


def test_an_optimizer_handed_out_twice_is_copied() -> None:
    distillation = purdist.apply(nets.program(nets.images()), [MEAN_SQUARE])
    optimizer = paddle.optimizer.Momentum(halved_every_two_steps())
    one, other = (purdist.minimize(distillation, lambda: optimizer, seed=0) for _ in range(2))
    assert losses(one) == losses(other)
    assert optimizer.get_lr() == 0.2


def test_what_the_losses_make_is_trained_too() -> None:
    merged = purdist.merge(nets.program(nets.linear("y")), nets.program(nets.linear()), {"y": "x"})

    def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
        return (paddle.nn.Linear(4, 4)(student) - teacher).square().mean()

    spec = purdist.CustomLoss(adapted, {"teacher": "teacher_logits", "student": "logits"})
    training = purdist.minimize(purdist.apply(merged, [spec, spec]), sgd)
    before = nets.weights(training.program)
    list(purdist.train(training, batches(6)))
    moved = nets.moved(before, nets.weights(training.program))
    assert moved == {name for name in before if not name.startswith("teacher_")}
    assert {name for name in moved if "/" in name} == {
        f"custom_{k}/linear_0.{kind}" for k in (0, 1) for kind in ("w_0", "b_0")
    }


def test_a_bar_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    list(purdist.train(a_training(), batches(1, 4, 4), progress=True))
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "loss=" in shown
    list(purdist.train(a_training(), batches(1, 4, 4)))
    assert "loss=" not in capsys.readouterr().err


def test_gradients_stop_at_what_a_loss_reads_of_a_teacher() -> None:
    """One head teaches the other: no gradient leaves through the teacher's side."""

    def heads() -> dict[str, paddle.Tensor]:
        image = paddle.static.data("x", [None, 6])
        return {"deep": nets.dense(image, 6, 4), "shallow": nets.dense(image, 6, 4)}

    program = nets.program(heads)
    training = purdist.minimize(purdist.apply(program, [purdist.L2Loss("deep", "shallow")]), sgd)
    before = nets.weights(training.program)
    list(purdist.train(training, batches(6)))
    assert nets.moved(before, nets.weights(training.program)) == {"dense_1.w", "dense_1.b"}


@pytest.mark.parametrize("make", [halved_every_two_steps, halved_on_a_plateau])
def test_steps_that_are_not_logged_are_taken(make: Callable[[], LRScheduler]) -> None:
    feeds = batches(6, count=7)
    distillation = purdist.apply(nets.program(nets.linear()), [MEAN_SQUARE])
    all_logged = purdist.minimize(distillation, scheduled(make), scheduler_every=2)
    few_logged = purdist.minimize(distillation, scheduled(make), scheduler_every=2)
    steps = list(purdist.train(all_logged, feeds))
    assert list(purdist.train(few_logged, feeds, log_every=3)) == steps[2::3]
    assert nets.moved(nets.weights(all_logged.program), nets.weights(few_logged.program)) == set()


@pytest.mark.parametrize("width", [8, 600])
def test_flags_are_as_found_however_the_executor_runs(width: int) -> None:
    """Narrow networks run op by op in order, wide ones on the executor's threads."""
    forward = nets.linear(sizes=(width, width, 4))
    feeds = [{"x": nets.numbers(k, 64, width)} for k in range(3)]
    flags: tuple[dict[str, bool | str | float], ...] = (
        {"FLAGS_enable_pir_in_executor_trace_run": False, "FLAGS_eager_delete_tensor_gb": 0.0},
        {"FLAGS_enable_pir_in_executor_trace_run": True, "FLAGS_eager_delete_tensor_gb": 0.5},
    )
    for found in flags:
        before = paddle.get_flags([*found])
        paddle.set_flags(found)
        try:
            ours = by_purdist(forward, sgd, feeds)
            assert paddle.get_flags([*found]) == found
        finally:
            paddle.set_flags(before)
        assert_alike(ours, by_paddle(forward, sgd, feeds))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep memory as they like")
def test_memory_of_large_feature_maps_is_kept_from_step_to_step() -> None:
    code = """
        import paddle, purdist, resource
        from tests import nets

        paddle.enable_static()
        loss = purdist.CustomLoss(lambda x: x.square().mean(), {"x": "logits"})
        distillation = purdist.apply(nets.program(nets.linear(sizes=(8, 16_384, 4))), [loss])
        training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
        feeds = [{"x": nets.numbers(0, 64, 8)}] * 6
        for step in purdist.train(training, feeds):
            if step.index == 2:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3)
    """
    assert int(nets.in_a_process(code).split()[-1]) < 1_000


@pytest.mark.parametrize("log_every", [1, 2])
def test_a_step_tells_the_factors_of_its_terms_and_its_learning_rate(log_every: int) -> None:
    mine = attrs.evolve(MEAN_SQUARE, name="mine", weight=2)
    rising = attrs.evolve(MEAN_SQUARE, name="rising", weight=purdist.Schedule.linear(0, 1, 4))
    watched = attrs.evolve(MEAN_SQUARE, name="watched", weight=0)
    distillation = purdist.apply(nets.program(nets.linear()), [mine, rising, watched])

    def falling() -> paddle.optimizer.Optimizer:
        return paddle.optimizer.SGD(paddle.optimizer.lr.StepDecay(0.5, step_size=1, gamma=0.5))

    batches = [{"x": nets.numbers(0, 3, 6)}] * 4
    training = purdist.minimize(distillation, falling, scheduler_every=2)
    steps = [
        step
        for k in (0, 2)
        for step in purdist.train(training, batches[k : k + 2], log_every=log_every)
    ]
    assert [step.index for step in steps] == list(range(log_every - 1, 4, log_every))
    for step in steps:
        assert step.weights == {"mine": 2.0, "rising": step.index / 4, "watched": 0.0}
        assert list(step.weights) == list(step.terms)
        assert step.learning_rate == (0.5 if step.index < 2 else 0.25)
        factors = (step.weights[name] * step.terms[name] for name in step.terms)
        assert step.loss == pytest.approx(sum(factors), rel=1e-5)
    constant = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    assert next(purdist.train(constant, batches)).learning_rate == 0.1


def test_a_step_is_a_value() -> None:
    terms, weights, fetched = {"l2_0": 1.0}, {"l2_0": 0.5}, {"logits": np.ones(2)}
    step = purdist.Step(3, 1.0, terms, weights, 0.1, fetched)
    terms.clear()
    weights.clear()
    fetched.clear()
    assert repr(step) == (
        "Step(index=3, loss=1.0, terms={'l2_0': 1.0}, weights={'l2_0': 0.5}, learning_rate=0.1)"
    )
    again = pickle.loads(pickle.dumps(step))
    for other in (again, copy.deepcopy(step)):
        assert other == step
        assert hash(other) == hash(step)
        np.testing.assert_array_equal(other.fetched["logits"], np.ones(2))
    assert step != attrs.evolve(step, terms={"l2_0": 2.0})
    assert hash(step) != hash(attrs.evolve(step, terms={"l2_0": 2.0}))
    assert step == attrs.evolve(step, fetched={})


def test_the_arrays_of_a_step_cannot_be_written() -> None:
    distillation = purdist.apply(nets.program(nets.linear()), [MEAN_SQUARE])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    taken = next(purdist.train(training, [{"x": nets.numbers(0, 3, 6)}], fetch=["logits"]))
    mine = np.ones(2)
    made = purdist.Step(3, 1.0, {}, {}, 0.1, {"logits": mine})
    mine[0] = 5.0
    assert made.fetched["logits"][0] == 1.0
    for step in (taken, made):
        for other in (
            step,
            copy.copy(step),
            copy.deepcopy(step),
            pickle.loads(pickle.dumps(step, 0)),
        ):
            assert other.fetched["logits"].tobytes() == step.fetched["logits"].tobytes()
            with pytest.raises(ValueError, match="read-only"):
                other.fetched["logits"][0] = 3.0


def test_mappings_that_values_hold_cannot_be_written_and_can_be_pickled_and_copied() -> None:
    merged = purdist.merge(
        nets.program(nets.linear("y"), seed=1), nets.program(nets.linear()), {"y": "x"}
    )
    loss = purdist.Schedule.warmup(3) * purdist.L2Loss("teacher_logits", "logits")
    distillation = purdist.apply(merged, [loss])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    (step,) = purdist.train(training, [{"x": nets.numbers(0, 3, 6)}])
    mappings: list[Any] = [
        step.terms,
        step.weights,
        step.fetched,
        merged.variables,
        training.program.variables,
        distillation.digests,
    ]
    for mapping in mappings:
        copies = copy.copy(mapping), copy.deepcopy(mapping), pickle.loads(pickle.dumps(mapping, 0))
        for other in copies:
            assert other == mapping == dict(mapping)
            assert (list(other), len(other)) == (list(mapping), len(mapping))
            assert hash(other) == hash(mapping)
            assert repr(other) == repr(dict(mapping))
            with pytest.raises(TypeError, match="item assignment"):
                other["x"] = 0
