r"""Small numeric tools: directed rounding, remainders of exponentials, one-dimensional search. Private.

Rounding: every bound that leaves the package is widened by a stated multiple of ``EPS`` (the spacing of float64 at
    1), which covers the rounding of the elementary functions (taken to err by at most 4 EPS; a test compares with
    mpmath).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EPS",
    "Floats",
    "entropy_remainder",
    "exp_remainder",
    "minimise",
    "ratio_up",
    "round_down",
    "round_up",
    "sum_up",
]

Floats = NDArray[np.float64]

EPS = 2.0**-52
_HUGE = 1e200


def round_up(value: float, ulps: int = 4) -> float:
    """A float at least ``value`` (1 + ulps EPS), and strictly above 0 for a value that underflowed; for value >= 0."""
    return math.nextafter(value * (1.0 + ulps * EPS), math.inf)


def round_down(value: float, ulps: int = 4) -> float:
    """A float at most ``value`` (1 - ulps EPS); for value >= 0."""
    return max(0.0, math.nextafter(value * (1.0 - ulps * EPS), -math.inf))


def ratio_up(part: int, whole: int) -> float:
    """The least float that is at least part / whole."""
    ratio = part / whole
    numerator, denominator = ratio.as_integer_ratio()
    return ratio if numerator * whole >= part * denominator else math.nextafter(ratio, math.inf)


def sum_up(values: Iterable[float]) -> float:
    """An upper bound of a sum of numbers >= 0; exactly 0.0 if all are 0.0."""
    total = math.fsum(values)
    return math.nextafter(total, math.inf) if total > 0.0 else 0.0


@lru_cache(maxsize=2)
def _coefficients(kind: str) -> tuple[float, ...]:
    """Taylor coefficients, from the highest down to that of the square."""
    if kind == "exp":
        return tuple(1.0 / math.factorial(k) for k in range(15, 1, -1))
    return tuple((-1.0) ** k / (k * (k - 1)) for k in range(17, 1, -1))


def _series(kind: str, y: Floats) -> Floats:
    total = np.zeros_like(y)
    for coefficient in _coefficients(kind):
        total *= y
        total += coefficient
    return total * y * y


def exp_remainder(y: Floats) -> Floats:
    r"""e^y - 1 - y >= 0, to relative accuracy; inf where e^y overflows."""
    small = np.abs(y) < 0.35  # beyond, the subtraction loses at most a factor 20 of EPS
    with np.errstate(over="ignore"):
        return np.where(small, _series("exp", np.where(small, y, 0.0)), np.expm1(y) - y)


def entropy_remainder(w: Floats, log1p_w: Floats) -> Floats:
    r"""(1+w) log(1+w) - w >= 0, to relative accuracy, for w > -1; log(1+w) is given as the caller knows it best."""
    small = np.abs(w) < 0.1
    return np.where(small, _series("entropy", np.where(small, w, 0.0)), (1.0 + w) * log1p_w - w)


def minimise(function: Callable[[float], float], low: float, high: float, start: float, tolerance: float) -> float:
    """The least value seen of a function with one valley on [low, high]: a bracket by doubling, then scipy's search.

    Every point inside is as valid a bound as the best one, so a function with several valleys costs tightness, not
    soundness.
    """
    from scipy.optimize import minimize_scalar

    left, right, value = _bracket(function, low, high, start)

    def finite(x: float) -> float:
        # no parabola goes through infinities; where they begin on the right, a rising wall leads back to the left
        return min(function(x), _HUGE * (1.0 + (x - left) / (right - left)))

    found = minimize_scalar(finite, bounds=(left, right), method="bounded", options={"xatol": tolerance})
    return min(value, float(found.fun)) if found.fun < _HUGE else value


def _bracket(function: Callable[[float], float], low: float, high: float, start: float) -> tuple[float, float, float]:
    """(left, right, value at a point between), that value no worse than both ends', or as far as [low, high] reaches.

    Where the function is infinite it is so to the right of some point (a Rényi divergence beyond some order): go left.
    """
    mid, value = start, function(start)
    step = 1.0
    while value == math.inf and mid > low:
        mid, step = max(mid - step, low), 2.0 * step
        value = function(mid)
    step = 1.0
    right = min(mid + step, high)
    direction = 1.0
    ahead = function(right)
    if not ahead < value:
        direction, ahead_x, behind = -1.0, max(mid - step, low), right
        ahead = function(ahead_x)
    else:
        ahead_x, behind = right, max(mid - step, low)
    while ahead < value and low < ahead_x < high:
        behind, mid, value = mid, ahead_x, ahead
        step *= 2.0
        ahead_x = min(max(mid + direction * step, low), high)
        ahead = function(ahead_x)
    if ahead < value:
        mid, value = ahead_x, ahead
    return min(behind, ahead_x), max(behind, ahead_x), value
