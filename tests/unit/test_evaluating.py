"""`evaluate`: means and Paddle's metrics over batches, whatever these are cut into."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import hypothesis.strategies as st
import numpy as np
import paddle
import pytest
from hypothesis import given
from paddle.metric import Accuracy, Auc, Metric, Precision, Recall

import purdist
from purdist import errors
from tests import nets
from tests.nets import Array

Feeds = list[dict[str, Array]]


def tokens() -> dict[str, paddle.Tensor]:
    """A row for each token of [N, T, 6], a number for each sample, and one for all."""
    words = paddle.static.data("words", [None, None, 6], "float32")
    logits = nets.dense(words, 6, 4)
    samples = logits.mean([1, 2])
    return {
        "logits": logits,
        "sure": paddle.nn.functional.sigmoid(logits[:, :, 0]),
        "both": paddle.nn.functional.softmax(logits[:, :, :2]),
        "samples": samples,
        "loss": samples.square().mean(),
        "halves": logits.astype("bfloat16"),
        "complex": paddle.complex(samples, samples),
        "constant": paddle.full([2], 3.0),
        "found": paddle.nonzero(samples > 0),
        "positive": samples > 0,
    }


@functools.cache
def network() -> purdist.Program:
    return nets.program(tokens)


def feeds(*rows: int, length: int = 5) -> Feeds:
    random = np.random.RandomState(len(rows))
    return [
        {
            "words": random.standard_normal((n, length, 6)).astype("float32"),
            "label": random.randint(0, 4, (n, length)),
            "so": random.randint(0, 2, (n, length)),
            "mask": random.randint(0, 2, (n, length)),
        }
        for n in rows
    ]


def joined(batches: Sequence[Mapping[str, Array]], name: str) -> Array:
    """A variable, or what is fed, of all batches in one."""
    if name in batches[0]:
        return np.concatenate([batch[name] for batch in batches])
    words = joined(batches, "words")
    return network().run({"words": words}, [name])[name]


def words(batches: Feeds) -> Feeds:
    return [{"words": batch["words"]} for batch in batches]


Metrics = Mapping[str, purdist.MetricSpec]


def needed(batch: Mapping[str, Any], metrics: Metrics) -> dict[str, Any]:
    """What of a batch the network and ``metrics`` read."""
    read = {name for s in metrics.values() if not isinstance(s, str) for name in (*s[1], *s[2:])}
    return {name: value for name, value in batch.items() if name in read | {"words"}}


def evaluated(batches: Sequence[Mapping[str, Any]], metrics: Metrics) -> dict[str, float]:
    return purdist.evaluate(network(), [needed(batch, metrics) for batch in batches], metrics)


# --- means --------------------------------------------------------------------------------------

SPLITS = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@given(rows=SPLITS)
def test_a_mean_is_that_over_the_joined_rows_for_any_split(rows: tuple[int, ...]) -> None:
    names = ["logits", "sure", "samples", "positive"]
    batches = feeds(*rows)
    found = evaluated(words(batches), {f"my {name}": name for name in names})
    for name in names:
        expected = joined(batches, name).astype("float64").mean()
        assert found[f"my {name}"] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(rows=SPLITS)
def test_a_loss_counts_as_often_as_its_batch_has_rows(rows: tuple[int, ...]) -> None:
    batches = feeds(*rows)
    losses = [network().run(batch, ["loss"])["loss"] for batch in words(batches)]
    found = evaluated(words(batches), {"loss": "loss", "constant": "constant"})
    assert found["loss"] == pytest.approx(np.average(losses, weights=rows), rel=1e-9)
    assert found["loss"] == pytest.approx(np.square(joined(batches, "samples")).mean(), rel=1e-5)
    assert found["constant"] == 3.0


def test_a_variable_without_rows_in_a_batch_counts_where_it_has_some() -> None:
    batches = words(feeds(4, 4, 4))
    found = [network().run(batch, ["found"])["found"] for batch in batches]
    assert len({len(array) for array in found}) > 1
    assert evaluated(batches, {"it": "found"})["it"] == pytest.approx(np.concatenate(found).mean())
    zeros = [{"words": np.zeros((2, 5, 6), "float32")}]
    with pytest.raises(errors.InvalidArgumentError, match=r"^Expected rows of 'found' to take"):
        evaluated(zeros, {"it": "found"})


def test_a_weight_has_a_mean_too() -> None:
    name = network().weights[0]
    held = nets.weights(network())[name]
    found = evaluated(words(feeds(3, 1)), {"it": name})
    assert found["it"] == pytest.approx(held.mean(dtype="float64"))


def test_halves_are_numbers() -> None:
    batches = words(feeds(3, 2))
    expected = joined(feeds(3, 2), "logits").mean(dtype="float64")
    assert evaluated(batches, {"it": "halves"})["it"] == pytest.approx(expected, abs=1e-2)


def test_a_mean_of_what_is_no_number_is_told() -> None:
    batch = {"words": np.full((2, 3, 6), np.nan, "float32")}
    assert np.isnan(evaluated([batch], {"loss": "loss"})["loss"])


def two_inputs() -> dict[str, paddle.Tensor]:
    x = paddle.static.data("x", [None, 6], "float32")
    queue = paddle.static.data("queue", [None, 6], "float32")
    known = paddle.static.data("known", [2, 6], "float32")
    return {
        "one": x.mean(),
        "both": x.mean() + queue.mean(),
        "fixed": known.mean(),
        "beside": x.mean() + known.mean(),
    }


def test_rows_are_those_of_the_feeds_that_a_loss_is_computed_from() -> None:
    program = nets.program(two_inputs)
    batches = [
        {"x": nets.numbers(k, n, 6), "queue": nets.numbers(9 + k, m, 6), "known": ones}
        for k, (n, m) in enumerate([(4, 8), (2, 4), (1, 2)])
        for ones in [np.full((2, 6), k, "float32")]
    ]
    means = [batch["x"].mean(dtype="float64") for batch in batches]
    found = purdist.evaluate(program, batches, {k: k for k in ("one", "both", "fixed", "beside")})
    assert found["one"] == pytest.approx(np.average(means, weights=[4, 2, 1]), rel=1e-5)
    others = [batch["queue"].mean(dtype="float64") for batch in batches]
    assert found["both"] - found["one"] == pytest.approx(
        np.average(others, weights=[4, 2, 1]), rel=1e-4
    )
    assert found["fixed"] == pytest.approx(1.0)
    assert found["beside"] - found["one"] == pytest.approx(np.average([0, 1, 2], weights=[4, 2, 1]))
    batches[1]["x"] = nets.numbers(0, 3, 6)
    purdist.evaluate(program, batches, {"one": "one"})
    with pytest.raises(errors.InvalidArgumentError) as caught:
        purdist.evaluate(program, batches, {"both": "both"})
    assert caught.value.problem == (
        "Expected feeds that say alike how many rows a batch has, by which 'both' counts, got "
        "x [3, 6], queue [4, 6]."
    )


# --- Paddle's metrics ---------------------------------------------------------------------------


def right(batches: Feeds, k: int = 1) -> Array:
    """Whether the label is among the first k, of each token."""
    order = np.argsort(-joined(batches, "logits"), axis=-1)[..., :k]
    found: Array = (order == joined(batches, "label")[..., None]).any(-1)
    return found


@given(rows=SPLITS)
def test_accuracy_is_that_over_the_joined_tokens_for_any_split(rows: tuple[int, ...]) -> None:
    batches, metric = feeds(*rows), Accuracy(topk=(1, 3))
    found = evaluated(batches, {"acc": (metric, ["logits", "label"])})
    assert found == pytest.approx(
        {"acc_top1": right(batches).mean(), "acc_top3": right(batches, 3).mean()}
    )
    assert metric.count == [0, 0]


@given(rows=SPLITS, kind=st.sampled_from(["int64", "bool", "float32"]))
def test_a_mask_leaves_rows_out(rows: tuple[int, ...], kind: str) -> None:
    batches = feeds(*rows)
    batches[0]["mask"][0, 0] = 1
    keep = joined(batches, "mask").astype(bool)
    expected = right(batches)[keep].mean()
    for batch in batches:
        batch["label"] = np.where(batch["mask"], batch["label"], -100)  # at which nobody looks
        batch["mask"] = batch["mask"].astype(kind)
    found = evaluated(batches, {"acc": (Accuracy(), ["logits", "label"], "mask")})
    assert found == pytest.approx({"acc": expected})


def test_a_mask_of_samples_leaves_all_their_tokens_out() -> None:
    batches = [{**batch, "mask": batch["mask"][:, 0]} for batch in feeds(4, 3)]
    keep = joined(batches, "mask").astype(bool)
    assert 0 < keep.sum() < 7
    found = evaluated(batches, {"acc": (Accuracy(), ["logits", "label"], "mask")})
    assert found == pytest.approx({"acc": right(batches)[keep].mean()})


def test_a_mask_may_be_a_variable() -> None:
    batches = words(feeds(4, 3))
    keep = joined(batches, "positive")
    assert 0 < keep.sum() < 7
    evaluated(batches, {"it": (Own(), ["samples"], "positive")})
    kept = np.concatenate([part for (part,) in SEEN])
    assert np.array_equal(kept, joined(batches, "samples")[keep])


@pytest.mark.parametrize("length", [4, 5], ids=["as many tokens as samples", "more"])
@pytest.mark.parametrize("form", ["[N, T]", "[N, T, 1]", "[N, T, C]"])
def test_labels_of_tokens_are_no_one_hot_rows(form: str, length: int) -> None:
    """Of [N, T] Paddle's own compute tells something else, or raises."""
    batches = feeds(4, length=length)
    expected, label = right(batches).mean(), batches[0]["label"]
    forms = {"[N, T]": label, "[N, T, 1]": label[..., None], "[N, T, C]": np.eye(4)[label]}
    batches[0]["label"] = forms[form]
    assert evaluated(batches, {"acc": (Accuracy(), ["logits", "label"])}) == {"acc": expected}


