"""`apply`: losses turned into graph."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import paddle
from paddle.utils import unique_name

from purdist import pir, scopes
from purdist.errors import (
    DtypeMismatchError,
    ForeignValueError,
    InvalidArgumentError,
    NameClashError,
    PurdistError,
    ShapeMismatchError,
    together,
)
from purdist.losses.spec import FLOATS, LossSpec
from purdist.program import Distillation, Program
from purdist.variables import NewInput, Variable, describe_values


def apply(program: Program, specs: Iterable[LossSpec], *, prune: bool = True) -> Distillation:
    """The program with a loss: the weighted sum of what the specs say.

    Every term becomes a variable named after its spec, ``l2_0``, ``fsp_0``, or its
    ``name``, and holds the unweighted value; the total is called ``loss``. What the specs
    add, layers and their parameters included, lives under the term's name. The names
    count on where the program's own leave off, so that one can apply again.

    Args:
        program: Mostly a merged one; a network alone serves for losses between its heads.
        specs: The terms, at least one.
        prune: Drop what neither the loss nor the student needs, feeds that nothing reads
            included: a teacher costs only as far as it is listened to.

    Raises:
        InvalidArgumentError: There are no specs.
        UnknownVariableError: A spec names what does not exist.
        ShapeMismatchError: A spec is not defined for the shapes, or is no scalar.
        DtypeMismatchError: A spec is not defined for the dtypes.
        NameClashError: The name of a term, a new input or a parameter is taken.
        ForeignValueError: A spec used a layer or value made outside the program, or its
            student variable is a teacher's.
        SeveralFaultsError: Faults of several kinds.
    """
    specs = _as_tuple(specs)
    terms = _term_names(program, specs)
    _check(program, dict(zip(terms, specs, strict=True)))
    with pir.building():
        draft = _Draft(program)
        values = [draft.add_term(term, spec) for term, spec in zip(terms, specs, strict=True)]
        loss = _total_name(program)
        draft.add_total(loss, values, [spec.weight for spec in specs])
        return Distillation(draft.finish((loss, *terms), prune=prune), loss, terms)


def _as_tuple(specs: Iterable[LossSpec]) -> tuple[LossSpec, ...]:
    if isinstance(specs, LossSpec):
        raise InvalidArgumentError(
            f"Expected a list of losses, got the loss {specs}.", f"Write [{specs}]."
        )
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
        type(fault)(f"{term}: {fault.problem}", fault.remedy)
        for term, spec in specs.items()
        for fault in _faults(program, spec)
    ]
    faults += _new_input_faults(program, specs)
    if faults:
        raise together(faults)


def _faults(program: Program, spec: LossSpec) -> Iterator[PurdistError]:
    names = {k: n for k, n in spec.variables.items() if isinstance(n, str)}
    unknown = [program.unknown(name) for name in names.values() if name not in program.variables]
    if unknown:
        yield from unknown
        return
    known = {key: _described(program, wanted) for key, wanted in spec.variables.items()}
    yield from _side_faults(known)
    try:
        spec.check(known)
    except PurdistError as error:
        yield from error.faults or (error,)


def _described(program: Program, wanted: str | NewInput) -> Variable:
    if isinstance(wanted, str):
        return program.variables[wanted]
    return Variable(wanted.name, wanted.shape, wanted.dtype, "input", owner="loss")


def _side_faults(variables: Mapping[str, Variable]) -> Iterator[PurdistError]:
    """A student variable that is a teacher's can learn nothing."""
    swapped = any(k.startswith("teacher") and v.owner == "student" for k, v in variables.items())
    for key, variable in variables.items():
        if key.startswith("student") and variable.owner == "teacher":
            yield InvalidArgumentError(
                f"Expected {key} to be a variable that learns, got {variable.spec} of the teacher.",
                "Teacher and student are swapped: exchange the two names."
                if swapped
                else "Name a variable of the student.",
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
                    f"{there.spec if there else first} stands already.",
                    "Choose another name, or give the variable that is there by its name.",
                )


def _is_input(variable: Variable, new: NewInput) -> bool:
    return (variable.role, variable.shape, variable.dtype) == ("input", new.shape, new.dtype)


# --- building ---------------------------------------------------------------------------


