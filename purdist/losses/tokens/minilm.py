"""`MiniLMLoss`: the student's tokens attend to each other as the teacher's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import paddle

from purdist.errors import DtypeMismatchError, InvalidArgumentError, ShapeMismatchError
from purdist.losses.arguments import count
from purdist.losses.checks import (
    check_floats,
    check_known,
    check_rank,
    check_same_axes,
)
from purdist.losses.classes import IMPOSSIBLE, kl_divergence, log_softmax, mean_over
from purdist.losses.fields import Mask, StudentVariable, TeacherVariable
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import LossSpec
from purdist.variables import FLOATS, NewInput, Variable

_SIDES = ("teacher", "student")
_PARTS = {"q": "query", "k": "key", "v": "value"}
_MASK_DTYPES = (*FLOATS, "bool", "int32", "int64")


def _are_relations(
    _: object, __: attrs.Attribute[tuple[str, ...]], relations: tuple[str, ...]
) -> None:
    if not relations or any(len(r) != 2 or not set(r) <= set(_PARTS) for r in relations):
        raise InvalidArgumentError(
            f"Expected relations to be pairs of the letters q, k and v, at least one, got "
            f"{relations!r}.",
            "Write relations=('qq', 'kk', 'vv') for MiniLMv2, ('qk', 'vv') for MiniLM.",
        )


def _as_relations(relations: Sequence[str]) -> tuple[str, ...]:
    return tuple(relations)


@attrs.frozen
class MiniLMLoss(LossSpec):
    r"""Deep self-attention distillation of one layer: relations between its Q, K and V.

    .. math:: \sum_{(x, y)} \frac1N \sum_n \frac{1}{A \, |L_n|} \sum_{a} \sum_{i \in L_n}
        KL(R^t_{nai:} \,\|\, R^s_{nai:}), \qquad
        R_{na} = softmax\left( \frac{x_{na} y_{na}^\top}{\sqrt{D / A}} \right)

    x and y are Q, K or V, their width split among A relation heads. By default the pairs
    are Q-Q, K-K and V-V: MiniLMv2; ``relations=("qk", "vv")``, with A the number of attention
    heads, is MiniLM. The layers are chosen by whose variables are named: in the papers the
    last of the student, and the last or an upper middle one of the teacher. :math:`L_n` are
    the tokens of sequence n: those where the mask is above 0, all without one. The others
    are attended to by none and not looked at; a sequence of none counts as 0.

    Shapes: all [N, L, D] before they are split into heads, D known and divisible by A; the
    student's D may differ from the teacher's. Mask [N, L] of
    a floating-point, integer or bool dtype.
    Source: Wang et al., "MiniLMv2", ACL Findings 2021, section 3.1; Wang et al., "MiniLM",
    NeurIPS 2020, sections 3.1 and 3.2. The authors released models and no training code;
    batches are averaged here over sequences.

    Attributes:
        teacher_query: The teacher's queries.
        teacher_key: The teacher's keys.
        teacher_value: The teacher's values.
        student_query: The student's queries.
        student_key: The student's keys.
        student_value: The student's values.
        heads: A.
        relations: The pairs (x, y), two letters each.
        mask: Which tokens count: the name of a variable, or a `NewInput`, which adds a feed.

    Raises:
        InvalidArgumentError: ``heads`` is not above 0, or there is no such relation.
        ShapeMismatchError: A rank is not 3 (of the mask 2), N or L differ, D differs within a
            network, is unknown or no multiple of ``heads`` (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "minilm"

    teacher_query: TeacherVariable
    teacher_key: TeacherVariable
    teacher_value: TeacherVariable
    student_query: StudentVariable
    student_key: StudentVariable
    student_value: StudentVariable
    heads: int = attrs.field(default=12, kw_only=True, validator=count)
    relations: tuple[str, ...] = attrs.field(
        default=("qq", "kk", "vv"),
        kw_only=True,
        converter=_as_relations,
        validator=_are_relations,
    )
    mask: Mask | None = attrs.field(default=None, kw_only=True)

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        """What the relations are between, of teacher and student, and the mask."""
        parts = {part for pair in self._parts() for part in pair}
        left_out = {f"{side}_{p}" for side in _SIDES for p in {*_PARTS.values()} - parts}
        return {key: name for key, name in super().variables.items() if key not in left_out}

    def _parts(self) -> list[tuple[str, str]]:
        """The relations in words: ``("query", "key")``, ..."""
        return [(_PARTS[pair[0]], _PARTS[pair[1]]) for pair in self.relations]

    def check(self, variables: Mapping[str, Variable]) -> None:
        tokens = {key: variable for key, variable in variables.items() if key != "mask"}
        check_floats(tokens)
        check_rank(tokens, 3, "[N, L, D]")
        check_known(tokens, {2: "D"}, "the heads share")
        first, *others = tokens
        remedy = "Name Q, K and V of one layer each, for the same tokens."
        for key in others:
            check_same_axes(tokens, first, key, {0: "N", 1: "L"}, remedy=remedy)
        for side in _SIDES:
            for one, other in self._parts():
                keys = (f"{side}_{one}", f"{side}_{other}")
                check_same_axes(tokens, *keys, {2: "D"}, remedy=remedy)
        for key, variable in tokens.items():
            if variable.shape[2] % self.heads:
                raise ShapeMismatchError(
                    f"Expected {key} to split into {self.heads} heads, got {variable}.",
                    f"Choose heads to divide {variable.shape[2]}.",
                )
        if self.mask is not None:
            _check_mask(variables, first)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        seen = None
        if self.mask is not None:
            dtype = values[f"student_{self._parts()[0][0]}"].dtype
            seen = values["mask"].astype(dtype) > 0
        first, *others = (
            self._divergence(values, one, other, seen) for one, other in self._parts()
        )
        return sum(others, first)

    def _divergence(
        self,
        values: Mapping[str, paddle.Tensor],
        one: str,
        other: str,
        seen: paddle.Tensor | None,
    ) -> paddle.Tensor:
        """What one relation adds."""
        teacher, student = (
            self._relation(values[f"{side}_{one}"], values[f"{side}_{other}"], seen)
            for side in _SIDES
        )
        divergence = kl_divergence(teacher, student).mean(axis=1)  # over heads: [N, L]
        return mean_of_rows(divergence if seen is None else mean_over(seen, divergence))

    def _relation(
        self, one: paddle.Tensor, other: paddle.Tensor, seen: paddle.Tensor | None
    ) -> paddle.Tensor:
        """The logarithm of R, [N, A, L, L]."""
        width = one.shape[2] // self.heads
        one, other = self._split(one), self._split(other)
        scores = paddle.matmul(one, other, transpose_y=True)
        if seen is not None:
            attended = seen.unsqueeze([1, 2]).expand_as(scores)
            scores = paddle.where(attended, scores, paddle.full_like(scores, IMPOSSIBLE))
        return log_softmax(scores, width**0.5)

    def _split(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """[N, L, D] -> [N, A, L, D / A]."""
        split = tokens.reshape([0, 0, self.heads, tokens.shape[2] // self.heads])
        return split.transpose([0, 2, 1, 3])


def _check_mask(variables: Mapping[str, Variable], tokens: str) -> None:
    mask = variables["mask"]
    check_rank({"mask": mask}, 2, "[N, L]")
    check_same_axes(
        variables, tokens, "mask", {0: "N", 1: "L"}, remedy="Name the mask of these tokens."
    )
    if mask.dtype not in _MASK_DTYPES:
        raise DtypeMismatchError(
            f"Expected mask to be of one of {', '.join(_MASK_DTYPES)}, got {mask}.",
            "Cast it to int64, 1 for each token and 0 for padding.",
        )
