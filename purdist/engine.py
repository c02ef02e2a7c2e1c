"""Paddle Inference, held to what it promises: the numbers of the graph up to rounding.

On the CPU it compiles a network for oneDNN, and at some networks it fails: it computes
something else without a word, refuses them, or ends the process. So each way of compiling is
tried first where that costs nothing, in a child process, and its answers are compared with the
graph's; the first way that computes what the graph does is taken.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from paddle import inference

from purdist import graphs
from purdist.arrays import Arrays
from purdist.errors import PurdistError
from purdist.program import Program, internals_of
from purdist.trying import agree, random_feed, told_apart, vary
from purdist.variables import FLOATS

_PRECISION = ("bfloat16", "float16", "float32", "float64")
"""The floats, the coarsest first."""

_SIZES = (32, 64, 16, 8, 224, 5)
"""What an unknown size that is not the batch's is tried with, until the network takes one."""


REFUSALS = (RuntimeError, ValueError, SystemError, IndexError, OSError)
"""What Paddle raises where it cannot compute something."""

_PATIENCE, _SLOWER = 30.0, 20.0
"""How many seconds a way may take, and how many for each that the graph took: some never end."""


@attrs.frozen(eq=False)
class Sample:
    """A feed that a network takes, what its graph answers, and how long that took."""

    feed: Arrays
    answers: Arrays
    seconds: float

    @classmethod
    def of(cls, network: Program, names: Sequence[str], feed: Arrays) -> Sample:
        """What ``network`` answers now."""
        start = time.monotonic()
        return cls(feed, network.run(feed, names), time.monotonic() - start)


@attrs.frozen
class Way:
    """A way of compiling a network: the settings of an ``inference.Config``.

    Attributes:
        onednn: Whether oneDNN computes. It does by default.
        without: The passes over the graph that are left out.
    """

    onednn: bool = True
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        kernels = "oneDNN" if self.onednn else "no oneDNN"
        return f"{kernels} without {', '.join(self.without)}" if self.without else kernels

    @property
    def settings(self) -> tuple[str, ...]:
        """The lines that set it on a ``config`` as it is by default."""
        lines = [f'config.delete_pass("{name}")' for name in self.without]
        return (*lines, *([] if self.onednn else ["config.disable_mkldnn()"]))


_IN_PLACE = "inplace_pass"
"""Computes ``square`` or ``sin`` in place of a value that is read again."""

_PATCHES = "reshape_transpose_matmul_fuse_pass"
"""Is wrong for a convolution that is reshaped and transposed for a linear layer."""

_ACTIVATIONS = "conv_activation_onednn_fuse_pass"
"""Dies of a convolution with a leaky ReLU."""

_PLACEMENT = "onednn_placement_pass"
"""Moves what oneDNN then refuses: upsampling, layer norm over maps. Fused ops stay on it."""

_FOLDING = "constant_folding_pass"
"""Makes weights of what a while loop starts from and writes over: some never end, or end at once
the second time. It works without oneDNN too."""

_WAYS = (
    Way(),
    *(Way(without=(_IN_PLACE, *others)) for others in ((), (_PATCHES,), (_ACTIVATIONS,))),
    *(Way(without=(_IN_PLACE, other)) for other in (_FOLDING, _PLACEMENT)),
    Way(without=(_IN_PLACE, _PATCHES, _ACTIVATIONS, _PLACEMENT)),
    Way(onednn=False),
    Way(onednn=False, without=(_FOLDING,)),
)


def every_way() -> tuple[Way, ...]:
    """All ways, the default one first: not for the process that goes on."""
    return _WAYS


def ways_for(network: Program) -> tuple[Way, ...]:
    """The ways to try, the fastest first.

    oneDNN leaves the layout of a network in NHWC behind for the thread that it ran in, and is
    wrong at most of them: they are never compiled for it.
    """
    if isinstance(network.place, paddle.CUDAPlace) or _is_channels_last(network):
        return tuple(way for way in _WAYS if not way.onednn)
    return _WAYS


def _is_channels_last(network: Program) -> bool:
    return any(
        text in ("NHWC", "NDHWC", "NLC", "NWC")
        for op in graphs.operations(network.inference_graph)
        for text in graphs.attributes(op).values()
    )


