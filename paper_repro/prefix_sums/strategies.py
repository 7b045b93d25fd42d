"""Strategies for prefix sums: the library's streams, and matrices that it has no stream of."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.signal import lfilter

from accountants.participation import Participation
from accountants.sensitivity import tree_sensitivity
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, NoiseStream, TreeNoise
from dpkit.entropy import seeded

__all__ = ["STRATEGIES", "best_buffers", "growing", "normalised", "singular_values", "stream", "variance"]

Vector = NDArray[np.float64]

STRATEGIES = ("plain tree", "tree", "eighth of the bands", "root", "normalised root", "buffers")


def stream(name: str, steps: int, like: int = 1, seed: int = 0, **given: Any) -> NoiseStream:
    """A stream of the library; a root has all its bands, and buffers may be given."""
    terms: dict[str, Any] = {"noise_multiplier": 1.0, "bound": 1.0, "steps": steps, "entropy": seeded(seed)}
    if name == "tree":
        return TreeNoise(np.zeros(like), **terms)
    if name == "buffers":
        return BufferedToeplitzNoise(np.zeros(like), **terms, **(given or {"buffers": 6}))
    return BandedNoise(np.zeros(like), bands=steps if name == "root" else max(1, steps // 8), **terms)


def variance(name: str, steps: int, **given: Any) -> Vector:
    """Of each prefix sum, times the squared sensitivity of one contribution."""
    once = Participation(steps=steps, max_participations=1)
    if name == "plain tree":
        return np.array([tree_sensitivity(once).value ** 2 * step.bit_count() for step in range(1, steps + 1)])
    if name == "normalised root":
        return normalised(steps)
    made = stream(name, steps, **given)
    return np.asarray(made.prefix_variance() * made.sensitivity(once).value ** 2)


def _root(steps: int) -> Vector:
    """The coefficients f of 1 / sqrt(1 - x)."""
    return np.cumprod(np.concatenate([[1.0], 1.0 - 0.5 / np.arange(1, steps)]))


def normalised(steps: int) -> Vector:
    """With the columns of the root divided by their norms d: row i of the prefix sums times its inverse.

    Its entry j is the sum over k from j to i of d[k] g[k-j], with g the coefficients of sqrt(1 - x).
    """
    root = _root(steps)
    norms, inverse = np.sqrt(np.cumsum(root**2)[::-1]), root / (1.0 - 2.0 * np.arange(steps))
    row, variances = np.zeros(steps), np.empty(steps)
    for last in range(steps):
        row[: last + 1] += norms[last] * inverse[last::-1]
        variances[last] = row @ row
    return variances


def growing(steps: int) -> Vector:
    """The part of these variances that grows with the number of steps.

    By summation by parts, entry j is d[i] f[i-j] and the sum over k < i of (d[k] - d[k+1]) f[k-j]. The squares of the
    first add up to F[i] F[n-1-i], F the sums of f²: about (log(n) / π)². What is left adds a bounded number to the
    largest variance and to their mean (0.17 and 0.28), though more to the last rows.
    """
    sums = np.cumsum(_root(steps) ** 2)
    return np.asarray(sums * sums[::-1])


def singular_values(steps: int) -> Vector:
    """Of the matrix of prefix sums; their mean is no larger than the error of any factorisation."""
    return 0.5 / np.sin((2.0 * np.arange(1, steps + 1) - 1.0) * math.pi / (4 * steps + 2))


@cache
def best_buffers(steps: int) -> tuple[Vector, Vector]:
    """Scales and decays of the two buffers with the least largest error, searched by logarithms.

    The strategy is a filter, 1 + x sum scale / (1 - decay x), and so is its inverse.
    """

    def loss(logs: Vector) -> float:
        scales, decays = np.exp(logs[:2]), 1.0 - np.exp(logs[2:])
        poles = np.poly(decays)
        zeros = poles + np.append(0.0, scales[0] * np.poly(decays[1:]) + scales[1] * np.poly(decays[:1]))
        column, sums = lfilter(zeros, poles, np.eye(1, steps)[0]), lfilter(poles, zeros, np.ones(steps))
        return 0.5 * math.log((column @ column) * (sums @ sums))

    best = np.log([0.1, 0.1, 1e-3, 1e-1])
    for _ in range(2):
        best = minimize(loss, best, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxfev": 800}).x
    return np.exp(best[:2]), 1.0 - np.exp(best[2:])