class _Draft:
    """A copy of a program while losses are added to its training graph.

    Terms are built there once. The graph that infers gets the same ops by copying, so
    that a function with side effects runs once and a layer it makes exists once.
    """

    def __init__(self, source: Program) -> None:
        self._source = source
        self._graph = pir.copy(source.training)
        self._seen = {op.id() for op in self._operations()}
        self._legal = pir.value_ids(self._operations())
        self._new_operations: list[pir.Operation] = []
        self._new_values: dict[str, paddle.Tensor] = {}
        self._read: set[str] = set()
        self._inputs: dict[str, paddle.Tensor] = {}
        self._scope = scopes.new_scope()

    def add_term(self, term: str, spec: LossSpec) -> paddle.Tensor:
        """Builds one spec under its name and initialises its parameters."""
        startup = paddle.static.Program()
        with self._growing(term, startup):
            values = {key: self._value(key, name) for key, name in spec.variables.items()}
            result = _scalar(term, spec.build(values))
            self._take(term, {term: result})
        pir.rename_parameters(pir.operations(startup), lambda name: _name_under(term, name))
        pir.run_once(startup, self._scope, self._source.place)
        return result

    def add_total(
        self, name: str, values: Sequence[paddle.Tensor], weights: Sequence[float]
    ) -> None:
        """Adds the weighted sum, in the widest dtype among the terms."""
        dtype = max(
            (v.dtype for v in values), key=lambda dtype: FLOATS.index(pir.dtype_name(dtype))
        )
        with self._growing(name, paddle.static.Program()):
            total, *others = (
                value.astype(dtype) * weight for value, weight in zip(values, weights, strict=True)
            )
            for other in others:
                total = total + other
            self._take(name, {name: total})

    def finish(self, losses: Sequence[str], *, prune: bool) -> Program:
        """The program with what was added, in both lives."""
        source = self._source
        added = pir.Graph(self._graph.program, self._new_values)
        training = pir.Graph(self._graph.program, {**self._graph.values, **self._new_values})
        inference, inferred = self._inference()
        variables = {**source.variables, **describe_values(added, inferred, owner="loss")}
        if prune:
            kept = [k for k, v in variables.items() if v.owner == "student" and v.role != "input"]
            training = pir.cut(training, filter(training.values.__contains__, (*kept, *losses)))
            inference = pir.cut(inference, filter(inference.values.__contains__, (*kept, *losses)))
        program = Program(
            training,
            inference,
            self._scope,
            source.place,
            {k: v for k, v in variables.items() if k in training.values or k in inference.values},
            origins=source.origins,
            inner=source.inner,
        )
        source.hand_weights_to(
            self._scope, source.place, names=set(program.weights).intersection(source.weights)
        )
        return program

    def _inference(self) -> tuple[pir.Graph, pir.Graph]:
        """The graph that infers with the losses, and what of it is new."""
        source = self._source.inference
        graph = pir.copy(source)
        if not self._read.issubset(source.values):
            return graph, pir.Graph(graph.program, {})  # a loss on what only training computes
        mapping = pir.mapping_between(self._graph, graph, self._read)
        clones = pir.transplant(self._new_operations, mapping, graph.program)
        pir.set_inference(clones)
        new = {name: mapping.look_up(value) for name, value in self._new_values.items()}
        return pir.Graph(graph.program, {**graph.values, **new}), pir.Graph(graph.program, new)

    def _operations(self) -> list[pir.Operation]:
        return list(pir.operations(self._graph.program))

    def _unseen(self) -> list[pir.Operation]:
        return [op for op in self._operations() if op.id() not in self._seen]

    @contextmanager
    def _growing(self, name: str, startup: paddle.static.Program) -> Iterator[None]:
        """Whatever is built inside lands in the training graph, or, on an error, nowhere."""
        try:
            with (
                paddle.static.program_guard(self._graph.program, startup),
                unique_name.guard(f"{name}/"),
            ):
                yield
        except Exception as error:
            # Ops that read another program's values would crash when the graph is dropped.
            pir.erase(self._unseen())
            if "EagerParamBase" in str(error) or "got Tensor" in str(error):
                raise _foreign(name, "a dygraph layer or tensor") from error
            raise

    def _value(self, key: str, name: str | NewInput) -> paddle.Tensor:
        """What a spec gets for a variable: no gradient leaves through a teacher's."""
        if isinstance(name, NewInput):
            if name.name not in self._source.variables:
                return self._new_input(name)
            name = name.name
        value = self._graph.values[name]
        self._read.add(name)
        listened = key.startswith("teacher") or self._source.variables[name].owner == "teacher"
        return value.detach() if listened and not value.stop_gradient else value

    def _new_input(self, new: NewInput) -> paddle.Tensor:
        if new.name not in self._inputs:
            self._inputs[new.name] = paddle.static.data(new.name, list(new.shape), new.dtype)
        return self._inputs[new.name]

    def _take(self, name: str, given: Mapping[str, paddle.Tensor]) -> None:
        """Accepts what was built since the last time, under ``name``."""
        new = self._unseen()
        legal = self._legal | pir.value_ids(new)
        if not legal.issuperset(pir.read_ids(new)) or not legal.issuperset(
            v.id for v in given.values()
        ):
            raise _foreign(name, "a value or layer of another program")
        self._name_parameters(name, new)
        self._new_values.update(pir.made_names(new, given, prefix=f"{name}/"))
        self._new_operations += new
        self._seen.update(op.id() for op in new)
        self._legal = legal

    def _name_parameters(self, term: str, new: Sequence[pir.Operation]) -> None:
        for name in pir.parameter_names(new):
            if name in self._source.variables:
                raise NameClashError(
                    f"{term}: Expected the name of a new parameter, got "
                    f"ParamAttr(name={name!r}), which the program has.",
                    "Leave the name out: what a loss makes lives under the loss's name.",
                )
        pir.rename_parameters(new, lambda name: _name_under(term, name))


def _name_under(term: str, name: str) -> str:
    """``term/name``. Paddle has put ``term/`` before the names it made, once or twice."""
    below = f"{term}/"
    while name.startswith(below):
        name = name.removeprefix(below)
    return below + name


def _scalar(term: str, value: paddle.Tensor) -> paddle.Tensor:
    """``value`` if it is a floating-point scalar, with its axes of size 1 taken off."""
    if not pir.is_value(value):
        raise ForeignValueError(
            f"{term}: Expected one value of the program, got {type(value).__name__}.",
            "Return what the ops on the function's arguments compute.",
        )
    if any(size != 1 for size in value.shape):
        raise ShapeMismatchError(
            f"{term}: Expected a scalar, got a value of shape {list(value.shape)}.",
            "Reduce it, with .mean() or .sum().",
        )
    if pir.dtype_name(value.dtype) not in FLOATS:
        raise DtypeMismatchError(
            f"{term}: Expected a floating-point scalar, got {pir.dtype_name(value.dtype)}.",
            "Cast it with .astype('float32').",
        )
    return value.reshape([]) if value.shape else value


def _foreign(term: str, what: str) -> ForeignValueError:
    return ForeignValueError(
        f"{term}: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got {what} from outside.",
        "Make the layer inside the function; it becomes part of the program, trainable, under "
        "the term's name.",
    )