def test_paddles_own_compute_takes_labels_of_as_many_tokens_as_samples_for_one_hot() -> None:
    batches = feeds(4, length=4)
    metric = Accuracy()
    with purdist.graphs.dynamic():
        arrays = joined(batches, "logits"), joined(batches, "label")
        metric.update(metric.compute(*map(paddle.to_tensor, arrays)))
    assert metric.accumulate() != pytest.approx(right(batches).mean())


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rows", [(6,), (3, 2, 1)])
def test_decisions_are_counted_as_by_hand(rows: tuple[int, ...], *, masked: bool) -> None:
    batches = feeds(*rows)
    if not masked:
        for batch in batches:
            batch["mask"][...] = 1
    keep = joined(batches, "mask").astype(bool)
    sure, so = joined(batches, "sure")[keep] > 0.5, joined(batches, "so")[keep] == 1
    both = joined(batches, "both")[keep][:, 1]
    pairs = np.sign(both[so][:, None] - both[~so][None])
    found = evaluated(
        batches,
        {
            "precision": (Precision(), ["sure", "so"], "mask"),
            "recall": (Recall(), ["sure", "so"], "mask"),
            "auc": (Auc(), ["both", "so"], "mask") if masked else (Auc(), ["both", "so"]),
        },
    )
    assert found["precision"] == pytest.approx((sure & so).sum() / sure.sum())
    assert found["recall"] == pytest.approx((sure & so).sum() / so.sum())
    assert found["auc"] == pytest.approx((1 + pairs.mean()) / 2, abs=1e-3)


