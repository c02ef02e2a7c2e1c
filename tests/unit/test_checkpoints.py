"""A training is written to disk as it goes, and one that is resumed goes on to the bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.optimizer import lr

import purdist
from purdist import storing
from purdist.training import checkpoints, keeping
from purdist.training.checkpoint_files import MANIFEST, WEIGHTS
from purdist.training.fingerprint import Fingerprint
from purdist.training.nonfinite import is_finite
from purdist.training.values import session_of
from tests import nets
from tests.damaging import cut, flipped
from tests.profiles import SLOW

COUNT = 6
BATCHES = [{"x": nets.numbers(k, 4, 1, 4, 4)} for k in range(COUNT)]

Make = Callable[[], Any]


def momentum() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Momentum(lr.StepDecay(0.1, 2))


def distilled(
    *,
    seed: int = 1,
    channels: int = 3,
    specs: Callable[[], list[purdist.LossSpec]] | None = None,
) -> purdist.Distillation:
    """Dropout and batch norm that learn of a teacher, by a term whose factor moves."""
    teacher = nets.program(nets.images("y"), seed=seed)
    merged = purdist.merge(teacher, nets.program(nets.images(channels=channels)), {"y": "x"})
    return purdist.apply(merged, specs() if specs else [kd()])


def kd(temperature: float = 2.0) -> purdist.LossSpec:
    moving = purdist.Schedule.linear(0.2, 1.0, 4)
    return moving * purdist.KDLoss("teacher_logits", "logits", temperature=temperature)


def made(make: Make = momentum, **options: Any) -> purdist.Training:
    of_distillation = {k: options.pop(k) for k in ("seed", "channels", "specs") if k in options}
    chosen = options.pop("chosen", 7)
    return purdist.minimize(distilled(**of_distillation), make, seed=chosen, **options)


def state(training: purdist.Training) -> dict[str, object]:
    """All that moves, to the bit."""
    progress = session_of(training).progress
    held = nets.read(progress.scope)
    scheduler = vars(progress.scheduler) if progress.scheduler else {}
    return {
        "steps": progress.steps,
        "scheduler": {name: held for name, held in scheduler.items() if name[0] != "_"},
        **{name: held[name].tobytes() for name in session_of(training).kept},
    }


def trained(training: purdist.Training, count: int = COUNT, **options: Any) -> purdist.Training:
    """The same, after what is left of so many steps."""
    for _ in purdist.train(training, BATCHES[training.steps : count], **options):
        pass
    return training


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def files(*steps: int) -> list[str]:
    return sorted(f"step_{k:08d}{end}" for k in steps for end in (MANIFEST, WEIGHTS))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory with the checkpoints of four steps."""
    trained(made(), 4, checkpoints=purdist.Checkpoints(tmp_path / "run", every=2))
    return tmp_path / "run"


# --- what is written ----------------------------------------------------------------------


def test_a_training_goes_on_where_a_checkpoint_left_off(run: Path) -> None:
    other = made()
    before = state(other)
    training = purdist.resume(other, run)
    assert training.steps == 4
    assert state(trained(training)) == state(trained(made()))
    assert state(other) == before
    assert state(trained(other)) == state(training)  # which begins anew, and shares nothing


def test_how_far_a_training_has_moved_does_not_matter(run: Path) -> None:
    training = purdist.resume(trained(made(), 3), run)
    assert state(trained(training)) == state(trained(made()))


@pytest.mark.parametrize("name", ["none", "empty", "other"])
def test_where_there_is_none_the_training_is_returned(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "events.log").write_text("step 1")
    training = made()
    assert purdist.resume(training, tmp_path / name) is training


def test_one_of_several_is_resumed_by_its_path(run: Path) -> None:
    training = purdist.resume(made(), run / "step_00000002")
    assert training.steps == 2
    assert state(trained(training)) == state(trained(made()))


