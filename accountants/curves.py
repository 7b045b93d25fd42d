r"""Rényi curves: of an event's dominating pairs, and of the events that have a bound but no pair.

With K(α) = (α-1) RDP(α), α = z + 1:

* *Integer orders.* A bound known at integers only is used between them by the chord of K, which is convex, and below 2
  by its value at 2 (RDP does not fall). For Skellam noise (Agarwal, Kairouz & Liu 2021, Corollary 3.6)

  .. math:: \mathrm{RDP}(\alpha) \le \frac{\alpha\Delta_2^2}{2\mu} + \min\Bigl(\frac{(2\alpha-1)\Delta_2^2 +
     6\Delta_1}{4\mu^2}, \frac{3\Delta_1}{2\mu}\Bigr).

* *Sampled, by removal.* Given the other records, :math:`E_Q[((1-q) + qP/Q)^k] = \sum_j \binom kj (1-q)^{k-j} q^j
  E_Q[(P/Q)^j]` at integers k. Noise that is symmetric has the reflection x -> c - x, which exchanges P and Q, so adding
  costs no more than removing (Mironov, Talwar & Zhang 2019, Theorem 5), in every dimension. For batches of fixed size
  the same holds about a mixture of pairs at distance 2, and moments are jointly convex.
* *Fixed size, one record replaced* (Wang, Balle & Kasiviswanathan 2019, Theorem 9): :math:`K(k) \le \log(1 + q^2\binom
  k2 \min(4(e^{K(2)}-1), 2e^{K(2)}) + 2\sum_{j\ge3} q^j \binom kj e^{K(j)})`.
* *Bounded range* ε: the loss lies in [t-ε, t] for a t in [0, ε]; the moment is convex in P/Q, hence largest for the two
  ends, and :math:`[e^{zt}A - e^{\alpha t-\epsilon}B]/(1-e^{-\epsilon})` with :math:`A = 1-e^{-\alpha\epsilon}, B =
  1-e^{-z\epsilon}` is largest at :math:`e^t = zAe^\epsilon/\alpha B` (Dong, Durfee & Rogers 2020; never above αε²/8).
* *Discrete Laplace*, D steps of d = 1/scale, s = Dd: two atoms and a geometric series add up to :math:`(\tfrac12+c)
  e^{zs} + (\tfrac12-c)e^{-\alpha s}`, :math:`c = \tfrac12\tanh(d/2)/\tanh((\alpha+z)d/2)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial, singledispatch
from typing import final

import numpy as np

from accountants._numerics import EPS, Floats, exp_remainder, ratio_up, round_up
from accountants.errors import UnsupportedEventError
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    DiscreteLaplace,
    Event,
    FixedSizeSampled,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Skellam,
)
from accountants.moments import convex_bound, majorant, max_log_ratio, moments
from accountants.pairs import dominating_pairs, require_relation
from accountants.relation import Relation

__all__ = ["Curve", "between_integers", "pair_curve", "rdp_curve"]

Moments = Callable[[Floats], Floats]  # integer orders >= 2 -> upper bounds of K

_DISTANCE = {Relation.add_remove: 1.0, Relation.zero_out: 1.0, Relation.replace_one: 2.0}
_LAST_SUM = 2048  # the largest integer order whose expansion is summed


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """The Rényi curve of ONE occurrence of an event; counts are none of its business.

    Args:
        rdp: an upper bound of the Rényi divergence, in both directions, at a real order > 1; +inf where there is none.
        pure_epsilon: an epsilon at which delta is 0 but for the failure, if there is one.
        failure: probability of an outcome that gives the record away; the curve is that of all others.
    """

    rdp: Callable[[float], float]
    pure_epsilon: float = math.inf
    failure: float = 0.0


@singledispatch
def rdp_curve(event: Event, relation: Relation) -> Curve:
    """The curve of a core event under a relation: by default, of its dominating pairs.

    Register a class of your own with ``rdp_curve.register``.

    Args:
        event: a core event.
        relation: the neighbouring relation.

    Returns:
        A curve that holds for both directions.

    Raises:
        UnsupportedEventError: nothing sound is known.

    Example:
        >>> from accountants.events import Gaussian
        >>> round(rdp_curve(Gaussian(1.0), Relation.add_remove).rdp(8.0), 12)
        4.0
    """
    return pair_curve(event, relation)


def pair_curve(event: Event, relation: Relation) -> Curve:
    """The curve of an event's dominating pairs: the larger of the directions at every order."""
    pairs = dominating_pairs(event, relation)
    pure = max(max_log_ratio(pair) for pair in pairs)
    each = [moments(pair) for pair in dict.fromkeys(majorant(pair) for pair in pairs)]

    def rdp(order: float) -> float:
        return min(pure, round_up(max(moment(order) for moment in each) / (order - 1.0)))

    return Curve(rdp, pure, max(pair.failure for pair in pairs))


