r"""Pairs of mixtures of shifted noise whose loss increases along the line: tails, and the curve by half-lines. Private.

P = Σ p_i N(m_i), Q = Σ q_i N(m_i) with log(P/Q) nondecreasing, so the Neyman-Pearson sets are the half-lines beyond c:

.. math:: \delta(\epsilon) = \sup_c g(c), \qquad g(c) = P(>c) - e^\epsilon Q(>c)
   = \sum_i G_i\,[T(c - m_{i+1}) - T(c - m_i)] - (e^\epsilon - 1)\,Q(>c)

with T the noise's tail and G_i >= 0 P's excess over Q beyond the i-th gap between centres.

* Lower bound: g at any c.
* Upper bound: if the loss passes ε between c1 and c2, then |g'| = |P' - e^ε Q'| <= e^ε Q' (e^{L(c2) - L(c1)} - 1)
  between them, hence δ <= g(c1) + (c2 - c1) times that: of second order in the width of the bracket. Where rounding
  hides whether the loss passes ε at all, every set beyond c2 is the same or the empty one, and the bound holds.

*Rounding.* A tail at x standard deviations is off by EPS (16 + 2x²), relative (erfcx by 8 EPS, x by EPS/2); a loss by
64 EPS times the mean exponent met, of Laplace noise by 4 EPS times the largest too. Held by
tests/accountants/test_halfline.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np

from accountants._binomial import log_binomial
from accountants._invert import Bounds
from accountants._numerics import EPS, Floats
from accountants.pairs import Noise, Pair, Shape

__all__ = ["Crossing", "Laws", "crossing", "half_line_log_delta", "is_short", "laws", "log_tails"]

_NARROW = 1e-8  # half the width of a bracket, in standard deviations at a slope of one per standard deviation
_OUT_OF_REACH = 1e12  # standard deviations
_LEAST, _MOST = 1e-6, 1e8  # scales
_HALVINGS = 50
_MAX_RECORDS = 1 << 11  # of a group


@final
@dataclass(frozen=True, slots=True, eq=False)
class Laws:
    """Both mixtures over one list of centres, ascending.

    Args:
        noise: the family.
        scale: standard deviation or scale.
        centres: shape (k,).
        p: P's weights, shape (k,).
        q: Q's weights.
        excess: P's weight beyond each gap less Q's, shape (k-1,).
        error: how far weights may be off, relative.
    """

    noise: Noise
    scale: float
    centres: Floats
    p: Floats
    q: Floats
    excess: Floats
    error: float


def is_short(pair: Pair) -> bool:
    """Whether the mixtures of a pair are few enough laws to be summed up again and again."""
    return pair.size <= _MAX_RECORDS


@lru_cache(maxsize=1024)
def laws(pair: Pair) -> Laws:
    """The two mixtures of a pair; MIRROR stands for REMOVE, with which it shares the losses above 0."""
    q, size = (pair.sampling_prob, pair.size) if pair.shape is not Shape.SHIFT else (1.0, 1)
    records, sign = np.arange(size + 1.0), -1.0 if pair.shape is Shape.ADD else 1.0
    if size == 1 or q in (0.0, 1.0):
        weights = np.zeros(size + 1)
        weights[0], weights[-1] = 1.0 - q, q
        error = EPS
    else:
        log_weight, log_error = log_binomial(size, records, math.log(q), math.log1p(-q))
        weights, error = np.exp(log_weight), 2.0 * float(log_error.max())
    if pair.shape is Shape.ANTIPODAL:
        both, alone = np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0 - q, q])
        return Laws(pair.noise, pair.scale, both, alone, alone[::-1], np.array([q, q]), error)
    none = np.zeros(size + 1)
    none[0] = 1.0
    beyond = np.cumsum(weights[:0:-1])[::-1]
    if sign > 0.0:
        return Laws(pair.noise, pair.scale, records, weights, none, beyond, error + size * EPS)
    return Laws(pair.noise, pair.scale, -records[::-1], none[::-1], weights[::-1], beyond[::-1], error + size * EPS)


def log_tails(both: Laws, c: float) -> tuple[Bounds, Bounds]:
    """Bounds of log P(>c) and log Q(>c)."""
    log_tail, doubt = _log_tail(both, c)
    top = float(log_tail.max())
    tail = np.exp(log_tail - top)
    return _log_sum(both.p * tail, doubt + both.error, top), _log_sum(both.q * tail, doubt + both.error, top)


def _log_sum(terms: Floats, doubt: Floats, top: float) -> Bounds:
    total = float(terms.sum())
    if total == 0.0:
        return -math.inf, top - 700.0
    error = float(terms @ doubt) / total + EPS * (len(terms) + 8.0) * 2.0
    value = top + math.log(total)
    error += 4.0 * EPS * abs(value)
    return value - error, min(value + error, 0.0)


def _log_tail(both: Laws, c: float) -> tuple[Floats, Floats]:
    """Log T(c - m) for every centre m, and the relative errors of T."""
    x = (c - both.centres) / both.scale
    if both.noise is Noise.LAPLACE:
        value = np.where(x < 0.0, np.log1p(-0.5 * np.exp(np.minimum(x, 0.0))), -np.maximum(x, 0.0) - math.log(2.0))
        return value, EPS * (16.0 + 2.0 * np.maximum(x, 0.0))
    from scipy.special import erfc, erfcx

    right = np.log(0.5 * erfcx(np.maximum(x, 0.0) * math.sqrt(0.5))) - 0.5 * np.maximum(x, 0.0) ** 2
    value = np.where(x < 0.0, np.log1p(-0.5 * erfc(-np.minimum(x, 0.0) * math.sqrt(0.5))), right)
    return value, EPS * (16.0 + 2.0 * np.maximum(x, 0.0) ** 2)


def _log_ratios(both: Laws, x: float) -> Floats:
    """Log-density of the noise around every centre at x, less its largest: exponents of order (distance / scale)."""
    if both.noise is Noise.LAPLACE:
        return -np.abs(x - both.centres) / both.scale
    nearest = both.centres[int(np.argmin(np.abs(x - both.centres)))]
    ratios: Floats = (both.centres - nearest) * (x - 0.5 * (both.centres + nearest)) / both.scale / both.scale
    return ratios


def _loss(both: Laws, x: float) -> tuple[float, float]:
    """(log(P/Q) at x, how far it may be off)."""
    u = _log_ratios(both, x)
    lost = 4.0 * EPS * float(np.abs(u).max()) if both.noise is Noise.LAPLACE else 0.0  # in the next difference
    u = u - u.max()
    size = float(-u.min())
    if size < 0.5:
        lift = np.expm1(u)
        up, down = float(both.p @ lift), float(both.q @ lift)
        doubt = (EPS * (64.0 + 4.0 * len(u)) + 4.0 * both.error) * size
        return math.log1p((up - down) / (1.0 + down)), doubt + lost
    (up, met_up), (down, met_down) = _log_dot(both.p, u), _log_dot(both.q, u)
    return up - down, EPS * (64.0 + 4.0 * len(u)) * (1.0 + met_up + met_down) + 4.0 * both.error + lost


def _log_dot(weights: Floats, exponents: Floats) -> tuple[float, float]:
    """(log of the sum of weights e^exponents, mean size of the exponents and of the log-weights met in it)."""
    with np.errstate(divide="ignore"):
        terms = np.log(weights) + exponents
    top = float(terms.max())
    shares = np.exp(terms - top)
    total = float(shares.sum())
    return top + math.log(total), abs(top) + float(shares @ np.abs(np.where(shares > 0.0, exponents, 0.0))) / total


@final
@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the loss passes a value.

    Args:
        low: the loss here is at most the value; -inf if nowhere for certain, inf if everywhere.
        high: the loss here is at least the value, or no other than everywhere beyond; inf if neither is certain, -inf
            if the loss is above the value everywhere.
        rise: the loss at ``high`` less that at ``low``, rounded up.
        reached: whether the loss is certain to reach the value at ``high``.
    """

    low: float
    high: float
    rise: float
    reached: bool