def test_a_checkpoint_by_hand_is_one_of_a_directory_too(tmp_path: Path) -> None:
    training = trained(made(), 3)
    purdist.save_checkpoint(training, tmp_path / "best")
    trained(training, 5)
    purdist.save_checkpoint(training, str(tmp_path / "last"))
    purdist.save_checkpoint(training, tmp_path / "last")  # over the one that is there
    assert purdist.resume(made(), tmp_path).steps == 5
    assert purdist.resume(made(), str(tmp_path / "best")).steps == 3


def test_the_files_are_safetensors_and_json(run: Path) -> None:
    assert names(run) == files(2, 4)
    told = json.loads((run / f"step_00000004{MANIFEST}").read_text())
    assert (told["version"], told["steps"], told["seed"]) == (1, 4, "7")
    assert told["weights"] == storing.checksum_of(run / f"step_00000004{WEIGHTS}")
    training = made()
    held = {v.name for v in training.program.variables.values() if v.owner == "teacher"}
    assert not held & set(told["made"]["weights"])
    assert set(told["made"]["still"]) == {"'teacher_'"}


@pytest.mark.filterwarnings("ignore:.* holds a checkpoint of 6 steps")
def test_the_last_of_them_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    for name in ("notes.txt", "step_00000001.txt", f"best{MANIFEST}", f"step_1{WEIGHTS}"):
        (tmp_path / name).write_text("mine")
    others = names(tmp_path)
    (tmp_path / f"step_00000000{WEIGHTS}").write_text("left behind as it was removed")
    for keep, left in ((1, [6]), (2, [5, 6]), (9, [1, 2, 3, 4, 5, 6])):
        trained(made(), checkpoints=purdist.Checkpoints(tmp_path, every=1, keep=keep))
        assert names(tmp_path) == sorted([*others, *files(*left)])


def test_a_checkpoint_of_more_steps_stays(run: Path) -> None:
    training = purdist.resume(made(), run / "step_00000002")
    with pytest.warns(purdist.PurdistWarning) as caught:
        trained(training, 3, checkpoints=purdist.Checkpoints(run, keep=1))
    assert str(caught[0].message) == (
        f"{str(run)!r} holds a checkpoint of 4 steps, and this training has taken 2: resume takes "
        "the other. Begin with resume(training, directory), or choose another directory."
    )
    assert names(run) == files(3, 4)


def test_what_a_killed_process_left_to_remove_is_removed(run: Path) -> None:
    training = purdist.resume(made(), run)
    assert (training.steps, names(run)) == (4, files(2, 4))
    trained(training, 4, checkpoints=purdist.Checkpoints(run, keep=1))
    assert names(run) == files(4)


