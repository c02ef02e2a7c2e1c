"""The text of every error: what was expected, what was got, what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    DtypeMismatchError,
    FeedError,
    ForeignValueError,
    FspLoss,
    IncompleteMapError,
    InvalidArgumentError,
    L2Loss,
    MapDirectionError,
    NameClashError,
    NewInput,
    RandomInferenceError,
    SeveralFaultsError,
    ShapeMismatchError,
    SoftLabelLoss,
    UninitializedWeightsError,
    UnknownVariableError,
)
from purdist.program import internals_of
from tests import nets
from tests.nets import Forward, Net

Case = tuple[Callable[[], object], type[purdist.PurdistError], str]


def refused(call: Callable[[], object], kind: type[purdist.PurdistError]) -> str:
    """What an error of exactly that kind says."""
    with pytest.raises(purdist.PurdistError) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


def pinned(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("call", "kind", "text"), [pytest.param(*case, id=name) for name, case in cases.items()]
    )


# --- what the cases are made of ---------------------------------------------------------


@functools.cache
def student() -> purdist.Program:
    return nets.program(nets.linear())


@functools.cache
def teacher(feed: str = "y", size: int = 6, dtype: str = "float32") -> purdist.Program:
    return nets.program(nets.linear(feed, (size, 5, 4), dtype=dtype))


@functools.cache
def merged() -> purdist.Program:
    return purdist.merge(teacher(), student(), {"y": "x"})


@functools.cache
def two_inputs() -> purdist.Program:
    def forward() -> dict[str, paddle.Tensor]:
        one, other = (paddle.static.data(name, [None, 6]) for name in "ab")
        return {"sum": one + other}

    return nets.program(forward)


def features(feed: str) -> Forward:
    """A variable of every shape and dtype that a case needs."""
    shapes: dict[str, tuple[list[int | None], str]] = {
        "early": ([None, 3, 4, 4], "float32"),
        "late": ([None, 5, 4, 4], "float32"),
        "small": ([None, 5, 4, 2], "float32"),
        "eight": ([8, 3, 4, 4], "float32"),
        "nine": ([9, 3, 4, 4], "float32"),
        "double": ([None, 3, 4, 4], "float64"),
        "whole": ([None, 3, 4, 4], "int64"),
        "flat": ([None, 10], "float32"),
        "column": ([None, 1], "float32"),
    }

    def forward() -> dict[str, paddle.Tensor]:
        return {
            name: paddle.static.data(f"{feed}_{name}", shape, dtype) * 2
            for name, (shape, dtype) in shapes.items()
        }

    return forward


@functools.cache
def shapes() -> purdist.Program:
    other = nets.program(features("t"))
    return purdist.merge(other, nets.program(features("s")), {}, keep_inputs=other.inputs)


@functools.cache
def distillation() -> purdist.Distillation:
    return purdist.apply(merged(), [L2Loss("teacher_logits", "logits")])


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


@functools.cache
def training() -> purdist.Training:
    return purdist.minimize(distillation(), sgd)


def matching(*specs: purdist.LossSpec) -> object:
    return purdist.apply(shapes(), specs)


def mapped(data_name_map: Mapping[str, str], *keep: str) -> object:
    return purdist.merge(teacher(), student(), data_name_map, keep_inputs=keep)


# --- merge ------------------------------------------------------------------------------

INPUTS = (
    "Map it to a student variable (its inputs: x [-1, 6] float32), or name it in keep_inputs "
    "to feed it on its own."
)

MERGING: dict[str, Case] = {
    "reversed": (
        lambda: mapped({"x": "y"}),
        MapDirectionError,
        "Expected data_name_map to go from teacher inputs to student variables, got "
        "{'x': 'y'}, which goes from student to teacher.\n"
        "Turn it: data_name_map={'y': 'x'}.",
    ),
    "an input left out": (
        lambda: purdist.merge(two_inputs(), student(), {"a": "x"}),
        IncompleteMapError,
        "Expected data_name_map to cover every teacher input, got none for "
        f"b [-1, 6] float32.\n{INPUTS}",
    ),
    "nothing mapped": (
        lambda: mapped({}),
        IncompleteMapError,
        "Expected data_name_map to cover every teacher input, got none for "
        f"y [-1, 6] float32.\n{INPUTS}",
    ),
    "no teacher input": (
        lambda: mapped({"y": "x", "q": "x"}),
        UnknownVariableError,
        "Expected the name of a teacher input, got 'q', which the teacher does not have.\n"
        "The teacher's inputs: y [-1, 6] float32.",
    ),
    "a teacher variable that is no input": (
        lambda: mapped({"y": "x", "logits": "x"}),
        UnknownVariableError,
        "Expected the name of a teacher input, got 'logits', which is no input.\n"
        "The teacher's inputs: y [-1, 6] float32.",
    ),
    "no student variable": (
        lambda: mapped({"y": "xx"}),
        UnknownVariableError,
        "data_name_map['y'] must name a student variable. Expected the name of a variable, got "
        "'xx', which the program does not have.\n"
        "Did you mean x [-1, 6] float32?",
    ),
    "kept what is no input": (
        lambda: mapped({"y": "x"}, "z"),
        UnknownVariableError,
        "Expected the name of a teacher input, got 'z', which the teacher does not have.\n"
        "The teacher's inputs: y [-1, 6] float32.",
    ),
    "mapped and kept": (
        lambda: mapped({"y": "x"}, "y"),
        InvalidArgumentError,
        "Expected the teacher input 'y' to be mapped or kept, got both.\n"
        "Name it in data_name_map or in keep_inputs, not in both.",
    ),
    "several faults": (
        lambda: purdist.merge(two_inputs(), student(), {"a": "zzz", "c": "x"}),
        SeveralFaultsError,
        "3 faults:\n"
        "1. Expected the name of a teacher input, got 'c', which the teacher does not have.\n"
        "The teacher's inputs: a [-1, 6] float32, b [-1, 6] float32.\n"
        "2. data_name_map['a'] must name a student variable. Expected the name of a variable, "
        "got 'zzz', which the program does not have.\n"
        "print(program) lists the variables.\n"
        "3. Expected data_name_map to cover every teacher input, got none for "
        f"b [-1, 6] float32.\n{INPUTS}",
    ),
    "rank": (
        lambda: purdist.merge(nets.program(nets.images("y")), student(), {"y": "x"}),
        ShapeMismatchError,
        "Expected one rank, got the teacher input y [-1, 1, 4, 4] float32 and the student "
        "variable x [-1, 6] float32.\n"
        "Reshape in the student's network, and map to a variable of rank 4.",
    ),
    "size": (
        lambda: purdist.merge(teacher(size=7), student(), {"y": "x"}),
        ShapeMismatchError,
        "Expected sizes that agree where both are known, got the teacher input "
        "y [-1, 7] float32 and the student variable x [-1, 6] float32.\n"
        "Map to a variable of its size, or feed it on its own: keep_inputs=['y'].",
    ),
    "dtype": (
        lambda: purdist.merge(teacher(dtype="float64"), student(), {"y": "x"}),
        DtypeMismatchError,
        "Expected one dtype, got the teacher input y [-1, 6] float64 and the student variable "
        "x [-1, 6] float32.\n"
        "Cast in the student's network, and map to a float64 variable.",
    ),
    "a prefix with which names meet": (
        lambda: purdist.merge(teacher(), teacher("teacher_y"), {"y": "teacher_y"}),
        NameClashError,
        "Expected name_prefix to keep the teacher's names from the student's, got 'teacher_', "
        "with which 1 meet: 'teacher_y'.\n"
        "Choose another name_prefix, one for each teacher.",
    ),
    "a peer that is not there": (
        lambda: purdist.student_of(merged(), name_prefix="peer_"),
        InvalidArgumentError,
        "Expected the prefix of a network of the program, got 'peer_'.\n"
        "There are 'teacher_'. Leave name_prefix out for the student.",
    ),
    "a prefix used already": (
        lambda: purdist.merge(teacher(), merged(), {"y": "x"}),
        NameClashError,
        "Expected a name_prefix of its own for each network, got 'teacher_', which one that was "
        "merged before has.\n"
        "Choose another name_prefix.",
    ),
}


@pinned(MERGING)
def test_merge(call: Callable[[], object], kind: type[purdist.PurdistError], text: str) -> None:
    assert refused(call, kind) == text


def test_two_networks_that_own_one_scope() -> None:
    scope, executor = paddle.static.Scope(), paddle.static.Executor()
    ours, theirs = (Net.of(nets.linear(feed), initialised=False) for feed in "xy")
    for net in (ours, theirs):
        executor.run(net.startup, scope=scope)
    pupil, master = (purdist.from_static(net.main, scope=scope) for net in (ours, theirs))
    assert refused(lambda: purdist.merge(master, pupil, {"y": "x"}), NameClashError) == (
        "Expected teacher and student to own different parameters, got 4 names that both own in "
        "one scope: dense_0.b, dense_0.w, dense_1.b, .... The startup program that ran last "
        "overwrote the other network's weights.\n"
        "Give each network a scope of its own: run its startup program under "
        "paddle.static.scope_guard(paddle.static.Scope()) and pass that scope= to from_static."
    )
    # One network teaching itself is another matter: there is one owner of the weights.
    itself = purdist.merge(pupil, pupil, {"x": "x"})
    assert itself.inputs == ("x",)


# --- from_static ------------------------------------------------------------------------


def entered(forward: Forward, scope: paddle.static.Scope | None = None) -> object:
    return purdist.from_static(Net.of(forward, initialised=False).main, scope=scope)


def overwritten(forward: Forward) -> object:
    """A network as a program whose weights another's startup program wrote last."""
    scope = paddle.static.Scope()
    paddle.static.Executor().run(Net.of(forward, initialised=False).startup, scope=scope)
    return entered(nets.linear(), scope)


