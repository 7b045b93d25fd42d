"""Private principal components, one hidden layer of a thousand, three levels of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accountants import Event, Gaussian, Ledger, PoissonSampled, RDPAccountant
from dpkit import Bounded, GaussianMechanism, GroupClip
from dpkit.demo.data import Digits
from dpkit.demo.model import accuracy
from dpkit.entropy import Source, seeded
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, DELTA, Meter, Recipe, cost, mnist, seeded_model, train

__all__ = ["AUTHORS", "DATA", "charged", "draw", "released", "run"]

SAMPLING_PROB, COMPONENTS, HIDDEN = 0.01, 60, 1000
EPOCH = 100
"""Lots of an epoch."""

CLIP = GroupClip({"0.weight": 4.0, "2.weight": 4.0})
"""Each layer by itself: a record counts for 4 times the root of two."""

AUTHORS = RDPAccountant(orders=range(2, 34), conversion="mironov2017")
"""Their moments accountant: 32 moments; the Rényi order of a moment is one more."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Their example's deltas; then a training for each level of noise, in a short run of two steps on few digits."""
    digits = mnist(smoke=smoke)
    found = {cell.id: _delta(**cell.settings) for cell in cells if "epsilon" in cell.settings}
    budgets = [cell.settings for cell in cells if "budget" in cell.settings]
    recipes = [_recipe(each["noise"], each["epochs"]) for each in budgets]
    meter = Meter(progress, recipes, smoke=smoke)
    for each, recipe in zip(budgets, recipes, strict=True):
        right, ledger = _trained(digits, recipe, each["noise_of_components"], seed, meter, smoke=smoke)
        budget, every = each["budget"], max(1, len(right) // 10)
        curve = " ".join(f"{one:.1f}" for one in right[every - 1 :: every])
        found[f"accuracy.{budget}"] = Ours(right[-1], note=f"{digits.name}; every {every} epochs {curve}")
        theirs = charged(each["noise"], each["noise_of_components"], recipe.steps)
        spent = AUTHORS.epsilon(theirs, delta=DELTA, relation="add_remove")
        note = f"both layers as one release, by the same moments: {AUTHORS.epsilon(ledger, delta=DELTA):.4f}"
        found[f"epsilon.{budget}"] = Ours(spent, cost(ledger), note=note)
    return found


def charged(noise: float, noise_of_components: float, steps: int) -> Event:
    """What the authors' accountant is told: the components, and in each step two layers as if each had its own lot."""
    return Gaussian(noise_of_components) + PoissonSampled(Gaussian(noise), SAMPLING_PROB) * (2 * steps)


def released(noise: float, noise_of_components: float, steps: int) -> Event:
    """What it is: both layers of one lot in one release, its noise the less by the root of two beside a record."""
    return Gaussian(noise_of_components) + _recipe(noise, steps / EPOCH).event


def _delta(*, epsilon: float, noise: float, noise_of_components: float, steps: int) -> Ours:
    """Delta at epsilon: by the authors' accountant, and the tight one of what is released."""
    ledger = Ledger(relation="add_remove", unit="example")
    ledger.record(released(noise, noise_of_components, steps))
    theirs = AUTHORS.delta(charged(noise, noise_of_components, steps), epsilon=epsilon, relation="add_remove")
    return Ours(theirs, ledger.delta(epsilon=epsilon))


def _recipe(noise: float, epochs: float) -> Recipe:
    """Of one level of noise, which is of a layer's clip."""
    steps = round(EPOCH * epochs)
    of_both = noise / math.sqrt(2.0)
    return Recipe(noise_multiplier=of_both, sampling_prob=SAMPLING_PROB, steps=steps, clip=CLIP, rate=_rate)


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
        meter(f"noise {recipe.noise_multiplier:.2f}" + (f", accuracy {right[-1]:.2f} %" if right else ""))

    labels = torch.from_numpy(digits.train_labels)
    train(model, inputs, labels, recipe, source=source, tick=tick, ledger=ledger, smoke=smoke)
    return right, ledger


def _network() -> nn.Sequential:
    """One hidden layer, no biases, and the authors' first weights."""
    model = nn.Sequential(nn.Linear(COMPONENTS, HIDDEN, bias=False), nn.ReLU(), nn.Linear(HIDDEN, 10, bias=False))
    for weight in model.parameters():
        stddev = weight.shape[1] ** -0.5
        nn.init.trunc_normal_(weight, std=stddev, a=-2 * stddev, b=2 * stddev)
    return model


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
    accuracies = [cell for cell in cells if "budget" in cell.settings]
    theirs = [(float(cell.settings["budget"]), float(cell.published or "nan")) for cell in accuracies]
    axes.scatter(*zip(*theirs, strict=True), marker="x", color="black", label="published, at its budget")
    ours = [(found[cell.id], found[f"epsilon.{cell.settings['budget']}"]) for cell in accuracies]
    for name, label in (("value", "ours, their accountant"), ("today", "ours, tight bound")):
        axes.plot([getattr(spent, name) for _, spent in ours], [right.value for right, _ in ours], "o-", label=label)
    axes.set(xlabel="epsilon at delta 1e-5", ylabel="test accuracy in %")
    axes.set_xscale("log", base=2)
    ticks = [0.25, 0.5, 1, 2, 4, 8]
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.legend()
