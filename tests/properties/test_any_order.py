"""Steps taken in any order that their types allow: nothing older is ever another.

``PURDIST_TESTS=slow`` walks 500 times, 30 steps each.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import paddle
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
)

import purdist
from purdist import Distillation, LossSpec, Program, Training, Variable, graphs
from purdist.testing import Arrays, Network
from purdist.testing.states import changes, contents
from purdist.trying import agree, random_feed
from tests.profiles import SLOW
from tests.properties.pairs import CLASSES, SHAPE, computed, differing, small

T = TypeVar("T")
V = TypeVar("V", Program, Distillation, Training)

TEACHERS = 3
"""At most so many networks are put beside one."""

OPTIMIZERS: Mapping[str, Callable[[], paddle.optimizer.Optimizer]] = {
    "SGD": lambda: paddle.optimizer.SGD(0.05),
    "Momentum": lambda: paddle.optimizer.Momentum(paddle.optimizer.lr.StepDecay(0.05, 2)),
    "Adam": lambda: paddle.optimizer.Adam(0.05, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0)),
}
prefixes = st.sampled_from(("teacher_", "t_", "t_1_", "peer_"))
seeds = st.integers(0, 3)


def batch(program: Program, inputs: tuple[str, ...], seed: int = 0) -> Arrays:
    """Random numbers for ``inputs``; a class is one of the first two."""
    return random_feed(map(program.variable, inputs), {}, rows=2, size=2, seed=seed)


def answers(program: Program) -> Arrays:
    """All that a program computes."""
    return program.run(batch(program, program.inputs), computed(program))


def fits(variable: Variable, source: Variable) -> bool:
    """Whether ``variable`` may be read instead of the feed ``source``."""
    same = variable.dtype == source.dtype and variable.mode == "both"
    return same and variable.shape == source.shape and variable.role in ("input", "activation")


class AnyOrder(RuleBasedStateMachine):
    """Programs, distillations and trainings, each made of older ones."""

    programs: Bundle[Program] = Bundle("programs")
    distillations: Bundle[Distillation] = Bundle("distillations")
    trainings: Bundle[Training] = Bundle("trainings")
    sources: Bundle[Program | Training] = Bundle("sources")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.files = 0
        self.values: list[Program | Distillation | Training] = []
        self.seen = contents(())

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def file(self) -> Path:
        """A path that no file is at."""
        self.files += 1
        return self.folder / str(self.files)

    def made(self, step: Callable[[], V], *, moved: Training | None = None) -> MultipleResults[V]:
        """What ``step`` makes, or nothing if it refuses; whatever is older stays what it was."""
        results: list[V] = []
        try:
            results.append(step())
        except purdist.PurdistError as error:
            event(f"refused: {type(error).__name__}")
        self.stays(moved=moved)
        self.add(*results)
        return multiple(*results)

    def add(self, *values: Program | Distillation | Training) -> None:
        """Watches more."""
        self.values += values
        self.seen = contents(self.values)

    def stays(self, *, moved: Training | None = None) -> None:
        """Asserts that all is what it was, ``moved`` and what is its alone excepted."""
        now = contents(self.values)
        may_move = [
            f"argument {k}"
            for k, value in enumerate(self.values)
            if moved is not None and (value is moved or value is moved.program)
        ]
        changed = [
            path
            for path in changes(self.seen, now)
            if path.removeprefix("the names in ").partition(".")[0] not in may_move
        ]
        assert not changed, changed
        self.seen = now

    @initialize(targets=(programs, sources), network=small, seed=seeds)
    def a_network(self, network: Network, seed: int) -> Program:
        program = network.program(seed=seed)
        self.add(program)
        return program

    @rule(targets=(programs, sources), network=small, seed=seeds)
    def from_static(self, network: Network, seed: int) -> MultipleResults[Program]:
        return self.made(lambda: network.program(seed=seed))

    @rule(targets=(programs, sources), seed=seeds, dropout=st.booleans())
    def from_layer(self, seed: int, dropout: bool) -> MultipleResults[Program]:  # noqa: FBT001
        with graphs.dynamic():
            paddle.seed(seed)
            layer = paddle.nn.Sequential(
                paddle.nn.Flatten(),
                paddle.nn.Linear(18, 4),
                paddle.nn.BatchNorm1D(4),
                paddle.nn.Dropout(0.5 if dropout else 0.0),
                paddle.nn.Linear(4, CLASSES),
            )
        self.seen = contents(self.values)  # the layer is the user's, and made by Paddle
        specs = {"image": paddle.static.InputSpec([None, *SHAPE], "float32")}
        return self.made(lambda: purdist.from_layer(layer, specs))

    @rule(
        targets=(programs, sources),
        other=programs,
        student=programs,
        prefix=prefixes,
        trains=st.booleans(),
        data=st.data(),
    )
    def beside(
        self,
        other: Program,
        student: Program,
        prefix: str,
        trains: bool,  # noqa: FBT001
        data: st.DataObject,
    ) -> MultipleResults[Program]:
        both = (other, student)
        if sum(len(each.teachers) + len(each.peers) for each in both) >= TEACHERS:
            return multiple()
        read: dict[str, str] = {}
        for name in other.inputs:
            sources = [key for key, v in student.variables.items() if fits(v, other.variable(name))]
            source = data.draw(st.sampled_from([None, *sources]) if sources else st.none())
            if source is not None:
                read[name] = source
        kept = [name for name in other.inputs if name not in read]
        step = purdist.join if trains else purdist.merge
        results = self.made(
            lambda: step(other, student, read, name_prefix=prefix, keep_inputs=kept)
        )
        for merged in results.values:
            self.stays_itself(student, merged)
        return results

    def stays_itself(self, student: Program, merged: Program) -> None:
        """The student answers as ever with another network beside it."""
        names = computed(student)
        feed = batch(student, student.inputs)
        own = {name: feed[name] for name in merged.inputs if name in feed}
        assert not differing(student.run(feed, names), merged.run(own, names))

    @rule(target=distillations, program=programs, data=st.data(), prune=st.booleans())
    def apply(
        self,
        program: Program,
        data: st.DataObject,
        prune: bool,  # noqa: FBT001
    ) -> MultipleResults[Distillation]:
        chosen = data.draw(st.lists(self.losses(program), min_size=1, max_size=3))
        return self.made(lambda: purdist.apply(program, chosen, prune=prune))

    def losses(self, program: Program) -> st.SearchStrategy[LossSpec]:
        """Losses between what has one shape, and of what has classes."""
        read = [
            v
            for key, v in program.variables.items()
            if v.role == "activation" and v.mode == "both" and len(v.shape) >= 2 and key == v.name
        ]
        pairs = [(a, b) for a in read for b in read if a.shape == b.shape and a is not b]
        classes = [v for v in read if len(v.shape) == 2 and v.shape[1] == CLASSES]
        specs: list[LossSpec] = [
            purdist.CrossEntropyLoss(v.name, purdist.NewInput("label")) for v in classes
        ]
        for a, b in pairs:
            specs += [purdist.L2Loss(a.name, b.name), 0.5 * purdist.L2Loss(a.name, b.name)]
            if a in classes:
                specs.append(purdist.KDLoss(a.name, b.name, temperature=2.0))
        return st.sampled_from(specs) if specs else st.just(purdist.L2Loss("none", "there"))

    @rule(targets=(programs, sources), distillation=distillations)
    def its_program(self, distillation: Distillation) -> Program:
        self.add(distillation.program)
        return distillation.program

    @rule(
        targets=(trainings, sources),
        distillation=distillations,
        optimizer=st.sampled_from(sorted(OPTIMIZERS)),
        teacher=st.sampled_from(("graph", "graph", "inference")),
    )
    def minimize(
        self, distillation: Distillation, optimizer: str, teacher: Literal["graph", "inference"]
    ) -> MultipleResults[Training]:
        return self.made(
            lambda: purdist.minimize(distillation, OPTIMIZERS[optimizer], teacher=teacher, seed=1)
        )

    @rule(targets=(trainings, sources), distillation=distillations)
    def minimize_from_a_cache(self, distillation: Distillation) -> MultipleResults[Training]:
        def step() -> Training:
            fed = [batch(distillation.program, distillation.program.inputs, seed=k) for k in (0, 1)]
            cache = purdist.cache_teacher(distillation, fed, self.file())
            return purdist.minimize(distillation, OPTIMIZERS["SGD"], teacher=cache, seed=1)

        return self.made(step)

    @rule(training=trainings, count=st.integers(1, 2), seed=seeds)
    def train(self, training: Training, count: int, seed: int) -> None:
        fed = [batch(training.program, training.program.inputs, seed + k) for k in range(count)]
        before = training.steps
        try:
            steps = list(purdist.train(training, fed))
        except purdist.PurdistError as error:
            event(f"refused: {type(error).__name__}")
        else:
            assert [step.index for step in steps] == list(range(before, before + count))
        self.stays(moved=training)

    @rule(targets=(programs, sources), source=sources, data=st.data())
    def student_of(
        self, source: Program | Training, data: st.DataObject
    ) -> MultipleResults[Program]:
        program = source.program if isinstance(source, Training) else source
        prefix = data.draw(st.sampled_from([None, *program.teachers, *program.peers]))
        results = self.made(lambda: purdist.student_of(source, name_prefix=prefix))
        for student in results.values:
            assert student.teachers + student.peers == ()
            assert {v.owner for v in student.variables.values()} <= {"student"}
        return results

    @rule(targets=(programs, sources), program=programs, data=st.data())
    def cut(self, program: Program, data: st.DataObject) -> MultipleResults[Program]:
        # A shape that an op reads can be fed, too, but no random numbers are one.
        places = [
            name
            for name in computed(program)
            if program.variable(name).mode == "both" and program.variable(name).dtype == "float32"
        ]
        if not places:
            return multiple()
        at = data.draw(st.sampled_from(places))
        halves: list[Program] = []

        def step() -> Program:
            halves.extend(purdist.cut(program, [at]))
            return halves[0]

        results = self.made(step)
        if halves:
            self.add(halves[1])
            feed = batch(program, program.inputs)
            before, after = halves
            between = before.run({n: feed[n] for n in before.inputs}, [at])
            all_fed = {**feed, **between}
            fed = {n: all_fed[n] for n in after.inputs}
            names = [n for n in computed(after) if n in program.variables and n != at]
            whole = program.run({n: feed[n] for n in program.inputs}, names)
            assert not differing(after.run(fed, names), whole)
        return multiple(*results.values, *halves[1:])

    @rule(targets=(programs, sources), source=sources, data=st.data())
    def export(self, source: Program | Training, data: st.DataObject) -> MultipleResults[Program]:
        program = source.program if isinstance(source, Training) else source
        outputs = [n for n in computed(program) if program.variable(n).owner == "student"]
        if not outputs:
            return multiple()
        output, path = data.draw(st.sampled_from(outputs)), self.file()

        def step() -> Program:
            purdist.export(source, path, [output])
            return purdist.from_exported(path)

        results = self.made(step)
        for read in results.values:
            feed = batch(program, program.inputs)
            (answer,) = read.run({n: feed[n] for n in read.inputs}, [output]).values()
            assert agree(answer, program.run(feed, [output])[output])
        return results

    @rule(targets=(programs, sources), source=sources)
    def weights_saved_and_loaded(self, source: Program | Training) -> MultipleResults[Program]:
        program, path = source.program if isinstance(source, Training) else source, self.file()

        def step() -> Program:
            purdist.save_weights(source, path)
            return purdist.load_weights(program, path)

        results = self.made(step)
        for loaded in results.values:
            assert not differing(answers(loaded), answers(program))
        return results

    @rule(program=programs)
    def run(self, program: Program) -> None:
        assert not differing(answers(program), answers(program))
        self.stays()


AnyOrder.TestCase.settings = settings(
    max_examples=500 if SLOW else 5,
    stateful_step_count=30 if SLOW else 15,
    derandomize=not SLOW,
)
TestAnyOrder = AnyOrder.TestCase