def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After how many steps checkpoints are written from now on."""
    found: list[int] = []
    write = checkpoints.write_to

    def noted(training: purdist.Training, stem: Path) -> None:
        found.append(training.steps)
        write(training, stem)

    monkeypatch.setattr(keeping, "write_to", noted)
    return found


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (9, [3])])
@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_one_is_written_after_so_many_steps_and_at_the_end(
    teacher: str, every: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = written(monkeypatch)
    kept = purdist.Checkpoints(tmp_path / "a" / "b", every)
    training = trained(made(teacher=teacher), 3, checkpoints=kept, log_every=2)
    assert found == expected
    assert list(purdist.train(training, [], checkpoints=kept)) == []
    assert found == expected


def test_the_clock_is_that_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, found = trained(made(), 1), written(monkeypatch)
    trained(training, checkpoints=purdist.Checkpoints(tmp_path, 2))
    assert found == [2, 4, 6]


@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_one_is_written_where_the_iterator_is_closed_early(
    teacher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, training = written(monkeypatch), made(teacher=teacher)
    steps = purdist.train(training, BATCHES, checkpoints=purdist.Checkpoints(tmp_path))
    for step in steps:
        if step.index == 2:
            break
    assert found == []
    steps.close()  # type: ignore[attr-defined]
    assert found == [3]
    assert state(purdist.resume(made(), tmp_path)) == state(training)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_one_that_is_written_within_an_update_is_of_the_last_that_was_made(
    count: int, tmp_path: Path
) -> None:
    def failing() -> Iterator[dict[str, nets.Array]]:
        yield from BATCHES[:count]
        raise ValueError("no such image")

    training, other = made(accumulate=2), made(accumulate=2)
    with pytest.raises(ValueError, match="no such image"):
        list(purdist.train(training, failing(), checkpoints=purdist.Checkpoints(tmp_path)))
    list(purdist.train(other, BATCHES[: 2 * (count // 2)]))
    resumed = purdist.resume(made(accumulate=2), tmp_path)
    assert state(resumed) == state(other)
    for one in (training, resumed, other):
        list(purdist.train(one, BATCHES[-2:]))
    assert state(training) == state(resumed) == state(other)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_one_is_written_where_the_batches_raise(
    teacher: Any, error: type[BaseException], tmp_path: Path
) -> None:
    def failing() -> Iterator[dict[str, nets.Array]]:
        yield from BATCHES[:3]
        raise error("no such image")

    training = made(teacher=teacher)
    with pytest.raises(error, match="no such image"):
        for _ in purdist.train(training, failing(), checkpoints=purdist.Checkpoints(tmp_path)):
            pass
    taken = purdist.resume(made(), tmp_path).steps
    assert taken == training.steps > 0
    again = purdist.resume(made(teacher=teacher), tmp_path)
    assert state(trained(again)) == state(trained(made(teacher=teacher)))


@pytest.mark.parametrize(
    ("error", "where"), [(purdist.RunError, "_computed"), (KeyboardInterrupt, "_made")]
)
def test_of_a_step_that_fails_as_it_runs_none_is_written(
    error: type[BaseException], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, training = written(monkeypatch), trained(made(), 1)
    steps = purdist.train(training, BATCHES[1:], checkpoints=purdist.Checkpoints(tmp_path))
    next(steps)

    def failing(*_: object) -> None:
        raise error("An op failed.")

    monkeypatch.setattr(f"purdist.training.stepper.Stepper.{where}", failing)
    with pytest.raises(error):
        next(steps)
    monkeypatch.undo()
    if error is purdist.RunError:  # which moves nothing
        assert found == [2]
        assert state(purdist.resume(made(), tmp_path)) == state(trained(made(), 2))
        return
    assert found == []
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.save_checkpoint(training, tmp_path / "c")
    assert str(caught.value) == (
        "Expected a training between two steps, got one within step 2, which may have been taken "
        "in part.\nSave it where train tells a step. Where one was interrupted, resume from a "
        "checkpoint from before."
    )
    assert names(tmp_path) == []


# --- what is not finite -------------------------------------------------------------------


def broken(training: purdist.Training) -> str:
    """The name of a weight that is made nan."""
    scope = training.program.scope
    name = next(n for n in training.program.parameters if n in session_of(training).kept)
    array = nets.read(scope)[name]
    array.flat[0] = np.nan
    scope.var(name).get_tensor().set(array, paddle.CPUPlace())
    return name


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(tmp_path: Path) -> None:
    training = trained(made(), 2, checkpoints=purdist.Checkpoints(tmp_path, 1))
    name = broken(training)
    there = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(purdist.NonFiniteError) as caught:
        purdist.save_checkpoint(training, tmp_path / "best")
    assert str(caught.value).startswith(
        f"Expected finite weights after step 1, got nan or infinite numbers in {name!r}."
    )
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == there


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_what_is_finite_is_told_of_every_dtype(dtype: str) -> None:
    bits = {"bfloat16": "uint16"}.get(dtype, dtype)
    largest = np.finfo(bits).max if dtype == bits else 0x7F7F
    wrong = [0x7F80, 0xFF80, 0x7FC0] if dtype != bits else [np.inf, -np.inf, np.nan]
    finite = np.full(100, largest, bits)  # whose sum is not
    assert is_finite(finite, dtype)
    for number in wrong:
        array = finite.copy()
        array[7] = number
        assert not is_finite(array, dtype)
    assert is_finite(np.array([-1]), "int64")


# --- of another training ------------------------------------------------------------------


def custom(factor: float) -> list[purdist.LossSpec]:
    return [purdist.CustomLoss(lambda value: factor * value.square().mean(), {"value": "logits"})]


def adam(**options: Any) -> Callable[[], Any]:
    return lambda: paddle.optimizer.AdamW(0.1, **options)


STALE: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "a loss": (
        made,
        lambda: made(specs=lambda: [kd(3.0)]),
        r"loss 0 of 1 is KDLoss\(.*temperature=2\.0.*there, KDLoss\(.*temperature=3\.0.* here",
    ),
    "a loss more": (
        made,
        lambda: made(specs=lambda: [kd(), purdist.L2Loss("teacher_logits", "logits")]),
        r"loss 1 of 1 is none there, L2Loss\('teacher_logits', 'logits'\) here",
    ),
    "a function of a loss": (
        lambda: made(specs=lambda: custom(2.0)),
        lambda: made(specs=lambda: custom(3.0)),
        r"op \d+ of \d+ is full \[\d*\] float32 there, the same of other inputs or options here",
    ),
    "the student's sizes": (
        made,
        lambda: made(channels=2),
        r"the weight \S+, and \d more, is \[3\] float32 there, \[2\] float32 here",
    ),
    "the teacher's weights": (
        made,
        lambda: made(seed=2),
        r"the fingerprint of weights that do not learn, of 'teacher_' is \w{32} there, \w{32} here",
    ),
    "the optimizer": (
        lambda: made(adam()),
        lambda: made(lambda: paddle.optimizer.Adam(0.1)),
        r"the optimizer is AdamW there, Adam here",
    ),
    "its options": (
        made,
        lambda: made(lambda: paddle.optimizer.Momentum(lr.StepDecay(0.1, 2), 0.8)),
        r"the optimizer, Momentum, is made with momentum=0\.9 there, with momentum=0\.8 here",
    ),
    "its rate": (
        lambda: made(adam()),
        lambda: made(lambda: paddle.optimizer.AdamW(0.2)),
        r"is made with learning_rate=0\.1 there, with learning_rate=0\.2 here",
    ),
    "its clip": (
        lambda: made(adam(grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))),
        lambda: made(adam(grad_clip=paddle.nn.ClipGradByGlobalNorm(0.5))),
        r"grad_clip=ClipGradByGlobalNorm\(.*clip_norm=1\.0.*clip_norm=0\.5",
    ),
    "what it decays": (
        lambda: made(adam()),
        lambda: made(adam(apply_decay_param_fun=lambda name: "b_0" in name)),
        r"how the optimizer moves \S+, and \d more, is with_decay=\w+ there, with_decay=\w+ here",
    ),
    "the scheduler": (
        made,
        lambda: made(lambda: paddle.optimizer.Momentum(lr.StepDecay(0.1, 3))),
        r"the scheduler, StepDecay, is made with step_size=2 there, with step_size=3 here",
    ),
    "when it is asked": (
        made,
        lambda: made(scheduler_every=2),
        r"minimize's scheduler_every is 1 there, 2 here",
    ),
    "how many batches an update takes": (
        made,
        lambda: made(accumulate=2),
        r"minimize's accumulate is 1 there, 2 here",
    ),
    "the rate of a teacher that follows": (
        lambda: made(follow={"teacher_": 0.9}),
        lambda: made(follow={"teacher_": 0.5}),
        r"minimize's follow is \{'teacher_': 0\.9\} there, \{'teacher_': 0\.5\} here",
    ),
    "the seed": (
        made,
        lambda: made(chosen=8),
        r"Expected a checkpoint of seed 8 in .*, as minimize was given, got one of seed 7",
    ),
}


@pytest.mark.parametrize("what", STALE)
def test_a_checkpoint_of_another_training_is_refused_with_what_differs(
    what: str, tmp_path: Path
) -> None:
    make, other, text = STALE[what]
    purdist.save_checkpoint(make(), tmp_path / "c")
    with pytest.raises(purdist.StaleCheckpointError, match=text) as caught:
        purdist.resume(other(), tmp_path)
    assert len(str(caught.value).splitlines()) == 2
    assert purdist.resume(make(), tmp_path).steps == 0


def test_what_differs_in_several_ways_is_told_together(run: Path) -> None:
    with pytest.raises(purdist.StaleCheckpointError) as caught:
        purdist.resume(made(adam(), seed=2, chosen=8), run)
    assert len(caught.value.faults) == 4  # optimizer, scheduler, teacher, seed


def test_the_seed_is_the_checkpoints_unless_another_was_given(run: Path) -> None:
    training = purdist.resume(made(chosen=None), run)
    assert session_of(training).seed == 7
    assert state(trained(training)) == state(trained(made()))


def test_where_the_teacher_runs_may_be_another_place(tmp_path: Path) -> None:
    distillation = distilled()
    cache = purdist.cache_teacher(distillation, [{"x": b["x"]} for b in BATCHES], tmp_path / "c")
    ways: dict[str, Any] = {"graph": "graph", "inference": "inference", "cache": cache}
    trainings = {
        way: purdist.minimize(distillation, momentum, teacher=teacher, seed=7)
        for way, teacher in ways.items()
    }
    for way, training in trainings.items():
        purdist.save_checkpoint(training, tmp_path / way)
    for training in trainings.values():
        for way in ways:
            assert purdist.resume(training, tmp_path / way).steps == 0


OTHER_PROCESS = """
    import paddle
    from paddle.utils import unique_name
    from tests.unit import test_checkpoints as cases

    paddle.enable_static()
    for _ in range(3):
        unique_name.generate("dense"), unique_name.generate("conv2d")
        paddle.static.data("x", [1])
    cases.made()
    print(cases.purdist.resume(cases.made(), FOLDER).steps)
