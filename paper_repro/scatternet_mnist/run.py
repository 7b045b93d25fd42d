"""Scattering features, private means and variances of their channels, and a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accountants import Ledger
from dpkit import FlatClip, GaussianMechanism
from dpkit.demo.data import load_digits
from dpkit.demo.model import accuracy
from dpkit.entropy import Source, seeded
from paper_repro.results import Ours, Progress
from paper_repro.scattering import CHANNELS, SIDE, scattering
from paper_repro.spec import Cell
from paper_repro.training import DATA, Meter, Recipe, cost, few, seeded_model, train

__all__ = ["DATA", "run"]

RECIPE = Recipe(noise_multiplier=3.04, sampling_prob=4096 / 60_000, steps=40 * 14, clip=0.1, rate=8.0, momentum=0.9)

NOISE, CLIPS = 8.0, (0.2, 0.04)
"""Of the means of a record's channels and of their squares: the clips are public guesses of how long those are."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Features, statistics, training; a short run takes two steps on few digits."""
    digits = few(load_digits(), smoke=smoke)
    meter = Meter(progress, [RECIPE], smoke=smoke, extra=2)
    inputs, tests = (_features(images, meter) for images in (digits.train_images, digits.test_images))
    source, ledger = seeded(seed), Ledger(relation="add_remove", unit="example")
    mean, spread = _statistics(inputs, source, ledger)
    for part in (inputs, tests):
        part.sub_(mean).div_(spread)
    model = seeded_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE**2, 10)), seed)
    labels = torch.from_numpy(digits.train_labels)
    tick = partial(meter, "training")
    train(model, inputs, labels, RECIPE, source=source, tick=tick, ledger=ledger, smoke=smoke)
    right = 100.0 * accuracy(model, tests.numpy(), digits.test_labels)
    spent = cost(ledger, published=True), cost(ledger)
    return {"accuracy": Ours(right, note=digits.name), "epsilon": Ours(*spent)}


def _features(images: NDArray[Any], meter: Meter) -> Tensor:
    """Scattering of all images."""
    found = scattering(torch.from_numpy(images))
    meter("features")
    return found


def _statistics(features: Tensor, source: Source, ledger: Ledger) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, from two releases."""
    mechanism, moments = GaussianMechanism(noise_multiplier=NOISE), []
    for power, clip in zip((1, 2), CLIPS, strict=True):
        records = features.pow(power).mean(dim=(2, 3)).double().numpy()
        release = mechanism.release(FlatClip(clip).sum(records), ledger=ledger, entropy=source)
        moments.append(torch.from_numpy(release.value / len(records)).float()[:, None, None])
    variance = (moments[1] - moments[0] ** 2).clamp(min=0.0)
    # where noise has eaten the variance the channel is left out, as by the authors
    spread = torch.where(variance > 0.0, (variance + 1e-5).sqrt(), torch.inf)
    return moments[0], spread
