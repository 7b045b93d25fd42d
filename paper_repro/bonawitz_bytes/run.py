"""A formula for the published ratios, our messages beside it, and their count against a round that is played."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from secagg import SecAgg, SecAggPlus, simulate

#: What a plan must withstand; the messages of SecAgg are of the same length whatever it is.
LOST: dict[str, Any] = {"adversary": "semi_honest", "corrupt": 0.1, "dropout": 0.1}

PLAYED = (32, 1000, 16)
"""Parties, entries and bits of the round that is played."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        found[cell.id] = _METHODS[cell.settings["method"]](**cell.settings)
        progress(done, len(cells), cell.id)
    return found


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Ratios on the left and megabytes on the right, a line for each cell."""
    pictures = zip(figure.subplots(1, 2, width_ratios=(3, 2)), (("formula", "messages"), ("megabytes",)), strict=True)
    for axes, methods in pictures:
        shown = [cell for cell in cells if cell.settings["method"] in methods]
        theirs = [float(cell.published or "nan") for cell in shown]
        ours = [found[cell.id].value for cell in shown]
        today = [found[cell.id].today or math.nan for cell in shown]
        lines = range(len(shown))
        axes.scatter(theirs, lines, marker="x", color="black", zorder=3, label="published")
        axes.scatter(ours, lines, color="tab:blue", label="ours, as published")
        if not all(map(math.isnan, today)):
            axes.scatter(today, lines, color="tab:orange", facecolors="none", label="ours, today: SecAggPlus")
        axes.set_yticks(lines, [cell.id for cell in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1 * max(*theirs, *ours))
    left, right = figure.axes
    left.set_xlabel("bytes of a party over its vector in the clear")
    right.set_xlabel("megabytes of a party")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _formula(*, method: str, parties: int, dim: int, bits: int) -> Ours:
    """The count of keys, shares and masked vector over the vector in the clear; beside it, what we would plan now."""
    today = SecAggPlus.plan(parties, dim, bits, **LOST)
    return Ours(
        _bytes_of_formula(parties, dim, bits) * 8 / (bits * dim),
        (today.bytes_up + today.bytes_down) * 8 / (bits * dim),
        note=f"today: SecAggPlus with {today.neighbours} neighbours",
    )


def _messages(*, method: str, parties: int, dim: int, bits: int) -> Ours:
    """Our messages of the same protocol over the vector in the clear."""
    total = _bytes_of_plan(parties, dim, bits)
    more = total - _bytes_of_formula(parties, dim, bits)
    return Ours(total * 8 / (bits * dim), note=f"{more / parties:.1f} bytes for each party more than the formula")


def _megabytes(*, method: str, parties: int, dim: int, bits: int) -> Ours:
    """Megabytes of a party, up and down; the masked entries have `bits` bits."""
    width = bits - (parties - 1).bit_length()
    if SecAgg.plan(parties, dim, width, **LOST).modulus_bits != bits:
        raise ValueError(f"entries of {width} bits do not make sums of {bits}.")
    return Ours(_bytes_of_plan(parties, dim, width) / 1e6, note=f"entries of {width} bits make masked ones of {bits}")


def _played(*, method: str) -> Ours:
    """A round that is played, every message counted, over what its plan says."""
    parties, dim, bits = PLAYED
    plan = SecAgg.plan(parties, dim, bits, **LOST)
    result = simulate(plan, [[party * dim % 2**bits] * dim for party in range(parties)])
    counted = int((result.bytes_up + result.bytes_down).max())
    return Ours(counted / (plan.bytes_up + plan.bytes_down), note=f"{parties} parties, {dim} entries of {bits} bits")


def _bytes_of_formula(parties: int, dim: int, bits: int) -> float:
    """Keys and shares of 256 bits, and the masked vector."""
    width = (parties * (2**bits - 1)).bit_length()
    return float(2 * parties * 256 + (5 * parties - 4) * 256 + dim * width) / 8


def _bytes_of_plan(parties: int, dim: int, bits: int) -> int:
    """Bytes of a party, up and down, by the plan."""
    plan = SecAgg.plan(parties, dim, bits, **LOST)
    return plan.bytes_up + plan.bytes_down


_METHODS: dict[str, Callable[..., Ours]] = {
    "formula": _formula,
    "messages": _messages,
    "megabytes": _megabytes,
    "played": _played,
}
