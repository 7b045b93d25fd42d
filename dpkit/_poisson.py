r"""The Poisson law, exact at any rate up to 2**39, and with it Skellam noise: the difference of two Poisson draws.

Target: :math:`P[N = n] = e^{-\lambda} \lambda^n / n!`. With the mode c = floor(lambda), n = c + iB + x with x uniform
in [0, B): block i has the weight of its likeliest number m (c + iB, or c + iB + B - 1 for i < 0), and n is accepted
with probability P[N = n] / P[N = m], a product of ratios that are at most 1. B is 1 up to lambda = 2**24, and nothing
is rejected there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._alias import SPARE_BITS, AliasTable, build_table
from dpkit._exact import LazyUniform
from dpkit._ladder import Law
from dpkit.entropy import Source, read_words

__all__ = ["PoissonSampler", "log_ratio", "poisson_sampler", "walk"]

# A log-ratio in a table's range is within 2**-39 of the truth (a test compares with mpmath), exp within 2**-50.
_MARGIN = 2.0**-36
_TABLE_BITS = 12  # one table up to a standard deviation of 2**12,
_BLOCKS_BITS = 8  # and blocks of 1/256 to 1/128 of it beyond
_EXACT_BELOW = 16  # log n! comes from gammaln below, from Stirling's series above


@final
@dataclass(frozen=True, slots=True)
class _Slope:
    """One side of the mode: the weights of its blocks, as :class:`dpkit._ladder.Side` says.

    Attributes:
        rate: lambda.
        block_bits: log2 B.
        sign: 1 upwards, -1 downwards.
    """

    rate: Fraction
    block_bits: int
    sign: int

    def integers(self, bits: int, depth: int) -> tuple[list[int], int, int]:
        """Lower bounds by products of ratios at most 1, each rounded down: off by at most one for each factor."""
        mode, steps = math.floor(self.rate), 1 << self.block_bits
        number = mode if self.sign > 0 else mode - 1
        weight = walk(1 << bits, mode, number - mode, self.rate)
        factors, found = 1, list[int]()
        while weight >= 1 << (bits - depth):
            found.append(weight)
            weight = walk(weight, number, self.sign * steps, self.rate)
            number, factors = number + self.sign * steps, factors + steps
        # The ratios fall away from the mode: the rest is below a geometric series.
        ratio = self._next_ratio(number)
        return found, factors, math.ceil((weight + factors) / (1 - ratio))

    def logs(self, depth: int) -> tuple[NDArray[np.float64], float]:
        """By :func:`log_ratio`; 12 standard deviations and 138 numbers reach below 2**-46 at every rate."""
        mode, block = math.floor(self.rate), 1 << self.block_bits
        reach = math.ceil(12.0 * math.sqrt(self.rate) + 3.0 * depth) // block + 2
        tops = mode + block * np.arange(reach) if self.sign > 0 else mode - 1 - block * np.arange(reach)
        tops = tops[tops >= 0]
        logs = log_ratio(tops, np.full_like(tops, mode), float(self.rate))
        kept = int(np.count_nonzero(logs > -depth * math.log(2.0)))
        if kept == tops.size:
            return logs, 0.0  # the numbers end at zero
        gap = 1.0 - float(self._next_ratio(int(tops[kept]))) * (1.0 + 2.0**-50)
        return logs[:kept], math.exp(logs[kept]) * (1.0 + _MARGIN) / gap

    def _next_ratio(self, number: int) -> Fraction:
        """P[N = the next number outwards] / P[N = number], below 1."""
        return self.rate / (number + 1) if self.sign > 0 else max(Fraction(0), number / self.rate)


def walk(weight: int, number: int, steps: int, rate: Fraction) -> int:
    """A weight of one number, times the ratios to the number `steps` further, rounded down; 0 for numbers below 0."""
    numerator, denominator = rate.numerator, rate.denominator
    for n in range(number + 1, number + steps + 1):
        weight = weight * numerator // (denominator * n)
    for n in range(number, number + steps, -1):
        weight = weight * max(n, 0) * denominator // numerator
    return weight


def log_ratio(numbers: NDArray[np.int64], others: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
    """Return log P[N = number] - log P[N = other], for numbers >= 0."""
    return np.asarray(_minus_log(others, rate) - _minus_log(numbers, rate), dtype=np.float64)


def _minus_log(numbers: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
    """-log P[N = n], by the saddle-point form, which cancels nowhere: rate h(n/rate - 1) + log(2 pi n)/2 + delta(n)."""
    from scipy.special import gammaln

    n = np.maximum(numbers, _EXACT_BELOW).astype(np.float64)
    stirling = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / n**2) / n**2) / n**2) / n
    far = rate * _deviance((n - rate) / rate) + 0.5 * np.log(2.0 * math.pi * n) + stirling
    few = np.minimum(numbers, _EXACT_BELOW).astype(np.float64)
    return np.where(numbers >= _EXACT_BELOW, far, rate - few * math.log(rate) + gammaln(few + 1.0))


def _deviance(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """h(u) = (1 + u) log(1 + u) - u: near 0 the sum of (-u)**k / (k (k - 1)) over k >= 2."""
    near = np.abs(u) < 0.1
    small = np.where(near, -u, 0.0)
    series = np.zeros_like(u)
    for k in range(20, 1, -1):
        series = series * small + 1.0 / (k * (k - 1))
    large = np.where(near, 1.0, u)
    return np.where(near, series * small * small, (1.0 + large) * np.log1p(large) - large)


@final
@dataclass(frozen=True, slots=True, eq=False)
class PoissonSampler:
    """The sampler of one rate: a table of the blocks, and the marks below which a number is accepted unseen.

    The spare bits of a word are the first bits of the accept step's uniform, its mark, as in the discrete Gaussian.
    """

    rate: Fraction
    block_bits: int
    table: AliasTable
    squeeze: int
    more_bits: int

    def values(self, count: int, source: Source) -> NDArray[np.int64]:
        """Draws minus the mode, shape (count,)."""
        values, pending = self.trial(count, source)
        while pending.size:
            again, rejected = self.trial(pending.size, source)
            values[pending] = again
            pending = pending[rejected]
        return values

    def trial(self, count: int, source: Source) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Propose numbers, less the mode; return them and the positions of those that are rejected."""
        words = self.table.read(count, source)
        values, rare = self.table.draw(words, source)
        if not self.block_bits:
            return values, np.empty(0, dtype=np.intp)
        marks = self.table.marks(words)
        seen = marks >= self.squeeze
        seen[rare] = True  # the squeeze was made for the table's own blocks
        near = np.flatnonzero(seen)
        blocks = values[near]
        inside = read_words(source, count, 64) >> np.uint64(64 - self.block_bits)
        values <<= self.block_bits
        values |= inside.view(np.int64)
        uniforms = marks[near] << self.more_bits
        uniforms |= read_words(source, near.size, self.more_bits).astype(np.int64)
        return values, near[~self.accept(blocks, values[near], uniforms, source)]

    def accept(
        self, blocks: NDArray[np.int64], values: NDArray[np.int64], uniforms: NDArray[np.int64], source: Source
    ) -> NDArray[np.bool_]:
        """The accept step: float64 where the margin allows, more bits and big integers where it does not."""
        accepted, undecided = self.decide(blocks, values, uniforms)
        for i in np.flatnonzero(undecided):
            top, value = int(self._tops(blocks[i])), int(values[i])
            uniform = LazyUniform(source, int(uniforms[i]), self.uniform_bits)
            accepted[i] = uniform.below(partial(self.ratio_bounds, top, value))
        return accepted

    @property
    def uniform_bits(self) -> int:
        """Bits of the uniform that float64 compares."""
        return self.table.spare_bits + self.more_bits

    def decide(
        self, blocks: NDArray[np.int64], values: NDArray[np.int64], uniforms: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which uniforms [u, u + 1) / 2**uniform_bits lie below P[number] / P[block's top], and which may lie on it."""
        mode = math.floor(self.rate)
        numbers = values + mode
        ratio = np.exp(log_ratio(np.maximum(numbers, 0), self._tops(blocks) + mode, float(self.rate)))
        ratio[numbers < 0] = -1.0
        low = uniforms * 2.0**-self.uniform_bits
        accepted = low + 2.0**-self.uniform_bits <= ratio - _MARGIN
        return accepted, ~accepted & (low < ratio + _MARGIN)

    def _tops(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The likeliest number of each block, less the mode: iB, or iB + B - 1 for i < 0."""
        return (blocks << self.block_bits) + ((blocks >> 63) & ((1 << self.block_bits) - 1))

    def ratio_bounds(self, top: int, value: int, bits: int) -> tuple[int, int]:
        """Integers around 2**bits P[N = mode + value] / P[N = mode + top]."""
        low = walk(1 << bits, math.floor(self.rate) + top, value - top, self.rate)
        return low, low + abs(value - top)


@lru_cache(maxsize=16)
def poisson_sampler(
    rate: float,
    word_bits: int = 64,
    spare_bits: int = SPARE_BITS,
    more_bits: int = 32,
    block_bits: int | None = None,
) -> PoissonSampler:
    """The sampler for one rate in (0, 2**39]; small words and other blocks are for the test that runs every tape."""
    exact = Fraction(rate)
    if block_bits is None:
        spread = math.frexp(math.sqrt(rate))[1]
        block_bits = 0 if spread <= _TABLE_BITS else spread - _BLOCKS_BITS
    table = build_table(Law(_Slope(exact, block_bits, 1), _Slope(exact, block_bits, -1)), word_bits, spare_bits)
    blocks, block, mode = np.arange(table.first, table.last + 1), 1 << block_bits, math.floor(exact)
    likeliest = mode + blocks * block + np.where(blocks < 0, block - 1, 0)
    farthest = mode + blocks * block + np.where(blocks < 0, 0, block - 1)
    least = float(np.exp(log_ratio(np.maximum(farthest, 0), likeliest, rate)).min()) if farthest[0] >= 0 else 0.0
    squeeze = max(0, math.floor((least - _MARGIN) * (1 << spare_bits)))
    return PoissonSampler(exact, block_bits, table, squeeze, more_bits)