def crossing(both: Laws, loss: float) -> Crossing:
    """A narrow bracket of the point where the loss passes ``loss``, certified at both ends."""
    if _largest(both) <= loss:
        return Crossing(math.inf, math.inf, 0.0, False)
    left, right = _reach(both, loss, -1.0), _reach(both, loss, 1.0)
    (first, doubt), (last, other) = _loss(both, left), _loss(both, right)
    if last + other <= loss:
        return Crossing(right, math.inf, math.inf, False)
    if first - doubt > loss:
        return Crossing(-math.inf, -math.inf if both.noise is Noise.LAPLACE else left, math.inf, True)
    centre = right if last <= loss else left if first >= loss else _root(both, loss, left, right)
    span = float(both.centres[-1] - both.centres[0])
    width = _NARROW * both.scale / (1.0 + (abs(centre) + span) / both.scale) + 4.0 * EPS * abs(centre)
    low, (below, doubt) = _certified(both, loss, centre, -width, left)
    high, (over, other) = _certified(both, loss, centre, width, right)
    return Crossing(low, high, max(over - below, 0.0) + doubt + other + 1e-300, over - other >= loss)


def _largest(both: Laws) -> float:
    """An upper bound of the loss: that at, or infinitely far beyond, the last centre."""
    if both.noise is Noise.LAPLACE:
        value, doubt = _loss(both, float(both.centres[-1]))
        return value + doubt
    last_p, last_q = float(both.p[-1]), float(both.q[-1])
    return math.log(last_p / last_q) + 4.0 * EPS + 4.0 * both.error if last_q > 0.0 else math.inf


