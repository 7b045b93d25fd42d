"""One picture for each experiment: published numbers as crosses over ours as dots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper_repro.results import Result
from paper_repro.spec import Experiment

__all__ = ["draw"]

_PUBLISHED = {"marker": "x", "color": "black", "zorder": 3, "label": "published"}
_OURS = {"marker": "o", "color": "tab:blue", "label": "ours, as published"}
_TODAY = {"marker": "o", "color": "tab:orange", "facecolors": "none", "label": "ours, today"}


def draw(experiment: Experiment, result: Result, path: Path) -> bool:
    """Draw a result; the experiment's own ``draw(figure, cells, found)`` if it has one, else a line for each cell.

    Returns:
        False without matplotlib: a run needs no picture.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    with matplotlib.rc_context({"svg.hashsalt": experiment.id, "font.size": 9}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        own = getattr(experiment.code, "draw", None)
        if own is None:
            _lines(figure, experiment, result)
        else:
            own(figure, experiment.cells, result.cells)
        figure.suptitle(experiment.title)
        figure.savefig(path, metadata={"Date": None})
    return True


def _lines(figure: Any, experiment: Experiment, result: Result) -> None:
    """Each cell on a line of its own, in units of the published number; without ends of intervals."""
    cells = [cell for cell in experiment.cells if cell.id in result.cells and cell.compared]
    cells = [cell for cell in cells if cell.agreement.kind not in ("at least", "at most")]
    figure.set_size_inches(8, max(3.0, 0.22 * len(cells) + 1.5))
    axes = figure.subplots()
    for series, style in (("published", _PUBLISHED), ("value", _OURS), ("today", _TODAY)):
        points = []
        for line, cell in enumerate(cells):
            theirs = float(cell.published or "nan")
            number = theirs if series == "published" else getattr(result.cells[cell.id], series)
            if number is not None and theirs:
                points.append((number / theirs, line))
        if points:
            axes.scatter(*zip(*points, strict=True), **style)
    axes.set_yticks(range(len(cells)), [cell.id for cell in cells])
    axes.invert_yaxis()
    axes.axvline(1.0, color="lightgrey", zorder=0)
    low, high = axes.get_xlim()
    if low <= 0.0 or high > 3.0 * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("number, relative to the published one")
    axes.legend(loc="best")
