"""What a type checker says to users, by our stubs of Paddle and by Paddle's own types."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest

import purdist

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("accepted.py", "refused.py")

OPEN = {
    "CustomLoss": "calls a function of any parameters",
    "CustomLoss.function": "is that function",
    "from_layer": "takes inputs that nest as those of forward do",
    "losses_from_data": "takes what JSON may hold",
    "losses_to_data": "returns the same",
}
"""What of the public names a user's type checker does not see through, and why."""


@attrs.frozen
class Message:
    file: str
    line: int
    severity: str
    code: str | None
    text: str


@attrs.frozen
class User:
    """Who has purdist as an installed package, in a folder of their own."""

    folder: Path
    caches: Path

    def checks(self, *files: str, stubs: bool) -> list[Message]:
        """What mypy tells the user, by our ``stubs`` of Paddle or by Paddle's own types."""
        if stubs:
            options = [f"--config-file={ROOT / 'mypy.ini'}", "--no-warn-unused-configs"]
        else:
            # Paddle leaves some functions untyped, among them `paddle.static.Program`.
            options = ["--config-file=", "--strict", "--untyped-calls-exclude=paddle"]
        # As files, a cache may be shared by two runs at once.
        options += [f"--cache-dir={self.caches / str(stubs)}", "--no-sqlite-cache"]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--output=json", *options, *files],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        assert not done.stderr
        return [
            Message(m["file"], m["line"], m["severity"], m["code"], m["message"])
            for m in map(json.loads, done.stdout.splitlines())
        ]


@pytest.fixture
def user(tmp_path: Path, request: pytest.FixtureRequest) -> User:
    site = tmp_path / "site"
    site.mkdir()
    (site / "purdist").symlink_to(ROOT / "purdist")
    for file in FILES:
        shutil.copy(HERE / file, tmp_path)
    return User(tmp_path, request.config.cache.mkdir("mypy"))


@pytest.mark.parametrize("stubs", [True, False], ids=["our_stubs", "paddles_own_types"])
def test_every_step_is_typed_and_every_wrong_order_refused(user: User, *, stubs: bool) -> None:
    announced = {
        (file, number, code)
        for file in FILES
        for number, line in enumerate((HERE / file).read_text().splitlines(), start=1)
        for code in re.findall(r"  # E: ([a-z-]+)$", line)
    }
    found = user.checks(*FILES, stubs=stubs)
    assert {(m.file, m.line, m.code) for m in found if m.severity == "error"} == announced


MYPY_ALONE = ("attrs.evolve(", ".shape = (1,)")
"""What pyright lets through: it knows no `attrs.evolve`, and writes to fields with a converter."""


def test_pyright_takes_the_same_and_refuses_the_same(user: User) -> None:
    python = Path(sys.executable)
    settings = {"typeCheckingMode": "strict", "include": FILES, "extraPaths": ["site"]}
    (user.folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [python.parent / "basedpyright", "--outputjson", "--pythonpath", python],
        cwd=user.folder,
        env={**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        (Path(told["file"]).name, told["range"]["start"]["line"] + 1)
        for told in json.loads(done.stdout)["generalDiagnostics"]
        if told["severity"] == "error"
    }
    announced = {
        (file, number)
        for file in FILES
        for number, line in enumerate((HERE / file).read_text().splitlines(), start=1)
        if re.search(r"  # E: [a-z-]+$", line) and not any(alone in line for alone in MYPY_ALONE)
    }
    assert found == announced


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.3.0", reason="older types of numpy's say Any"
)
def test_a_user_sees_the_types_of_all_public_names(user: User) -> None:
    names = list(public())
    source = ["import purdist", *(reveal(*name) for name in names)]
    (user.folder / "revealed.py").write_text("\n".join(source))
    found = user.checks("revealed.py", stubs=False)
    assert [m.line for m in found] == list(range(2, len(source) + 1))
    known = "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]"  # an array of any shape and dtype
    hidden = {
        ".".join(filter(None, names[m.line - 2]))
        for m in found
        if re.search(r"\bAny\b", m.text.replace(known, ""))
    }
    assert hidden == set(OPEN)


def test_all_that_is_public_has_a_type_that_no_checker_infers(user: User) -> None:
    """By pyright, which looks at every module, as a user's checker does that infers nothing."""
    python = Path(sys.executable)
    done = subprocess.run(
        [python.parent / "basedpyright", "--verifytypes", "purdist", "--ignoreexternal"],
        cwd=user.folder,
        env={
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # whose packages it sees
            "PYTHONPATH": str(user.folder / "site"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.strip() for line in done.stdout.splitlines() if " - error:" in line]
    assert found == []
    assert "Type completeness score: 100%" in done.stdout


def public() -> Iterator[tuple[str, str]]:
    """The public names, errors apart, each class followed by its attributes."""
    for name in vars(purdist)["__all__"]:
        thing = getattr(purdist, name)
        if inspect.isclass(thing) and issubclass(thing, Exception):
            continue
        yield name, ""
        if inspect.isclass(thing):
            yield from ((name, part) for part in dir(thing) if not part.startswith("_"))


def reveal(name: str, part: str) -> str:
    if not part:
        return f"reveal_type(purdist.{name})"
    return f"def {name}_{part}(it: purdist.{name}) -> None: reveal_type(it.{part})"
