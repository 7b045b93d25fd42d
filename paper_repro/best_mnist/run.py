"""Scattering features, whitened by drawings that nobody owns, and a linear model of large batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpkit.demo.data import load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.scattering import CHANNELS, SIDE, scattering
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, few, train

__all__ = ["DATA", "drawings", "run"]

RECIPE = Recipe(noise_multiplier=1.0, sampling_prob=0.1, steps=200, clip=0.1, rate=200.0, momentum=0.9, decay=0.9)

DRAWINGS, POWER, FLOOR = 1500, 0.5, 1e-3
"""How many; how much of the channels' covariance is taken out; the share of the largest that all have at least."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Features once, then a training for each budget; a short run takes two steps on few digits."""
    started = time.perf_counter()
    digits = few(load_digits(), smoke=smoke)
    budgets = [(cell, float(cell.settings["budget"])) for cell in cells if "budget" in cell.settings]
    recipes = [RECIPE.within(budget) for _, budget in budgets]
    meter = Meter(progress, recipes, smoke=smoke, extra=2)
    transform = _whitening(scattering(drawings(150 if smoke else DRAWINGS)))
    inputs, tests = (_features(images, transform, meter) for images in (digits.train_images, digits.test_images))
    labels, found = torch.from_numpy(digits.train_labels), {}
    for (cell, budget), recipe in zip(budgets, recipes, strict=True):
        model = nn.Linear(CHANNELS * SIDE**2, 10)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
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


def _whitening(features: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix over channels, and what is taken off after it."""
    mean, spread = features.mean(dim=(0, 2, 3)), features.std(dim=(0, 2, 3))
    scaled = ((features.flatten(2) - mean[:, None]) / spread[:, None]).transpose(1, 2).reshape(-1, CHANNELS)
    values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    powers = (values / values[-1]).clamp(min=FLOOR) ** (-POWER / 2)
    matrix = vectors * powers @ vectors.T / spread
    return matrix, (matrix @ mean)[:, None]


def _features(images: NDArray[Any], transform: tuple[Tensor, Tensor], meter: Meter) -> Tensor:
    """Whitened features, a row of length one for each image."""
    matrix, shift = transform
    rows = []
    for part in torch.split(torch.from_numpy(images), 1000):
        row = (matrix @ scattering(part).flatten(2) - shift).flatten(1)
        rows.append(row / row.norm(dim=1, keepdim=True))
    meter("features")
    return torch.cat(rows)
