"""A home folder that cannot be written to, or that is not there: nothing is put in it."""

from __future__ import annotations

import pwd
import tempfile
from pathlib import Path

import paddle
import pytest
from paddle.jit.dy2static import utils
from paddle.static import InputSpec

import purdist
from tests import nets

NOBODYS = "/proc/nobody"
"""A folder that nobody can make, root neither."""


class Branching(paddle.nn.Layer):
    """Paddle converts its source, and that of the function in it, each time anew."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = paddle.nn.Linear(6, 6)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        def scaled(value: paddle.Tensor) -> paddle.Tensor:
            if value.mean() > 0:
                value = value * 2.0
            return value

        return scaled(self.inner(x))


def conditional(s: paddle.Tensor) -> paddle.Tensor:
    if s.mean() > 0:  # noqa: SIM108 - what is converted
        loss = s.square().mean()
    else:
        loss = s.mean()
    return loss


def distil() -> None:
    """Calls whatever has code converted, a layer twice."""
    layer = Branching()
    teacher, student = (purdist.from_layer(layer, {"x": InputSpec([None, 6])}) for _ in range(2))
    merged = purdist.merge(teacher, student, {"x": "x"})
    purdist.apply(merged, [purdist.CustomLoss(conditional, {"s": "output"})])


def no_entry(_: int) -> None:
    raise KeyError


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("home", [NOBODYS, "here", None])
def test_nothing_is_written_to_a_home_folder(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", no_entry)  # a user that the system does not know
    else:
        monkeypatch.setenv("HOME", home)
    found = utils.get_temp_dir, utils.DEL_TEMP_DIR
    distil()
    assert list(tmp_path.iterdir()) == []
    assert (utils.get_temp_dir, utils.DEL_TEMP_DIR) == found


def test_nothing_is_left_of_a_process(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("home", "temporary", "work")]
    for folder in folders:
        folder.mkdir()
    home, temporary, work = map(str, folders)
    code = f"""
        import os, sys
        sys.path.insert(0, os.getcwd())
        os.chdir({work!r})
        import numpy, paddle, purdist
        from paddle.static import InputSpec
        from tests.unit.test_home import distil
        distil()
        teacher, student = (
            purdist.from_layer(paddle.nn.Linear(6, 4), {{name: InputSpec([None, 6])}})
            for name in "yx"
        )
        distillation = purdist.apply(
            purdist.merge(teacher, student, {{"y": "x"}}),
            [purdist.L2Loss("teacher_output", "output")],
        )
        training = purdist.minimize(
            distillation, lambda: paddle.optimizer.SGD(0.1), teacher="inference"
        )
        list(purdist.train(training, [{{"x": numpy.ones((2, 6), "float32")}}]))
    """
    nets.in_a_process(code, HOME=home, TMPDIR=temporary)
    dataset = folders[0] / ".cache" / "paddle" / "dataset"  # made by `import paddle` itself
    left = {path for folder in folders for path in folder.rglob("*")}
    assert left <= {dataset, *dataset.parents}


@pytest.mark.usefixtures("dynamic")
def test_no_folder_for_temporary_files_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    program = purdist.from_layer(paddle.nn.Linear(6, 6), {"x": InputSpec([None, 6])})
    monkeypatch.setattr(tempfile, "tempdir", NOBODYS)
    with pytest.raises(purdist.WriteError) as traced:
        purdist.from_layer(paddle.nn.Linear(6, 4), {"x": InputSpec([None, 6])})
    with pytest.raises(purdist.WriteError) as converted:
        purdist.apply(program, [purdist.CustomLoss(conditional, {"s": "output"})])
    for caught in (traced, converted):
        assert str(caught.value).startswith("Expected a temporary folder to write to, got: ")
        assert str(caught.value).endswith("let TMPDIR name another folder.")
