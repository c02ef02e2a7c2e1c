"""The errors purdist raises: what was expected, what was got, what to do.

Every error is a `PurdistError` and also the built-in that fits, so code that
catches ``ValueError`` or ``KeyError`` keeps working. Faults of one kind that one call
found come as that kind, faults of several as a `SeveralFaultsError`. All can be pickled.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType


class PurdistError(Exception):
    """The base of everything purdist raises on bad input.

    The first line says what was expected and what was got, the second what to do.

    Attributes:
        problem: What was expected and what was got.
        remedy: What to do, '' where the problem says it.
        faults: Each fault on its own, where one call found several.
    """

    faults: tuple[PurdistError, ...] = ()

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}\n{remedy}" if remedy else problem)

    def __str__(self) -> str:
        # KeyError would show the repr of the text, newlines escaped.
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[PurdistError], tuple[object, ...], dict[str, object]]:
        # Exception would hand the joined text back as `problem`.
        return type(self), (self.problem, self.remedy), self.__dict__

    def reworded(self, problem: str, remedy: str) -> PurdistError:
        """The same fault in other words."""
        again = type(self)(problem, remedy)
        again.faults = self.faults
        return again


class UnknownVariableError(PurdistError, KeyError):
    """A name that no variable of the program bears."""


class MapDirectionError(PurdistError, ValueError):
    """A ``data_name_map`` that maps student to teacher.

    Attributes:
        turned: The map the other way round, which `merge` takes.
    """

    turned: Mapping[str, str] = MappingProxyType({})


class IncompleteMapError(PurdistError, ValueError):
    """A ``data_name_map`` that leaves a teacher input without a source."""


class NameClashError(PurdistError, ValueError):
    """Two things that would bear one name."""


class ShapeMismatchError(PurdistError, ValueError):
    """Shapes that do not fit each other or the operation."""


class DtypeMismatchError(PurdistError, TypeError):
    """Data types that do not fit each other or the operation."""


class UninitializedWeightsError(PurdistError, ValueError):
    """A parameter that the scope holds no memory for."""


class FeedError(PurdistError, KeyError):
    """A feed that is missing, that the program has no input for, or that is no array."""


class InvalidArgumentError(PurdistError, ValueError, TypeError):
    """An argument outside the values it may take."""


class ForeignValueError(PurdistError, TypeError):
    """A value or layer that was made outside the program it is used in."""


class BuildError(PurdistError, RuntimeError):
    """The code of a loss of one's own failed while its graph was built."""


class RunError(PurdistError, RuntimeError):
    """Paddle, or a metric, fails as it computes, at feeds that looked right. The cause says how."""


class RandomInferenceError(PurdistError, ValueError):
    """A random operation that inference mode does not switch off."""


class EngineError(PurdistError, RuntimeError):
    """Paddle Inference computes a teacher in no way as its graph does."""


class StaleCacheError(PurdistError, ValueError):
    """A cache of another teacher, other variables or other data."""


class StaleCheckpointError(PurdistError, ValueError):
    """A checkpoint of another graph, other losses, another optimizer or another teacher."""


class NonFiniteError(PurdistError, ArithmeticError):
    """A loss or a weight that is nan or infinite: training ends before it spreads."""


class RankError(PurdistError, RuntimeError):
    """A process that trains with this one is gone, has no more batches, or is elsewhere."""


class TracingError(PurdistError, ValueError):
    """A layer that cannot be called with graph values."""


class MissingFileError(PurdistError, FileNotFoundError):
    """A path with no file behind it."""


class WriteError(PurdistError, OSError):
    """What the system refuses to write. What was there stays; what the system said is the cause."""


class CorruptFileError(PurdistError, ValueError):
    """A file that is cut off, or is not of the format it should be."""


class UnsafeModelError(PurdistError, ValueError):
    """A model with an op that does more than compute: that saves, loads, sends, runs code."""


