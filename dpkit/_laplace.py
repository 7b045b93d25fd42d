r"""The real Laplace law around any real centre, rounded to the integers: exact, and not a step more private or less.

With r = rint(c), f = c - r, a sign v and an exponential variable sE = N + T (N integer, T in [0, 1)), which are
independent with :math:`P[N = n] \propto e^{-n/s}` and T of density :math:`\propto e^{-t/s}`,

.. math:: \mathrm{rint}(c + v s E) = r + v \lfloor \tfrac12 + v f + N + T \rfloor = r + v (N + [T \ge \theta]),
          \qquad \theta = \tfrac12 - v f \in [0, 1].

So T itself is never drawn, only whether it reaches :math:`\theta`:
:math:`P[T < \theta] = (1 - e^{-\theta/s}) / (1 - e^{-1/s})`. N is drawn as 64 H + L, two independent geometric digits,
each from an alias table. Ties of rint have probability zero. Rounding is post-processing of the real mechanism.
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
from dpkit._exact import LazyUniform, truncated_exponential_bounds
from dpkit.entropy import Source, read_words

__all__ = ["RoundedLaplace", "rounded_laplace"]

_DIGIT = 64
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
        words = read_words(source, fractions.size, self.high.word_bits)
        magnitudes, _ = self.high.draw(words, source)
        magnitudes *= _DIGIT
        magnitudes += self.low.draw(read_words(source, fractions.size, self.low.word_bits), source)[0]
        sign = 1 - 2 * (words >> words.dtype.type(self.high.word_bits - 1)).astype(np.int64)
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
def rounded_laplace(scale: float, word_bits: int = 64, accept_bits: int = 32) -> RoundedLaplace:
    """The sampler for one scale in [1/2, 2048]; small word sizes are for the test that enumerates every tape."""
    rate = 1 / Fraction(scale)
    high = build_table(Ladder(_DIGIT * rate, Fraction(0)), word_bits)
    low = build_table(Ladder(rate, Fraction(0), limit=_DIGIT), word_bits)
    return RoundedLaplace(scale, high, low, accept_bits)
