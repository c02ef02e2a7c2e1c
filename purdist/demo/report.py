"""The results of the demonstration: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from purdist.demo.digits import Outcome
from purdist.storing import replacing

Results: TypeAlias = Mapping[str, Sequence[Outcome]]
"""Who learned -> what came of it, an outcome per seed."""

# Colours of Okabe and Ito's, which the colour-blind tell apart, and strokes for grey paper.
STYLES = (("#0072B2", "--"), ("#D55E00", ":"), ("#009E73", "-"), ("#CC79A7", "-."))


def table(results: Results) -> str:
    """Parameters and final accuracy: the mean over the seeds, the lowest and the highest."""
    width = max(map(len, results))
    rows = [f"{'':<{width}}  {'parameters':>10}  {'accuracy':>8}  {'lowest':>7}  {'highest':>7}"]
    for who, outcomes in results.items():
        final = [outcome.accuracies[-1] for outcome in outcomes]
        rows.append(
            f"{who:<{width}}  {outcomes[0].parameters:>10,}  {np.mean(final):>8.4f}  "
            f"{min(final):>7.4f}  {max(final):>7.4f}"
        )
    return "\n".join(rows)


def draw(results: Results, path: Path) -> None:
    """Writes the learning curves as a PNG, beside its target first, then renamed."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for (who, outcomes), (colour, stroke) in zip(results.items(), STYLES, strict=False):
        curves = np.array([outcome.accuracies for outcome in outcomes])
        lowest, mean, highest = curves.min(axis=0), curves.mean(axis=0), curves.max(axis=0)
        epochs = np.arange(1, len(mean) + 1)
        label = f"{who}, {outcomes[0].parameters:,} parameters: {mean[-1]:.3f}"
        axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            epochs, mean, stroke, color=colour, linewidth=2, marker="o", markersize=4, label=label
        )
    seeds = len(next(iter(results.values())))
    axes.set_title("A small network learns from a large one to read handwritten digits")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy on the test scans")
    axes.set_ylim(top=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", title=f"mean, band from lowest to highest; seeds: {seeds}")
    with replacing(path) as draft:
        figure.savefig(draft, dpi=150, format="png")
