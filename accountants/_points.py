r"""A Poisson-sampled Gaussian as points and weights: cumulants at any tilt, with their errors. Private.

Write φ for the N(0, σ²) density, u(x) = (2x-1)/2σ², L(x) = log(1 - q + q e^u), and for one direction

===========  =========================  ==========  ==========================
direction    P                          loss ℓ(x)   density of P
===========  =========================  ==========  ==========================
remove       (1-q) N(0) + q N(1)        L           φ e^L
add          N(0)                       -L          φ
===========  =========================  ==========  ==========================

:math:`I(z) = E_P[e^{z\ell}]` and the tilted density :math:`w = P e^{t\ell}/I(t)`. Everything is a sum over x = jη:

*Quadrature.* In the strip |Im x| <= a < πσ², with θ = a/σ²: |φ(x+iy)| <= φ(x) e^{a²/2σ²}, cos(θ/2)(1-q+qe^u) <=
|1-q+qe^{u+iy/σ²}| <= 1-q+qe^u, and its argument is at most θ. So the line integrals of the integrand of I(t+is) are at
most :math:`I(t)\,e^{a^2/2\sigma^2 + |s|a/\sigma^2}\cos(\theta/2)^{-t}` (the cosine for the add direction only), and by
the trapezoid theorem (Trefethen & Weideman 2014, Theorem 5.1) the sum errs by at most 2 e^{...} / (e^{2πa/η} - 1) of
I(t), at the best a: the *strip bound*. Where s is too large for that, a cell of width η errs by at most η/2 times the
variation in it: in all :math:`\tfrac\eta2(\mathrm{TV}(w) + |s|\,E_w|\ell'|)`, good enough for the tail in s.

*Cutting.* L is convex with slopes in [0, 1/σ²]. Beyond an end x of the range that lies on the far side of 0 and of 1+t
(remove; of -t: add) the integrand is at most a Gaussian tail of its value there:
:math:`\tfrac12\sigma\sqrt{2\pi}\,w(x)`; and so is the sum of the points left out.

Held by tests/accountants/test_points.py against quadrature with 40 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np

from accountants._numerics import EPS, Floats, entropy_remainder, exp_remainder

__all__ = [
    "Grid",
    "Law",
    "cumulants",
    "cut_weight",
    "grid_of",
    "log_moment",
    "log_moment_bound",
    "quadrature_error",
    "reachable",
    "strip_bound",
]

_CUT = 12.0  # standard deviations kept beyond the outermost mode: less than e^-70 is cut
_MAX_POINTS = 1 << 15
_KEPT_POINTS = 1 << 12  # grids longer than this are built each time: what is kept in memory stays below 60 MB
_SCALES = (1e-6, 1e60)  # beyond, and for q below 1e-280, squares of what is summed underflow


class Law(NamedTuple):
    """One direction of a Poisson-sampled Gaussian.

    Args:
        scale: noise multiplier σ.
        prob: sampling probability q in (0, 1).
        add: the direction.
    """

    scale: float
    prob: float
    add: bool


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """Points x = jη of a law for all tilts in [0, reach]; ``base`` is log(η P(x))."""

    step: float
    base: Floats
    loss: Floats
    log_phi: Floats
    ratio: Floats
    share: Floats
    magnitude: Floats


def _step(law: Law, reach: float, fineness: int) -> float:
    """σ/8, or less where the strip is narrow, halved ``fineness`` times; 24 bits long, so that multiples are exact.

    When adding, the best width a is about 2π/η over t/4σ⁴ + 1/σ², where the strip bound is e^-60 for the third number.
    """
    variance = law.scale * law.scale
    steep = 0.55 / math.sqrt(0.25 * reach / variance**2 + 1.0 / variance) if law.add else math.inf
    mantissa, exponent = math.frexp(min(law.scale / 8.0, 0.2 * variance, steep))
    return math.ldexp(math.floor(mantissa * 2.0**24), exponent - 24 - fineness)


def reachable(law: Law, reach: float, fineness: int) -> bool:
    """Whether there is a grid for these tilts, and a short one."""
    usual = _SCALES[0] < law.scale < _SCALES[1] and law.prob > 1e-280
    return usual and _length(law, reach, fineness) <= (2 if fineness else 1) * _MAX_POINTS


def _length(law: Law, reach: float, fineness: int) -> float:
    return (reach + 2.0 + 2.0 * _CUT * law.scale) / _step(law, reach, fineness)


def grid_of(law: Law, reach: float, fineness: int) -> Grid:
    """The points for all tilts up to ``reach``."""
    return (_kept if _length(law, reach, fineness) <= _KEPT_POINTS else _grid)(law, reach, fineness)


def _grid(law: Law, reach: float, fineness: int) -> Grid:
    s, q, step = law.scale, law.prob, _step(law, reach, fineness)
    low, high = (-reach, 1.0) if law.add else (0.0, 1.0 + reach)  # both laws whole, for E_Q[w] = 0
    low, high = low - 1.0 - _CUT * s, high + _CUT * s  # 1 more for w e^-u
    x: Floats = step * np.arange(math.floor(low / step), math.ceil(high / step) + 1, dtype=np.float64)
    u = (2.0 * x - 1.0) / (2.0 * s * s)
    loss = _log_ratio(q, u)
    share = q * np.exp(u - loss)
    log_phi = math.log(step / (s * math.sqrt(2.0 * math.pi))) - 0.5 * (x / s) ** 2
    magnitude = np.abs(loss) + share * np.abs(u)
    base = log_phi if law.add else log_phi + loss
    return Grid(step, base, -loss if law.add else loss, log_phi, u, share, magnitude)


_kept = lru_cache(maxsize=256)(_grid)


def _log_ratio(q: float, u: Floats) -> Floats:
    """Log(1 - q + q e^u); no subtraction loses digits, so it errs by a multiple of EPS (|L| + r|u|), r = L'σ²."""
    loss = np.log1p(q * np.expm1(np.minimum(u, 700.0)))
    if q > 0.5:
        loss = np.where(loss < -0.5, np.log((1.0 - q) + q * np.exp(np.minimum(u, 0.0))), loss)
    return np.where(u > 700.0, u + math.log(q), loss)


