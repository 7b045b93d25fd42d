r"""Log-moments of a pair of laws at any real order.

:math:`K(\alpha) = \log E_Q[(P/Q)^\alpha] = (\alpha-1)\,\mathrm{RDP}(\alpha)`.

A sampled pair is turned into a table: points of Q with weights, and the loss L = log(P/Q) there. Everything else is a
sum of positive terms.

*Gauss*: the trapezoid rule in x with step h. Where -a <= Im x <= a < πσ² the integrand is analytic, and with θ =
Im x/σ² its modulus is at most :math:`e^{a^2/2\sigma^2}\cos(\theta/2)^{-t}` times its value on the real line
(:math:`\cos(\theta/2)(1-q+qe^u) \le |1-q+qe^{u+i\theta}| \le 1-q+qe^u`; the cosine enters only where a mixture stands
in the denominator, t = α-1). So the relative error of the rule is below
:math:`2e^{a^2/2\sigma^2}\cos(a/2\sigma^2)^{-t}/(e^{2\pi a/h}-1)` (Trefethen & Weideman 2014, Theorem 5.1); h makes it
e^-100. Cutting 15σ beyond the outermost mode costs less than e^-110.

*Laplace*: two atoms and an integral over the loss, by 24-point Gauss-Legendre panels of length <= 1/(1 + α/8); on the
Bernstein ellipse with ρ = 12 the integrand grows by at most e^36, so the relative error is below e^-80 (Trefethen,
Approximation Theory, Theorem 19.3).

*Small moments*: since E_Q[P/Q - 1] = 0, with w = P/Q - 1, L = log(1+w) and t = α - 1

.. math:: E_Q[(P/Q)^\alpha] - 1 = E_Q\bigl[(1+w)(e^{tL}-1-tL) + t\,((1+w)L - w)\bigr],

both terms >= 0: no digit is lost however small the cost. *Rounding*: a term is a product of exponentials whose
exponents have magnitude m, hence off by at most a few (1+m) EPS; the weighted mean of m is summed along and the
result widened by 32 times it. Held by test_moments.py against 34-digit quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from accountants._numerics import EPS, Floats, entropy_remainder, exp_remainder, round_up
from accountants.pairs import Noise, Pair, Shape

__all__ = ["log_moment", "majorant", "max_log_ratio"]

_MAX_POINTS = 1 << 14
_NATS = 100.0  # the trapezoid rule errs by e^-100
_SMALLEST, _LARGEST = 1e-3, 1e8  # scales that are tabulated: beyond, a coarser bound serves
_CUT = 15.0  # standard deviations kept beyond the outermost mode


@final
@dataclass(frozen=True, slots=True)
class _Table:
    """Points of Q: log weight, loss, weight * ((1+w)L - w), and the magnitude of the exponents met on the way."""

    log_weight: Floats
    loss: Floats
    entropy: Floats
    magnitude: Floats


def log_moment(pair: Pair, order: float) -> float:
    """An upper bound of K(order), tight to the rounding stated above; +inf where it overflows.

    Args:
        pair: the two laws; `majorant` says which pair stands in for it.
        order: α > 1.
    """
    if pair.shape is Shape.SHIFT:
        return _shift_moment(pair, order)
    level = max(1, math.frexp(order)[1])
    table = _table(majorant(pair), level)
    coarse = _mixture_bound(pair, order)
    return coarse if table is None else min(coarse, _sum(table, order - 1.0))


def max_log_ratio(pair: Pair) -> float:
    """The largest log(P/Q), rounded up: the epsilon of pure differential privacy in this direction; inf for Gauss."""
    if pair.noise is Noise.GAUSSIAN:
        return math.inf
    s, q = round_up(1.0 / pair.scale), pair.sampling_prob
    if pair.shape is Shape.SHIFT or s > 700.0:
        return s if pair.shape is not Shape.ANTIPODAL else round_up(2.0 * s)
    if pair.shape is Shape.ADD:
        return round_up(-math.log1p(q * math.expm1(-s)), 16)
    remove = math.log1p(q * math.expm1(s))
    if pair.shape is Shape.REMOVE:
        return round_up(remove, 16)
    return round_up(remove - math.log1p(q * math.expm1(-s)), 32)


def majorant(pair: Pair) -> Pair:
    """A pair whose moments are nowhere below: REMOVE for ADD, and the largest scale that is tabulated for a larger one.

    The noise families here have a reflection that exchanges N(0) and N(1); then the ADD direction is never above the
    REMOVE direction, at any order (Mironov, Talwar & Zhang 2019, Theorem 5; held by ``test_remove_dominates_add``).
    """
    shape = Shape.REMOVE if pair.shape is Shape.ADD else pair.shape
    return Pair(pair.noise, min(pair.scale, _LARGEST), shape, pair.sampling_prob)


def _shift_moment(pair: Pair, order: float) -> float:
    """Closed forms: α(α-1)/2z² (Mironov 2017, Proposition 7), and Proposition 6 in a form that does not cancel."""
    t = order - 1.0
    if pair.noise is Noise.GAUSSIAN:
        return round_up(order * (t / pair.scale) / (2.0 * pair.scale), 8)
    s = 1.0 / pair.scale
    if t * s > 30.0:  # the other atom is below e^-30 of the first, and counts for less than it
        return round_up(t * s + math.log((order + t * math.exp(-(order + t) * s)) / (order + t)), 16)
    remainders = exp_remainder(np.array([t * s, -order * s]))
    return round_up(math.log1p((order * float(remainders[0]) + t * float(remainders[1])) / (order + t)), 64)


def _mixture_bound(pair: Pair, order: float) -> float:
    """Without a table: moments are jointly convex in the pair, so K <= log(1 - q + q e^{K of the unsampled pair}).

    The antipodal pair also has Q >= (1-q)N(0), which costs at most -(α-1) log(1-q) more than removing.
    """
    q = pair.sampling_prob
    if pair.shape is Shape.ANTIPODAL:
        removed = _mixture_bound(Pair(pair.noise, pair.scale, Shape.REMOVE, q), order) - (order - 1.0) * math.log1p(-q)
        return min(
            round_up(removed),
            _convex_bound(q, _shift_moment(Pair(pair.noise, max(pair.scale / 2.0, math.ulp(0.0)), Shape.SHIFT), order)),
        )
    return _convex_bound(q, _shift_moment(Pair(pair.noise, pair.scale, Shape.SHIFT), order))


def _convex_bound(q: float, base: float) -> float:
    """log(1 - q + q e^base), rounded up."""
    if base > 1.0:
        return round_up(float(np.logaddexp(math.log1p(-q), math.log(q) + base)), 16)
    return round_up(math.log1p(q * math.expm1(base)), 16)


def _sum(table: _Table, t: float) -> float:
    """K from a table: by logarithms, and where it is small once more as a sum that does not cancel."""
    tilt = t * table.loss
    base = table.log_weight + table.loss
    exponent = base + tilt
    top = float(exponent.max())
    terms = np.exp(exponent - top)
    total = float(terms.sum())
    value = top + math.log(total)
    rounding = 32.0 * EPS * (1.0 + float(terms @ (table.magnitude + np.abs(tilt))) / total)
    if value > 0.5:
        return value + rounding + 4.0 * EPS * value
    weight = np.exp(base)
    near = np.where(np.abs(tilt) < 1.0, weight * exp_remainder(np.clip(tilt, -1.0, 1.0)), 0.0)
    far = np.where(np.abs(tilt) < 1.0, 0.0, terms * math.exp(top) - weight * (1.0 + tilt))
    parts = near + far + t * table.entropy
    moment = float(parts.sum())
    rounding = 64.0 * EPS * (moment + float(parts @ (table.magnitude + np.abs(tilt))))
    return math.log1p(moment + rounding + 1e-35 * t * (1.0 + t)) * (1.0 + 4.0 * EPS)


@lru_cache(maxsize=1024)
def _table(pair: Pair, level: int) -> _Table | None:
    """The table that serves orders up to 2^level; None where it would be too long."""
    if pair.scale < _SMALLEST:
        return None
    grid = _gauss_points(pair, 2.0**level) if pair.noise is Noise.GAUSSIAN else _laplace_points(pair, 2.0**level)
    if grid is None:
        return None
    log_weight, plus, minus = grid
    q = pair.sampling_prob
    loss_plus, w_plus = _mixture_loss(q, plus)
    magnitude = np.abs(log_weight) + np.abs(plus)
    if pair.shape is Shape.REMOVE:
        return _Table(log_weight, loss_plus, _entropy(log_weight, loss_plus, w_plus), magnitude)
    loss_minus, w_minus = _mixture_loss(q, minus)
    loss = loss_plus - loss_minus
    log_weight = log_weight + loss_minus
    near = np.abs(loss) < 0.5
    w = np.where(near, (w_plus - w_minus) / (1.0 + np.where(near, w_minus, 0.0)), np.expm1(np.minimum(loss, 1.0)))
    loss = np.where(near, np.log1p(np.where(near, w, 0.0)), loss)
    return _Table(log_weight, loss, _entropy(log_weight, loss, w), magnitude + np.abs(minus))


def _entropy(log_weight: Floats, loss: Floats, w: Floats) -> Floats:
    """The entropy column, weight * ((1+w)L - w), without forming 1+w where that may overflow."""
    large = loss > 1.0
    weight = np.exp(log_weight)
    small = weight * entropy_remainder(np.where(large, 0.0, w), np.where(large, 0.0, loss))
    return np.where(large, np.exp(np.where(large, log_weight + loss, 0.0)) * (loss - 1.0) + weight, small)


def _mixture_loss(q: float, u: Floats) -> tuple[Floats, Floats]:
    """log(1 - q + q e^u) and q(e^u - 1); the latter is cut off where e^u would overflow, and not used there."""
    w: Floats = q * np.expm1(np.minimum(u, 700.0))
    near = np.abs(w) < 0.5
    far = np.logaddexp(math.log1p(-q), math.log(q) + u)
    return np.where(near, np.log1p(np.where(near, w, 0.0)), far), w


def _gauss_points(pair: Pair, order: float) -> tuple[Floats, Floats, Floats] | None:
    """Log weights under N(0, σ²) and the log-ratios of N(+1), N(-1) to it, at trapezoid points."""
    s = pair.scale
    antipodal = pair.shape is Shape.ANTIPODAL
    h = _gauss_step(s, order - 1.0 if antipodal else 0.0)
    reach = (2.0 * order - 1.0 if antipodal else order) + _CUT * s + 0.5
    first, last = -math.ceil((_CUT * s + 0.5) / h), math.ceil(reach / h)
    if last - first > _MAX_POINTS:
        return None
    x: Floats = h * np.arange(first, last + 1, dtype=np.float64)
    log_weight: Floats = math.log(h / (s * math.sqrt(2.0 * math.pi))) - 0.5 * (x / s) ** 2
    return log_weight, (2.0 * x - 1.0) / (2.0 * s * s), (-2.0 * x - 1.0) / (2.0 * s * s)


def _gauss_step(s: float, t: float) -> float:
    """The largest step with a strip bound of e^-100, over some widths; 24 bits long, so its multiples are exact."""
    widths = np.linspace(0.02, 0.98, 49) * min(math.pi * s * s, math.sqrt(2.0 * _NATS) * s)
    cost = _NATS + 1.0 + widths**2 / (2.0 * s * s) - t * np.log(np.cos(widths / (2.0 * s * s)))
    mantissa, exponent = math.frexp(float((2.0 * math.pi * widths / cost).max()))
    return math.ldexp(math.floor(mantissa * 2.0**24), exponent - 24)


def _laplace_points(pair: Pair, order: float) -> tuple[Floats, Floats, Floats] | None:
    """The same under Laplace(0): atoms where the log-ratio is constant, Gauss-Legendre panels in between."""
    s = 1.0 / pair.scale
    panels = math.ceil(2.0 * s * (1.0 + order / 8.0))
    if 24 * panels > _MAX_POINTS:
        return None
    node, weight = _legendre()
    half = s / panels
    centre = -s + half * (2.0 * np.arange(panels) + 1.0)
    v = (centre[:, None] + half * node).ravel()  # log-ratio of N(+1) between the two centres 0 and 1
    log_v = np.tile(np.log(weight * half / 4.0), panels) - 0.5 * (v + s)
    flat = np.full_like(v, -s)
    if pair.shape is Shape.REMOVE:
        log_weight = np.concatenate([[math.log(0.5)], log_v, [math.log(0.5) - s]])
        plus = np.concatenate([[-s], v, [s]])
        return log_weight, plus, plus
    log_weight = np.concatenate([[math.log(0.5) - s], log_v[::-1], log_v, [math.log(0.5) - s]])
    plus = np.concatenate([[-s], flat, v, [s]])
    return log_weight, plus, np.concatenate([[s], v[::-1], flat, [-s]])


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    node, weight = np.polynomial.legendre.leggauss(24)
    return node, weight
