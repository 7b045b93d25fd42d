r"""The least noise multiplier for an epsilon at a delta, of one release of real-valued noise. Private to dpkit.

* Gauss: the least z with :math:`\Phi(\mu/2 - \epsilon/\mu) - e^\epsilon \Phi(-\mu/2 - \epsilon/\mu) \le \delta`, μ the
  distance of the neighbours over z (Balle & Wang 2018, Theorem 8), by bisection of the accountants' certified upper
  bound, which is evaluated at the very number returned.
* Laplace: :math:`1 - e^{(\epsilon - \epsilon_0)/2} \le \delta` with ε₀ the distance over z, solved for z and rounded
  up.

The distance is the accountants' own: two bounds where a record is replaced. What is returned costs at most epsilon in
a ledger too; both bounds being a few roundings wide, that takes at most a few steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from accountants import best
from accountants.events import Event, Gaussian, Laplace
from accountants.pairs import Pair, dominating_pairs
from accountants.profile import log_delta_bounds
from accountants.relation import Relation, as_relation
from dpkit._checks import check_positive_down, check_within
from dpkit.errors import ParameterError

__all__ = ["gaussian_multiplier", "laplace_multiplier"]

_EPSILON = "give the epsilon that one release may cost."
_DELTA = "choose a delta well below 1 / (number of records)."
_REACH = 2.0**300  # multipliers are looked for between this and its inverse
_STEPS = 64  # of growing size, the first two roundings wide


def gaussian_multiplier(epsilon: float, delta: float, relation: Relation | str) -> float:
    """The least noise multiplier of a Gaussian, to the accuracy of the accountants."""
    budget = check_positive_down("epsilon", epsilon, _EPSILON)
    failure = check_positive_down("delta", delta, f"{_DELTA} Without one, use LaplaceMechanism")
    if failure >= 1.0:
        raise ParameterError(f"delta must be < 1, got {failure!r}; {_DELTA}")
    neighbours = as_relation(relation)
    low = high = 1.0
    while not _is_private(Gaussian(high), budget, failure, neighbours):
        low, high = high, _within_reach(2.0 * high)
    while low == high or _is_private(Gaussian(low), budget, failure, neighbours):
        low, high = _within_reach(0.5 * low), low
    while low < (middle := low + 0.5 * (high - low)) < high:
        inside = _is_private(Gaussian(middle), budget, failure, neighbours)
        low, high = (low, middle) if inside else (middle, high)
    return _settled(Gaussian, high, budget, failure, neighbours)


def laplace_multiplier(epsilon: float, delta: float, relation: Relation | str) -> float:
    """The least noise multiplier of Laplace noise; for delta = 0 the least float64 from distance/epsilon upwards."""
    budget = check_positive_down("epsilon", epsilon, _EPSILON)
    failure = check_within("delta", delta, 0.0, 1.0, _DELTA)
    if failure >= 1.0:
        raise ParameterError(f"delta must be < 1, got {failure!r}; {_DELTA}")
    neighbours = as_relation(relation)
    loss = Fraction(budget)
    if failure > 0.0:
        failure = check_positive_down("delta", delta, _DELTA)
        loss += Fraction(-2.0 * math.log1p(-failure)) * (1 - Fraction(1, 1 << 50))  # log1p errs by two roundings
    exact = 1 / Fraction(_pair(Laplace(1.0), neighbours).scale) / loss
    multiplier = _within_reach(float(exact) if exact < 2 * Fraction(_REACH) else math.inf)
    multiplier = multiplier if Fraction(multiplier) >= exact else math.nextafter(multiplier, math.inf)
    return _settled(Laplace, multiplier, budget, failure, neighbours) if failure > 0.0 else multiplier


def _pair(event: Event, relation: Relation) -> Pair:
    """The one pair of laws of unsampled noise."""
    (pair,) = dominating_pairs(event, relation)
    if not isinstance(pair, Pair):
        raise TypeError(f"event must be real-valued noise, got {type(event).__name__}.")
    return pair


def _is_private(event: Event, epsilon: float, delta: float, relation: Relation) -> bool:
    """Whether the certified upper bound of the event's delta at epsilon is at most delta."""
    # the logarithm errs by a rounding
    return log_delta_bounds(_pair(event, relation), epsilon)[1] <= math.log(delta) * (1.0 + 2.0**-51)


def _settled(
    build: Callable[[float], Event], multiplier: float, epsilon: float, delta: float, relation: Relation
) -> float:
    """The multiplier, or one a few roundings larger at which the best accountant agrees."""
    step = 2.0**-51
    for _ in range(_STEPS):
        event = build(multiplier)
        agreed = best.epsilon(event, delta=delta, relation=relation) <= epsilon
        if agreed and _is_private(event, epsilon, delta, relation):
            return multiplier
        multiplier, step = _within_reach(multiplier * (1.0 + step)), 1.5 * step
    raise ParameterError("epsilon and delta must be within reach of float64; choose larger ones.")


def _within_reach(multiplier: float) -> float:
    """A multiplier that float64 noise can have."""
    if not 1.0 / _REACH <= multiplier <= _REACH:
        raise ParameterError("epsilon and delta must be met by a noise multiplier from 2**-300 to 2**300; change them.")
    return multiplier