"""


@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_training_is_known_again_in_another_process(seed: str, run: Path) -> None:
    code = textwrap.dedent(OTHER_PROCESS).replace("FOLDER", repr(str(run)))
    assert nets.in_a_process(code, PYTHONHASHSEED=seed).split()[-1] == "4"


def test_a_fingerprint_is_computed_once_and_handed_on(run: Path) -> None:
    training = made()
    assert Fingerprint.of(training) is Fingerprint.of(training)
    assert Fingerprint.of(purdist.resume(training, run)) is Fingerprint.of(training)


# --- schedulers ---------------------------------------------------------------------------


class InTurn(lr.LRScheduler):
    """One of a user's own: others in a list, and numbers of many kinds."""

    def __init__(self, held: object = None) -> None:
        self.inside = [lr.StepDecay(0.1, 2), lr.CosineAnnealingWarmRestarts(0.2, 2)]
        self.seen: list[float] = []
        self.pair = (1, 2)
        self.held = held
        super().__init__(0.1)

    def get_lr(self) -> float:
        scheduler = self.inside[self.last_epoch % 2]
        scheduler.step()
        self.pair = (self.pair[1], self.last_epoch)
        self.seen.append(scheduler.get_lr())
        return float(np.mean(self.seen)) + 0.001 * sum(self.pair)


