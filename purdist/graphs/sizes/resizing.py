"""What each op does to sizes that a graph does not know: a handler for each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import paddle

from purdist.graphs.looking import Operation, identity, number_of, numbers_of
from purdist.graphs.sizes.atoms import ONE, Size, Walk, product, quotient
from purdist.graphs.sizes.lengths import BELIEVING, sample_axes

_Window = list[tuple[int, int]]


def same(walk: Walk, op: Operation) -> Sequence[Size]:
    """The first operand's sizes."""
    return walk.sizes(op.operands_source()[0])


def broadcast(walk: Walk, op: Operation) -> Sequence[Size]:
    """Sizes that meet from the right."""
    read = [value for value in op.operands_source() if identity(value)]
    rank = max(len(value.shape) for value in read)
    found = []
    for k in range(-rank, 0):
        there = [value for value in read if len(value.shape) >= -k]
        wide = [value for value in there if walk.sizes(value)[k] != ONE]
        size = walk.sizes(wide[0])[k] if wide else ONE
        for other in wide[1:]:
            size = walk.met(op, (wide[0], other), (k, k))
        found.append(size)
    return found


def matmul(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """Rows by columns; the axes before meet."""
    x, y = op.operands_source()[:2]
    if min(len(x.shape), len(y.shape)) < 2:
        return None
    if x.shape[-1] != -1 and -1 not in y.shape and len(y.shape) == 2:  # attributes are slow
        return [*walk.sizes(x)[:-1], (op.result(0).shape[-1], ())]
    row, inner = (-1, -2) if op.attrs().get("transpose_x") else (-2, -1)
    inner_y, column = (-1, -2) if op.attrs().get("transpose_y") else (-2, -1)
    walk.met(op, (x, y), (inner, inner_y))
    before = []
    for k in range(-max(len(x.shape), len(y.shape)), -2):
        there = [value for value in (x, y) if len(value.shape) >= -k]
        if len(there) == 2:
            before.append(walk.met(op, (x, y), (k, k)))
        else:
            before.append(walk.sizes(there[0])[k])
    return [*before, walk.sizes(x)[row], walk.sizes(y)[column]]


def reduce(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """Without some axes, or with 1 in their place."""
    sizes, read = walk.sizes(op.operands_source()[0]), op.operands_source()
    attribute = op.attrs()
    axes = [n for n, _ in walk.numbers(read[1]) or ()] if len(read) > 1 else []
    if not axes and "axis" in attribute:
        one_or_more = attribute["axis"]
        axes = numbers_of(op, "axis") if isinstance(one_or_more, list) else [number_of(op, "axis")]
    gone = {axis % len(sizes) for axis in axes} if sizes else set()
    gone = gone or set(range(len(sizes)))
    if attribute.get("keepdim") or attribute.get("keepdims"):
        return [ONE if axis in gone else size for axis, size in enumerate(sizes)]
    return [size for axis, size in enumerate(sizes) if axis not in gone]


def reshape(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """The sizes asked for; one may be what is left."""
    x, shape = op.operands_source()[:2]
    wanted, sizes = walk.numbers(shape), walk.sizes(x)
    if wanted is None:
        return None
    asked = [sizes[k] if size == (0, ()) else size for k, size in enumerate(wanted)]
    if (-1, ()) not in asked:
        return asked
    rest = quotient(product(sizes), product([s for s in asked if s != (-1, ())]))
    if rest is None:
        return None
    return [rest if size == (-1, ()) else size for size in asked]


def flatten(walk: Walk, op: Operation) -> Sequence[Size]:
    """A run of axes as one."""
    sizes = walk.sizes(op.operands_source()[0])
    ends = (number_of(op, f"{end}_axis") for end in ("start", "stop"))
    first, last = (end % max(len(sizes), 1) for end in ends)
    return [*sizes[:first], product(sizes[first : last + 1]), *sizes[last + 1 :]]


def transpose(walk: Walk, op: Operation) -> Sequence[Size]:
    """The axes in another order."""
    sizes = walk.sizes(op.operands_source()[0])
    return [sizes[axis] for axis in numbers_of(op, "perm")]


def squeeze(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """Without axes of size 1. One of another size stays when it runs, whatever the graph says."""
    sizes = walk.sizes(op.operands_source()[0])
    axes = walk.numbers(op.operands_source()[1])
    if not axes:
        return None
    gone = {axis % len(sizes) for axis, _ in axes}
    if any(sizes[axis] != ONE for axis in gone):
        return None
    return [size for axis, size in enumerate(sizes) if axis not in gone]


def unsqueeze(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """With axes of size 1."""
    sizes = list(walk.sizes(op.operands_source()[0]))
    for axis, _ in walk.numbers(op.operands_source()[1]) or ():
        sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, ONE)
    return sizes


def expand(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """Axes of size 1 repeated."""
    sizes = walk.sizes(op.operands_source()[0])
    wanted = walk.numbers(op.operands_source()[1])
    if wanted is None or len(wanted) < len(sizes):
        return None
    before = len(wanted) - len(sizes)
    pairs = zip(wanted[before:], sizes, strict=True)
    return [*wanted[:before], *(there if size == (-1, ()) else size for size, there in pairs)]


def expand_as(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """The sizes of another value."""
    other = op.operands_source()[1]
    return walk.sizes(other) if identity(other) else None


def sliced(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """Other sizes where it is cut, the same elsewhere."""
    sizes = list(walk.sizes(op.operands_source()[0]))
    starts, ends = (walk.numbers(value) for value in op.operands_source()[1:3])
    for k, axis in enumerate(numbers_of(op, "axes")):
        start = starts[k] if starts and k < len(starts) else None
        end = ends[k] if ends and k < len(ends) else None
        whole = start == (0, ()) and end is not None and not end[1] and end[0] >= 2**31 - 1
        if not whole:
            key = ("slice", walk.now(sizes[axis]), start, end)
            known = start is not None and end is not None
            sizes[axis] = (1, (walk.atom(key if known else (op.result(0).id, axis)),))
    gone = set(numbers_of(op, "decrease_axis"))
    return [size for axis, size in enumerate(sizes) if axis not in gone]


def concat(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """All axes but one meet."""
    values = combined(op.operands_source()[0])
    axis = walk.numbers(op.operands_source()[1])
    if axis is None:
        return None
    along = axis[0][0] % max(len(values[0].shape), 1)
    sizes = list(_stacked(walk, op, values, without=along))
    parts = tuple(walk.now(walk.sizes(value)[along]) for value in values)
    sizes[along] = (1, (walk.atom(("sum", parts)),))
    return sizes


def stack(walk: Walk, op: Operation) -> Sequence[Size]:
    """All axes meet."""
    values = combined(op.operands_source()[0])
    sizes = list(_stacked(walk, op, values))
    axis = number_of(op, "axis")
    sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, (len(values), ()))
    return sizes


def _stacked(
    walk: Walk, op: Operation, values: Sequence[paddle.Tensor], without: int = -1
) -> Iterator[Size]:
    for axis, size in enumerate(walk.sizes(values[0])):
        for other in values[1:]:
            if axis != without:
                walk.met(op, (values[0], other), (axis, axis))
        yield size


def split(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """A part of what was split: all axes but one."""
    made = op.operands_source()[0].get_defining_op()
    if made is None or made.name() not in ("pd_op.split_with_num", "pd_op.unbind"):
        return None
    sizes = list(walk.sizes(made.operands_source()[0]))
    if made.name() == "pd_op.unbind":
        del sizes[number_of(made, "axis") % len(sizes)]
        return sizes
    axis = walk.numbers(made.operands_source()[1])
    if axis is None:
        return None
    along = axis[0][0] % len(sizes)
    key = ("split", number_of(made, "num"), walk.now(sizes[along]))
    sizes[along] = (1, (walk.atom(key),))
    return sizes


def embedding(walk: Walk, op: Operation) -> Sequence[Size]:
    """A vector for each."""
    ids = walk.sizes(op.operands_source()[0])
    return [*ids, walk.known_or(op.result(0).shape[-1], (op.result(0).id, "width"))]


def take_along(walk: Walk, op: Operation) -> Sequence[Size]:
    """The sizes of the index; its other axes meet those of what is looked at."""
    x, index = op.operands_source()[:2]
    axis = (number_of(op, "axis") if op.has_attr("axis") else 1) % max(len(x.shape), 1)
    for k in range(len(x.shape)):
        if k != axis:
            walk.met(op, (x, index), (k, k))
    return walk.sizes(index)


def rows_of(walk: Walk, op: Operation) -> Sequence[Size] | None:
    """The sizes of the index in place of an axis."""
    x, index = op.operands_source()[:2]
    sizes, axis = walk.sizes(x), 0
    if op.has_attr("axis"):
        axis = number_of(op, "axis")
    elif len(op.operands_source()) > 2:
        numbers = walk.numbers(op.operands_source()[2])
        if numbers is None:
            return None
        axis = numbers[0][0]
    axis %= len(sizes)
    return [*sizes[:axis], *walk.sizes(index), *sizes[axis + 1 :]]


def labelled(walk: Walk, op: Operation) -> Sequence[Size]:
    """A loss to a label: all axes but that of the classes meet."""
    x, label = op.operands_source()[:2]
    rank = len(x.shape)
    axis = (number_of(op, "axis") if op.has_attr("axis") else 1) % rank
    for k in range(rank):
        there = k - (k > axis and len(label.shape) < rank)
        if k != axis and there < len(label.shape):
            walk.met(op, (x, label), (k, there))
    return walk.sizes(x)


def mapped(walk: Walk, op: Operation) -> Sequence[Size]:
    """The same samples; in space what the window makes of it, whatever the channels."""
    x, value = op.operands_source()[0], op.result(0)
    last = str(op.attrs().get("data_format", "")).endswith("C")
    sizes = walk.sizes(x)
    space = range(1, len(sizes) - 1) if last else range(2, len(sizes))
    key = _window(walk, op)
    found: list[Size] = [(size, ()) for size in value.shape]
    found[0] = sizes[0]
    for k, axis in enumerate(space):
        found[axis] = _windowed(walk, key, k, sizes[axis], (value.id, axis))
    return found


def _windowed(walk: Walk, key: _Window | None, k: int, size: Size, new: Hashable) -> Size:
    if not size[1] or key is None:  # what is known, the graph says itself
        return (1, (walk.atom(new),))
    stride, lost = key[k]
    if (stride, lost) == (1, 0):
        return size
    return (1, (walk.atom(("window", stride, lost, walk.now(size))),))


def _window(walk: Walk, op: Operation) -> _Window | None:
    """For each axis in space the stride, and how much a window needs more than its place."""
    attribute = op.attrs()
    if "strides" not in attribute or attribute.get("padding_algorithm") != "EXPLICIT":
        return None
    if any(attribute.get(name) for name in ("ceil_mode", "adaptive", "global_pooling")):
        return None
    strides, paddings = numbers_of(op, "strides"), numbers_of(op, "paddings")
    if "kernel_size" in attribute:
        kernel = numbers_of(op, "kernel_size")
    else:
        other = op.operands_source()[1]
        kernel = [n for n, _ in walk.numbers(other) or ()] or other.shape[2:]
    dilations = numbers_of(op, "dilations") if "dilations" in attribute else [1] * len(strides)
    if len(paddings) == len(strides):
        paddings = [padding for padding in paddings for _ in range(2)]
    return [
        (stride, dilation * (size - 1) - sum(paddings[2 * k : 2 * k + 2]))
        for k, (stride, dilation, size) in enumerate(zip(strides, dilations, kernel, strict=True))
    ]


def recurrent(walk: Walk, op: Operation) -> Sequence[Size]:
    """[T, N, width]; a length for each of N."""
    sequences(walk, op)
    return [*walk.sizes(op.operands_source()[0])[:2], (op.result(0).shape[-1], ())]


def sequences(walk: Walk, op: Operation) -> None:
    """Lengths and labels are as many as samples."""
    (one, axis), *others = sample_axes(op)
    for other, there in others:
        values = op.operand_source(one), op.operand_source(other)
        walk.met(op, values, (axis, there))


def combined(value: paddle.Tensor) -> list[paddle.Tensor]:
    """The values of a list."""
    made = value.get_defining_op()
    if made is None or made.name() != "builtin.combine":
        return [value]
    return made.operands_source()


# fmt: off
_SAME = (
    "abs", "acos", "assign", "batch_norm", "bernoulli", "cast", "ceil", "celu", "clip", "cos",
    "cumsum", "dropout", "elu", "erf", "exp", "expm1", "flip", "floor", "full_like", "gelu",
    "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "increment",
    "index_add", "index_put", "instance_norm", "isfinite", "isinf", "isnan", "label_smooth",
    "layer_norm", "leaky_relu", "log", "log10", "log1p", "log2", "log_softmax", "logical_not",
    "logit", "logsigmoid", "memcpy_d2h", "memcpy_h2d", "mish", "p_send", "pow", "prelu",
    "put_along_axis", "reciprocal", "relu", "relu6", "rms_norm", "roll", "round", "rsqrt",
    "scale", "scatter", "selu", "share_data", "sigmoid", "sign", "silu", "sin", "sinh",
    "softmax", "softplus", "softshrink", "softsign", "sqrt", "square", "stanh", "swish",
    "sync_batch_norm", "tan", "tanh", "tanh_shrink", "thresholded_relu", "trunc",
)
BROADCASTING = (
    "add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "elementwise_pow",
    "equal", "floor_divide", "fmax", "fmin", "greater_equal", "greater_than", "huber_loss",
    "kldiv_loss", "less_equal", "less_than", "logical_and", "logical_or", "logical_xor", "maximum",
    "minimum", "multiply", "not_equal", "remainder", "sigmoid_cross_entropy_with_logits",
    "subtract", "where", "bce_loss", "lerp",
)
_REDUCING = (
    "all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "p_norm",
    "prod", "sum",
)
_MAPPED = ("conv2d", "conv3d", "depthwise_conv2d", "pool2d", "pool3d")
BY_DATA = frozenset((
    "masked_select", "multiclass_nms3", "nms", "nonzero", "repeat_interleave_with_tensor_index",
    "unique", "unique_consecutive",
))
# fmt: on

HANDLERS: Mapping[str, Callable[[Walk, Operation], Sequence[Size] | None]] = {
    **dict.fromkeys(_SAME, same),
    **dict.fromkeys(BROADCASTING, broadcast),
    **dict.fromkeys(_REDUCING, reduce),
    **dict.fromkeys(_MAPPED, mapped),
    **dict.fromkeys(BELIEVING, sequences),
    "concat": concat,
    "cross_entropy_with_softmax": labelled,
    "embedding": embedding,
    "expand": expand,
    "expand_as": expand_as,
    "flatten": flatten,
    "gather": rows_of,
    "index_sample": take_along,
    "index_select": rows_of,
    "matmul": matmul,
    "nll_loss": labelled,
    "one_hot": embedding,
    "reshape": reshape,
    "rnn": recurrent,
    "slice": sliced,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "take_along_axis": take_along,
    "transpose": transpose,
    "unsqueeze": unsqueeze,
}
"""Op -> what it does to sizes."""