def cumulants(law: Law, order: float, reach: float, fineness: int = 0) -> tuple[float, float, float]:
    """Plain log I(t) and its first two derivatives at t = ``order`` <= reach: for searches, not for bounds."""
    grid = grid_of(law, reach, fineness)
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    total = float(weight.sum())
    mean = float(weight @ grid.loss) / total
    centred = grid.loss - mean
    return top + math.log(total), mean, float(weight @ (centred * centred)) / total


def log_moment_bound(law: Law, order: float, reach: float, fineness: int) -> float:
    """An upper bound of log I(t)."""
    grid = grid_of(law, reach, fineness)
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    total = float(weight.sum())
    value, error = log_moment(law, grid, order, exponent, top, total)
    quadrature = quadrature_error(law, order, grid.step)
    return value + error + 4.0 * cut_weight(law, grid, weight) / total + quadrature


def cut_weight(law: Law, grid: Grid, weight: Floats) -> float:
    """What lies beyond the ends, in units of the weights."""
    return 1.3 * law.scale * float(weight[0] + weight[-1]) / grid.step


def quadrature_error(law: Law, order: float, step: float) -> float:
    """The strip bound of log I(t): of I(t), of E_Q[1] and of t E_Q[w]; inf where it says nothing."""
    bound = (2.0 + 2.0 * order) * float(strip_bound(law, order, step, np.zeros(1))[0])
    return -math.log1p(-bound) if bound < 1.0 else math.inf


def strip_bound(law: Law, order: float, step: float, s: Floats) -> Floats:
    """Of the widths a <= 0.96 πσ² tried, the best."""
    variance = law.scale * law.scale
    a = np.linspace(0.04, 0.96, 24) * min(math.pi * variance, 30.0 * law.scale)
    decay = 2.0 * math.pi * a / step
    cost = a * a / (2.0 * variance) - decay - np.log1p(-np.exp(-decay)) + math.log(2.0)
    if law.add:
        cost = cost - order * np.log(np.cos(a / (2.0 * variance)))
    bound: Floats = np.exp(np.minimum((cost + np.multiply.outer(s, a / variance)).min(axis=-1), 100.0))
    return bound


def log_moment(law: Law, grid: Grid, order: float, exponent: Floats, top: float, total: float) -> tuple[float, float]:
    r"""Log I(t) and its error; where it is small as a sum of terms >= 0, so that no digit is lost.

    With w = e^L - 1, E_Q[w] = 0: I(t) - 1 is E_Q[(1+w)(e^{tL} - 1 - tL) + t((1+w)L - w)] for removing and
    E_Q[e^{-tL} - 1 + tL + t(w - L)] for adding.
    """
    value = top + math.log(total)
    depth = math.log2(exponent.size) + 16.0
    if abs(value) > 0.05:
        mean = float(np.exp(exponent - top) @ (np.abs(grid.log_phi) + (order + 1.0) * grid.magnitude)) / total
        return value, EPS * (depth + 8.0 * mean + 4.0 * abs(top))
    tilt = order * grid.loss
    near = np.abs(tilt) < 1.0
    weight = np.exp(grid.base)
    parts = np.where(
        near, weight * exp_remainder(np.where(near, tilt, 0.0)), np.exp(exponent) - weight * (1.0 + tilt)
    ) + order * _entropy(law, grid)
    moment = float(parts.sum())
    mean = float(parts @ (np.abs(grid.log_phi) + (order + 1.0) * grid.magnitude))
    error = EPS * (moment * (depth + 64.0) + 16.0 * mean) + 1e-30 * (1.0 + order)
    return math.log1p(moment), error


def _entropy(law: Law, grid: Grid) -> Floats:
    """φη((1+w)L - w) for removing, φη(w - L) for adding."""
    log_ratio = -grid.loss if law.add else grid.loss
    large = log_ratio > 1.0
    capped = np.where(large, 0.0, log_ratio)
    w = np.expm1(capped)
    small = entropy_remainder(w, capped)
    if law.add:
        small = np.where(np.abs(w) < 0.1, w * capped - small, w - capped)
        far = np.exp(np.where(large, grid.log_phi + log_ratio, 0.0)) - np.exp(grid.log_phi) * (1.0 + log_ratio)
    else:
        far = np.exp(np.where(large, grid.log_phi + log_ratio, 0.0)) * (log_ratio - 1.0) + np.exp(grid.log_phi)
    return np.where(large, far, np.exp(grid.log_phi) * small)