def _root(both: Laws, loss: float, left: float, right: float) -> float:
    from scipy.optimize import brentq

    step = 1e-14 * both.scale
    found = brentq(lambda x: _loss(both, x)[0] - loss, left, right, xtol=step, rtol=4.0 * EPS, maxiter=500, disp=False)
    return float(found)


def _reach(both: Laws, loss: float, side: float) -> float:
    """The outermost centre or, for Gauss, further out until the loss is on that side of ``loss``."""
    x, step = float(both.centres[-1 if side > 0.0 else 0]), side * both.scale
    while both.noise is Noise.GAUSSIAN and abs(step) < _OUT_OF_REACH * both.scale:
        value, doubt = _loss(both, x)
        if side * (value - loss) > doubt:
            break
        x, step = x + step, 2.0 * step
    return x


def _certified(both: Laws, loss: float, centre: float, width: float, end: float) -> tuple[float, tuple[float, float]]:
    """From the centre by ``width``, and further, until the loss is on that side for certain; at most to the end.

    Where that took long strides over a plateau, back to its edge: beyond it the loss may fall away at once.
    """
    side, start, inner = math.copysign(1.0, width), width, centre
    while True:
        x = min(centre + width, end) if width > 0.0 else max(centre + width, end)
        value, doubt = _loss(both, x)
        if side * (value - loss) >= doubt:
            break
        if x == end:  # beyond the last centre Laplace noise has one loss: sets further out are this one, or empty
            known = both.noise is Noise.LAPLACE and width > 0.0
            return x if known else side * math.inf, (value, doubt)
        inner, width = x, 4.0 * width
    for _ in range(_HALVINGS if abs(width) > 4.0 * abs(start) else 0):
        middle = 0.5 * (inner + x)
        found, other = _loss(both, middle)
        if side * (found - loss) >= other:
            x, value, doubt = middle, found, other
        else:
            inner = middle
    return x, (value, doubt)


