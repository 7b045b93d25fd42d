"""The same small network twice, with ReLU and with tanh: the same data, noise, batches and first weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from accountants import Ledger, RDPAccountant
from dpkit.demo.data import Digits, load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, few, seeded_model, train

__all__ = ["DATA", "draw", "run"]

EPSILON = 1.0

EPOCH = 117
"""Steps of 512 records in the mean."""

RECIPE = Recipe(noise_multiplier=1.0, sampling_prob=512 / 60_000, steps=30 * EPOCH, clip=0.1, rate=0.5, momentum=0.9)

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Both, by the noise of Renyi orders; a short run takes two steps each."""
    digits = few(load_digits(), smoke=smoke)
    recipe = RECIPE.within(EPSILON, accountant=RDPAccountant())
    meter = Meter(progress, [recipe] * len(ACTIVATIONS), smoke=smoke)
    curves, ledger = {}, Ledger(relation="add_remove", unit="example")
    for name in ACTIVATIONS:
        curves[name], ledger = _trained(name, digits, recipe, seed, meter, smoke=smoke)
    found = {
        f"accuracy.{name}": Ours(
            right[-1], note=f"{digits.name}; after each epoch " + " ".join(f"{one:.1f}" for one in right)
        )
        for name, right in curves.items()
    }
    spent = ledger.epsilon(delta=1e-5, accountant=RDPAccountant())
    found["gain"] = Ours(curves["tanh"][-1] - curves["relu"][-1])
    found["epsilon"] = Ours(spent, cost(ledger), note=f"noise {recipe.noise_multiplier:.4f}")
    return found


def _network(name: str) -> nn.Sequential:
    """As in the demo: 26 010 parameters."""
    bend = ACTIVATIONS[name]
    wide, narrow = nn.Conv2d(1, 16, 8, stride=2, padding=2), nn.Conv2d(16, 32, 4, stride=2)
    convolutions = wide, bend(), nn.MaxPool2d(2, 1), narrow, bend(), nn.MaxPool2d(2, 1)
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(512, 32), bend(), nn.Linear(32, 10))


def _trained(
    name: str, digits: Digits, recipe: Recipe, seed: int, meter: Meter, *, smoke: bool
) -> tuple[list[float], Ledger]:
    """Test accuracy in % after each epoch, and what was released."""
    model = seeded_model(lambda: _network(name), seed)
    right: list[float] = []
    steps = iter(range(1, recipe.steps + 1))

    def tick() -> None:
        if next(steps) % EPOCH == 0 or smoke:
            right.append(100.0 * accuracy(model, digits.test_images, digits.test_labels))
        meter(name + (f", accuracy {right[-1]:.2f} %" if right else ""))

    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    ledger = train(model, images, labels, recipe, source=seeded(seed), tick=tick, smoke=smoke)
    return right, ledger


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Accuracy over epochs, and what was published at the end."""
    axes = figure.subplots()
    for name, color in zip(ACTIVATIONS, ("tab:blue", "tab:orange"), strict=True):
        curve = [float(word) for word in found[f"accuracy.{name}"].note.rpartition("epoch ")[2].split()]
        axes.plot(range(1, len(curve) + 1), curve, "o-", color=color, label=f"ours, {name}")
        cell = next(cell for cell in cells if cell.id == f"accuracy.{name}")
        axes.scatter([len(curve)], [float(cell.published or "nan")], marker="x", color="black", zorder=3)
        axes.annotate(f" {name}, published", (len(curve), float(cell.published or "nan")), ha="right", va="bottom")
    axes.set(xlabel="epoch", ylabel="test accuracy in %", ylim=(90, None))
    axes.legend()
