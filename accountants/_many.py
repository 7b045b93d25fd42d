"""A curve at many epsilons: one by one, unless its class knows better. Private."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np

from accountants._numerics import Floats

__all__ = ["Asked", "at_many"]

Asked = Callable[[float, float], tuple[float, float]]
"""(ε, an upper end of log δ that is good enough) -> (lower, upper) of log δ."""


@singledispatch
def at_many(curve: Asked, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
    """(lower, upper) of log δ at many ε; register the class of a curve that shares work between them.

    Args:
        curve: from ε and an upper end that is good enough to (lower, upper).
        epsilons: shape (n,), any real numbers.
        enough: shape (n,): upper ends of at most this need not be improved.
    """
    low, high = np.empty_like(epsilons), np.empty_like(epsilons)
    for index in np.argsort(epsilons, kind="stable"):  # what a curve keeps serves its neighbours
        low[index], high[index] = curve(float(epsilons[index]), float(enough[index]))
    return low, high
