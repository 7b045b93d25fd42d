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
    "round_down",
    "round_up",
    "sum_up",
]

Floats = NDArray[np.float64]

EPS = 2.0**-52


def round_up(value: float, ulps: int = 4) -> float:
    """A float at least ``value`` (1 + ulps EPS), and strictly above 0 for a value that underflowed; for value >= 0."""
    return math.nextafter(value * (1.0 + ulps * EPS), math.inf)


def round_down(value: float, ulps: int = 4) -> float:
    """A float at most ``value`` (1 - ulps EPS); for value >= 0."""
    return max(0.0, math.nextafter(value * (1.0 - ulps * EPS), -math.inf))


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


_GOLDEN = (3.0 - math.sqrt(5.0)) / 2.0


def minimise(function: Callable[[float], float], low: float, high: float, start: float, tolerance: float) -> float:
    """The least value seen of a function with one valley on [low, high]: doubling steps, then Brent's search.

    Every point inside is as valid a bound as the best one, so a function with several valleys costs tightness, not
    soundness.
    """
    left, mid, right, value = _bracket(function, low, high, start)
    x = w = v = mid
    fx = fw = fv = value
    step = last = right - left
    for _ in range(100):
        centre = 0.5 * (left + right)
        if abs(x - centre) + 0.5 * (right - left) <= 2.0 * tolerance:
            break
        move = _parabola(x, fx, w, fw, v, fv)
        fits = move is not None and abs(move) < 0.5 * abs(last) and left < x + move < right
        last = step
        if move is None or not fits:
            last = (left if x >= centre else right) - x
            move = _GOLDEN * last
        step = move if abs(move) >= tolerance else math.copysign(tolerance, move or centre - x)
        trial = min(max(x + step, left), right)
        at_trial = function(trial)
        if at_trial <= fx:
            left, right = (x, right) if trial >= x else (left, x)
            v, fv, w, fw, x, fx = w, fw, x, fx, trial, at_trial
        else:
            left, right = (trial, right) if trial < x else (left, trial)
            if at_trial <= fw or w == x:
                v, fv, w, fw = w, fw, trial, at_trial
            elif at_trial <= fv or v in (x, w):
                v, fv = trial, at_trial
    return fx


def _bracket(
    function: Callable[[float], float], low: float, high: float, start: float
) -> tuple[float, float, float, float]:
    """(left, mid, right, value at mid) with mid no worse than both sides, or as far as [low, high] reaches.

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
    return min(behind, ahead_x), mid, max(behind, ahead_x), value


def _parabola(x: float, fx: float, w: float, fw: float, v: float, fv: float) -> float | None:
    """Step from x to the vertex of the parabola through three points, where there is one."""
    r = (x - w) * (fx - fv)
    q = (x - v) * (fx - fw)
    p = (x - v) * q - (x - w) * r
    divisor = 2.0 * (q - r)
    if divisor == 0.0 or not math.isfinite(p) or not math.isfinite(divisor):
        return None
    return -p / divisor if math.isfinite(p / divisor) else None
