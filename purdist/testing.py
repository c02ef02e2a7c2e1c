"""Strategies and laws for test suites: random small networks, and what must hold of them.

Needs hypothesis, which ``pip install 'purdist[test]'`` brings; ``import purdist`` does not.

* `networks` and `feature_map_shapes` are hypothesis strategies.
* `evaluate` gives the value and the gradients of a loss on arrays; `LOSS_LAWS` are what
  every loss obeys, functions with the arguments of `evaluate`::

      @pytest.mark.parametrize("law", LOSS_LAWS)
      def test_mine(law):
          law(MyLoss("t", "s"), teacher={"t": some}, student={"s": others})

* `unchanged` asserts that what a step was handed, and Paddle, come out as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs, scopes
from purdist.applying import apply
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError
from purdist.losses.spec import LossSpec
from purdist.program import Program
from purdist.sources.static import from_static
from purdist.training import Training
from purdist.variables import NewInput, Variable

try:
    from hypothesis import strategies as st
    from hypothesis.errors import InvalidArgument
except ImportError as error:
    raise ImportError(
        "purdist.testing needs hypothesis, which is not installed.\n"
        "Install it: pip install 'purdist[test]'."
    ) from error

__all__ = [
    "LOSS_LAWS",
    "Arrays",
    "BatchNorm",
    "Branch",
    "Conv",
    "Dropout",
    "Evaluation",
    "Layer",
    "Linear",
    "Network",
    "Relu",
    "StaticNetwork",
    "batch_may_be_unknown",
    "evaluate",
    "feature_map_shapes",
    "float32_agrees_with_float64",
    "linear_in_weight",
    "networks",
    "nothing_flows_to_teacher",
    "order_of_batch_is_free",
    "unchanged",
]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


# --- networks ---------------------------------------------------------------------------


@attrs.frozen
class Conv:
    """A square convolution that keeps height and width."""

    channels: int
    kernel: Literal[1, 3] = 3


@attrs.frozen
class Linear:
    """A fully connected layer; a feature map is flattened first."""

    width: int


@attrs.frozen
class Relu:
    """max(x, 0)."""


@attrs.frozen
class BatchNorm:
    """Batch normalisation: each mode of the network computes it differently."""


@attrs.frozen
class Dropout:
    """Dropout: one mode of the network draws random numbers, the other does not."""

    rate: float = 0.5


@attrs.frozen
class Branch:
    """What comes in goes through ``layers`` and beside them, and both ways join.

    With ``"add"``, what goes beside is brought to the width of the other by a 1x1
    convolution or a linear layer where they differ.
    """

    join: Literal["add", "concat"]
    layers: tuple[Layer, ...]


Layer: TypeAlias = Conv | Linear | Relu | BatchNorm | Dropout | Branch


def _check_layers(_: Network, __: object, layers: tuple[Layer, ...]) -> None:
    flat = False
    for layer in layers:
        if flat and isinstance(layer, Conv):
            raise InvalidArgumentError(
                f"Expected convolutions before the first linear layer, got {layers}.",
                f"Move {layer} forward: a linear layer flattens the map.",
            )
        flat = flat or isinstance(layer, Linear)


@attrs.frozen
class Network:
    """A small network described: a value that prints as the code that makes it.

    Attributes:
        shape: Of one image: channels, height, width.
        layers: One after the other.

    Raises:
        InvalidArgumentError: A convolution comes after a linear layer.
    """

    shape: tuple[int, int, int]
    layers: tuple[Layer, ...] = attrs.field(validator=_check_layers)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the layers' outputs: ``layer0``, ``layer1.0`` inside a branch, ..."""
        return tuple(_output_names(self.layers, "layer"))

    def images(self, count: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
        """A batch to feed, normal numbers of ``seed``: [count, *shape]."""
        numbers = np.random.RandomState(seed).standard_normal((count, *self.shape))
        return numbers.astype(np.float32)

    def static(self, *, name: str = "image", seed: int = 0, batch: int = -1) -> StaticNetwork:
        """The network as Paddle's user has it, its weights drawn from ``seed``.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        with graphs.building():
            main, startup = paddle.static.Program(), paddle.static.Program()
            names: dict[str, paddle.Tensor] = {}
            with paddle.static.program_guard(main, startup):
                image = paddle.static.data(name, [batch, *self.shape], "float32")
                _grow(image, self.layers, "layer", names)
            paddle.seed(seed)
            scope = scopes.new_scope()
            scopes.initialise(scope, startup, paddle.CPUPlace())
        return StaticNetwork(main, scope, names)

    def program(self, *, name: str = "image", seed: int = 0, batch: int = -1) -> Program:
        """The network through the door, each layer's output by its name in `outputs`.

        Args:
            name: Of its input.
            seed: Of its weights. Paddle's own random state stays as it is.
            batch: The size of the batch, -1 for one that is not known.
        """
        built = self.static(name=name, seed=seed, batch=batch)
        return from_static(
            built.main, scope=built.scope, names=built.names, place=paddle.CPUPlace()
        )


@attrs.frozen(eq=False, repr=False)
class StaticNetwork:
    """A network as Paddle's user has it.

    Attributes:
        main: The PIR program.
        scope: Its weights.
        names: What `Network.outputs` names.
    """

    main: paddle.static.Program
    scope: paddle.static.Scope
    names: Mapping[str, paddle.Tensor]


def _output_names(layers: tuple[Layer, ...], prefix: str) -> Iterator[str]:
    for k, layer in enumerate(layers):
        if isinstance(layer, Branch):
            yield from _output_names(layer.layers, f"{prefix}{k}.")
        yield f"{prefix}{k}"


def _grow(
    value: paddle.Tensor, layers: tuple[Layer, ...], prefix: str, names: dict[str, paddle.Tensor]
) -> paddle.Tensor:
    """``layers`` behind ``value``, their outputs put into ``names``."""
    for k, layer in enumerate(layers):
        if isinstance(layer, Branch):
            value = _joined(value, _grow(value, layer.layers, f"{prefix}{k}.", names), layer.join)
        else:
            value = _one(value, layer)
        names[f"{prefix}{k}"] = value
    return value


def _one(value: paddle.Tensor, layer: Conv | Linear | Relu | BatchNorm | Dropout) -> paddle.Tensor:
    width, is_map = value.shape[1], len(value.shape) == 4
    match layer:
        case Conv(channels, kernel):
            return paddle.nn.Conv2D(width, channels, kernel, padding=kernel // 2)(value)
        case Linear(outside):
            value = value.flatten(1) if is_map else value
            return paddle.nn.Linear(value.shape[1], outside)(value)
        case Relu():
            return paddle.nn.functional.relu(value)
        case BatchNorm():
            norm = paddle.nn.BatchNorm2D if is_map else paddle.nn.BatchNorm1D
            return norm(width)(value)
        case Dropout(rate):
            return paddle.nn.functional.dropout(value, rate)


def _joined(
    beside: paddle.Tensor, through: paddle.Tensor, join: Literal["add", "concat"]
) -> paddle.Tensor:
    if len(beside.shape) != len(through.shape):
        beside = beside.flatten(1)
    if join == "concat":
        return paddle.concat([beside, through], axis=1)
    width = through.shape[1]
    if beside.shape[1] != width:
        beside = _one(beside, Conv(width, 1) if len(beside.shape) > 2 else Linear(width))
    return beside + through


# --- strategies -------------------------------------------------------------------------

_WIDTHS = st.integers(1, 4)


def networks(
    *,
    shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    min_layers: int = 1,
    max_layers: int = 12,
) -> st.SearchStrategy[Network]:
    """Small networks: convolutions, then linear layers, with all else in between.

    They shrink towards few, narrow and plain layers.

    Args:
        shape: Of the images: channels, height, width. Any small one by default.
        classes: If given, the last layer is linear and of that width.
        min_layers: At least that many; a branch counts as one.
        max_layers: At most that many.
    """
    if not 1 <= min_layers <= max_layers:
        raise InvalidArgument(
            f"Expected 1 <= min_layers <= max_layers, got {min_layers=}, {max_layers=}."
        )
    if shape is not None and min(shape) < 1:
        raise InvalidArgument(f"Expected shape to be three sizes of at least 1, got {shape=}.")
    if classes is not None and classes < 1:
        raise InvalidArgument(f"Expected classes to be at least 1, got {classes=}.")
    shapes = st.tuples(*[st.integers(1, 4)] * 3) if shape is None else st.just(shape)
    return _networks(shapes, classes, min_layers, max_layers)


@st.composite
def _networks(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[tuple[int, int, int]],
    classes: int | None,
    min_layers: int,
    max_layers: int,
) -> Network:
    last = () if classes is None else (Linear(classes),)
    room = max_layers - len(last)
    convs = st.builds(Conv, _WIDTHS, st.sampled_from((1, 3)))
    maps = draw(st.lists(_layers(convs), max_size=room))
    missing = max(0, min_layers - len(last) - len(maps))
    linears = st.builds(Linear, _WIDTHS)
    flat = draw(st.lists(_layers(linears), min_size=missing, max_size=room - len(maps)))
    return Network(draw(shapes), (*maps, *flat, *last))


def _layers(
    learning: st.SearchStrategy[Conv] | st.SearchStrategy[Linear],
) -> st.SearchStrategy[Layer]:
    others: st.SearchStrategy[Layer] = st.sampled_from((Relu(), BatchNorm(), Dropout()))
    plain = learning | others
    # A branch ends in a layer with a width of its own, or a chain of them would double it.
    inside = st.builds(lambda layers, last: (*layers, last), st.lists(plain, max_size=2), learning)
    return plain | st.builds(Branch, st.sampled_from(("add", "concat")), inside)


def feature_map_shapes(
    *, min_rank: int = 4, max_rank: int = 4, max_size: int = 8, unknown: bool = True
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of what a network computes, such as [N, C, H, W].

    Args:
        min_rank: At least that many axes.
        max_rank: At most that many.
        max_size: The largest size.
        unknown: Whether a size may be -1, as a graph has it where it is not known.
    """
    if not 0 <= min_rank <= max_rank:
        raise InvalidArgument(f"Expected 0 <= min_rank <= max_rank, got {min_rank=}, {max_rank=}.")
    if max_size < 1:
        raise InvalidArgument(f"Expected max_size to be at least 1, got {max_size=}.")
    sizes = st.integers(1, max_size)
    if unknown:
        sizes = sizes | st.just(-1)
    return st.lists(sizes, min_size=min_rank, max_size=max_rank).map(tuple)


# --- losses on arrays -------------------------------------------------------------------


@attrs.frozen(eq=False)
class Evaluation:
    """What a loss came to on given arrays.

    Attributes:
        value: The loss, weight included.
        gradients: Variable -> gradient of the loss, for those that one flows to.
    """

    value: float
    gradients: Arrays


def evaluate(
    spec: LossSpec,
    *,
    teacher: Arrays | None = None,
    student: Arrays,
    inputs: Arrays | None = None,
    unknown_axes: Collection[int] = (0,),
) -> Evaluation:
    """Value and gradients of a loss on arrays, through `apply` and Paddle's executor.

    The arrays are the variables of a tiny program, under the names that ``spec`` reads.
    Each of the teacher's and student's could receive a gradient: that none flows to the
    teacher is `apply`'s doing::

        found = evaluate(L2Loss("t", "s"), teacher={"t": zeros}, student={"s": ones})
        assert found.value == 1 and found.gradients.keys() == {"s"}

    Args:
        spec: The loss.
        teacher: Variable -> array, the teacher's.
        student: Variable -> array, the student's.
        inputs: Variable or `NewInput` -> array, such as labels. Nothing flows to them.
        unknown_axes: Axes whose size the program is not told: the batch, by default.
            Where an array has fewer axes, those that exist.

    Raises:
        PurdistError: What `apply` raises.
    """
    evaluator = _Evaluator(spec, teacher or {}, student, inputs or {}, unknown_axes)
    return evaluator({**(teacher or {}), **student, **(inputs or {})})


class _Evaluator:
    """A loss built for arrays such as these, to be evaluated on any number of them."""

    def __init__(
        self,
        spec: LossSpec,
        teacher: Arrays,
        student: Arrays,
        inputs: Arrays,
        unknown_axes: Collection[int] = (0,),
    ) -> None:
        arrays = {**teacher, **student, **inputs}
        program = _inputs_alone(spec, arrays, {*teacher, *student}, unknown_axes)
        variables = {
            name: attrs.evolve(v, owner="teacher") if name in teacher else v
            for name, v in program.variables.items()
        }
        distillation = apply(attrs.evolve(program, variables=variables), [spec], prune=False)
        self._program, loss = distillation.program, distillation.loss
        names = [*teacher, *student]
        graph, self._gradients = _differentiated(self._program.modes.training, loss, names)
        fetch = (loss, *self._gradients.values())
        self._run = graphs.Runner(graph, fetch, self._program.scope, self._program.place)

    def __call__(self, arrays: Arrays) -> Evaluation:
        self._program.check_feed(arrays, self._program.inputs)
        value, *found = self._run(arrays)
        return Evaluation(float(value), dict(zip(self._gradients, found, strict=True)))


def _inputs_alone(
    spec: LossSpec, arrays: Arrays, differentiable: Collection[str], unknown_axes: Collection[int]
) -> Program:
    """A network without layers: an input for each of ``arrays`` that ``spec`` does not add."""
    added = {new.name for new in spec.variables.values() if isinstance(new, NewInput)}
    with graphs.building():
        main = paddle.static.Program()
        with paddle.static.program_guard(main):
            for name, array in arrays.items():
                if name not in added:
                    shape = [-1 if k in unknown_axes else n for k, n in enumerate(array.shape)]
                    paddle.static.data(name, shape, array.dtype.name)
    program = from_static(main, scope=scopes.new_scope(), place=paddle.CPUPlace())
    for name in differentiable:  # a network's feeds never take a gradient
        program.modes.training.values[name].stop_gradient = False
    return program


def _differentiated(
    source: graphs.Graph, loss: str, names: Collection[str]
) -> tuple[graphs.Graph, dict[str, str]]:
    """A graph with the gradients of ``loss``, and what the gradient of each name is called."""
    with graphs.building():
        graph = graphs.copy(source)
        with paddle.static.program_guard(graph.program):
            target = graph.values[loss]
            # Paddle's own gradient of the target, a one as well, warns of a missing device.
            found = paddle.static.gradients(
                [target],
                [graph.values[name] for name in names],
                target_gradients=[paddle.ones([], target.dtype)],
            )
    called = {n: f"{n}@GRAD" for n, g in zip(names, found, strict=True) if g is not None}
    values = {f"{n}@GRAD": g for n, g in zip(names, found, strict=True) if g is not None}
    return graphs.Graph(graph.program, {**graph.values, **values}), called


class LossLaw(Protocol):
    """What every loss obeys, whatever the arrays: raises AssertionError where it does not."""

    def __call__(
        self,
        spec: LossSpec,
        *,
        teacher: Arrays | None = None,
        student: Arrays,
        inputs: Arrays | None = None,
    ) -> None: ...


def nothing_flows_to_teacher(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """The teacher gets no gradient; each variable of the student gets one.

    No law of a `CustomLoss`, whose function lets gradients through to whatever can learn.
    """
    found = evaluate(spec, teacher=teacher, student=student, inputs=inputs)
    assert found.gradients.keys() == student.keys(), (
        f"Expected gradients of {sorted(student)}, got those of {sorted(found.gradients)}."
    )


def order_of_batch_is_free(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """A new order of the batch is one of the gradients, and leaves the value.

    Two orders are tried, of which all others are made: the first two rows change places,
    and each row moves up by one.
    """
    evaluator = _Evaluator(spec, teacher or {}, student, inputs or {})
    arrays = {**(teacher or {}), **student, **(inputs or {})}
    found = evaluator(arrays)
    rows = len(next(iter(student.values())))
    for order in ([*range(rows)[:2][::-1], *range(2, rows)], [*range(1, rows), 0]):
        again = evaluator(_in_order(order, arrays))
        _assert_close(again, Evaluation(found.value, _in_order(order, found.gradients)))


def linear_in_weight(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Three times the weight is three times the value and the gradients."""
    once = evaluate(spec, teacher=teacher, student=student, inputs=inputs)
    thrice = evaluate(3 * spec, teacher=teacher, student=student, inputs=inputs)
    expected = Evaluation(3 * once.value, {k: 3 * g for k, g in once.gradients.items()})
    _assert_close(thrice, expected)


def float32_agrees_with_float64(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Both precisions give the same, to the narrower one's, and gradients in their own."""
    found = []
    for dtype in (np.float32, np.float64):
        sides = [
            {k: a.astype(dtype) for k, a in (side or {}).items()} for side in (teacher, student)
        ]
        found.append(evaluate(spec, teacher=sides[0], student=sides[1], inputs=inputs))
        assert {g.dtype for g in found[-1].gradients.values()} <= {np.dtype(dtype)}
    _assert_close(*found)


def batch_may_be_unknown(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Whether the graph knows the size of the batch changes nothing.

    What reads ``x.shape[0]`` while the graph is built reads -1 where it does not.
    """
    found = [
        evaluate(spec, teacher=teacher, student=student, inputs=inputs, unknown_axes=axes)
        for axes in ((), (0,))
    ]
    _assert_close(*found)


LOSS_LAWS: tuple[LossLaw, ...] = (
    nothing_flows_to_teacher,
    order_of_batch_is_free,
    linear_in_weight,
    float32_agrees_with_float64,
    batch_may_be_unknown,
)
"""What every loss obeys. Their arrays have the batch on axis 0."""


def _in_order(order: Sequence[int], arrays: Arrays) -> Arrays:
    return {name: array[order] for name, array in arrays.items()}


def _assert_close(got: Evaluation, expected: Evaluation) -> None:
    """Equal to what float32 keeps of the largest number in each array."""
    _assert_close_arrays("value", np.array(got.value), np.array(expected.value))
    assert got.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        _assert_close_arrays(f"gradient of {name}", got.gradients[name], gradient)


def _assert_close_arrays(what: str, got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    scale = float(np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * scale + 1e-8, err_msg=what)


# --- what stays as it was ---------------------------------------------------------------


@contextmanager
def unchanged(*things: object) -> Iterator[None]:
    """Asserts that ``things``, and Paddle's process-wide state, come out as they went in.

    Of Paddle that is: mode, flags, default programs, the global scope and its names,
    unique-name counters, random state::

        with unchanged(teacher, student, data_name_map):
            merged = merge(teacher, student, data_name_map)

    Args:
        things: Programs, distillations and trainings (graphs, weights, variables); static
            programs, scopes, arrays, specs; lists and mappings of such.

    Raises:
        AssertionError: Something changed. The text names it.
        InvalidArgumentError: The contents of a thing cannot be compared.
    """
    before = _contents_of_all(things)
    try:
        yield
    finally:  # a step that refuses what it was handed must leave it alone too
        after = _contents_of_all(things)
        changed = [
            path
            for path in dict.fromkeys((*before, *after))
            if path not in before or path not in after or before[path] != after[path]
        ]
        assert not changed, f"Expected nothing to change, got changes of {', '.join(changed)}."


def _contents_of_all(things: tuple[object, ...]) -> dict[str, object]:
    found = {f"Paddle's {name}": state for name, state in graphs.process_state().items()}
    for k, thing in enumerate(things):
        found.update(_contents(f"argument {k}", thing))
    return found


def _contents(path: str, thing: object) -> Iterator[tuple[str, object]]:
    """What ``thing`` holds, each part by where it is."""
    parts = next((of(thing) for kind, of in _PARTS.items() if isinstance(thing, kind)), None)
    if parts is not None:
        yield f"the names in {path}", list(parts)
        for name, part in parts.items():
            yield from _contents(f"{path}.{name}", part)
    elif isinstance(thing, np.ndarray):
        yield path, (thing.dtype, thing.shape, thing.tobytes())
    elif isinstance(thing, _PLAIN):
        yield path, thing
    elif hasattr(thing, "global_block"):  # a static program, PIR or old
        yield path, str(thing)
    else:
        raise InvalidArgumentError(
            f"Expected something whose contents can be compared, got {path}, a "
            f"{type(thing).__name__}.",
            "Hand over programs, scopes, arrays, specs, or lists and mappings of such.",
        )


def _parts_of_training(training: Training) -> Mapping[str, object]:
    state = training.progress
    drawn = None if state.random_state is None else graphs.random_state_text(state.random_state)
    scheduler = {} if state.scheduler is None else state.scheduler.state_dict()
    return {
        "program": training.program,
        "step": training.step.program,
        "steps": state.steps,
        "random state": drawn,
        "scheduler": scheduler,
    }


def _parts_of_scope(scope: paddle.static.Scope) -> Mapping[str, object]:
    parts: dict[str, object] = {}
    for name in sorted(scope.local_var_names()):
        try:
            tensor = scopes.tensor_of(scope, name)
        except ValueError:  # no weight, but an executor's list of feeds
            tensor = None
        parts[name] = None if tensor is None else np.array(tensor)
    return parts


_PARTS: Mapping[type, Callable[[Any], Mapping[str, object]]] = {
    Program: lambda program: {
        "variables": program.variables,
        "graph": program.graph,
        "inference_graph": program.inference_graph,
        "scope": program.scope,
    },
    Distillation: lambda distillation: {"program": distillation.program},
    Training: _parts_of_training,
    StaticNetwork: lambda network: {"main": network.main, "scope": network.scope},
    type(scopes.new_scope()): _parts_of_scope,  # Paddle's public name is a function
    Mapping: dict,
    list: lambda items: {str(k): item for k, item in enumerate(items)},
    tuple: lambda items: {str(k): item for k, item in enumerate(items)},
}
_PLAIN = (type(None), str, int, float, LossSpec, NewInput, Network, Variable)
