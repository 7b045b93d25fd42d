"""Attacks on the floating point of noise and sums, and the float samplers that they succeed against.

The samplers of Holohan & Braghin 2021 (arXiv 2107.10138) are written here from the paper as diffprivlib 0.6.6 has them,
whose import fails beside current scikit-learn; on one tape of random numbers they gave its outputs bit by bit.
"""

import math
from fractions import Fraction

import numpy as np
from scipy import stats

ZERO = 1 << 20  # the "lowest bit" of 0, which every power of two divides


# samplers


def numpy_noise(kind):
    """numpy's generator around a centre: the noise is added in float64."""

    def noisy(center, count, seed):
        return center + getattr(np.random.default_rng(seed), kind)(size=count)

    return noisy


def numpy_noise32(center, count, seed):
    """The same in float32, the dtype of gradients."""
    return np.float32(center) + np.random.default_rng(seed).standard_normal(count, dtype=np.float32)


def four_uniform_laplace(center, count, seed, scale=1.0):
    """Laplace noise as Holohan & Braghin have it: two products of a logarithm and a cosine."""
    u = np.random.default_rng(seed).random((4, count))
    return center - scale * (np.log(1 - u[0]) * np.cos(np.pi * u[1]) + np.log(1 - u[2]) * np.cos(np.pi * u[3]))


def two_normal_gaussian(center, count, seed, scale=1.0):
    """Gaussian noise as diffprivlib 0.6.6 has it: the sum of two normals over the root of two."""
    first, second = np.random.default_rng(seed).standard_normal((2, count))
    return center + (first + second) / np.sqrt(2) * scale


def four_normal_gaussian(center, count, seed, scale=1.0):
    """Gaussian noise as Opacus's secure mode has it, in float64: half the sum of four normals."""
    return center + np.random.default_rng(seed).standard_normal((4, count)).sum(axis=0) / 2 * scale


def geometric_loop(source, q):
    """A two-sided geometric number by trials until the first failure: the work is the magnitude (16-bit trials)."""
    while True:
        magnitude = 0
        while int.from_bytes(source.bytes(2), "big") < q * 2**16:
            magnitude += 1
        negative = source.bytes(1)[0] & 1
        if magnitude or not negative:
            return -magnitude if negative else magnitude


# attacks on what the last bits say


def lowest_bits(values):
    """For each float64 v the largest e with v a multiple of 2**e."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    whole = np.abs(np.ldexp(mantissas, 53)).astype(np.int64)
    return np.where(whole == 0, ZERO, exponents - 53 + np.log2(np.maximum(whole & -whole, 1)).astype(np.int64))


def precision_attack(noisy, centers, count, seed=0):
    """(e, {centre: how often the release is not a multiple of 2**e}), e the coarsest step that a centre keeps to.

    Haney et al. 2022 (arXiv 2207.13793): a float sum has no bits below the last place of its larger operand, so the
    event never happens at one centre. Wherever it happens at another, that release has an infinite privacy loss.
    """
    bits = {center: lowest_bits(noisy(center, count, seed)) for center in centers}
    kept = max(int(low.min()) for low in bits.values())
    return kept, {center: float(np.mean(low < kept)) for center, low in bits.items()}


def ideal_rate(cdf):
    """P[noise is not a multiple of 2**-53] for float64 noise that is rounded to nearest from the law of |noise|.

    In [2**-k-1, 2**-k) the last place is 2**-53-k, whose multiples are those of 2**-53 once in 2**k.
    """
    return sum(2.0**-k * cdf(2.0**-k) for k in range(1, 60))


def rate_bounds(rate, count, alpha=1e-9):
    """The binomial counts, as shares, that a rate leaves at both sides with probability alpha together at most."""
    return stats.binom.ppf(alpha / 2, count, rate) / count, stats.binom.isf(alpha / 2, count, rate) / count


def laplace_reaches(value, center):
    """Whether numpy's Laplace noise of scale 1 around a centre can be this float64 at all.

    Mironov 2012: the noise is plus or minus log(j / 2**53) for one of 2**53 integers j. All j whose logarithm could lie
    within the last place of the value are tried.
    """
    guess = round(2.0**53 * math.exp(-abs(value - center)))
    near = [j / 2.0**53 for j in range(max(1, guess - 8), min(2**53, guess + 8) + 1)]
    return any(value in (center - math.log(u), center + math.log(u)) for u in near)


# attacks on sums and on work


def summation_attack(total, records, gone=0):
    """How far removing one record moves a computed total, as an exact number."""
    moved = Fraction(float(total(records))) - Fraction(float(total(np.delete(records, gone, axis=0))))
    return abs(moved)


def work_attack(draws, work):
    """An exact p-value of "what a draw cost says nothing of how large it is": Fisher's test on a fourfold table.

    Draws above and not above the median magnitude, against work above and not above the median.
    """
    large = np.abs(draws) > np.median(np.abs(draws))
    long = np.asarray(work) > np.median(work)
    table = [[int(np.sum(a & b)) for b in (long, ~long)] for a in (large, ~large)]
    return stats.fisher_exact(table).pvalue


class Counted:
    """A source that counts what it gives."""

    def __init__(self, source):
        self.source, self.given, self.secure = source, 0, source.secure

    def bytes(self, n):
        self.given += n
        return self.source.bytes(n)
