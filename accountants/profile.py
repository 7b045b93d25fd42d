r"""The curve of ONE pair in closed form: δ(ε) from both sides, at every real ε and every delta.

With δ₀ the curve of the unsampled noise, q the sampling probability, and ε >= 0:

* REMOVE and MIRROR: :math:`\delta(\epsilon) = q\,\delta_0(\log(1 + (e^\epsilon - 1)/q))` (Balle, Barthe & Gaboardi
  2018, Theorem 2).
* ADD: :math:`\delta(\epsilon) = c\,\delta_0(\epsilon - \log(c/q))`, c = 1 - (1-q)e^ε; 0 where c <= 0.
* ANTIPODAL, and groups under Poisson: the best half-line, ``accountants._halfline``.
* Laplace: :math:`\delta_0(\epsilon) = 1 - e^{(\epsilon - 1/b)/2}` up to 1/b, 0 beyond. Gauss:
  ``accountants._gauss``.
* atoms: :math:`F + (1-F)\sum p_i (1 - e^{\epsilon - L_i})_+`.
* ε < 0, all but atoms: :math:`\delta(\epsilon) = 1 - e^\epsilon + e^\epsilon\,\delta'(-\epsilon)`, δ' the curve of
  the two laws exchanged: noise is symmetric, so SHIFT, ANTIPODAL and MIRROR are their own, REMOVE and ADD each other's.

Rounding: an argument that was computed is replaced by both ends of the interval it may lie in (curves are monotone),
and a logarithm is widened by a stated multiple of EPS. Atoms are taken to be off by what
:class:`~accountants.pairs.AtomPair` states. Held by ``test_curves_contain_the_exact_value``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import final

import numpy as np

from accountants._gauss import gauss_log_delta
from accountants._halfline import crossing, half_line_log_delta, laws, log_tails
from accountants._invert import Bounds, Curve, invert
from accountants._logs import NONE, complement, log_one_minus_exp, reflected, widened, with_failure
from accountants._numerics import EPS, Floats
from accountants.pairs import AtomPair, Noise, Pair, Shape

__all__ = [
    "Tails",
    "curve",
    "epsilon_bounds",
    "gaussian_epsilon_bounds",
    "gaussian_log_delta_bounds",
    "log_delta_bounds",
    "tails",
]

_SWAPPED = {Shape.REMOVE: Shape.ADD, Shape.ADD: Shape.REMOVE}
_OVERFLOW = 1e300
_LOG_MAX = 700.0  # e^x is finite below
_REST = 16.0 * EPS  # how far the mass at loss 0 may be off, absolutely


def log_delta_bounds(pair: Pair | AtomPair, epsilon: float) -> Bounds:
    """Bounds of log δ(ε) of a pair.

    Guarantee:
        The exact value for the pair as stated lies between them; held by ``test_curves_contain_the_exact_value``.

    Args:
        pair: the two laws.
        epsilon: any real number.

    Returns:
        (lower, upper), natural logarithms; -inf where delta is 0.

    Example:
        >>> low, high = log_delta_bounds(Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT), 1.0)
        >>> low <= -2.0640664465003905 <= high and high - low < 1e-13
        True
    """
    return curve(pair)(epsilon)


def epsilon_bounds(pair: Pair | AtomPair, log_delta: float) -> Bounds:
    """Bounds of the least epsilon >= 0 at which δ is at most e^``log_delta``.

    Guarantee:
        Both ends are certified by evaluating the curve at the very numbers returned; held by
        ``test_epsilon_is_enclosed``.

    Args:
        pair: the two laws.
        log_delta: log δ, -inf for δ = 0.

    Returns:
        (lower, upper); (0.0, 0.0) where δ(0) is small enough, inf where no epsilon is known to do.

    Example:
        >>> low, high = epsilon_bounds(Pair(Noise.GAUSSIAN, 2.0, Shape.SHIFT), math.log(1e-5))
        >>> low <= 1.9930914044151196 <= high and high - low < 1e-12
        True
    """
    return invert(curve(pair), log_delta, _start(pair, log_delta))


def gaussian_log_delta_bounds(mu: float, epsilon: float) -> Bounds:
    """Bounds of log δ(ε) of N(μ, 1) against N(0, 1), for every separation within 4 EPS of ``mu`` > 0 and any real ε."""
    if epsilon >= 0.0:
        return gauss_log_delta(mu, epsilon)
    return reflected(gauss_log_delta(mu, -epsilon), -epsilon)


def gaussian_epsilon_bounds(mu: float, log_delta: float) -> Bounds:
    """Bounds of the epsilon of N(μ, 1) against N(0, 1), for every separation within 4 EPS of ``mu`` > 0.

    A composition of unsampled Gaussians has μ² = Σ 1/z² (Dong, Roth & Su 2022, Corollary 3.3).
    """
    return invert(lambda epsilon: gauss_log_delta(mu, epsilon), log_delta, _gauss_start(mu, log_delta))


@singledispatch
def curve(pair: Pair | AtomPair) -> Curve:
    """From ε, any real number, to bounds of log δ(ε); what the two laws share is prepared once."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@curve.register
