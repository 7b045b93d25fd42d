"""Bounds of logarithms of probabilities: widening, complements, mixtures with certain failure. Private."""

from __future__ import annotations

import math

import numpy as np

from accountants._invert import Bounds
from accountants._numerics import EPS, Floats

__all__ = [
    "NONE",
    "complement",
    "log_of",
    "log_one_minus_exp",
    "log_total",
    "reflected",
    "widened",
    "with_failure",
]

NONE: Bounds = (-math.inf, -math.inf)
"""Of a probability that is 0."""

_LOWEST = -math.nextafter(math.inf, 0.0)  # the upper bound of a logarithm that overflowed


def widened(value: float, error: float) -> Bounds:
    """[value - error, value + error] of the logarithm of a probability, rounded outward; finite above even at -inf."""
    if value == -math.inf or not math.isfinite(error):
        return -math.inf, _LOWEST if value == -math.inf else 0.0
    return math.nextafter(value - error, -math.inf), min(math.nextafter(value + error, math.inf), 0.0)


def log_one_minus_exp(x: float) -> Bounds:
    """Bounds of log(1 - e^-x), where x <= 0 stands for 0; expm1, exp and log1p each round to 2 EPS."""
    if x <= 0.0:
        return NONE
    value = math.log(-math.expm1(-x)) if x < 0.7 else math.log1p(-math.exp(-x))
    return widened(value, 8.0 * EPS * abs(value))


def complement(log_values: Bounds) -> Bounds:
    """Bounds of log(1 - v) from bounds of log v."""
    return log_one_minus_exp(-log_values[1])[0], log_one_minus_exp(-log_values[0])[1]


def reflected(forward: Bounds, epsilon: float) -> Bounds:
    """log(1 - e^-ε + e^-ε δ') for ε > 0, of both ends of log δ'."""
    log_rest = math.log(-math.expm1(-epsilon)) if epsilon < 0.7 else math.log1p(-math.exp(-epsilon))
    return _log_sum(log_rest, -epsilon, forward)


def with_failure(inner: Bounds, low: float, high: float) -> Bounds:
    """log(F + (1-F) δ) for F from ``low`` to ``high``, of both ends of log δ."""
    if high <= 0.0:
        return inner
    ends = [inner if f <= 0.0 else (0.0, 0.0) if f >= 1.0 else _mixed(inner, f) for f in (low, high)]
    return ends[0][0], ends[1][1]


def _mixed(inner: Bounds, failure: float) -> Bounds:
    return _log_sum(math.log(failure), math.log1p(-failure), inner)


def _log_sum(first: float, shift: float, ends: Bounds) -> Bounds:
    """Log(e^first + e^(shift + end)) of both ends; an exponent is off by a few EPS of itself, weighted by its share."""
    low, high = (float(np.logaddexp(first, shift + end)) for end in ends)
    return widened(low, 16.0 * EPS * (1.0 + abs(low)))[0], widened(high, 16.0 * EPS * (1.0 + abs(high)))[1]


def log_of(value: float) -> float:
    """The logarithm of a number >= 0, -inf of 0."""
    return math.log(value) if value > 0.0 else -math.inf


def log_total(terms: Floats, side: float) -> float:
    """Log of a sum of exponentials, rounded to a side: up for 1, down for -1."""
    if not np.any(terms > -math.inf):
        return -math.inf
    top = float(terms.max())
    total = top + math.log(math.fsum(np.exp(terms - top)))
    return total + side * 64.0 * EPS * (1.0 + abs(top))