@pytest.mark.parametrize("held", [None, float("inf"), {"a": [1, 2.5, "b"]}])
def test_a_scheduler_of_ones_own_goes_on(held: object, tmp_path: Path) -> None:
    def make() -> paddle.optimizer.Optimizer:
        return paddle.optimizer.SGD(InTurn(held))

    training = trained(made(make), 3)
    purdist.save_checkpoint(training, tmp_path / "c")
    resumed = purdist.resume(made(make), tmp_path)
    rates = [
        [step.learning_rate for step in purdist.train(one, BATCHES[3:])]
        for one in (training, resumed)
    ]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) == 3


def test_a_scheduler_that_holds_what_cannot_be_kept_is_refused_before_a_step(
    tmp_path: Path,
) -> None:
    training = made(lambda: paddle.optimizer.SGD(InTurn(np.zeros(3))))
    text = "for a checkpoint to keep, got .* as InTurn.held"
    with pytest.raises(purdist.InvalidArgumentError, match=text):
        purdist.train(training, BATCHES, checkpoints=purdist.Checkpoints(tmp_path / "run"))
    with pytest.raises(purdist.InvalidArgumentError, match=text):
        purdist.save_checkpoint(training, tmp_path / "c")
    assert names(tmp_path) == []


# --- damage -------------------------------------------------------------------------------


