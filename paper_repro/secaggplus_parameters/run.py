"""Degrees and thresholds by the published rules; today, with one more, which keeps all honest inputs in one sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
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
        if what == "stuck":
            found[cell.id] = _stuck(**settings)
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
    """What is asked of both plans."""
    number = _NUMBERS[what]
    if today is None:
        return Ours(number(published))
    note = f"honest inputs in a sum: {published.min_honest}, today {today.min_honest}" if what == "degree" else ""
    return Ours(number(published), number(today), note=note)


_NUMBERS: dict[str, Callable[[Thresholds], float]] = {
    "degree": lambda plan: float(plan.neighbours),
    "threshold": lambda plan: float(plan.threshold),
    "percent": lambda plan: 100.0 * plan.neighbours / (plan.min_survivors + plan.dropped),
    "honest": lambda plan: float(plan.min_honest),
}


def _stuck(num_parties: int, dropped: int, degree: int, threshold: int) -> Ours:
    """Of all sets of dropped parties, those that leave a party fewer live neighbours than the threshold, counted."""
    near = [step for step in range(-(degree // 2), degree // 2 + 1) if step]
    sets = [frozenset(gone) for gone in combinations(range(num_parties), dropped)]
    stuck = sum(
        any(sum((party + step) % num_parties not in gone for step in near) < threshold for party in range(num_parties))
        for gone in sets
    )
    return Ours(stuck / len(sets), note=f"{stuck} of the {len(sets)} sets of dropped parties")


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Degrees over the number of parties: published as crosses, ours as lines of one colour in both pictures."""
    rows = [cell for cell in cells if cell.settings["what"] == "degree" and cell.published]
    rates = sorted({(cell.settings["corrupt"], cell.settings["dropout"]) for cell in rows}, reverse=True)
    for axes, adversary in zip(figure.subplots(1, 2, sharey=True), ("semi_honest", "semi_malicious"), strict=True):
        for place, (corrupt, dropped) in enumerate(rates):
            terms = {"adversary": adversary, "corrupt": corrupt, "dropout": dropped}
            series = [cell for cell in rows if terms.items() <= cell.settings.items()]
            if not series:
                continue
            sizes = [cell.settings["num_parties"] for cell in series]
            style = {"color": f"C{place}", "linewidth": 3.0 - place / 4}
            values = [found[cell.id].value for cell in series]
            axes.plot(sizes, values, label=f"corrupt {corrupt:g}, dropped {dropped:g}", **style)
            axes.plot(sizes, [float(cell.published or "nan") for cell in series], "kx", zorder=3)
            if adversary == "semi_malicious":
                axes.plot(sizes, [found[cell.id].today for cell in series], ":", color=f"C{place}")
        axes.plot([], [], "kx", label="published")
        axes.set(xscale="log", yscale="log", xlabel="parties", title=adversary.replace("_", "-"))
        axes.legend(fontsize=6)
    figure.axes[0].set_ylabel("neighbours (lines: ours, as published; dotted: today)")
