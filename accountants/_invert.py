r"""From a curve bounded on both sides to its epsilon, bounded on both sides. Private.

The least ε >= 0 with δ(ε) <= δ is at most any ε whose upper bound of δ(ε) meets the target, and at least any whose
lower bound misses it. A root search proposes; then both ends are moved outwards until the bounds at the very numbers
returned say so. Nothing is asked of the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from accountants._numerics import EPS

__all__ = ["Bounds", "Curve", "invert"]

Bounds = tuple[float, float]
"""(lower, upper)."""

Curve = Callable[[float], Bounds]
"""From ε to bounds of log δ(ε), which fall in ε."""

_BEYOND = 1e300  # an epsilon without meaning
_HALVINGS = 6


def invert(at: Curve, log_delta: float, start: float) -> Bounds:
    """Bounds of the least ε >= 0 with log δ(ε) <= ``log_delta``: a root search, then outwards until both ends hold.

    Args:
        at: bounds of log δ(ε), which falls in ε.
        log_delta: the target.
        start: a guess > 0.
    """
    first = at(0.0)
    if first[1] <= log_delta:
        return 0.0, 0.0
    low, high = _enclose(at, log_delta, start)
    if high > _BEYOND:
        return math.inf if at(high)[0] > log_delta else low, math.inf
    root = _root(at, log_delta, low, high)
    step = 2.0 * EPS * (root if root > 0.0 else high)
    below = _settle(lambda x: at(x)[0] > log_delta, root, step, low)
    above = _settle(lambda x: at(x)[1] <= log_delta, root, step, high)
    return below, above


def _enclose(at: Curve, log_delta: float, start: float) -> Bounds:
    """(fails or 0, meets), by growing factors from the guess; the second beyond any meaning if nothing meets."""
    x, factor = min(max(start, 1e-290), 1e290), 1.25
    if at(x)[1] <= log_delta:
        high = x
        while x > 1e-290:
            x, factor = x / factor, factor * factor
            bounds = at(x)
            if bounds[0] > log_delta:
                return x, high
            high = x if bounds[1] <= log_delta else high
        return 0.0, high
    low = x if at(x)[0] > log_delta else 0.0
    while x <= _BEYOND:
        x, factor = min(x * factor, 2.0 * _BEYOND), factor * factor
        bounds = at(x)
        if bounds[1] <= log_delta:
            return low, x
        low = x if bounds[0] > log_delta else low
    return low, x


def _root(at: Curve, log_delta: float, low: float, high: float) -> float:
    """About where the middle of the bounds is at the target."""
    from scipy.optimize import brentq

    deep = 2.0 * log_delta - 1.0

    def above(x: float) -> float:
        under, over = at(x)
        if log_delta == -math.inf:
            return -1.0 if over == -math.inf else 1.0
        return max(0.5 * (under + over) if under > -math.inf else over, deep) - log_delta

    if not above(low) > 0.0 > above(high):
        return high if above(high) >= 0.0 else low
    return float(brentq(above, low, high, xtol=1e-300, rtol=4.0 * EPS, maxiter=300, disp=False))


def _settle(holds: Callable[[float], bool], root: float, step: float, end: float) -> float:
    """A point at or beyond the root, towards ``end``, where the bounds say so; hardly further than needed.

    Growing steps, then a few halvings of the last one; the end is known to hold.
    """
    side = math.copysign(1.0, end - root)
    inner, outer = root, root
    while side * (end - outer) > 0.0 and not holds(outer):
        inner, outer = outer, outer + side * step
        step *= 2.0
    outer = end if side * (end - outer) <= 0.0 else outer
    for _ in range(_HALVINGS if abs(outer - root) > 8.0 * EPS * abs(root) else 0):
        middle = 0.5 * (inner + outer)
        inner, outer = (inner, middle) if holds(middle) else (middle, outer)
    return outer