class SeveralFaultsError(PurdistError, ExceptionGroup[PurdistError]):
    """Faults of more than one kind, found in one call.

    A group, and no other built-in: that would hide the others. ``except*`` finds each kind::

        try:
            merge(teacher, student, {"y": "x", "z": "x"}, keep_inputs=["y"])
        except* KeyError as group:
            print(group.exceptions)  # z is no input of the teacher
        except* ValueError as group:
            print(group.exceptions)  # y is mapped and kept
    """

    def __init__(self, problem: str, faults: Sequence[PurdistError]) -> None:
        super().__init__(problem)
        self.faults: tuple[PurdistError, ...] = tuple(faults)

    def __reduce__(self) -> tuple[type[PurdistError], tuple[object, ...], dict[str, object]]:
        return type(self), (self.problem, self.faults), self.__dict__

    def reworded(self, problem: str, remedy: str) -> SeveralFaultsError:
        """The same faults under another headline, each of which says what to do."""
        return SeveralFaultsError(f"{problem}\n{remedy}" if remedy else problem, self.faults)

    def derive(self, faults: Sequence[PurdistError], /) -> SeveralFaultsError:  # type: ignore[override]
        """Some of the faults, as ``except*``, `split` and `subgroup` ask for them."""
        return SeveralFaultsError(_numbered(faults), faults)


class PurdistWarning(UserWarning):
    """What is done, and could be done in a better way."""


class PartialWeightsWarning(PurdistWarning):
    """Weights that `load_weights` with ``partial`` did not take from a file.

    Attributes:
        missing: Weights of the program that the file does not have.
        unexpected: What the file has, and the program does not.
        mismatched: Weights of the program that are of another shape or dtype in the file.
    """

    def __init__(
        self,
        text: str,
        missing: Iterable[str] = (),
        unexpected: Iterable[str] = (),
        mismatched: Iterable[str] = (),
    ) -> None:
        super().__init__(text)
        self.missing: tuple[str, ...] = tuple(missing)
        self.unexpected: tuple[str, ...] = tuple(unexpected)
        self.mismatched: tuple[str, ...] = tuple(mismatched)

    def __reduce__(self) -> tuple[type[PartialWeightsWarning], tuple[object, ...]]:
        return type(self), (str(self), self.missing, self.unexpected, self.mismatched)


def together(faults: Sequence[PurdistError]) -> PurdistError:
    """One error that tells all of ``faults``: of their kind if they share one."""
    if len(faults) == 1:
        return faults[0]
    kinds = {type(fault) for fault in faults}
    kind = kinds.pop()
    if kinds or issubclass(kind, SeveralFaultsError):
        return SeveralFaultsError(_numbered(faults), faults)
    error = kind(_numbered(faults))
    error.faults = tuple(faults)
    return error


_TOLD = 20
"""How many faults a text tells at most."""


def _numbered(faults: Sequence[PurdistError]) -> str:
    text = "\n".join(f"{k}. {fault}" for k, fault in enumerate(faults[:_TOLD], start=1))
    if len(faults) > _TOLD:
        text += f"\n... and {len(faults) - _TOLD} more."
    return f"{len(faults)} fault{'s' * (len(faults) > 1)}:\n{text}"


def is_own_module(module: object) -> bool:
    """Whether a module of that name is purdist's."""
    return str(module).partition(".")[0] == "purdist"


def warn(said: str | PurdistWarning) -> None:
    """Warns with a `PurdistWarning` of the line that called purdist, however deep it is found."""
    level, frame = 1, inspect.currentframe()
    while frame and is_own_module(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(said, PurdistWarning, stacklevel=level)


def some(things: Iterable[object], limit: int = 3) -> str:
    """The first of ``things``, as a text lists them: ``a, b, c, ...``."""
    listed = list(map(str, things))
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")


def escaped(text: str, limit: int = 80) -> str:
    """What somebody else wrote, as a message can hold it: escaped, and cut short."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text)} characters)"


def printable(name: str, limit: int = 80) -> str:
    """A name that a stranger may have written, plain where a message can hold it so."""
    return name if len(name) <= limit and name.isprintable() else escaped(name, limit)


def last_line(error: Exception) -> str:
    """What an error of Paddle's says in the end, where it says what is wrong, escaped."""
    return escaped(str(error).strip().rpartition("\n")[2], 300)


def listed(things: Iterable[object], limit: int | None = None) -> str:
    """All of ``things``, or the first, as a text lists them that must not end in nothing."""
    texts = list(map(str, things))
    return some(texts, limit or len(texts)) or "none"


def layer_in_words(layer: str) -> str:
    """A layer by its path, as a text tells it, which Paddle may not have kept."""
    return f"the layer {layer!r}" if layer else "no named layer"
