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
from dpkit.demo.data import MNIST_SHA256, Digits, load_digits, mnist_file
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from dpkit.training import Privatizer
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

DATA = (f"mnist.pkl.gz sha256 {MNIST_SHA256}",) if mnist_file() else ()

ORDERS = np.arange(1, 200, 0.1)[1:].tolist()  # the authors' privacy.py takes the best of these
TERMS: dict[str, Any] = {"delta": 1e-5, "relation": "zero_out"}
BATCHES, EPOCHS, TREES, NOISE = 100, 20, 5, 46.3  # of the CIFAR-10 example: 20 epochs before each restart
MAKERS: dict[str, Any] = {"tree": TreeNoise, "buffers": partial(BufferedToeplitzNoise, buffers=6)}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """The accounting, and training on real digits if they are installed; a smoke run takes few digits and one seed."""
    found = {cell.id: ours for cell in cells if (ours := _accounting(**cell.settings)) is not None}
    digits = load_digits()
    rates: dict[str, list[float]] = {name: [] for name in MAKERS}
    if digits.name != "MNIST":
        return found | {"mnist.accuracy": Ours(math.nan, note="not run: MNIST is not installed")}
    turns = [(number, name) for number in range(seed, seed + (1 if smoke else 2)) for name in MAKERS]
    for done, (number, name) in enumerate(turns, start=1):
        rates[name].append(100.0 * _train(name, digits, number, smoke=smoke))
        progress(done, len(turns), f"{name}, accuracy {rates[name][-1]:.2f} %")
    note = "; ".join(f"{name} " + ", ".join(f"{rate:.2f}" for rate in rates[name]) for name in rates)
    found["mnist.accuracy"] = Ours(float(np.mean(rates["tree"])), float(np.mean(rates["buffers"])), note=note)
    return found


def same_order(batches: int, epochs: int, extra: int) -> float:
    """Squared sensitivity of a tree: each epoch has the same order, and `extra` empty steps come last."""
    steps = np.arange(batches * epochs + extra)
    level = ((steps % batches == np.arange(batches)[:, None]) & (steps < batches * epochs)).astype(float)
    total = (level**2).sum(axis=1)
    while level.shape[1] > 1:
        level = level[:, : level.shape[1] // 2 * 2].reshape(batches, -1, 2).sum(axis=2)
        total += (level**2).sum(axis=1)
    return float(total.max())


@cache
def example() -> tuple[float, float, float]:
    """Squared sensitivities of a completed tree, of the last one, and of all five together."""
    whole, last = (same_order(BATCHES, EPOCHS, extra) for extra in (2048 - BATCHES * EPOCHS, 0))
    return whole, last, (TREES - 1) * whole + last


def spread() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviation of the noise in the sum of all steps so far: five trees, and 200 bands that cost as much."""
    one, steps = np.zeros(1), BATCHES * EPOCHS
    tree = TreeNoise(one, noise_multiplier=NOISE, bound=1.0, steps=2048).prefix_variance()
    trees = NOISE * np.sqrt(np.concatenate([tree[:steps] + done * tree[-1] for done in range(TREES)]))
    bands = BandedNoise(one, noise_multiplier=1.0, bound=1.0, steps=TREES * steps, bands=200)
    sensitivity = bands.sensitivity(Participation(steps=TREES * steps, min_separation=BATCHES)).value
    return trees, NOISE / math.sqrt(example()[2]) * sensitivity * np.sqrt(bands.prefix_variance())


def _accounting(what: str, noise: float = NOISE) -> Ours | None:
    """A cell that needs no data; the notes have the sensitivity wherever the empty steps of a tree are."""
    whole, last, total = example()
    if what == "once":
        once = tree_sensitivity(Participation(steps=1600, max_participations=1))
        return _epsilon(once.event(noise).noise_multiplier, conversion="mironov2017", delta=1e-6)
    if what == "noise":
        trees, bands = (float(np.sqrt((stddev**2).mean())) for stddev in spread())
        return Ours(trees, bands)
    if what == "mnist epsilon":
        return _epsilon(4.0 / math.sqrt(same_order(240, 3, 0)))
    square = tree_sensitivity(Participation(steps=2048, min_separation=BATCHES, max_participations=EPOCHS)).value ** 2
    if what == "epsilon":
        wide = _epsilon(NOISE / math.sqrt((TREES - 1) * square + last))
        return _epsilon(NOISE / math.sqrt(total), f"with tree_sensitivity {wide.value:.4f}, today {wide.today:.4f}")
    return {"completed": Ours(whole, note=f"by tree_sensitivity {square:.0f}"), "last": Ours(last)}.get(what)


def _epsilon(noise_multiplier: float, note: str = "", conversion: str = "improved", **other: Any) -> Ours:
    """By the authors' orders; today, the exact curve of the Gaussian."""
    event, terms = Gaussian(noise_multiplier), TERMS | other
    theirs = RDPAccountant(orders=ORDERS, conversion=conversion).epsilon(event, **terms)
    return Ours(theirs, epsilon(event, **terms), note=note)


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
    pixels, tests = (2 * images - 1 for images in (digits.train_images[:records], digits.test_images))
    images, labels = torch.from_numpy(pixels), torch.from_numpy(digits.train_labels[:records])
    source = seeded(seed)
    with torch.random.fork_rng(devices=[]):
        model = _model(seed)
    plan = CyclicBatches(records, batches, epochs=3, entropy=source)
    terms: dict[str, Any] = {"bound": 1.0, "steps": plan.steps, "entropy": source}
    one, tree = (MAKERS[kind](np.zeros(1), noise_multiplier=1.0, **terms) for kind in (name, "tree"))
    noise = 4.0 * one.sensitivity(plan.participation).value / tree.sensitivity(plan.participation).value
    stream = MAKERS[name](dict(model.named_parameters()), noise_multiplier=noise, **terms)
    optimizer, ledger = torch.optim.SGD(model.parameters(), lr=1 / 0.4), Ledger(relation="add_remove", unit="example")
    options: dict[str, Any] = {"expected_batch_size": records / batches, "sampling": plan, "ledger": ledger}
    with Privatizer(model, clip=FlatClip(1.0), noise=stream, **options) as private:
        for rows in private:
            private.backward(cross_entropy(model(images[rows]), labels[rows], reduction="none"))
            private.release()
            optimizer.step()
    return accuracy(model, tests, digits.test_labels)


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Noise in the sums over steps of the CIFAR-10 example; beside it, the epsilons that were printed."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.plot(np.transpose(spread()), linewidth=0.7)
    left.legend(["five trees, noise 46.3", "200 bands at the same epsilon"])
    left.set(xlabel="step", ylabel="standard deviation of the noise in the sum so far / clip", ylim=(0, None))
    for at, ours, theirs in ((c.settings["noise"], found[c.id], float(c.published)) for c in cells if c.published):
        right.plot(at, ours.value, "C0o", at, ours.today, "C1s", at, theirs, "kx")
    right.set(xlabel="noise multiplier, 1600 rounds", ylabel="epsilon at delta 1e-6", xlim=(0, 10), ylim=0)
    right.legend(right.lines[:3], ["ours, as published", "ours, today", "published"])
