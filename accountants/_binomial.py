r"""Binomial probabilities to nearly full relative accuracy, at any count up to 10^15. Private.

With x successes in n, x̂ = x/n and y = n - x, Stirling's formula with its remainder s(k) = log k! - (k + 1/2) log k + k
- log √(2π) gives (Loader 2000, "Fast and accurate computation of binomial probabilities")

.. math:: \log P = s(n) - s(x) - s(y) - np\,h(\tfrac{x - np}{np}) - n\bar p\,h(\tfrac{y - n\bar p}{n\bar p})
   - \tfrac12 \log\frac{2\pi x y}{n}, \qquad h(w) = (1+w)\log(1+w) - w \ge 0,

where no two large numbers are subtracted. s(k) is 1/(12k) - 1/(360k³) + 1/(1260k⁵) - 1/(1680k⁷) + 1/(1188k⁹) for k
>= 16, an alternating series whose next term is below 1e-16 there, and a table below.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from accountants._numerics import EPS, Floats, entropy_remainder

__all__ = ["log_binomial"]

_LARGE = 16
_TINY = 1e-290


@lru_cache(maxsize=1)
def _table() -> Floats:
    """s(k) for k < 16, from exact factorials; the value at 0 is never used."""
    small = [
        math.log(math.factorial(k)) - (k + 0.5) * math.log(k) + k - 0.5 * math.log(2.0 * math.pi)
        for k in range(1, _LARGE)
    ]
    return np.array([0.0, *small])


def _remainder(k: Floats) -> Floats:
    """s(k), to 64 EPS."""
    inverse = 1.0 / np.maximum(k, _LARGE)
    square = inverse * inverse
    series = inverse * (
        1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0)))
    )
    return np.where(k < _LARGE, _table()[np.minimum(k, _LARGE - 1.0).astype(np.intp)], series)


def log_binomial(n: int, successes: Floats, log_p: float, log_rest: float) -> tuple[Floats, Floats]:
    """Log-probabilities, and how far they may be off where log p is off by 8 EPS (4 - log p), and log(1-p) likewise.

    Args:
        n: trials, >= 1.
        successes: whole numbers from 0 to n.
        log_p: log p < 0.
        log_rest: log(1-p) < 0, given apart so that both probabilities are known to relative accuracy.
    """
    x, y = successes, n - successes
    mean, rest = n * math.exp(log_p), n * math.exp(log_rest)
    inner = (x > 0.0) & (y > 0.0)
    x1, y1 = np.where(inner, x, 1.0), np.where(inner, y, 1.0)
    stirling = _remainder(np.array([float(n)]))[0] - _remainder(x1) - _remainder(y1)
    deviance = _deviance(x1, mean, math.log(n) + log_p) + _deviance(y1, rest, math.log(n) + log_rest)
    middle = stirling - deviance - 0.5 * np.log(2.0 * math.pi * (x1 / n) * y1)
    value = np.where(inner, middle, np.where(x > 0.0, n * _closer(log_p, log_rest), n * _closer(log_rest, log_p)))
    slope = np.abs(x - mean) * (4.0 - log_p) + np.abs(y - rest) * (4.0 - log_rest)
    return value, EPS * (256.0 + 8.0 * slope + 64.0 * deviance + 8.0 * np.abs(value))


def _closer(log_p: float, log_rest: float) -> float:
    """Log p, of whichever of the two probabilities is the smaller and so says more about both."""
    return log_p if log_p < log_rest else math.log1p(-math.exp(log_rest))


def _deviance(x: Floats, mean: float, log_mean: float) -> Floats:
    """Mean h((x - mean) / mean)."""
    if mean < _TINY:  # x >= 1: the quotient may overflow, and nothing cancels
        far: Floats = x * (np.log(x) - log_mean - 1.0)
        return far
    w = (x - mean) / mean
    return mean * entropy_remainder(w, np.where(np.abs(w) < 0.1, np.log1p(np.maximum(w, -0.5)), np.log(x / mean)))
