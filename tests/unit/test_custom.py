"""What a function of the user's own may do in a loss: as in dynamic mode, or refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.jit.dy2static import program_translator
from paddle.static import InputSpec

import purdist
from purdist import CustomLoss
from tests import nets
from tests.nets import Array

# Typed as Any, for what our stubs leave out.
F: Any = paddle.nn.functional
P: Any = paddle
Loss = Callable[..., paddle.Tensor]
SHARES = np.array([0.5, 2.0, 1.0], "float32")


@functools.cache
def network(*, batch: int | None = None) -> purdist.Program:
    return nets.program(nets.linear("x", (6, 3), batch=batch, out="s"), seed=1)


def trained(function: Loss, feed: Array, *, batch: int | None = None) -> tuple[float, Array]:
    """The loss of ``function``, and what a step of it does to the weights."""
    program = network(batch=batch)
    distillation = purdist.apply(program, [CustomLoss(function, {"s": "s"})])
    value = float(distillation.program.run({"x": feed}, ["loss"])["loss"])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(1.0))
    before = nets.weights(training.program)
    list(purdist.train(training, [{"x": feed}]))
    return value, before["dense_0.w"] - nets.weights(training.program)["dense_0.w"]


def in_dynamic_mode(function: Loss, feed: Array) -> tuple[float, Array]:
    """The same by hand."""
    held = nets.weights(network())
    paddle.disable_static()
    try:
        weight, bias = (paddle.to_tensor(held[f"dense_0.{k}"], stop_gradient=False) for k in "wb")
        loss = function(paddle.to_tensor(feed) @ weight + bias)
        loss.backward()
        assert weight.grad is not None
        return float(loss), weight.grad.numpy()
    finally:
        paddle.enable_static()


def tensor(array: Array = SHARES) -> paddle.Tensor:
    paddle.disable_static()
    try:
        return paddle.to_tensor(array)
    finally:
        paddle.enable_static()


CONSTANTS: dict[str, Callable[[Any], Loss]] = {
    "s * c": lambda c: lambda s: (s * c).mean(),
    "c * s": lambda c: lambda s: (c * s).mean(),
    "s - c": lambda c: lambda s: (s - c).square().mean(),
    "c - s": lambda c: lambda s: (c - s).square().mean(),
    "c > s": lambda c: lambda s: ((c > s).astype("float32") * s).mean(),
    "s <= c": lambda c: lambda s: ((s <= c).astype("float32") * s).mean(),
    "s / c": lambda c: lambda s: (s / c).mean(),
    "c ** s": lambda c: lambda s: (c**s).mean(),
    "s @ c": lambda c: lambda s: (s @ c).square().mean(),
    "c[0] * s": lambda c: lambda s: (c[0] * s).mean(),
    "a row at a time": lambda c: lambda s: sum((k * s.square().mean() for k in c), s.mean()),
    "paddle.add": lambda c: lambda s: paddle.add(s, c).square().mean(),
    "paddle.where": lambda c: lambda s: paddle.where(s > 0, s * c, s).mean(),
    "matmul": lambda c: lambda s: paddle.matmul(s, c).square().mean(),
}
TENSORS: dict[str, Callable[[Any], Loss]] = {
    "cross_entropy(weight=)": lambda c: lambda s: F.cross_entropy(s, s.argmax(-1), weight=c),
    "mse_loss": lambda c: lambda s: F.mse_loss(s, c.unsqueeze(0).expand_as(s)),
    "add_n": lambda c: lambda s: P.add_n([s, s * 0 + c]).square().mean(),
    "detach": lambda c: lambda s: (c.detach() * s).mean(),
    "clone": lambda c: lambda s: (c.clone()[1:] * s[:, 1:]).mean(),
    "a mask": lambda c: lambda s: paddle.where(c > 0.7, s, s * 2).mean(),
}


@pytest.mark.parametrize("case", [*CONSTANTS, *TENSORS])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_an_array_or_tensor_made_outside_is_a_constant(kind: str, case: str) -> None:
    if kind == "array" and case not in CONSTANTS:
        pytest.skip("Paddle takes no array there, in dynamic mode neither")
    make = {**CONSTANTS, **TENSORS}[case]
    feed = nets.numbers(0, 4, 6)
    value, moved = trained(make(SHARES if kind == "array" else tensor()), feed)
    paddle.disable_static()
    held = paddle.to_tensor(SHARES)
    paddle.enable_static()
    expected, gradient = in_dynamic_mode(make(held), feed)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(moved, gradient, rtol=1e-5, atol=1e-6)


def divided(s: paddle.Tensor) -> paddle.Tensor:
    return s.square().sum() / s.shape[0]


def wide(s: paddle.Tensor) -> paddle.Tensor:
    rows, classes = s.shape
    return s.square().sum() / (rows * classes)


def reshaped(s: paddle.Tensor) -> paddle.Tensor:
    return s.reshape([s.shape[0], -1, 1]).square().sum() / s.shape[0] ** 2


def of_a_pair(s: paddle.Tensor) -> paddle.Tensor:
    assert s.shape == (s * 2).shape
    assert s.shape[1:] == [3]
    rows = s.shape[0]
    return (s.unsqueeze(0) - s.unsqueeze(1)).square().sum() / (rows * (rows - 1))


SIZES: dict[str, Loss] = {
    "sum / rows": divided,
    "sum / (rows * classes)": wide,
    "reshape": reshaped,
    "pairs": of_a_pair,
    "a lambda": lambda s: s.square().sum() / s.shape[0],
    "size": lambda s: s.square().sum() / s.size,
    "half of the rows": lambda s: s[: s.shape[0] // 2].square().sum() / s.shape[0],
    "zeros of a size": lambda s: (s - paddle.zeros([s.shape[0], 3])).square().mean(),
    "eye": lambda s: ((s @ s.t()) * (1 - P.eye(s.shape[0]))).sum() / s.shape[0],
    "a list as long as the batch": lambda s: (
        s * paddle.to_tensor([2.0] * s.shape[0]).unsqueeze(1)
    ).mean(),
    "cov": lambda s: P.linalg.cov(s, rowvar=False).square().mean(),
    "cov of few": lambda s: P.linalg.cov(s, rowvar=False, ddof=False).square().mean(),
    "corrcoef": lambda s: P.linalg.corrcoef(s, rowvar=False).square().mean(),
    "kl_div": lambda s: F.kl_div(F.log_softmax(s), F.softmax(s * 2), reduction="batchmean"),
}


@pytest.mark.parametrize("case", SIZES)
def test_an_unknown_size_is_what_it_is_when_the_graph_runs(case: str) -> None:
    for rows in (2, 4):
        feed = nets.numbers(rows, rows, 6)
        value, moved = trained(SIZES[case], feed)
        expected, gradient = in_dynamic_mode(SIZES[case], feed)
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(moved, gradient, rtol=1e-5, atol=1e-6)


def known_rows(s: Any) -> Any:
    total = s.mean() * 0
    for row in s:
        total = total + row.square().sum()
    return total / len(s)


def test_what_is_known_may_be_iterated_over() -> None:
    feed = nets.numbers(0, 4, 6)
    value, moved = trained(known_rows, feed, batch=4)
    expected, gradient = in_dynamic_mode(known_rows, feed)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(moved, gradient, rtol=1e-5, atol=1e-6)


def assigned(s: paddle.Tensor) -> paddle.Tensor:
    paddle.assign(paddle.zeros_like(s), output=s)
    return s.square().mean()


def added_in_place(s: Any) -> Any:
    s.add_(P.ones([1]))
    return s.square().mean()


def clipped_in_place(s: paddle.Tensor) -> paddle.Tensor:
    h = s * 1
    F.relu_(h)
    return h.square().mean()


def set_in_place(s: Any) -> Any:
    h = s * 1
    h[0] = 0.0
    return h.square().mean()


@pytest.mark.parametrize("write", [assigned, added_in_place, clipped_in_place, set_in_place])
def test_what_a_function_writes_over_it_reads_and_nobody_else(write: Loss) -> None:
    feed = nets.numbers(0, 4, 6)
    plain = CustomLoss(lambda s: s.square().mean(), {"s": "s"}, name="plain")
    specs = [CustomLoss(write, {"s": "s"}, name="writes"), plain]
    for order in (specs, specs[::-1]):
        got = purdist.apply(network(), order).program.run({"x": feed}, ["s", "plain", "writes"])
        out = got["s"].astype("float64")
        expected = {
            assigned: out * 0,
            added_in_place: out + 1,
            clipped_in_place: np.maximum(out, 0),
            set_in_place: np.concatenate([out[:1] * 0, out[1:]]),
        }[write]
        assert float(got["plain"]) == pytest.approx((out**2).mean(), rel=1e-5)
        assert float(got["writes"]) == pytest.approx((expected**2).mean(), rel=1e-5)
        assert got["s"].tobytes() == network().run({"x": feed}, ["s"])["s"].tobytes()


@pytest.mark.parametrize("write", [clipped_in_place, set_in_place])
def test_gradients_flow_through_what_is_written_over(write: Loss) -> None:
    feed = nets.numbers(0, 4, 6)
    value, moved = trained(write, feed)
    expected, gradient = in_dynamic_mode(write, feed)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(moved, gradient, rtol=1e-5, atol=1e-6)


def elsewhere(s: paddle.Tensor) -> paddle.Tensor:
    with paddle.static.program_guard(paddle.static.Program()):
        return s.mean()


def with_gradients(s: paddle.Tensor) -> paddle.Tensor:
    loss = s.mean()
    P.static.append_backward(loss)
    return loss


def minimised(s: paddle.Tensor) -> paddle.Tensor:
    loss = paddle.nn.Linear(3, 1)(s).mean()
    paddle.optimizer.SGD(0.1).minimize(loss)
    return loss


def set_in_a_view(s: Any) -> Any:
    view = s[0]
    s.add_(P.ones([1]))
    return view.mean()


def named_twice(s: paddle.Tensor) -> paddle.Tensor:
    one = paddle.nn.Linear(3, 3, paddle.ParamAttr("w"))
    return paddle.nn.Linear(3, 4, paddle.ParamAttr("w"))(one(s)).mean()


def fails(s: paddle.Tensor) -> paddle.Tensor:
    raise ZeroDivisionError("of mine")


REFUSED: dict[str, tuple[Callable[..., Any], type[purdist.PurdistError], str]] = {
    "another program": (elsewhere, purdist.BuildError, "program_guard of another program"),
    "append_backward": (with_gradients, purdist.InvalidArgumentError, "gradient or optimizer ops"),
    "minimize": (minimised, purdist.InvalidArgumentError, "gradient or optimizer ops"),
    "two of one name": (named_twice, purdist.BuildError, "tensor<3x3xf32>"),
    "a view of what is written over": (
        set_in_a_view,
        purdist.InvalidArgumentError,
        "memory that another tensor shares",
    ),
    "other parameters": (
        lambda a, b: (a - b).mean(),
        purdist.InvalidArgumentError,
        "Expected variables= to name the parameters of the function, (a, b), got 's'",
    ),
    "too many parameters": (lambda s, t: s.mean(), purdist.InvalidArgumentError, "argument: 't'"),
    "no parameters": (lambda: 0, purdist.InvalidArgumentError, "unexpected keyword argument 's'"),
    "a number": (lambda s: 0.5, purdist.ForeignValueError, "got float"),
    "a list": (lambda s: [s.mean()], purdist.ForeignValueError, "got list"),
    "its own exception": (fails, purdist.BuildError, "ZeroDivisionError"),
    "a condition": (
        lambda s: s.mean() if s.mean() > 0 else s.sum(),
        purdist.BuildError,
        "asks for the truth of a value",
    ),
    "a number of a value": (lambda s: s / float(s.mean()), purdist.BuildError, "the number"),
    "an array of a value": (lambda s: s * np.array(s), purdist.BuildError, "the numbers"),
    "an iteration": (
        lambda s: sum(row.mean() for row in s),
        purdist.BuildError,
        "the number of rows",
    ),
    "a comprehension over rows": (
        lambda s: sum(s[k].mean() for k in range(s.shape[0])),
        purdist.BuildError,
        "with Paddle's ops on all rows at once",
    ),
    **{
        f"{name} of unknown rows": (
            lambda s, op=name, more=more: getattr(P, op)(s[:, 0] if more else s, *more).sum(),
            purdist.BuildError,
            "build the networks with a known batch",
        )
        for name, more in {"pdist": (), "vander": (None,), "combinations": (2,)}.items()
    },
    "block_diag of unknown rows": (
        lambda s: P.block_diag([s, s]).square().sum(),
        purdist.BuildError,
        "build the networks with a known batch",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_graph_can_hold_is_refused_by_the_name_of_the_term(case: str) -> None:
    function, kind, text = REFUSED[case]
    program = network()
    before = nets.held(program)
    with pytest.raises(kind) as caught:
        purdist.apply(program, [CustomLoss(function, {"s": "s"}, name="mine")])
    assert str(caught.value).startswith("mine: ")
    assert text in str(caught.value)
    assert nets.held(program) == before


def test_what_a_function_raises_is_the_cause_with_its_traceback() -> None:
    with pytest.raises(purdist.BuildError) as caught:
        purdist.apply(network(), [CustomLoss(fails, {"s": "s"})])
    cause = caught.value.__cause__
    assert isinstance(cause, ZeroDivisionError)
    names = []
    trace = cause.__traceback__
    while trace:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "fails"
    assert "raise ZeroDivisionError" in str(caught.value)


def tied(s: paddle.Tensor) -> paddle.Tensor:
    one, two = (paddle.nn.Linear(3, 3, paddle.ParamAttr("w"), bias_attr=False) for _ in range(2))
    return two(one(s)).square().mean()


def test_two_parameters_of_one_name_and_kind_are_one() -> None:
    distillation = purdist.apply(network(), [CustomLoss(tied, {"s": "s"}, name="mine")])
    made = [n for n, v in distillation.program.variables.items() if v.role == "parameter"]
    assert [name for name in made if name.startswith("mine/")] == ["mine/w"]
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    before = nets.weights(training.program)["mine/w"]
    out = training.program.run({"x": nets.numbers(0, 4, 6)}, ["s", "loss"])
    square = (out["s"].astype("float64") @ before.astype("float64") @ before) ** 2
    assert float(out["loss"]) == pytest.approx(square.mean(), rel=1e-5)
    losses = [s.loss for s in purdist.train(training, [{"x": nets.numbers(0, 4, 6)}] * 3)]
    assert losses == sorted(set(losses), reverse=True)


RANDOM: dict[str, Loss] = {
    "normal": lambda s: (s + paddle.randn([3])).square().mean(),
    "uniform": lambda s: (s * paddle.uniform([3])).mean(),
    "gumbel": lambda s: F.gumbel_softmax(s).square().mean(),
    "permutation": lambda s: (s[0] * P.randperm(3).astype("float32")).sum(),
}


@pytest.mark.parametrize("case", RANDOM)
def test_a_run_draws_the_same_numbers_and_leaves_paddles_alone(case: str) -> None:
    program = purdist.apply(network(), [CustomLoss(RANDOM[case], {"s": "s"})]).program
    before = nets.random_state()
    feed = {"x": nets.numbers(0, 4, 6)}
    one, two = (program.run(feed, ["loss"])["loss"] for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert nets.random_state() == before


def test_a_loss_that_draws_draws_anew_at_each_step() -> None:
    distillation = purdist.apply(network(), [CustomLoss(RANDOM["normal"], {"s": "s"})])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.0))
    losses = {s.loss for s in purdist.train(training, [{"x": nets.numbers(0, 4, 6)}] * 4)}
    assert len(losses) == 4


WRONG: dict[str, Callable[[], Loss]] = {
    "trapezoid": lambda: lambda s: P.trapezoid(s, axis=0).sum(),
    "tensor_split": lambda: lambda s: P.tensor_split(s, 2, axis=0)[0].sum(),
    "cumulative_trapezoid": lambda: lambda s: P.cumulative_trapezoid(s, axis=0).sum(),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_loss_that_is_another_at_unknown_sizes_is_refused(case: str) -> None:
    with pytest.raises(purdist.BuildError) as caught:
        purdist.apply(network(), [CustomLoss(WRONG[case](), {"s": "s"}, name="mine")])
    text = str(caught.value)
    assert text.startswith("mine: Expected the loss to be the same at unknown sizes as at known")
    assert f"{__file__}:" in text
    assert "paddle.shape(x)[0]" in text
    purdist.apply(network(batch=4), [CustomLoss(WRONG[case](), {"s": "s"}, name="mine")])


def doubled(s: paddle.Tensor) -> paddle.Tensor:
    return (s * float(np.random.rand())).mean()


def dropped(s: paddle.Tensor) -> paddle.Tensor:
    return F.dropout(paddle.nn.Linear(3, 5)(s), 0.5).square().mean()  # type: ignore[no-any-return]


def labelled(s: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
    return F.cross_entropy(s, label, reduction="sum") / s.shape[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [doubled, dropped])
def test_chance_is_the_same_at_all_sizes_and_as_after_one_call(function: Loss) -> None:
    def after(batch: int | None) -> tuple[object, ...]:
        np.random.seed(3)
        before = nets.random_state()
        purdist.apply(network(batch=batch), [CustomLoss(function, {"s": "s"})])
        assert nets.random_state() == before
        return (np.random.rand(),)

    assert after(None) == after(4)


def test_labels_are_tried_in_their_range() -> None:
    variables: dict[str, str | purdist.NewInput] = {
        "s": "s",
        "label": purdist.NewInput("label"),
    }
    program = purdist.apply(network(), [CustomLoss(labelled, variables)]).program
    feed = {"x": nets.numbers(0, 3, 6), "label": np.array([0, 2, 1])}
    out = program.run(feed, ["s", "loss"])
    log = np.log(np.exp(out["s"]) / np.exp(out["s"]).sum(-1, keepdims=True))
    assert float(out["loss"]) == pytest.approx(-log[np.arange(3), feed["label"]].mean(), rel=1e-5)


def test_one_value_for_each_of_an_unknown_number_of_rows_is_refused() -> None:
    with pytest.raises(purdist.BuildError, match="the number of rows"):
        purdist.apply(network(), [CustomLoss(lambda s: P.unbind(s)[0].sum(), {"s": "s"})])


def conditional(s: Any) -> Any:
    if s.mean() > 0:
        return s.square().mean()
    return s.square().sum()


def of_one_row_or_more(s: Any) -> Any:
    if s.shape[0] == 1:
        return s.sum() * 0.0
    return s.square().sum() / (s.shape[0] - 1)


def looped(s: Any) -> Any:
    loss = 0.0
    for k in range(s.shape[0]):
        loss += s[k].square().sum()
    return loss / s.shape[0]


def asserted(s: Any) -> Any:
    assert s.shape[0] > 0, "no rows"
    return s.square().mean()


def lengths(s: Any) -> Any:
    weights = P.to_tensor([2.0] * len(s))
    return (s * weights.unsqueeze(-1)).square().mean()


class Doubled:
    factor = 2.0

    def __call__(self, s: Any) -> Any:
        return conditional(s * self.factor)

    def method(self, s: Any) -> Any:
        if s.mean() > 0:
            s = s * self.factor
        return s.square().mean()


CONVERTED: dict[str, Loss] = {
    **{f.__name__: f for f in (conditional, of_one_row_or_more, looped, asserted, lengths)},
    "an object": Doubled(),
    "a method": Doubled().method,
    "a partial": functools.partial(conditional),
}


def looped_in_float64(s: Any) -> Any:
    loss = 0.0
    for k in range(s.shape[0]):
        loss = loss + s[k].astype("float64").square().sum()
    return loss


def reduced_or_none(s: Any, y: Any) -> Any:
    if (y >= 0).sum() == 0:
        return s.sum() * 0.0
    counts = (y >= 0).astype("float32")
    losses = P.nn.functional.cross_entropy(s, y.clip(min=0), reduction="none")
    return (losses * counts).sum() / counts.sum()


def test_a_loop_from_a_number_on_has_the_dtype_of_the_network() -> None:
    """In a process of its own: Paddle's gradient of a loop has ended one after many tests."""
    nets.in_a_process(
        """
        import paddle
        from tests.unit import test_custom
        paddle.enable_static()
        test_custom.trains_by_a_loop(test_custom.looped)
        test_custom.trains_by_a_loop(test_custom.looped_in_float64)
        """
    )


