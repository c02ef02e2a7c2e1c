"""Errors as values: of which built-in, alone or several, and what is left of them elsewhere."""

from __future__ import annotations

import copy
import inspect
import pickle
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import errors
from purdist.errors import PurdistError, SeveralFaultsError, together
from purdist.testing import Arrays
from purdist.training.ranks import check_together
from tests import nets

BUILT_IN: dict[type[PurdistError], type[Exception]] = {
    errors.BuildError: RuntimeError,
    errors.CorruptFileError: ValueError,
    errors.DtypeMismatchError: TypeError,
    errors.EngineError: RuntimeError,
    errors.FeedError: KeyError,
    errors.ForeignValueError: TypeError,
    errors.IncompleteMapError: ValueError,
    errors.InvalidArgumentError: ValueError,
    errors.MapDirectionError: ValueError,
    errors.MissingFileError: FileNotFoundError,
    errors.NameClashError: ValueError,
    errors.NonFiniteError: ArithmeticError,
    errors.RandomInferenceError: ValueError,
    errors.RankError: RuntimeError,
    errors.RunError: RuntimeError,
    errors.ShapeMismatchError: ValueError,
    errors.StaleCacheError: ValueError,
    errors.StaleCheckpointError: ValueError,
    errors.TracingError: ValueError,
    errors.UninitializedWeightsError: ValueError,
    errors.UnknownVariableError: KeyError,
    errors.UnsafeModelError: ValueError,
    errors.WriteError: OSError,
}
KINDS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, PurdistError) and kind is not PurdistError
    ),
    key=lambda kind: kind.__name__,
)
OF_ONE_KIND = [kind for kind in KINDS if kind is not SeveralFaultsError]


def one(kind: type[PurdistError]) -> PurdistError:
    """An error of that kind, with all that one may bear."""
    if kind is SeveralFaultsError:
        error = together([errors.FeedError("One.", "Feed it."), errors.NameClashError("Two.")])
    else:
        error = kind("What was.", "What to do.")
        error.faults = (kind("One.", "Of this."), kind("Two."))
    error.add_note("Told by the caller.")
    return error


def all_of(error: PurdistError) -> object:
    """What can be told of an error, its traceback and cause left out."""
    own = {
        name: value for name, value in vars(error).items() if name not in ("faults", "__notes__")
    }
    notes = getattr(error, "__notes__", [])
    return type(error), str(error), error.args[0], own, notes, [*map(all_of, error.faults)]


def handed_back(error: PurdistError) -> PurdistError:
    return error


def raising(error: PurdistError) -> None:
    raise error


