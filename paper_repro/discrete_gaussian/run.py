"""The law by plain sums, its cost by the accountants, and draws against it by exact tails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, erfc

from accountants import PLDAccountant, Relation, ZCDPAccountant, calibrate
from accountants.events import DiscreteGaussian, DiscreteLaplace, Gaussian, PureDP
from dpkit import Bounded, DiscreteGaussianMechanism
from dpkit.entropy import seeded
from dpkit.samplers import discrete_gaussian
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

RELATION = Relation.add_remove
DRAWS = 200_000


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; only the draws depend on the seed."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        what = settings.pop("what")
        found[cell.id] = _METHODS[what](**settings, **({"seed": seed} if what == "draws" else {}))
        progress(done, len(cells), cell.id)
    return found


def law(square: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The integers that matter, their chances, and those that they have in a rounded Gaussian."""
    values = np.arange(-(reach := math.ceil(38.0 * math.sqrt(square)) + 2), reach + 1, dtype=float)
    weights = np.exp(-(values**2) / (2.0 * square))
    ends = np.abs(values)[:, None] + np.array([-0.5, 0.5])
    above = 0.5 * erfc(ends / math.sqrt(2.0 * square))
    return values, weights / weights.sum(), above[:, 0] - above[:, 1]


def _delta(stddev: float, epsilon: float) -> Ours:
    """Delta of sensitivity 1."""
    return Ours(PLDAccountant().delta(DiscreteGaussian(stddev, 1.0), epsilon=epsilon, relation=RELATION))


def _sigma(sensitivity: float, epsilon: float, delta: float, above: float = 0.1) -> Ours:
    """The least parameter for a target: from `above` on, as published; today, from 0.1 on."""

    def least(low: float) -> float:
        terms: dict[str, Any] = {"epsilon": epsilon, "delta": delta, "relation": RELATION, "tolerance": 1e-6}
        return calibrate(lambda stddev: DiscreteGaussian(stddev, sensitivity), bracket=(low, 50.0), **terms)

    return Ours(least(above), least(0.1) if above > 0.1 else None)


def _variance(square: float) -> Ours:
    """Variance; the library's own must be the same, and that of a rounded Gaussian stands in the note."""
    values, chances, rounded = law(square)
    variance = float(values**2 @ chances)
    library = DiscreteGaussianMechanism(math.sqrt(square), step=1.0).variance(Bounded(np.zeros(1, dtype=int), 1.0))
    if not math.isclose(library, variance, rel_tol=1e-12):
        raise ValueError("DiscreteGaussianMechanism.variance is not the law's.")
    return Ours(variance, note=f"rounded Gaussian {float(values**2 @ rounded):.6g}")


def _tail(square: float) -> Ours:
    """By how much P[X > k] exceeds that of a rounded Gaussian, at the k from 0 to 3 sigma where it is most."""
    values, chances, rounded = law(square)
    excess = np.cumsum((chances - rounded)[::-1])[::-1][values > 0]
    return Ours(float(excess[: math.ceil(3.0 * math.sqrt(square))].max()))


def _against_continuous(square: float, most: float) -> Ours:
    """The largest delta of the discrete law over that of the real one, epsilons from 0 to `most`."""
    accountant, stddev, ratios = PLDAccountant(), math.sqrt(square), []
    for epsilon in np.linspace(0.0, most, 101).tolist():
        terms: dict[str, Any] = {"epsilon": epsilon, "relation": RELATION}
        discrete, real = (
            accountant.delta(event, **terms) for event in (DiscreteGaussian(stddev, 1.0), Gaussian(stddev))
        )
        ratios.append(discrete / real)
    return Ours(max(ratios), note=f"the least is {min(ratios):.4g}")


