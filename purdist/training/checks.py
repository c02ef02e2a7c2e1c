"""What `minimize`, `train` and `evaluate` refuse before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paddle import distributed

from purdist import graphs
from purdist.errors import InvalidArgumentError, layer_in_words
from purdist.program import Program


def check_several(batches: object, write: str) -> None:
    """Refuses one feed in place of several, and says what to ``write``."""
    if isinstance(batches, Mapping):
        raise InvalidArgumentError(
            f"Expected an iterable of feeds, got one feed for {', '.join(map(repr, batches))}.",
            f"Write {write}.",
        )


def check_processes() -> None:
    """Refuses a process that no other is known to."""
    if not distributed.is_initialized():
        raise InvalidArgumentError(
            "Expected data_parallel in a process that paddle.distributed knows, got one that is "
            "alone.",
            "Start it with python -m paddle.distributed.launch, and call "
            "paddle.distributed.init_parallel_env() first.",
        )


def check_differentiable(program: Program) -> None:
    """Refuses a program whose gradients Paddle computes wrongly, or not at all.

    Raises:
        InvalidArgumentError: The first fault.
    """
    for check in (_loop_faults, _recurrence_faults, _table_faults, _mask_faults):
        for fault in check(program):
            raise fault


def check_trains_as_before(program: Program) -> None:
    """Refuses a network that learns, of a file that does not hold how it trained.

    Raises:
        InvalidArgumentError: It does not.
    """
    for otherwise in graphs.noted_otherwise(program.graph):
        raise InvalidArgumentError(
            "Expected networks that learn to train as they did before they were exported, got one "
            f"from a file that holds no more than how it infers, which is otherwise for "
            f"{otherwise}.",
            "Trace the layer again with from_layer, and give it what save_weights wrote of the "
            "student with load_weights; or train on before you export. As a teacher the file will "
            "do.",
        )


def _loop_faults(program: Program) -> Iterator[InvalidArgumentError]:
    for layer, fault in graphs.wrong_loops(program.graph):
        yield InvalidArgumentError(
            "Expected while loops that Paddle differentiates, got one in "
            f"{layer_in_words(layer)} that {fault}.",
            "Paddle's gradient of it is wrong, or is not there. A loop may carry one tensor that "
            "takes gradients, and read parameters; a loop over a known number of steps becomes "
            "none. A teacher that reads nothing that learns may loop as it likes.",
        )


def _recurrence_faults(program: Program) -> Iterator[InvalidArgumentError]:
    for layer, rate in graphs.dropping_recurrences(program.graph):
        yield InvalidArgumentError(
            f"Expected a recurrent layer that infers, and that a gradient goes through, to "
            f"have no dropout, got {rate:g} in {layer!r}.",
            "Make it with dropout=0.0: it drops nothing, and its weights are the same.",
        )


def _table_faults(program: Program) -> Iterator[InvalidArgumentError]:
    for table in graphs.sparse_tables(program.graph):
        yield InvalidArgumentError(
            f"Expected tables that learn with dense gradients, got sparse=True for {table!r}.",
            "Make the embedding with sparse=False, and every row of it moves; or freeze it.",
        )


def _mask_faults(program: Program) -> Iterator[InvalidArgumentError]:
    for layer in graphs.lost_gradients(program.graph):
        yield InvalidArgumentError(
            "Expected ops that Paddle differentiates, got a masked_fill in "
            f"{layer_in_words(layer)} of a tensor by a value, both of which take gradients: that "
            "of the value would be 0.",
            "Write paddle.where(mask, value, tensor), with value.expand_as(tensor).",
        )
