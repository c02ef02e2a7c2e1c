"""`merge` and `join`: two networks in one program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from purdist import graphs
from purdist.checking import Names
from purdist.errors import (
    DtypeMismatchError,
    IncompleteMapError,
    InvalidArgumentError,
    MapDirectionError,
    NameClashError,
    PurdistError,
    ShapeMismatchError,
    UnknownVariableError,
    listed,
    some,
    together,
)
from purdist.internals import Internals
from purdist.origins import Tensors, check_own_scopes, check_untied
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.variables import TEACHER_PREFIX, Owner, Variable, changes, check_name, shapes_agree


def merge(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    place: graphs.Place | str | None = None,
    name_prefix: str = TEACHER_PREFIX,
    keep_inputs: Names = (),
) -> Program:
    """One program in which the teacher computes beside the student.

    The teacher is in inference mode in both modes of the result, does not learn and shares its
    weights; all its names get ``name_prefix``. The student's graph and what can change of its
    weights are copied, and its names stay. A second teacher is a second ``merge``, with another
    prefix. Both may come from one layer, or from layers with a part in common: the teacher stays
    as it was when `from_layer` read it. Gradients pass through a teacher that reads what the
    student computes, such as the images of a generator.

    Here the teacher reads what the student is fed::

        merged = merge(teacher, student, {"y": "x"})
        answers = merged.run({"x": images}, ["teacher_logits", "logits"])

    Args:
        teacher: Who teaches.
        student: Who learns.
        data_name_map: Teacher input -> the student variable that it reads instead of a
            feed, mostly an input; ranks, dtypes and known sizes must agree.
        place: Where the result is kept and runs, the student's place by default.
        name_prefix: Put before every name of the teacher.
        keep_inputs: Teacher inputs that stay feeds, under their prefixed names.

    Raises:
        MapDirectionError: The map goes from student to teacher.
        IncompleteMapError: The map leaves out a teacher input.
        UnknownVariableError: The map or ``keep_inputs`` names what does not exist.
        ShapeMismatchError: A teacher input and its variable differ in rank or size.
        DtypeMismatchError: They differ in dtype.
        NameClashError: A prefixed name is one of the student's, or both networks own
            parameters of one name in one scope, and the first was not copied before the second
            was started.
        InvalidArgumentError: A teacher input is both mapped and kept, or mapped to what one
            mode of the student computes alone; or ``name_prefix`` is no name.
        SeveralFaultsError: Faults of several of these kinds.
    """
    return _beside(teacher, student, data_name_map, place, name_prefix, keep_inputs, "teacher")


def join(
    peer: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    place: graphs.Place | str | None = None,
    name_prefix: str = "peer_",
    keep_inputs: Names = (),
) -> Program:
    """One program in which both networks learn, each from the other if `MutualLoss` says so.

    As `merge`, but that the peer trains as it stands: it drops, gathers statistics and learns,
    and its weights that can change are copied. A teacher of the peer's is the result's, under
    both prefixes. (Zhang et al., Deep Mutual Learning, CVPR 2018.)

    Each needs labels beside what it learns of the other::

        label = NewInput("label")
        specs = [MutualLoss("peer_logits", "logits")]
        specs += [CrossEntropyLoss(name, label) for name in ("peer_logits", "logits")]
        both = apply(join(peer, student, {"y": "x"}), specs)

    Args:
        peer: Who learns beside the student.
        student: Whose names stay.
        data_name_map: Peer input -> the student variable that it reads instead of a feed.
        place: Where the result is kept and runs, the student's place by default.
        name_prefix: Put before every name of the peer.
        keep_inputs: Peer inputs that stay feeds, under their prefixed names.

    Raises:
        InvalidArgumentError: Both come from layers that have a part in common which learns, or
            from one layer: here it would be two.
        PurdistError: What `merge` raises.
    """
    return _beside(peer, student, data_name_map, place, name_prefix, keep_inputs, "peer")


def _beside(
    other: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    place: graphs.Place | str | None,
    prefix: str,
    keep_inputs: Names,
    owner: Owner,
) -> Program:
    check_name(prefix, "the other network's variables, name_prefix,")
    here, there = internals_of(student), internals_of(other)
    check_own_scopes(there.origins, here.origins)
    trains = owner == "peer"
    if trains:
        check_untied(_tensors_that_change(other), _tensors_that_change(student))
    _check_map(other, student, data_name_map, keep_inputs, owner)
    _check_prefix(other, student, prefix)
    place = student.place if place is None else graphs.place_of(place)
    added = there.modes if trains else there.modes.inferring()
    own_names = other.inputs + other.weights
    with graphs.building():
        modes = here.modes.append(added, data_name_map, own_names=own_names, prefix=prefix)
    store = Store.at(place)
    here.store.hand_to(store, here.held)
    there.store.hand_to(store, there.held, frozen=not trains, rename=prefix.__add__)
    renamed = _renaming(other, student, data_name_map, prefix, _as_peer if trains else _as_teacher)
    names = other.variables if trains else added.inference.values
    inner = {prefix + n: prefix + of if trains else prefix for n, of in there.inner.items()}
    result = Internals(
        modes,
        store,
        {**student.variables, **{prefix + name: renamed(name) for name in names}},
        origins=here.origins + there.origins,
        tensors={**here.tensors, **{prefix + n: t for n, t in there.tensors.items()}},
        inner={**here.inner, **inner},
    )
    return Program(result)


def _as_teacher(variable: Variable, prefix: str) -> Variable:
    """It does not learn, and infers in both modes: all of it is one network."""
    return attrs.evolve(variable, trainable=False, owner="teacher", network=prefix, mode="both")


def _as_peer(variable: Variable, prefix: str) -> Variable:
    if variable.network is None:
        return variable
    owner: Owner = "peer" if variable.owner == "student" else variable.owner
    return attrs.evolve(variable, owner=owner, network=prefix + variable.network)


def _renaming(
    other: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    prefix: str,
    make: Callable[[Variable, str], Variable],
) -> Callable[[str], Variable]:
    taken = {student.variables[name].given_name for name in student.weights}

    def renamed(key: str) -> Variable:
        variable = other.variables[key]
        given = variable.given_name
        return attrs.evolve(
            make(variable, prefix),
            name=prefix + variable.name,
            role="activation" if variable.name in data_name_map else variable.role,
            given_name=prefix + given if given in taken else given,
        )

    return renamed


def _tensors_that_change(program: Program) -> Tensors:
    own = internals_of(program)
    return {v.name: own.tensors[v.name] for v in own.held if changes(v) and v.name in own.tensors}


def _check_map(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    keep_inputs: Names,
    owner: Owner,
) -> None:
    faults = list(_map_faults(teacher, student, data_name_map, keep_inputs, owner))
    if not faults:
        return
    turned = {variable: source for source, variable in data_name_map.items()}
    if data_name_map and not list(_map_faults(teacher, student, turned, keep_inputs, owner)):
        error = MapDirectionError(
            f"Expected data_name_map to go from {owner} inputs to student variables, got "
            f"{data_name_map}, which goes from student to {owner}.",
            f"Turn it: data_name_map={turned}.",
        )
        error.turned = turned
        raise error
    raise together(faults)


def _map_faults(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    keep_inputs: Names,
    owner: Owner,
) -> Iterator[PurdistError]:
    inputs = teacher.inputs
    for name in (*data_name_map, *keep_inputs):
        if name not in inputs:
            yield _no_input(teacher, name, owner)
    for source, name in data_name_map.items():
        if name not in student.variables:
            unknown = internals_of(student).unknown(name)
            yield UnknownVariableError(
                f"data_name_map[{source!r}] must name a student variable. {unknown.problem}",
                unknown.remedy,
            )
        elif student.variables[name].mode != "both":
            lacking = "inference" if student.variables[name].mode == "training" else "training"
            error = internals_of(student).lacking(name, lacking)
            yield InvalidArgumentError(
                f"data_name_map[{source!r}] must name what both modes compute. {error.problem}",
                error.remedy,
            )
        elif source in inputs:
            yield from _fit_faults(teacher.variables[source], student.variables[name], owner)
    for name in sorted(set(data_name_map).intersection(keep_inputs)):
        yield InvalidArgumentError(
            f"Expected the {owner} input {name!r} to be mapped or kept, got both.",
            "Name it in data_name_map or in keep_inputs, not in both.",
        )
    missing = [n for n in inputs if n not in data_name_map and n not in keep_inputs]
    if missing:
        wanted = ", ".join(str(teacher.variables[name]) for name in missing)
        offered = listed(str(student.variables[name]) for name in student.inputs)
        yield IncompleteMapError(
            f"Expected data_name_map to cover every {owner} input, got none for {wanted}.",
            f"Map it to a student variable (its inputs: {offered}), or name it in "
            "keep_inputs to feed it on its own.",
        )


def _no_input(teacher: Program, name: str, owner: Owner) -> UnknownVariableError:
    what = "is no input" if name in teacher.variables else f"the {owner} does not have"
    return UnknownVariableError(
        f"Expected the name of a {owner} input, got {name!r}, which {what}.",
        f"The {owner}'s inputs: {listed(str(teacher.variables[n]) for n in teacher.inputs)}.",
    )


def _fit_faults(source: Variable, variable: Variable, owner: Owner) -> Iterator[PurdistError]:
    given = f"the {owner} input {source} and the student variable {variable}"
    if source.dtype != variable.dtype:
        yield DtypeMismatchError(
            f"Expected one dtype, got {given}.",
            f"Cast in the student's network, and map to a {source.dtype} variable.",
        )
    if len(source.shape) != len(variable.shape):
        yield ShapeMismatchError(
            f"Expected one rank, got {given}.",
            f"Reshape in the student's network, and map to a variable of rank {len(source.shape)}.",
        )
    elif not shapes_agree(source.shape, variable.shape):
        yield ShapeMismatchError(
            f"Expected sizes that agree where both are known, got {given}.",
            f"Map to a variable of its size, or feed it on its own: keep_inputs=[{source.name!r}].",
        )


def _check_prefix(teacher: Program, student: Program, prefix: str) -> None:
    if prefix in student.teachers + student.peers:
        raise NameClashError(
            f"Expected a name_prefix of its own for each network, got {prefix!r}, which one that "
            "was merged before has.",
            "Choose another name_prefix.",
        )
    met = [prefix + n for n in teacher.variables if prefix + n in student.variables]
    if met:
        raise NameClashError(
            f"Expected name_prefix to keep the teacher's names from the student's, got "
            f"{prefix!r}, with which {len(met)} meet: {some(map(repr, met))}.",
            "Choose another name_prefix, one for each teacher.",
        )
