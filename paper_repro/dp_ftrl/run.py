"""A tree that restarts, counted as its authors count it; and digits learned with the noise of a tree or of buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from accountants import Gaussian, Ledger, RDPAccountant, epsilon
from accountants.participation import Participation
from accountants.sensitivity import tree_sensitivity
from dpkit import BandedNoise, BufferedToeplitzNoise, FlatClip, TreeNoise
from dpkit.batches import CyclicBatches
from dpkit.demo.data import MNIST_SHA256, Digits, load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from dpkit.training import Privatizer
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

DATA = (f"MNIST, sha256 of the pickle {MNIST_SHA256}",)

#: The orders that the authors' privacy.py takes the best of.
ORDERS = np.arange(1, 200, 0.1)[1:].tolist()
TERMS: dict[str, Any] = {"delta": 1e-5, "relation": "zero_out"}
BATCHES, EPOCHS, TREES, NOISE = 100, 20, 5, 46.3  # of the CIFAR-10 example: 20 epochs before each restart
SEEDS = 2
MAKERS: dict[str, Any] = {"tree": TreeNoise, "buffers": partial(BufferedToeplitzNoise, buffers=6)}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """The accounting, and training on real digits if they are installed; a smoke run takes few digits and one seed."""
    found = {cell.id: ours for cell in cells if (ours := _accounting(**cell.settings)) is not None}
    digits = load_digits()
    rates: dict[str, list[float]] = {name: [] for name in MAKERS}
    if digits.name != "MNIST":
        return found | {"mnist.accuracy": Ours(math.nan, note="not run: MNIST is not installed")}
    turns = [(number, name) for number in range(seed, seed + (1 if smoke else SEEDS)) for name in MAKERS]
    for done, (number, name) in enumerate(turns, start=1):
        rates[name].append(100.0 * _train(name, digits, number, smoke=smoke))
        progress(done, len(turns), f"{name}, accuracy {rates[name][-1]:.2f} %")
    note = "; ".join(f"{name} " + ", ".join(f"{rate:.2f}" for rate in rates[name]) for name in rates)
    found["mnist.accuracy"] = Ours(float(np.mean(rates["tree"])), float(np.mean(rates["buffers"])), note=note)
    return found


def same_order(batches: int, epochs: int, extra: int) -> float:
    """Squared sensitivity of a tree: each epoch has the same order, and `extra` empty steps come last."""
    steps, most = np.arange(batches * epochs + extra), 0.0
    for batch in range(batches):
        level: NDArray[Any] = ((steps % batches == batch) & (steps < batches * epochs)).astype(float)
        total = level @ level
        while len(level) > 1:
            level = level[: len(level) // 2 * 2].reshape(-1, 2).sum(axis=1)
            total += level @ level
        most = max(most, float(total))
    return most


@cache
def example() -> tuple[float, float, float]:
    """Squared sensitivities of a completed tree, of the last one, and of all five together."""
    steps = BATCHES * EPOCHS
    whole, last = (same_order(BATCHES, EPOCHS, extra) for extra in (2 ** (steps - 1).bit_length() - steps, 0))
    return whole, last, (TREES - 1) * whole + last


def spread() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviation of the noise in the sum of all steps so far: five trees, and 200 bands that cost as much."""
    one, steps = np.zeros(1), BATCHES * EPOCHS
    tree = TreeNoise(one, noise_multiplier=NOISE, bound=1.0, steps=2048).prefix_variance()
    trees = NOISE * np.sqrt(np.concatenate([tree[:steps] + done * tree[-1] for done in range(TREES)]))
    bands = BandedNoise(one, noise_multiplier=1.0, bound=1.0, steps=TREES * steps, bands=200)
    sensitivity = bands.sensitivity(Participation(steps=TREES * steps, min_separation=BATCHES)).value
    return trees, NOISE / math.sqrt(example()[2]) * sensitivity * np.sqrt(bands.prefix_variance())


