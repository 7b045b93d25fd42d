"""Scattering features, seen as drawings that nobody owns suggest, and a linear model with large batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, final

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from accountants import Ledger
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.scattering import CHANNELS, drawings, scattering
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, mnist, train

__all__ = ["DATA", "Lens", "draw", "run"]

RECIPE = Recipe(noise_multiplier=1.0, sampling_prob=0.1, steps=400, clip=0.1, rate=1.0, momentum=0.9)

RATE = 40.0
"""Times epsilon: the learning rate."""

SEEDS = 5
"""Trainings for each budget, as many as theirs; they share no noise."""

DRAWINGS, COMPONENTS = 2000, 1000
"""How many; directions of their features that are kept."""

POWER, FLOOR = 0.5, 1e-3
"""How much of the channels' covariance is taken out; the share of the largest that all have at least."""

Part = tuple[Tensor, Tensor]


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Features once, then trainings for each budget; a short run takes two steps on few digits."""
    started = time.perf_counter()
    digits = mnist(smoke=smoke)
    budgets = [cell.settings["budget"] for cell in cells if "budget" in cell.settings]
    recipes = {budget: replace(RECIPE, rate=RATE * budget).within(budget) for budget in budgets}
    seeds = range(seed, seed + (1 if smoke else SEEDS))
    meter = Meter(progress, [*recipes.values()] * (len(seeds) + 1), smoke=smoke, extra=2)
    lens = Lens.of(scattering(drawings(200 if smoke else DRAWINGS)), 50 if smoke else COMPONENTS)
    meter("drawings")
    learned = lens(digits.train_images), torch.from_numpy(digits.train_labels)
    tested = lens(digits.test_images), torch.from_numpy(digits.test_labels)
    meter("features")
    found, rights = {}, {budget: list[float]() for budget in budgets}
    for turn in seeds:
        for budget, recipe in recipes.items():
            right, ledger = _trained(recipe, learned, tested, turn, partial(meter, f"epsilon {budget}"), smoke=smoke)
            rights[budget].append(right)
            found[f"epsilon.{budget}"] = Ours(cost(ledger))
        found.setdefault("seconds", Ours(time.perf_counter() - started))
    for budget, recipe in recipes.items():
        seen = " ".join(f"{one:.2f}" for one in rights[budget])
        note = f"{digits.name}; noise {recipe.noise_multiplier:.4f}; one by one {seen}"
        found[f"accuracy.{budget}"] = found[f"plain.{budget}"] = Ours(sum(rights[budget]) / len(seeds), note=note)
        right, _ = _trained(recipe, *_unjudged(learned, tested), seed, partial(meter, "unjudged digits"), smoke=smoke)
        found[f"unjudged.{budget}"] = Ours(right, note=f"{digits.name}; one seed")
    return found


def _trained(recipe: Recipe, data: Part, test: Part, seed: int, tick: Any, *, smoke: bool) -> tuple[float, Ledger]:
    """Accuracy in % of a linear model without bias, and what its training released."""
    model = nn.Linear(data[0].shape[1], 10, bias=False)
    nn.init.zeros_(model.weight)
    ledger = train(model, *data, recipe, source=seeded(seed), tick=tick, smoke=smoke)
    return 100.0 * accuracy(model, test[0].numpy(), test[1].numpy()), ledger


def _unjudged(learned: Part, tested: Part) -> tuple[Part, Part]:
    """Features and labels of training digits 20 001 to 50 000, by which no setting was judged, after all the others."""
    first, last = len(learned[1]) // 3, len(learned[1]) * 5 // 6

    def split(ours: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([ours[:first], ours[last:], more]), ours[first:last]

    (rows, apart), (labels, truth) = map(split, learned, tested)
    return (rows, labels), (apart, truth)


@final
@dataclass(frozen=True, slots=True)
class Lens:
    """Scattering features as the drawings make one look at them.

    Args:
        matrix: over channels, flattening their covariance.
        shift: what is taken off after it.
        mean: of the drawings' features, each of length one.
        components: their leading directions.
    """

    matrix: Tensor
    shift: Tensor
    mean: Tensor
    components: Tensor

    @classmethod
    def of(cls, features: Tensor, components: int) -> Self:
        """From scattering features of drawings."""
        mean, spread = features.mean(dim=(0, 2, 3)), features.std(dim=(0, 2, 3))
        scaled = ((features.flatten(2) - mean[:, None]) / spread[:, None]).transpose(1, 2).reshape(-1, CHANNELS)
        values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        powers = (values / values[-1]).clamp(min=FLOOR) ** (-POWER / 2)
        matrix = vectors * powers @ vectors.T / spread
        flat = cls(matrix, (matrix @ mean)[:, None], torch.zeros(()), torch.ones(()))
        rows = flat.rows(features)
        apart = rows - rows.mean(dim=0)
        _, sides = torch.linalg.eigh(apart @ apart.T)
        return cls(flat.matrix, flat.shift, rows.mean(dim=0), torch.linalg.qr(apart.T @ sides[:, -components:])[0])

    def rows(self, features: Tensor) -> Tensor:
        """Flattened channels, an image a row of length one."""
        return normalize((self.matrix @ features.flatten(2) - self.shift).flatten(1))

    def __call__(self, images: NDArray[Any]) -> Tensor:
        """A row of length one for each image."""
        parts = [self.rows(scattering(part)) for part in torch.split(torch.from_numpy(images), 1000)]
        return torch.cat([normalize((part - self.mean) @ self.components) for part in parts])


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Accuracy over epsilon, theirs and ours."""
    axes = figure.subplots()
    budgets = [cell.settings["budget"] for cell in cells if "budget" in cell.settings]
    for kind, marker, label in (
        ("accuracy", "x", "best of Fu et al. 2023, table 2: DPSUR, its accounting disputed"),
        ("plain", "+", "DP-SGD on scattering features, ibid."),
    ):
        theirs = [float(cell.published or "nan") for cell in cells if cell.id.startswith(kind)]
        axes.scatter(budgets, theirs, marker=marker, color="black", label=label, zorder=3)
    for kind, style, label in (
        ("accuracy", "o-", "ours, mean of five trainings"),
        ("unjudged", "o:", "ours, on digits that judged no setting, trained on 40 000"),
    ):
        axes.plot(budgets, [found[f"{kind}.{budget}"].value for budget in budgets], style, label=label)
    axes.set(xlabel="epsilon at delta 1e-5", ylabel="accuracy in %", xticks=budgets)
    axes.legend()
