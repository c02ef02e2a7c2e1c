"""What losses have added to a draft: ops that are named, and computed once."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TypeAlias

import paddle

from purdist import graphs
from purdist.errors import NameClashError

_Known: TypeAlias = dict[tuple[object, ...], graphs.Operation]
_Gone: TypeAlias = dict[str, paddle.Tensor]


class Additions:
    """What was built at the end of a draft, op by op.

    Attributes:
        operations: They, in order.
        values: Name -> what they compute.
        networks: Name of what runs with a teacher -> the prefix of that.
    """

    def __init__(self, draft: graphs.Draft, taken: Collection[str]) -> None:
        self._draft = draft
        self._taken = taken
        self._seen = set(map(graphs.op_id, draft.operations()))
        self._computed: _Known = {}
        self._digested: _Known = {}
        self._digests: dict[str, str] = {}
        self.operations: list[graphs.Operation] = []
        self.values: dict[str, paddle.Tensor] = {}
        self.networks: dict[str, str] = {}

    def unseen(self) -> list[graphs.Operation]:
        """What was built since the last time."""
        return [op for op in self._draft.operations() if graphs.op_id(op) not in self._seen]

    def take(self, name: str, result: paddle.Tensor) -> paddle.Tensor:
        """Accepts what was built since the last time; ``result`` of it is called ``name``.

        What an earlier loss has computed already is not computed again.

        Raises:
            NameClashError: It has a parameter of a name that is taken.
        """
        new, identity = self.unseen(), graphs.value_id(result)
        self._name_parameters(name, new)
        result = self._merged(new, self._computed).get(identity, result)
        self._accept(name, result, self.unseen())
        return result

    def take_digest(self, name: str, result: paddle.Tensor, teacher: str) -> tuple[str, _Gone]:
        """Accepts what ``result`` needs, to run with a teacher.

        Args:
            name: What to call it, with a number where that is taken.
            result: What a digest has computed.
            teacher: The prefix of the teacher that it is computed from.

        Returns:
            What it is called: what an earlier loss has computed already has a name. And id of a
            value that is gone -> the value that stands in for it.
        """
        new = graphs.upstream(self.unseen(), result)
        ids = set(map(graphs.op_id, new))
        gone = self._merged(new, self._digested)
        result = gone.get(graphs.value_id(result), result)
        identity = graphs.value_id(result)
        if identity not in self._digests:
            numbered = itertools.chain((name,), (f"{name}_{k}" for k in itertools.count(1)))
            free = next(n for n in numbered if n not in self._taken and n not in self.values)
            own = [op for op in self.unseen() if graphs.op_id(op) in ids]
            made = self._accept(free, result, own)
            self.networks |= dict.fromkeys(made, teacher)
            self._digests[identity] = free
        return self._digests[identity], gone

    def _merged(self, new: Sequence[graphs.Operation], known: _Known) -> _Gone:
        graphs.record_stops(self._draft, new)
        return graphs.merge_twins(self._draft, new, known)

    def _accept(
        self, name: str, result: paddle.Tensor, new: Sequence[graphs.Operation]
    ) -> list[str]:
        """Names what ``new`` ops compute, and returns the names."""
        made = graphs.made_names(new, {name: result}, prefix=f"{name}/")
        self.values.update(made)
        self.values.setdefault(name, result)  # a value that was there before
        self.operations += new
        self._seen.update(map(graphs.op_id, new))
        return [*made]

    def _name_parameters(self, term: str, new: Sequence[graphs.Operation]) -> None:
        for name in graphs.parameter_names(new):
            if name in self._taken:
                raise NameClashError(
                    f"{term}: Expected the name of a new parameter, got "
                    f"ParamAttr(name={name!r}), which the program has.",
                    "Leave the name out: what a loss makes lives under the loss's name.",
                )
        graphs.rename_parameters(self._draft, lambda name: name_under(term, name), new)


def name_under(term: str, name: str) -> str:
    """``term/name``. Paddle has put ``term/`` before the names it made, once or twice."""
    below = f"{term}/"
    while name.startswith(below):
        name = name.removeprefix(below)
    return below + name