def trains_by_a_loop(function: Loss) -> None:
    distilled = purdist.apply(network(), [CustomLoss(function, {"s": "s"})])
    assert distilled.program.variables["loss"].dtype == "float32"
    training = purdist.minimize(distilled, lambda: P.optimizer.Adam(0.01))
    feed = nets.numbers(3, 4, 6)
    first, second = (step.loss for step in purdist.train(training, [{"x": feed}] * 2))
    assert first == pytest.approx(
        in_dynamic_mode(looped, feed)[0] * (1 if function is looped else len(feed)), rel=1e-6
    )
    assert second < first


def test_sizes_that_meet_inside_of_an_if_must_be_one_there() -> None:
    labels = purdist.NewInput("y", [-1], "int64")
    distilled = purdist.apply(network(), [CustomLoss(reduced_or_none, {"s": "s", "y": labels})])
    training = purdist.minimize(distilled, lambda: P.optimizer.SGD(0.1))
    feed = {"x": nets.numbers(3, 4, 6), "y": np.array([0, -1, 2, 1])}
    (s,) = distilled.program.run({"x": feed["x"]}, ["s"]).values()
    losses = [step.loss for step in purdist.train(training, [feed, feed])]
    P.disable_static()
    expected = float(reduced_or_none(P.to_tensor(s), P.to_tensor(feed["y"])))
    assert losses[0] == pytest.approx(expected, rel=1e-6)
    assert losses[1] < losses[0]