# --- metrics of one's own -----------------------------------------------------------------------


class Own(Metric):
    """Keeps what it is handed, and tells what it was made with."""

    def __init__(self, numbers: Any = 1.0, name: Any = "own") -> None:
        super().__init__()
        self.told, self.called = numbers, name
        self.seen: list[Any] = []
        self.dynamic = False

    def name(self) -> Any:
        return self.called

    def reset(self) -> None:
        SEEN.clear()

    def update(self, *args: Any) -> None:
        assert paddle.in_dynamic_mode()
        self.seen.extend(args)
        SEEN.append(args)

    def accumulate(self) -> Any:
        return self.told


SEEN: list[tuple[Any, ...]] = []
"""What the newest was handed."""


class Distance(Own):
    """Computes in Paddle, as a network does, and draws."""

    def compute(self, *args: Any) -> Any:
        assert [type(arg) for arg in args] == [paddle.Tensor] * len(args)
        paddle.nn.Linear(2, 2)
        paddle.rand([3])
        return [(args[0] - args[1]).abs().sum(), "as it is"]

    def accumulate(self) -> Any:
        return paddle.to_tensor([float(first) for first, _ in SEEN]).sum()


def test_a_metric_of_ones_own_computes_in_dynamic_mode() -> None:
    batches = words(feeds(3, 2))
    found = evaluated(batches, {"it": (Distance(), ["samples", "samples"])})
    assert found == {"it": 0.0}
    assert [type(part) for part in SEEN[0]] == [np.ndarray, str]


