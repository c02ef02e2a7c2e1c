"""What a cache is of and what it holds: the manifest beside its files."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import attrs
import numpy as np

from purdist import graphs, scopes
from purdist.errors import StaleCacheError
from purdist.program import Program
from purdist.storing import rewrite
from purdist.structuring import Structurer

_NAME = "manifest.json"
_STRUCTURER = Structurer()


@attrs.define
class Manifest:
    """What a cache holds, and of what. It is rewritten after each batch.

    Attributes:
        teacher: The fingerprint of the teacher's graph and weights.
        names: The variables.
        batches: How many batches are in.
        rows: How many rows are in.
        data: The fingerprint of the batches that are in, each hashed over the last.
        shapes: Of one row of each variable.
        dtypes: Of each variable, as numpy writes it.
    """

    teacher: str
    names: list[str]
    batches: int = 0
    rows: int = 0
    data: str = ""
    shapes: list[list[int]] = attrs.Factory(list)
    dtypes: list[str] = attrs.Factory(list)

    @classmethod
    def of(cls, teacher: Program, outputs: tuple[str, ...]) -> Manifest:
        """That of an empty cache."""
        return cls(_fingerprint(teacher), list(outputs))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in ``folder``."""
        try:
            return _STRUCTURER.read(json.loads((folder / _NAME).read_text()), cls, "manifest")
        except (OSError, ValueError) as error:
            why = str(error).replace("\n", " ")
            raise StaleCacheError(
                f"Expected a teacher cache in {folder}, got a folder without a manifest that can "
                f"be read ({why}).",
                "Delete it, or choose another path.",
            ) from error

    def write(self, folder: Path) -> None:
        """Puts the manifest into ``folder``, the last good one there until it is whole."""
        rewrite(folder / _NAME, json.dumps(_STRUCTURER.unstructure(self)))

    def check_is_of(self, fresh: Manifest, folder: Path) -> None:
        """Refuses the cache in ``folder``, whose this is, unless it is of what ``fresh`` is of."""
        for what, there, here in (
            ("the variables", self.names, fresh.names),
            ("the teacher's graph and weights", self.teacher, fresh.teacher),
        ):
            if there != here:
                raise StaleCacheError(
                    f"Expected the cache in {folder} to be of this teacher, got one in which "
                    f"{what} are others: {there} there, {here} here.",
                    "Delete it, or choose another path.",
                )

    def row_bytes(self, k: int) -> int:
        """How many bytes a row of the ``k``-th variable takes."""
        if not self.rows:
            return 0
        return math.prod(self.shapes[k]) * np.dtype(self.dtypes[k]).itemsize


def file_of(folder: Path, k: int) -> Path:
    """Where the ``k``-th variable is kept."""
    return folder / f"{k}.bin"


def _fingerprint(teacher: Program) -> str:
    digest = hashlib.sha256(graphs.signature(teacher.inference_graph).encode())
    for name, weight in sorted(scopes.values(teacher.scope, teacher.weights).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