@pytest.mark.parametrize("case", CONVERTED)
def test_ifs_and_loops_over_values_are_part_of_the_graph(case: str) -> None:
    for rows in (3, 1):
        feed = nets.numbers(rows, rows, 6)
        value, moved = trained(CONVERTED[case], feed)
        expected, gradient = in_dynamic_mode(CONVERTED[case], feed)
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(moved, gradient, rtol=1e-5, atol=1e-6)


def row_by_row(s: Any) -> Any:
    loss = 0.0
    for row in s:
        loss = loss + row.square().sum()
    return loss / s.shape[0]


def counted_up(s: Any) -> Any:
    loss = 0
    for k in range(s.shape[0]):
        loss += s[k].square().sum()
    return loss / s.shape[0]


def carried_on(s: Any) -> Any:
    loss, state = P.zeros([]), P.zeros([3])
    for k in range(s.shape[0]):
        state = (state + s[k]).tanh()
        loss = loss + state.square().sum()
    return loss / s.shape[0]


@pytest.mark.parametrize("function", [row_by_row, counted_up, carried_on])
def test_a_loop_of_right_value_and_wrong_gradient_is_refused(function: Loss) -> None:
    with pytest.raises(purdist.BuildError, match="as its gradient to 's'") as caught:
        purdist.apply(network(), [CustomLoss(function, {"s": "s"}, name="mine")])
    assert "ops on all rows at once for a loop over rows" in str(caught.value)


