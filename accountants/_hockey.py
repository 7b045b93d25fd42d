r"""The hockey-stick divergence at any real epsilon, from the curve at epsilons >= 0. Private: serves the privacy loss.

For the largest divergence δ of any two neighbours in either order, :math:`\delta(-\epsilon) = 1 - e^{-\epsilon} +
e^{-\epsilon}\,\delta(\epsilon)`: see :mod:`accountants.loss`.
"""

from __future__ import annotations

import math

import numpy as np

from accountants._numerics import EPS, Floats
from accountants.composition import Composition, log_deltas_of
from accountants.errors import EventError

__all__ = ["asked", "least_deltas", "mirrored"]

_LARGEST = 1e290  # of ε: no loss is that large


def asked(epsilon: object) -> Floats:
    """Finite real numbers, in their shape, or a clear refusal."""
    try:
        given = np.asarray(epsilon)
    except ValueError:  # ragged
        given = np.asarray(None)
    values: Floats = given.astype(np.float64) if given.dtype.kind in "iuf" else np.array(math.nan)
    if not np.all(np.isfinite(values)):
        shown = repr(epsilon)[:60] if isinstance(epsilon, float | str) else type(epsilon).__name__
        raise EventError(
            f"epsilon must be a finite number, or an array of them with one shape, got {shown}; ask for the "
            "divergence at a real epsilon."
        )
    return values


def mirrored(epsilons: Floats, ends: Floats) -> tuple[Floats, Floats]:
    """δ(ε) at any real ε from δ(|ε|), rounded down and rounded up.

    Terms that are >= 0: expm1, exp, a product and a sum err by 16 EPS together at most.
    """
    away = np.abs(epsilons)
    below = -np.expm1(-away) + np.exp(-away) * ends
    low = np.where(epsilons < 0.0, below * (1.0 - 16.0 * EPS), ends)
    high = np.where(epsilons < 0.0, np.nextafter(below * (1.0 + 16.0 * EPS), math.inf), ends)
    return low, np.minimum(high, 1.0, out=high)  # an array also where there are no dimensions


def least_deltas(composition: Composition, epsilons: Floats, tolerance: float) -> Floats:
    """Lower bounds of δ at epsilons >= 0, shape (n,): of the composed pairs with their slack; 0 without an engine."""
    curve = log_deltas_of(composition, tolerance)

    def base(inner: Floats) -> Floats:
        return np.maximum(np.exp(curve(inner)[0]) * (1.0 - 16.0 * EPS), 0.0)

    return composition.slack.lower_deltas(base, np.minimum(epsilons, _LARGEST))
