"""What a run of the demonstration keeps on disk, so that one that was killed goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

import purdist
from purdist.storing import replacing


@attrs.frozen
class Folder:
    """Where the checkpoints of one network are, and how well it did after each epoch.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def of(cls, run: Path, seed: int, who: str) -> Folder:
        """That of a network in the folder of a run."""
        return cls(run / f"seed-{seed}" / re.sub(r"\W+", "-", who))

    def checkpoints(self, every: int) -> purdist.Checkpoints:
        """One after so many steps, here."""
        return purdist.Checkpoints(self.path, every)

    def accuracies(self, epochs: int) -> list[float]:
        """Those that were kept of the first ``epochs``."""
        file = self._accuracies
        return json.loads(file.read_text())[:epochs] if file.exists() else []

    def keep(self, accuracies: Sequence[float]) -> None:
        """Keeps them, beside the checkpoints."""
        with replacing(self._accuracies) as draft:
            draft.write_text(json.dumps(accuracies))

    @property
    def _accuracies(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")
