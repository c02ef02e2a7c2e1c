"""Paddle Inference computes what the graph does, or says why not, and ends nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import paddle
import pytest

import purdist
from purdist import engine, graphs
from purdist.engine import Way
from purdist.graphs.child import Outcome
from purdist.teachers import inference
from purdist.teachers.cut import cut_out
from tests import engines
from tests.engines import CASES, PLAIN, network
from tests.nets import in_a_process, numbers
from tests.profiles import SLOW


def distilled(make: Callable[[], paddle.nn.Layer], shape: tuple[int, ...]) -> purdist.Distillation:
    merged = purdist.merge(network(make, "y", shape), network(make, "x", shape), {"y": "x"})
    return purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


def how_the_teacher_runs(training: purdist.Training) -> str:
    return dict(line.split(None, 1) for line in str(training).splitlines())["teacher"]


@pytest.mark.parametrize("case", CASES)
def test_the_training_is_that_of_one_graph(case: str) -> None:
    make, shape, way = CASES[case]
    distillation = distilled(make, shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", purdist.PurdistWarning)
        training = purdist.minimize(distillation, sgd, teacher="inference")
    warned = [w for w in caught if issubclass(w.category, purdist.PurdistWarning)]
    assert len(warned) == (way == PLAIN)
    batches = [{"x": numbers(k, 4, *shape)} for k in range(3)]
    staged = [step.loss for step in purdist.train(training, batches)]
    whole = [step.loss for step in purdist.train(purdist.minimize(distillation, sgd), batches)]
    np.testing.assert_allclose(staged, whole, rtol=1e-4)
    assert how_the_teacher_runs(training) == f"in Paddle Inference, {way}"


def test_a_teacher_that_loops_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding constants makes its loop endless in Paddle Inference, which is found out once."""
    monkeypatch.setattr(engine, "_PATIENCE", 8.0)
    distillation = distilled(engines.cells, (5, 6))
    output = distillation.program.variable("teacher_output").name
    assert distillation.digests == {"teacher_": (output,)}
    training = purdist.minimize(distillation, sgd, teacher="inference")
    batches = [{"x": numbers(k, 4, 5, 6)} for k in range(3)]
    staged = [step.loss for step in purdist.train(training, batches)]
    whole = [step.loss for step in purdist.train(purdist.minimize(distillation, sgd), batches)]
    np.testing.assert_allclose(staged, whole, rtol=1e-4)
    assert how_the_teacher_runs(training).endswith("without inplace_pass, constant_folding_pass")


def test_what_was_found_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape, way = CASES["RMSNorm"]
    distillation = distilled(make, shape)
    purdist.minimize(distillation, sgd, teacher="inference")
    monkeypatch.setattr(graphs, "tried", None)
    training = purdist.minimize(distillation, sgd, teacher="inference")
    assert how_the_teacher_runs(training) == f"in Paddle Inference, {way}"
    list(purdist.train(training, [{"x": numbers(0, 4, *shape)}]))


def test_the_first_batch_is_compared_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random inputs may miss what the user's hit: here they are never looked at."""
    make, shape, way = CASES["RMSNorm"]
    distillation = distilled(make, shape)
    cut = cut_out(distillation, "teacher_")
    key = engine.fingerprint(cut.network, cut.outputs)
    monkeypatch.setitem(inference._CHOSEN, key, (Way(), ""))
    training = purdist.minimize(distillation, sgd, teacher="inference")
    assert how_the_teacher_runs(training) == "in Paddle Inference, oneDNN"
    batches = [{"x": numbers(k, 4, *shape)} for k in range(2)]
    staged = [step.loss for step in purdist.train(training, batches)]
    whole = [step.loss for step in purdist.train(purdist.minimize(distillation, sgd), batches)]
    np.testing.assert_allclose(staged, whole, rtol=1e-4)
    assert how_the_teacher_runs(training) == f"in Paddle Inference, {way}"


