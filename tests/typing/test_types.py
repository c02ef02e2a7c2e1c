"""What a type checker says to users, by our stubs of Paddle and by Paddle's own types."""

from __future__ import annotations

import ast
import importlib
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
from tests.installing import built, copied, unpacked
from tests.nets import ROOT

HERE = Path(__file__).parent
FILES = ("accepted.py", "recipes.py", "refused.py")
MODULES = [
    "purdist",
    "purdist.testing",
    *(
        f"purdist.losses.{file.stem}"
        for file in sorted((ROOT / "purdist" / "losses").glob("*.py"))
        if "\n__all__ = [" in file.read_text()
    ),
]
"""What is public: purdist, the kit, and the toolkit for losses of one's own."""

OPEN = {
    "purdist.CustomLoss": "calls a function of any parameters",
    "purdist.CustomLoss.function": "is that function",
    "purdist.losses_to_data": "returns what JSON may hold",
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
    """Who has purdist as an installed package, in a folder of their own.

    Attributes:
        folder: Theirs.
        site: Where the wheel is unpacked.
        caches: Of mypy, kept from run to run.
    """

    folder: Path
    site: Path
    caches: Path

    def mypy(self, *files: str, stubs: bool = False) -> list[Message]:
        """What mypy tells the user, by Paddle's own types or by our ``stubs`` of it."""
        if stubs:
            options = [f"--config-file={ROOT / 'mypy.ini'}", "--no-warn-unused-configs"]
        else:
            # Paddle leaves some functions untyped, among them `paddle.static.Program`.
            options = ["--config-file=", "--strict", "--untyped-calls-exclude=paddle"]
        # As files, a cache may be shared by two runs at once.
        options += [f"--cache-dir={self.caches / str(stubs)}", "--no-sqlite-cache"]
        done = self._run(sys.executable, "-m", "mypy", "--output=json", *options, *files)
        assert done.stdout, done.stderr
        assert not done.stderr
        return [
            Message(m["file"], m["line"], m["severity"], m["code"], m["message"])
            for m in map(json.loads, done.stdout.splitlines())
        ]

    def pyright(self, *files: str) -> list[Message]:
        """What a strict pyright tells the user, by Paddle's own types."""
        settings = {
            "typeCheckingMode": "strict",
            "include": files,
            "extraPaths": [str(self.site)],
            "reportUnusedExpression": False,
        }
        (self.folder / "pyrightconfig.json").write_text(json.dumps(settings))
        python = Path(sys.executable)
        done = self._run(
            str(python.parent / "basedpyright"), "--outputjson", "--pythonpath", str(python)
        )
        return [
            Message(
                Path(m["file"]).name,
                m["range"]["start"]["line"] + 1,
                m["severity"],
                m.get("rule"),
                m["message"],
            )
            for m in json.loads(done.stdout)["generalDiagnostics"]
        ]

    def completeness(self) -> str:
        """What pyright says to whether every type is said, of all modules."""
        python = Path(sys.executable)
        command = str(python.parent / "basedpyright"), "--verifytypes", "purdist"
        return self._run(*command, "--ignoreexternal").stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        python = Path(sys.executable)
        return subprocess.run(
            command,
            cwd=self.folder,
            env={
                **os.environ,
                # Pyright sees the packages of the first Python there.
                "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.site),
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of purdist, unpacked: what a user has of it."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "wheel").mkdir()
    unpacked(built(copied(folder / "sources"), "wheel", folder / "wheel"), folder / "site")
    return folder / "site"


@pytest.fixture(scope="session")
def user(
    site: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> User:
    folder = tmp_path_factory.mktemp("user")
    for file in FILES:
        shutil.copy(HERE / file, folder)
    lines = [*map("import {}".format, MODULES), *(reveal(*name) for name in public())]
    (folder / "revealed.py").write_text("\n".join(lines))
    return User(folder, site, request.config.cache.mkdir("mypy"))


@pytest.fixture(scope="session")
def by_pyright(user: User) -> list[Message]:
    """What it says to all files: one run, most of which it spends on Paddle."""
    return user.pyright(*FILES, "revealed.py")


def announced(pattern: str = r"  # E: ([a-z-]+)$") -> Iterator[tuple[str, int, str, str]]:
    """The errors that the files announce: where, the line, and what mypy calls it."""
    for file in FILES:
        for number, line in enumerate((HERE / file).read_text().splitlines(), start=1):
            for code in re.findall(pattern, line):
                yield file, number, line, code


@pytest.mark.parametrize("stubs", [True, False], ids=["our_stubs", "paddles_own_types"])
def test_every_step_is_typed_and_every_wrong_order_refused(user: User, *, stubs: bool) -> None:
    found = user.mypy(*FILES, stubs=stubs)
    expected = {(file, number, code) for file, number, _, code in announced()}
    assert {(m.file, m.line, m.code) for m in found if m.severity == "error"} == expected


MYPY_ALONE = ("attrs.evolve(", ".shape = (1,)")
"""What pyright lets through: it knows no `attrs.evolve`, and writes to fields with a converter."""


since_numpys_types = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.3.0", reason="older types of numpy's say Any"
)


@since_numpys_types
def test_pyright_takes_the_same_and_refuses_the_same(by_pyright: list[Message]) -> None:
    found = {(m.file, m.line) for m in by_pyright if m.severity == "error" and m.file in FILES}
    assert found == {
        (file, number)
        for file, number, line, _ in announced()
        if not any(alone in line for alone in MYPY_ALONE)
    }


ANY_ARRAY = (
    "ndarray[tuple[Any, ...], dtype[Any]]",
    "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]",
    "ndarray[tuple[Any, ...], dtype[floating[_32Bit]]]",
    "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[numpy._typing._nbit_base._32Bit]]]",
)
"""Arrays of any shape, as numpy says it."""


@since_numpys_types
def test_a_user_of_mypy_sees_the_types_of_all_public_names(user: User) -> None:
    assert hidden(user.mypy("revealed.py")) == set(OPEN)


@since_numpys_types
def test_a_user_of_pyright_sees_the_types_of_all_public_names(by_pyright: list[Message]) -> None:
    found = hidden([message for message in by_pyright if message.file == "revealed.py"])
    assert found == {"purdist.losses_to_data"}  # it writes any parameters as ...


def hidden(revealed: list[Message]) -> set[str]:
    """The public names whose types do not say all, once each has been told."""
    names, first = list(public()), len(MODULES) + 1
    assert len(names) > 400
    assert [m.line for m in revealed] == list(range(first, first + len(names)))
    assert {m.severity for m in revealed} <= {"note", "information"}
    return {".".join(filter(None, names[m.line - first])) for m in revealed if _hides(m.text)}


def _hides(text: str) -> bool:
    for known in ANY_ARRAY:
        text = text.replace(known, "")
    return bool(re.search(r"\b(Any|Unknown)\b", text))


def test_what_is_accepted_calls_every_public_function() -> None:
    calls = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for file in ("accepted.py", "recipes.py")
        for node in ast.walk(ast.parse((HERE / file).read_text()))
        if isinstance(node, ast.Call)
    }
    functions = {n for n in vars(purdist)["__all__"] if inspect.isfunction(getattr(purdist, n))}
    assert len(functions) > 10
    assert functions - calls == set()


@since_numpys_types
def test_all_that_is_public_has_a_type_that_no_checker_infers(user: User) -> None:
    """By pyright, which looks at every module, as a user's checker does that infers nothing."""
    said = user.completeness()
    assert [line.strip() for line in said.splitlines() if " - error:" in line] == []
    assert "Type completeness score: 100%" in said


def public() -> Iterator[tuple[str, str, str]]:
    """The public names by module, each class followed by the attributes that are ours."""
    for module in MODULES:
        held = importlib.import_module(module)
        for name in held.__all__:
            thing = getattr(held, name)
            yield module, name, ""
            if inspect.isclass(thing):
                yield from ((module, name, part) for part in dir(thing) if _is_ours(thing, part))


def _is_ours(cls: type, part: str) -> bool:
    home = next((base for base in cls.__mro__ if part in vars(base)), cls)
    return not part.startswith("_") and home.__module__.startswith("purdist")


def reveal(module: str, name: str, part: str) -> str:
    whole = f"{module}.{name}"
    if not part:
        return f"reveal_type({whole})"
    return f"def {whole.replace('.', '_')}_{part}(it: {whole}) -> None: reveal_type(it.{part})"
