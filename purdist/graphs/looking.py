"""Looking at programs: their ops, their values, and the names of both.

``Value == Value`` appends an op to the default program, so values are told apart by
``Value.id``, and never compared or looked up in a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeGuard

import paddle
from paddle.base import framework
from paddle.base.libpaddle import pir

from purdist.graphs.dtypes import dtype_name

Operation: TypeAlias = pir.Operation

PARAMETER = "builtin.parameter"
DATA = "pd_op.data"
FETCH = "pd_op.fetch"
COPY = "pd_op.assign"
WHILE = "pd_op.while"
IF = "pd_op.if"

STOPS = "stops_gradients"
"""The attribute of an op that says which of its results stop gradients for good."""

OTHERWISE = "trains_otherwise"
"""The attribute of an op that says what of its network trained otherwise before it was written."""

# fmt: off
_RANDOM = frozenset((
    "bernoulli", "binomial", "class_center_sample", "dirichlet", "dropout", "exponential",
    "exponential_",
    "fractional_max_pool2d", "fractional_max_pool3d", "fused_dropout_add", "gaussian",
    "gaussian_inplace", "gaussian_inplace_", "gumbel_softmax", "multinomial", "normal", "poisson",
    "randint", "random", "random_", "randperm", "rnn", "rrelu", "shuffle_batch", "standard_gamma",
    "truncated_gaussian_random", "uniform", "uniform_inplace", "uniform_inplace_",
    "uniform_random_batch_size_like",
))
_OPTIMIZERS = frozenset((
    "adadelta_", "adagrad_", "adam_", "adamax_", "adamw_", "asgd_", "dpsgd", "ftrl", "lamb_",
    "lars_momentum", "merged_adam_", "merged_momentum_", "momentum_", "nadam_", "radam_",
    "rmsprop_", "rprop_", "sgd_",
))
# fmt: on
_REMARKS = frozenset({"op_callstack", "struct_name", STOPS, OTHERWISE})
"""Attributes of an op that change nothing of what it computes."""


def operations(program: paddle.static.Program, *, regions: bool = False) -> Iterator[Operation]:
    """The ops of ``program`` in order, with ``regions`` those inside while and if ops too."""
    yield from _block_operations(program.global_block(), regions=regions)


def _block_operations(block: pir.Block, *, regions: bool) -> Iterator[Operation]:
    for op in block.ops:
        yield op
        if regions and op.num_regions():
            for inner in op.blocks():
                yield from _block_operations(inner, regions=True)


def is_tensor(value: paddle.Tensor) -> bool:
    """Whether ``value`` is one dense tensor: not a list of them, and not absent."""
    return value.initialized() and value.is_dense_tensor_type()


def is_list(value: paddle.Tensor) -> bool:
    """Whether ``value`` is a list of tensors."""
    return value.initialized() and value.type().as_vec_type() is not None


def identity(value: paddle.Tensor) -> str | None:
    """What tells ``value`` from every other, None for the absent operand of an op."""
    return value.id if value.initialized() else None


def value_id(value: paddle.Tensor) -> str:
    """The same of a value that is there."""
    return value.id


def op_id(op: Operation) -> int:
    """What tells ``op`` from every other: a number that grows as ops are made."""
    return op.id()


def value_ids(ops: Iterable[Operation]) -> set[str]:
    """The ids of all values that ``ops`` compute."""
    return {v.id for op in ops for v in op.results() if identity(v)}


def read_ids(ops: Iterable[Operation]) -> set[str]:
    """The ids of all values that ``ops`` read, captured by their regions included."""
    return {v.id for op in ops for v in reads(op) if identity(v)}


def reachable_ids(program: paddle.static.Program) -> set[str]:
    """The ids of the values of ``program`` outside while and if regions."""
    return value_ids(operations(program))


def has_sizes(program: paddle.static.Program) -> bool:
    """Whether nothing that ``program`` computes is smaller than one: kernels crash at that.

    What a convolution or pooling of known sizes puts out is known, but for the batch.
    """
    for op in operations(program, regions=True):
        known = "conv" in op.name() or "pool" in op.name()
        for value in filter(is_tensor, op.results()):
            sizes = value.shape
            empty = 0 in sizes and "float" in dtype_name(value.dtype)  # no axes are integers
            if empty or any(size < -1 for size in sizes) or (known and -1 in sizes[1:]):
                return False
    return True


def is_value(thing: object) -> TypeGuard[paddle.Tensor]:
    """Whether ``thing`` is a value of a PIR program."""
    return isinstance(thing, pir.Value)


def is_in_a_program(thing: object) -> bool:
    """Whether ``thing`` is a value of a static program, PIR or old."""
    # In dynamic mode `isinstance` would take every tensor for an old variable.
    return is_value(thing) or framework.Variable in type(thing).__mro__


def is_program(thing: object) -> bool:
    """Whether ``thing`` is a PIR program."""
    return isinstance(thing, pir.Program)


def op_of(value: paddle.Tensor) -> Operation:
    """The op that computes ``value``: any does, save the arguments of a region."""
    op = value.get_defining_op()
    assert op is not None, "an argument of a region"
    return op


def parameter_name(op: Operation) -> str:
    """The name a `PARAMETER` op gives its weight in a scope."""
    return op.str_attr("parameter_name")


def is_old_parameter(variable: object) -> bool:
    """Whether ``variable``, of an old program, is a parameter."""
    return isinstance(variable, framework.Parameter)


def data_name(op: Operation) -> str:
    """The name a `DATA` op reads its feed under."""
    return op.str_attr("name")


def is_declared(op: Operation) -> bool:
    """Whether ``op`` declares a feed, a weight or optimizer state, by name."""
    return op.name() in (PARAMETER, DATA)


def declared_name(op: Operation) -> str:
    """The name that such an op gives what it declares."""
    return parameter_name(op) if op.name() == PARAMETER else data_name(op)


def declarations(program: paddle.static.Program) -> Iterator[tuple[str, paddle.Tensor]]:
    """What ops of ``program`` declare, by name, those in while and if regions too."""
    for op in filter(is_declared, operations(program, regions=True)):
        yield declared_name(op), op.result(0)


def is_feed(op: Operation) -> bool:
    """Whether ``op`` takes a feed: optimizer state stands in a program as data ops too."""
    return op.name() == DATA and not op.result(0).persistable


def layouts(program: paddle.static.Program) -> set[str]:
    """The orders of axes that ops of ``program`` say: ``NCHW``, ``NHWC``, ..."""
    names = ("data_format", "data_layout")
    ops = operations(program, regions=True)
    return {str(op.attrs()[name]) for op in ops for name in names if op.has_attr(name)}


def layer_of(op: Operation) -> str:
    """The path of the layer that made ``op``, '' where Paddle kept none."""
    return op.str_attr("struct_name").strip("/") if op.has_attr("struct_name") else ""


def short_name(op: Operation) -> str:
    """``pd_op.batch_norm_`` -> ``batch_norm``."""
    return op.name().rpartition(".")[2].rstrip("_")


def reads(op: Operation) -> list[paddle.Tensor]:
    """All values ``op`` reads, those its regions capture included."""
    return pir.get_used_external_value(op) if op.num_regions() else op.operands_source()


def yielded(block: pir.Block) -> list[paddle.Tensor]:
    """What the region ``block`` gives back."""
    return block.ops[-1].operands_source()


def is_parameter(value: paddle.Tensor) -> bool:
    """Whether ``value`` is a weight that its program declares."""
    op = value.get_defining_op()
    return op is not None and op.name() == PARAMETER


def own_names(ops: Iterable[Operation]) -> dict[str, paddle.Tensor]:
    """The feeds and parameters among ``ops``, by the names they brought along."""
    names = {}
    for op in ops:
        if op.name() == PARAMETER:
            names[parameter_name(op)] = op.result(0)
        elif op.name() == DATA:
            names[data_name(op)] = op.result(0)
    return names


def made_names(
    ops: Iterable[Operation],
    given: Mapping[str, paddle.Tensor],
    *,
    prefix: str = "",
    taken: Iterable[str] = (),
) -> dict[str, paddle.Tensor]:
    """Every tensor that ``ops`` compute by name, in their order.

    Feeds and parameters have names of their own, ``given`` ones come next, and what
    has neither gets ``<op>_<k>``, the ``k``-th of its kind; further results of one op
    are ``<op>_<k>.1``, ``<op>_<k>.2``, ...

    Args:
        ops: Whose results to name.
        given: Names given already. Several may stand for one value.
        prefix: Put before every made name.
        taken: Names that no made one may be.
    """
    ops = list(ops)
    names_of = {value.id: [name] for name, value in own_names(ops).items()}
    for name, value in given.items():
        if name not in names_of.setdefault(value.id, []):
            names_of[value.id].append(name)
    used = {name for names in names_of.values() for name in names}.union(taken)
    values: dict[str, paddle.Tensor] = {}
    count: dict[str, int] = {}
    for op in ops:
        kind = short_name(op)
        k = count[kind] = count.get(kind, -1) + 1
        for position, value in enumerate(op.results()):
            if not is_tensor(value):
                continue
            names = names_of.get(value.id)
            if names is None:
                made = f"{prefix}{kind}_{k}" + (f".{position}" if position else "")
                while made in used:
                    made += "_"
                used.add(made)
                names = [made]
            values.update((name, value) for name in names)
    return values


def parameter_names(ops: Iterable[Operation]) -> list[str]:
    """The names of the weights that ``ops`` declare."""
    return [parameter_name(op) for op in ops if op.name() == PARAMETER]


def written_parameters(program: paddle.static.Program) -> set[str]:
    """The parameters that an op of ``program`` overwrites as it runs: running statistics."""
    written: set[str] = set()
    for op in operations(program):
        written.update(parameter_name(op_of(v)) for v in overwritten(op) if is_parameter(v))
    return written


def overwritten(op: Operation) -> list[paddle.Tensor]:
    """The values that ``op`` itself writes to. A normalisation in test mode writes nothing."""
    if op.num_regions():
        return [v for block in op.blocks() for inner in block.ops for v in overwritten(inner)]
    if not op.name().startswith("pd_op.") or not _writes(op.name().rpartition(".")[2]):
        return []
    attributes = op.attrs()
    if attributes.get("is_test") and not attributes.get("trainable_statistics"):
        return []
    operands = op.operands_source()
    return [v for v in (operands[k] for k in pir.get_op_inplace_info(op).values()) if identity(v)]


def attributes(op: Operation) -> dict[str, str]:
    """The attributes of ``op`` that say what it computes, and not where it was written."""
    return {k: str(v) for k, v in sorted(op.attrs().items()) if k not in _REMARKS}


def number_of(op: Operation, attribute: str) -> int:
    """An attribute of ``op`` that is a whole number."""
    return int(float(str(op.attrs()[attribute])))


def numbers_of(op: Operation, attribute: str) -> list[int]:
    """An attribute of ``op`` that is a list of whole numbers."""
    value = op.attrs()[attribute]
    assert isinstance(value, list)
    return [int(number) for number in value]


def statements(program: paddle.static.Program) -> Iterator[tuple[str, str]]:
    """What ``program`` computes, op by op: the same for a network that is built again.

    Yields:
        What an op is, for a person: its kind, and what it puts out. And all of it, as text.
    """
    numbers: dict[str | None, int] = {None: -1}

    def of(ops: Iterable[Operation]) -> Iterator[tuple[str, str]]:
        for op in ops:
            read = [numbers.setdefault(identity(v), len(numbers)) for v in op.operands_source()]
            made = [numbers.setdefault(identity(v), len(numbers)) for v in op.results()]
            tensors = [v for v in op.results()[:1] if is_tensor(v)]
            sizes = [f"{list(v.shape)} {dtype_name(v.dtype)}" for v in tensors]
            whole = f"{made} = {op.name()} {read} {attributes(op)}"
            yield " ".join([short_name(op), *sizes]), whole
            for block in op.blocks() if op.num_regions() else ():
                entry = f"{[numbers.setdefault(v.id, len(numbers)) for v in block.args()]}"
                yield f"a region of {short_name(op)}", entry
                yield from of(block.ops)

    return of(operations(program))


def signature(program: paddle.static.Program) -> str:
    """What ``program`` computes, as text: the same for a network that is built again."""
    return "\n".join(whole for _, whole in statements(program))


def updates(program: paddle.static.Program) -> Iterator[tuple[str, dict[str, str]]]:
    """Each op of an optimizer: the parameter that it moves, '' for several, and its attributes."""
    for op in operations(program, regions=True):
        if op.name().rpartition(".")[2] in _OPTIMIZERS:
            moved = op.operands_source()[0]
            name = parameter_name(op_of(moved)) if is_parameter(moved) else ""
            yield name, {"op": short_name(op), **attributes(op)}


def computed_alike(
    ops: Sequence[Operation], others: Sequence[Operation]
) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
    """What ``ops`` compute beside what ``others`` do: nothing where they are other ops."""
    if [op.name() for op in ops] != [op.name() for op in others]:
        return
    for one, other in zip(ops, others, strict=True):
        for value, twin in zip(one.results(), other.results(), strict=True):
            if identity(value):
                yield value, twin


def is_pure(op: Operation) -> bool:
    """Whether ``op`` is a function of its operands: no feed, weight, region, write or chance."""
    name = op.name().rpartition(".")[2]
    special = op.name() in (PARAMETER, DATA) or op.num_regions() or not op.num_results()
    return not special and not _writes(name) and not _draws(op)


def _writes(name: str) -> bool:
    """Whether an op of that name works in place. A detached value shares memory, no more."""
    return name.endswith("_") and name != "share_data_"


def optimizer_operations(program: paddle.static.Program) -> list[str]:
    """The names of the ops of ``program`` that compute gradients or step an optimizer."""
    names = (op.name().rpartition(".")[2] for op in operations(program))
    return [n for n in dict.fromkeys(names) if n.endswith("_grad") or n in _OPTIMIZERS]


def random_operations(program: paddle.static.Program) -> list[tuple[str, str]]:
    """The (op, layer) pairs of ``program`` that draw random numbers when it runs."""
    return [
        (short_name(op), layer_of(op)) for op in operations(program, regions=True) if _draws(op)
    ]


def draws(op: Operation) -> bool:
    """Whether ``op``, or one in its regions, draws random numbers."""
    blocks = op.blocks() if op.num_regions() else ()
    inner = (one for block in blocks for one in _block_operations(block, regions=True))
    return _draws(op) or any(map(_draws, inner))


def _draws(op: Operation) -> bool:
    if op.name().rpartition(".")[2] not in _RANDOM:
        return False
    # A fractional pooling may be told the number that it would draw.
    settled = any(op.has_attr(name) and op.attrs()[name] for name in ("is_test", "random_u"))
    # A recurrent layer draws what it drops between its layers.
    return not settled and not (op.has_attr("dropout_prob") and op.attrs()["dropout_prob"] == 0)