def test_conversion_leaves_nothing_behind() -> None:
    cache = program_translator._FUNCTION_CACHE
    known = len(cache._code_to_ast_caches)
    program = network()
    with nets.untouched(program):
        purdist.apply(program, [CustomLoss(conditional, {"s": "s"})])
    assert program_translator._FUNCTION_CACHE is cache
    assert len(cache._code_to_ast_caches) == known
    assert not hasattr(conditional, "__already_d2s")


def test_what_a_loss_keeps_may_be_looked_at_afterwards() -> None:
    """A value whose graph was gone ended the process, however it was touched."""
    printed = nets.in_a_process(
        """
        import gc, paddle, purdist
        from tests import nets
        paddle.enable_static()
        kept, failed = [], []
        def keeps(s):
            layer = paddle.nn.Linear(3, 3)
            kept.extend([s, s.shape, s.shape[0], s * 2, layer, layer.weight])
            return layer(s).mean()
        def fails(s):
            failed.append(s + 1)
            raise RuntimeError
        def apply(loss):
            network = nets.program(nets.linear("x", (6, 3), out="s"))
            return purdist.apply(network, [purdist.CustomLoss(loss, {"s": "s"})])
        training = purdist.minimize(apply(keeps), lambda: paddle.optimizer.SGD(0.1))
        for _ in purdist.train(training, [{"x": nets.numbers(0, 4, 6)}]): pass
        try: apply(fails)
        except purdist.BuildError: pass
        del training
        gc.collect()
        for thing in kept + failed:
            repr(thing), str(thing), getattr(thing, "shape", None)
            if type(thing).__name__ == "Value":
                thing.stop_gradient, thing.get_defining_op().name(), thing.dtype
        print(len(kept), "touched")
        """
    )
    assert printed.strip().endswith("touched")


