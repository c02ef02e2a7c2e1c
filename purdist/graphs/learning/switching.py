"""The mode of a draft: it trains, or it infers, and then nothing of it learns."""

from __future__ import annotations

from collections.abc import Iterable

from purdist.graphs.drafts import Draft
from purdist.graphs.learning.trainable import freeze
from purdist.graphs.looking import COPY, Operation, identity, is_parameter, op_of, overwritten


def set_inference(draft: Draft, some: Iterable[Operation] | None = None) -> None:
    """Turns a draft, or ``some`` of its ops, to inference mode, while and if regions included.

    Dropout lets everything through, batch norm uses, and does not touch, the statistics
    it has gathered, unless its owner wanted those of the batch in either mode
    (``use_global_stats=False``); no value takes a gradient and no parameter is trainable.
    """
    ops = draft.operations(some)
    _set_mode(ops, inference=True)
    freeze(draft, ops)


def set_training(draft: Draft) -> None:
    """Turns a draft that infers to training mode, while and if regions included.

    Batch norm takes the statistics of the batch: that its owner wanted those it has gathered
    in either mode (``use_global_stats=True``) cannot be told from inference mode. An op that
    quantises keeps its scale where the graph does not hold what it would move it by.
    """
    _set_mode(draft.operations(), inference=False)
    for op in draft.operations():
        if op.name().startswith("pd_op.batch_norm"):
            _gather_in_weights(op)


def _gather_in_weights(norm: Operation) -> None:
    """Undoes for ``norm`` what `write_to_copies` did: as it trains its statistics move."""
    for value in overwritten(norm):
        copy = op_of(value)
        if copy.name() == COPY and is_parameter(copy.operand_source(0)):
            copy.replace_all_uses_with([copy.operand_source(0)])
            copy.erase()


def _set_mode(ops: Iterable[Operation], *, inference: bool) -> None:
    for op in ops:
        if op.has_attr("is_test") and not _has_no_state(op):
            op.set_bool_attr("is_test", inference)
        # `trainable_statistics` is what Paddle notes `use_global_stats=False` as.
        if op.has_attr("use_global_stats") and not op.attrs().get("trainable_statistics"):
            op.set_bool_attr("use_global_stats", inference)
        for block in op.blocks() if op.num_regions() else ():
            _set_mode(block.ops, inference=inference)


def _has_no_state(op: Operation) -> bool:
    """Whether ``op`` quantises without the state that training reads: its kernel would crash."""
    return op.name().startswith("pd_op.fake_") and not all(map(identity, op.operands_source()))