WAYS: dict[str, Callable[[PurdistError], PurdistError]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "the oldest pickle": lambda error: pickle.loads(pickle.dumps(error, 0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_the_built_in_of_each_kind_is_said() -> None:
    assert set(BUILT_IN) == set(OF_ONE_KIND)


@pytest.mark.parametrize("kind", OF_ONE_KIND)
def test_an_error_is_the_built_in_that_fits(kind: type[PurdistError]) -> None:
    error = kind("What was.", "What to do.")
    assert isinstance(error, PurdistError)
    assert isinstance(error, BUILT_IN[kind])
    assert (error.problem, error.remedy, error.faults) == ("What was.", "What to do.", ())
    assert str(error) == "What was.\nWhat to do."
    assert str(kind("What was.")) == "What was."
    again = error.reworded("In other words.", "Do that.")
    assert type(again) is kind
    assert str(again) == "In other words.\nDo that."


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives(kind: type[PurdistError], way: str) -> None:
    error = one(kind)
    again = WAYS[way](error)
    assert again is not error
    assert all_of(again) == all_of(error)


# --- several ----------------------------------------------------------------------------------


def test_faults_of_one_kind_are_of_that_kind() -> None:
    faults = errors.NameClashError("One.", "Do."), errors.NameClashError("Two.")
    error = together(faults)
    assert type(error) is errors.NameClashError
    assert str(error) == "2 faults:\n1. One.\nDo.\n2. Two."
    assert error.faults == faults
    assert together(faults[:1]) is faults[0]


def several() -> SeveralFaultsError:
    """Two names that are none, an argument outside its range, and two that were found before."""
    found_before = together([errors.ShapeMismatchError("Five."), errors.DtypeMismatchError("Six.")])
    error = together(
        [
            errors.UnknownVariableError("One.", "Look."),
            errors.InvalidArgumentError("Two."),
            errors.UnknownVariableError("Three."),
            found_before,
        ]
    )
    assert isinstance(error, SeveralFaultsError)
    return error


def test_faults_of_several_kinds_are_a_group_and_no_other_built_in() -> None:
    error = several()
    assert error.exceptions == error.faults
    assert not isinstance(error, ValueError | KeyError | TypeError | RuntimeError | OSError)
    assert str(error) == (
        "4 faults:\n1. One.\nLook.\n2. Two.\n3. Three.\n4. 2 faults:\n1. Five.\n2. Six."
    )
    assert error.message == str(error)


def leaves(group: BaseExceptionGroup[Any]) -> list[str]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves(error) if isinstance(error, BaseExceptionGroup) else [error.problem])
    ]


def test_each_kind_is_found_in_it_and_no_other() -> None:
    caught: dict[str, list[str]] = {}
    try:
        raise several()
    except* KeyError as group:
        caught["key"] = leaves(group)
    except* errors.DtypeMismatchError as group:
        caught["dtype"] = leaves(group)
    except* errors.ShapeMismatchError as group:
        caught["shape"] = leaves(group)
    except* ValueError as group:
        caught["value"] = leaves(group)
    assert caught == {
        "key": ["One.", "Three."],
        "dtype": ["Six."],
        "shape": ["Five."],
        "value": ["Two."],
    }


def test_what_nobody_takes_is_raised_on() -> None:
    def partly() -> None:
        try:
            raise several()
        except* ValueError:
            pass

    with pytest.raises(SeveralFaultsError) as caught:
        partly()
    assert leaves(caught.value) == ["One.", "Three.", "Six."]
    assert str(caught.value).startswith("3 faults:\n1. One.\nLook.\n2. Three.\n3. 1 fault:\n1. Six")


def test_a_fault_alone_is_found_as_in_a_group() -> None:
    found = []
    try:
        raise together([errors.UnknownVariableError("One."), errors.UnknownVariableError("Two.")])
    except* KeyError as group:
        found = [str(error) for error in group.exceptions]
    assert found == ["2 faults:\n1. One.\n2. Two."]


def test_its_parts_are_of_its_kind() -> None:
    error = several()
    error.add_note("Told by the caller.")
    keys, rest = error.split(KeyError)
    for part in (keys, rest, error.subgroup(ValueError), error.derive(error.faults[:1])):
        assert isinstance(part, SeveralFaultsError)
        assert part.faults == part.exceptions
    assert keys is not None
    assert leaves(keys) == ["One.", "Three."]
    assert rest is not None
    assert leaves(rest) == ["Two.", "Five.", "Six."]
    assert keys.__notes__ == ["Told by the caller."]
    assert error.subgroup(OSError) is None
    assert error.subgroup(PurdistError) is error


# --- as they are raised -----------------------------------------------------------------------


def _no_sum(values: Any) -> Any:
    raise ZeroDivisionError("of the user's own")


def _provoked(folder: Path) -> Iterator[Callable[[], object]]:
    """One call for each kind, that raises it."""
    teacher, student = nets.program(nets.linear("y")), nets.program(nets.linear())
    merged = purdist.merge(teacher, student, {"y": "x"})
    distillation = purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")])
    x = nets.numbers(0, 3, 6)
    (folder / "cut.safetensors").write_bytes(b"\0" * 4)

    yield lambda: student.variable("logitz")
    yield lambda: purdist.merge(teacher, student, {"x": "y"})
    yield lambda: purdist.merge(teacher, student, {})
    yield lambda: purdist.merge(teacher, student, {"y": "x"}, name_prefix="")
    yield lambda: purdist.merge(teacher, merged, {"y": "x"})
    yield lambda: purdist.merge(teacher, student, {"y": "x", "z": "x"}, keep_inputs=["y"])
    yield lambda: student.run({"x": x[0]}, ["logits"])
    yield lambda: student.run({"x": x.astype("float64")}, ["logits"])
    yield lambda: student.run({}, ["logits"])
    yield lambda: purdist.load_weights(student, folder / "none.safetensors")
    yield lambda: purdist.load_weights(student, folder / "cut.safetensors")
    yield lambda: purdist.from_static(
        nets.Net.of(nets.linear(), initialised=False).main, scope=paddle.static.Scope()
    )
    yield lambda: nets.program(
        lambda: {"o": paddle.static.data("x", [None, 3]) + paddle.randn([3])}
    )
    yield lambda: purdist.from_static(
        nets.Net.of(nets.linear()).main, names={"o": nets.Net.of(nets.linear()).names["logits"]}
    )
    yield lambda: purdist.apply(student, [purdist.CustomLoss(_no_sum, {"values": "logits"})])
    yield lambda: _looked_up_beyond().run({"x": np.array([1, 9])}, ["out"])
    yield lambda: _traced(_Printing())

    def stale() -> None:
        purdist.cache_teacher(distillation, [{"x": x}], folder / "cache")
        purdist.cache_teacher(distillation, [{"x": 2 * x}], folder / "cache")

    yield stale

    def resumed(seed: int) -> purdist.Training:
        training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), seed=seed)
        return purdist.resume(training, folder / "checkpoint")

    purdist.save_checkpoint(resumed(1), folder / "checkpoint")
    yield lambda: resumed(2)
    yield lambda: _diverging(distillation, [{"x": x}])
    yield lambda: check_together([1, 0], 0, 3)
    purdist.export(student, folder / "unsafe", ["logits"], check=False)
    (folder / "unsafe.manifest").unlink()
    graph = folder / "unsafe.json"
    graph.write_text(graph.read_text().replace('"1.tanh"', '"1.print"'))
    yield lambda: purdist.from_exported(folder / "unsafe")
    yield lambda: _kept_without_room(distillation, [{"x": x}], folder / "full")
    yield lambda: _refusing(distillation)


