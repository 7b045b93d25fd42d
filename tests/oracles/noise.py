"""Slow and obvious laws of the lattice noise, and exact tails for testing draws against them."""

import math

import mpmath as mp
import numpy as np
from scipy import stats


class ExhaustedTapeError(Exception):
    """A tape was asked for more than is on it."""


class Tape:
    """Entropy that plays back what it was given, one piece a call, and then raises."""

    secure = False

    def __init__(self, *pieces):
        self.pieces = [bytes(piece) for piece in pieces]

    def bytes(self, n):
        if not self.pieces:
            raise ExhaustedTapeError
        piece = self.pieces.pop(0)
        assert len(piece) == n, (len(piece), n)
        return piece


def word(value):
    """64 bits as the samplers read them when they refine a comparison."""
    return int(value).to_bytes(8, "big")


def gaussian_weight(k, center, stddev):
    """exp(-(k - c)^2 / 2 s^2), 60 digits."""
    with mp.workdps(60):
        return mp.exp(-((mp.mpf(k) - mp.mpf(center)) ** 2) / (2 * mp.mpf(stddev) ** 2))


def gaussian_cdf(center, stddev, low, high):
    """P[K <= k] for k = low .. high, float64; the range must hold all but 1e-15 of the mass."""
    k = np.arange(low, high + 1, dtype=np.float64)
    weights = np.exp(-((k - center) ** 2) / (2.0 * stddev * stddev))
    return np.cumsum(weights) / math.fsum(weights)


def laplace_cdf(center, scale, low, high):
    """P[rint(c + scale * Laplace) <= k] for k = low .. high: the real CDF at k + 1/2."""
    x = (np.arange(low, high + 1) + 0.5 - center) / scale
    return np.where(x < 0, 0.5 * np.exp(-np.abs(x)), 1.0 - 0.5 * np.exp(-np.abs(x)))


def smallest_p_value(draws, cdf, low, cells=64):
    """An exact, Bonferroni-corrected p-value: one two-sided binomial test for each of `cells` intervals of the law."""
    edges = np.unique(np.searchsorted(cdf, np.linspace(0, 1, cells + 1)[1:-1]))
    bounds = np.concatenate([[0.0], cdf[edges], [1.0]])
    counts = np.bincount(np.searchsorted(edges + low, draws, side="left"), minlength=len(edges) + 1)
    tails = [
        min(stats.binom.cdf(count, len(draws), p), stats.binom.sf(count - 1, len(draws), p))
        for count, p in zip(counts, np.diff(bounds), strict=True)
        if p > 0
    ]
    return 2 * len(tails) * min(tails)