def test_a_network_that_takes_no_random_feed_is_tried_with_the_first_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, shape, way = CASES["leaky ReLU"]
    distillation = distilled(make, shape)
    monkeypatch.setattr(inference, "_CHOSEN", {})
    monkeypatch.setattr(inference, "samples_of", lambda *_: [])
    training = purdist.minimize(distillation, sgd, teacher="inference")
    list(purdist.train(training, [{"x": numbers(0, 4, *shape)}]))
    assert how_the_teacher_runs(training) == f"in Paddle Inference, {way}"


def test_a_teacher_that_no_way_computes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_CHOSEN", {})
    monkeypatch.setattr(graphs, "tried", lambda *_, **__: Outcome(None, "ended by SIGSEGV", ""))
    with pytest.raises(purdist.EngineError) as caught:
        purdist.minimize(distilled(*CASES["MLP"][:2]), sgd, teacher="inference")
    assert str(caught.value) == (
        "Expected Paddle Inference to compute what the teacher's graph does, got another answer "
        "in each way of compiling it: ended by SIGSEGV.\n"
        "Use teacher='graph', which runs it beside the student."
    )


PROBE = """
    import tempfile, threading, warnings
    import numpy as np, paddle, purdist
    from paddle.static import InputSpec
    from purdist import graphs
    from purdist.graphs.child import Outcome
    from purdist.teachers import inference
    from tests import engines
    from tests.unit.test_engine import distilled, sgd
    nn = paddle.nn
    r = np.random.RandomState(0)
    x = r.standard_normal((4, 4, 6, 6)).astype("float32")
    probes = [
        lambda: nn.Sequential(nn.Conv2DTranspose(4, 5, 3, stride=2), nn.ReLU(), nn.Conv2D(5, 3, 1)),
        lambda: nn.Sequential(nn.Conv2D(4, 5, 3), nn.BatchNorm2D(5), nn.MaxPool2D(2), nn.Flatten()),
        lambda: nn.Sequential(nn.Conv2D(6, 5, 3, data_format="NHWC"), nn.ReLU(), nn.Flatten()),
    ]
    pairs = [distilled(make, x.shape[1:]) for make in probes]
    def probe():
        found = []
        for pair, teacher in zip([*pairs, pairs[0]], ["graph"] * len(pairs) + ["inference"]):
            training = purdist.minimize(pair, sgd, teacher=teacher)
            found += [step.loss for step in purdist.train(training, [{"x": x}] * 3)]
            found.append(pair.program.run({"x": x}, ["output"])["output"].tobytes())
        return found
    def runs(pair, x):
        for teacher in ("graph", "inference"):
            training = purdist.minimize(pair, sgd, teacher=teacher)
            list(purdist.train(training, [{"x": x}] * 2))
    def in_a_thread(function):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    warnings.simplefilter("ignore")
    found, elsewhere = probe(), []
    for case in SOME_CASES:
        make, shape, _ = engines.CASES[case]
        pair, feed = distilled(make, shape), r.standard_normal((3, *shape)).astype("float32")
        runs(pair, feed)
        in_a_thread(lambda: runs(pair, feed))
        with tempfile.TemporaryDirectory() as folder:
            purdist.export(purdist.student_of(pair.program), folder + "/s", ["output"])
            cache = purdist.cache_teacher(pair, [{"x": feed}], folder + "/cache")
            training = purdist.minimize(pair, sgd, teacher=cache)
            list(purdist.train(training, [{"x": feed, "teacher_sample": np.arange(3)}] * 2))
        inference._CHOSEN.clear()
        tried, graphs.tried = graphs.tried, lambda *_, **__: Outcome(None, "refused", "")
        try:
            purdist.minimize(pair, sgd, teacher="inference")
        except purdist.EngineError:
            print("refused")
        graphs.tried = tried
        assert probe() == found, case
    in_a_thread(lambda: elsewhere.append(probe()))
    assert elsewhere == [found]
    print("equal")
"""


def test_nothing_that_runs_changes_the_numbers_of_what_runs_after_it() -> None:
    cases = (
        ("convolutions", "RMSNorm", "YOLO", "NHWC", "NDHWC") if SLOW else ("convolutions", "NHWC")
    )
    words = in_a_process(PROBE.replace("SOME_CASES", repr(cases))).split()
    assert (words.count("refused"), words[-1]) == (len(cases), "equal")
