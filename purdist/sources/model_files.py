"""The files of a model: opened together, and what the manifest beside an export says of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import numpy.typing as npt

from purdist import graphs, manifests, storing
from purdist.errors import CorruptFileError, PurdistError
from purdist.sources.misplaced import missing_model, missing_weights

GRAPH, OLD_GRAPH, WEIGHTS, MANIFEST = ".json", ".pdmodel", ".pdiparams", ".manifest"
WRITTEN = (GRAPH, WEIGHTS, MANIFEST)
"""The suffixes of what an export writes."""

_VERSION = 1
_LARGEST_MANIFEST = 1 << 16


@attrs.frozen
class Part:
    """One file of an export.

    Attributes:
        size: Its bytes.
        checksum: Of all of them.
    """

    size: int
    checksum: str

    @classmethod
    def of(cls, path: Path) -> Part:
        """What is at ``path``."""
        return cls(path.stat().st_size, storing.checksum_of(path))


@attrs.frozen
class Manifest:
    """What an export is made of.

    Attributes:
        version: Of the format.
        graph: The ``.json``.
        weights: The ``.pdiparams``, None where the outputs need no weights.
    """

    version: int
    graph: Part
    weights: Part | None = None


def write_manifest(stem: Path) -> None:
    """Writes ``stem.manifest``, of the other files of an export at ``stem``.

    Raises:
        WriteError: The system refuses.
    """
    weights = Path(f"{stem}{WEIGHTS}")
    manifest = Manifest(
        _VERSION,
        Part.of(Path(f"{stem}{GRAPH}")),
        Part.of(weights) if weights.exists() else None,
    )
    storing.write_new(Path(f"{stem}{MANIFEST}"), manifests.written(manifest))


@attrs.frozen(eq=False)
class ModelFiles:
    """The files of one model, open.

    Attributes:
        is_old: Whether its graph is in the old form.
    """

    is_old: bool
    _stem: Path
    _graph: graphs.OpenFile
    _weights: graphs.OpenFile | None
    _manifest: Manifest | None

    @classmethod
    @contextmanager
    def of(cls, path: str) -> Iterator[ModelFiles]:
        """Those at ``path``, without a suffix: of one export, whatever others write there.

        Raises:
            MissingFileError: There is no model, or a file of it cannot be opened.
            CorruptFileError: The manifest is damaged, or of a later format.
        """
        stem = Path(path)
        with suppress(PurdistError):  # links to anywhere are read as they are
            stem = storing.where_files_point(stem, WRITTEN)
        storing.finish(stem.parent)
        with ExitStack() as stack:

            def opened(suffix: str) -> graphs.OpenFile | None:
                file = Path(f"{stem}{suffix}")
                if not os.path.lexists(file):
                    return None
                return stack.enter_context(graphs.OpenFile.of(file))

            with storing.undisturbed(stem.parent):
                graph, is_old = opened(GRAPH), False
                if graph is None:
                    graph, is_old = opened(OLD_GRAPH), True
                if graph is None:
                    raise missing_model(path)
                weights = opened(WEIGHTS)
                manifest = None if is_old else opened(MANIFEST)
            said = None if manifest is None else _read(manifest)
            yield cls(is_old, stem, graph, weights, said)

    @property
    def path(self) -> Path:
        """Of its graph."""
        return self._graph.path

    def graph(self) -> bytes:
        """What the graph's file holds.

        Raises:
            CorruptFileError: It is not what was exported, or larger than any graph.
        """
        part = self._manifest.graph if self._manifest else None
        _check_size(self._graph, part)
        content = self._graph.read(graphs.LARGEST_GRAPH)
        if part and storing.checksum(content) != part.checksum:
            raise graphs.changed(self.path)
        return content

    def weights(self, kinds: Mapping[str, graphs.Kind]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The weights, if ``kinds`` says that there are some, each with its name.

        Raises:
            MissingFileError: They are not there.
            CorruptFileError: They are not what was exported, or of another graph.
        """
        if not kinds:
            return
        if self._weights is None:
            raise missing_weights(Path(f"{self._stem}{WEIGHTS}"))
        part = self._manifest.weights if self._manifest else None
        _check_size(self._weights, part)
        yield from graphs.read_weights(self._weights, kinds, part.checksum if part else None)


def _read(file: graphs.OpenFile) -> Manifest:
    content = file.read(_LARGEST_MANIFEST)
    try:
        version = manifests.version_of(content)
        if version == _VERSION:
            return manifests.read(content, Manifest)
    except ValueError as error:
        raise graphs.corrupt(file.path, "the manifest of an export", str(error)) from None
    raise CorruptFileError(
        f"Expected an export of format {_VERSION} in {str(file.path)!r}, got one of format "
        f"{version}.",
        "Read it with the purdist that wrote it, or export the model with this one.",
    )


def _check_size(file: graphs.OpenFile, part: Part | None) -> None:
    """Refuses a file of another size than the manifest says, before it is read."""
    if part and file.size != part.size:
        raise graphs.changed(file.path)