@pytest.mark.parametrize(
    ("names", "mask", "shapes"),
    [
        (["logits"], None, [(2, 5, 4)]),
        (["logits", "label"], None, [(10, 4), (10, 1)]),
        (["logits", "label", "so", "samples"], None, [(10, 4), (10, 1), (10, 1), (2,)]),
        (["logits", "label", "words"], None, [(10, 4), (10, 1), (10, 6)]),
        (["label", "so"], None, [(2, 5), (2, 5)]),
        (["label", "logits"], None, [(2, 5), (2, 5, 4)]),
        (["logits", "samples"], None, [(2, 5, 4), (2,)]),
        (["samples", "loss"], None, [(2,), ()]),
        (["logits"], "mask", [(7, 4)]),
        (["logits", "label"], "mask", [(7, 4), (7, 1)]),
        (["label", "so"], "mask", [(7,), (7,)]),
        (["logits", "words"], "mask", [(7, 4), (7, 6)]),
    ],
)
def test_what_a_metric_is_handed_is_flattened_where_labels_are(
    names: list[str], mask: str | None, shapes: list[tuple[int, ...]]
) -> None:
    batches = feeds(2)
    batches[0]["mask"] = np.arange(10).reshape(2, 5) > 2
    own = Own()
    spec = (own, names) if mask is None else (own, names, mask)
    assert evaluated(batches, {"it": spec}) == {"it": 1.0}
    assert [array.shape for array in SEEN[0]] == shapes
    for name, array in zip(names, SEEN[0], strict=True):
        whole = joined(batches, name)
        rows = whole[batches[0]["mask"]] if mask else whole
        assert array.dtype == whole.dtype
        assert np.array_equal(array.ravel(), rows.ravel())
    assert own.seen == []


class Deep(Own):
    def __deepcopy__(self, _: object) -> Deep:
        raise TypeError("a lock")


@pytest.mark.parametrize(
    ("numbers", "name", "expected"),
    [
        (0.5, "own", {"k": 0.5}),
        (np.float32(0.5), ["own_a"], {"k": 0.5}),
        ([0.5], ["own_a"], {"k": 0.5}),
        (np.array(2), "own", {"k": 2.0}),
        ([1, True], ["own_a", "own_b"], {"k_a": 1.0, "k_b": 1.0}),
        (np.array([1.5, 2]), ("p_at_1", "recall"), {"k_1": 1.5, "k_recall": 2.0}),
    ],
)
def test_a_number_is_called_by_the_key_several_by_their_names_too(
    numbers: Any, name: Any, expected: dict[str, float]
) -> None:
    found = evaluated(words(feeds(1)), {"k": (Own(numbers, name), ["samples"]), "l": "loss"})
    del found["l"]
    assert found == expected
    assert {type(value) for value in found.values()} == {float}


# --- names --------------------------------------------------------------------------------------


def labelled() -> purdist.Program:
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    return purdist.apply(nets.program(nets.linear()), [loss]).program


def test_a_label_may_be_an_input_of_the_program_or_fed_beside() -> None:
    x, label = nets.numbers(0, 7, 6), np.arange(7) % 4
    program = labelled()
    spec: dict[str, purdist.MetricSpec] = {"acc": (Accuracy(), ["logits", "label"])}
    order = program.run({"x": x}, ["logits"])["logits"].argmax(-1)
    expected = {"acc": (order == label).mean()}
    batch = {"x": x, "label": label}
    assert purdist.evaluate(program, [batch], spec) == pytest.approx(expected)
    beside = purdist.student_of(program)
    assert "label" not in beside.variables
    assert purdist.evaluate(beside, [batch], spec) == pytest.approx(expected)
    both = purdist.evaluate(program, [batch], {**spec, "loss": "loss"})
    assert both == pytest.approx({**expected, "loss": program.run(batch, ["loss"])["loss"].item()})


def test_where_a_name_is_both_it_is_the_variable() -> None:
    batch = {**feeds(2)[0], "samples": np.full(2, 7.0)}
    evaluated([batch], {"it": (Own(), ["samples"])})
    assert np.array_equal(SEEN[0][0], joined(feeds(2), "samples"))


def test_what_is_fed_alone_needs_no_network() -> None:
    assert evaluated([{"label": np.arange(3)}], {"it": (Own(), ["label"])}) == {"it": 1.0}
    assert np.array_equal(SEEN[0][0], np.arange(3))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", ">i8", "float64", "bool"])
def test_labels_of_any_dtype_are_the_same_numbers(dtype: str) -> None:
    label = np.array([[1], [0]]).astype(dtype)
    evaluated([{"label": label}], {"it": (Own(), ["label"])})
    assert np.array_equal(SEEN[0][0], label)


def test_tensors_and_lists_are_fed_like_arrays() -> None:
    batch = feeds(2)[0]
    with purdist.graphs.dynamic():
        tensors = {name: paddle.to_tensor(array) for name, array in batch.items()}
        half = paddle.to_tensor([1.5, 2.5]).astype("bfloat16")
    spec: dict[str, purdist.MetricSpec] = {"acc": (Accuracy(), ["logits", "label"])}
    assert evaluated([tensors], spec) == evaluated([batch], spec)
    lists = {**batch, "label": batch["label"].tolist()}
    assert evaluated([lists], spec) == evaluated([batch], spec)
    evaluated([{"half": half}], {"it": (Own(), ["half"])})
    assert np.array_equal(SEEN[0][0], np.array([1.5, 2.5], "float32"))


