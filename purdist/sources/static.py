"""`from_static`: a static program as a network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import attrs
import numpy as np
import paddle

from purdist import graphs, scopes
from purdist.checking import CHECKED_INSIDE
from purdist.comparing import Holder
from purdist.errors import (
    ForeignValueError,
    InvalidArgumentError,
    NameClashError,
    PurdistError,
    together,
)
from purdist.internals import Internals
from purdist.origins import Origin, Tensors
from purdist.program import Program
from purdist.sources import legacy, other_mode
from purdist.sources.names import same
from purdist.sources.ops import check_deterministic, check_forward, warn_of_unsafe
from purdist.store import Store
from purdist.variables import Variable, check_name, describe_values


def from_static(
    main: paddle.static.Program,
    *,
    scope: graphs.Scope | None = None,
    place: graphs.Place | str | None = None,
    names: Mapping[str, Annotated[paddle.Tensor, CHECKED_INSIDE]] | None = None,
    share: bool = False,
) -> Program:
    """A network from a static program and the scope its weights are in.

    ``main`` is taken as the graph that trains, exactly as it stands; the graph that
    infers is derived from it. It may be a PIR program or an old ``ProgramDesc`` one
    (built with ``FLAGS_enable_pir_api=0`` or under ``paddle.pir_utils.OldIrGuard``),
    whose variable names are all kept: ``s1.tmp_1``. An old variable that was written
    more than once means its last version. ``main`` and ``scope`` are left as they are.

    An op that does more than compute, that saves, prints or runs code, brings a `PurdistWarning`.

    A layer's output is named by the value that it is::

        paddle.enable_static()
        main, startup = paddle.static.Program(), paddle.static.Program()
        scope = paddle.static.Scope()
        with paddle.static.program_guard(main, startup):
            logits = paddle.nn.Linear(64, 10)(paddle.static.data("x", [None, 64]))
        paddle.static.Executor().run(startup, scope=scope)
        student = from_static(main, scope=scope, names={"logits": logits})

    Args:
        main: The network, before any ``minimize``.
        scope: Where its weights are, the global scope by default. Its startup program
            must have run there.
        place: Where the new program is kept and runs, Paddle's current place by default.
        names: Name -> value of ``main``, for values to be known by name: in a PIR
            program only inputs and parameters have a name of their own.
        share: Take the weights as they lie in ``scope`` instead of a copy. No memory
            is spent, and whoever changes them there changes them here.

    Returns:
        The network. Values without a name are called ``<op>_<k>``, as in ``conv2d_3``.

    Raises:
        UninitializedWeightsError: The scope holds no memory for a parameter.
        ShapeMismatchError: A weight in the scope is not of the parameter's shape.
        DtypeMismatchError: A weight in the scope is not of the parameter's dtype.
        InvalidArgumentError: ``main`` holds gradient or optimizer ops, or writes a buffer inside a
            while or if region; or ``names`` is no mapping from texts.
        RandomInferenceError: A random op would be left in the graph that infers.
        ForeignValueError: A value in ``names`` is none of ``main``.
        NameClashError: A name in ``names`` is taken, or two weights have one name and are not
            alike. If they are they are one.
        SeveralFaultsError: Faults of several of these kinds.
    """
    scope = paddle.static.global_scope() if scope is None else scope
    for name in names or ():
        check_name(name, "a value, a key of names,")
    with graphs.building():
        source, inner = _source(main, dict(names or {}))
        check_forward(source.program)
        warn_of_unsafe(source.program)
        weights = graphs.parameter_names(graphs.operations(source.program))
        origin = Origin.of(main, scope, weights, shared=share)
        infers = graphs.is_from_file(main)
        return enter(
            other_mode.derived_from_inference(source) if infers else other_mode.derived(source),
            scope,
            graphs.place_of(place),
            share=share,
            origins=(origin,),
            inner=inner,
        )


def _source(
    main: paddle.static.Program, names: Mapping[str, paddle.Tensor]
) -> tuple[graphs.Draft, frozenset[str]]:
    """``main`` as a graph of ours, and the names of variables inside its regions."""
    if graphs.is_program(main):
        _check_names(main, names)
        _check_declared(main)
        source = graphs.declare_once(graphs.Graph(main, names))
        graphs.record_owner(source)
        source.values = graphs.made_names(source.operations(), source.values)
        return source, frozenset()
    if graphs.is_from_file(main):
        return legacy.translate_model(graphs.loaded_old_model(main), names)
    return legacy.translate(main, names)


def enter(
    modes: graphs.Modes,
    scope: graphs.Scope,
    place: graphs.Place,
    *,
    share: bool,
    origins: tuple[Origin, ...] = (),
    tensors: Tensors = MappingProxyType({}),
    inner: frozenset[str] = frozenset(),
    given_names: Mapping[str, str] = MappingProxyType({}),
) -> Program:
    """A `Program` of the modes of a network, with the weights that are in ``scope``.

    ``given_names`` are those that its maker gave weights, where the graphs have others.
    """
    training, inference = drafts = [
        graphs.adopt(graph, without_memory=_without_memory(graph, scope)) for graph in modes
    ]
    for draft in drafts:
        graphs.set_in_copies(draft)
    check_deterministic(inference.program)
    _check_writes(training.program)
    graphs.read_through_writes(training, keep=True)
    graphs.read_through_writes(inference, keep=False)
    scratch: set[str] = set()
    for draft in drafts:
        draft.values = graphs.without_unset(draft.values)
        graphs.mend_loops(draft)
        scratch |= _keep_scratch(draft)
    graphs.write_to_copies(inference)
    graphs.derive_gradients(training)
    modes = graphs.Modes(training.finish(), inference.finish())
    described = describe_values(modes)
    named = {
        v.name: attrs.evolve(v, given_name=given_names.get(v.name, v.given_name))
        for v in described.values()
    }
    internals = Internals(
        modes,
        Store.at(place),
        {key: named[variable.name] for key, variable in described.items()},
        origins=origins,
        tensors=tensors,
        inner=dict.fromkeys(inner, ""),
    )
    program = Program(internals)
    weights = [name for name in program.weights if name not in scratch]
    _check_weights(scope, [program.variables[name] for name in weights])
    if share:
        scopes.share(scope, program.scope, weights)
    else:
        scopes.copy(scope, program.scope, weights, place)
    for variable in map(program.variable, scratch):
        array = np.zeros(variable.shape, graphs.array_dtype(variable.dtype))
        scopes.put(program.scope, variable.name, array, place)
    return program


def _check_writes(program: paddle.static.Program) -> None:
    faults: list[PurdistError] = [
        InvalidArgumentError(
            f"Expected a network that writes its buffers outside while and if regions, got a write "
            f"to {name!r} {why}.",
            "Choose the new value with paddle.where, and write it after the region."
            if "region" in why
            else "Make it a buffer, with register_buffer, or write it between two steps.",
        )
        for name, why in dict.fromkeys(graphs.unreadable_writes(program))
    ]
    if faults:
        raise together(faults)


def _keep_scratch(draft: graphs.Draft) -> set[str]:
    """The parameters that are no weights: as an LSTM has one, an op writes them unread.

    Paddle frees their memory after a run, and wants it at the next. Here they keep it.
    """
    own = graphs.own_names(draft.operations())
    scratch = {name: v for name, v in own.items() if graphs.is_parameter(v) and not v.persistable}
    for value in scratch.values():
        value.persistable = True
    return set(scratch)


def _check_names(main: paddle.static.Program, names: Mapping[str, paddle.Tensor]) -> None:
    reachable = graphs.reachable_ids(main)
    own = graphs.own_names(graphs.operations(main))
    faults: list[PurdistError] = []
    for name, value in names.items():
        if not graphs.is_value(value) or graphs.value_id(value) not in reachable:
            faults.append(
                ForeignValueError(
                    f"Expected names[{name!r}] to be a value of the program, got "
                    f"{'one from elsewhere' if graphs.is_value(value) else type(value).__name__}.",
                    "Give what an op of this very program returned, outside while and if regions.",
                )
            )
        elif name in own and not same(own[name], value):
            faults.append(
                NameClashError(
                    f"Expected names[{name!r}] to be a new name, got that of an input or "
                    "parameter.",
                    "Choose another name.",
                )
            )
    if faults:
        raise together(faults)


def _check_declared(main: paddle.static.Program) -> None:
    """Refuses two feeds or weights of one name that are not one."""
    known: dict[str, tuple[object, ...]] = {}
    for name, value in graphs.declarations(main):
        what = "a weight" if graphs.is_parameter(value) else "a feed"
        kind = (what, list(value.shape), graphs.dtype_name(value.dtype), value.stop_gradient)
        if known.setdefault(name, kind) != kind:
            raise NameClashError(
                f"Expected what bears one name to be one feed or weight, got {name!r} as "
                f"{_declaration(known[name])} and as {_declaration(kind)}.",
                "Give each a name of its own, or make both alike: they are then one.",
            )


def _declaration(kind: tuple[object, ...]) -> str:
    what, shape, dtype, stopped = kind
    return f"{what} {shape} {dtype}{', frozen' if stopped and what == 'a weight' else ''}"


def _without_memory(source: graphs.Graph, scope: graphs.Scope) -> frozenset[str]:
    names = graphs.parameter_names(graphs.operations(source.program))
    return frozenset(name for name in names if scopes.tensor_of(scope, name) is None)


_IN_THE_SCOPE = Holder(
    "in the scope",
    "Run the startup program in that scope first, or pass the scope= it ran in. What "
    "paddle.jit.load read goes to from_exported, by its path.",
    "Another network's startup program wrote it: give each network a scope of its own "
    "(paddle.static.scope_guard(paddle.static.Scope())), or pass the scope= that this one's ran "
    "in.",
)


def _check_weights(scope: graphs.Scope, weights: list[Variable]) -> None:
    found = scopes.kinds(scope, [weight.name for weight in weights])
    if faults := list(_IN_THE_SCOPE.faults(weights, found)):
        raise together(faults)