def _by_zcdp(stddev: float, epsilon: float, queries: int = 1) -> Ours:
    """Delta of queries of sensitivity 1 by zCDP and the paper's conversion; today, of the noise itself."""
    event, rho = DiscreteGaussian(stddev, 1.0) * queries, 0.5 * queries / stddev**2
    by_zcdp, itself = (
        which.delta(event, epsilon=epsilon, relation=RELATION) for which in (ZCDPAccountant(), PLDAccountant())
    )
    return Ours(by_zcdp, itself, note=f"by the older conversion {math.exp(-((epsilon - rho) ** 2) / (4.0 * rho)):.4g}")


def _by_laplace(stddev: float, epsilon: float, queries: int) -> Ours:
    """Delta of discrete Laplace noise by the best composition of pure epsilons; today, of the noise itself."""
    pure = 2.0 * math.asinh(math.sqrt(0.5) / stddev)  # variance 1 / (2 sinh²(pure / 2))
    events = (PureDP(pure, RELATION) * queries, DiscreteLaplace(1.0 / pure, 1.0) * queries)
    best, itself = (PLDAccountant().delta(event, epsilon=epsilon, relation=RELATION) for event in events)
    return Ours(best, itself, note=f"pure epsilon {queries * pure:.4f}")


def _draws(square: float, seed: int) -> Ours:
    """The chance of draws so far from the law, by exact binomial tails in each bin, all bins together."""
    values, chances, _ = law(square)
    width = max(1, math.floor(math.sqrt(square) / 4.0))
    draws = discrete_gaussian(DRAWS, math.sqrt(square), seeded(seed)) // width
    expected = np.bincount(np.clip(values // width, -20, 20).astype(int) + 20, chances, minlength=41)
    seen = np.bincount(np.clip(draws, -20, 20) + 20, minlength=41)
    sides = np.minimum(bdtr(seen, DRAWS, expected), np.where(seen > 0, bdtrc(seen - 1.0, DRAWS, expected), 1.0))
    return Ours(float(min(1.0, 2.0 * len(expected) * sides.min())), note=f"{DRAWS} draws, {len(expected)} bins")


_METHODS: dict[str, Any] = {"delta": _delta, "sigma": _sigma, "variance": _variance, "tail": _tail, "draws": _draws}
_METHODS |= {"ratio": _against_continuous, "zcdp": _by_zcdp, "laplace": _by_laplace}


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Variances, a delta curve with IBM's value on it, and Google's parameters over ours."""
    left, middle, right = figure.subplots(1, 3)
    squares, epsilons = np.geomspace(0.05, 20.0, 60), np.linspace(0.0, 4.0, 41).tolist()
    laws = [law(float(square)) for square in squares]
    left.loglog(squares, [values**2 @ chances for values, chances, _ in laws], label="discrete")
    left.loglog(squares, [values**2 @ rounded for values, _, rounded in laws], "--", label="rounded")
    left.loglog(squares, squares, ":", label="real")
    left.set(xlabel="sigma²", ylabel="variance", ylim=(1e-4, 30.0))
    curves = [_by_zcdp(2.0, epsilon) for epsilon in epsilons]
    middle.semilogy(epsilons, [ours.today for ours in curves], label="discrete")
    middle.semilogy(
        epsilons,
        [PLDAccountant().delta(Gaussian(2.0), epsilon=e, relation=RELATION) for e in epsilons],
        ":",
        label="real",
    )
    middle.semilogy(epsilons, [ours.value for ours in curves], "-.", label="by zCDP")
    middle.set(xlabel="epsilon", ylabel="delta, sigma 2", ylim=(1e-17, 1.0))
    for cell in cells:
        theirs, settings = float(cell.published or "nan"), cell.settings
        if settings["what"] == "delta":
            middle.plot(settings["epsilon"], theirs, "kx", label="published")
        elif settings["what"] == "sigma":
            right.plot(found[cell.id].value, theirs, "kx", label="published" if settings["sensitivity"] > 5.0 else None)
    right.plot([0.0, 5.5], [0.0, 5.5], label="agreement")
    right.set(xlabel="sigma, ours", ylabel="sigma, published")
    for axes in (left, middle, right):
        axes.legend(fontsize=7)
