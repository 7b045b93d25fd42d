r"""Laws of sums on a lattice, by positive convolution: every probability to relative accuracy. Private.

A law is an array of masses for consecutive integers, scaled by 2^500, and three bounds. All sums are of positive
terms, so relative errors add and never grow: a convolution of m and n >= m entries rounds by (m + 1) EPS at most, and
masses off by e and f give masses off by e + f. Products and factors that underflow are counted as lost, 2^-1200 each.

Mass may be missing from the array, ``lost`` in the same scale: trimmed ends, products that underflowed, and for
binomials what lies beyond t with t²/(2(np(1-p) + t/3)) = 760 of the mean, 2e^-760 by Bernstein's inequality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from accountants._binomial import log_binomial
from accountants._numerics import EPS, Floats

__all__ = ["LOG_SCALE", "Law", "binomial", "convolve", "masses", "power"]

_BITS = 500
LOG_SCALE = _BITS * math.log(2.0)

_WORK = 1 << 26  # multiplications in one convolution
_LENGTH = 1 << 14  # of a law that is convolved
_WINDOW = 1 << 19  # of a binomial
_TRIM = math.ldexp(1.0, _BITS - 1100)  # of mass at either end, in scale: 10^-331
_UNDERFLOW = math.ldexp(1.0, -700)  # 2^-1200 of the scale, for each product
_REACH = 760.0  # nats: what a binomial's window leaves out
_SMALLEST = 740.0  # nats: what is left out of a window or a law, for each entry
_UNSEEN = math.ldexp(1.0, _BITS - 1067)  # e^-739.6 in scale
_CERTAIN = 700.0  # below e^-700 an outcome is never seen


@final
@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Masses of the integers from ``first``, scaled by 2^500.

    Args:
        first: the least integer.
        mass: shape (n,).
        error: relative, of every mass.
        lost: mass that is in no entry, in scale.
    """

    first: int
    mass: Floats
    error: float
    lost: float


def masses(log_p: Floats, index: Floats) -> Law:
    """The law with mass e^``log_p`` at ``index``, whole numbers from 0 up; a log-mass l is off by 8 EPS (4 - l)."""
    mass = np.zeros(int(index[-1]) + 1)
    seen = log_p > -_SMALLEST
    np.add.at(mass, index.astype(np.intp), _scaled_exp(log_p, seen))
    return Law(0, mass, EPS * (40.0 + 8.0 * float(np.abs(log_p[seen]).max())), float(np.sum(~seen)) * _UNSEEN)


def _scaled_exp(log_mass: Floats, seen: NDArray[np.bool_]) -> Floats:
    """2^500 e^``log_mass``, 0 where not seen: the square of a root, whose exponent is exact."""
    root = np.ldexp(np.exp(np.where(seen, 0.5 * log_mass, 0.0)), _BITS // 2)
    return np.where(seen, root * root, 0.0)


def power(law: Law, times: int) -> Law | None:
    """The law of a sum of ``times`` independent copies, by repeated squaring; None if that is too long."""
    result, square = Law(0, np.array([math.ldexp(1.0, _BITS)]), 0.0, 0.0), law
    while True:
        if times % 2:
            product = convolve(result, square)
            if product is None:
                return None
            result = product
        times //= 2
        if not times:
            return result
        squared = convolve(square, square)
        if squared is None:
            return None
        square = squared


def convolve(one: Law, other: Law) -> Law | None:
    """The law of the sum of two independent numbers; None if that is too long."""
    m, n = len(one.mass), len(other.mass)
    if m == 1 or n == 1:
        mass = np.ldexp(one.mass * np.ldexp(other.mass, -_BITS // 2), -_BITS // 2)
    elif m * n > _WORK or max(m, n) > _LENGTH:
        return None
    else:
        mass = np.convolve(np.ldexp(one.mass, -_BITS // 2), np.ldexp(other.mass, -_BITS // 2))
    error = (one.error + other.error) * (1.0 + 1e-6) + EPS * (min(m, n) + 1.0)
    lost = (one.lost + other.lost) * (1.0 + error) + m * n * _UNDERFLOW
    return _trimmed(Law(one.first + other.first, mass, error, lost))


def _trimmed(law: Law) -> Law:
    """Without the ends that hold next to nothing."""
    upwards, downwards = np.cumsum(law.mass), np.cumsum(law.mass[::-1])
    left, right = int(np.searchsorted(upwards, _TRIM)), int(np.searchsorted(downwards, _TRIM))
    if left + right >= len(law.mass):
        return law
    kept = law.mass[left : len(law.mass) - right]
    return Law(law.first + left, kept, law.error, law.lost + (3.0 * _TRIM if left or right else 0.0))


def binomial(times: int, log_p: float, log_rest: float, stride: int) -> Law | None:
    """``stride`` times the number of successes in ``times`` trials; both are as `log_binomial` takes them."""
    if min(log_p, log_rest) < -_CERTAIN:
        missing = 1.001 * times * math.exp(max(min(log_p, log_rest) + LOG_SCALE, -_CERTAIN))
        first = times * stride if log_p > log_rest else 0
        return Law(first, np.array([math.ldexp(1.0, _BITS)]), missing * math.ldexp(1.0, -_BITS), missing)
    p = math.exp(log_p)
    spread = times * p * math.exp(log_rest)
    reach = _REACH / 3.0 + math.sqrt((_REACH / 3.0) ** 2 + 2.0 * _REACH * spread) + 1.0
    low, high = max(0, math.floor(times * p - reach)), min(times, math.ceil(times * p + reach))
    if (high - low) * stride > _WINDOW:
        return None
    log_mass, error = log_binomial(times, low + np.arange(high - low + 1.0), log_p, log_rest)
    seen = log_mass + error > -_SMALLEST
    mass = np.zeros((high - low) * stride + 1)
    mass[::stride] = _scaled_exp(log_mass, seen)
    lost = (float(np.sum(~seen)) + 1.0) * _UNSEEN
    return _trimmed(Law(low * stride, mass, math.expm1(float(error[seen].max())) + 16.0 * EPS, lost))
