"""What does not come to the same as dygraph, and what takes long to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

ALL = "graph cache exported reread engine"

REFUSED: Mapping[tuple[str, str], str] = {
    # Paddle's own Python reads the batch's size, which is not known, or a number.
    (
        "layer.Fold 1 | layer.MultiLabelMarginLoss 1 | layer.AdaptiveLogSoftmaxWithLoss* | "
        "function.adaptive_log_softmax_with_loss*",
        ALL,
    ): "TracingError",
    # Paddle has these for dynamic mode alone.
    ("method.zero_* | method.fill_* | method.unfold", ALL): "TracingError",
    # A statement that gives the tensor another shape: the value that it is called on cannot change.
    (
        "method.reshape_ statement | method.squeeze_ statement | method.unsqueeze_ statement | "
        "method.flatten_ statement",
        ALL,
    ): "TracingError",
    # Paddle's graph takes what is unique of integers for floats, and so does Paddle Inference: what
    # was exported is not run by us, and its error is Paddle's.
    ("method.unique 1", "graph cache reread engine"): "RunError",
    ("method.unique 1", "exported"): "ValueError",
    # Dropout in functions, unless they are told, does not end with training.
    (
        "function.gumbel_softmax | function.rrelu | function.dropout | function.dropout[123]d* | "
        "function.alpha_dropout | function.feature_alpha_dropout",
        ALL,
    ): "RandomInferenceError",
    # What trains otherwise than the graph that infers tells, and the file says so.
    (
        "layer.Dropout 2 | layer.Dropout2D* | layer.Dropout3D* | layer.AlphaDropout | "
        "layer.FeatureAlphaDropout | function.dropout 1 | function.batch_norm* | "
        "function.rrelu 1 | net.spectral_norm | net.quantised",
        "reread",
    ): "InvalidArgumentError",
}
"""(Cases, ways) -> the error that says why."""

LATE: Mapping[tuple[str, str], str] = {
    (
        "function.pad | layer.LSTM 2* | layer.RNN | layer.BiRNN",
        "exported engine",
    ): "Paddle Inference hangs as it is by default: what is right is found after a minute",
}
"""(Cases, ways) -> why only the slow profile runs them."""


def of(table: Mapping[tuple[str, str], str], name: str) -> Iterator[tuple[str, str]]:
    """Way -> what ``table`` has of a case."""
    for (cases, ways), what in table.items():
        if any(fnmatchcase(name, pattern) for pattern in cases.split(" | ")):
            for way in ways.split():
                yield way, what
