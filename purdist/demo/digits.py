"""A small network learns from a large one to read handwritten digits.

This is the tutorial of purdist: read it from the top. The scans come first, then the three
ways in which networks learn here: `teach`, `alone` and `distill`. The networks are in
``networks.py`` beside this file, and what a student is taught by in ``catalogue.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import purdist
from purdist.demo import networks
from purdist.demo.catalogue import Lesson
from purdist.demo.keeping import Folder
from purdist.demo.networks import Build, network

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
"""Scans, and their labels where they are known: input name -> array."""

BATCH = 32
LABELS_PER_CLASS = 10
PEER = 1000
"""How far the seed of a peer is from that of the student that it learns with."""


# --- the scans --------------------------------------------------------------------------


def load_scans() -> tuple[Arrays, Arrays]:
    """The 1,797 scans that scikit-learn ships: 70 % to learn from, 30 % to test on."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)  # pixels count from 0 to 16
    image, test_image, label, test_label = train_test_split(
        images, labels.astype("int64"), test_size=0.3, stratify=labels, random_state=0
    )
    return {"image": image, "label": label}, {"image": test_image, "label": test_label}


def few_of(scans: Arrays, seed: int) -> Arrays:
    """A few labelled scans of each digit, drawn at random."""
    draw = np.random.default_rng(seed)
    chosen = [
        draw.choice(np.flatnonzero(scans["label"] == digit), LABELS_PER_CLASS, replace=False)
        for digit in range(10)
    ]
    return {name: array[np.concatenate(chosen)] for name, array in scans.items()}


def batches_of(scans: Arrays, seed: int) -> Iterator[Arrays]:
    """Batches without end, the scans shuffled anew for each round through them."""
    draw = np.random.default_rng(seed)
    count = len(scans["image"])
    while True:
        order = draw.permutation(count)
        for start in range(0, count - BATCH + 1, BATCH):
            yield {name: array[order[start : start + BATCH]] for name, array in scans.items()}


# --- learning ---------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Course:
    """What all networks of one seed have in common.

    Attributes:
        scans: What there is to learn from.
        test: What they are tested on.
        epochs: How long each learns.
        seed: Of the weights, the batches, the dropout and the choice of the few labels.
        after_epoch: Called after each epoch, to show progress.
        folder: Where checkpoints are written, and gone on from; None for nowhere.
    """

    scans: Arrays
    test: Arrays
    epochs: int
    seed: int
    after_epoch: Callable[[], object]
    folder: Folder | None = None


@attrs.frozen(eq=False)
class Outcome:
    """A network that has learned.

    Attributes:
        network: The network.
        accuracies: On the scans it is tested on, after each epoch.
    """

    network: purdist.Program
    accuracies: tuple[float, ...]

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        variables = self.network.variables
        return sum(math.prod(variables[name].shape) for name in self.network.parameters)


def teach(course: Course) -> Outcome:
    """The teacher learns from all scans and their labels."""
    # The loss reads the network's answers, and asks for one more feed: the labels.
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    program = purdist.apply(network(networks.teacher, course.seed), [loss])
    return learn(course, program, course.scans, learning_rate=0.003)


def alone(course: Course, student: Build) -> Outcome:
    """A student learns likewise, but has the labels of ten scans per digit only."""
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    program = purdist.apply(network(student, course.seed), [loss])
    return learn(course, program, few_of(course.scans, course.seed), learning_rate=0.01)


def distill(course: Course, teacher: purdist.Program, lesson: Lesson) -> Outcome:
    """The same student learns from the teacher: all scans are of use, mostly without labels.

    Args:
        course: What all networks of the seed have in common.
        teacher: The teacher, trained.
        lesson: What the student is taught by, and which student.
    """
    if lesson.peer:
        return learn_together(course, lesson)
    student = network(lesson.student, course.seed)
    # One program in which both read the student's image. The teacher's names get a prefix.
    both = purdist.merge(teacher, student, {"image": "image"})
    # The losses read variables of either by name. What none of them reads is dropped.
    program = purdist.apply(both, lesson.all_losses)
    return learn(course, program, fed(course.scans, program), learning_rate=0.01)


def learn_together(course: Course, lesson: Lesson) -> Outcome:
    """Two students learn at once, each from the other. The first is the one that is kept."""
    peer = network(lesson.student, course.seed + PEER)
    student = network(lesson.student, course.seed)
    both = purdist.join(peer, student, {"image": "image"})
    program = purdist.apply(both, lesson.all_losses)
    return learn(course, program, fed(course.scans, program), learning_rate=0.01)


def fed(scans: Arrays, program: purdist.Distillation) -> Arrays:
    """What of the scans is fed: the labels only if a loss asked for them."""
    return {name: scans[name] for name in program.program.inputs}


def learn(
    course: Course, program: purdist.Distillation, scans: Arrays, *, learning_rate: float
) -> Outcome:
    """Trains on ``scans``, and looks at the accuracy after each epoch."""
    # All learn for equally long: an epoch is as many steps as one round through all scans.
    epoch = len(course.scans["image"]) // BATCH
    steps = course.epochs * epoch

    def make_optimizer() -> paddle.optimizer.Optimizer:
        schedule = paddle.optimizer.lr.CosineAnnealingDecay(learning_rate, T_max=steps)
        return paddle.optimizer.Adam(schedule)

    training = purdist.minimize(program, make_optimizer, seed=course.seed)
    accuracies: list[float] = []
    checkpoints = None
    if course.folder is not None:
        # Killed and started again, it goes on from the last checkpoint, if there is one.
        training = purdist.resume(training, course.folder.path)
        checkpoints = course.folder.checkpoints(every=epoch)
        accuracies = course.folder.accuracies(training.steps // epoch)

    def after_epoch() -> None:
        accuracies.append(accuracy(training.program, course.test))
        if course.folder is not None:
            course.folder.keep(accuracies)

    if len(accuracies) < training.steps // epoch:  # it was killed right after the checkpoint
        after_epoch()
    for _ in accuracies:
        course.after_epoch()
    batches = itertools.islice(batches_of(scans, course.seed), training.steps, steps)
    for step in purdist.train(training, batches, checkpoints=checkpoints):
        if (step.index + 1) % epoch == 0:
            after_epoch()
            course.after_epoch()
    return Outcome(purdist.student_of(training), tuple(accuracies))


def accuracy(program: purdist.Program, scans: Arrays) -> float:
    """The share of scans that a network reads as their labels say."""
    logits = program.run({"image": scans["image"]}, ["logits"])["logits"]
    return float((logits.argmax(axis=1) == scans["label"]).mean())
