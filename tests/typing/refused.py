"""What a type checker refuses: `test_types` asserts these very errors and no others.

It never runs. ``# E: code`` says what mypy reports on the line.
"""

import attrs
import numpy as np
import paddle

import purdist
from purdist import L2Loss, NewInput, SoftLabelLoss, graphs
from purdist.program import internals_of


def make_optimizer() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Adam(1e-3)


def count() -> int:
    return 0


def loss_of(student: paddle.Tensor) -> paddle.Tensor:
    return student.square().mean()


def number_of(student: paddle.Tensor) -> float:
    return 0.0


def wrong_order(
    program: purdist.Program, distillation: purdist.Distillation, training: purdist.Training
) -> None:
    listed: list[list[paddle.Tensor]] = []
    purdist.merge(distillation, program, {})  # E: arg-type
    purdist.merge(program, distillation, {})  # E: arg-type
    purdist.merge(program, training, {})  # E: arg-type
    purdist.apply(training, [])  # E: arg-type
    purdist.minimize(program, make_optimizer)  # E: arg-type
    purdist.minimize(training, make_optimizer)  # E: arg-type
    purdist.minimize(distillation, dict)  # E: arg-type
    purdist.minimize(distillation, count)  # E: arg-type
    purdist.train(program, [])  # E: arg-type
    purdist.train(distillation, [])  # E: arg-type
    purdist.train(training, [[paddle.rand([1]), paddle.rand([1])]])  # E: list-item
    purdist.train(training, listed)  # E: arg-type
    purdist.feeds(listed, "image")  # E: arg-type
    purdist.feeds(0, ["image"])  # E: arg-type
    purdist.cache_teacher(program, [], "cache")  # E: arg-type
    purdist.evaluate(distillation, [], {"loss": "loss"})  # E: arg-type
    purdist.student_of(program.graph)  # E: arg-type
    purdist.load_weights(program, "weights", names=["weight"])  # E: arg-type
    purdist.save_weights(distillation, "weights")  # E: arg-type
    purdist.save_checkpoint(program, "best")  # E: arg-type
    purdist.resume(distillation, "run")  # E: arg-type
    purdist.train(training, [], checkpoints="run")  # E: arg-type
    purdist.student_of(distillation)  # E: arg-type
    purdist.export(distillation, "student", ["logits"])  # E: arg-type
    purdist.to_layer(distillation, paddle.nn.Linear(1, 1))  # E: arg-type
    print(next(purdist.train(training, [])).program)  # E: attr-defined
    print(program.loss)  # E: attr-defined
    distillation.run({}, [])  # E: attr-defined


def frozen(program: purdist.Program, training: purdist.Training, step: purdist.Step) -> None:
    program.scope = purdist.student_of(program).scope  # E: misc
    program.variables["x"] = program.variables["y"]  # E: index
    program.variables = {}  # E: misc
    program.variables["x"].shape = (1,)  # E: misc
    training.loss = "loss"  # E: misc
    step.loss = 0.0  # E: misc
    step.terms["l2_0"] = 0.0  # E: index
    step.weights["l2_0"] = 0.0  # E: index
    L2Loss("t", "s").weight = 0.5  # E: misc
    NewInput("label").dtype = "int32"  # E: misc


def inside(
    distillation: purdist.Distillation, training: purdist.Training, variable: purdist.Variable
) -> None:
    """What a value is inside is not shown."""
    print(distillation.schedules)  # E: attr-defined
    print(training.step)  # E: attr-defined
    print(training.learning_rate)  # E: attr-defined
    print(variable.spec)  # E: attr-defined
    print(variable.as_input("x"))  # E: attr-defined
    purdist.Step(0, 1.0, {})  # E: call-arg


def finished(program: purdist.Program) -> None:
    """A graph that somebody holds is looked at, and copied; what changes graphs takes a draft."""
    training = internals_of(program).modes.training
    print(graphs.random_operations(training.program), training.copy().finish().values)
    graphs.derive_gradients(training)  # E: arg-type
    graphs.set_inference(training)  # E: arg-type
    graphs.record_stops(training)  # E: arg-type
    graphs.erase(training, [])  # E: arg-type
    graphs.in_float32_where_needed(training)  # E: arg-type
    graphs.mend_loops(training.program)  # E: arg-type
    print(training.appending())  # E: attr-defined
    training.program = program.graph  # E: misc
    training.values["x"] = training.values["y"]  # E: index
    internals_of(program).modes.inference = training  # E: misc
    graphs.Modes(training.copy(), training)  # E: arg-type


