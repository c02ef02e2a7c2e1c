"""Docstrings list what is raised; that each error in any test keeps to it is in conftest.py."""

from __future__ import annotations

import builtins

import paddle
import pytest

import purdist
from purdist.errors import StaleCacheError
from tests import nets, raising
from tests.raising import Public, by_name, recording


@pytest.mark.parametrize("known", by_name().values(), ids=list(by_name()))
def test_what_a_docstring_lists_are_errors(known: Public) -> None:
    for kind in known.kinds:
        assert issubclass(getattr(purdist, kind, None) or getattr(builtins, kind), Exception)


def test_a_docstring_may_leave_it_to_others() -> None:
    assert by_name()["join"].kinds > by_name()["merge"].kinds > {"MapDirectionError"}
    assert "InvalidArgumentError" in by_name()["FspLoss"].kinds  # by its base
    mine = Public("mine", "As.\n\nRaises:\n    PurdistError: What `no_such_function` raises.")
    with pytest.raises(KeyError):
        assert mine.kinds


def stale(*_: object, **__: object) -> None:
    raise StaleCacheError("of yesterday")


def line(name: str, kind: str, text: str) -> str:
    return f"{name} raises {kind}, which its docstring does not list: {text}"


def test_an_error_that_is_not_listed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = nets.program(nets.linear())
    monkeypatch.setattr("purdist.merging._beside", stale)
    with recording() as recorder:
        with pytest.raises(StaleCacheError):
            purdist.merge(program, program, {})
        with pytest.raises(purdist.UnknownVariableError):
            program.variable("none")
        found = recorder.undocumented()
    assert found == [line("merge", "StaleCacheError", "of yesterday")]
    assert recorder.undocumented() == []


def test_one_that_comes_with_a_step_or_a_constructor_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss = purdist.CustomLoss(lambda logits: logits.mean(), {"logits": "logits"})
    distillation = purdist.apply(nets.program(nets.linear()), [loss])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    monkeypatch.setattr("purdist.training.stepper.Stepper._begin", stale)
    monkeypatch.setattr("purdist.variables.check_name", stale)
    with recording() as recorder:
        with pytest.raises(StaleCacheError):
            list(purdist.train(training, [{"x": nets.numbers(0, 3, 6)}]))
        with pytest.raises(StaleCacheError):
            purdist.NewInput("label")
        found = recorder.undocumented()
    assert found == [line(n, "StaleCacheError", "of yesterday") for n in ("train", "NewInput")]


def test_one_that_was_caught_within_is_none() -> None:
    def mean(logits: paddle.Tensor) -> paddle.Tensor:
        with pytest.raises(StaleCacheError):
            stale()
        return logits.mean()

    loss = purdist.CustomLoss(mean, {"logits": "logits"})
    with recording() as recorder:
        purdist.apply(nets.program(nets.linear()), [loss])
        assert recorder.undocumented() == []


def test_what_is_within_several_is_looked_at() -> None:
    with recording() as recorder:
        error = purdist.errors.together([StaleCacheError("One."), purdist.FeedError("Two.")])
        assert raising._kinds(error) == {"SeveralFaultsError", "StaleCacheError", "FeedError"}
        recorder.undocumented()