def trained_with(optimizer: Callable[[], paddle.optimizer.Optimizer]) -> object:
    net = Net.of(nets.linear())
    with paddle.static.program_guard(net.main, net.startup):
        optimizer().minimize(net.names["logits"].mean())
    return net.program()


def named(name: str, of: Callable[[Net], object]) -> object:
    net = Net.of(nets.linear())
    names = {name: of(net)}
    return purdist.from_static(net.main, scope=net.scope, names=names)  # type: ignore[arg-type]


def inside_a_loop() -> dict[str, paddle.Tensor]:
    inner = []

    def body(k: paddle.Tensor, value: paddle.Tensor) -> list[paddle.Tensor]:
        inner.append(paddle.tanh(value))
        return [k + 1, inner[-1]]

    begin = [paddle.full([1], 0, "int64"), paddle.static.data("x", [None, 6])]
    paddle.static.nn.while_loop(lambda k, _: k < 3, body, begin)
    return {"inner": inner[0]}


SHARED = (
    "Another network's startup program wrote it: give each network a scope of its own "
    "(paddle.static.scope_guard(paddle.static.Scope())), or pass the scope= that this one's ran in."
)

ENTERING: dict[str, Case] = {
    "a startup program that never ran": (
        lambda: entered(nets.linear(), paddle.static.Scope()),
        UninitializedWeightsError,
        "Expected 4 weights in the scope, got none for 4 of them: "
        "dense_1.b [4] float32, dense_1.w [5, 4] float32, dense_0.b [5] float32, ....\n"
        "Run the startup program in that scope first, or pass the scope= it ran in. What "
        "paddle.jit.load read goes to from_exported, by its path.",
    ),
    "a startup program that never ran in the global scope": (
        lambda: entered(nets.linear(sizes=(6, 4))),
        UninitializedWeightsError,
        "Expected 2 weights in the scope, got none for 2 of them: "
        "dense_0.b [4] float32, dense_0.w [6, 4] float32.\n"
        "Run the startup program in that scope first, or pass the scope= it ran in. What "
        "paddle.jit.load read goes to from_exported, by its path.",
    ),
    "weights of another shape": (
        lambda: overwritten(nets.linear(sizes=(6, 5, 3))),
        ShapeMismatchError,
        "2 faults:\n"
        f"1. Expected the weight dense_1.b [4] float32 in the scope, got [3] float32.\n{SHARED}\n"
        f"2. Expected the weight dense_1.w [5, 4] float32 in the scope, got [5, 3] float32.\n"
        f"{SHARED}",
    ),
    "weights of another dtype": (
        lambda: purdist.from_static(
            Net.of(nets.linear(sizes=(6, 4)), initialised=False).main,
            scope=Net.of(nets.linear(sizes=(6, 4), dtype="float64")).scope,
        ),
        DtypeMismatchError,
        "2 faults:\n"
        f"1. Expected the weight dense_0.b [4] float32 in the scope, got [4] float64.\n{SHARED}\n"
        f"2. Expected the weight dense_0.w [6, 4] float32 in the scope, got [6, 4] float64.\n"
        f"{SHARED}",
    ),
    "optimizer ops": (
        lambda: trained_with(lambda: paddle.optimizer.SGD(0.1)),
        InvalidArgumentError,
        "Expected a forward program, got one with gradient or optimizer ops: mean_grad, "
        "add_grad, matmul_grad, ....\n"
        "Hand over the program as it was before minimize, or the same network built again "
        "under paddle.utils.unique_name.guard(); the scope may be the trained one.",
    ),
    "a random op in a layer": (
        lambda: nets.program(
            lambda: {"o": paddle.nn.Dropout2D()(paddle.static.data("x", [None, 3, 4, 4]))}
        ),
        RandomInferenceError,
        "Expected a network that infers without random numbers, got the op 'uniform' in the "
        "layer 'Dropout2D', which inference mode does not switch off.\n"
        "Take the op out, or use a form of dropout that Paddle keeps as one op "
        "(paddle.nn.Dropout).",
    ),
    "a random op": (
        lambda: nets.program(lambda: {"o": paddle.static.data("x", [None, 3]) + paddle.randn([3])}),
        RandomInferenceError,
        "Expected a network that infers without random numbers, got the op 'gaussian' in no "
        "named layer, which inference mode does not switch off.\n"
        "Take the op out, or use a form of dropout that Paddle keeps as one op "
        "(paddle.nn.Dropout).",
    ),
    "a name for a value of another program": (
        lambda: named("out", lambda _: Net.of(nets.linear()).names["logits"]),
        ForeignValueError,
        "Expected names['out'] to be a value of the program, got one from elsewhere.\n"
        "Give what an op of this very program returned, outside while and if regions.",
    ),
    "a name for a value in a region": (
        lambda: nets.program(inside_a_loop),
        ForeignValueError,
        "Expected names['inner'] to be a value of the program, got one from elsewhere.\n"
        "Give what an op of this very program returned, outside while and if regions.",
    ),
    "a name for no value": (
        lambda: named("out", lambda _: "logits"),
        ForeignValueError,
        "Expected names['out'] to be a value of the program, got str.\n"
        "Give what an op of this very program returned, outside while and if regions.",
    ),
    "a name that is taken": (
        lambda: named("x", lambda net: net.names["logits"]),
        NameClashError,
        "Expected names['x'] to be a new name, got that of an input or parameter.\n"
        "Choose another name.",
    ),
}