def half_line_log_delta(pair: Pair, epsilon: float) -> Bounds:
    """Bounds of log δ(ε) for ε >= 0.

    Of a very large group only the mass of batches that hold any of it is told: they alone show anything.

    A larger scale is a smaller one with more noise on top, so δ falls in it: a scale out of range is held between the
    nearest in range and nothing, or all that the records' presence can show, which is the largest G_i.
    """
    if not is_short(pair):
        seen = -math.expm1(pair.size * math.log1p(-pair.sampling_prob))
        return -math.inf, min(math.log(seen) * (1.0 - 4.0 * EPS) + 32.0 * EPS, 0.0)
    if pair.scale > _MOST:
        return -math.inf, half_line_log_delta(replace(pair, scale=_MOST), epsilon)[1]
    both = laws(pair if pair.scale >= _LEAST else replace(pair, scale=_LEAST))
    shown = math.log(min(float(both.excess.max()) * (1.0 + 4.0 * both.error + 16.0 * EPS), 1.0))
    if pair.scale < _LEAST:
        return _best(both, epsilon)[0], shown
    low, high = _best(both, epsilon)
    return low, min(high, shown)


def _best(both: Laws, epsilon: float) -> Bounds:
    """The same from the half-lines alone."""
    where = crossing(both, epsilon)
    if where.low == -math.inf:
        return -math.inf, 0.0
    if where.low == math.inf:
        return -math.inf, -math.inf
    if where.high == math.inf:
        return -math.inf, log_tails(both, where.low)[0][1]
    low = _gain(both, 0.5 * (where.low + where.high), epsilon)[0]
    high = _gain(both, where.low, epsilon)[1]
    change = epsilon + _log_density(both, where) + math.log(where.high - where.low)
    change += where.rise + math.log(-math.expm1(-where.rise)) + 1e-9
    total = float(np.logaddexp(high, change))
    return low, min(total + 8.0 * EPS * (1.0 + abs(total)), 0.0)


def _log_density(both: Laws, where: Crossing) -> float:
    """Log of the largest density that Q has in the bracket, up to a few digits."""
    z = (np.clip(both.centres, where.low, where.high) - both.centres) / both.scale
    if both.noise is Noise.LAPLACE:
        return _log_dot(both.q, -np.abs(z))[0] - math.log(2.0 * both.scale)
    return _log_dot(both.q, -0.5 * z * z)[0] - math.log(math.sqrt(2.0 * math.pi) * both.scale)


def _gain(both: Laws, c: float, epsilon: float) -> Bounds:
    """Bounds of log max(g(c), 0)."""
    log_tail, doubt = _log_tail(both, c)
    top = float(log_tail.max())
    tail = np.exp(log_tail - top)
    gain = float(both.excess @ (tail[1:] - tail[:-1]))
    error = float(both.excess @ (tail[1:] * doubt[1:] + tail[:-1] * doubt[:-1]))
    cost = 0.0
    if epsilon > 0.0:
        log_factor = epsilon + math.log(-math.expm1(-epsilon))
        with np.errstate(divide="ignore"):
            terms = np.exp(np.minimum(np.log(both.q) + (log_tail - top) + log_factor, 300.0))
        cost = float(terms.sum())
        error += float(terms @ doubt) + 8.0 * EPS * cost * (1.0 + epsilon + abs(top))
    error += (both.error + EPS * (len(tail) + 16.0)) * (gain + cost)
    return _log_down(gain - cost - error, top), _log_up(gain - cost + error, top)


def _log_down(value: float, top: float) -> float:
    if value <= 0.0:
        return -math.inf
    return top + math.log(value) - 4.0 * EPS * (1.0 + abs(top) + abs(math.log(value)))


def _log_up(value: float, top: float) -> float:
    if value <= 0.0:
        return -math.inf
    return top + math.log(value) + 4.0 * EPS * (1.0 + abs(top) + abs(math.log(value)))