@attrs.frozen(eq=False)
class Written:
    """A network in files, as Paddle Inference reads it.

    Attributes:
        path: Where they are, without a suffix.
        names: What it puts out, in order.
        precision: The coarsest of the floats that it computes in.
        device: Which GPU it is for, None for the CPU.
    """

    path: Path
    names: tuple[str, ...]
    precision: str
    device: int | None = None

    @classmethod
    def write(cls, network: Program, names: Sequence[str], path: Path) -> Written:
        """Writes what of ``network`` computes ``names``, in inference mode."""
        with graphs.building():
            graph = graphs.cut(internals_of(network).modes.inference, names).finish()
            learning = {name for name, v in network.variables.items() if v.trainable}
            graphs.save_inference(graph, names, path, network.scope, learning)
        place = network.place
        device = place.get_device_id() if isinstance(place, paddle.CUDAPlace) else None
        return cls(path, tuple(names), precision_of(network), device)

    def compiled(self, way: Way) -> Engine:
        """It, compiled in that way. This may end the process.

        Raises:
            REFUSALS: Paddle Inference refuses it.
        """
        weights = Path(f"{self.path}.pdiparams")
        config = inference.Config(f"{self.path}.json", str(weights) if weights.exists() else "")
        config.disable_glog_info()
        if self.device is not None:
            config.enable_use_gpu(256, self.device)
        elif way.onednn:
            config.enable_mkldnn()
        else:
            config.disable_mkldnn()
        for name in way.without:
            config.delete_pass(name)
        predictor = inference.create_predictor(config)
        return Engine(predictor, self.names, frozenset(predictor.get_input_names()))


@attrs.frozen(eq=False)
class Engine:
    """A compiled network.

    Attributes:
        names: What it computes.
        feeds: What it reads.
    """

    _predictor: inference.Predictor
    names: tuple[str, ...]
    feeds: frozenset[str]

    def __call__(self, feed: Arrays) -> dict[str, npt.NDArray[Any]]:
        """What it answers.

        Raises:
            REFUSALS: It cannot compute that.
        """
        for name in self.feeds:
            self._predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feed[name]))
        with graphs.freeing_in_bulk():
            self._predictor.run()
        outputs = map(self._predictor.get_output_handle, self._predictor.get_output_names())
        return {name: out.copy_to_cpu() for name, out in zip(self.names, outputs, strict=True)}


def precision_of(network: Program) -> str:
    """The coarsest of the floats that ``network`` computes in."""
    found = {v.dtype for v in network.variables.values()}
    return next((dtype for dtype in _PRECISION if dtype in found), "float32")


def first_right(
    written: Written, ways: Iterable[Way], samples: Sequence[Sample]
) -> tuple[Way | None, str]:
    """The first of ``ways`` that answers ``samples`` as the graph does, tried in child processes.

    Returns:
        The way, None if there is none, and what was wrong with the first of them, '' if it is that.
    """
    first, hangs = "", False
    seconds = _PATIENCE + _SLOWER * sum(sample.seconds for sample in samples)
    for way in ways:
        if hangs and _FOLDING not in way.without:
            continue  # each would cost as long
        outcome = graphs.tried(_difference_of, written, way, samples, seconds=seconds)
        fault = graphs.said(outcome.failure) if outcome.failure else outcome.value
        if not fault:
            return way, first
        first, hangs = first or str(fault), hangs or outcome.late
    return None, first


def _difference_of(written: Written, way: Way, samples: Sequence[Sample]) -> str:
    engine = written.compiled(way)
    faults = (difference(engine(s.feed), s.answers, written.precision) for s in samples)
    return next(filter(None, faults), "")


def difference(got: Arrays, expected: Arrays, precision: str) -> str:
    """How two answers differ by more than rounding, '' if they do not."""
    for name, array in expected.items():
        found = got[name]
        if found.shape != array.shape:
            return f"{name!r} of shape {list(found.shape)} in place of {list(array.shape)}"
        if not agree(found, array, precision):
            return f"{name!r} {told_apart(found, array)}"
    return ""


def samples_of(network: Program, names: Sequence[str]) -> list[Sample]:
    """Random feeds that ``network`` takes, and what its graph answers to them.

    They are of two batches, where its inputs allow it, and of positive numbers, for who takes a
    root or a logarithm of them. None, if it takes none of the sizes that are tried.
    """
    inputs = [network.variables[n] for n in network.inputs]
    for size in _SIZES if vary(inputs) else _SIZES[:1]:
        samples = list(_samples(network, names, size))
        if samples:
            return samples
    return []


def _samples(network: Program, names: Sequence[str], size: int) -> Iterator[Sample]:
    ranges = graphs.value_ranges(internals_of(network).modes.inference)
    inputs = [network.variables[n] for n in network.inputs]
    for seed, rows in enumerate((2, 3, 2)):
        feed = random_feed(inputs, ranges, rows=rows, size=size, seed=seed)
        if seed == 2:
            feed = {
                v.name: np.abs(feed[v.name]) if v.dtype in FLOATS else feed[v.name] for v in inputs
            }
        try:
            yield Sample.of(network, names, feed)
        except (PurdistError, *REFUSALS):
            continue  # not of a size that it takes


def fingerprint(network: Program, names: Sequence[str]) -> str:
    """What is compiled: the same for a network that is built again."""
    sizes = [(v.shape, v.dtype) for v in map(network.variable, network.weights)]
    text = f"{graphs.signature(network.inference_graph)} {sizes} {list(names)} {network.place}"
    return hashlib.sha256(text.encode()).hexdigest()
