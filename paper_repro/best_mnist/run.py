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

from dpkit.demo.data import load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.scattering import CHANNELS, scattering
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, few, train

__all__ = ["DATA", "Lens", "draw", "drawings", "run"]

RECIPE = Recipe(noise_multiplier=1.0, sampling_prob=0.1, steps=400, clip=0.1, rate=1.0, momentum=0.9)

RATE = 40.0
"""Times epsilon: the learning rate."""

DRAWINGS, COMPONENTS = 2000, 1000
"""How many; directions of their features that are kept."""

POWER, FLOOR = 0.5, 1e-3
"""How much of the channels' covariance is taken out; the share of the largest that all have at least."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Features once, then a training for each budget; a short run takes two steps on few digits."""
    started = time.perf_counter()
    digits = few(load_digits(), smoke=smoke)
    budgets = [(cell, float(cell.settings["budget"])) for cell in cells if "budget" in cell.settings]
    recipes = [replace(RECIPE, rate=RATE * budget).within(budget) for _, budget in budgets]
    meter = Meter(progress, recipes, smoke=smoke, extra=2)
    lens = Lens.of(scattering(drawings(200 if smoke else DRAWINGS)), components := 50 if smoke else COMPONENTS)
    meter("drawings")
    inputs, tests = lens(digits.train_images), lens(digits.test_images)
    meter("features")
    labels, found = torch.from_numpy(digits.train_labels), {}
    for (cell, budget), recipe in zip(budgets, recipes, strict=True):
        model = nn.Linear(components, 10, bias=False)
        nn.init.zeros_(model.weight)
        tick = partial(meter, f"epsilon {budget:g}")
        ledger = train(model, inputs, labels, recipe, source=seeded(seed), tick=tick, smoke=smoke)
        right = 100.0 * accuracy(model, tests.numpy(), digits.test_labels)
        found[cell.id] = Ours(right, note=f"{digits.name}; noise {recipe.noise_multiplier:.4f}")
        found[f"epsilon.{budget:g}"] = Ours(cost(ledger))
    return found | {"seconds": Ours(time.perf_counter() - started)}


def drawings(count: int) -> Tensor:
    """Two bent strokes on each of `count` sheets, by a generator of their own: float32, ``(count, 1, 28, 28)``."""
    maker = torch.Generator().manual_seed(0)
    ends = 4 + 20 * torch.rand(count, 2, 1, 3, 2, generator=maker)
    along = torch.linspace(0, 1, 30)[:, None]
    path = (1 - along) ** 2 * ends[..., 0, :] + 2 * along * (1 - along) * ends[..., 1, :] + along**2 * ends[..., 2, :]
    pixels, sheets = torch.arange(28.0), []
    for points in torch.split(path.flatten(1, 2), 100):
        down, right = ((points[:, :, axis, None] - pixels).square() for axis in (0, 1))
        distance = (down[..., :, None] + right[..., None, :]).amin(dim=1).sqrt()
        sheets.append((2.1 - distance).clamp(0, 1)[:, None])
    return torch.cat(sheets)


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
    cells = [cell for cell in cells if "budget" in cell.settings]
    budgets = [cell.settings["budget"] for cell in cells]
    published = [float(cell.published or "nan") for cell in cells]
    axes.scatter(budgets, published, marker="x", color="black", label="best of Fu et al. 2023, table 2", zorder=3)
    axes.plot(budgets, [found[cell.id].value for cell in cells], "o-", label="ours")
    axes.set(xlabel="epsilon at delta 1e-5", ylabel="test accuracy in %", xticks=budgets)
    axes.legend()
