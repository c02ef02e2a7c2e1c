"""A loss on arrays: its value and its gradients."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import paddle

from purdist import graphs, scopes
from purdist.applying import apply
from purdist.arrays import Arrays
from purdist.errors import RunError
from purdist.losses.spec import LossSpec
from purdist.program import Program, internals_of
from purdist.sources.static import from_static
from purdist.variables import NewInput


@attrs.frozen(eq=False)
class Evaluation:
    """What a loss came to on given arrays.

    Attributes:
        value: The loss, weight included.
        gradients: Variable -> gradient of the loss, for those that one flows to.
    """

    value: float
    gradients: Arrays


def evaluate_loss(
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

        zeros, ones = numpy.zeros([2, 3], "float32"), numpy.ones([2, 3], "float32")
        found = evaluate_loss(L2Loss("t", "s"), teacher={"t": zeros}, student={"s": ones})
        assert found.value == 1 and found.gradients.keys() == {"s"}

    Args:
        spec: The loss.
        teacher: Variable -> array, the teacher's.
        student: Variable -> array, the student's.
        inputs: Variable or `NewInput` -> array, such as labels. Nothing flows to them.
        unknown_axes: Axes whose size the program is not told: the batch, by default.
            Where an array has fewer axes, those that exist.

    Raises:
        PurdistError: What `apply` and `Program.run` raise.
    """
    evaluator = Evaluator(spec, teacher or {}, student, inputs or {}, unknown_axes)
    return evaluator({**(teacher or {}), **student, **(inputs or {})})


class Evaluator:
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
        distillation = apply(_changed(program, variables=variables), [spec], prune=False)
        self._program, loss = distillation.program, distillation.loss
        self._own = internals_of(self._program)
        names = [*teacher, *student]
        graph, self._gradients = _differentiated(self._own.modes.training, loss, names)
        fetch = (loss, *self._gradients.values())
        self._run = graphs.Runner(graph, fetch, self._program.scope, self._program.place)

    def __call__(self, arrays: Arrays) -> Evaluation:
        feed = self._own.feed_rules.check(arrays, self._program.inputs)
        try:
            value, *found = self._run(feed)
        except RunError as error:
            raise self._own.explained(error, feed) from error.__cause__
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
    with graphs.building():
        own = internals_of(program)
        draft = own.modes.training.copy()
        for name in differentiable:  # a network's feeds never take a gradient
            draft.values[name].stop_gradient = False
        modes = graphs.Modes(draft.finish(), own.modes.inference)
    return _changed(program, modes=modes)


def _changed(program: Program, **parts: Any) -> Program:
    return Program(attrs.evolve(internals_of(program), **parts))


def _differentiated(
    source: graphs.Graph, loss: str, names: Collection[str]
) -> tuple[graphs.Graph, dict[str, str]]:
    """A graph with the gradients of ``loss``, and what the gradient of each name is called."""
    with graphs.building():
        draft = source.copy()
        with draft.appending():
            target = draft.values[loss]
            # Paddle's own gradient of the target, a one as well, warns of a missing device.
            found = paddle.static.gradients(
                [target],
                [draft.values[name] for name in names],
                target_gradients=[paddle.ones([], target.dtype)],
            )
    called = {n: f"{n}@GRAD" for n, g in zip(names, found, strict=True) if g is not None}
    values = {f"{n}@GRAD": g for n, g in zip(names, found, strict=True) if g is not None}
    draft.values = {**draft.values, **values}
    return draft.finish(), called