def specs(program: purdist.Program) -> None:
    L2Loss("t")  # E: call-arg
    L2Loss(teacher="t", student_var="s")  # E: call-arg
    L2Loss("t", "s", 0.5)  # E: call-arg
    L2Loss("t", 1)  # E: arg-type
    SoftLabelLoss("t", "s", temperature=4.0)  # E: call-arg
    SoftLabelLoss("t", "s", teacher_temperature="4")  # E: arg-type
    L2Loss("t", "s", weight="half")  # E: arg-type
    "half" * L2Loss("t", "s")  # E: operator
    L2Loss("t", "s") * L2Loss("t", "s")  # E: operator
    L2Loss("t", "s") + SoftLabelLoss("t", "s")  # E: operator
    sum([L2Loss("t", "s"), L2Loss("u", "s")])  # E: list-item
    L2Loss("t", "s").renamed(["t"])  # E: arg-type
    L2Loss("t", "s").renamed({"t": 3})  # E: dict-item
    L2Loss("t", "s").map_variables(len)  # E: arg-type
    attrs.evolve(L2Loss("t", "s"), teacher="t")  # E: call-arg
    attrs.evolve(L2Loss("t", "s"), name=3)  # E: arg-type
    print(L2Loss("t", "s").teacher)  # E: attr-defined
    purdist.LossSpec()  # E: abstract
    purdist.CustomLoss(number_of, {"student": "s"})  # E: arg-type
    purdist.CustomLoss(loss_of, ["s"])  # E: arg-type
    purdist.apply(program, L2Loss("t", "s"))  # E: arg-type
    purdist.apply(program, ["l2"])  # E: list-item


def arguments(
    program: purdist.Program, distillation: purdist.Distillation, training: purdist.Training
) -> None:
    purdist.from_static("model")  # E: arg-type
    purdist.from_static(program)  # E: arg-type
    purdist.from_static(program.graph, scope=program)  # E: arg-type
    purdist.from_static(program.graph, place=0)  # E: arg-type
    purdist.from_layer(program, {})  # E: arg-type
    purdist.from_exported(program)  # E: arg-type
    purdist.merge(program, program, [("x", "x")])  # E: arg-type
    purdist.merge(program, program, {}, "cpu")  # E: call-arg
    purdist.minimize(distillation, make_optimizer, teacher="onnx")  # E: arg-type
    purdist.train(training, [{"x": 1.0}])  # E: dict-item
    purdist.train(training, [{"x": np.zeros(1)}], fetch=[0])  # E: list-item
    program.run({"x": np.zeros(1)}, fetch=[0])  # E: list-item
    purdist.evaluate(program, [], {"acc": paddle.metric.Accuracy()})  # E: dict-item
    purdist.evaluate(program, [], {"acc": (paddle.metric.Accuracy(), "logits")})  # E: dict-item
    purdist.evaluate(program, [], ["loss"])  # E: arg-type
    program.descrive()  # E: attr-defined


def names(program: purdist.Program, training: purdist.Training) -> None:
    """A text is no list of names."""
    purdist.cut(program, "logits")  # E: arg-type
    purdist.merge(program, program, {}, keep_inputs="x")  # E: arg-type
    purdist.export(program, "student", "logits")  # E: arg-type
    purdist.train(training, [], fetch="logits")  # E: arg-type
    program.run({}, "logits")  # E: arg-type
    purdist.cut(program, [0])  # E: list-item
    purdist.cut(program, ("logits",))
    purdist.cut(program, {"logits"})
    purdist.cut(program, {"logits": 0}.keys())
    purdist.cut(program, {"logits": 0})
    NewInput("x", dtype="int65")  # E: arg-type


def nothing_is_any(program: purdist.Program, distillation: purdist.Distillation) -> None:
    number(program.graph)  # E: arg-type
    number(program.scope)  # E: arg-type
    number(program.place)  # E: arg-type
    number(program.variables)  # E: arg-type
    number(program.run({}, []))  # E: arg-type
    number(purdist.minimize(distillation, make_optimizer))  # E: arg-type
    number(0.5 * L2Loss("t", "s"))  # E: arg-type


def number(_: int) -> None: ...