def _accounting(what: str) -> Ours | None:
    """A cell that needs no data; the notes have the sensitivity wherever the empty steps of a tree are."""
    whole, last, total = example()
    if what == "noise":
        trees, bands = (float(np.sqrt((noise**2).mean())) for noise in spread())
        return Ours(trees, bands)
    if what == "mnist epsilon":
        return _epsilon(4.0 / math.sqrt(same_order(240, 3, 0)))
    square = tree_sensitivity(Participation(steps=2048, min_separation=BATCHES, max_participations=EPOCHS)).value ** 2
    if what == "epsilon":
        wide = _epsilon(NOISE / math.sqrt((TREES - 1) * square + last))
        return _epsilon(NOISE / math.sqrt(total), f"with tree_sensitivity {wide.value:.4f}, today {wide.today:.4f}")
    return {"completed": Ours(whole, note=f"by tree_sensitivity {square:.0f}"), "last": Ours(last)}.get(what)


def _epsilon(noise_multiplier: float, note: str = "") -> Ours:
    """By the authors' orders; today, the exact curve of the Gaussian."""
    event = Gaussian(noise_multiplier)
    return Ours(RDPAccountant(orders=ORDERS).epsilon(event, **TERMS), epsilon(event, **TERMS), note=note)


def _model(seed: int) -> nn.Sequential:
    """The authors' small network, begun as they begin it."""
    torch.manual_seed(seed)
    pool, wide = [nn.Tanh(), nn.MaxPool2d(2, 1)], nn.Conv2d(1, 16, 8, stride=2, padding=3)
    dense = nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10)
    model = nn.Sequential(wide, *pool, nn.Conv2d(16, 32, 4, stride=2), *pool, *dense)
    starts: dict[int, Any] = {1: nn.init.zeros_, 2: nn.init.xavier_normal_, 4: nn.init.normal_}
    for parameter in model.parameters():
        starts[parameter.dim()](parameter, **({"std": parameter[0].numel() ** -0.5} if parameter.dim() == 4 else {}))
    return model


def _train(name: str, digits: Digits, seed: int, *, smoke: bool) -> float:
    """Test accuracy after three epochs; the buffers have as much noise as makes them cost what the tree costs."""
    records, batches = (128, 4) if smoke else (60_000, 240)
    images, labels = torch.from_numpy(digits.train_images[:records]), torch.from_numpy(digits.train_labels[:records])
    source = seeded(seed)
    with torch.random.fork_rng(devices=[]):
        model = _model(seed)
    plan = CyclicBatches(records, batches, epochs=3, entropy=source)
    terms: dict[str, Any] = {"bound": 1.0, "steps": plan.steps, "entropy": source}
    made = {kind: make(np.zeros(1), noise_multiplier=1.0, **terms) for kind, make in MAKERS.items()}
    sizes = {kind: stream.sensitivity(plan.participation).value for kind, stream in made.items()}
    like = dict(model.named_parameters())
    stream = MAKERS[name](like, noise_multiplier=4.0 * sizes[name] / sizes["tree"], **terms)
    optimizer, ledger = torch.optim.SGD(model.parameters(), lr=1 / 0.4), Ledger(relation="add_remove", unit="example")
    options: dict[str, Any] = {"expected_batch_size": records / batches, "sampling": plan, "ledger": ledger}
    with Privatizer(model, clip=FlatClip(1.0), noise=stream, **options) as private:
        for rows in private:
            private.backward(cross_entropy(model(images[rows]), labels[rows], reduction="none"))
            private.release()
            optimizer.step()
    return accuracy(model, digits.test_images, digits.test_labels)


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Noise in the sums over steps of the CIFAR-10 example, the tree's and the bands'."""
    axes = figure.subplots()
    for noise, label in zip(spread(), ("five trees, noise 46.3", "200 bands at the same epsilon"), strict=True):
        axes.plot(noise, label=label, linewidth=0.7)
    axes.set(xlabel="step", ylabel="standard deviation of the noise in the sum so far / clip", ylim=(0, None))
    axes.legend()
