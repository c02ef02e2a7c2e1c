"""`from_layer`: a dygraph layer as a network."""

from __future__ import annotations

import functools

import paddle

from purdist import graphs
from purdist.errors import PurdistError, TracingError
from purdist.program import Program
from purdist.sources.arguments import Inputs, arguments
from purdist.sources.misplaced import check_can_be_traced
from purdist.sources.names import paths_of
from purdist.sources.refusals import (
    check_feed_names,
    check_made_in_dynamic_mode,
    check_no_casting,
    check_none_made,
)
from purdist.sources.static import enter
from purdist.sources.traced import Record, Traced, made_in_both
from purdist.sources.trial import Trial
from purdist.sources.weights import Weights


def from_layer(
    layer: paddle.nn.Layer,
    inputs: Inputs,
    *,
    place: graphs.Place | str | None = None,
    share: bool = False,
    check: bool = True,
) -> Program:
    """A network from a dygraph layer, traced in both modes.

    Variables are named by sublayer path: the output of ``layer1.0.conv1`` is the variable
    ``layer1.0.conv1``, its weight ``layer1.0.conv1.weight``. A sublayer that is called more
    than once gives ``path``, ``path#1``, ..., several outputs give ``path.0``, ``path.1``,
    nested as the sublayer returned them, or ``path.key`` for a dictionary, dataclass or named
    tuple. What the layer itself returns is ``output``, ``output.0``, ..., or under the keys of
    a dictionary, and comes before a sublayer of that name. A name that stands for something
    else already gets ``#1``, too.

    The graph that trains is traced after ``layer.train()``, or, if the layer is in training
    mode already, as it stands, with the parts that are frozen in eval mode; the graph that
    infers after ``layer.eval()``. The layer is left as it was. Its hooks fire in each
    trace, of which there are two, and more where it compares sizes that are unknown, and get graph
    values: one that needs numbers must not be on it. What hooks keep of them stays, with its
    graph, and has no numbers.

    The sizes of the batch, and others, may be left open::

        layer = paddle.nn.Sequential(paddle.nn.Linear(64, 32), paddle.nn.Linear(32, 10))
        student = from_layer(layer, {"x": InputSpec([None, 64])})
        assert student.variables["0"].shape == (-1, 32)

    Args:
        layer: The network, made in dynamic mode.
        inputs: Feed name -> ``InputSpec``: a name that is a parameter of ``forward`` is passed
            as that, the others fill the remaining parameters in order. Or a sequence of named
            ``InputSpec``s, passed in order. Where ``forward`` takes a dictionary or a list,
            give one, of ``InputSpec``s; the keys are the feed names.
        place: Where the program is kept and runs, Paddle's current place by default.
        share: Take the weights as they lie in the layer instead of a copy. No memory is
            spent, and whoever changes them there in place, such as an optimizer, changes them
            here.
        check: Run both modes once on small random inputs, unknown sizes small and a batch of
            two, and compare what the layer and each sublayer put out. The layer's hooks fire
            again, and get tensors. It costs two forward passes of the layer and two of the
            graph, and, where more than the batch is unknown, a trace for each size that is
            tried. What takes none of these inputs, or computes in bfloat16, is not checked.
            A layer that compares unknown sizes so that no graph can, as in ``list(a.shape) == s``,
            is traced once more with -1 for it, as Paddle has it, and taken if the check then
            holds at two sizes: without a check it is refused.

    Returns:
        The network. Parameters that stop gradients in the layer are frozen.

    Raises:
        InvalidArgumentError: ``inputs`` holds no ``InputSpec``, one has no name, they do not
            fit ``forward``, the layer was made in static mode, or ``auto_cast`` is on. Or the
            layer writes a buffer inside an if or a loop.
        NameClashError: A feed name stands twice, or is that of a sublayer or weight, or of
            something else that the layer returns.
        TracingError: The layer cannot be called with graph values, makes weights as it is called,
            returns no tensors, or
            writes over a tensor (``F.relu_(h)``) where the graph cannot follow. Or what it
            computes is not what its graph computes.
        UninitializedWeightsError: A parameter has no memory.
        RandomInferenceError: The layer draws random numbers in eval mode.
        WriteError: No folder for temporary files can be written to, where Paddle's conversion of
            ``forward`` is put meanwhile.
    """
    check_can_be_traced(layer)
    check_made_in_dynamic_mode(layer)
    check_no_casting()
    # Another thread may be tracing the same layer.
    with graphs.building(), graphs.converting(), graphs.generators_put_back():
        try:
            return _traced(layer, inputs, place, share=share, check=check)
        except TracingError as error:
            if not check or not isinstance(error.__cause__, graphs.NumbersError):
                raise
            asked = error
        try:
            return _traced(layer, inputs, place, share=share, check=True, unknown_as_paddle=True)
        except PurdistError:
            raise asked from asked.__cause__


def _traced(
    layer: paddle.nn.Layer,
    inputs: Inputs,
    place: graphs.Place | str | None,
    *,
    share: bool,
    check: bool,
    unknown_as_paddle: bool = False,
) -> Program:
    args, kwargs = arguments(layer, inputs)
    weights = Weights(layer)
    paths = paths_of(layer)
    check_feed_names(args, kwargs, weights, paths)
    record = functools.partial(
        Record.of, layer, args, kwargs, weights, paths, unknown_as_paddle=unknown_as_paddle
    )
    with graphs.untouched(layer), weights.renamed(), weights.learning():
        if not layer.training:
            layer.train()
        train = record()
        layer.eval()
        infer = record()
    outputs = {*train.outputs, *infer.outputs}
    training, inference = (Traced.of(record, paths, outputs) for record in (train, infer))
    for traced in (training, inference):
        graphs.record_stops(traced.trace.draft)
    graphs.freeze(inference.trace.draft)
    taken = {*training.given, *inference.given}
    trains = training.finish({}, taken)
    infers = inference.finish(made_in_both(training, trains, inference), {*taken, *trains.values})
    modes = graphs.Modes(trains, infers)
    for graph in modes:
        check_none_made(layer, weights, graph)
    program = enter(
        modes,
        weights.scope(),
        graphs.place_of(place),
        share=share,
        inner=training.inner | inference.inner,
        given_names=weights.given_names(),
        tensors=weights.tensors(),
    )
    if check:
        with weights.renamed():
            trial = Trial(layer, args, kwargs, paths, program, guessed=unknown_as_paddle)
            trial.check(training, inference, modes)
    return program