# --- a training that goes on --------------------------------------------------------------------

SPECS = [
    purdist.KDLoss("teacher_logits", "logits", temperature=2.0),
    purdist.CrossEntropyLoss("logits", purdist.NewInput("label")),
]


def images(seed: int) -> dict[str, Array]:
    return {"x": nets.numbers(seed, 6, 1, 4, 4), "label": np.arange(6) % 4}


def training(**options: Any) -> purdist.Training:
    """Dropout, running statistics and a learning rate that moves."""
    teacher, student = nets.program(nets.images("y"), seed=1), nets.program(nets.images(), seed=2)
    merged = purdist.merge(teacher, student, {"y": "x"})

    def make_optimizer() -> paddle.optimizer.Optimizer:
        return paddle.optimizer.Adam(paddle.optimizer.lr.StepDecay(0.1, step_size=2))

    return purdist.minimize(purdist.apply(merged, SPECS), make_optimizer, seed=0, **options)


WANTED: Mapping[str, purdist.MetricSpec] = {
    "loss": "loss",
    "kd": "kd_0",
    "acc": (Accuracy(topk=(1, 2)), ["logits", "label"]),
}


@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_a_training_is_evaluated_as_it_is_and_goes_on_to_the_bit(teacher: Any) -> None:
    alone, looked_at = training(teacher=teacher), training(teacher=teacher)
    batches = [images(k) for k in range(4)]
    steps = list(purdist.train(alone, batches))
    found = []
    for step, expected in zip(purdist.train(looked_at, batches), steps, strict=True):
        assert step == expected
        before = nets.read(looked_at.program.scope)
        found.append(purdist.evaluate(looked_at, [images(8), images(9)], WANTED))
        assert not nets.moved(before, nets.read(looked_at.program.scope))
        assert found[-1]["acc_top1"] == accuracy(purdist.student_of(looked_at))
    assert looked_at.steps == alone.steps
    assert len({result["loss"] for result in found}) == 4
    assert not nets.moved(nets.read(alone.program.scope), nets.read(looked_at.program.scope))


def accuracy(student: purdist.Program) -> float:
    batches = [images(8), images(9)]
    answers = [student.run({"x": b["x"]}, ["logits"])["logits"].argmax(-1) for b in batches]
    return float(np.mean(np.concatenate(answers) == np.arange(12) % 6 % 4))


def test_the_average_is_evaluated_as_a_student_that_has_it() -> None:
    looked_at = training(average=0.7)
    batches = [images(8), images(9)]
    metrics: Metrics = {"mean": "logits", "acc": (Accuracy(), ["logits", "label"])}
    for _ in purdist.train(looked_at, [images(k) for k in range(3)]):
        before = nets.read(looked_at.program.scope)
        found = purdist.evaluate(looked_at, batches, metrics, averaged=True)
        assert found == purdist.evaluate(
            purdist.student_of(looked_at, averaged=True), batches, metrics
        )
        assert found["mean"] != purdist.evaluate(looked_at, batches, metrics)["mean"]
        assert not nets.moved(before, nets.read(looked_at.program.scope))


@pytest.mark.parametrize("mode", ["static", "dynamic", "old"])
def test_nothing_is_changed(mode: str) -> None:
    metric, program = Distance(), network()
    other = training().program
    batches = words(feeds(2, 1))
    if mode == "dynamic":
        paddle.disable_static()
    try:
        with (
            paddle.pir_utils.OldIrGuard() if mode == "old" else nullcontext(),
            nets.untouched(program, other),
        ):
            found = purdist.evaluate(program, batches, {"it": (metric, ["samples", "samples"])})
    finally:
        paddle.enable_static()
    assert found == {"it": 0.0}
    assert metric.seen == []


def test_batches_are_read_one_at_a_time_and_the_graph_is_compiled_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled, program = [], nets.program(tokens)

    class Counted(purdist.inferring.Inferring):
        def __init__(self, *args: Any) -> None:
            compiled.append(args)
            super().__init__(*args)

    monkeypatch.setattr("purdist.internals.Inferring", Counted)

    def one_by_one() -> Iterator[dict[str, Array]]:
        for k, batch in enumerate(feeds(3, 2, 1)):
            assert len(SEEN) == k
            assert not paddle.in_dynamic_mode()  # as the user has it
            yield needed(batch, metrics)

    metrics: dict[str, purdist.MetricSpec] = {"it": (Own(), ["logits", "label"]), "loss": "loss"}
    for _ in range(2):
        SEEN.clear()
        purdist.evaluate(program, one_by_one(), metrics)
        assert len(SEEN) == 3
    assert len(compiled) == 1


