r"""The laws of noise on the integers: what is drawn around a centre, how likely each integer is, how far it spreads.

* *Discrete Gaussian* around a real centre r + f, |f| <= 1/2: with j = k - r the weight :math:`e^{-j(j-2f)/2s^2}` is at
  most 1, and the weights add up to :math:`s\sqrt{2\pi}\,e^{f^2/2s^2}(1+2\sum_m e^{-2\pi^2s^2m^2}\cos 2\pi mf)`. The
  mean square of k - c is :math:`s^3\,\partial_s\log Z`; by Jacobi's product for Z it falls with :math:`\cos 2\pi f`,
  factor by factor, so that no centre has a larger one than f = 1/2, nor a smaller one than f = 0.
* *Discrete Laplace*: :math:`\tanh(1/2s)\,e^{-|j|/s}`.
* *Skellam* with variance v: :math:`e^{-v}I_j(v)`, by the power series where v and j are below 64, and elsewhere by
  Debye's expansion (DLMF 10.41.3) in :math:`R=\sqrt{j^2+v^2}`, :math:`p=j/R`:
  :math:`e^{R-v-j\,\mathrm{asinh}(j/v)}(2\pi R)^{-1/2}\sum_m V_m(p^2)R^{-m}` with :math:`U_m(p)=p^mV_m(p^2)`.

The last two need an integer centre: a real one is rounded to the nearest first, halves upward. All three are
log-concave, which bounds a tail by its first terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from dpkit.entropy import Source
from dpkit.samplers import centred_discrete_gaussian, discrete_laplace, skellam

__all__ = ["GaussianLaw", "LaplaceLaw", "Law", "SkellamLaw", "half_width", "nearest"]

Floats = NDArray[np.float64]

_SWITCH = 0.5  # below, a discrete Gaussian is summed term by term; above, its dual
_DUAL = np.arange(1.0, 5.0)  # exp(-2 pi^2 / 4 * 25) < 1e-53
_NEAR = np.arange(-8.0, 9.0)  # exp(-8 * 7 / 2 s^2) < 1e-48 for s < 1/2
_TABLE = 64  # where the series of Skellam ends and Debye's expansion begins: its tenth term is below 1e-15 there
_SERIES_TERMS = 160
_DEBYE_TERMS = 10
_BLOCKS_BITS = 12  # tails are summed in blocks of at most spread / 2**12
_SPREADS = 48  # tails are summed up to here; exp(-48) is below what any level can ask
_ROOM = 1.0 + 1e-11  # what the probabilities and their sums may be off by
_TAIL_EXPONENT = 800.0  # exp(-800) < 1e-347


class Law(Protocol):
    """Integer noise around real centres, all in lattice steps."""

    @property
    def spread(self) -> float:
        """The scale over which the law falls."""

    @property
    def reach(self) -> float:
        """A distance from the centre, rounded if it is rounded, that is exceeded with probability below 1e-346."""

    @property
    def rounds(self) -> bool:
        """Whether centres are rounded to integers before noise is added."""

    def draw(self, centers: Floats, source: Source, /) -> NDArray[np.int64]:
        """One integer for each centre, shape (d,)."""

    def pmf(self, outputs: Floats, centers: Floats, /) -> Floats:
        """The probability of each integer, to a relative 1e-12 where it is above 1e-300."""

    def variance(self, fraction: float, /) -> float:
        """Mean square of the noise around a centre with this fraction (which matters only where none is rounded)."""


@final
@dataclass(frozen=True, slots=True)
class GaussianLaw:
    """The discrete Gaussian of parameter `stddev` around the real centre itself."""

    stddev: float

    @property
    def spread(self) -> float:
        return self.stddev

    @property
    def reach(self) -> float:
        return 40.0 * self.stddev + 1.0  # exp(-800) of the heaviest integer, which is within 1 of the centre

    @property
    def rounds(self) -> bool:
        return False

    def draw(self, centers: Floats, source: Source, /) -> NDArray[np.int64]:
        return centred_discrete_gaussian(centers, self.stddev, source)

    def pmf(self, outputs: Floats, centers: Floats, /) -> Floats:
        middle = np.rint(centers)
        fractions, offsets = centers - middle, outputs - middle
        with np.errstate(under="ignore", over="ignore"):
            return np.asarray(self._weights(offsets, fractions) / self._total(fractions))

    def variance(self, fraction: float, /) -> float:
        variance = self.stddev * self.stddev
        if self.stddev < _SWITCH:
            weights = self._weights(_NEAR, np.array(fraction))
            return math.fsum((_NEAR - fraction) ** 2 * weights) / math.fsum(weights)
        heights, waves = self._dual(np.array(fraction))
        bent = 1.0 - 4.0 * math.pi**2 * variance * _DUAL**2
        return variance * (1.0 + 2.0 * math.fsum(bent * heights * waves)) / (1.0 + 2.0 * math.fsum(heights * waves))

    def _weights(self, offsets: Floats, fractions: Floats) -> Floats:
        """exp(-j (j - 2f) / 2 s^2)."""
        return np.asarray(np.exp(-(offsets / self.stddev) * ((offsets - 2.0 * fractions) / self.stddev) / 2.0))

    def _total(self, fractions: Floats) -> Floats:
        """The sum of all weights, for each fraction."""
        if self.stddev < _SWITCH:
            return np.asarray(self._weights(_NEAR, fractions[..., np.newaxis]).sum(axis=-1))
        heights, waves = self._dual(fractions)
        lift = np.exp(np.square(fractions / self.stddev) / 2.0)
        return np.asarray(self.stddev * math.sqrt(2.0 * math.pi) * lift * (1.0 + 2.0 * (heights * waves).sum(axis=-1)))

    def _dual(self, fractions: Floats) -> tuple[Floats, Floats]:
        """The first terms of the dual sum: exp(-2 pi^2 s^2 m^2) and cos(2 pi m f)."""
        with np.errstate(under="ignore"):
            heights = np.exp(-2.0 * np.square(math.pi * self.stddev * _DUAL))
        return heights, np.cos(2.0 * math.pi * fractions[..., np.newaxis] * _DUAL)


@final
@dataclass(frozen=True, slots=True)
class LaplaceLaw:
    """The discrete Laplace of this scale, added to the nearest integer."""

    scale: float

    @property
    def spread(self) -> float:
        return self.scale

    @property
    def reach(self) -> float:
        return _TAIL_EXPONENT * self.scale

    @property
    def rounds(self) -> bool:
        return True

    def draw(self, centers: Floats, source: Source, /) -> NDArray[np.int64]:
        return nearest(centers).astype(np.int64) + discrete_laplace(centers.size, self.scale, source)

    def pmf(self, outputs: Floats, centers: Floats, /) -> Floats:
        offsets = np.abs(outputs - nearest(centers))
        with np.errstate(under="ignore", over="ignore"):
            return np.asarray(math.tanh(0.5 / self.scale) * np.exp(-offsets / self.scale))

    def variance(self, fraction: float = 0.0, /) -> float:
        """2q / (1 - q)^2 with q = exp(-1 / scale)."""
        half = 0.5 / self.scale
        return 0.5 / math.sinh(half) / math.sinh(half)


@final
@dataclass(frozen=True, slots=True)
class SkellamLaw:
    """The difference of two Poisson counts of mean `mean_square` / 2, added to the nearest integer."""

    mean_square: float

    @property
    def spread(self) -> float:
        return math.sqrt(self.mean_square)

    @property
    def reach(self) -> float:
        """By Chernoff: the exponent t asinh(t/v) + v - sqrt(t^2 + v^2) grows with t; bisected to above 800."""
        v, low, high = self.mean_square, 0.0, 41.0 * self.spread + _TAIL_EXPONENT

        def exponent(t: float) -> float:
            return t * math.asinh(t / v) - t * (t / (math.hypot(t, v) + v))

        for _ in range(60):
            middle = (low + high) / 2.0
            low, high = (middle, high) if exponent(middle) < 1.001 * _TAIL_EXPONENT else (low, middle)
        return high

    @property
    def rounds(self) -> bool:
        return True

    def draw(self, centers: Floats, source: Source, /) -> NDArray[np.int64]:
        return nearest(centers).astype(np.int64) + skellam(centers.size, self.mean_square, source)

    def pmf(self, outputs: Floats, centers: Floats, /) -> Floats:
        offsets = np.abs(outputs - nearest(centers))
        far = _debye(offsets, self.mean_square)
        if self.mean_square >= _TABLE:
            return far
        table = _series(self.mean_square)
        return np.where(offsets < _TABLE, table[np.minimum(offsets, _TABLE - 1).astype(np.int64)], far)

    def variance(self, fraction: float = 0.0, /) -> float:
        return self.mean_square


def nearest(centers: Floats) -> Floats:
    """The nearest integers, halves upward: shifting by an integer and rounding commute, unlike with halves to even.

    So a coordinate that moves by t moves the rounded one by less than t + 1. The difference to the floor is exact but
    just below an integer, where it rounds to 1.
    """
    lower = np.floor(centers)
    return np.asarray(lower + (centers - lower >= 0.5))


def half_width(law: Law, level: float, *, real: bool) -> int:
    """An integer m with P[|noise| <= m] >= level; the smallest if the spread is below 2**13 and no centre is real.

    A block of integers weighs at most its width times its first one; what is beyond the last block is at most a
    geometric series, by log-concavity. Around a real centre r + f the right tail grows with f and the left one falls,
    so each is taken at its worst, f = 1/2 and f = 0.

    Args:
        law: the noise.
        level: in (0, 1).
        real: whether the centre may be any real number, and is not rounded.
    """
    width = 2.0 ** max(0, math.frexp(law.spread)[1] - 1 - _BLOCKS_BITS)
    blocks = max(_TABLE, math.ceil(_SPREADS * law.spread / width)) + 2
    starts = width * np.arange(blocks, dtype=np.float64)
    central = _tails(law, starts, width, 0.0)
    both = _tails(law, starts, width, 0.5)[1:] + central[:-1] if real else 2.0 * central[1:]
    return int(starts[1:][both * _ROOM <= 1.0 - level][0]) - 1


def _tails(law: Law, starts: Floats, width: float, center: float) -> Floats:
    """Upper bounds of P[K >= start], up to their own rounding."""
    # the fraction 1/2 belongs to the centre 0.5 whichever way it is rounded: its law is symmetric
    masses = width * law.pmf(starts, np.array(center))
    ratio = masses[-1] / masses[-2] if masses[-2] > 0.0 else 0.0
    rest = masses[-1] * ratio / (1.0 - ratio) + 1e-300
    return np.asarray(np.cumsum(masses[::-1])[::-1] + rest)


@lru_cache(maxsize=64)
def _series(variance: float) -> Floats:
    """exp(-v) I_j(v) for j below 64: a power series of positive terms."""
    half = variance / 2.0
    orders, terms = np.arange(1.0, _TABLE), np.arange(1.0, _SERIES_TERMS)[:, np.newaxis]
    with np.errstate(under="ignore"):
        first = np.concatenate([[1.0], np.cumprod(half / orders)])
        ratios = half * half / (terms * (terms + np.arange(_TABLE)))
        return np.asarray(math.exp(-variance) * first * (1.0 + np.cumprod(ratios, axis=0).sum(axis=0)))


def _debye(orders: Floats, variance: float) -> Floats:
    """exp(-v) I_j(v) by Debye's expansion."""
    with np.errstate(under="ignore", over="ignore"):
        radius = np.hypot(orders, variance)
        exponent = orders * (orders / (radius + variance)) - orders * np.arcsinh(orders / variance)
        square, total = np.square(orders / radius), np.zeros(orders.shape)
        for polynomial in reversed(_debye_polynomials()):
            total = total / radius + np.polyval(polynomial, square)
        return np.asarray(np.exp(exponent) / np.sqrt(2.0 * math.pi * radius) * total)


@lru_cache(maxsize=1)
def _debye_polynomials() -> tuple[Floats, ...]:
    """V_0 .. V_9, highest power first, from U' by DLMF 10.41.9, in rationals."""
    power = [Fraction(1)]  # of U_m: the coefficients of p^m, p^(m+2), ..., p^(3m)
    result = [np.array([1.0])]
    for m in range(_DEBYE_TERMS - 1):
        longer = [Fraction(0)] * (m + 2)
        for i, c in enumerate(power):
            n = m + 2 * i
            longer[i] += c * (Fraction(n, 2) + Fraction(1, 8 * (n + 1)))
            longer[i + 1] -= c * (Fraction(n, 2) + Fraction(5, 8 * (n + 3)))
        power = longer
        result.append(np.array([float(c) for c in reversed(power)]))
    return tuple(result)