def _diverging(distillation: purdist.Distillation, batches: list[Arrays]) -> None:
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(float("inf")))
    list(purdist.train(training, batches))


def _kept_without_room(
    distillation: purdist.Distillation, batches: list[Arrays], path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        purdist.cache_teacher(distillation, batches, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _looked_up_beyond() -> purdist.Program:
    def forward() -> dict[str, paddle.Tensor]:
        rows = paddle.static.data("x", [None], "int64")
        return {"out": paddle.gather(paddle.ones([4]), rows * 2 - rows)}

    return nets.program(forward)


class _Printing(paddle.nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * float(x.numpy().sum())


def _traced(layer: paddle.nn.Layer) -> None:
    purdist.from_layer(layer, {"x": InputSpec([None, 3])})


def _refusing(distillation: purdist.Distillation) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("no kernel for frobnicate")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paddle.inference, "create_predictor", refuse)
        purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), teacher="inference")


def test_what_is_raised_survives_and_crosses_to_another_process(tmp_path: Path) -> None:
    raised: list[PurdistError] = []
    for call in _provoked(tmp_path):
        with pytest.raises(PurdistError) as caught:
            call()
        raised.append(caught.value)
    assert {type(error) for error in raised} == set(KINDS)
    for error in raised:
        for way in WAYS.values():
            assert all_of(way(error)) == all_of(error)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for error, again in zip(raised, pool.map(handed_back, raised), strict=True):
            assert all_of(again) == all_of(error)
        for error in raised:
            with pytest.raises(type(error)) as caught:
                pool.submit(raising, error).result()
            assert all_of(caught.value) == all_of(error)
    reversed_map = next(e for e in raised if isinstance(e, errors.MapDirectionError))
    assert pickle.loads(pickle.dumps(reversed_map)).turned == {"y": "x"}
