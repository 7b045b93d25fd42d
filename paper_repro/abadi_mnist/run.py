"""Private principal components, one hidden layer of a thousand, three levels of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accountants import Ledger
from dpkit import Bounded, GaussianMechanism
from dpkit.demo.data import Digits, load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import Source, seeded
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, few, seeded_model, train

__all__ = ["DATA", "draw", "run"]

CLIP, SAMPLING_PROB, COMPONENTS, HIDDEN = 4.0, 0.01, 60, 1000
EPOCH = 100
"""Lots of an epoch."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Train once for each level of noise; a short run takes two steps on few digits, and accounts for all."""
    digits = few(load_digits(), smoke=smoke)
    settings = [cell.settings for cell in cells if "epochs" in cell.settings]
    recipes = [_recipe(each["noise"], each["epochs"]) for each in settings]
    meter, found = Meter(progress, recipes, smoke=smoke), {}
    for each, recipe in zip(settings, recipes, strict=True):
        right, ledger = _trained(digits, recipe, each["noise_of_components"], seed, meter, smoke=smoke)
        budget, curve = each["budget"], " ".join(f"{one:.1f}" for one in right[9::10])
        found[f"accuracy.{budget}"] = Ours(right[-1], note=f"{digits.name}; after each 10 epochs {curve}")
        found[f"epsilon.{budget}"] = Ours(cost(ledger, published=True), cost(ledger))
    return found


def _recipe(noise: float, epochs: int) -> Recipe:
    """Of one level of noise."""
    return Recipe(noise_multiplier=noise, sampling_prob=SAMPLING_PROB, steps=EPOCH * epochs, clip=CLIP, rate=_rate)


def _rate(step: int) -> float:
    """From 0.1 down to 0.052 over ten epochs, then as it is."""
    return 0.1 - 0.048 * min(1.0, step / (10 * EPOCH))


def _trained(
    digits: Digits, recipe: Recipe, noise_of_components: float, seed: int, meter: Meter, *, smoke: bool
) -> tuple[list[float], Ledger]:
    """Test accuracy in % after each epoch, and what was released."""
    source, ledger = seeded(seed), Ledger(relation="add_remove", unit="example")
    components = _components(digits.train_images, noise_of_components, source, ledger)
    inputs = torch.from_numpy(digits.train_images).flatten(1) @ components
    tests = (torch.from_numpy(digits.test_images).flatten(1) @ components).numpy()
    model = seeded_model(_network, seed)
    right: list[float] = []
    steps = iter(range(1, recipe.steps + 1))

    def tick() -> None:
        if next(steps) % EPOCH == 0 or smoke:
            right.append(100.0 * accuracy(model, tests, digits.test_labels))
        meter(f"noise {recipe.noise_multiplier:g}" + (f", accuracy {right[-1]:.2f} %" if right else ""))

    labels = torch.from_numpy(digits.train_labels)
    train(model, inputs, labels, recipe, source=source, tick=tick, ledger=ledger, smoke=smoke)
    return right, ledger


def _network() -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(COMPONENTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def _components(images: NDArray[np.float32], noise: float, source: Source, ledger: Ledger) -> Tensor:
    """The 60 leading directions of the noisy second moment of images of length one."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) * (1 + 1e-6)  # room for the rounding of sums
    place = np.triu_indices(rows.shape[1])
    # Off the diagonal each entry counts for two, so that a record's length is the square of its image's: at most 1.
    weights = np.where(place[0] == place[1], 1.0, math.sqrt(2.0))
    moment = Bounded((rows.T @ rows)[place] * weights, 1.0)
    release = GaussianMechanism(noise_multiplier=noise).release(moment, ledger=ledger, entropy=source)
    whole = np.zeros((rows.shape[1],) * 2)
    whole[place] = release.value / weights
    _, vectors = np.linalg.eigh(whole, UPLO="U")
    return torch.from_numpy(vectors[:, -COMPONENTS:].astype(np.float32))


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Accuracy over the budget: published, and ours at what it costs by their accountant and by the tight bound."""
    axes = figure.subplots()
    accuracies = [cell for cell in cells if "epochs" in cell.settings]
    theirs = [(float(cell.settings["budget"]), float(cell.published or "nan")) for cell in accuracies]
    axes.scatter(*zip(*theirs, strict=True), marker="x", color="black", label="published, at its budget")
    ours = [(found[cell.id], found[f"epsilon.{cell.settings['budget']}"]) for cell in accuracies]
    for name, label in (("value", "ours, moments accountant"), ("today", "ours, tight bound")):
        axes.plot([getattr(spent, name) for _, spent in ours], [right.value for right, _ in ours], "o-", label=label)
    axes.set(xlabel="epsilon at delta 1e-5", ylabel="test accuracy in %")
    axes.set_xscale("log")
    axes.legend()
