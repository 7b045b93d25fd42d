"""The same small network twice, with ReLU and with tanh: the same data, noise, batches and first weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from accountants import Ledger, RDPAccountant
from dpkit.demo.data import Digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, mnist, seeded_model, train

__all__ = ["DATA", "draw", "run"]

EPOCH = 59
"""Steps of 1024 records in the mean."""

STEPS = 677
"""As many as their noise allows within epsilon 1, by Rényi orders."""

RECIPE = Recipe(noise_multiplier=2.0, sampling_prob=1024 / 60_000, steps=STEPS, clip=0.1, rate=2.0, momentum=0.9)

ORDERS = RDPAccountant(orders=[*(1 + tenth / 10 for tenth in range(1, 100)), *range(11, 64), 128, 256, 512])
"""Theirs."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Both; a short run takes two steps each."""
    digits = mnist(smoke=smoke)
    meter = Meter(progress, [RECIPE] * len(ACTIVATIONS), smoke=smoke)
    curves, ledger = {}, Ledger(relation="add_remove", unit="example")
    for name in ACTIVATIONS:
        curves[name], ledger = _trained(name, digits, seed, meter, smoke=smoke)
    found = {
        f"accuracy.{name}": Ours(
            right[-1], note=f"{digits.name}; after each epoch " + " ".join(f"{one:.1f}" for one in right)
        )
        for name, right in curves.items()
    }
    found["gain"] = Ours(curves["tanh"][-1] - curves["relu"][-1])
    found["epsilon"] = Ours(ledger.epsilon(delta=1e-5, accountant=ORDERS), cost(ledger))
    return found


def _network(name: str) -> nn.Sequential:
    """As in the demo: 26 010 parameters."""
    bend = ACTIVATIONS[name]
    wide, narrow = nn.Conv2d(1, 16, 8, stride=2, padding=2), nn.Conv2d(16, 32, 4, stride=2)
    convolutions = wide, bend(), nn.MaxPool2d(2, 1), narrow, bend(), nn.MaxPool2d(2, 1)
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(512, 32), bend(), nn.Linear(32, 10))


def _trained(name: str, digits: Digits, seed: int, meter: Meter, *, smoke: bool) -> tuple[list[float], Ledger]:
    """Test accuracy in % after each epoch and after the last step, and what was released."""
    model = seeded_model(lambda: _network(name), seed)
    right: list[float] = []
    steps = iter(range(1, STEPS + 1))

    def tick() -> None:
        if (step := next(steps)) % EPOCH == 0 or step == STEPS or smoke:
            right.append(100.0 * accuracy(model, digits.test_images, digits.test_labels))
        meter(name + (f", accuracy {right[-1]:.2f} %" if right else ""))

    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    ledger = train(model, images, labels, RECIPE, source=seeded(seed), tick=tick, smoke=smoke)
    return right, ledger


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Accuracy over epochs, and what was published at the end."""
    axes = figure.subplots()
    for name, color in zip(ACTIVATIONS, ("tab:blue", "tab:orange"), strict=True):
        curve = [float(word) for word in found[f"accuracy.{name}"].note.rpartition("epoch ")[2].split()]
        at = [*range(EPOCH, STEPS, EPOCH), STEPS][-len(curve) :]
        axes.plot(at, curve, "o-", markersize=3, color=color, label=f"ours, {name}")
        cell = next(cell for cell in cells if cell.id == f"accuracy.{name}")
        at_the_end = float(cell.published or "nan")
        axes.scatter([STEPS], [at_the_end], marker="x", s=60, color=color, zorder=3, label=f"published, {name}")
    axes.set(xlabel="steps", ylabel="test accuracy in %", ylim=(80, None))
    axes.legend(loc="lower right")
