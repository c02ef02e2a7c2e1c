"""Old ``ProgramDesc`` programs, turned into PIR by Paddle's own translator and mended."""

from __future__ import annotations

from collections.abc import Mapping

import paddle

from purdist import graphs
from purdist.errors import ForeignValueError, NameClashError, PurdistError, together


def translate(
    main: paddle.static.Program, names: Mapping[str, paddle.Tensor]
) -> tuple[graphs.Draft, frozenset[str]]:
    """The PIR graph of an old program, every variable under its old name.

    A variable that was written more than once means its last version. The names in
    ``names`` are further ones for old variables.

    Returns:
        The graph, and the names of variables inside while and if regions.
    """
    draft, versions = graphs.translate(main)
    reachable, own = graphs.reachable_ids(draft.program), graphs.own_names(draft.operations())
    values: dict[str, paddle.Tensor] = {}
    for name, written in versions.items():
        # An input or a running statistic that is written over keeps its name.
        final = own.get(name, written[-1])
        if graphs.is_tensor(final) and graphs.value_id(final) in reachable:
            values[name] = final
    values.update(_named(values, names))
    graphs.record_old(main, draft, versions)
    draft.values = values
    graphs.read_through_assignments(draft)
    draft.values = graphs.made_names(draft.operations(), draft.values)
    return draft, frozenset(graphs.names_in_regions(main).difference(values))


def translate_model(
    model: graphs.OldModel, names: Mapping[str, paddle.Tensor]
) -> tuple[graphs.Draft, frozenset[str]]:
    """The same of a model that was written to a file, its feeds first, in their order."""
    source, inner = translate(model.program, names)
    graphs.to_front(source, [source.values[name] for name in model.inputs])
    source.values = graphs.made_names(source.operations(), source.values)
    return source, inner


def _named(
    values: Mapping[str, paddle.Tensor], names: Mapping[str, paddle.Tensor]
) -> dict[str, paddle.Tensor]:
    """The values of the old variables in ``names``, by their further names."""
    faults: list[PurdistError] = []
    named = {}
    for new, variable in names.items():
        old = getattr(variable, "name", None)
        if old is None or old not in values:
            got = type(variable).__name__ if old is None else f"the variable {old!r}"
            faults.append(
                ForeignValueError(
                    f"Expected names[{new!r}] to be a variable of the program, got {got}.",
                    "Give what a layer of this very program returned, outside while and if "
                    "regions.",
                )
            )
        elif new in values and new != old:
            faults.append(
                NameClashError(
                    f"Expected names[{new!r}] to be a new name, got that of another variable.",
                    "Choose another name.",
                )
            )
        else:
            named[new] = values[old]
    if faults:
        raise together(faults)
    return named