def _(pair: Pair) -> Curve:
    ahead = _ahead(pair)
    behind = _ahead(replace(pair, shape=_SWAPPED.get(pair.shape, pair.shape)))
    return lambda epsilon: ahead(epsilon) if epsilon >= 0.0 else reflected(behind(-epsilon), -epsilon)


@curve.register
def _(pair: AtomPair) -> Curve:
    log_p, loss = np.array(pair.log_p), np.array(pair.loss)
    return lambda epsilon: with_failure(_atoms_log_delta(log_p, loss, epsilon), pair.least_failure, pair.failure)


def _ahead(pair: Pair) -> Curve:
    """The curve for ε >= 0."""
    base = _BASE[pair.noise](pair.scale)
    q = pair.sampling_prob
    if pair.shape is Shape.SHIFT:
        return base
    if q == 0.0:
        return lambda epsilon: NONE
    if pair.shape is Shape.ANTIPODAL and q == 1.0:
        return _BASE[pair.noise](0.5 * pair.scale)
    if pair.shape is Shape.ANTIPODAL or pair.size > 1:
        return lambda epsilon: half_line_log_delta(pair, epsilon)
    if q == 1.0:
        return base
    if pair.shape is Shape.ADD:
        return lambda epsilon: _added(base, q, epsilon)
    return lambda epsilon: _removed(base, q, epsilon)


def _gauss_base(scale: float) -> Curve:
    return lambda epsilon: gauss_log_delta(1.0 / scale, epsilon)


def _laplace_base(scale: float) -> Curve:
    s = 1.0 / scale

    def at(epsilon: float) -> Bounds:
        low, high = (s * (1.0 - 2.0 * EPS) - epsilon) / 2.0, (s * (1.0 + 2.0 * EPS) - epsilon) / 2.0
        return log_one_minus_exp(low)[0], log_one_minus_exp(high)[1]

    return at


_BASE: dict[Noise, Callable[[float], Curve]] = {Noise.GAUSSIAN: _gauss_base, Noise.LAPLACE: _laplace_base}


def _removed(base: Curve, q: float, epsilon: float) -> Bounds:
    """Log q + log δ₀(log(1 + (e^ε - 1)/q))."""
    log_q = math.log(q)
    if epsilon > 1.0:
        inner = epsilon - log_q + math.log1p(-(1.0 - q) * math.exp(-epsilon))
    else:
        ratio = math.expm1(epsilon) / q
        inner = math.log1p(ratio) if ratio < _OVERFLOW else math.log(math.expm1(epsilon)) - log_q
    return _scaled(base, log_q, inner * (1.0 - 6.0 * EPS), inner * (1.0 + 6.0 * EPS))


def _added(base: Curve, q: float, epsilon: float) -> Bounds:
    """Log c + log δ₀(ε - log(c/q)), with c/q = 1 - w and w = (1-q)(e^ε - 1)/q; falling in w."""
    w = (1.0 - q) * (math.expm1(epsilon) / q) if epsilon < 700.0 else math.inf
    low, high = w * (1.0 - 6.0 * EPS), w * (1.0 + 6.0 * EPS)
    if low >= 1.0:
        return NONE
    return _added_at(base, q, epsilon, high)[0] if high < 1.0 else -math.inf, _added_at(base, q, epsilon, low)[1]


def _added_at(base: Curve, q: float, epsilon: float, w: float) -> Bounds:
    log_rest = math.log1p(-w)
    inner = epsilon - log_rest
    return _scaled(base, math.log(q) + log_rest, inner * (1.0 - 4.0 * EPS), inner * (1.0 + 4.0 * EPS))


def _scaled(base: Curve, log_factor: float, inner_low: float, inner_high: float) -> Bounds:
    """Log factor + log δ₀ over an interval of its argument."""
    low, high = log_factor + base(inner_high)[0], log_factor + base(inner_low)[1]
    error = 6.0 * EPS * (1.0 + abs(log_factor))
    return widened(low, error + 2.0 * EPS * abs(low))[0], _up(high, error)


def _up(value: float, error: float) -> float:
    """The upper end of `widened`, for a value of which -inf is exact."""
    return value if value == -math.inf else widened(value, error + 2.0 * EPS * abs(value))[1]


def _atoms_log_delta(log_p: Floats, loss: Floats, epsilon: float) -> Bounds:
    """Log Σ p (1 - e^{ε-L})_+ of both ends of every loss and mass."""
    doubt = _loss_doubt(log_p, loss) + 2.0 * EPS * abs(epsilon)
    rest = -math.expm1(epsilon) * _REST if epsilon < 0.0 and bool(np.any(loss == 0.0)) else 0.0
    return _atoms_sum(log_p, loss - epsilon - doubt, rest)[0], _atoms_sum(log_p, loss - epsilon + doubt, rest)[1]


