"""The least Gaussian noise for an epsilon, the delta of a given one, and what the classical formula asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from accountants import Gaussian, PLDAccountant
from dpkit import GaussianMechanism
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

#: Where the classical formula is proved, up to its end: the removed part falls with epsilon.
EPSILONS = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        found[cell.id] = _METHODS[settings.pop("what")](**settings)
        progress(done, len(cells), cell.id)
    return found


def analytic(epsilon: float, delta: float) -> float:
    """The least noise multiplier."""
    return GaussianMechanism.for_epsilon(epsilon, delta, "add_remove").noise_multiplier


def classical(epsilon: float, delta: float) -> float:
    """Dwork & Roth 2014, theorem A.1; proved for epsilon < 1."""
    return math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon


def removed(epsilon: float, delta: float) -> float:
    """The part of the classical variance that is not needed."""
    return 1.0 - (analytic(epsilon, delta) / classical(epsilon, delta)) ** 2


def _least_removed(delta: float) -> Ours:
    """The least over the range of the classical formula."""
    parts = [removed(epsilon, delta) for epsilon in EPSILONS]
    if parts != sorted(parts, reverse=True):
        raise ValueError("the removed part does not fall with epsilon: take a finer grid.")
    return Ours(parts[-1], note=f"at epsilon 1; {parts[4]:.3f} at epsilon 0.5, {parts[2]:.3f} at 0.1")


def _variance(exp_epsilon: float, delta: float, l2_squared: float) -> Ours:
    """By Google's search with our delta: double, halve to a thousandth; today, the least. Their epsilons are logs."""
    epsilon, sensitivity = math.log(exp_epsilon), math.sqrt(l2_squared)

    def too_likely(stddev: float) -> bool:
        event = Gaussian(stddev / sensitivity)
        return PLDAccountant().delta(event, epsilon=epsilon, relation="add_remove") > delta

    low, high = 0.0, sensitivity
    while too_likely(high):
        low, high = high, 2.0 * high
    while high - low > 1e-3 * low:
        middle = 0.5 * low + 0.5 * high
        low, high = (middle, high) if too_likely(middle) else (low, middle)
    return Ours(high**2, analytic(epsilon, delta) ** 2 * l2_squared)


def _sigma(epsilon: float, delta: float, sensitivity: float) -> Ours:
    """The least standard deviation."""
    return Ours(analytic(epsilon, delta) * sensitivity)


def _delta(noise_multiplier_squared: float, epsilon: float = 0.0, exp_epsilon: float = 1.0) -> Ours:
    """Delta of a given noise."""
    accountant, target = PLDAccountant(), epsilon + math.log(exp_epsilon)
    event = Gaussian(math.sqrt(noise_multiplier_squared))
    return Ours(accountant.delta(event, epsilon=target, relation="add_remove"))


def _times_too_likely(epsilon: float, delta: float) -> Ours:
    """Delta of the classical noise where it is not proved, as a multiple of the delta that was asked for."""
    got = PLDAccountant().delta(Gaussian(classical(epsilon, delta)), epsilon=epsilon, relation="add_remove")
    return Ours(got / delta)


def _private_up_to(delta: float) -> Ours:
    """The epsilon above which the classical noise is less than what is needed."""
    low, high = 1.0, 100.0
    while high - low > 1e-6:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if removed(middle, delta) >= 0.0 else (low, middle)
    return Ours(low)


_METHODS: Mapping[str, Callable[..., Ours]] = {
    "least removed": _least_removed,
    "variance": _variance,
    "sigma": _sigma,
    "delta": _delta,
    "times": _times_too_likely,
    "private up to": _private_up_to,
}


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """What is removed, over epsilon, and the noise itself with Google's values over it."""
    left, right = figure.subplots(1, 2)
    epsilons = np.geomspace(0.02, 12.0, 25)
    for delta in (1e-2, 1e-4, 1e-6, 1e-8):
        left.plot(epsilons, [removed(float(epsilon), delta) for epsilon in epsilons], label=f"delta {delta:g}")
    left.plot([0.02, 1.0], [1 / 3, 1 / 3], "k--", label="published: at least a third")
    left.axvspan(1.0, 12.0, color="lightgrey", alpha=0.5, label="classical formula not proved")
    left.axhline(0.0, color="grey", linewidth=0.5)
    left.set(xscale="log", xlabel="epsilon", ylabel="part of the classical variance that is removed")
    left.legend(fontsize=7)
    near = np.linspace(0.8, 2.6, 19)
    for delta in (1e-10, 1e-5):
        right.plot(near, [analytic(float(epsilon), delta) for epsilon in near], label=f"ours, delta {delta:g}")
        right.plot(near, [classical(float(epsilon), delta) for epsilon in near], ":", label=f"classical, {delta:g}")
    for cell in cells:
        if cell.settings["what"] == "variance":
            size = math.sqrt(float(cell.published or "nan") / cell.settings["l2_squared"])
            right.plot(math.log(cell.settings["exp_epsilon"]), size, "kx", zorder=3)
    right.plot([], [], "kx", label="published")
    right.set(xlabel="epsilon", ylabel="noise multiplier")
    right.legend(fontsize=7)
