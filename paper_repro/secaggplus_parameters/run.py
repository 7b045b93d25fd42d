"""Degrees and thresholds by the published rules; today, with one more, which keeps all honest inputs in one sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from secagg.masking.parameters import Thresholds, harary_graph


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found, known = {}, {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        what = settings.pop("what")
        key = tuple(settings.items())
        if what == "broken":
            found[cell.id] = _broken(**settings)
        else:
            if key not in known:
                known[key] = _plans(**settings)
            found[cell.id] = _number(what, *known[key])
        progress(done, len(cells), cell.id)
    return found


def _plans(num_parties: int, adversary: Any, corrupt: float, dropout: float) -> tuple[Thresholds, Thresholds | None]:
    """The published plan, and for a server that lies ours; less than one corrupt party is none."""
    share = corrupt if math.floor(Fraction(str(corrupt)) * num_parties) else 0.0
    terms: dict[str, Any] = {"adversary": adversary, "corrupt": share, "dropout": dropout}
    published = harary_graph(num_parties, **terms)
    lying = adversary == "semi_malicious"
    return published, harary_graph(num_parties, **terms, connected=True) if lying else None


def _number(what: str, published: Thresholds, today: Thresholds | None) -> Ours:
    """The degree or the threshold."""
    numbers = [
        None if plan is None else float(plan.neighbours if what == "degree" else plan.threshold)
        for plan in (published, today)
    ]
    if today is None:
        return Ours(numbers[0] or math.nan)
    note = f"honest inputs in a sum: {published.min_honest}, today {today.min_honest}"
    return Ours(numbers[0] or math.nan, numbers[1], note=note if what == "degree" else "")


def _broken(num_parties: int, dropped: int, degree: int, threshold: int) -> Ours:
    """The union bound, exactly, for a secret with fewer live shares than the threshold."""
    alive = num_parties - dropped
    ways = sum(math.comb(alive, x) * math.comb(dropped, degree - x) for x in range(threshold))
    return Ours(float(Fraction(num_parties * ways, math.comb(num_parties, degree))))


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Degrees over the number of parties: published as crosses, ours as lines."""
    for axes, adversary in zip(figure.subplots(1, 2, sharey=True), ("semi_honest", "semi_malicious"), strict=True):
        lines: dict[tuple[float, float], list[tuple[int, float, float, float | None]]] = {}
        for cell in cells:
            row = cell.settings
            if row["what"] == "degree" and row["adversary"] == adversary:
                point = (row["num_parties"], float(cell.published or "nan"), found[cell.id].value, found[cell.id].today)
                lines.setdefault((row["corrupt"], row["dropout"]), []).append(point)
        for (corrupt, dropout), points in lines.items():
            sizes, theirs, ours, today = zip(*points, strict=True)
            drawn = axes.plot(sizes, ours, label=f"corrupt {corrupt:g}, dropped {dropout:g}")
            axes.plot(sizes, theirs, "kx", zorder=3)
            if adversary == "semi_malicious":
                axes.plot(sizes, today, ":", color=drawn[0].get_color())
        axes.plot([], [], "kx", label="published")
        axes.set(xscale="log", yscale="log", xlabel="parties", title=adversary.replace("_", "-"))
        axes.legend(fontsize=6)
    figure.axes[0].set_ylabel("neighbours (dotted: today)")
