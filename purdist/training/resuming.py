"""`resume`: a training where a checkpoint left off."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from purdist import scopes
from purdist.errors import (
    CorruptFileError,
    InvalidArgumentError,
    MissingFileError,
    PurdistError,
    StaleCheckpointError,
    printable,
    some,
    together,
    warn,
)
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.storing import finish
from purdist.training.checkpoint_files import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    OpenCheckpoint,
    read_manifest,
    stems_in,
    steps_in,
)
from purdist.training.fingerprint import Fingerprint
from purdist.training.ranks import of_the_first
from purdist.training.schedules import set_state
from purdist.training.values import Training, session_of

_SHOWN = 500
"""How many characters of what differs are told."""


def resume(training: Training, directory: str | os.PathLike[str]) -> Training:
    """A new training, with the state of a checkpoint. ``training`` keeps its own.

    It goes on as if it had never been interrupted: the same batches give the same weights, to the
    bit where Paddle computes in one thread. So a script that is started again goes on::

        training = resume(minimize(distillation, make_optimizer), "run")
        rest = feeds(loader, ["x"], epochs=10, start=training.steps)  # times accumulate
        for step in train(training, rest, checkpoints=Checkpoints("run")):
            print(step.index)

    A training that is made otherwise takes the weights of a checkpoint, and no more, by
    ``load_weights(program, "run/step_00001000.checkpoint.safetensors", partial=True)``.

    Of several processes that train together all take the one that the first finds.

    Teachers stay where they run, and are shared with ``training``. How far that has moved does not
    matter. The seed is the checkpoint's.

    Args:
        training: What `minimize` made, of the same networks, losses and optimizer as the checkpoint
            was written of. Where a teacher runs may be another: that changes no number beyond
            rounding.
        directory: Of checkpoints: the one of most steps that is whole is taken. Or one of them, by
            the path that `save_checkpoint` was given. Where there is none, or no such directory,
            ``training`` is returned as it is.

    Warns:
        PurdistWarning: A later checkpoint is damaged, and was passed over.

    Raises:
        StaleCheckpointError: It is of another graph, other losses, another optimizer or another
            teacher, or was written with another seed than `minimize` was given, or by a later
            purdist. The text says what differs.
        CorruptFileError: All that are there are damaged, or the one that was named.
        MissingFileError: They may not be read.
        InvalidArgumentError: ``directory`` is a file; or the LR scheduler, one of your own, holds
            what is no number, text or list of them.
    """
    found: OpenCheckpoint | None = None

    def choose() -> Path | None:
        nonlocal found
        found = _chosen(Path(directory))
        return None if found is None else found.stem

    stem = of_the_first(session_of(training), choose)
    if stem is None:
        return training
    return _loaded(training, found or OpenCheckpoint.of(stem))


# --- which one --------------------------------------------------------------------------------


def _chosen(path: Path) -> OpenCheckpoint | None:
    """The checkpoint at ``path``, or the newest of a directory; None where there is none.

    Raises:
        PurdistError: As in `resume`.
    """
    try:
        if path.is_dir():
            finish(path)
            return _newest(path)
        if os.path.lexists(path):
            raise _no_directory(path)
        if path.parent.is_dir():
            finish(path.parent)
        there = any(os.path.lexists(f"{path}{end}") for end in (MANIFEST, WEIGHTS))
        return OpenCheckpoint.of(path) if there else None
    except PurdistError:
        raise
    except OSError as error:
        raise MissingFileError(
            f"Expected a checkpoint that can be read in {str(path)!r}, got: {error.strerror}.",
            "Ask whose it is for the right to read it, or choose another directory.",
        ) from error


def _no_directory(path: Path) -> InvalidArgumentError:
    bare = next(
        (str(path).removesuffix(e) for e in (MANIFEST, WEIGHTS) if str(path).endswith(e)), ""
    )
    return InvalidArgumentError(
        f"Expected a directory of checkpoints, or one of them, got {str(path)!r}, which is a file.",
        f"Give its path without the suffix: {bare!r}." if bare else "Give the directory.",
    )


def _newest(folder: Path) -> OpenCheckpoint | None:
    """The checkpoint of most steps in ``folder`` that is whole."""
    damaged: dict[str, CorruptFileError] = {}
    steps: dict[str, int] = {}
    for stem in stems_in(folder):
        try:
            steps[stem] = read_manifest(folder / stem).steps
        except CorruptFileError as error:
            damaged[stem] = error
    for stem in sorted(steps, key=lambda stem: (steps[stem], stem), reverse=True):
        try:
            found = OpenCheckpoint.of(folder / stem)
        except CorruptFileError as error:
            damaged[stem] = error
            continue
        _tell(damaged, found, steps)
        return found
    if damaged:
        raise CorruptFileError(
            f"Expected a checkpoint that is whole in {str(folder)!r}, got {len(damaged)} that are "
            f"damaged: {some(error.problem for error in damaged.values())}",
            "Begin anew in another directory, or delete them.",
        )
    return None


def _tell(
    damaged: dict[str, CorruptFileError], found: OpenCheckpoint, steps: dict[str, int]
) -> None:
    """Warns of what is damaged and may be newer than what was ``found``."""
    for stem, error in damaged.items():
        number = steps.get(stem, steps_in(stem))
        if number is None or number > found.manifest.steps:
            warn(
                f"{stem} is damaged, and {found.stem.name} is taken, of {found.manifest.steps} "
                f"steps: {error.problem}"
            )


# --- into a training --------------------------------------------------------------------------


def _loaded(training: Training, found: OpenCheckpoint) -> Training:
    """A new training with the state that was ``found``, which is closed."""
    with found:
        here = Fingerprint.of(training)
        faults = list(_faults(training, found, here))
        if faults:
            raise together(faults)
        again = _again(training, found.manifest)
        session = session_of(again)
        scope, place = session.progress.scope, session.place
        expected = scopes.kinds(scope, session.kept)
        read = set()
        for name, kind, array in found.arrays():
            if expected.get(name) != kind:
                raise found.damaged(f"{name} {list(kind[0])} {kind[1]} in it")
            scopes.put(scope, name, array, place)
            read.add(name)
        if read != expected.keys():
            raise found.damaged(f"one without {some(sorted(expected.keys() - read))}")
        try:
            set_state(session.progress.scheduler, found.manifest.scheduler)
        except ValueError as error:
            raise found.damaged(str(error)) from None
    here.known_of(session)
    return again


def _faults(
    training: Training, found: OpenCheckpoint, here: Fingerprint
) -> Iterator[StaleCheckpointError]:
    stem, session = str(found.stem), session_of(training)
    for what, there, now in found.manifest.made.differences(here):
        yield StaleCheckpointError(
            f"Expected a checkpoint of this training in {stem!r}, got one of another: "
            f"{printable(what, _SHOWN)} is {printable(there, _SHOWN)} there, "
            f"{printable(now, _SHOWN)} here.",
            "Make the training as it was made then, or choose another directory. Into another "
            "training its weights alone are taken by load_weights(program, "
            f"'{found.stem.name}.checkpoint.safetensors', partial=True).",
        )
    if session.recipe.seed_given and str(session.seed) != found.manifest.seed:
        yield StaleCheckpointError(
            f"Expected a checkpoint of seed {session.seed} in {stem!r}, as minimize was given, got "
            f"one of seed {found.manifest.seed}.",
            "Leave seed= out of minimize, and the checkpoint's is taken; or choose another "
            "directory.",
        )


def _again(training: Training, found: Manifest) -> Training:
    """The same training as far as it was ``found``, with a scope and a scheduler of its own."""
    given, session = internals_of(training.program), session_of(training)
    store = Store.at(given.store.place, trained=True, following=given.store.following)
    moving = frozenset(session.moving.values())  # no weights, but written in every step
    given.store.hand_to(store, (v for v in given.held if v.name not in moving))
    held = frozenset(store.scope.local_var_names()).union(given.variables).difference(moving)
    others = [name for name in scopes.names_in(session.progress.scope) if name not in held]
    scopes.copy(session.progress.scope, store.scope, others, store.place)
    progress = attrs.evolve(
        session.progress,
        scope=store.scope,
        scheduler=copy.deepcopy(session.progress.scheduler),
        steps=found.steps,
        at_rest=True,
    )
    return Training(
        Program(attrs.evolve(given, store=store)),
        training.loss,
        training.terms,
        attrs.evolve(session, progress=progress, seed=int(found.seed)),
    )