# --- what a loss remembers -------------------------------------------------------------------

CENTRE = paddle.to_tensor(np.zeros(3, "float32"))
SEEN: list[paddle.Tensor] = []
CALLS = iter(range(1, 99))


class Centring:
    """The centre of the teacher's answers, moved at each call, as DINO has it."""

    def __init__(self) -> None:
        self.centre = paddle.zeros([3])

    def __call__(self, s: paddle.Tensor) -> paddle.Tensor:
        loss = (s - self.centre).square().mean()
        self.centre = 0.9 * self.centre + 0.1 * s.detach().mean(0)
        return loss


def assigning(s: paddle.Tensor) -> paddle.Tensor:
    paddle.assign(s.mean(0), CENTRE)
    return (s - CENTRE).square().mean()


def adding(s: paddle.Tensor) -> paddle.Tensor:
    CENTRE.add_(s.mean(0))
    return (s - CENTRE).square().mean()


def setting(s: paddle.Tensor) -> paddle.Tensor:
    CENTRE.set_value(s.mean(0))
    return (s - CENTRE).square().mean()


def setting_items(s: paddle.Tensor) -> paddle.Tensor:
    CENTRE[:] = s.mean(0)
    return (s - CENTRE).square().mean()


def listing(s: paddle.Tensor) -> paddle.Tensor:
    SEEN.append(s)
    return (s - SEEN[0]).square().mean() + s.mean()


