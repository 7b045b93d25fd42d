"""Scattering features, private means and variances of their channels, and a linear model; a network from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accountants import Gaussian, Ledger
from dpkit import FlatClip, GaussianMechanism
from dpkit.demo.data import Digits
from dpkit.demo.model import accuracy, build_model
from dpkit.entropy import Source, seeded
from paper_repro.results import Ours, Progress
from paper_repro.scattering import CHANNELS, SIDE, drawings, scattering
from paper_repro.spec import Cell
from paper_repro.training import DATA, MOMENTS, Meter, Recipe, cost, mnist, seeded_model, train

__all__ = ["DATA", "least_noise", "run"]

LINEAR = Recipe(noise_multiplier=3.04, sampling_prob=4096 / 60_000, steps=40 * 14, clip=0.1, rate=8.0, momentum=0.9)

PIXELS = Recipe(noise_multiplier=1.23, sampling_prob=512 / 60_000, steps=40 * 117, clip=0.1, rate=0.5, momentum=0.9)

STATISTICS = Gaussian(8.0)
"""Each of the two releases: means of the channels, and of their squares."""

EPSILON = 3.0


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """Noise for the budget, then both trainings; a short run takes two steps on few digits."""
    digits = mnist(smoke=smoke)
    found = {cell.id: Ours(*least_noise(cell.settings)) for cell in cells if "batch" in cell.settings}
    meter = Meter(progress, [LINEAR, PIXELS], smoke=smoke, extra=2)
    for name, trained in {"linear": _linear, "pixels": _pixels}.items():
        right, ledger = trained(digits, seed, meter, smoke=smoke)
        found[f"accuracy.{name}"] = Ours(right, note=digits.name)
        found[f"epsilon.{name}"] = Ours(cost(ledger, published=True), cost(ledger))
    return found


def least_noise(settings: dict[str, Any]) -> tuple[float, float]:
    """For the budget, by the moments accountant and by the tight bound."""
    records, batch, epochs = (settings[name] for name in ("records", "batch", "epochs"))
    recipe = Recipe(
        noise_multiplier=1.0, sampling_prob=batch / records, steps=records // batch * epochs, clip=1, rate=1
    )
    before = [STATISTICS] * settings.get("statistics", 0)
    published, tight = (recipe.within(EPSILON, before=before, accountant=one) for one in (MOMENTS, None))
    return published.noise_multiplier, tight.noise_multiplier


def _linear(digits: Digits, seed: int, meter: Meter, *, smoke: bool) -> tuple[float, Ledger]:
    """Test accuracy in % of a linear model on scaled features, and what was released."""
    inputs, tests = (_features(images, meter) for images in (digits.train_images, digits.test_images))
    source, ledger = seeded(seed), Ledger(relation="add_remove", unit="example")
    mean, spread = _statistics(inputs, source, ledger)
    for part in (inputs, tests):
        part.sub_(mean).div_(spread)
    model = seeded_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE**2, 10)), seed)
    labels, tick = torch.from_numpy(digits.train_labels), partial(meter, "linear")
    train(model, inputs, labels, LINEAR, source=source, tick=tick, ledger=ledger, smoke=smoke)
    return 100.0 * accuracy(model, tests.numpy(), digits.test_labels), ledger


def _features(images: NDArray[Any], meter: Meter) -> Tensor:
    """Scattering of all images."""
    found = scattering(torch.from_numpy(images))
    meter("features")
    return found


def _records(features: Tensor, power: int) -> Tensor:
    """Means of each record's channels, or of their squares: float32, ``(n, channels)``."""
    return features.pow(power).mean(dim=(2, 3))


def _statistics(features: Tensor, source: Source, ledger: Ledger) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, from two releases."""
    mechanism, moments = GaussianMechanism(noise_multiplier=STATISTICS.noise_multiplier), []
    seen = scattering(drawings(2000))
    for power in (1, 2):
        # the authors clip to the median length over the digits; over drawings it tells nothing of anybody
        clip = float(_records(seen, power).norm(dim=1).median())
        records = _records(features, power).double().numpy()
        release = mechanism.release(FlatClip(clip).sum(records), ledger=ledger, entropy=source)
        moments.append(torch.from_numpy(release.value / len(records)).float()[:, None, None])
    variance = (moments[1] - moments[0] ** 2).clamp(min=0.0)
    # where noise has eaten the variance the channel is left out, as by the authors
    spread = torch.where(variance > 0.0, (variance + 1e-5).sqrt(), torch.inf)
    return moments[0], spread


def _pixels(digits: Digits, seed: int, meter: Meter, *, smoke: bool) -> tuple[float, Ledger]:
    """Test accuracy in % of the small network with tanh, from pixels, and what was released."""
    model, tick = build_model(seed), partial(meter, "pixels")
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    ledger = train(model, images, labels, PIXELS, source=seeded(seed), tick=tick, smoke=smoke)
    return 100.0 * accuracy(model, digits.test_images, digits.test_labels), ledger
