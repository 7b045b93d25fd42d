r"""From Rényi divergence to (ε, δ): one row for each theorem, and the search for the best order.

With t = α - 1, K = t RDP(α) and an offset c(t) that depends on the theorem only,

.. math:: \log\delta = K - t\epsilon + c(t), \qquad \epsilon = (K + \log(1/\delta) + c(t))/t .

* ``mironov2017``: c = 0 (Mironov 2017, Proposition 3).
* ``improved``: c = t log t - (1+t) log(1+t), from the largest ratio of max(0, 1 - e^{ε-x}) to e^{t(x-ε)} (Canonne,
  Kamath & Steinke 2020, Proposition 12; Balle et al. 2020, Theorem 21). Beside it stands Bretagnolle-Huber: δ(0) <=
  sqrt(1 - e^{-KL}), KL <= RDP(α).

Both inequalities hold for every real ε, which the slack of ``Within`` needs. K is convex in t, and so is the offset,
so log δ is convex and ε has one valley in t: the best real order is found by a one-dimensional search. Every order
gives a bound, so a search that stopped early costs tightness and nothing else.

*Bretagnolle-Huber where P was normalised*, having mass without a partner elsewhere: Q's weights sum to an m, and
:math:`(1-\delta)(m+\delta) \ge (\sum\sqrt{pq})^2 \ge e^{-KL}`, the bound for m <= 1. Where m > 1 the other direction
has KL(Q/m || P) + log m; and KL(Q/m || P) alone bounds the total variation of P and Q/m, which is at least δ(0). A
curve is the larger of both directions', and affinities multiply, so compositions of either kind are covered
(``test_mass_without_a_partner_on_either_side``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from accountants._numerics import EPS, minimise

__all__ = ["CONVERSIONS", "Conversion", "best_epsilon", "best_log_delta"]

_LOW, _HIGH = math.log(1e-9), math.log(1e10)  # of t: below, 1 + t has lost it; above, a bound is worth nothing
_TOLERANCE = 1e-5  # in log t: costs about its square, relative
_FIRST_ORDER = 1.0 + 2.0**-20


@final
@dataclass(frozen=True, slots=True)
class Conversion:
    """One theorem: its name, its offset c(t), and whether Bretagnolle-Huber stands beside it."""

    name: str
    offset: Callable[[float], float]
    total_variation: bool

    def epsilon(self, order: float, rdp: float, log_delta: float) -> float:
        """The ε of one order, rounded up; may be negative."""
        if math.isinf(rdp):
            return math.inf
        t = order - 1.0
        offset = self.offset(t)
        rounding = 8.0 * EPS * (t * rdp - log_delta - offset)
        return (t * rdp - log_delta + offset + rounding) / t

    def log_delta(self, order: float, rdp: float, epsilon: float) -> float:
        """The log δ of one order, rounded up; may be positive."""
        if math.isinf(rdp):
            return math.inf
        t = order - 1.0
        offset = self.offset(t)
        return t * (rdp - epsilon) + offset + 8.0 * EPS * (t * (rdp + abs(epsilon)) - offset)

    def log_delta_at_zero(self, rdp: float) -> float:
        """Bretagnolle-Huber's log δ at ε >= 0, rounded up; +inf for a theorem that does without."""
        value = -math.expm1(-rdp)
        if not self.total_variation or value > 1.0:
            return math.inf
        return 0.5 * math.log(value) * (1.0 - 4.0 * EPS) + 4.0 * EPS if value > 0.0 else -math.inf


def _improved_offset(t: float) -> float:
    """-log(1+t) - t log(1+1/t), which does not cancel."""
    return -math.log1p(t) - t * math.log1p(1.0 / t)


def _no_offset(t: float) -> float:
    """0 at every order."""
    return 0.0 * t


CONVERSIONS = {
    "improved": Conversion("improved", _improved_offset, total_variation=True),
    "mironov2017": Conversion("mironov2017", _no_offset, total_variation=False),
}


def best_epsilon(
    rdp: Callable[[float], float], log_delta: float, conversion: Conversion, orders: Sequence[float] | None
) -> float:
    """The least ε over the orders given, or over all real orders; never negative.

    Args:
        rdp: total RDP at an order > 1.
        log_delta: log δ < 0; may be -inf.
        conversion: the theorem.
        orders: the orders allowed, or None for all.
    """

    def at(order: float) -> float:
        return conversion.epsilon(order, rdp(order), log_delta)

    if log_delta == -math.inf:
        return math.inf
    least = rdp(_FIRST_ORDER if orders is None else min(orders))
    if conversion.log_delta_at_zero(least) <= log_delta:
        return 0.0
    return max(0.0, _least(at, orders, math.sqrt(-log_delta / least) if least > 0.0 else math.inf))


def best_log_delta(
    rdp: Callable[[float], float], epsilon: float, conversion: Conversion, orders: Sequence[float] | None
) -> float:
    """The least log δ over the orders given, or over all real orders; at most 0."""

    def at(order: float) -> float:
        return conversion.log_delta(order, rdp(order), epsilon)

    least = rdp(_FIRST_ORDER if orders is None else min(orders))
    at_zero = conversion.log_delta_at_zero(least) if epsilon >= 0.0 else math.inf
    guess = max(epsilon / least - 1.0, 1e-3) / 2.0 if least > 0.0 else math.inf
    return min(0.0, at_zero, _least(at, orders, guess))


def _least(at: Callable[[float], float], orders: Sequence[float] | None, guess: float) -> float:
    """The least value of a bound over the orders; ``guess`` is t where the valley of a Gaussian would be."""
    if orders is not None:
        return min(at(order) for order in orders)
    start = math.log(guess) if 0.0 < guess < math.inf else math.copysign(math.inf, guess - 1.0)
    return minimise(lambda log_t: at(1.0 + math.exp(log_t)), _LOW, _HIGH, min(max(start, _LOW), _HIGH), _TOLERANCE)