def counting(s: paddle.Tensor) -> paddle.Tensor:
    return s.square().mean() * next(CALLS)


CENTRING = Centring()
MEETS = "got one that meets a value of the call before"
REMEMBERING: dict[str, tuple[Callable[..., paddle.Tensor], str]] = {
    "a centre in an attribute": (lambda s: Centring.__call__(CENTRING, s), MEETS),
    "values in a list": (listing, MEETS),
    "a count": (counting, "got one that computes something else when it is called again"),
    "assign": (assigning, "got paddle.assign to a tensor from outside in 'paddle.assign(s.mean(0)"),
    "a method in place": (adding, "got add_ of a tensor from outside in 'CENTRE.add_(s.mean(0))'"),
    "set_value": (setting, "got set_value of a tensor from outside"),
    "items": (setting_items, "got __setitem__ of a tensor from outside in 'CENTRE[:] = s.mean(0)'"),
}


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("case", REMEMBERING)
def test_a_loss_that_remembers_from_call_to_call_is_refused(case: str, batch: int | None) -> None:
    """Its graph would hold what one call happened to have."""
    loss, text = REMEMBERING[case]
    network = purdist.from_layer(paddle.nn.Linear(6, 3), {"x": InputSpec([batch, 6])})
    SEEN.clear()
    CENTRING.centre = paddle.zeros([3])
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.apply(network, [purdist.CustomLoss(loss, {"s": "output"})])
    assert "Expected a loss that computes the same at each call, " in str(caught.value)
    assert text in str(caught.value)
    assert not CENTRE.numpy().any()
    with pytest.raises(purdist.PurdistError):  # what that attempt left behind ends no process
        purdist.apply(network, [purdist.CustomLoss(loss, {"s": "output"})])


@pytest.mark.parametrize("variables", [("a", "b"), (1,), (("a",),), (["a", "b"],), "ab", None])
def test_what_is_no_mapping_of_variables_is_refused(variables: Any) -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="Expected variables= to be a mapping"):
        purdist.CustomLoss(lambda a: a, variables)


def test_names_of_ones_own_class_become_texts() -> None:
    class Text(str):
        __slots__ = ()

    loss = purdist.CustomLoss(paddle.mean, {Text("a"): Text("b")})
    assert [type(part) for part in loss.items[0]] == [str, str]