@rdp_curve.register(PureDP)
@rdp_curve.register(RandomizedResponse)
def _(event: PureDP | RandomizedResponse, relation: Relation) -> Curve:
    """The pair's curve, with the epsilon as stated."""
    curve = pair_curve(event, relation)
    return Curve(lambda order: min(curve.rdp(order), event.epsilon), event.epsilon)


@rdp_curve.register
def _(event: ZCDP, relation: Relation) -> Curve:
    require_relation(event, relation, event.relation)
    return Curve(lambda order: round_up(order * event.rho) if event.rho else 0.0)


@rdp_curve.register
def _(event: RDPCurve, relation: Relation) -> Curve:
    require_relation(event, relation, event.relation)
    orders = np.array(event.orders)
    with np.errstate(over="ignore"):
        values = (orders - 1.0) * np.array(event.values)

    def rdp(order: float) -> float:
        if order > orders[-1]:
            return math.inf
        k = int(np.searchsorted(orders, order))
        if k == 0 or order == orders[k]:
            return event.values[k]
        share = (order - float(orders[k - 1])) / float(orders[k] - orders[k - 1])
        chord = (1.0 - share) * float(values[k - 1]) + share * float(values[k])
        return min(event.values[k], round_up(chord / (order - 1.0), 8) if chord else 0.0)

    return Curve(rdp)


@rdp_curve.register
def _(event: BoundedRange, relation: Relation) -> Curve:
    return Curve(partial(_range_rdp, event.epsilon), event.epsilon)


def _range_rdp(epsilon: float, order: float) -> float:
    if epsilon == 0.0:
        return 0.0
    z = order - 1.0
    small, whole = -math.expm1(-z * epsilon), -math.expm1(-epsilon)
    gain = math.log(z * -math.expm1(-order * epsilon) / (order * small)) if small > 0.0 else 0.0
    loss = (math.log1p(math.exp(-epsilon) * small / whole) - math.log1p(z)) / z
    cost = epsilon + gain + loss + 32.0 * EPS * (2.0 + epsilon + abs(gain) + abs(loss))
    return min(epsilon, round_up(cost), round_up(order * epsilon * epsilon / 8.0)) if cost > 0.0 else epsilon


@rdp_curve.register
def _(event: DiscreteGaussian, relation: Relation) -> Curve:
    bound = _DISTANCE[relation] * _gaussian_bound(event)
    unit = bound / event.stddev
    return Curve(lambda order: round_up(0.5 * order * unit * unit, 8) if bound else 0.0)


@rdp_curve.register
def _(event: DiscreteLaplace, relation: Relation) -> Curve:
    shift = _DISTANCE[relation] * math.floor(event.l1_bound)
    pure = round_up(shift / event.scale) if shift else 0.0
    return Curve(lambda order: min(pure, _lattice_rdp(shift, 1.0 / event.scale, order)), pure)


