"""Every public function, constructor and method, a call of each that is right, and wrong values.

What a type takes is told here once more, by the text of the annotation, so that this does not ask
what it tests.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, get_origin

import attrs
import numpy as np
import paddle

import purdist
import purdist.testing
from purdist.teachers.cut import cut_out
from purdist.testing import unchanged
from tests import losses, nets
from tests.adversarial.values import NONE, VALUES, Value, value
from tests.profiles import SLOW

HOOKS = ("check", "digest", "build")
"""Of a loss: purdist calls them, with what the loss reads."""


@attrs.frozen(eq=False)
class Target:
    """What can be called.

    Attributes:
        name: ``merge``, ``Program.run``, ``L2Loss``.
        function: It, as it is called: without ``self``.
        home: The class whose constructor or method it is.
    """

    name: str
    function: Callable[..., Any]
    home: type | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """What it takes -> the text of its type."""
        found = inspect.signature(self.function).parameters.values()
        own = [p for p in found if not (self.home and p.name == "self")]
        written = (
            dict(_fields(self.home)) if self.name == getattr(self.home, "__name__", "") else {}
        )
        return {p.name: str(written.get(p.name, p.annotation)).strip("'") for p in own}


def _fields(home: Any) -> Iterator[tuple[str, object]]:
    """The texts of the types of what a class is made of."""
    for field in attrs.fields(home) if attrs.has(home) else ():
        text: object = field.type
        if inspect.isfunction(field.converter):
            taken, *_ = inspect.signature(field.converter).parameters.values()
            text = taken.annotation
        yield field.alias, text


def targets() -> Mapping[str, Target]:
    """All of them, by name."""
    names = [(purdist, name) for name in vars(purdist)["__all__"]]
    names += [(purdist.testing, name) for name in purdist.testing.__all__]
    found = [target for module, name in names for target in _of(name, getattr(module, name))]
    known = {target.name: target for target in found if target.parameters}
    for never in ("InGraph.start", "LossSpec.__add__", "LossSpec.__radd__"):
        del known[never]
    return known


def _of(name: str, thing: Any) -> Iterator[Target]:
    if inspect.isfunction(thing):
        yield Target(name, thing)
    elif inspect.isclass(thing) and not issubclass(thing, Exception) and not _is_told(thing):
        if not inspect.isabstract(thing) and "__init__" in vars(thing):
            yield Target(name, thing.__init__, thing)
        for key, held in vars(thing).items():
            if isinstance(held, staticmethod) and not key.startswith("_"):
                yield Target(f"{name}.{key}", held.__func__)
            elif inspect.isfunction(held) and _is_public(key, held):
                yield Target(f"{name}.{key}", held, thing)


def _is_told(thing: Any) -> bool:
    return getattr(thing, "_is_protocol", False) or get_origin(thing) is not None


def _is_public(name: str, method: Any) -> bool:
    if name.startswith("__"):
        own = not name.startswith("__attrs_") and name not in ("__init__", "__new__")
        subclass = name == "__init_subclass__"
        typed = any(key != "return" for key in method.__annotations__)
        return own and not subclass and typed and not getattr(method, "__isabstractmethod__", False)
    abstract = getattr(method, "__isabstractmethod__", False)
    return not (name.startswith("_") or name in HOOKS or abstract)


# --- what each type takes ------------------------------------------------------------------------

EMPTY = ("list", "mapping", "empty set", "empty array")
NAMES = (*EMPTY, "list of str", "str keys", "lazy of str", "texts")
INTS = (*EMPTY, "list of int", "int keys", "whole array")
TEXTS = ("list", "list of str", "texts", "empty array")
ANY_LIST = (
    *NAMES,
    *INTS,
    "unordered",
    "pairs",
    "lazy",
    "endless",
    "array",
    "array of objects",
    "others",
)
ARRAYS = ("mapping",)
VARIABLE = ("str", "new input")

TAKES: Mapping[str, tuple[str, ...]] = {
    "str": ("str",),
    "str | None": ("str", "none"),
    **dict.fromkeys(("int", "Index", "Size", "Seed", "Count", "Width", "Rank", "Steps"), ("int",)),
    "Count | None": ("int", "none"),
    "Annotated[int, Number(least=1, whole=True)]": ("int",),
    "Annotated[int, Number(least=0, whole=True)]": ("int",),
    "Annotated[int, Number(least=0, whole=True)] | None": ("int", "none"),
    "Annotated[float, Number(least=0, below=1)] | None": ("float", "none"),
    "Mapping[str, Annotated[float, Number(least=0, below=1)]] | None": ("mapping", "none"),
    "Finite": ("float",),
    "float": ("float",),
    "Annotated[float, Number(least=0, below=1)]": ("float",),
    "bool": ("bool",),
    "float | Schedule": ("float", "schedule"),
    "Finite | Schedule": ("float", "schedule"),
    "Names": (*NAMES, "unordered"),
    "Annotated[Names, IN_ORDER]": tuple(tag for tag in NAMES if tag != "empty set"),
    "str | os.PathLike[str]": ("path",),
    "Path": ("Path",),
    "graphs.Place | str | None": ("none", "place", "str"),
    "graphs.Scope | None": ("none", "scope"),
    "graphs.Scope": ("scope",),
    "paddle.static.Program": ("static program",),
    "paddle.nn.Layer": ("layer",),
    "L": ("layer",),
    "Program": ("program",),
    "Program | Training": ("program", "training"),
    "Distillation | Program": ("program", "distillation"),
    "Training": ("training",),
    "Checkpoints | None": ("none",),
    "Distillation": ("distillation",),
    "LossSpec": ("loss",),
    "TeacherVariable": VARIABLE,
    "StudentVariable": VARIABLE,
    "Label": VARIABLE,
    "Mask | None": (*VARIABLE, "none"),
    "Adaptor | None": ("none",),
    "Literal[1, 3]": ("3",),
    **dict.fromkeys(("Dtype", "Role", "Owner", "graphs.Mode", "Literal['add', 'concat']"), ()),
    "tuple[str, ...]": TEXTS,
    "Sequence[str]": TEXTS,
    "tuple[int, ...]": ("list", "list of int", "whole array", "empty array"),
    "Iterable[Size]": INTS,
    "Collection[int]": INTS,
    "Iterable[Sequence[str | NewInput]]": (*EMPTY, "pairs"),
    "Iterable[LossSpec]": EMPTY,
    "Iterable[type[LossSpec]]": EMPTY,
    **dict.fromkeys(
        ("tuple[LossSpec, ...]", "tuple[Origin, ...]", "tuple[Layer, ...]"), ("list", "empty array")
    ),
    "tuple[Width, Width, Width]": (),
    "tuple[Count, Count, Count] | None": ("none",),
    "frozenset[str]": ("frozenset",),
    "Mapping[str, str]": ("mapping", "mapping of str"),
    "Mapping[str, str] | None": ("mapping", "mapping of str", "none"),
    "Annotated[Mapping[str, str | NewInput] | _Items, CHECKED_INSIDE]": (
        *("mapping", "mapping of str", "pieces"),
        "list",
    ),
    "Mapping[str, str | NewInput]": ("mapping", "mapping of str"),
    "Mapping[str, Any]": ("mapping", "str keys"),
    "Mapping[str, float]": ("mapping", "mapping of int"),
    "Mapping[Index, Schedule | Finite]": ("mapping", "pieces"),
    **dict.fromkeys(
        (
            "Mapping[str, tuple[str, ...]]",
            "Mapping[str, Schedule]",
            "Mapping[str, Variable]",
            "Mapping[str, paddle.Tensor]",
            "Mapping[str, npt.NDArray[Any]]",
            "Tensors",
            "Arrays",
            "Choice | Mapping[str, Choice]",
        ),
        ("mapping",),
    ),
    "Arrays | None": ("mapping", "none"),
    "Mapping[str, Annotated[paddle.Tensor, CHECKED_INSIDE]] | None": (
        "mapping",
        "str keys",
        "none",
    ),
    "Feed": ("mapping", "str keys", "pieces"),
    "Batches": ANY_LIST,
    "Mapping[str, MetricSpec]": ("mapping", "mapping of str"),
    "Loader": ANY_LIST,
    "Inputs": ANY_LIST,
    "Sequence[Annotated[Mapping[str, object], CHECKED_INSIDE]]": (
        *TEXTS,
        *("list of int", "whole array", "pairs", "others", "array", "array of objects"),
    ),
    **dict.fromkeys(("MakeOptimizer", "Merge"), ("callable",)),
    "Network": (),
    "type[LossSpec]": ("class of losses",),
    "Callable[..., paddle.Tensor]": ("callable",),
    "Callable[[str], str | NewInput]": ("callable",),
    "SupportsIndex | slice | Sequence[int] | npt.NDArray[np.integer | np.bool_]": (
        "int",
        "slice",
        "list",
        "list of int",
        "whole array",
        "empty array",
    ),
    **dict.fromkeys(
        ("graphs.Modes", "graphs.Graph", "Store", "Session", "Internals", "Manifest"), ()
    ),
    "object": ("anything",),
}
"""The text of a type -> the tags of what it takes."""

# --- calls that are right ------------------------------------------------------------------------

Call = tuple[Callable[..., Any], dict[str, Any]]


def loss_of(**values: Any) -> Any:
    return next(iter(values.values())).square().mean()


class World:
    """What a child hands over."""

    @functools.cached_property
    def layer(self) -> Any:
        paddle.disable_static()
        layer = paddle.nn.Linear(6, 4)
        paddle.enable_static()
        return layer

    @functools.cached_property
    def net(self) -> nets.Net:
        return nets.Net.of(nets.linear())

    @functools.cached_property
    def program(self) -> purdist.Program:
        return self.net.program()

    @functools.cached_property
    def teacher(self) -> purdist.Program:
        return nets.program(nets.linear(), seed=1)

    @functools.cached_property
    def merged(self) -> purdist.Program:
        return purdist.merge(self.teacher, self.program, {"x": "x"})

    @functools.cached_property
    def distillation(self) -> purdist.Distillation:
        return purdist.apply(self.merged, [self.loss])

    @property
    def loss(self) -> purdist.LossSpec:
        return purdist.L2Loss("teacher_logits", "logits")

    @staticmethod
    def optimizer() -> Any:
        return paddle.optimizer.SGD(0.1)

    @functools.cached_property
    def training(self) -> purdist.Training:
        return purdist.minimize(self.distillation, self.optimizer)

    @property
    def feed(self) -> dict[str, Any]:
        return {"x": nets.numbers(0, 2, 6)}

    @functools.cached_property
    def cache(self) -> purdist.TeacherCache:
        return purdist.cache_teacher(self.distillation, [self.feed], "cache")

    @functools.cached_property
    def small(self) -> purdist.testing.Network:
        return purdist.testing.Network((1, 2, 2), (purdist.testing.Linear(2),))

    @functools.cached_property
    def exported(self) -> str:
        purdist.export(self.program, "exported", ["logits"], check=False)
        return "exported"

    @functools.cached_property
    def saved(self) -> str:
        purdist.save_weights(self.program, "saved")
        return "saved"

    @functools.cached_property
    def checkpoint(self) -> str:
        purdist.save_checkpoint(self.training, "kept")
        return "kept"

    def values(self) -> Mapping[str, Value]:
        """All that is handed over in place of what is right."""
        own: dict[str, tuple[Any, tuple[str, ...]]] = {
            "a program": (self.program, ("program",)),
            "a distillation": (self.distillation, ("distillation",)),
            "a training": (self.training, ("training",)),
            "a layer": (self.layer, ("layer", "callable")),
        }
        return VALUES | {
            name: value(functools.partial(_itself, thing), *tags)
            for name, (thing, tags) in own.items()
        }


def _itself(thing: Any) -> Any:
    return thing


def _again(value: Any) -> Call:
    """The call that makes a value."""
    fields = [field for field in attrs.fields(type(value)) if field.init]
    return type(value), {field.alias: getattr(value, field.name) for field in fields}


def _call(world: World, name: str) -> Call:
    function, make = VALID[name]
    return function(world), make(world)


Make = Callable[[World], Any]


def _law(function: Callable[..., Any]) -> tuple[Make, Make]:
    arrays = {"s": nets.numbers(0, 3, 5)}, {"t": nets.numbers(1, 3, 5)}
    return lambda _: function, lambda _: {
        "spec": purdist.L2Loss("t", "s"),
        "student": arrays[0],
        "teacher": arrays[1],
        "inputs": {},
    }


def _given(value: Any, _: World) -> Any:
    return value


def _of_programs(law: Callable[..., Any]) -> tuple[Make, Make]:
    return lambda _: law, lambda w: {
        "teacher": w.teacher,
        "student": w.program,
        "data_name_map": {"x": "x"},
        "merge": purdist.merge,
    }


def _specs(kinds: Any) -> Any:
    return T.specs(kinds)


def _unchanged(things: Any) -> Any:
    return T.unchanged(things)


def _made(make: Make) -> tuple[Make, Make]:
    """The call that makes what ``make`` does."""
    return lambda world: _again(make(world))[0], lambda world: _again(make(world))[1]


def _static(function: Callable[..., Any], **arguments: Any) -> tuple[Make, Make]:
    return lambda _: function, lambda _: arguments


def _started(world: World) -> dict[str, Any]:
    cut = cut_out(world.distillation, "teacher_")
    return {"teacher": cut.network, "outputs": cut.outputs}


T = purdist.testing
S = purdist.Schedule

_AGAIN: Mapping[str, Make] = {
    "Program": lambda w: w.program,
    "Distillation": lambda w: w.distillation,
    "Training": lambda w: w.training,
    "TeacherCache": lambda w: w.cache,
    "Step": lambda _: purdist.Step(0, 0.5, {"l2_0": 0.5}, {"l2_0": 1.0}, 0.1),
    "Variable": lambda w: w.program.variable("x"),
    "Network": lambda w: w.small,
    "NetworkPair": lambda w: T.NetworkPair(w.small, w.small),
    "StaticNetwork": lambda w: w.small.static(),
    "Evaluation": lambda _: T.Evaluation(0.5, {}),
    "BatchNorm": lambda _: T.BatchNorm(),
    "Branch": lambda _: T.Branch("add", ()),
    "Conv": lambda _: T.Conv(1),
    "Dropout": lambda _: T.Dropout(),
    "Linear": lambda _: T.Linear(1),
}

VALID: Mapping[str, tuple[Make, Make]] = {
    "apply": (
        lambda _: purdist.apply,
        lambda w: {"program": w.merged, "specs": [w.loss], "prune": True},
    ),
    "cut": (lambda _: purdist.cut, lambda w: {"program": w.program, "at": ["tanh_0"]}),
    "export": (
        lambda _: purdist.export,
        lambda w: {"source": w.training, "path": "student", "outputs": ["logits"], "check": False},
    ),
    "to_layer": (
        lambda _: purdist.to_layer,
        lambda w: {"source": _of_layer(w), "layer": w.layer},
    ),
    "student_of": (
        lambda _: purdist.student_of,
        lambda w: {"source": w.training, "name_prefix": None, "averaged": False},
    ),
    "load_weights": (
        lambda _: purdist.load_weights,
        lambda w: {"program": w.program, "path": w.saved, "partial": False, "names": None},
    ),
    "save_weights": (lambda _: purdist.save_weights, lambda w: {"source": w.training, "path": "w"}),
    "Checkpoints": _made(lambda _: purdist.Checkpoints("run", 2, 1)),
    "save_checkpoint": (
        lambda _: purdist.save_checkpoint,
        lambda w: {"training": w.training, "path": "checkpoint"},
    ),
    "resume": (
        lambda _: purdist.resume,
        lambda w: {"training": w.training, "directory": w.checkpoint},
    ),
    "CustomLoss": (
        lambda _: purdist.CustomLoss,
        lambda _: {"function": loss_of, "variables": {"s": "s"}, "weight": 2.0, "name": "mine"},
    ),
    "merge": (
        lambda _: purdist.merge,
        lambda w: {
            "teacher": w.teacher,
            "student": w.program,
            "data_name_map": {"x": "x"},
            "place": "cpu",
            "name_prefix": "t_",
            "keep_inputs": (),
        },
    ),
    "join": (
        lambda _: purdist.join,
        lambda w: {
            "peer": w.teacher,
            "student": w.program,
            "data_name_map": {"x": "x"},
            "place": "cpu",
            "name_prefix": "t_",
            "keep_inputs": (),
        },
    ),
    "losses_from_data": (
        lambda _: purdist.losses_from_data,
        lambda _: {"data": [], "own": [purdist.L2Loss]},
    ),
    "losses_to_data": (lambda _: purdist.losses_to_data, lambda w: {"specs": [w.loss]}),
    "from_exported": (
        lambda _: purdist.from_exported,
        lambda w: {"path": w.exported, "place": "cpu"},
    ),
    "from_layer": (
        lambda _: purdist.from_layer,
        lambda w: {
            "layer": w.layer,
            "inputs": {"x": paddle.static.InputSpec([None, 6])},
            "place": "cpu",
            "share": False,
            "check": False,
        },
    ),
    "from_static": (
        lambda _: purdist.from_static,
        lambda w: {
            "main": w.net.main,
            "scope": w.net.scope,
            "place": "cpu",
            "names": w.net.names,
            "share": False,
        },
    ),
    "cache_teacher": (
        lambda _: purdist.cache_teacher,
        lambda w: {
            "distillation": w.distillation,
            "batches": [w.feed],
            "path": "another",
            "name_prefix": "teacher_",
        },
    ),
    "minimize": (
        lambda _: purdist.minimize,
        lambda w: {
            "distillation": w.distillation,
            "make_optimizer": w.optimizer,
            "teacher": "graph",
            "data_parallel": False,
            "accumulate": 2,
            "average": 0.9,
            "follow": None,
            "seed": 0,
            "scheduler_every": 1,
        },
    ),
    "train": (
        lambda _: purdist.train,
        lambda w: {
            "training": w.training,
            "batches": [],
            "fetch": ["logits"],
            "log_every": 1,
            "progress": False,
            "checkpoints": None,
        },
    ),
    "evaluate": (
        lambda _: purdist.evaluate,
        lambda w: {
            "source": w.training,
            "batches": [w.feed],
            "metrics": {"loss": "loss"},
            "averaged": False,
        },
    ),
    "feeds": _static(purdist.feeds, loader=[], names=["x"], epochs=1, start=0),
    "NewInput": _static(purdist.NewInput, name="x", shape=(-1,), dtype="int64"),
    "Schedule.constant": _static(S.constant, value=1.0),
    "Schedule.linear": _static(S.linear, start=0.0, end=1.0, steps=3),
    "Schedule.warmup": _static(S.warmup, steps=3),
    "Schedule.cosine": _static(S.cosine, start=0.0, end=1.0, steps=3),
    "Schedule.piecewise": _static(S.piecewise, pieces={0: 1.0}),
    "Schedule.__mul__": (lambda _: S.warmup(3).__mul__, lambda _: {"factor": 2.0}),
    "Schedule.__rmul__": (lambda _: S.warmup(3).__rmul__, lambda _: {"factor": 2.0}),
    "LossSpec.__mul__": (lambda w: w.loss.__mul__, lambda _: {"factor": 2.0}),
    "LossSpec.__rmul__": (lambda w: w.loss.__rmul__, lambda _: {"factor": 2.0}),
    "LossSpec.renamed": (lambda w: w.loss.renamed, lambda _: {"names": {"logits": "l"}}),
    "LossSpec.map_variables": (lambda w: w.loss.map_variables, lambda _: {"function": str.upper}),
    "CustomLoss.map_variables": (
        lambda _: purdist.CustomLoss(loss_of, {"s": "s"}).map_variables,
        lambda _: {"function": str.upper},
    ),
    "LossSpec.part": (lambda w: w.loss.part, lambda _: {"key": "teacher_var"}),
    "Program.variable": (lambda w: w.program.variable, lambda _: {"name": "x"}),
    "Program.run": (lambda w: w.program.run, lambda w: {"feed": w.feed, "fetch": ["logits"]}),
    "Program.describe": (lambda w: w.program.describe, lambda _: {"match": "*"}),
    "TeacherCache.start": (lambda w: w.cache.start, _started),
    "Inference.start": (
        lambda _: purdist.Inference().start,
        lambda w: {"teacher": w.teacher, "outputs": ("logits",)},
    ),
    "TeacherCache.__getitem__": (lambda w: w.cache.__getitem__, lambda _: {"rows": [0]}),
    "Network.images": (lambda w: w.small.images, lambda _: {"count": 1, "seed": 0}),
    "Network.static": (lambda w: w.small.static, lambda _: {"name": "x", "seed": 0, "batch": -1}),
    "Network.program": (lambda w: w.small.program, lambda _: {"name": "x", "seed": 0, "batch": -1}),
    "evaluate_loss": (
        lambda _: T.evaluate_loss,
        lambda w: {**_law(T.evaluate_loss)[1](w), "unknown_axes": (0,)},
    ),
    "feature_map_shapes": _static(
        T.feature_map_shapes, min_rank=1, max_rank=2, max_size=3, unknown=True
    ),
    "networks": _static(T.networks, shape=(1, 2, 2), classes=2, min_layers=1, max_layers=2),
    "unchanged": (lambda _: _unchanged, lambda _: {"things": {}}),
    **{law.__name__: _law(law) for law in T.LOSS_LAWS},
    **{law.__name__: _static(law, spec=purdist.L2Loss("t", "s")) for law in T.SPEC_LAWS},
    **{law.__name__: _of_programs(law) for law in T.PROGRAM_LAWS},
    "network_pairs": _static(T.network_pairs, shape=(1, 2, 2), classes=2, max_layers=2),
    "NetworkPair.merged": (
        lambda w: T.NetworkPair(w.small, w.small).merged,
        lambda _: {"name_prefix": "teacher_"},
    ),
    "batches": (
        lambda _: T.batches,
        lambda w: {"program": w.program, "min_batches": 1, "max_batches": 2, "max_rows": 2},
    ),
    "specs": _static(_specs, kinds=purdist.KDLoss),
    "arrays_for": _static(T.arrays_for, spec=purdist.L2Loss("t", "s"), min_rows=3, max_rows=5),
    **{
        type(loss).__name__: _made(functools.partial(_given, loss))
        for loss in {type(case.spec): case.spec for case in losses.CASES}.values()
        if type(loss).__module__.startswith("purdist.") and type(loss) is not purdist.CustomLoss
    },
    **{name: _made(made) for name, made in _AGAIN.items()},
}
"""A call of each, by what it is called with."""


def _of_layer(world: World) -> purdist.Program:
    spec = paddle.static.InputSpec([None, 6])
    return purdist.from_layer(world.layer, {"x": spec}, check=False)


# --- what comes of a value -----------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """What came of one value.

    Attributes:
        argument: ``merge.teacher``.
        value: Which.
        came: ``refused`` or ``taken``, or what is wrong.
        told: By an error, or what else there is to say.
    """

    argument: str
    value: str
    came: str
    told: str = ""


_STRIDE = 8

HEAVY = re.compile(
    r"merge|join|apply|minimize|export|from_\w+|cache_teacher|to_layer|student_of|cut|evaluate_loss|"
    r"both_\w+|the_student_\w+|a_prefix_\w+|halves_\w+|trained_\w+|pieces_\w+|NetworkPair\.merged|"
    r"\w+_(weights|teacher|free|weight|float64|unknown)|Network\.(static|program)|Inference\.start"
)
"""What takes long if it is taken: then only what means something else is."""


def outcomes(names: tuple[str, ...], *, every: bool) -> Iterator[Outcome]:
    """What comes of all values for all arguments of the targets of these names."""
    paddle.enable_static()
    world = World()
    known, met = targets(), Counter[str]()
    world.values()  # and all that Paddle counts meanwhile
    for name in names:
        function, valid = _call(world, name)
        handed = [thing for thing in valid.values() if isinstance(thing, _COMPARED)]
        try:
            with nullcontext() if name in _CALLS else unchanged(*handed):
                if every or name != "Inference.start":  # which takes 10 s
                    function(**valid)
                for argument, kind in known[name].parameters.items():
                    met[kind] += 1
                    some = None if every or met[kind] == 1 else met[kind]
                    yield from _of_argument(
                        world, f"{name}.{argument}", function, valid, TAKES[kind], some
                    )
                if every:
                    yield from _of_two_arguments(world, known[name], function, valid)
        except AssertionError as error:
            yield Outcome(name, "", "changed", str(error))


_CALLS = ("LossSpec.map_variables", "CustomLoss.map_variables")
"""What calls what it is handed: a layer that fails leaves its path behind in Paddle."""

_COMPARED = (purdist.Program, purdist.Distillation, purdist.Training)


def _of_argument(
    world: World,
    argument: str,
    function: Callable[..., Any],
    valid: Mapping[str, Any],
    takes: tuple[str, ...],
    some: int | None,
) -> Iterator[Outcome]:
    """Of all values for an argument, or of some, by a number, where its type was met before."""
    name = argument.rpartition(".")[2]
    heavy = HEAVY.fullmatch(argument.rpartition(".")[0]) and not SLOW
    values = list(world.values().items())
    for called, one in values if some is None else values[some % _STRIDE :: _STRIDE]:
        fits = bool(one.tags & frozenset(takes))
        if fits and heavy and one.means is NONE:
            continue
        handed = one.make()
        before = _state(handed)
        came, told = _came(function, {**valid, name: handed}, name, fits=fits)
        if before != _state(handed):
            came, told = "changed", f"{before} became {_state(handed)}"
        if fits and came in ("taken", "refused") and one.means is not NONE:
            plain = _came(function, {**valid, name: one.means}, name, fits=fits)
            if plain[0] != came or (came == "taken" and plain[1] != told):
                came, told = "silently wrong", f"{told} in place of {plain[1]}"
        yield Outcome(argument, called, came, told[:1000])  # what is told of a network is long


_PARTNERS = 9
"""How many wrong values for another argument a wrong value is handed over with."""


def _of_two_arguments(
    world: World, target: Target, function: Callable[..., Any], valid: Mapping[str, Any]
) -> Iterator[Outcome]:
    """Of wrong values for two arguments at once, some for each: one of them is named at least."""
    wrong = [
        (argument, called, one)
        for argument, kind in target.parameters.items()
        for called, one in world.values().items()
        if not one.tags & frozenset(TAKES[kind])
    ]
    drawn = random.Random(target.name)
    for argument, called, one in wrong:
        for other, again, two in drawn.sample(wrong, min(_PARTNERS, len(wrong))):
            if other == argument:
                continue
            both = {**valid, argument: one.make(), other: two.make()}
            came, told = "silently wrong", ""
            try:
                function(**both)
            except purdist.PurdistError as error:
                told = str(error)
                named = any(re.search(rf"\b{n.lstrip('_')}\b", told) for n in (argument, other))
                came = "refused" if named else "wrong kind"
            except BaseException as error:
                came, told = "foreign", f"{type(error).__name__}: {str(error)[:300]}"
            yield Outcome(f"{target.name}.{argument}, {other}", f"{called}, {again}", came, told)


def _came(
    function: Callable[..., Any], arguments: dict[str, Any], name: str, *, fits: bool
) -> tuple[str, str]:
    try:
        made = function(**arguments)
    except purdist.PurdistError as error:
        told = f"{type(error).__name__}: {error}"
        if fits:
            return "refused", told
        kinds = purdist.InvalidArgumentError, purdist.FeedError
        if not isinstance(error, kinds) or not re.search(rf"\b{name.lstrip('_')}\b", str(error)):
            return "wrong kind", told
        return ("refused", told) if len(str(error)) < 700 else ("too long", told)
    except BaseException as error:
        if str(error) == "asked" and fits:
            return "refused", "of its own"
        return "foreign", f"{type(error).__name__}: {str(error)[:300]}"
    return ("taken", _digest(made)) if fits else ("silently wrong", _digest(made))


def _digest(made: Any) -> str:
    try:
        if isinstance(made, purdist.Program):
            return str(list(made.variables))
        return re.sub(r"0x\w+", "", str(made))[:2000]
    except Exception as error:
        return type(error).__name__


def _state(thing: Any) -> object:
    """What a container holds, to see it change; nothing of an iterator."""
    if type(thing) not in (list, dict, set, bytearray, np.ndarray) or _is_huge(thing):
        return None
    try:
        return pickle.dumps(thing)
    except Exception:
        return None


def _is_huge(thing: Any) -> bool:
    return isinstance(thing, np.ndarray) and thing.size > 1 << 16
