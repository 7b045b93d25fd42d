r"""Laplace noise: the real law around any real centre, rounded to the integers, and the discrete law around integers.

*Rounded.* Exact, and not a step more private or less. With r = rint(c), f = c - r, a sign v and an exponential variable
sE = N + T (N integer, T in [0, 1)), which are independent with :math:`P[N = n] \propto e^{-n/s}` and T of density
:math:`\propto e^{-t/s}`,

.. math:: \mathrm{rint}(c + v s E) = r + v \lfloor \tfrac12 + v f + N + T \rfloor = r + v (N + [T \ge \theta]),
          \qquad \theta = \tfrac12 - v f \in [0, 1].

So T itself is never drawn, only whether it reaches :math:`\theta`:
:math:`P[T < \theta] = (1 - e^{-\theta/s}) / (1 - e^{-1/s})`. N is drawn as 64 H + L, two independent geometric digits,
each from an alias table. Ties of rint have probability zero. Rounding is post-processing of the real mechanism.

*Discrete.* :math:`P[K = k] \propto e^{-|k|/s}`. With k = iB + x for i >= 0 and k = -1 - ((-1 - i)B + x) for i < 0 and
x in [0, B), the weight is one of i times :math:`e^{-x/s}`: block and place are independent, and so are the binary
digits of x. Nothing is ever rejected. B is 1 up to s = 1024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._alias import SPARE_BITS, AliasTable, build_table
from dpkit._exact import LazyUniform, truncated_exponential_bounds
from dpkit._ladder import Empty, Ladder, Law
from dpkit.entropy import Source, read_words

__all__ = ["DiscreteLaplace", "RoundedLaplace", "discrete_laplace_table", "rounded_laplace"]

_DIGIT = 64
_GROUP_BITS = 12  # binary digits of a place that share a table of 4096 entries
# Rounding theta costs 2**-54 and each expm1 a few units of 2**-53; P has slope below 2.4 in theta for s >= 1/2.
_MARGIN = 2.0**-45


@final
@dataclass(frozen=True, slots=True, eq=False)
class RoundedLaplace:
    """The sampler of one scale: tables of the high and of the low digit of the integer part."""

    scale: float
    high: AliasTable
    low: AliasTable
    accept_bits: int

    def offsets(self, fractions: NDArray[np.float64], source: Source) -> NDArray[np.int64]:
        """One offset v (N + [T >= theta]) for each fraction f."""
        words = self.high.read(fractions.size, source)
        magnitudes, _ = self.high.draw(words, source)
        magnitudes *= _DIGIT
        magnitudes += self.low.values(fractions.size, source)
        sign = 1 - 2 * (self.high.marks(words) & 1)
        marks = read_words(source, fractions.size, self.accept_bits)
        stays, undecided = self.decide(sign, fractions, marks)
        for i in np.flatnonzero(undecided):
            theta = Fraction(1, 2) - int(sign[i]) * Fraction(float(fractions[i]))
            stays[i] = self._stays(theta, LazyUniform(source, int(marks[i]), self.accept_bits))
        magnitudes += ~stays
        return np.asarray(sign * magnitudes, dtype=np.int64)

    def decide(
        self, sign: NDArray[np.int64], fractions: NDArray[np.float64], marks: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which uniforms [mark, mark + 1) / 2**accept_bits lie below P[T < theta], and which may lie on it."""
        theta = 0.5 - sign * fractions
        chance = np.expm1(theta * (-1.0 / self.scale)) / math.expm1(-1.0 / self.scale)
        low = marks * 2.0**-self.accept_bits
        stays = low + 2.0**-self.accept_bits <= chance - _MARGIN
        return stays, ~stays & (low < chance + _MARGIN)

    def _stays(self, theta: Fraction, uniform: LazyUniform) -> bool:
        """Whether T < theta, by exact comparison."""
        scale = Fraction(self.scale)
        return uniform.below(lambda bits: truncated_exponential_bounds(theta, scale, bits))


@lru_cache(maxsize=16)
def rounded_laplace(
    scale: float, word_bits: int = 64, spare_bits: int = SPARE_BITS, accept_bits: int = 32
) -> RoundedLaplace:
    """The sampler for one scale in [1/2, 2048]; small word sizes are for the test that enumerates every tape."""
    rate = 1 / Fraction(scale)
    high = build_table(_geometric(_DIGIT * rate, None), word_bits, spare_bits)
    low = build_table(_geometric(rate, _DIGIT), word_bits, spare_bits)
    return RoundedLaplace(scale, high, low, accept_bits)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DiscreteLaplace:
    """The sampler of one scale: a table of the blocks, and one for each group of binary digits of the place in a block.

    Attributes:
        blocks: over i.
        digits: (lowest binary digit, table) of each group.
        block_bits: log2 B.
    """

    blocks: AliasTable
    digits: tuple[tuple[int, AliasTable], ...]
    block_bits: int

    def values(self, count: int, source: Source) -> NDArray[np.int64]:
        """Draws around 0, shape (count,)."""
        values = self.blocks.values(count, source)
        if self.digits:
            place = values >> 63  # of a block below zero, all digits are mirrored
            place &= (1 << self.block_bits) - 1
            for lowest, table in self.digits:
                digit = table.values(count, source)
                digit <<= lowest
                place ^= digit
            values <<= self.block_bits
            values |= place
        return values


@lru_cache(maxsize=16)
def discrete_laplace_table(
    scale: float,
    word_bits: int = 64,
    spare_bits: int = SPARE_BITS,
    block_bits: int | None = None,
    digit_bits: int = _GROUP_BITS,
) -> DiscreteLaplace:
    """The sampler for one scale in (0, 2**40]; small words and other blocks are for the test that runs every tape."""
    if block_bits is None:
        block_bits = max(0, math.frexp(scale)[1] - 10)
    rate = 1 / Fraction(scale)
    step = rate * (1 << block_bits)
    blocks = build_table(
        Law(Ladder(Fraction(0), step, Fraction(0)), Ladder(rate, step, Fraction(0))), word_bits, spare_bits
    )
    digits = []
    for lowest in range(0, block_bits, digit_bits):
        limit = 1 << min(digit_bits, block_bits - lowest)
        digits.append((lowest, build_table(_geometric(rate * (1 << lowest), limit), word_bits, spare_bits)))
    return DiscreteLaplace(blocks, tuple(digits), block_bits)


def _geometric(rate: Fraction, limit: int | None) -> Law:
    """Weights exp(-k rate) of k = 0, 1, ..., below the limit."""
    return Law(Ladder(Fraction(0), rate, Fraction(0), limit), Empty())