def _lattice_rdp(shift: float, step: float, order: float) -> float:
    """Discrete Laplace noise; a small moment - 1 as a sum of three terms >= 0, s(c(α+z) - 1/2) among them."""
    z, s = order - 1.0, shift * step
    width = (order + z) * step / 2.0
    c = 0.5 * math.tanh(step / 2.0) / math.tanh(width)
    if z * s > 1.0 or width > 300.0 or not s:
        small = math.exp(-(order + z) * s)
        log_moment = z * s + math.log(0.5 + c + max(0.0, 0.5 - c) * small)
        return (log_moment + 32.0 * EPS * (1.0 + z * s)) / z if s else 0.0
    rest = math.sinh(z * step) / (2.0 * math.cosh(step / 2.0) * math.sinh(width))  # 1/2 - c
    y, x = order * step, z * step
    bend = z * _sinh_remainder(y) - order * _sinh_remainder(x)
    bend = (bend + 8.0 * EPS * z * _sinh_remainder(y)) / (2.0 * math.sinh(width) * math.cosh(step / 2.0))
    gain, loss = exp_remainder(np.array([z * s, -order * s]))
    moment = (0.5 + c) * float(gain) + rest * float(loss) + s * bend
    return round_up(math.log1p(round_up(moment, 64)) / z)


def _sinh_remainder(y: float) -> float:
    """sinh(y) - y for y >= 0, to relative accuracy."""
    if y > 1.0:
        return math.sinh(y) - y
    return math.fsum(y ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(1, 10))


def _gaussian_bound(event: DiscreteGaussian) -> float:
    """A contribution is an integer vector: on the line its norm is an integer, and below 1 it is none."""
    return float(math.floor(event.l2_bound)) if event.dim == 1 or event.l2_bound < 1.0 else event.l2_bound


@singledispatch
def _moments(event: Event, distance: float) -> Moments | None:
    """K at integer orders, for additive symmetric noise at a distance in units of the bound; None: has none."""
    return None


@_moments.register
def _(event: DiscreteGaussian, distance: float) -> Moments:
    unit = distance * _gaussian_bound(event) / event.stddev

    def log_moments(k: Floats) -> Floats:
        with np.errstate(over="ignore"):
            bound: Floats = 0.5 * k * (k - 1.0) * unit * unit * (1.0 + 8.0 * EPS)
        return bound

    return log_moments


@_moments.register
def _skellam_moments(event: Skellam, distance: float) -> Moments:
    mu, one = event.variance, distance * event.l1_bound
    two = distance * event.l2_bound * distance * event.l2_bound

    def log_moments(k: Floats) -> Floats:
        with np.errstate(over="ignore"):
            extra = np.minimum(((2.0 * k - 1.0) * two + 6.0 * one) / (4.0 * mu) / mu, 1.5 * one / mu)
            bound: Floats = (k - 1.0) * (k * two / (2.0 * mu) + extra) * (1.0 + 16.0 * EPS)
        return bound

    return log_moments


@rdp_curve.register
def _(event: Skellam, relation: Relation) -> Curve:
    log_moments = _skellam_moments(event, _DISTANCE[relation])
    return Curve(between_integers(lambda k: float(log_moments(np.array(float(k))))))


@rdp_curve.register
def _(event: PoissonSampled, relation: Relation) -> Curve:
    if event.sampling_prob == 1.0:
        return rdp_curve(event.event, relation)
    log_moments = _moments(event.event, 1.0)
    if log_moments is None or _has_pairs(event, relation) or event.sampling_prob == 0.0:
        return pair_curve(event, relation)
    if relation is Relation.replace_one:
        raise UnsupportedEventError(
            f"relation must be add_remove or zero_out for PoissonSampled of {type(event.event).__name__}, got "
            f"{relation}; use FixedSizeSampled, or record it unsampled, which is always an upper bound.",
            event=event,
        )
    return _sampled_curve(log_moments, event.sampling_prob, _removed, rdp_curve(event.event, relation))


@rdp_curve.register
def _(event: FixedSizeSampled, relation: Relation) -> Curve:
    log_moments = _moments(event.event, 2.0)
    if log_moments is None or _has_pairs(event, relation) or event.batch == 0:
        return pair_curve(event, relation)
    q, expand = ratio_up(event.batch, event.population), _removed if relation is Relation.add_remove else _replaced
    return _sampled_curve(log_moments, q, expand, rdp_curve(event.event, Relation.replace_one))