# --- errors -------------------------------------------------------------------------------------


def raising(*_: Any) -> Any:
    raise ZeroDivisionError("of the user's own")


class Raising(Own):
    def __init__(self, method: str) -> None:
        super().__init__()
        if method == "reset":
            self.told = method
        else:
            vars(self)[method] = raising

    def reset(self) -> None:
        if self.told == "reset":
            raising()


def refusal(*args: Any, **options: Any) -> purdist.PurdistError:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.evaluate(*args, **options)
    return caught.value


REFUSED: dict[str, tuple[Any, type[purdist.PurdistError], str]] = {
    "no metrics": ({}, errors.InvalidArgumentError, "Expected metrics to compute, got none."),
    "an unknown variable": (
        {"it": "logitz"},
        errors.UnknownVariableError,
        "Expected the name of a variable, got 'logitz', which the program does not have.",
    ),
    "a key of the feed has no mean": (
        {"it": "label"},
        errors.UnknownVariableError,
        "Expected the name of a variable, got 'label', which the program does not have.",
    ),
    "complex numbers": (
        {"it": "complex"},
        errors.DtypeMismatchError,
        "Expected a variable of real numbers to take the mean of, got complex [-1] complex64.",
    ),
    "a metric alone": (
        {"it": Accuracy()},
        errors.InvalidArgumentError,
        "Expected metrics['it'] to be the name of a variable, (metric, names) or (metric, names, "
        "mask), got an Accuracy.",
    ),
    "a class": (
        {"it": (Accuracy, ["logits"])},
        errors.InvalidArgumentError,
        "Expected metrics['it'][0] to be a paddle.Metric, got the class Accuracy.",
    ),
    "a text for names": (
        {"it": (Accuracy(), "logits")},
        errors.InvalidArgumentError,
        "Expected metrics['it'][1] to be a list of names, got 'logits'.",
    ),
    "a set": (
        {"it": (Accuracy(), {"logits"})},
        errors.InvalidArgumentError,
        "Expected metrics['it'][1] to be a list of names in order, got {'logits'}.",
    ),
    "no names": (
        {"it": (Accuracy(), [])},
        errors.InvalidArgumentError,
        "Expected names of what 'it' is of, got none.",
    ),
    "two numbers of one name": (
        {"acc": (Accuracy(topk=(1, 5)), ["logits", "label"]), "acc_top5": "loss"},
        errors.NameClashError,
        "Expected a name for each number, got 'acc_top5' for two.",
    ),
    "names that end alike": (
        {"it": (Own([1, 2], ["a_x", "b_x"]), ["logits"])},
        errors.NameClashError,
        "Expected a name for each number, got 'it_x' for two.",
    ),
    "no copy": (
        {"it": (Deep(), ["logits"])},
        errors.InvalidArgumentError,
        "Expected a metric that can be copied as 'it', got a Deep: 'a lock'",
    ),
    "no name": (
        {"it": (Own(name=3), ["logits"])},
        errors.InvalidArgumentError,
        "Expected the metric 'it', of class Own, to have a name, or a list of them, got 3.",
    ),
    "reset raises": (
        {"it": (Raising("reset"), ["logits"])},
        errors.RunError,
        "Expected the metric 'it', of class Raising, to be reset, it raised ZeroDivisionError: "
        '"of the user\'s own"',
    ),
}
"""What is refused before a batch is read."""


def never() -> Iterator[dict[str, Array]]:
    raise AssertionError("a batch is read")
    yield {}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_is_refused_before_a_batch_is_read(case: str) -> None:
    metrics, kind, problem = REFUSED[case]
    error = refusal(network(), never(), metrics)
    assert (type(error), error.problem) == (kind, problem)
    assert error.remedy


def test_names_that_are_wrong_are_told_together() -> None:
    error = refusal(network(), never(), {"a": "logitz", "b": "loses", "c": (Own(), ["labl"])})
    assert [fault.problem[:56] for fault in error.faults] == [
        "Expected the name of a variable, got 'logitz', which the",
        "Expected the name of a variable, got 'loses', which the ",
    ]


ACC = Accuracy()
PAIR = ["logits", "label"]
BATCH = feeds(2)[0]
NONE = np.zeros((2, 5))

