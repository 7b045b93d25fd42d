r"""The discrete Gaussian around any real centre, by an exact proposal and an exact accept step.

Target: :math:`P[K = k] \propto e^{-(k - c)^2 / 2s^2}` over all integers. With r = rint(c) and f = c - r, an offset
j = k - r is proposed as follows. A sign and an index i give a block that starts at a = i B; with x uniform in [0, B)
the magnitude is a + x, and j is a + x or, with the other sign, -1 - (a + x). The index has weight
:math:`e^{-a(a-1)/2s^2}`, and j is accepted with probability :math:`e^{-t/2s^2}`,

.. math:: t = j^2 - 2jf - a(a-1) \ge 0 \quad\text{for every } |f| \le 1/2,

because :math:`j^2 - |j| \ge a(a-1)` on both sides. The product is :math:`e^{-((j-f)^2 - f^2)/2s^2}`: the target, up
to a factor that does not depend on j. B is 1 up to s = 2048 and keeps the table below 2**15 entries beyond. The number
of proposals depends on f by a factor of at most :math:`e^{1/8s^2}` and on nothing else that is secret.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._alias import AliasTable, Ladder, build_table
from dpkit._exact import LazyUniform, exp_bounds
from dpkit.entropy import Source, read_words

__all__ = ["CentredGaussian", "centred_gaussian"]

# Seven roundings of 2**-53 and an exp within 2**-50 of the truth stay a factor 16 below this; a test measures both.
_MARGIN = 2.0**-45


@final
@dataclass(frozen=True, slots=True, eq=False)
class CentredGaussian:
    """The sampler of one stddev: its block table and the words below which a proposal is accepted unseen."""

    stddev: float
    block_bits: int
    table: AliasTable
    accept_bits: int
    squeeze: int

    def offsets(self, fractions: NDArray[np.float64], source: Source) -> NDArray[np.int64]:
        """Accepted offsets j: rejected ones are proposed again."""
        offsets, accepted = self.trial(fractions, source)
        pending = np.flatnonzero(~accepted)
        while pending.size:
            again, accepted = self.trial(fractions[pending], source)
            offsets[pending] = again
            pending = pending[~accepted]
        return offsets

    def trial(self, fractions: NDArray[np.float64], source: Source) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Propose one offset for each fraction f; return the offsets and which of them are accepted."""
        words = read_words(source, fractions.size, self.table.word_bits)
        index, rare = self.table.draw(words, source)
        starts = index << self.block_bits
        magnitudes = starts
        if self.block_bits:
            inside = read_words(source, fractions.size, 64) >> np.uint64(64 - self.block_bits)
            magnitudes = starts + inside.astype(np.int64)
        negative = (words >> words.dtype.type(self.table.word_bits - 1)).astype(np.int64)
        offsets = magnitudes ^ -negative  # -1 - m where negative
        marks = read_words(source, fractions.size, self.accept_bits)
        accepted = marks < self.squeeze
        accepted[rare] = False  # the squeeze was made for the table's own indices
        near = np.flatnonzero(~accepted)
        if near.size:
            accepted[near] = self._accept(starts[near], offsets[near], fractions[near], marks[near], source)
        return offsets, accepted

    def _accept(
        self,
        starts: NDArray[np.int64],
        offsets: NDArray[np.int64],
        fractions: NDArray[np.float64],
        marks: NDArray[Any],
        source: Source,
    ) -> NDArray[np.bool_]:
        """The accept step: float64 where the margin allows, more bits and big integers where it does not."""
        accepted, undecided = self.decide(starts, offsets, fractions, marks)
        for i in np.flatnonzero(undecided):
            exponent = self.exponent(int(starts[i]), int(offsets[i]), float(fractions[i]))
            uniform = LazyUniform(source, int(marks[i]), self.accept_bits)
            accepted[i] = uniform.below(lambda bits, exponent=exponent: exp_bounds(exponent, bits))  # type: ignore[misc]
        return accepted

    def decide(
        self,
        starts: NDArray[np.int64],
        offsets: NDArray[np.int64],
        fractions: NDArray[np.float64],
        marks: NDArray[Any],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which uniforms [mark, mark + 1) / 2**accept_bits lie below exp(-t / 2s**2), and which may lie on it."""
        block = starts.astype(np.float64)
        reach = np.abs(offsets).astype(np.float64)
        growth = (reach - block) * (reach + block) + block
        tilt = 2.0 * offsets * fractions
        inverse = 0.5 / (self.stddev * self.stddev)
        chance = np.exp((tilt - growth) * inverse)
        margin = _MARGIN * (1.0 + (growth + np.abs(tilt)) * inverse)
        low = marks * 2.0**-self.accept_bits
        accepted = low + 2.0**-self.accept_bits <= chance - margin
        return accepted, ~accepted & (low < chance + margin)

    def exponent(self, start: int, offset: int, fraction: float) -> Fraction:
        """The rational number t / 2s**2 of the accept step."""
        excess = offset * offset - start * (start - 1) - 2 * offset * Fraction(fraction)
        return excess / (2 * Fraction(self.stddev) ** 2)


@lru_cache(maxsize=16)
def centred_gaussian(
    stddev: float, word_bits: int = 64, accept_bits: int = 32, block_bits: int | None = None
) -> CentredGaussian:
    """The sampler for one stddev in (0, 2**40]; small words and other blocks are for the test that runs every tape."""
    if block_bits is None:
        block_bits = max(0, math.frexp(stddev)[1] - 11)
    block, variance = 1 << block_bits, Fraction(stddev) ** 2
    table = build_table(Ladder((block * block - block) / (2 * variance), block * block / variance), word_bits)
    last = (table.size - 1) << block_bits
    worst = (block * (2 * last + block) + 2 * last + block) / (2 * variance)
    squeeze = max(0, math.floor((1 - worst - Fraction(1, 1 << 40)) * (1 << accept_bits)))
    return CentredGaussian(stddev, block_bits, table, accept_bits, squeeze)