def _has_pairs(event: Event, relation: Relation) -> bool:
    try:
        dominating_pairs(event, relation)
    except UnsupportedEventError:
        return False
    return True


def between_integers(log_moment: Callable[[int], float]) -> Callable[[float], float]:
    """The curve from K at integers >= 2: between them K's chord, below 2 the value at 2."""

    def rdp(order: float) -> float:
        low = max(2, math.floor(order))
        if order <= low:
            return round_up(log_moment(low) / (low - 1.0))
        share = order - low
        chord = (1.0 - share) * log_moment(low) + share * log_moment(low + 1)
        return round_up(chord / (order - 1.0), 8)

    return rdp


def _sampled_curve(
    log_moments: Moments, q: float, expand: Callable[[Moments, float, int], float], unsampled: Curve
) -> Curve:
    """The curve of a sampled event from its expansion at integers, and nowhere above the unsampled one's."""

    @lru_cache(maxsize=4096)
    def log_moment(k: int) -> float:
        whole = float(log_moments(np.array(float(k))))
        coarse = convex_bound(q, whole) if expand is _removed else whole
        return coarse if k > _LAST_SUM else min(coarse, expand(log_moments, q, k))

    sampled = between_integers(log_moment)
    return Curve(lambda order: min(sampled(order), unsampled.rdp(order)))


def _removed(log_moments: Moments, q: float, k: int) -> float:
    """log(1 + sum over j >= 2 of Binomial(k, q)(j) (e^{K(j)} - 1)): the terms below 2 add up to the missing 1."""
    if q == 1.0:
        return float(log_moments(np.array(float(k))))
    j = np.arange(2.0, k + 1.0)
    log_choose, size = _log_choose(k)
    inner = log_moments(j)
    with np.errstate(divide="ignore"):
        log_terms = log_choose + j * math.log(q) + (k - j) * math.log1p(-q) + inner + np.log(-np.expm1(-inner))
    return _log1p_sum(log_terms, size + j * abs(math.log(q)) + k * abs(math.log1p(-q)) + inner)


def _replaced(log_moments: Moments, q: float, k: int) -> float:
    """The theorem of the module's third item."""
    j = np.arange(2.0, k + 1.0)
    log_choose, size = _log_choose(k)
    inner = log_moments(j)
    log_terms = log_choose + j * math.log(q) + inner + math.log(2.0)
    with np.errstate(divide="ignore"):
        log_terms[0] += min(0.0, math.log(2.0) + float(np.log(-np.expm1(-inner[0]))))
    return _log1p_sum(log_terms, size + j * abs(math.log(q)) + inner)


@lru_cache(maxsize=4096)
def _log_choose(k: int) -> tuple[Floats, Floats]:
    """Logarithms of C(k, j) for j = 2..k, and the magnitude of what it is made of."""
    factorial = _log_factorials()
    j = np.arange(2, k + 1)
    return factorial[k] - factorial[j] - factorial[k - j], 2.0 * factorial[k] + 0.0 * j


@lru_cache(maxsize=1)
def _log_factorials() -> Floats:
    return np.array([math.lgamma(n + 1.0) for n in range(_LAST_SUM + 2)])


def _log1p_sum(log_terms: Floats, magnitude: Floats) -> float:
    """log(1 + sum e^terms), widened by 8 (1 + magnitude) EPS per term."""
    top = float(log_terms.max())
    if math.isinf(top):
        return max(0.0, top)
    terms = np.exp(log_terms - top)
    total = float(terms.sum())
    rounding = 8.0 * EPS * (4.0 + float(terms @ magnitude) / total)
    value = top + math.log(total)
    if value > 500.0:
        return value + rounding + 4.0 * EPS * value
    return round_up(math.log1p(math.exp(value) * (1.0 + rounding + 4.0 * EPS * (abs(top) + abs(value)))))