AT_A_BATCH: dict[str, tuple[Any, dict[str, Any], type[purdist.PurdistError], str]] = {
    "a misspelt key": (
        {"acc": (ACC, ["logits", "labl"])},
        {},
        errors.UnknownVariableError,
        "Expected the name of a variable, got 'labl', which the program does not have, nor a "
        "batch, which has 'words', 'label', 'so', 'mask'.\nDid you mean 'label'?",
    ),
    "a surplus feed": (
        {"loss": "loss"},
        {},
        errors.FeedError,
        "3 faults:\n1. Expected feeds for 'words', got one for 'label', which the program has no",
    ),
    "an empty batch": (
        {"acc": (ACC, PAIR), "so": (Own(), ["so"]), "mask": (Own(), ["mask"])},
        {"words": np.zeros((0, 5, 6), "float32")},
        errors.ShapeMismatchError,
        "Expected feeds that are not empty, got words [0, 5, 6].",
    ),
    "labels of other rows": (
        {"acc": (ACC, PAIR)},
        {"label": BATCH["label"][:, :4]},
        errors.ShapeMismatchError,
        "Expected a label for each row of 'acc', got logits [2, 5, 4] float32, label [2, 4] int64."
        "\nOf two that differ by an axis the first has the classes on its last",
    ),
    "labels of samples for tokens": (
        {"acc": (ACC, PAIR)},
        {"label": np.zeros(2, "int64")},
        errors.ShapeMismatchError,
        "Expected 'acc' to be of what is predicted and of labels [N, C] and [N] or [N, 1], or both "
        "[N, C] one-hot, got logits [2, 5, 4], label [2].",
    ),
    "names in another order": (
        {"acc": (ACC, ["label", "logits"])},
        {},
        errors.ShapeMismatchError,
        "Expected 'acc' to be of what is predicted and of labels [N, C] and [N] or [N, 1], or both "
        "[N, C] one-hot, got label [2, 5], logits [2, 5, 4].\nClasses are on the last axis, and",
    ),
    "a mask among the names": (
        {"acc": (ACC, [*PAIR, "mask"])},
        {},
        errors.InvalidArgumentError,
        "Expected two names for 'acc', of what is predicted and of the labels, got 'logits', "
        "'label', 'mask'.\nA mask stands beside them: (metric, names, mask).",
    ),
    "a label that is no class": (
        {"acc": (ACC, PAIR)},
        {"label": NONE - 100},
        errors.InvalidArgumentError,
        "Expected each of the labels 'label' of 'acc' to be a class from 0 to 3, got -100.0.\n"
        "Leave out the rows that do not count, by a mask: (metric, names, mask).",
    ),
    "a label that is no whole number": (
        {"acc": (ACC, PAIR)},
        {"label": NONE + 1.5},
        errors.InvalidArgumentError,
        "Expected each of the labels 'label' of 'acc' to be a class from 0 to 3, got 1.5.",
    ),
    "rows of decisions": (
        {"it": (Precision(), ["sure", "so"])},
        {},
        errors.ShapeMismatchError,
        "Expected 'it' to be of what is predicted and of labels [N] or [N, 1], got sure [2, 5], so",
    ),
    "fewer labels than decisions": (
        {"it": (Recall(), ["odds", "so"])},
        {"odds": np.full(3, 0.5), "so": np.ones(2)},
        errors.ShapeMismatchError,
        "Expected 'it' to be of what is predicted and of labels [N] or [N, 1], got odds [3], so",
    ),
    "logits for probabilities": (
        {"it": (Auc(), ["odds", "so"])},
        {"odds": np.array([[0.5, 0.5], [3.0, -2.0]]), "so": np.ones(2)},
        errors.InvalidArgumentError,
        "Expected 'odds' of 'it' to be probabilities, got 3.0.\nGive what a sigmoid or softmax",
    ),
    "no probabilities": (
        {"it": (Precision(), ["odds", "so"])},
        {"odds": np.array([np.nan, 0.5]), "so": np.ones(2)},
        errors.InvalidArgumentError,
        "Expected 'odds' of 'it' to be probabilities, got nan.",
    ),
    "decisions of three kinds": (
        {"it": (Precision(), ["odds", "so"])},
        {"odds": np.array([0.1, 0.5]), "so": np.array([1, 2])},
        errors.InvalidArgumentError,
        "Expected each of the labels 'so' of 'it' to be a class from 0 to 1, got 2.",
    ),
    "scores of one class": (
        {"it": (Auc(), ["odds", "so"])},
        {"odds": np.array([[0.1], [0.5]]), "so": np.ones(2)},
        errors.ShapeMismatchError,
        "Expected 'it' to be of what is predicted and of labels [N, 2] and [N] or [N, 1], got odds "
        "[2, 1], so [2, 1].",
    ),
    "a mask of weights": (
        {"acc": (ACC, PAIR, "mask")},
        {"mask": NONE + 0.5},
        errors.InvalidArgumentError,
        "Expected the mask 'mask' of 'acc' to be 0 or 1, got 0.5.\nA metric counts whole rows, or",
    ),
    "a mask of other rows": (
        {"acc": (ACC, PAIR, "mask")},
        {"mask": np.ones((2, 4))},
        errors.ShapeMismatchError,
        "Expected the mask of 'acc' in the shape of the rows, got mask [2, 4] and logits [2, 5,",
    ),
    "a mask that is one number": (
        {"acc": (ACC, PAIR, "mask")},
        {"mask": np.array(1)},
        errors.ShapeMismatchError,
        "Expected the mask of 'acc' in the shape of the rows, got mask [] and logits [2, 5, 4].",
    ),
    "no row left": (
        {"acc": (ACC, PAIR, "mask")},
        {"mask": NONE},
        errors.InvalidArgumentError,
        "Expected a row to count for 'acc', the mask 'mask' is 0 for all.",
    ),
    "a masked array": (
        {"acc": (ACC, PAIR)},
        {"label": np.ma.masked_array(BATCH["label"])},
        errors.FeedError,
        "Expected an array as the feed 'label', got a masked one",
    ),
    "compute raises": (
        {"it": (Raising("compute"), PAIR)},
        {},
        errors.RunError,
        "Expected the metric 'it', of class Raising, to take logits [10, 4] float32, label [10, 1] "
        'int64, it raised ZeroDivisionError: "of the user\'s own"\nIt is handed what its names say',
    ),
    "update raises": (
        {"it": (Raising("update"), ["samples"])},
        {},
        errors.RunError,
        "Expected the metric 'it', of class Raising, to take samples [2] float32, it raised Zero",
    ),
    "accumulate raises": (
        {"it": (Raising("accumulate"), ["samples"])},
        {},
        errors.RunError,
        "Expected the metric 'it', of class Raising, to tell its numbers, it raised ZeroDivision",
    ),
    **{
        f"{numbers!r} as {name!r}": (
            {"it": (Own(numbers, name), ["samples"])},
            {},
            errors.InvalidArgumentError,
            f"Expected the metric 'it', of class Own, to make {wanted}, it made ",
        )
        for numbers, name, wanted in [
            (None, "own", "a number"),
            ("0.5", "own", "a number"),
            ({"a": 1.0}, "own", "a number"),
            ([0.5, 0.5], "own", "a number"),
            ([], "own", "a number"),
            (1j, "own", "a number"),
            (0.5, ["a", "b"], "2 numbers, one for each of its names"),
            (np.ones((2, 2)), ["a", "b"], "2 numbers, one for each of its names"),
        ]
    },
}
"""What only a batch shows, or the end."""