def old_names() -> object:
    with nets.old_form():
        net = Net.of(lambda: {"out": paddle.static.nn.fc(paddle.static.data("x", [None, 6]), 4)})
        other = Net.of(lambda: {"far": paddle.static.data("z", [None, 6])})
        names = {"far": other.names["far"], "none": 3, "x": net.names["out"]}
        return purdist.from_static(net.main, scope=net.scope, names=names)  # type: ignore[arg-type]


ENTERING["names for what is none of an old program's variables"] = (
    old_names,
    SeveralFaultsError,
    "3 faults:\n"
    "1. Expected names['far'] to be a variable of the program, got the variable 'z'.\n"
    "Give what a layer of this very program returned, outside while and if regions.\n"
    "2. Expected names['none'] to be a variable of the program, got int.\n"
    "Give what a layer of this very program returned, outside while and if regions.\n"
    "3. Expected names['x'] to be a new name, got that of another variable.\n"
    "Choose another name.",
)


@pinned(ENTERING)
def test_from_static(
    call: Callable[[], object], kind: type[purdist.PurdistError], text: str
) -> None:
    assert refused(call, kind) == text


# --- specs ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 0.0, -1.0, float("nan"), float("inf"), True, "four"])
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_a_temperature_that_is_none(side: str, value: Any) -> None:
    def call() -> object:
        temperature: dict[str, Any] = {f"{side}_temperature": value}
        return SoftLabelLoss("t", "s", **temperature)

    assert refused(call, InvalidArgumentError) == (
        f"Expected {side}_temperature to be a finite number from 1e-06 to 1000, got {value!r}.\n"
        f"Write {side}_temperature=1.0 or leave it out."
    )


