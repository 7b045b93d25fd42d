"""The example's network and settings; then its step beside that of Opacus itself, if it is installed."""

from __future__ import annotations

import copy
import importlib
import math
import warnings
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accountants import Ledger
from dpkit import FlatClip
from dpkit.demo.data import Digits
from dpkit.demo.model import accuracy
from dpkit.entropy import seeded
from dpkit.training import clipped_sum, record
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, mnist, seeded_model, train

__all__ = ["DATA", "network", "run", "trained"]

MEAN, SPREAD = 0.1307, 0.3081
"""Of the training pixels, as the example has them: public."""

CLIP = 1.5

RECIPE = Recipe(noise_multiplier=1.3, sampling_prob=240 / 60_000, steps=15 * 250, clip=CLIP, rate=0.25)

PARITY = 240
"""Records of the step that is compared."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Published noise, and that of the tight bound at the published epsilon; a short run takes two steps each."""
    digits = mnist(smoke=smoke)
    published = next(float(cell.published or "nan") for cell in cells if cell.id == "epsilon")
    recipes = {"published": RECIPE, "today": RECIPE.within(published)}
    meter = Meter(progress, recipes.values(), smoke=smoke)
    rights, spent = {}, {}
    for name, recipe in recipes.items():
        rights[name], spent[name] = trained(digits, recipe, seed, meter, smoke=smoke)
    noise = recipes["today"].noise_multiplier
    found = {
        "accuracy.opacus": Ours(rights["published"], rights["today"], note=f"{digits.name}; today noise {noise:.4f}"),
        "accuracy.tfprivacy": Ours(rights["published"], rights["today"], note=digits.name),
        "epsilon": Ours(cost(spent["published"], published=True), cost(spent["published"])),
        "epsilon.today": Ours(cost(spent["today"], published=True), cost(spent["today"])),
    }
    return found | {"parity": _parity(digits, seed)}


def network() -> nn.Sequential:
    """The example's: 26 010 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def trained(digits: Digits, recipe: Recipe, seed: int, meter: Meter, *, smoke: bool) -> tuple[float, Ledger]:
    """Test accuracy in %, and what was released."""
    model = seeded_model(network, seed)
    ledger = train(
        model,
        (torch.from_numpy(digits.train_images) - MEAN) / SPREAD,
        torch.from_numpy(digits.train_labels),
        recipe,
        source=seeded(seed),
        tick=lambda: meter(f"noise {recipe.noise_multiplier:.3f}"),
        smoke=smoke,
    )
    return 100.0 * accuracy(model, (digits.test_images - MEAN) / SPREAD, digits.test_labels), ledger


def _parity(digits: Digits, seed: int) -> Ours:
    """How far the clipped sum of one step is from that of Opacus, as a fraction of its length."""
    try:
        opacus, optimizers = (importlib.import_module(name) for name in ("opacus", "opacus.optimizers"))
    except ModuleNotFoundError:
        return Ours(math.nan, note="not run: Opacus is not installed")
    images = (torch.from_numpy(digits.train_images[:PARITY]) - MEAN) / SPREAD
    labels = torch.from_numpy(digits.train_labels[:PARITY])
    model = seeded_model(network, seed)
    theirs = copy.deepcopy(model)
    with record(model) as tape:
        losses = cross_entropy(model(images), labels, reduction="none")
    ours = clipped_sum(tape, losses, FlatClip(CLIP)).value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Opacus says about hooks is not ours to mend
        wrapped = opacus.GradSampleModule(theirs)
        torch.autograd.backward(cross_entropy(wrapped(images), labels))
        inner = torch.optim.SGD(wrapped.parameters(), lr=1.0)
        terms = {"noise_multiplier": 0.0, "max_grad_norm": CLIP, "expected_batch_size": PARITY}
        optimizers.DPOptimizer(inner, **terms).pre_step()
    sums = {name: PARITY * cast("Tensor", parameter.grad) for name, parameter in theirs.named_parameters()}
    apart = math.hypot(*(float((torch.as_tensor(ours[name]) - value).norm()) for name, value in sums.items()))
    return Ours(apart / math.hypot(*(float(value.norm()) for value in sums.values())))
