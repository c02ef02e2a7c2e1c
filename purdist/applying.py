"""`apply`: losses turned into graph."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from purdist import graphs
from purdist.distillation import Distillation
from purdist.drafting import ProgramDraft
from purdist.errors import (
    InvalidArgumentError,
    NameClashError,
    PurdistError,
    UnknownVariableError,
    some,
    together,
    warn,
)
from purdist.losses.fields import Part
from purdist.losses.spec import LossSpec
from purdist.mappings import FrozenMapping
from purdist.program import Program, internals_of
from purdist.variables import NewInput, Variable, is_mapped_input, learns


def apply(
    program: Distillation | Program, specs: Iterable[LossSpec], *, prune: bool = True
) -> Distillation:
    """The program with a loss: the weighted sum of what the specs say.

    Every term becomes a variable named after its spec, ``l2_0``, ``fsp_0``, or its
    ``name``, and holds the unweighted value; the total is called ``loss``. What the specs
    add, layers and their parameters included, lives under the term's name. The names
    count on where the program's own leave off, so that one can apply again.

    Here the answers of both are compared, and what they compute before::

        answers = KDLoss("teacher_logits", "logits", temperature=4)
        distillation = apply(merged, [answers, 0.1 * L2Loss("teacher_hidden", "hidden")])
        assert distillation.terms == ("kd_0", "l2_0")

    A distillation is taken for its program as it was before, and the terms that it has come first::

        more = [L2Loss("teacher_logits", "logits")]
        assert apply(distillation, more).specs == (*distillation.specs, *more)

    Args:
        program: Mostly a merged one; a network alone serves for losses between its heads. Or a
            distillation, to add terms to it.
        specs: The terms, at least one.
        prune: Drop what neither the loss nor the student needs, feeds that nothing reads
            included: a teacher costs only as far as it is listened to.

    Raises:
        BuildError: The code of a loss of one's own raised; what it raised is the cause.
        InvalidArgumentError: There are no specs, one names what only inference computes, its
            student variable is a teacher's, or the code of one does what no loss may.
        UnknownVariableError: A spec names what does not exist.
        ShapeMismatchError: A spec is not defined for the shapes, or is no scalar.
        DtypeMismatchError: A spec is not defined for the dtypes.
        NameClashError: The name of a term, a new input or a parameter is taken.
        ForeignValueError: A spec used a layer or value made outside the program.
        WriteError: No folder for temporary files can be written to, and code has to be converted.
        SeveralFaultsError: Faults of several kinds.

    Warns:
        PurdistWarning: The program holds the loss of another distillation, which is no part of
            this one's.
    """
    if isinstance(program, Distillation):
        return apply(program.source, (*program.specs, *specs), prune=prune)
    _warn_of_loss(program)
    specs = _as_tuple(specs)
    named = dict(zip(_term_names(program, specs), specs, strict=True))
    _check(program, named)
    with graphs.building():
        draft = ProgramDraft(program)
        values = {term: draft.add_term(term, spec) for term, spec in named.items()}
        loss = _total_name(program)
        draft.add_total(loss, values, [spec.weight for spec in specs])
        built = draft.finish((loss, *named), prune=prune)
        return Distillation(
            built, loss, tuple(named), specs, program, _by_teacher(built, draft.digests)
        )


def _warn_of_loss(program: Program) -> None:
    """Warns of a program that `apply` has made: mostly terms are to be added."""
    there = [n for n in program.variables if _TOTAL.fullmatch(n)]
    if any(program.variables[name].owner == "loss" for name in there):
        warn(
            f"The program holds {some(map(repr, there))}, the loss of a distillation, whose terms "
            f"are no part of the new one, {_total_name(program)!r}. To add terms to it, give apply "
            "the distillation; to begin anew, its source."
        )


_TOTAL = re.compile(r"loss(_\d+)?")


def _by_teacher(program: Program, digests: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Those of ``digests`` that a teacher computes from what is fed, by its prefix.

    What it computes from weights alone, and those weights, are the same for every batch.
    """
    fed = graphs.fed_ids(program.graph)
    needed = {program.variables[name].name for name in digests if name in program.variables}
    found: dict[str, tuple[str, ...]] = {}
    for name in filter(needed.__contains__, program.variables):
        variable = program.variables[name]
        computed = variable.role == "activation" and not is_mapped_input(variable)
        prefix = variable.network if computed else None
        value = internals_of(program).modes.training.values[name]
        if prefix in program.teachers and graphs.value_id(value) in fed:
            found[prefix] = (*found.get(prefix, ()), name)
    return FrozenMapping(found)


def _as_tuple(specs: Iterable[LossSpec]) -> tuple[LossSpec, ...]:
    specs = tuple(specs)
    if not specs:
        raise InvalidArgumentError(
            "Expected at least one loss, got an empty list.",
            "Name what to teach by, such as [SoftLabelLoss('teacher_logits', 'logits')].",
        )
    return specs


# --- names ------------------------------------------------------------------------------


def _term_names(program: Program, specs: Sequence[LossSpec]) -> tuple[str, ...]:
    given = [spec.name for spec in specs if spec.name is not None]
    faults: list[PurdistError] = [
        NameClashError(
            f"Expected the name of each loss to be new, got {name!r}, which {why}.",
            "Choose another name, or leave it out to get a numbered one.",
        )
        for name in dict.fromkeys(given)
        for why in _why_taken(name, program, given)
    ]
    if faults:
        raise together(faults)
    names: list[str] = []
    for spec in specs:
        names.append(spec.name or _numbered_name(spec.kind, program, (*given, *names)))
    return tuple(names)