@pytest.mark.parametrize("case", AT_A_BATCH)
def test_what_only_a_batch_shows_is_refused_there(case: str) -> None:
    metrics, change, kind, text = AT_A_BATCH[case]
    batch = {**BATCH, **change}
    if case not in ("a surplus feed", "a misspelt key"):
        batch = needed(batch, metrics)
    error = refusal(network(), [batch], metrics)
    assert type(error) is kind
    assert str(error).startswith(text)
    if kind is errors.RunError:
        assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_later_batch_without_a_key_is_told() -> None:
    batches = feeds(2, 2)
    batches = [{n: b[n] for n in ("words", "label")} for b in batches]
    del batches[1]["label"]
    error = refusal(network(), batches, {"acc": (ACC, PAIR)})
    assert "nor a batch, which has 'words'." in error.problem


def test_no_batches_and_one_feed_are_refused() -> None:
    assert refusal(network(), iter(()), {"loss": "loss"}).problem == (
        "Expected batches to evaluate, got none."
    )
    error = refusal(network(), words(feeds(2))[0], {"loss": "loss"})
    assert error.problem == "Expected an iterable of feeds, got one feed for 'words'."
    assert error.remedy == "Write evaluate(source, [feed], metrics)."


def test_a_distillation_is_refused() -> None:
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    distillation = purdist.apply(nets.program(nets.linear()), [loss])
    error = refusal(distillation, [], {"loss": "loss"})
    assert error.problem.startswith("Expected source to be a Program or a Training, got <") or (
        "Distillation" in error.problem
    )
    assert "Pass the training that minimize made" in error.remedy


@pytest.mark.parametrize("make", [network, training])
def test_the_average_of_what_keeps_none_is_refused(make: Callable[[], Any]) -> None:
    error = refusal(make(), [], {"loss": "loss"}, averaged=True)
    assert error.remedy == "Write minimize(..., average=0.999)."


def test_a_variable_of_training_alone_is_refused() -> None:
    program = nets.program(nets.images())
    alone = [name for name, v in program.variables.items() if v.mode == "training"]
    for name in alone:
        assert "in training alone" in refusal(program, never(), {"it": name}).problem
