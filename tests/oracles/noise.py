"""Slow and obvious laws of the lattice noise, and exact tails for testing draws against them."""

import math
import random
from fractions import Fraction

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


def every_trial(sampler):
    """Every random tape of one trial of a block sampler with small words, as columns, one row a tape prefix.

    Returns (words, inside, more, near, weight): `more` is read only where `near` says that the word's mark does not
    decide alone; a row where it is not read stands for `weight` = 2**more_bits tapes. The remainder's words are
    left out.
    """
    table = sampler.table
    words = np.arange(1 << table.word_bits, dtype=np.uint64)
    words = words[table.lookup(words) < table.size]
    inside = np.arange(1 << sampler.block_bits, dtype=np.uint64)
    words, inside = (column.reshape(-1) for column in np.meshgrid(words, inside, indexing="ij"))
    near = table.marks(words) >= sampler.squeeze
    repeats = np.where(near, 1 << sampler.more_bits, 1)
    more = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    words, inside, near = (np.repeat(column, repeats) for column in (words, inside, near))
    return words, inside, more, near, np.where(near, 1, 1 << sampler.more_bits)


def trial_tape(sampler, words, inside, more, near):
    """The tape that makes one trial of these columns, and nothing after it."""
    kind = f"<u{sampler.table.word_bits // 8}"
    pieces = [words.astype(kind).tobytes()]
    if sampler.block_bits:
        pieces.append((inside << np.uint64(64 - sampler.block_bits)).tobytes())
    if near.any():
        pieces.append(more[near].astype(f"<u{sampler.more_bits // 8}").tobytes())
    return Tape(*pieces)


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


def smallest_p_value_of_two(first, second, cells=32):
    """An exact, Bonferroni-corrected p-value that two samples of integers have one law: a hypergeometric a cell."""
    pooled = np.sort(np.concatenate([first, second]))
    edges = np.unique(pooled[np.linspace(0, len(pooled) - 1, cells + 1).astype(int)[1:-1]])
    counts = [np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1) for sample in (first, second)]
    tails = []
    for a, b in zip(*counts, strict=True):
        law = stats.hypergeom(len(pooled), a + b, len(first))
        tails.append(min(law.cdf(a), law.sf(a - 1)))
    return 2 * len(tails) * min(tails)


class ScalarOracle:
    """One draw at a time, in rational numbers: slow, obvious, and sharing nothing with the library.

    Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), Algorithms 1 to 3; Poisson numbers by Devroye 1986, Lemma X.3.3
    with uniforms of 200 bits compared exactly.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)

    def coin(self, chance):
        """Bernoulli(p) for a rational p."""
        return self.random.randrange(chance.denominator) < chance.numerator

    def coin_exp(self, gamma):
        """Bernoulli(exp(-gamma)): Algorithm 1."""
        while gamma > 1:
            if not self.coin_exp(Fraction(1)):
                return False
            gamma -= 1
        k = 1
        while self.coin(gamma / k):
            k += 1
        return k % 2 == 1

    def laplace(self, scale):
        """P[k] proportional to exp(-|k| / scale): Algorithm 2 for scale = t / s."""
        t, s = scale.numerator, scale.denominator
        while True:
            u = self.random.randrange(t)
            if not self.coin_exp(Fraction(u, t)):
                continue
            v = 0
            while self.coin_exp(Fraction(1)):
                v += 1
            magnitude = (u + t * v) // s
            if self.random.randrange(2):
                return magnitude
            if magnitude:
                return -magnitude

    def gaussian(self, variance):
        """P[k] proportional to exp(-k^2 / 2 variance): Algorithm 3."""
        t = math.isqrt(math.floor(variance)) + 1
        while True:
            y = self.laplace(Fraction(t))
            if self.coin_exp((abs(y) - variance / t) ** 2 / (2 * variance)):
                return y

    def poisson(self, rate):
        """The largest n such that the product of n uniforms stays above exp(-rate)."""
        with mp.workdps(80):
            floor, product, n = mp.exp(-mp.mpf(rate)), mp.mpf(1), -1
            while product > floor:
                product *= mp.mpf(self.random.getrandbits(200)) / (1 << 200)
                n += 1
            return n

    def skellam(self, variance):
        """The difference of two Poisson numbers."""
        return self.poisson(variance / 2) - self.poisson(variance / 2)