@pytest.mark.parametrize("value", [True, "1"])
def test_a_weight_that_is_no_number(value: float) -> None:
    assert refused(lambda: L2Loss("t", "s", weight=value), InvalidArgumentError) == (
        f"Expected weight to be a number or a Schedule, got {value!r}.\n"
        "Write weight=1.0 or leave it out."
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_none(value: float) -> None:
    assert refused(lambda: L2Loss("t", "s", weight=value), InvalidArgumentError) == (
        f"Expected weight to be a finite number, got {value!r}.\nWrite weight=1.0 or leave it out."
    )


LISTED = "Put them in a list: apply(program, [a, b]) minimises their sum, and tells each."


def test_losses_that_are_added() -> None:
    one: Any = 0.5 * L2Loss("t", "s")  # for a type checker refuses it too
    other: Any = purdist.KDLoss("t", "s")
    assert refused(lambda: one + other, InvalidArgumentError) == (
        "Expected losses one by one, got a sum of L2Loss('t', 's', weight=0.5) and "
        f"KDLoss('t', 's').\n{LISTED}"
    )
    assert refused(lambda: sum([one, other]), InvalidArgumentError) == (
        f"Expected losses one by one, got a sum of L2Loss('t', 's', weight=0.5) and 0.\n{LISTED}"
    )
    for added in (lambda: one + 1, lambda: 1 + one, lambda: np.ones(2) + one):
        assert refused(added, InvalidArgumentError).endswith(LISTED)


def test_a_name_that_is_none() -> None:
    assert refused(lambda: L2Loss("t", "s", name=""), InvalidArgumentError) == (
        "Expected name to be a text of at least one character, got ''.\n"
        "Leave name out to get a numbered one."
    )
    assert refused(lambda: L2Loss("t", "s", name=3), InvalidArgumentError) == (  # type: ignore[arg-type]
        "Expected name to be a text, got 3.\nLeave name out, or give it a text."
    )


# --- apply ------------------------------------------------------------------------------

UNLIKE = "Name variables of the same shape, or adapt one to the other in a CustomLoss."
NO_NUMBERS = "Name a variable that a network computes, such as its logits or a feature map."
ALIKE = "Name two layers between which the size of the map stays the same."
RESHAPE = "Name a variable of that rank, or reshape this one in its network."
RENAME = "Choose another name, or leave it out to get a numbered one."

APPLYING: dict[str, Case] = {
    "misspelt": (
        lambda: purdist.apply(merged(), [L2Loss("teacher_logit", "logitz")]),
        UnknownVariableError,
        "2 faults:\n"
        "1. l2_0: Expected the name of a variable, got 'teacher_logit', which the program does "
        "not have.\n"
        "Did you mean teacher_logits [-1, 4] float32 or teacher_y [-1, 6] float32 or "
        "teacher_tanh_0 [-1, 5] float32?\n"
        "2. l2_0: Expected the name of a variable, got 'logitz', which the program does not "
        "have.\n"
        "Did you mean logits [-1, 4] float32?",
    ),
    "the layer's name for its variable's": (
        lambda: purdist.apply(merged(), [L2Loss("teacher_logits", "dense_1")]),
        UnknownVariableError,
        "l2_0: Expected the name of a variable, got 'dense_1', which the program does not have.\n"
        "Did you mean dense_1.w [5, 4] float32 or dense_1.b [4] float32 or "
        "dense_0.w [6, 5] float32?",
    ),
    "a part of a name": (
        lambda: purdist.apply(merged(), [L2Loss("teacher_logits", "log")]),
        UnknownVariableError,
        "l2_0: Expected the name of a variable, got 'log', which the program does not have.\n"
        "Did you mean logits [-1, 4] float32?",
    ),
    "like no name": (
        lambda: purdist.apply(merged(), [L2Loss("teacher_logits", "zzzzzzz")]),
        UnknownVariableError,
        "l2_0: Expected the name of a variable, got 'zzzzzzz', which the program does not have.\n"
        "print(program) lists the variables.",
    ),
    "no losses": (
        lambda: purdist.apply(merged(), []),
        InvalidArgumentError,
        "Expected at least one loss, got an empty list.\n"
        "Name what to teach by, such as [SoftLabelLoss('teacher_logits', 'logits')].",
    ),
    "one loss for a list": (
        lambda: purdist.apply(merged(), L2Loss("a", "b")),  # type: ignore[arg-type]
        InvalidArgumentError,
        "Expected specs to be a list, each of it a LossSpec, got L2Loss('a', 'b').\n"
        "Write specs=[L2Loss('a', 'b')].",
    ),
    "names that are taken": (
        lambda: purdist.apply(
            merged(),
            [L2Loss("teacher_logits", "logits", name=n) for n in ("x", "loss", "q", "q")],
        ),
        NameClashError,
        "3 faults:\n"
        "1. Expected the name of each loss to be new, got 'x', which is a variable of the "
        f"program.\n{RENAME}\n"
        "2. Expected the name of each loss to be new, got 'loss', which is the name of their "
        f"sum.\n{RENAME}\n"
        "3. Expected the name of each loss to be new, got 'q', which 2 losses bear.\n"
        f"{RENAME}",
    ),
    "swapped": (
        lambda: purdist.apply(merged(), [SoftLabelLoss("logits", "teacher_logits")]),
        InvalidArgumentError,
        "soft_label_0: Expected student_var to be a variable that learns, got "
        "teacher_logits [-1, 4] float32 of the teacher.\n"
        "Teacher and student are swapped: exchange the two names.",
    ),
    "a teacher for a student": (
        lambda: purdist.apply(merged(), [L2Loss("teacher_logits", "teacher_logits")]),
        InvalidArgumentError,
        "l2_0: Expected student_var to be a variable that learns, got "
        "teacher_logits [-1, 4] float32 of the teacher.\n"
        "Name a variable of the student.",
    ),
    "unequal shapes": (
        lambda: matching(
            L2Loss("teacher_flat", "column"),
            SoftLabelLoss("teacher_flat", "column"),
            L2Loss("teacher_early", "flat"),
        ),
        ShapeMismatchError,
        "3 faults:\n"
        "1. l2_0: Expected teacher_var and student_var to have the same shape, got "
        "teacher_flat [-1, 10] float32 and column [-1, 1] float32: axis 1 is 10 against 1.\n"
        "Name variables of the same shape, or adapt the student to the teacher in a HintLoss with "
        'adaptor="linear".\n'
        "2. soft_label_0: Expected teacher_var and student_var to have the same shape, got "
        "teacher_flat [-1, 10] float32 and column [-1, 1] float32: axis 1 is 10 against 1.\n"
        f"{UNLIKE}\n"
        "3. l2_1: Expected teacher_var and student_var to have the same shape, got "
        "teacher_early [-1, 3, 4, 4] float32 and flat [-1, 10] float32: rank 4 against 2.\n"
        f"{UNLIKE}",
    ),
    "whole numbers": (
        lambda: matching(L2Loss("teacher_whole", "whole")),
        DtypeMismatchError,
        "2 faults:\n"
        "1. l2_0: Expected teacher_var to be floating-point, got "
        f"teacher_whole [-1, 3, 4, 4] int64.\n{NO_NUMBERS}\n"
        "2. l2_0: Expected student_var to be floating-point, got "
        f"whole [-1, 3, 4, 4] int64.\n{NO_NUMBERS}",
    ),
    "mixed dtypes": (
        lambda: matching(L2Loss("teacher_early", "double")),
        DtypeMismatchError,
        "l2_0: Expected variables of one dtype, got teacher_var "
        "teacher_early [-1, 3, 4, 4] float32, student_var double [-1, 3, 4, 4] float64.\n"
        "Cast in one of the networks, or build both for one dtype.",
    ),
    "fsp of other ranks": (
        lambda: matching(FspLoss("teacher_flat", "teacher_late", "early", "column")),
        ShapeMismatchError,
        "2 faults:\n"
        "1. fsp_0: Expected teacher_var1 to have rank 4, [N, C, H, W], got rank 2: "
        f"teacher_flat [-1, 10] float32.\n{RESHAPE}\n"
        "2. fsp_0: Expected student_var2 to have rank 4, [N, C, H, W], got rank 2: "
        f"column [-1, 1] float32.\n{RESHAPE}",
    ),
    "fsp of other widths": (
        lambda: matching(FspLoss("teacher_early", "teacher_small", "early", "small")),
        ShapeMismatchError,
        "fsp_0: Expected teacher_var1 and teacher_var2 to share N, H, W, got "
        "teacher_early [-1, 3, 4, 4] float32 and teacher_small [-1, 5, 4, 2] float32: axis 3 is "
        f"4 against 2.\n{ALIKE}",
    ),
    "fsp of other batches": (
        lambda: matching(FspLoss("teacher_early", "teacher_early", "eight", "nine")),
        ShapeMismatchError,
        "fsp_0: Expected student_var1 and student_var2 to share N, H, W, got "
        "eight [8, 3, 4, 4] float32 and nine [9, 3, 4, 4] float32: axis 0 is 8 against 9.\n"
        f"{ALIKE}",
    ),
    "fsp of other channels": (
        lambda: matching(FspLoss("teacher_early", "teacher_late", "early", "early")),
        ShapeMismatchError,
        "fsp_0: Expected teacher_var2 and student_var2 to have the same shape, got "
        "teacher_late [-1, 5, 4, 4] float32 and early [-1, 3, 4, 4] float32: axis 1 is 5 against "
        f"3.\n{UNLIKE}",
    ),
    "several faults of several kinds": (
        lambda: matching(
            L2Loss("teacher_whole", "early"),
            L2Loss("teacher_none", "early", name="mine"),
            L2Loss("flat", "teacher_flat"),
        ),
        SeveralFaultsError,
        "3 faults:\n"
        "1. l2_0: Expected teacher_var to be floating-point, got "
        f"teacher_whole [-1, 3, 4, 4] int64.\n{NO_NUMBERS}\n"
        "2. mine: Expected the name of a variable, got 'teacher_none', which the program does "
        "not have.\n"
        "Did you mean teacher_nine [9, 3, 4, 4] float32 or teacher_t_nine [9, 3, 4, 4] float32 "
        "or teacher_whole [-1, 3, 4, 4] int64?\n"
        "3. l2_1: Expected student_var to be a variable that learns, got "
        "teacher_flat [-1, 10] float32 of the teacher.\n"
        "Teacher and student are swapped: exchange the two names.",
    ),
    "a new input where a variable is": (
        lambda: purdist.apply(merged(), [CrossEntropyLoss("logits", NewInput("x"))]),
        NameClashError,
        "cross_entropy_0: Expected the name of a new input, got NewInput(name='x', shape=(-1,), "
        "dtype='int64'), where x [-1, 6] float32 stands already.\n"
        "Choose another name, or give the variable that is there by its name.",
    ),
    "two new inputs of one name": (
        lambda: purdist.apply(
            merged(),
            [CrossEntropyLoss("logits", NewInput("label", dtype=d)) for d in ("int64", "int32")],
        ),
        NameClashError,
        "cross_entropy_1: Expected the name of a new input, got NewInput(name='label', "
        "shape=(-1,), dtype='int32'), where NewInput(name='label', shape=(-1,), dtype='int64') "
        "stands already.\n"
        "Choose another name, or write NewInput(name='label', shape=(-1,), dtype='int64') in "
        "both.",
    ),
}


@pinned(APPLYING)
def test_apply(call: Callable[[], object], kind: type[purdist.PurdistError], text: str) -> None:
    assert refused(call, kind) == text


def test_each_of_several_faults_is_at_hand() -> None:
    with pytest.raises(SeveralFaultsError) as caught:
        APPLYING["several faults of several kinds"][0]()
    kinds = [type(fault) for fault in caught.value.faults]
    assert kinds == [DtypeMismatchError, UnknownVariableError, InvalidArgumentError]
    assert all(fault.problem and fault.remedy for fault in caught.value.faults)


def test_a_name_inside_a_region() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        _, out = paddle.static.nn.while_loop(
            lambda k, _: k < 3,
            lambda k, value: [k + 1, paddle.static.nn.fc(value, 6, name="inside")],
            [paddle.full([1], 0, "int64"), paddle.static.data("x", [None, 6])],
        )
        return {"out": out}

    with nets.old_form():
        program = nets.program(forward)
    assert refused(lambda: program.variable("inside.tmp_1"), UnknownVariableError) == (
        "Expected the name of a variable, got 'inside.tmp_1', which is inside a while or if "
        "region.\n"
        "Values inside a region cannot be reached: return it from the region and name what "
        "comes out."
    )
    taught = purdist.merge(program, student(), {"x": "x"})
    assert "region" in refused(
        lambda: taught.variable("teacher_inside.tmp_1"), UnknownVariableError
    )


# --- CustomLoss -------------------------------------------------------------------------


def computed(function: Callable[..., Any]) -> object:
    variables = {"teacher": "teacher_logits", "student": "logits"}
    return purdist.apply(merged(), [CustomLoss(function, variables)])


def distance(layer: paddle.nn.Layer) -> Callable[..., paddle.Tensor]:
    return lambda teacher, student: (layer(student) - teacher).square().mean()


def eager_layer() -> paddle.nn.Layer:
    paddle.disable_static()
    try:
        return paddle.nn.Linear(4, 4)
    finally:
        paddle.enable_static()


def eager_tensor() -> paddle.Tensor:
    """One that takes gradients: one that takes none is a constant."""
    paddle.disable_static()
    try:
        tensor = paddle.ones([4])
        tensor.stop_gradient = False
        return tensor
    finally:
        paddle.enable_static()


class Held:
    """A function that is an object."""

    def __init__(self, layer: paddle.nn.Layer) -> None:
        self.layer = layer

    def __call__(self, teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
        adapted: paddle.Tensor = self.layer(student)
        return (adapted - teacher).square().mean()


class Hidden:
    """A layer out of sight of whoever looks at what a function holds."""

    def __init__(self, layer: paddle.nn.Layer) -> None:
        self.layer = layer

    def __call__(self, value: paddle.Tensor) -> paddle.Tensor:
        answer: paddle.Tensor = self.layer(value)
        return answer


def hidden(layer: paddle.nn.Layer) -> Callable[..., paddle.Tensor]:
    veiled = Hidden(layer)
    return lambda teacher, student: (veiled(student) - teacher).square().mean()


def alien() -> paddle.Tensor:
    """A value of a program that lives as long as this module."""
    return internals_of(merged()).modes.training.values["teacher_logits"]


def alien_function() -> Callable[..., paddle.Tensor]:
    value = alien()
    return lambda teacher, student: (value - student + teacher).mean()


MAKE = (
    "Make it inside the function; it becomes part of the program, initialised and trainable, "
    "under the term's name."
)
MAKE_ANY = (
    "Make the layer inside the function; it becomes part of the program, trainable, under the "
    "term's name."
)

CUSTOM: dict[str, Case] = {
    "a dygraph layer": (
        lambda: computed(distance(eager_layer())),
        ForeignValueError,
        "custom_0: Expected the function to make its layers itself, got the layer 'layer' "
        f"(Linear) from outside.\n{MAKE}",
    ),
    "a static layer": (
        lambda: computed(distance(paddle.nn.Linear(4, 4))),
        ForeignValueError,
        "custom_0: Expected the function to make its layers itself, got the layer 'layer' "
        f"(Linear) from outside.\n{MAKE}",
    ),
    "a layer of its object": (
        lambda: computed(Held(paddle.nn.Linear(4, 4))),
        ForeignValueError,
        "custom_0: Expected the function to make its layers itself, got the layer 'layer' "
        f"(Linear) from outside.\n{MAKE}",
    ),
    "a dygraph layer out of sight": (
        lambda: computed(hidden(eager_layer())),
        ForeignValueError,
        "custom_0: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got a dygraph layer or tensor from outside.\n{MAKE_ANY}",
    ),
    "a dygraph tensor": (
        lambda: computed(
            lambda teacher, student: (student * eager_tensor() - teacher).square().mean()
        ),
        ForeignValueError,
        "custom_0: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got a dygraph layer or tensor from outside.\n{MAKE_ANY}",
    ),
    "a static layer out of sight": (
        lambda: computed(hidden(paddle.nn.Linear(4, 4))),
        ForeignValueError,
        "custom_0: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got a value or layer of another program from outside.\n{MAKE_ANY}",
    ),
    "a value of another program": (
        lambda: computed(alien_function()),
        ForeignValueError,
        "custom_0: Expected the function to compute with its arguments, got the value 'value' "
        "from outside.\n"
        "Make it an argument: a parameter of the function, and in variables= the name of the "
        "variable it gets.",
    ),
    "a value of another program out of sight": (
        lambda: computed(lambda teacher, student: (alien() - student + teacher).mean()),
        ForeignValueError,
        "custom_0: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got a value or layer of another program from outside.\n{MAKE_ANY}",
    ),
    "a value of another program returned": (
        lambda: computed(
            lambda teacher, student: internals_of(distillation().program).modes.training.values[
                "loss"
            ]
        ),
        ForeignValueError,
        "custom_0: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got a value or layer of another program from outside.\n{MAKE_ANY}",
    ),
    "the name of a parameter that exists": (
        lambda: computed(
            lambda teacher, student: paddle.nn.Linear(
                4, 4, weight_attr=paddle.ParamAttr(name="dense_0.w")
            )(teacher - student).mean()
        ),
        NameClashError,
        "custom_0: Expected the name of a new parameter, got ParamAttr(name='dense_0.w'), which "
        "the program has.\n"
        "Leave the name out: what a loss makes lives under the loss's name.",
    ),
    "no scalar": (
        lambda: computed(lambda teacher, student: (teacher - student).square()),
        ShapeMismatchError,
        "custom_0: Expected a scalar, got a value of shape [-1, 4].\n"
        "Reduce it, with .mean() or .sum().",
    ),
    "one value a sample": (
        lambda: computed(lambda teacher, student: (teacher - student).square().mean(-1)),
        ShapeMismatchError,
        "custom_0: Expected a scalar, got a value of shape [-1].\n"
        "Reduce it, with .mean() or .sum().",
    ),
    "a whole number": (
        lambda: computed(lambda teacher, student: (teacher - student).argmax()),
        DtypeMismatchError,
        "custom_0: Expected a floating-point scalar, got int64.\nCast it with .astype('float32').",
    ),
    "nothing": (
        lambda: computed(lambda teacher, student: None),
        ForeignValueError,
        "custom_0: Expected one value of the program, got NoneType.\n"
        "Return what the ops on the function's arguments compute.",
    ),
}


@pinned(CUSTOM)
def test_custom_loss(
    call: Callable[[], object], kind: type[purdist.PurdistError], text: str
) -> None:
    assert refused(call, kind) == text


def test_layers_of_programs_that_are_gone_abort_nothing() -> None:
    printed = nets.in_a_process(
        """
        import functools, gc
        import paddle
        import purdist
        from tests import nets
        from tests.unit.test_errors import Held, computed, distance

        paddle.enable_static()

        def orphan():
            with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
                layer = paddle.nn.Linear(4, 4)
                return layer, layer(paddle.static.data("x", [None, 4]))

        layer, value = orphan()
        gc.collect()
        held = {"layer": layer}

        def given(teacher, student, layer=layer):
            return (layer(student) - teacher).mean()

        functions = [
            distance(layer),
            given,
            Held(layer),
            Held(layer).__call__,
            functools.partial(lambda layer, teacher, student: layer(student).mean(), layer),
            lambda teacher, student: held["layer"](student).mean(),
            lambda teacher, student: (value - student).mean(),
            lambda teacher, student: (student - teacher).square().mean(),
        ]
        for function in functions:
            try:
                computed(function)
            except purdist.ForeignValueError as error:
                print(error.problem)
            else:
                print("built")
        gc.collect()
        print("alive")
        """
    )
    layer = "custom_0: Expected the function to make its layers itself, got the layer"
    assert printed.splitlines() == [
        f"{layer} 'layer' (Linear) from outside.",
        f"{layer} 'layer' (Linear) from outside.",
        f"{layer} 'layer' (Linear) from outside.",
        f"{layer} 'layer' (Linear) from outside.",
        f"{layer} 'args[0]' (Linear) from outside.",
        f"{layer} \"held['layer']\" (Linear) from outside.",
        "custom_0: Expected the function to compute with its arguments, got the value 'value' "
        "from outside.",
        "built",
        "alive",
    ]


# --- minimize ---------------------------------------------------------------------------


def in_use() -> object:
    optimizer, net = paddle.optimizer.Adam(0.1), Net.of(nets.linear())
    with paddle.static.program_guard(net.main, net.startup):
        optimizer.minimize(net.names["logits"].mean())
    return minimized(lambda: optimizer)


def minimized(make_optimizer: object) -> object:
    return purdist.minimize(distillation(), make_optimizer)  # type: ignore[arg-type]


def frozen() -> object:
    """A student without a parameter."""
    pupil = nets.program(lambda: {"out": paddle.static.data("x", [None, 4]) * 2})
    taught = purdist.merge(teacher(), pupil, {}, keep_inputs=["y"])
    return purdist.minimize(
        purdist.apply(taught, [L2Loss("teacher_logits", "out")]),
        lambda: paddle.optimizer.SGD(0.1),
    )


MINIMIZING: dict[str, Case] = {
    "a learning rate": (
        lambda: minimized(lambda: 0.1),
        InvalidArgumentError,
        "Expected make_optimizer to return a Paddle optimizer, got float.\n"
        "Write minimize(distillation, lambda: paddle.optimizer.Adam(1e-3)).",
    ),
    "an optimizer for the function that makes it": (
        lambda: minimized(paddle.optimizer.SGD(0.1)),
        InvalidArgumentError,
        "Expected make_optimizer to be a function, got an SGD.\n"
        "Write a function that makes it: lambda: paddle.optimizer.Adam(1e-3).",
    ),
    "parameters": (
        lambda: minimized(
            lambda: paddle.optimizer.Adam(parameters=paddle.nn.Linear(2, 2).parameters())
        ),
        InvalidArgumentError,
        "Expected an optimizer without parameters=, got Adam(parameters=...), which would train "
        "nothing of this program.\n"
        "Leave parameters= out: lambda: paddle.optimizer.Adam(...). It trains every trainable "
        "parameter of the student and of the losses.",
    ),
    "an optimizer in use": (
        in_use,
        InvalidArgumentError,
        "Expected a new optimizer, got Adam, which another program uses.\n"
        "Make it in the function: lambda: paddle.optimizer.Adam(...).",
    ),
    "nothing to train": (
        frozen,
        InvalidArgumentError,
        "Expected 'loss' to depend on a trainable parameter, got none.\n"
        "Name a student variable that is computed from the student's parameters, in a loss whose "
        "weight is not 0.",
    ),
}


@pinned(MINIMIZING)
def test_minimize(call: Callable[[], object], kind: type[purdist.PurdistError], text: str) -> None:
    assert refused(call, kind) == text


# --- run, train and export --------------------------------------------------------------

X = nets.numbers(0, 2, 6)

NAMED = "or name what is to be fed with feeds(loader, names)."

FEEDS: dict[str, tuple[Mapping[str, object], type[purdist.PurdistError], str]] = {
    "missing": (
        {},
        FeedError,
        "Expected a feed for x [-1, 6] float32, got feeds for nothing.\nAdd 'x' to the feed.",
    ),
    "surplus": (
        {"x": X, "label": X},
        FeedError,
        "Expected feeds for 'x', got one for 'label', which the program has no input for.\n"
        f"Take 'label' out of the feed, {NAMED}",
    ),
    "of another name": (
        {"image": X},
        FeedError,
        "2 faults:\n"
        "1. Expected a feed for x [-1, 6] float32, got feeds for 'image'.\n"
        "Add 'x' to the feed.\n"
        "2. Expected feeds for 'x', got one for 'image', which the program has no input for.\n"
        f"Take 'image' out of the feed, {NAMED}",
    ),
    "of another rank": (
        {"x": X[0]},
        ShapeMismatchError,
        "Expected the feed x [-1, 6] float32 of rank 2, got an array of rank 1, shape [6].\n"
        "Reshape it to [-1, 6].",
    ),
    "of another size": (
        {"x": X[:, :5]},
        ShapeMismatchError,
        "Expected the feed x [-1, 6] float32, got an array of shape [2, 5].\n"
        "Axis 1 must be 6, it is 5.",
    ),
    "of another dtype": (
        {"x": X.astype("float64")},
        DtypeMismatchError,
        "Expected the feed x [-1, 6] float32, got an array of float64.\n"
        "Feed 'x' with .astype('float32').",
    ),
    "all of it": (
        {"x": X[:, :5].astype("int64"), "z": X},
        SeveralFaultsError,
        "3 faults:\n"
        "1. Expected the feed x [-1, 6] float32, got an array of int64.\n"
        "Feed 'x' with .astype('float32').\n"
        "2. Expected the feed x [-1, 6] float32, got an array of shape [2, 5].\n"
        "Axis 1 must be 6, it is 5.\n"
        "3. Expected feeds for 'x', got one for 'z', which the program has no input for.\n"
        f"Take 'z' out of the feed, {NAMED}",
    ),
}


@pytest.mark.parametrize(
    ("feed", "kind", "text"), [pytest.param(*case, id=name) for name, case in FEEDS.items()]
)
def test_feeds(feed: Mapping[str, np.ndarray], kind: type[purdist.PurdistError], text: str) -> None:
    assert refused(lambda: merged().run(feed, ["logits"]), kind) == text
    assert refused(lambda: next(purdist.train(training(), [feed])), kind) == text


def exported(*outputs: str) -> None:
    purdist.export(training(), "never/written", outputs)


RUNNING: dict[str, Case] = {
    "run: unknown": (
        lambda: merged().run({"x": X}, ["logits", "logitz"]),
        UnknownVariableError,
        "Expected the name of a variable, got 'logitz', which the program does not have.\n"
        "Did you mean logits [-1, 4] float32?",
    ),
    "run: a text": (
        lambda: merged().run({"x": X}, "logits"),  # type: ignore[arg-type]
        InvalidArgumentError,
        "Expected fetch to be a list of names, got 'logits'.\nWrite fetch=['logits'].",
    ),
    "run: what training alone computes": (
        lambda: nets.program(nets.images()).run({}, ["dropout_0.1"]),
        InvalidArgumentError,
        "Expected a variable of the inference graph, got 'dropout_0.1', which is computed in "
        "training alone.\n"
        "Name what is computed in inference: print(program) says where a variable is computed in "
        "one mode alone.",
    ),
    "train: unknown": (
        lambda: purdist.train(training(), [], fetch=["logitz"]),
        UnknownVariableError,
        "Expected the name of a variable, got 'logitz', which the program does not have.\n"
        "Did you mean logits [-1, 4] float32?",
    ),
    "train: a text": (
        lambda: purdist.train(training(), [], fetch="loss"),  # type: ignore[arg-type]
        InvalidArgumentError,
        "Expected fetch to be a list of names, got 'loss'.\nWrite fetch=['loss'].",
    ),
    "train: one feed": (
        lambda: purdist.train(training(), {"x": X}),  # type: ignore[dict-item]  # on purpose
        InvalidArgumentError,
        "Expected an iterable of feeds, got one feed for 'x'.\nWrite train(training, [feed]).",
    ),
    "minimize: no scheduler step": (
        lambda: purdist.minimize(distillation(), sgd, scheduler_every=0),
        InvalidArgumentError,
        "Expected scheduler_every to be a whole number of at least 1, got 0.\n"
        "Write scheduler_every=1 or leave it out.",
    ),
    "minimize: a seed below 0": (
        lambda: purdist.minimize(distillation(), sgd, seed=-1),
        InvalidArgumentError,
        "Expected seed to be a whole number of at least 0, got -1.\n"
        "minimize says of seed: Of the random numbers that steps draw.",
    ),
    "minimize: half a seed": (
        lambda: purdist.minimize(distillation(), sgd, seed=0.5),  # type: ignore[arg-type]
        InvalidArgumentError,
        "Expected seed to be a whole number of at least 0, got 0.5.\n"
        "minimize says of seed: Of the random numbers that steps draw.",
    ),
    "train: no step is given": (
        lambda: purdist.train(training(), [], log_every=-1),
        InvalidArgumentError,
        "Expected log_every to be a whole number of at least 1, got -1.\n"
        "Write log_every=1 or leave it out.",
    ),
    "export: nothing": (
        exported,
        InvalidArgumentError,
        "Expected a list of at least one output, got ().\nName a variable of the student.",
    ),
    "export: a text": (
        lambda: purdist.export(training(), "never/written", "logits"),  # type: ignore[arg-type]
        InvalidArgumentError,
        "Expected outputs to be a list of names, got 'logits'.\nWrite outputs=['logits'].",
    ),
    "export: twice": (
        lambda: exported("logits", "dense_1.w", "logits"),
        InvalidArgumentError,
        "Expected each output once, got 'logits', which stands among the outputs already, by "
        "this or another name.\n"
        "Name it once; Paddle Inference fails on the same value twice.",
    ),
    "export: unknown": (
        lambda: exported("logitz"),
        UnknownVariableError,
        "Expected the name of a variable, got 'logitz', which the program does not have.\n"
        "Did you mean logits [-1, 4] float32?",
    ),
    "export: not the student's": (
        lambda: exported("teacher_logits", "loss"),
        UnknownVariableError,
        "Expected variables of the student, got 'teacher_logits' (owner: teacher), 'loss' "
        "(owner: loss).\n"
        "Only the student is exported. print(student_of(...)) lists its variables.",
    ),
}


@pinned(RUNNING)
def test_run_train_and_export(
    call: Callable[[], object], kind: type[purdist.PurdistError], text: str
) -> None:
    assert refused(call, kind) == text