def _loss_doubt(log_p: Floats, loss: Floats) -> Floats:
    """How far losses may be off: what `AtomPair` states, and 2 EPS for a subtraction."""
    with np.errstate(over="ignore"):
        doubt: Floats = EPS * np.abs(loss) * (10.0 + 8.0 * (np.abs(log_p) + np.abs(loss)))
    return doubt


def _atoms_sum(log_p: Floats, gap: Floats, rest: float) -> Bounds:
    """Bounds of log Σ p (1 - e^-gap)_+, where the sum may be off by ``rest`` besides the errors of its masses."""
    keep = gap > 0.0
    if not keep.any():
        return NONE
    log_mass = log_p[keep]
    top = float(log_mass.max())
    terms = np.exp(log_mass - top) * -np.expm1(-gap[keep])
    total = float(terms.sum())
    error = 8.0 * EPS * (4.0 * total + float(terms @ np.abs(log_mass))) + len(terms) * (EPS * total + 1e-300)
    error += rest * math.exp(min(-top, _LOG_MAX)) if rest else 0.0
    low, high = total - error, total + error
    slack = 4.0 * EPS * (1.0 + abs(top))
    return (
        widened(top + math.log(low), slack + 4.0 * EPS * abs(math.log(low)))[0] if low > 0.0 else -math.inf,
        widened(top + math.log(high), slack + 4.0 * EPS * abs(math.log(high)))[1],
    )


@singledispatch
def _start(pair: Pair | AtomPair, log_delta: float) -> float:
    """A guess of epsilon."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@_start.register
def _(pair: Pair, log_delta: float) -> float:
    if pair.noise is Noise.LAPLACE:
        return pair.sampling_prob * min(1.0 / pair.scale, 1e290)
    reach = _gauss_start(1.0 / pair.scale, log_delta)
    return reach if pair.shape is Shape.SHIFT else math.log1p(pair.sampling_prob * math.expm1(min(reach, 700.0)))


@_start.register
def _(pair: AtomPair, log_delta: float) -> float:
    return max(max(pair.loss, default=0.0) * (1.0 + 32.0 * EPS), 1e-290)


def _gauss_start(mu: float, log_delta: float) -> float:
    return min(mu * (0.5 * mu + math.sqrt(-2.0 * log_delta)), 1e290) if log_delta < 0.0 else 1.0


@final
@dataclass(frozen=True, slots=True)
class Tails:
    """Bounds of the logarithms of P[L > t] and of Q[L > t], L = log(P/Q)."""

    log_p: Bounds
    log_q: Bounds


@singledispatch
def tails(pair: Pair | AtomPair, loss: float) -> Tails:
    """The mass that either law puts on losses above ``loss``; differences of two of them are the masses of cells.

    Args:
        pair: the two laws.
        loss: the threshold t.

    Returns:
        Bounds on both; P's ``failure``, a loss of infinity, is counted.

    Example:
        >>> found = tails(Pair(Noise.LAPLACE, 1.0, Shape.SHIFT), 0.0)
        >>> round(math.exp(found.log_p[0]), 3), round(math.exp(found.log_q[1]), 3)
        (0.697, 0.303)
    """
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@tails.register
def _(pair: Pair, loss: float) -> Tails:
    if pair.shape is Shape.MIRROR and loss < 0.0:
        other = tails(pair, -loss)
        return Tails(complement(other.log_q), complement(other.log_p))
    both = laws(pair)
    where = crossing(both, loss)
    if where.low == math.inf:
        return Tails(NONE, NONE)
    p_low, q_low = log_tails(both, where.low) if where.low > -math.inf else ((0.0, 0.0), (0.0, 0.0))
    if where.high == -math.inf:
        return Tails((0.0, 0.0), (0.0, 0.0))
    p_high, q_high = log_tails(both, where.high) if where.reached and where.high < math.inf else (NONE, NONE)
    return Tails((p_high[0], p_low[1]), (q_high[0], q_low[1]))


@tails.register
def _(pair: AtomPair, loss: float) -> Tails:
    log_p, losses = np.array(pair.log_p), np.array(pair.loss)
    doubt = _loss_doubt(log_p, losses) + 2.0 * EPS * abs(loss)
    sure, maybe = losses - doubt > loss, losses + doubt > loss
    rest = _REST if bool(np.any(losses[maybe] == 0.0)) else 0.0
    finite = _log_mass(log_p[sure], rest)[0], _log_mass(log_p[maybe], rest)[1]
    p = with_failure(finite, pair.least_failure, pair.failure)
    kept = [math.log1p(-failure) if failure < 1.0 else -math.inf for failure in (pair.failure, pair.least_failure)]
    log_q, off = log_p - losses, float(doubt.max())
    low, high = _log_mass(log_q[sure], rest)[0] + kept[0] - off, _log_mass(log_q[maybe], rest)[1] + kept[1] + off
    return Tails(p, (low - 8.0 * EPS * abs(low), min(high + 8.0 * EPS * abs(high), 0.0)))


def _log_mass(log_mass: Floats, rest: float) -> Bounds:
    """Bounds of the log of a sum of masses."""
    return _atoms_sum(log_mass, np.full(len(log_mass), math.inf), rest)