def small() -> purdist.Training:
    spec = purdist.CustomLoss(lambda value: value.square().mean(), {"value": "logits"})
    distillation = purdist.apply(nets.program(nets.linear(sizes=(2, 1))), [spec])
    return purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1), seed=3)


def test_every_byte_that_is_flipped_and_every_cut_is_found(tmp_path: Path) -> None:
    training = small()
    purdist.save_checkpoint(training, tmp_path / "c")
    believed = []
    for end in (MANIFEST, WEIGHTS):
        file = tmp_path / f"c{end}"
        whole = file.read_bytes()
        count = None if SLOW else 60
        for what, content in (*flipped(whole, count), *cut(whole, count), ("more", whole + b"\0")):
            file.write_bytes(content)
            try:
                purdist.resume(training, tmp_path / "c")
            except purdist.CorruptFileError:
                continue
            believed.append((end, what))
        file.write_bytes(whole)
    assert believed == []
    assert purdist.resume(training, tmp_path / "c") is not training


def damage(folder: Path, steps: int, end: str) -> None:
    file = folder / f"step_{steps:08d}{end}"
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("end", [MANIFEST, WEIGHTS])
def test_a_damaged_one_is_passed_over_and_told(end: str, run: Path) -> None:
    damage(run, 4, end)
    training = made()
    with pytest.warns(purdist.PurdistWarning) as caught:
        training = purdist.resume(training, run)
    assert str(caught[0].message) == (
        "step_00000004 is damaged, and step_00000002 is taken, of 2 steps: Expected a file of a "
        f"checkpoint in {str(run / f'step_00000004{end}')!r}, got one that is cut off or was "
        "changed."
    )
    assert state(trained(training)) == state(trained(made()))
    with pytest.raises(purdist.CorruptFileError):
        purdist.resume(made(), run / "step_00000004")


@pytest.mark.parametrize("end", [MANIFEST, WEIGHTS])
def test_one_of_which_a_file_is_gone_is_damaged(end: str, run: Path) -> None:
    (run / f"step_00000004{end}").unlink()
    with pytest.warns(purdist.PurdistWarning, match=r"step_00000004 is damaged.*no such file"):
        assert purdist.resume(made(), run).steps == 2
    with pytest.raises(purdist.CorruptFileError, match="no such file"):
        purdist.resume(made(), run / "step_00000004")


def test_an_older_one_that_is_damaged_is_not_in_the_way(run: Path) -> None:
    damage(run, 2, WEIGHTS)
    assert purdist.resume(made(), run).steps == 4


def test_where_all_are_damaged_an_error_says_so(run: Path) -> None:
    damage(run, 2, WEIGHTS)
    damage(run, 4, MANIFEST)
    with pytest.raises(purdist.CorruptFileError) as caught:
        purdist.resume(made(), run)
    assert str(caught.value).startswith(
        f"Expected a checkpoint that is whole in {str(run)!r}, got 2 that are damaged: Expected"
    )