def _why_taken(name: str, program: Program, given: Sequence[str]) -> Iterator[str]:
    if name in program.variables:
        yield "is a variable of the program"
    if given.count(name) > 1:
        yield f"{given.count(name)} losses bear"
    if name == "loss":
        yield "is the name of their sum"


def _numbered_name(kind: str, program: Program, taken: Collection[str]) -> str:
    return _first_free((f"{kind}_{k}" for k in itertools.count()), program, taken)


def _total_name(program: Program) -> str:
    numbered = (f"loss_{k}" for k in itertools.count(1))
    return _first_free(itertools.chain(("loss",), numbered), program, ())


def _first_free(names: Iterator[str], program: Program, taken: Collection[str]) -> str:
    """The first of ``names`` that nothing bears and nothing lives under."""
    roots = {name.partition("/")[0] for name in program.variables}
    return next(name for name in names if name not in taken and name not in roots)


# --- checks -----------------------------------------------------------------------------


def _check(program: Program, specs: Mapping[str, LossSpec]) -> None:
    faults = [
        fault.reworded(f"{term}: {fault.problem}", fault.remedy)
        for term, spec in specs.items()
        for fault in _faults(program, spec)
    ]
    faults += _new_input_faults(program, specs)
    if faults:
        raise together(faults)


def _faults(program: Program, spec: LossSpec) -> Iterator[PurdistError]:
    names = {k: n for k, n in spec.variables.items() if isinstance(n, str)}
    unknown = [
        _unknown(program, name, spec.part(key))
        for key, name in names.items()
        if name not in program.variables
    ]
    if unknown:
        yield from unknown
        return
    lacking = [
        internals_of(program).lacking(name, "training")
        for name in names.values()
        if program.variables[name].mode == "inference"
    ]
    if lacking:
        yield from lacking
        return
    known = {key: _described(program, wanted) for key, wanted in spec.variables.items()}
    learned = {key for key, name in names.items() if internals_of(program).takes_gradient(name)}
    yield from _side_faults(spec, known, learned)
    yield from _twin_faults(program, spec, known)
    try:
        spec.check(known)
    except PurdistError as error:
        yield from error.faults or (error,)


def _unknown(program: Program, name: str, part: Part | None) -> UnknownVariableError:
    """The error for a name that no variable bears: labels and masks are mostly fed."""
    error = internals_of(program).unknown(name)
    if part not in ("label", "mask") or not name:
        return error
    fed = f"To feed it, write NewInput({name!r}{', ...' if part == 'mask' else ''})."
    return UnknownVariableError(error.problem, f"{fed} {error.remedy}")


def _described(program: Program, wanted: str | NewInput) -> Variable:
    if isinstance(wanted, str):
        return program.variables[wanted]
    return Variable(wanted.name, wanted.shape, wanted.dtype, "input", network=None, owner="loss")


def _side_faults(
    spec: LossSpec, variables: Mapping[str, Variable], learned: Collection[str]
) -> Iterator[PurdistError]:
    """A student variable that is a teacher's can learn nothing, unless it reads what learns."""
    swapped = any(spec.part(k) == "teacher" and learns(v) for k, v in variables.items())
    for key, variable in variables.items():
        still = variable.owner == "teacher" and key not in learned
        if spec.part(key) == "student" and still:
            yield InvalidArgumentError(
                f"Expected {key} to be a variable that learns, got {variable} of the teacher.",
                "Teacher and student are swapped: exchange the two names."
                if swapped
                else "Name a variable of the student.",
            )


def _twin_faults(
    program: Program, spec: LossSpec, variables: Mapping[str, Variable]
) -> Iterator[PurdistError]:
    """A variable that learns from itself learns nothing."""
    parts = {key: spec.part(key) for key in variables}
    teaching, learning = ([k for k in parts if parts[k] == p] for p in ("teacher", "student"))
    pairs: list[tuple[str, str]] = []
    if len(teaching) == len(learning):  # as they are declared, the first teaches the first
        pairs = list(zip(teaching, learning, strict=True))
    elif not teaching and len(learning) == 2:  # two that teach each other
        pairs = [(learning[0], learning[1])]
    values = internals_of(program).modes.training.values
    identities = {
        key: graphs.value_id(values[name])
        for key, name in spec.variables.items()
        if isinstance(name, str)
    }
    if program.peers and not program.teachers:
        who, step, prefix = "a peer's", "join", program.peers[0]
    else:
        who, step, prefix = "a teacher's", "merge", "teacher_"
    for one, other in pairs:
        same = other in identities and identities[other] == identities.get(one)
        if same and variables[other].owner != "teacher":
            yield InvalidArgumentError(
                f"Expected {one} and {other} to be two variables, got {variables[other]} for "
                "both, which learns nothing from itself.",
                f"What is {who} bears the prefix given to {step}: {prefix + 'output'!r}.",
            )


def _new_input_faults(program: Program, specs: Mapping[str, LossSpec]) -> Iterator[PurdistError]:
    wanted: dict[str, NewInput] = {}
    for term, spec in specs.items():
        for new in spec.variables.values():
            if isinstance(new, str):
                continue
            there = program.variables.get(new.name)
            first = wanted.setdefault(new.name, new)
            if first != new or (there is not None and not _is_input(there, new)):
                yield NameClashError(
                    f"{term}: Expected the name of a new input, got {new}, where "
                    f"{there or first} stands already.",
                    "Choose another name, or give the variable that is there by its name."
                    if there
                    else f"Choose another name, or write {first} in both.",
                )


def _is_input(variable: Variable, new: NewInput) -> bool:
    return (variable.role, variable.shape, variable.dtype) == ("input", new.shape, new.dtype)
