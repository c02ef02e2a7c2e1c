"""`minimize`: a loss becomes gradients, and an optimizer follows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import attrs
from paddle import distributed

from purdist import graphs
from purdist.checking import Number
from purdist.distillation import Distillation, moving_weights
from purdist.errors import InvalidArgumentError
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.teachers.choosing import Choice, backends_of
from purdist.teachers.driver import Driver
from purdist.training.averaging import followed, moving_names, statistics_of
from purdist.training.checks import (
    check_differentiable,
    check_processes,
    check_trains_as_before,
)
from purdist.training.optimizing import MakeOptimizer, own_optimizer
from purdist.training.ranks import begin_alike
from purdist.training.recipe import Recipe
from purdist.training.session import Progress, Session
from purdist.training.updating import Update, make_step
from purdist.training.values import Training


def minimize(
    distillation: Distillation,
    make_optimizer: MakeOptimizer,
    *,
    teacher: Choice | Mapping[str, Choice] = "graph",
    data_parallel: bool = False,
    accumulate: Annotated[int, Number(least=1, whole=True)] = 1,
    average: Annotated[float, Number(least=0, below=1)] | None = None,
    follow: Mapping[str, Annotated[float, Number(least=0, below=1)]] | None = None,
    seed: Annotated[int, Number(least=0, whole=True)] | None = None,
    scheduler_every: Annotated[int, Number(least=1, whole=True)] = 1,
) -> Training:
    """A distillation made ready to train: gradients and an optimizer's ops are added.

    Args:
        distillation: What `apply` returned. It keeps its weights; the training gets a
            copy of those that can change.
        make_optimizer: Makes the optimizer, without ``parameters=``, and whatever it
            needs, such as an LR scheduler or gradient clipping::

                def make_optimizer():
                    schedule = paddle.optimizer.lr.CosineAnnealingDecay(1e-3, T_max=1000)
                    return paddle.optimizer.Adam(schedule)

            It is called in static mode, where ``layer.named_parameters()`` works as ever and
            tensors have no numbers. What it asks by name (AdamW's ``apply_decay_param_fun``; Lamb's
            ``exclude_from_weight_decay_fn``, which is handed the parameter) is asked with
            `Variable.given_name`, a layer's ``p.name``. A function that says the same to all of
            those and not to all paths, such as ``layer1.fc.weight``, knows paths, and these
            count; a bias that a loss made has one such as ``hint_0/conv2d_0.bias`` too. One that
            says yes to none is told in a `PurdistWarning`.
        teacher: Where the teacher computes: `InGraph` or ``"graph"``, beside the student, in one
            graph; `Inference` or ``"inference"``, in Paddle Inference, on the next batch while
            the student trains on this one; a `TeacherCache`, nowhere any more. One for all
            teachers, or a mapping from prefix to one; what is not named runs in the graph. The
            numbers are the same up to rounding.
        data_parallel: Average gradients over the processes that ``python -m
            paddle.distributed.launch`` started, in few flat arrays; each must have called
            ``paddle.distributed.init_parallel_env()`` and trains on batches of its own. All begin
            with the weights of the first, and running statistics are averaged too: all have the
            same weights after each update. The loss and terms that a `Step` tells are means over
            the processes.
        accumulate: How many batches make one update, and one `Step`: gradients, loss and terms
            are means of theirs, and clipping, regularisation, the scheduler and all that counts
            see the update. For losses that average over equally many rows that is the update of
            the joined batch. Losses between samples (`RKDLoss`, `PKTLoss`, ...) and batch norm
            see each batch on its own.
        average: Keep a moving average of the weights that learn, which begins with the weights
            themselves: after each update ``average * its own + (1 - average) * the weights``.
            ``student_of(training, averaged=True)`` has it, with the running statistics as they
            are.
        follow: Prefix of a teacher -> the rate at which it follows the student (Tarvainen and
            Valpola, 2017, mean teacher): after each update its weights become ``rate * its own +
            (1 - rate) * the student's``, its running statistics those of the student. At 0.0 it
            is the student of the moment. It begins with its own weights, and runs in the graph.
        seed: Of the random numbers that steps draw. Those of a batch follow from it, from the
            count of steps and from the process, and from nothing that was drawn before; Paddle's
            own random state is the same before and after a step, and no other thread may draw from
            it meanwhile. By default it follows from
            Paddle's random state as it is found: with ``data_parallel``, that of the first process.
        scheduler_every: How many steps make one of the LR scheduler's.

    Raises:
        InvalidArgumentError: ``make_optimizer`` makes no optimizer, the optimizer was given
            ``parameters=``, an option that a graph cannot follow, or has been used before, or the
            loss depends on no trainable parameter; ``teacher`` is none of these, or a teacher
            reads what the student learns and is to run elsewhere, or a `Backend` of your own gives
            something else than it should; ``data_parallel`` was asked for
            in a process that is alone; ``seed`` is no number from 0 on; ``scheduler_every`` is
            below 1; ``follow`` names no teacher, one that runs elsewhere, or one that has other
            weights than the student; or a gradient has to go through a while loop that Paddle does
            not differentiate, or a recurrent layer with dropout that infers, or a masked_fill; an
            embedding that learns is ``sparse``; or a network that learns comes from an exported
            file that does not hold how it trained, as with ``Dropout2D``.
        RankError: The processes of ``data_parallel`` do not train the same network.
        EngineError: Paddle Inference computes the teacher in no way as its graph does.
        StaleCacheError: A cache is of another teacher, or of other variables.
        CorruptFileError: A file of a cache is not there, or damaged.
        NameClashError: The feed of a cache has the name of a variable.
        WriteError: The temporary folder has no room for the files of ``teacher="inference"``.

    Warns:
        PurdistWarning: Paddle Inference computes the teacher rightly only without oneDNN, or an
            optimizer's function says yes to no name.
    """
    source = distillation.program
    check_trains_as_before(source)
    check_differentiable(source)
    if data_parallel:
        check_processes()
    with graphs.building():  # and no program about that an optimizer could take for its own
        optimizer = own_optimizer(make_optimizer)
    backends = backends_of(distillation, teacher)
    followers = _followers(source, follow or {}, backends)
    driver, left = Driver.start(distillation, backends)
    recipe = Recipe.of(distillation, left, optimizer, seed_given=seed is not None)
    given = internals_of(left)
    store = Store.at(left.place, trained=True, following=followers)
    program = Program(attrs.evolve(given, store=store, origins=(), tensors={}))
    given.store.hand_to(store, given.held)
    update = Update(
        accumulate=accumulate,
        processes=distributed.get_world_size() if data_parallel else 1,
        average=average,
        follow=follow or {},
    )
    forward = driver.forward(program)
    losses = (distillation.loss, *distillation.terms)
    built = make_step(forward.copy(), losses, optimizer, program, update)
    session = Session(
        built,
        update,
        forward.finish(),
        driver,
        Progress(program.scope, graphs.scheduler_of(optimizer)),
        program.place,
        {term: s.weight for term, s in zip(distillation.terms, distillation.specs, strict=True)},
        moving_weights(distillation),
        optimizer.get_lr(),
        (*moving_names(program), *built.kept),
        tuple(statistics_of(program)),
        _common_seed(data_parallel=data_parallel) if seed is None else seed,
        distributed.get_rank() if data_parallel else 0,
        scheduler_every,
        recipe,
    )
    training = Training(program, distillation.loss, distillation.terms, session)
    if data_parallel:
        begin_alike(training)
    return training


def _followers(
    program: Program, rates: Mapping[str, float], backends: Mapping[str, object]
) -> tuple[str, ...]:
    """The weights of teachers that follow the student, each of which computes in the graph."""
    for prefix in rates:
        if prefix in backends:
            raise InvalidArgumentError(
                f"Expected a teacher that follows the student to run in the graph, got {prefix!r} "
                "in follow and in teacher=.",
                f"Leave {prefix!r} to the graph: its weights move at each update.",
            )
    return tuple(followed(program, rates))


def _common_seed(*, data_parallel: bool) -> int:
    """What follows from Paddle's random state: with several processes, from that of the first."""
    seed = [graphs.seed_of_state()]
    if data_parallel:
        with graphs.dynamic():
            distributed.broadcast_object_list(seed, src=0)
    return seed[0]
