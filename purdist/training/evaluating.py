"""`evaluate`: means and Paddle's metrics over batches, in inference mode."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, TypeAlias

import attrs
from paddle.metric import Metric

from purdist import graphs
from purdist.arrays import Array, Arrays, Batches, Feed, array_of, dtype_of, widened
from purdist.checking import IN_ORDER, Called, Names
from purdist.errors import (
    InvalidArgumentError,
    NameClashError,
    PurdistError,
    UnknownVariableError,
    listed,
    together,
)
from purdist.internals import Internals
from purdist.program import Program, internals_of
from purdist.training.checks import check_several
from purdist.training.means import means_of
from purdist.training.metrics import Measured, asking_metrics
from purdist.training.source import program_of
from purdist.training.values import Training

_WORDS = Called("the name of a variable, (metric, names) or (metric, names, mask)")

_OfNames: TypeAlias = Annotated[Names, IN_ORDER]

MetricSpec: TypeAlias = Annotated[
    str | tuple[Metric, _OfNames] | tuple[Metric, _OfNames, str], _WORDS
]
"""A variable's name, for its mean; or one of Paddle's metrics and what it is of, and its mask."""


def evaluate(
    source: Program | Training,
    batches: Batches,
    metrics: Mapping[str, MetricSpec],
    *,
    averaged: bool = False,
) -> dict[str, float]:
    """Computes means and metrics over all rows of ``batches``, in inference mode.

    Nothing is changed: not the training, which may be in the middle of its steps, not the metrics,
    not Paddle's state. The graph is compiled once, cut to what is asked for. Of several processes
    each evaluates the batches that it is given; none waits for another, so that the first may
    evaluate all, and tell the others by ``paddle.distributed.broadcast_object_list`` in dynamic
    mode.

    A loss, and how often the right class was the first and among the first two::

        feeds = [{"x": images, "label": labels}]
        accuracy = paddle.metric.Accuracy(topk=(1, 2))
        wanted = {"loss": "loss", "acc": (accuracy, ["logits", "label"])}
        found = evaluate(training, feeds, wanted)
        print(found["loss"], found["acc_top1"], found["acc_top2"])

    Args:
        source: A program, or a training with its weights as they are now. A `Distillation` never
            trains: it is refused. One that is trained from a `TeacherCache` has no teacher: a
            loss that listens to it is fed what it said, or computed of another merged program.
        batches: Feeds: input name -> array or tensor, and what else ``metrics`` name, such as
            labels that the program has no input for. Read one at a time.
        metrics: Key of your own -> what to compute, such as ``{"loss": "loss", "acc":
            (paddle.metric.Accuracy(), ["logits", "label"])}``.

            - ``"loss"``, a variable's mean over its rows, which are on its first axis. A variable
              without rows, such as a loss, counts as often as its batch has rows, those of the
              feeds that it is computed from: a smaller batch at the end counts less.
            - ``(metric, names)``, a `paddle.metric.Metric` over variables and, where there are
              none of such a name, over what is fed. It is copied, reset and asked in dynamic
              mode. Where the second has one axis less than the first, as labels [N, T] for logits
              [N, T, C], both are flattened to rows, [N * T, C] and [N * T, 1], and others with
              these rows too.
            - ``(metric, names, mask)``, the same of the rows where the variable or feed ``mask``,
              of the rows' shape, is 1 and not 0.
        averaged: Take the moving average of the training's weights.

    Returns:
        Name -> number. A metric that makes several numbers has as many names, of yours and of what
        follows the last underscore in its own: ``acc_top1``, ``acc_top5``.

    Raises:
        UnknownVariableError: A name is none of a variable, nor, for a metric, of what is fed.
        InvalidArgumentError: There are no metrics or no batches, ``batches`` is one feed, or
            ``averaged`` is asked of what keeps no average; a variable exists in training alone; a
            metric has no names, cannot be copied or makes no number; a mask is not 0 or 1, or
            leaves no row; feeds with different numbers of rows say how often a loss counts; or
            Paddle's own metric gets a label or a probability that it would count wrongly. Or a
            feed has a value outside the range of what is looked up by it.
        NameClashError: Two numbers would have one name.
        DtypeMismatchError: A mean is of complex numbers, or a feed has another dtype.
        FeedError: A feed is no mapping, or one is missing, surplus or masked.
        ShapeMismatchError: A feed has another rank or size, or is empty, or two have not the same
            number of rows; a mask or labels have other rows than what they are of; or variables of
            a loss do not meet.
        RunError: A metric raises, or Paddle fails as it computes; the error is the cause.
        SeveralFaultsError: Faults of several of these kinds.
    """
    check_several(batches, "evaluate(source, [feed], metrics)")
    own = internals_of(program_of(source, averaged=averaged))
    reader = _Reader.of(own, metrics)
    variables = {key: spec for key, spec in metrics.items() if isinstance(spec, str)}
    means, measured = means_of(own, variables), _measured(metrics)
    keys = _keys(metrics, measured)
    count = 0
    for feed in batches:
        count += 1
        fed, values = reader.read(feed)
        for mean in means:
            mean.add(values[mean.name], fed)
        with asking_metrics() if measured else nullcontext():
            for one in measured:
                one.add(values)
    if not count:
        raise InvalidArgumentError(
            "Expected batches to evaluate, got none.",
            "An iterator that was used up has none: make it anew.",
        )
    found = {mean.key: mean.number() for mean in means}
    with asking_metrics() if measured else nullcontext():
        for one in measured:
            found.update(one.numbers())
    return {key: found[key] for key in keys}


def _measured(metrics: Mapping[str, MetricSpec]) -> list[Measured]:
    """The metrics, copied."""
    specs = [(key, spec) for key, spec in metrics.items() if not isinstance(spec, str)]
    for key, spec in specs:
        if not spec[1]:
            raise InvalidArgumentError(
                f"Expected names of what {key!r} is of, got none.",
                f"Write {{{key!r}: (metric, ['logits', 'label'])}}.",
            )
    with asking_metrics() if specs else nullcontext():
        return [Measured.of(key, s[0], tuple(s[1]), *(s[2:] or (None,))) for key, s in specs]


def _keys(metrics: Mapping[str, MetricSpec], measured: Iterable[Measured]) -> list[str]:
    """What the numbers are called, in order."""
    if not metrics:
        raise InvalidArgumentError(
            "Expected metrics to compute, got none.", "Write metrics={'loss': 'loss'}."
        )
    several = {one.key: one.keys for one in measured}
    keys = [name for key in metrics for name in several.get(key, (key,))]
    twice = [name for name, count in Counter(keys).items() if count > 1]
    if twice:
        raise NameClashError(
            f"Expected a name for each number, got {listed(map(repr, twice))} for two.",
            "A metric that makes several numbers adds to its own key what follows the last "
            "underscore in its names: choose other keys.",
        )
    return keys


# --- batches ------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class _Reader:
    """Reads a batch.

    Attributes:
        own: The program.
        computed: The variables that are asked for.
        fed: What else is: keys of the feed.
        aside: What a feed may hold that the program has no input for.
    """

    own: Internals
    computed: tuple[str, ...]
    fed: tuple[str, ...]
    aside: frozenset[str]

    @classmethod
    def of(cls, own: Internals, metrics: Mapping[str, MetricSpec]) -> _Reader:
        """What reads all that ``metrics`` name."""
        variables = [spec for spec in metrics.values() if isinstance(spec, str)]
        others = [(*s[1], *s[2:]) for s in metrics.values() if not isinstance(s, str)]
        names = dict.fromkeys(itertools.chain(*others))
        computed = dict.fromkeys([*variables, *(n for n in names if n in own.variables)])
        return cls(
            own,
            own.check_fetch([*computed], own.modes.inference, "inference"),
            tuple(name for name in names if name not in own.variables),
            frozenset(names.keys() - set(own.inputs)),
        )

    @cached_property
    def needed(self) -> frozenset[str]:
        """The inputs that must be fed."""
        return self.own.compiled(self.computed).feeds if self.computed else frozenset()

    def read(self, feed: Feed) -> tuple[Arrays, Arrays]:
        """What is fed to the program, and all that is asked for by name."""
        inputs = feed
        if isinstance(feed, Mapping):
            faults = [self._unknown(name, feed) for name in self.fed if name not in feed]
            if faults:
                raise together(faults)
            inputs = {name: value for name, value in feed.items() if name not in self.aside}
        arrays = self.own.feed_rules.check(inputs, self.needed)
        graphs.check_not_empty({name: arrays[name] for name in self.needed})
        values = {name: _numbers(name, feed[name]) for name in self.fed}
        if self.computed:
            for name, array in self.own.computed(self.computed, arrays).items():
                values[name] = widened(array, self.own.variables[name].dtype)
        return arrays, values

    def _unknown(self, name: str, feed: Feed) -> PurdistError:
        fault = self.own.unknown(name)
        near = get_close_matches(name, feed, n=1)
        return UnknownVariableError(
            f"{fault.problem[:-1]}, nor a batch, which has {listed(map(repr, feed))}.",
            f"Did you mean {near[0]!r}?" if near else fault.remedy,
        )


def _numbers(name: str, value: object) -> Array:
    """What is fed as ``name``, which is no input."""
    array = array_of(name, value, None)
    return widened(array, dtype_of(value, array))
