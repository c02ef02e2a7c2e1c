"""`ProgramDraft`: a program while losses are added to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs
import paddle

from purdist import graphs, scopes
from purdist.building import (
    Additions,
    Digest,
    Term,
    build_term,
    digests_of,
    is_ours,
    name_under,
)
from purdist.distillation import weight_name
from purdist.errors import ShapeMismatchError
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec
from purdist.program import Program, internals_of
from purdist.rehearsing import rehearsed
from purdist.store import Store
from purdist.variables import FLOATS, NewInput, describe_values, learns, left_of, name_of


class ProgramDraft:
    """A copy of a program while losses are added to its training graph.

    Terms are built there once. The graph that infers gets the same ops by copying, so that a
    layer that a loss makes exists once.

    Attributes:
        digests: The names of what the losses that were added need of their teachers.
    """

    def __init__(self, source: Program) -> None:
        self._source = internals_of(source)
        self._place = source.place
        self._draft = self._source.modes.training.copy()
        self._added = Additions(self._draft, source.variables)
        self._read: set[str] = set()
        self._inputs: dict[str, paddle.Tensor] = {}
        self._moving: set[str] = set()
        self._store = Store.at(source.place)
        self._sizes = graphs.Sizes()
        self._sizes.follow(self._draft.operations())
        self._guarded_terms: list[str] = []
        self.digests: set[str] = set()

    def add_term(self, term: str, spec: LossSpec) -> paddle.Tensor:
        """Builds one spec under its name and initialises its parameters."""
        teachers = self._teachers_of(spec)
        with self._draft.appending():
            values = {
                key: graphs.widened(self._value(name, detached=key in teachers))
                for key, name in spec.variables.items()
            }
        built = self._built(term, spec, values, teachers)
        mapping = graphs.mapping_of((built.feeds[key], value) for key, value in values.items())
        ops = graphs.operations(built.program)
        graphs.transplant((op for op in ops if not graphs.is_feed(op)), mapping, self._draft)
        self._take_digests(
            term,
            spec,
            [(d, mapping.look_up(d.value)) for d in digests_of(term, built, teachers)],
        )
        result = self._added.take(term, self._guarded(term, spec, mapping.look_up(built.result)))
        graphs.rename_parameters(graphs.Draft(built.startup), lambda name: name_under(term, name))
        scopes.initialise(self._store.scope, built.startup, self._store.place)
        return result

    def _teachers_of(self, spec: LossSpec) -> dict[str, str | None]:
        """The keys that go through the digest -> the prefix of the teacher whose variable it is.

        None is for what no teacher computes on its own.
        """
        found: dict[str, str | None] = {}
        for key, wanted in spec.variables.items():
            name = name_of(wanted)
            variable = self._source.variables.get(name)
            if variable and variable.owner == "teacher" and not self._source.takes_gradient(name):
                found[key] = variable.network
            elif spec.part(key) == "teacher":
                found[key] = None
        return found

    def _take_digests(
        self, term: str, spec: LossSpec, digests: Sequence[tuple[Digest, paddle.Tensor]]
    ) -> None:
        """Accepts what runs with a teacher, under the name of what it is computed from."""
        identities = [graphs.value_id(value) for _, value in digests]
        gone: dict[str, paddle.Tensor] = {}
        for (digest, value), identity in zip(digests, identities, strict=True):
            name = name_of(spec.variables[digest.reads[0]])
            if digest.computed and digest.teacher is not None:
                result = gone.get(identity, value)
                self._refuse_unmet(f"{term}: Expected the digest {digest.key!r}", result)
                name, merged = self._added.take_digest(
                    f"{name}/{digest.key}", result, digest.teacher
                )
                gone |= merged
            self.digests.add(name)

    def _refuse_unmet(self, expected: str, digest: paddle.Tensor) -> None:
        if self._unmet(graphs.upstream(self._added.unseen(), digest)):
            raise ShapeMismatchError(
                f"{expected} to be of sizes that are known to meet, got some that nobody knows.",
                "Compute it in build, or build the teacher with known sizes.",
            )

    def _unmet(self, ops: Iterable[graphs.Operation]) -> Sequence[graphs.Meeting]:
        """Where sizes that nobody knows meet in ``ops``, which are followed."""
        self._sizes.unmet.clear()
        self._sizes.follow(ops)
        return self._sizes.unmet

    def _guarded(self, term: str, spec: LossSpec, result: paddle.Tensor) -> paddle.Tensor:
        """``result``, which fails to compute where sizes that nobody knows do not meet."""
        unmet = self._unmet(self._added.unseen())
        if not unmet:
            return result
        self._guarded_terms.append(term)
        names = dict.fromkeys(name for name in spec.variables.values() if isinstance(name, str))
        with self._draft.appending():
            return result * graphs.guard(unmet, result, [term, *names])

    def _built(
        self,
        term: str,
        spec: LossSpec,
        values: Mapping[str, paddle.Tensor],
        taught: Collection[str],
    ) -> Term:
        if is_ours(spec) or all(-1 not in value.shape for value in values.values()):
            return build_term(term, spec, values, taught)
        with rehearsed(term, spec, values, taught, self._place) as compare:
            built = build_term(term, spec, values, taught)
            compare(built)
        return built

    def add_total(
        self, name: str, terms: Mapping[str, paddle.Tensor], weights: Sequence[float | Schedule]
    ) -> None:
        """Adds the weighted sum, in the widest dtype among the terms.

        A weight that moves is a number in the scope, for `train` to overwrite, and no part of the
        graph. A term of weight 0 is no part of the sum: times 0 it could still be no number.
        """
        dtype = max(
            (v.dtype for v in terms.values()),
            key=lambda dtype: FLOATS.index(graphs.dtype_name(dtype)),
        )
        startup = paddle.static.Program()
        with self._draft.appending(startup):
            parts = []
            for (term, value), weight in zip(terms.items(), weights, strict=True):
                if weight == 0:
                    continue
                if isinstance(weight, Schedule):
                    factor = graphs.kept_in_scope(weight_name(name, term), [], dtype, weight.at(0))
                    self._moving.add(weight_name(name, term))
                else:
                    # Paddle rounds a Python number to float32 before it multiplies.
                    factor = paddle.full([], weight, dtype)
                parts.append(value.astype(dtype) * factor)
            total = parts[0] if parts else paddle.full([], 0.0, dtype)
            for part in parts[1:]:
                total = total + part
            for guarded in self._guarded_terms:
                # No update then comes before all of them are computed.
                total = total * graphs.guard_in(terms[guarded]).astype(dtype)
            self._added.take(name, total)
        scopes.initialise(self._store.scope, startup, self._store.place)

    def finish(self, losses: Sequence[str], *, prune: bool) -> Program:
        """The program with what was added, in both modes."""
        source = self._source
        inference = self._inference()
        self._draft.values = {**self._draft.values, **self._added.values}
        modes = graphs.Modes(self._draft.finish(), inference)
        added = describe_values(modes.named(self._added.values), owner="loss")
        variables = {**source.variables, **added}
        for name in self._moving:
            variables[name] = attrs.evolve(variables[name], role="buffer")
        for name, prefix in self._added.networks.items():
            variables[name] = attrs.evolve(variables[name], network=prefix)
        if prune:
            kept = [k for k, v in variables.items() if learns(v) and v.role != "input"]
            kept += [*self._moving, *losses]
            modes = modes.cut(kept)
        made = attrs.evolve(
            source, modes=modes, store=self._store, variables=left_of(variables, modes)
        )
        program = Program(made)
        source.store.hand_to(
            self._store, [weight for weight in source.held if weight.name in program.weights]
        )
        return program

    def _inference(self) -> graphs.Graph:
        """The graph that infers, with the losses."""
        source = self._source.modes.inference
        if not self._read.issubset(source.values):
            return source  # a loss on what only training computes
        draft = source.copy()
        mapping = graphs.mapping_between(self._draft, draft, self._read)
        graphs.set_inference(draft, graphs.transplant(self._added.operations, mapping, draft))
        new = {name: mapping.look_up(value) for name, value in self._added.values.items()}
        draft.values = {**draft.values, **graphs.without_unset(new)}
        return draft.finish()

    def _value(self, name: str | NewInput, *, detached: bool) -> paddle.Tensor:
        if isinstance(name, NewInput):
            if name.name not in self._source.variables:
                return self._new_input(name)
            name = name.name
        value = self._draft.values[name]
        self._read.add(name)
        return value.detach() if detached and not value.stop_gradient else value

    def _new_input(self, new: NewInput) -> paddle.Tensor:
        if new.name not in self._inputs:
            self._inputs[new.name] = paddle.static.data(new.name, list(new.shape), new.dtype)
        return self._inputs[new.name]
