"""A picture of what was sampled; needs the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crdt_sync.testing.growth import Series


def plot(series: Sequence[Series], path: Path, *, title: str) -> None:
    """Draw all series of megabytes, one below the other, each from 0; the part that is judged is in front of grey.

    Args:
        series: with the same times.
        path: of the picture; its ending says of what kind, ``.svg`` or ``.png``.
        title: above it.
    """
    shown = [each for each in series if each.unit == "MB" and each.values]
    # Equal samples make an equal file, and its text stays text.
    with mpl.rc_context({"svg.hashsalt": "crdt_sync", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.5, 1.5 * len(shown) + 0.6), layout="constrained")
        figure.suptitle(title, fontsize=10)
        for number, each in enumerate(shown):
            _draw(figure.add_subplot(len(shown), 1, number + 1), each, is_last=each is shown[-1])
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(axes: Axes, series: Series, *, is_last: bool) -> None:
    minutes = [at_s / 60 for at_s in series.times_s]
    axes.plot(minutes, series.values, linewidth=1.2)
    axes.axvspan(minutes[series.judged_from], minutes[-1], color="0.93")
    axes.set_ylim(0, 1.25 * max(*series.values, 0.001))
    axes.set_xlim(0, max(minutes[-1], 0.001))
    axes.set_ylabel(series.unit)
    axes.set_title(f"{series.name}: {series.growth:+.1%} in the second half", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if is_last:
        axes.set_xlabel("minutes")
