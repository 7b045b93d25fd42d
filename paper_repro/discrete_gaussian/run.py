"""The law by plain sums, its cost by the accountants, and draws against it by exact tails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
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

RELATION, DRAWS = Relation.add_remove, 200_000
_delta = partial(PLDAccountant().delta, relation=RELATION)


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
    above = 0.5 * erfc((np.abs(values)[:, None] + np.array([-0.5, 0.5])) / math.sqrt(2.0 * square))
    return values, weights / weights.sum(), above[:, 0] - above[:, 1]


def _summed(stddev: float, sensitivity: float, epsilon: float) -> float:
    """Delta by plain sums."""
    values, chances, _ = law(stddev**2)
    gains = epsilon + sensitivity * (2.0 * values - sensitivity) / (2.0 * stddev**2)
    return -float(chances @ np.expm1(np.minimum(gains, 0.0)))


def _sigma(sensitivity: float, epsilon: float, delta: float) -> Ours:
    """The least parameter from which on all larger ones will do; today, the least of all: delta may rise again."""
    grid = np.geomspace(0.05, 10.0, 1000).tolist()
    enough = np.array([_summed(stddev, sensitivity, epsilon) <= delta for stddev in grid])
    terms: dict[str, Any] = {"epsilon": epsilon, "delta": delta, "relation": RELATION, "tolerance": 1e-7}
    least = [
        calibrate(lambda stddev: DiscreteGaussian(stddev, sensitivity), bracket=(grid[place], grid[place + 1]), **terms)
        for place in np.flatnonzero(~enough[:-1] & enough[1:])
    ]
    return Ours(least[-1], least[0] if len(least) > 1 else None)


def _variance(square: float) -> Ours:
    """The library's variance; the law must have the same, and that of a rounded Gaussian stands in the note."""
    values, chances, rounded = law(square)
    library = DiscreteGaussianMechanism(math.sqrt(square), step=1.0).variance(Bounded(np.zeros(1, dtype=int), 1.0))
    if not math.isclose(library, values**2 @ chances, rel_tol=1e-12):
        raise ValueError("DiscreteGaussianMechanism.variance is not the law's.")
    return Ours(library, note=f"rounded Gaussian {float(values**2 @ rounded):.6g}")


def _tail(square: float) -> Ours:
    """By how much P[X > k] exceeds that of a rounded Gaussian, at the k from 0 to 3 sigma where it is most."""
    values, chances, rounded = law(square)
    excess = np.cumsum((chances - rounded)[::-1])[::-1][values > 0]
    return Ours(float(excess[: math.ceil(3.0 * math.sqrt(square))].max()))


def _bounds(least: float, most: float) -> Ours:
    """The variance over the paper's upper bound, or its lower bound over the variance, where one of them is largest."""
    squares = np.geomspace(least, most, 200)
    variances = np.array([values**2 @ chances for values, chances, _ in map(law, squares)])
    uppers = squares * (1.0 - (waves := 4.0 * math.pi**2 * squares) / np.expm1(waves))
    return Ours(float(np.maximum(variances / uppers, 1.0 / np.expm1(1.0 / squares) / variances).max()))


def _against_continuous(square: float, most: float) -> Ours:
    """The largest delta over that of the real law: eight steps to each kink, at odd multiples of 1 / (2 square)."""
    stddev, epsilons = math.sqrt(square), np.linspace(0.0, most, round(8.0 * square * most) + 1).tolist()
    discrete, real = DiscreteGaussian(stddev, 1.0), Gaussian(stddev)
    ratios = [_delta(discrete, epsilon=epsilon) / _delta(real, epsilon=epsilon) for epsilon in epsilons]
    return Ours(max(ratios), note=f"the least is {min(ratios):.4g}")


def _by_zcdp(stddev: float, epsilon: float, queries: int = 1) -> Ours:
    """Delta of queries of sensitivity 1 by zCDP and the paper's conversion; today, of the noise itself."""
    event, rho = DiscreteGaussian(stddev, 1.0) * queries, 0.5 * queries / stddev**2
    note = f"by the older conversion {math.exp(-((epsilon - rho) ** 2) / (4.0 * rho)):.4g}"
    return Ours(ZCDPAccountant().delta(event, epsilon=epsilon, relation=RELATION), _delta(event, epsilon=epsilon), note)


def _by_laplace(stddev: float, epsilon: float, queries: int) -> Ours:
    """Delta of discrete Laplace noise by the best composition of pure epsilons; today, of the noise itself."""
    pure = 2.0 * math.asinh(math.sqrt(0.5) / stddev)  # variance 1 / (2 sinh²(pure / 2))
    events = (PureDP(pure, RELATION) * queries, DiscreteLaplace(1.0 / pure, 1.0) * queries)
    best, itself = (_delta(event, epsilon=epsilon) for event in events)
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


_METHODS: dict[str, Any] = {"sigma": _sigma, "variance": _variance, "bounds": _bounds, "tail": _tail, "draws": _draws}
_METHODS |= {"ratio": _against_continuous, "zcdp": _by_zcdp, "laplace": _by_laplace}


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Variances, a delta curve with IBM's value on it, and delta near the published parameters."""
    left, middle, right = figure.subplots(1, 3)
    squares, epsilons = np.geomspace(0.05, 20.0, 60), np.linspace(0.0, 4.0, 129).tolist()
    variances = [(values**2 @ chances, values**2 @ rounded) for values, chances, rounded in map(law, squares)]
    left.loglog(squares, variances, label=("discrete", "rounded"))
    left.loglog(squares, squares, ":", label="real")
    left.set(xlabel="sigma²", ylabel="variance", ylim=(1e-4, 30.0))
    curves = [_by_zcdp(2.0, epsilon) for epsilon in epsilons]
    middle.semilogy(epsilons, [ours.today for ours in curves], label="discrete")
    middle.semilogy(epsilons, [_delta(Gaussian(2.0), epsilon=epsilon) for epsilon in epsilons], ":", label="real")
    middle.semilogy(epsilons, [ours.value for ours in curves], "-.", label="by zCDP")
    middle.plot(3.0, 4.00902e-10, "kx", label="published: sigma 2")
    middle.set(xlabel="epsilon", ylabel="delta, sigma 2", ylim=(1e-17, 1.0))
    for cell in cells:
        if cell.settings["what"] == "sigma" and found[cell.id].today is not None:
            theirs, terms = float(cell.published or "nan"), (cell.settings["sensitivity"], cell.settings["epsilon"])
            sigmas = (np.linspace(0.55, 1.15, 241) * theirs).tolist()
            over = [_summed(sigma, *terms) / cell.settings["delta"] for sigma in sigmas]
            right.semilogy(sigmas, over, label="sensitivity {:g}, epsilon {:g}".format(*terms))
            right.plot(theirs, 1.0, "kx", label="published" if theirs == 2.0 else None)
    right.set(xlabel="sigma", ylabel="delta / what is allowed", ylim=(1e-3, 1e4))
    for axes in figure.axes:
        axes.legend(fontsize=7)