def sealed(folder: Path, **new: object) -> None:
    """The newest checkpoint of ``folder`` with something else in its manifest, and it sealed."""
    file = folder / f"step_00000004{MANIFEST}"
    told = json.loads(file.read_text())
    del told["checksum"]
    body = json.dumps({**told, **new}).encode()
    file.write_bytes(body[:-1] + f', "checksum": "{storing.checksum(body)}"}}'.encode())


@pytest.mark.parametrize(
    "new",
    [
        {"steps": "4"},
        {"pickle": "x"},
        {"steps": -1},
        {"steps": 10**19},
        {"seed": "seven"},
        {"seed": "-7"},
        {"seed": "7" * 10**5},
        {"size": 1},
        {"scheduler": {"last_epoch": '"x"'}},
        {"scheduler": {}},
        {"weights": "00000000"},
        {"made": []},
        {"version": "1"},
    ],
)
def test_what_was_planted_is_refused(new: dict[str, object], run: Path) -> None:
    sealed(run, **new)
    with pytest.raises(purdist.CorruptFileError):
        purdist.resume(made(chosen=None), run / "step_00000004")


def test_a_later_format_is_refused_in_words(run: Path) -> None:
    sealed(run, version=2)
    for path in (run, run / "step_00000004"):
        with pytest.raises(purdist.StaleCheckpointError) as caught:
            purdist.resume(made(), path)
        assert str(caught.value) == (
            f"Expected a checkpoint of format 1 in {str(run / f'step_00000004{MANIFEST}')!r}, got "
            "one of format 2, which a later purdist wrote.\n"
            "Resume with that purdist, or from another directory."
        )


@pytest.mark.parametrize("end", [MANIFEST, WEIGHTS])
def test_a_file_without_an_end_is_not_read_to_it(end: str, run: Path) -> None:
    os.truncate(run / f"step_00000004{end}", 1 << 40)
    with pytest.warns(purdist.PurdistWarning, match="step_00000004 is damaged"):
        assert purdist.resume(made(), run).steps == 2


@pytest.mark.parametrize("end", [MANIFEST, WEIGHTS])
def test_a_fifo_is_not_waited_for(end: str, run: Path) -> None:
    file = run / f"step_00000004{end}"
    file.unlink()
    os.mkfifo(file)
    with pytest.warns(purdist.PurdistWarning, match="no regular file"):
        assert purdist.resume(made(), run).steps == 2


def test_a_file_is_no_directory(run: Path, tmp_path: Path) -> None:
    manifest = run / f"step_00000004{MANIFEST}"
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.resume(made(), manifest)
    assert str(caught.value) == (
        f"Expected a directory of checkpoints, or one of them, got {str(manifest)!r}, which is a "
        f"file.\nGive its path without the suffix: {str(run / 'step_00000004')!r}."
    )
    training = made()
    with pytest.raises(purdist.MissingFileError, match="to be a folder"):
        purdist.train(training, BATCHES, checkpoints=purdist.Checkpoints(manifest))
    with pytest.raises(purdist.InvalidArgumentError, match="which is a folder"):
        purdist.save_checkpoint(training, run)
    with pytest.raises(purdist.MissingFileError):
        purdist.save_checkpoint(training, tmp_path / "none" / "c")


