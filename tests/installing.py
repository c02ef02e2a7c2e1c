"""purdist as its build backend makes it, of a copy of the project."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.nets import ROOT


def copied(folder: Path) -> Path:
    """The project as it is cloned, without what working in it leaves."""
    sources = folder / "purdist"
    passed = shutil.ignore_patterns(
        ".*cache*", ".git", ".venv", "__pycache__", "build", "*.egg-info"
    )
    shutil.copytree(ROOT, sources, ignore=passed)
    return sources


def built(sources: Path, kind: str, folder: Path) -> Path:
    """What is made of it: an ``sdist``, a ``wheel``, or an ``editable`` one."""
    code = f"from flit_core import buildapi; buildapi.build_{kind}({str(folder)!r})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def unpacked(wheel: Path, site: Path) -> None:
    """Installs a wheel as pip does, without what it asks for."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
