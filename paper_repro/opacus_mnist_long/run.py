"""The network, loop and accountants of ``opacus_mnist``, for as many epochs as the other rows of both tables have."""

from __future__ import annotations

from collections.abc import Sequence

from paper_repro.opacus_mnist.run import trained
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, mnist

__all__ = ["DATA", "run"]


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """One training for each setting; a short run takes two steps each."""
    digits = mnist(smoke=smoke)
    recipes = {cell.id.partition(".")[0]: _recipe(**cell.settings) for cell in cells if cell.settings}
    meter = Meter(progress, recipes.values(), smoke=smoke)
    found: dict[str, Ours] = {}
    for name, recipe in recipes.items():
        right, spent = trained(digits, recipe, seed, meter, smoke=smoke)
        found[f"{name}.opacus"] = found[f"{name}.tfprivacy"] = Ours(right, note=digits.name)
        found[f"{name}.epsilon"] = Ours(cost(spent, published=True), cost(spent))
    return found


def _recipe(*, noise: float, epochs: int, clip: float, rate: float) -> Recipe:
    """Batches of 240 in the mean."""
    return Recipe(noise_multiplier=noise, sampling_prob=240 / 60_000, steps=epochs * 250, clip=clip, rate=rate)
