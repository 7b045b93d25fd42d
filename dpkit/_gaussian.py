r"""The discrete Gaussian around any real centre, by an exact proposal and an exact accept step.

Target: :math:`P[K = k] \propto e^{-(k - c)^2 / 2s^2}` over all integers. With r = rint(c) and f = c - r, an offset j
= k - r is proposed as a block and a place in it, j = iB + x with x uniform in [0, B). The least magnitude in block i
is a = iB for i >= 0 and a = (-1 - i)B + 1 for i < 0; its weight is :math:`e^{-a(a-1)/2s^2}`, and j is accepted with
probability :math:`e^{-t/2s^2}`,

.. math:: t = j^2 - 2jf - a(a-1) \ge 0 \quad\text{for every } |f| \le 1/2,

because :math:`j^2 - |j| \ge a(a-1)` for :math:`|j| \ge a`. The product is :math:`e^{-((j-f)^2 - f^2)/2s^2}`: the
target, up to a factor that does not depend on j. B is 1 up to s = 4096 and keeps the table below 2**17 entries
beyond. The number of proposals depends on f by a factor of at most :math:`e^{1/8s^2}` and on nothing else that is
secret. Around integers there is nothing to accept where one table holds the whole law: :func:`gaussian_table`.
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
from dpkit._exact import LazyUniform, exp_bounds
from dpkit._ladder import Ladder, Law
from dpkit.entropy import Source, read_words

__all__ = ["WIDEST_TABLE", "CentredGaussian", "centred_gaussian", "gaussian_table"]

# Seven roundings of 2**-53 and an exp within 2**-50 of the truth stay a factor 16 below this; a test measures both.
_MARGIN = 2.0**-45
WIDEST_TABLE = 2.0**14
"""Up to this stddev one table holds the whole law around integers."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class CentredGaussian:
    """The sampler of one stddev: its block table, and the marks below which a proposal is accepted unseen.

    The spare bits of a word are the first bits of the accept step's uniform, its mark; `more_bits` are read where the
    mark alone does not decide.
    """

    stddev: float
    block_bits: int
    table: AliasTable
    squeeze: int
    more_bits: int

    def offsets(self, fractions: NDArray[np.float64], source: Source) -> NDArray[np.int64]:
        """Accepted offsets j: rejected ones are proposed again."""
        offsets, pending = self.trial(fractions, source)
        while pending.size:
            again, rejected = self.trial(fractions[pending], source)
            offsets[pending] = again
            pending = pending[rejected]
        return offsets

    def trial(self, fractions: NDArray[np.float64], source: Source) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Propose one offset for each fraction f; return the offsets and the positions of those that are rejected."""
        words = self.table.read(fractions.size, source)
        offsets, rare = self.table.draw(words, source)
        marks = self.table.marks(words)
        seen = marks >= self.squeeze
        seen[rare] = True  # the squeeze was made for the table's own blocks
        near = np.flatnonzero(seen)
        blocks = offsets[near]
        if self.block_bits:
            inside = read_words(source, fractions.size, 64) >> np.uint64(64 - self.block_bits)
            offsets <<= self.block_bits
            offsets |= inside.view(np.int64)
        if not near.size:
            return offsets, near
        uniforms = marks[near] << self.more_bits
        uniforms |= read_words(source, near.size, self.more_bits).astype(np.int64)
        return offsets, near[~self.accept(blocks, offsets[near], fractions[near], uniforms, source)]

    def accept(
        self,
        blocks: NDArray[np.int64],
        offsets: NDArray[np.int64],
        fractions: NDArray[np.float64],
        uniforms: NDArray[np.int64],
        source: Source,
    ) -> NDArray[np.bool_]:
        """The accept step: float64 where the margin allows, more bits and big integers where it does not."""
        accepted, undecided = self.decide(blocks, offsets, fractions, uniforms)
        for i in np.flatnonzero(undecided):
            exponent = self.exponent(int(blocks[i]), int(offsets[i]), float(fractions[i]))
            uniform = LazyUniform(source, int(uniforms[i]), self.uniform_bits)
            accepted[i] = uniform.below(partial(exp_bounds, exponent))
        return accepted

    @property
    def uniform_bits(self) -> int:
        """Bits of the uniform that float64 compares."""
        return self.table.spare_bits + self.more_bits

    def decide(
        self,
        blocks: NDArray[np.int64],
        offsets: NDArray[np.int64],
        fractions: NDArray[np.float64],
        uniforms: NDArray[Any],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which uniforms [u, u + 1) / 2**uniform_bits lie below exp(-t / 2s**2), and which may lie on it."""
        least = self._least(blocks).astype(np.float64)
        reach = np.abs(offsets).astype(np.float64)
        growth = (reach - least) * (reach + least) + least
        tilt = 2.0 * offsets * fractions
        inverse = 0.5 / (self.stddev * self.stddev)
        chance = np.exp((tilt - growth) * inverse)
        margin = _MARGIN * (1.0 + (growth + np.abs(tilt)) * inverse)
        low = uniforms * 2.0**-self.uniform_bits
        accepted = low + 2.0**-self.uniform_bits <= chance - margin
        return accepted, ~accepted & (low < chance + margin)

    def _least(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The least magnitude in each block: iB, or (-1 - i)B + 1."""
        negative = blocks >> 63
        return ((blocks ^ negative) << self.block_bits) - negative

    def exponent(self, block: int, offset: int, fraction: float) -> Fraction:
        """The rational number t / 2s**2 of the accept step."""
        least = int(self._least(np.array(block)))
        excess = offset * offset - least * (least - 1) - 2 * offset * Fraction(fraction)
        return excess / (2 * Fraction(self.stddev) ** 2)


@lru_cache(maxsize=16)
def centred_gaussian(
    stddev: float,
    word_bits: int = 64,
    spare_bits: int = SPARE_BITS,
    more_bits: int = 32,
    block_bits: int | None = None,
) -> CentredGaussian:
    """The sampler for one stddev in (0, 2**40]; small words and other blocks are for the test that runs every tape."""
    if block_bits is None:
        block_bits = max(0, math.frexp(stddev)[1] - 12)
    block, unit = 1 << block_bits, 1 / (2 * Fraction(stddev) ** 2)
    step = 2 * block * block * unit
    up = Ladder(Fraction(0), (block * block - block) * unit, step)
    down = Ladder(Fraction(0), (block * block + block) * unit, step)
    table = build_table(Law(up, down), word_bits, spare_bits)
    farthest = max((table.last + 1 << block_bits) - 1, -table.first << block_bits)
    worst = (farthest * (farthest + 1) - (farthest - block + 1) * (farthest - block)) * unit
    squeeze = max(0, math.floor((1 - worst - Fraction(1, 1 << 40)) * (1 << spare_bits)))
    return CentredGaussian(stddev, block_bits, table, squeeze, more_bits)


@lru_cache(maxsize=16)
def gaussian_table(stddev: float, word_bits: int = 64, spare_bits: int = SPARE_BITS) -> AliasTable:
    """The whole law around integers as one table, for a stddev of at most WIDEST_TABLE."""
    unit = 1 / (2 * Fraction(stddev) ** 2)
    up, down = Ladder(Fraction(0), unit, 2 * unit), Ladder(unit, 3 * unit, 2 * unit)
    return build_table(Law(up, down), word_bits, spare_bits)