@pytest.mark.parametrize("function", ["open", "scandir"])
def test_what_may_not_be_read_is_not_said_to_be_damaged(
    function: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    training = made()
    monkeypatch.setattr(os, function, refused)
    with pytest.raises(purdist.MissingFileError, match=r"can be read in .*Permission denied"):
        purdist.resume(training, run)


# --- full disks ---------------------------------------------------------------------------

FULL = """
    import resource, signal, warnings
    from pathlib import Path
    import paddle
    from tests.unit import test_checkpoints as cases

    warnings.simplefilter("error", cases.purdist.PurdistWarning)
    paddle.enable_static()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    expected = cases.state(cases.trained(cases.made()))
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 500, 10_000_000):
        folder = Path(FOLDER) / str(limit)
        checkpoints = cases.purdist.Checkpoints(folder, 2)
        training = cases.trained(cases.made(), 2, checkpoints=checkpoints)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, whole[1]))
        try:
            cases.trained(training, checkpoints=checkpoints)
        except cases.purdist.WriteError as error:
            print("told")
            assert cases.names(folder) == cases.files(2)
        else:
            print("made")
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
        assert cases.state(cases.trained(cases.purdist.resume(cases.made(), folder))) == expected
        assert cases.state(cases.trained(training, checkpoints=checkpoints)) == expected
        assert cases.names(folder)[-2:] == cases.files(6)
"""


def test_a_full_disk_loses_nothing_and_is_told(tmp_path: Path) -> None:
    code = textwrap.dedent(FULL).replace("FOLDER", repr(str(tmp_path)))
    said = re.findall("told|made", nets.in_a_process(code))
    assert said == ["told"] * 2 + ["made"]


def test_a_full_disk_as_the_iterator_is_closed_is_told_in_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise purdist.WriteError("No room.")

    steps = purdist.train(made(), BATCHES, checkpoints=purdist.Checkpoints(tmp_path))
    next(steps)
    monkeypatch.setattr("purdist.training.checkpoints.write", full)
    with pytest.warns(purdist.PurdistWarning, match="No checkpoint was written after 1 steps: No"):
        steps.close()  # type: ignore[attr-defined]


# --- kills --------------------------------------------------------------------------------

KILL = """
    import os, random, signal, time, warnings
    from pathlib import Path
    from tests.unit import test_checkpoints as cases

    def child(work):
        number = os.fork()
        if not number:
            try:
                import paddle
                warnings.simplefilter("error", cases.purdist.PurdistWarning)
                paddle.enable_static()
                work()
                os._exit(0)
            except BaseException as error:
                print(type(error), error, flush=True)
            finally:
                os._exit(1)
        return number

    def wait(number):
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

    def run(folder):
        training = cases.purdist.resume(cases.made(cases.momentum, channels=300), folder)
        (folder / "begun").touch()
        cases.trained(training, checkpoints=cases.purdist.Checkpoints(folder, 1))
        (folder / "end").write_text(cases.digest(training))

    whole = Path(FOLDER) / "whole"
    whole.mkdir()
    assert wait(child(lambda: run(whole))) == 0
    taken = (whole / "end").stat().st_mtime - (whole / "begun").stat().st_mtime
    draws = random.Random(0)
    for k in range(KILLS):
        folder = Path(FOLDER) / str(k)
        folder.mkdir()
        victim = child(lambda: run(folder))
        while not (folder / "begun").exists():
            time.sleep(0.001)
        time.sleep(taken * draws.random())
        os.kill(victim, signal.SIGKILL)
        killed = wait(victim)
        (folder / "end").unlink(missing_ok=True)
        stems = [name for name in cases.names(folder) if name.startswith("step_")]
        litter = any(name.startswith(".purdist-") for name in cases.names(folder))
        print("killed" if killed else "ended", len(stems), "litter" if litter else "")
        assert wait(child(lambda: run(folder))) == 0
        assert (folder / "end").read_text() == (whole / "end").read_text()
        assert cases.names(folder) == sorted(["begun", "end", *cases.files(4, 5, 6)])
"""


def digest(training: purdist.Training) -> str:
    return storing.checksum(repr(sorted(state(training).items())).encode())


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    kills = 50 if SLOW else 5
    code = textwrap.dedent(KILL).replace("KILLS", str(kills))
    said = nets.in_a_process(code.replace("FOLDER", repr(str(tmp_path))), OMP_NUM_THREADS="1")
    found = [line for line in said.splitlines() if line.startswith(("killed", "ended"))]
    assert len(found) == kills
    if SLOW:
        assert {line.split()[1] for line in found} > {"0", "2", "4", "6"}
        assert any("litter" in line for line in found)
    shutil.rmtree(tmp_path)
