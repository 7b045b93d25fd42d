r"""A Poisson-sampled Gaussian under an exponential tilt, with the error of every number. Private: serves the contour.

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
the trapezoid theorem (Trefethen & Weideman 2014, Theorem 5.1) the sum errs by at most ``strip(s)`` I(t), 2 e^{...} /
(e^{2πa/η} - 1), at the best a. Where s is too large for that, a cell of width η errs by at most η/2 times the variation
in it: in all :math:`\tfrac\eta2(\mathrm{TV}(w) + |s|\,E_w|\ell'|)`, a bound that is only good enough for the tail.

*Cutting.* L is convex with slopes in [0, 1/σ²]. Beyond an end x of the range that lies on the far side of 0 and of 1+t
(remove; of -t: add) the integrand is at most a Gaussian tail of its value there: :math:`\tfrac12\sigma\sqrt{2\pi}\,w(x)`.

*Tail in s.* Integrating by parts, |I(t+is)|/I(t) <= V/|s| with V >= TV(w/ℓ'), w/ℓ' = ±σ²(w + ((1-q)/q) w e^{-u}). A
stationary point of w or of w e^{-u} solves (x + const) = (1+t) r(x) with r the logistic function q e^u/(1-q+qe^u), a line
meeting a sigmoid of slope <= 1/4σ²: at most three times, once if 1+t <= 4σ²; in the add direction both are log-concave.
With m modes (2, or 1) :math:`V = 2m\sigma^2(\max w + \tfrac{1-q}q\max we^{-u})`, and TV(w) <= 2m max w. Between two
points of the grid log w rises above both by at most η²/8 times its largest negative curvature.

*Between samples in s.* For the sum itself, f(s) = |Σ w_j e^{isℓ_j}|² has f'' >= -2 Var, so on an interval of length d it
exceeds the larger end by at most Var d²/4.

Held by tests/accountants/test_tilt.py against quadrature with 40 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np

from accountants._numerics import EPS, Floats, entropy_remainder, exp_remainder

__all__ = ["Law", "Sampled", "Tilted", "cumulants", "reachable", "tilted"]

_CUT = 12.0  # standard deviations kept beyond the outermost mode: less than e^-70 is cut
_MAX_POINTS = 1 << 16
_BEND = 0.5 * (1.0 - math.cos(2.0))  # 1 - cos x >= (1 - cos 2) x^2 / 4 for |x| <= 2
_BLOCK = 1 << 18  # sines at a time
_FAINT = 1e-24  # weights below this share of the largest are dropped, and counted as an error


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


class Sampled(NamedTuple):
    """What the integral needs of exp(times * (log I(t+is) - log I(t) - is mean)) at many s."""

    log_modulus: Floats
    angle: Floats
    relative_error: Floats


class _Near(NamedTuple):
    """L at the points, less its median; half its rise over each cell; running sums of lower masses and moments."""

    rise: Floats
    width: Floats
    mass: Floats
    first: Floats
    second: Floats


@final
@dataclass(frozen=True, slots=True)
class _Grid:
    """Points x = jη of a law for all tilts in [0, reach]; ``base`` is log(η P(x))."""

    step: float
    base: Floats
    loss: Floats
    log_phi: Floats
    ratio: Floats
    share: Floats
    magnitude: Floats


def _step(law: Law, fineness: int) -> float:
    """σ/8, or less where the strip is narrow; halved ``fineness`` times; 24 bits long, so that multiples are exact."""
    mantissa, exponent = math.frexp(min(law.scale / 8.0, 0.2 * law.scale * law.scale))
    return math.ldexp(math.floor(mantissa * 2.0**24), exponent - 24 - fineness)


def reachable(law: Law, reach: float, fineness: int) -> bool:
    """Whether a grid for these tilts is short enough."""
    return (reach + 1.0 + 2.0 * _CUT * law.scale) / _step(law, fineness) <= _MAX_POINTS


@lru_cache(maxsize=64)
def _grid(law: Law, reach: float, fineness: int) -> _Grid:
    """The points; built once for all tilts up to ``reach``."""
    s, q, step = law.scale, law.prob, _step(law, fineness)
    low, high = (-reach, 0.0) if law.add else (0.0, 1.0 + reach)
    low, high = low - 1.0 - _CUT * s, high + _CUT * s  # 1 more for w e^-u
    x: Floats = step * np.arange(math.floor(low / step), math.ceil(high / step) + 1, dtype=np.float64)
    u = (2.0 * x - 1.0) / (2.0 * s * s)
    small = np.expm1(np.minimum(u, 1.0))
    odds = np.exp(-np.maximum(u, 1.0)) * ((1.0 - q) / q)
    large = u > 1.0
    loss = np.where(large, u + (math.log(q) + np.log1p(odds)), np.log1p(q * small))
    share = np.where(large, 1.0 / (1.0 + odds), q * (1.0 + small) / (1.0 + q * small))
    log_phi = math.log(step / (s * math.sqrt(2.0 * math.pi))) - 0.5 * (x / s) ** 2
    magnitude = np.abs(loss) + share * np.abs(u)
    base = log_phi if law.add else log_phi + loss
    return _Grid(step, base, -loss if law.add else loss, log_phi, u, share, magnitude)


def cumulants(law: Law, order: float, reach: float, fineness: int = 0) -> tuple[float, float, float]:
    """log I(t) and its first two derivatives at t = ``order`` <= reach, plainly: for searches, not for bounds."""
    grid = _grid(law, reach, fineness)
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    total = float(weight.sum())
    mean = float(weight @ grid.loss) / total
    centred = grid.loss - mean
    return top + math.log(total), mean, float(weight @ (centred * centred)) / total


@final
@dataclass(frozen=True, slots=True)
class Tilted:
    """A law at tilt t.

    Args:
        law: the law.
        step: η.
        log_moment: log I(t).
        log_moment_error: its absolute error.
        mean: E_w[ℓ], as a float: the centre that was subtracted.
        variance: of the weights kept.
        weight: w η on the points kept.
        centred: ℓ - mean there.
        missing: total weight cut or dropped, an upper bound.
        spread: root mean square of the exponents behind the weights, which multiplies their rounding.
        size: E_w of the magnitudes behind ℓ, which multiplies its rounding.
        variation: an upper bound of TV(w).
        slope: an upper bound of E_w|ℓ'|.
        decay: V.
    """

    law: Law
    order: float
    step: float
    log_moment: float
    log_moment_error: float
    mean: float
    variance: float
    weight: Floats
    centred: Floats
    missing: float
    spread: float
    size: float
    variation: float
    slope: float
    mass: Floats
    decay: Floats
    near: _Near

    def _parts(self, s: Floats) -> tuple[Floats, Floats]:
        """Real and imaginary part of Σ w (e^{isℓ} - 1): no digit is lost where it is small."""
        real, imag = np.empty_like(s), np.empty_like(s)
        rows = max(1, _BLOCK // self.centred.size)
        for start in range(0, s.size, rows):
            block = slice(start, start + rows)
            half = np.multiply.outer(0.5 * s[block], self.centred)
            sine = np.sin(half)
            np.cos(half, out=half)
            half *= sine
            sine *= sine
            real[block], imag[block] = -2.0 * (sine @ self.weight), 2.0 * (half @ self.weight)
        return real, imag

    def strip(self, s: Floats) -> Floats:
        """The trapezoid theorem's bound, relative to I(t)."""
        return _strip(self.law, self.order, self.step, s)

    def sampled(self, s: Floats, times: int) -> Sampled:
        """The power of the characteristic function at s >= 0, with its relative error."""
        real, imag = self._parts(s)
        square = np.maximum(real * (2.0 + real) + imag * imag, -1.0 + EPS)
        log_modulus = 0.5 * np.log1p(square)
        angle = np.arctan2(imag, 1.0 + real)
        swing = np.sqrt(np.maximum(-2.0 * real, 0.0))  # at least E_w|e^{isℓ} - 1|
        rounding = EPS * ((self.weight.size + 16.0 + 8.0 * self.spread) * (swing - real) + 8.0 * s * self.size)
        error = (self.strip(s) + 3.0 * self.missing + rounding) * np.exp(-log_modulus)
        relative = np.where(error < 0.5, times * -np.log1p(-np.minimum(error, 0.5)), math.inf)
        relative = np.expm1(np.minimum(relative + times * EPS * 4.0 * (np.abs(angle) - log_modulus), 700.0))
        return Sampled(times * log_modulus, times * angle, relative)

    def log_modulus_bound(self, s: Floats) -> Floats:
        """An upper bound of log(|I(t+is)|/I(t)) on each interval between the increasing points s; one entry fewer."""
        real, imag = self._parts(s)
        square = (1.0 + real) ** 2 + imag * imag
        width = np.diff(s)
        between = np.sqrt(np.maximum(square[:-1], square[1:]) + self.variance * width * width * (0.25 + 64.0 * EPS))
        coarse = 0.5 * self.step * (self.variation + s[1:] * self.slope)
        error = np.minimum(self.strip(s[1:]), coarse) + self.missing + EPS * (self.weight.size + 16.0)
        return np.minimum(np.minimum(np.log(between + error), self.log_far(s[:-1])), self._log_near(s))

    def _log_near(self, s: Floats) -> Floats:
        """The bound by the variance of what lies within 1/s of the median."""
        near = self.near
        first = np.searchsorted(near.rise, -1.0 / s[1:], side="left")
        last = np.maximum(np.searchsorted(near.rise, 1.0 / s[1:], side="right") - 1, first)
        mass = near.mass[last] - near.mass[first]
        some = np.maximum(mass, 1e-300)
        mean = (near.first[last] - near.first[first]) / some
        square = (near.second[last] - near.second[first]) / some
        stddev = np.sqrt(np.maximum(square - mean * mean, 0.0)) - near.width[np.maximum(last - 1, 0)]
        share = 0.99 * _BEND * (s[:-1] * mass * np.maximum(stddev, 0.0)) ** 2
        return 0.5 * np.log1p(-np.minimum(share, 0.999))

    def log_far(self, s: Floats) -> Floats:
        """An upper bound of log(|I(t+is')|/I(t)) for every s' >= s."""
        return np.log(np.minimum((1.0 - self.mass + self.decay / s[:, None]).min(axis=1), 1.0))


def _strip(law: Law, order: float, step: float, s: Floats) -> Floats:
    """Of the widths a <= 0.96 πσ² tried, the best."""
    variance = law.scale * law.scale
    a = np.linspace(0.04, 0.96, 24) * min(math.pi * variance, 30.0 * law.scale)
    decay = 2.0 * math.pi * a / step
    cost = a * a / (2.0 * variance) - decay - np.log1p(-np.exp(-decay)) + math.log(2.0)
    if law.add:
        cost = cost - order * np.log(np.cos(a / (2.0 * variance)))
    bound: Floats = np.exp(np.minimum((cost + np.multiply.outer(s, a / variance)).min(axis=-1), 100.0))
    return bound


@lru_cache(maxsize=64)
def tilted(law: Law, order: float, reach: float, fineness: int) -> Tilted:
    """The law at tilt ``order``, on the grid for tilts up to ``reach``."""
    grid = _grid(law, reach, fineness)
    s, step = law.scale, grid.step
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    full = np.exp(exponent - top)
    total = float(full.sum())
    full /= total
    keep = slice(*_support(full))
    weight, loss = full[keep], grid.loss[keep]
    mean = float(weight @ loss)
    centred = loss - mean
    modes = 1.0 if law.add or 1.0 + order <= 4.0 * s * s else 2.0
    bend = 1.0 / (s * s) + (order / (4.0 * s**4) if law.add else 0.0)
    peak = math.exp(bend * step * step / 8.0) * (1.0 + 1e-9) / step
    mass, decay, near = _oscillating(law, grid, order, full, modes, peak)
    spread = np.abs(grid.log_phi[keep]) + np.abs(order * loss) + abs(top)
    cut = 1.3 * s * float(full[0] + full[-1]) / step
    value, error = _log_moment(law, grid, order, exponent, top, total)
    quadrature = float(_strip(law, order, step, np.zeros(1))[0])
    share = float(weight @ grid.share[keep]) * (1.0 + 1e-9) + 20.0 * quadrature + 1e-12  # 1/cos(0.48 π) < 16
    return Tilted(
        law,
        order,
        step,
        value,
        error + 4.0 * cut + (2.0 + 2.0 * order) * quadrature,
        mean,
        float(weight @ (centred * centred)),
        weight,
        centred,
        2.0 * cut + float(full[: keep.start].sum() + full[keep.stop :].sum()),
        math.sqrt(float(weight @ (spread * spread))),
        float(weight @ grid.magnitude[keep]) + abs(mean),
        2.0 * modes * peak * float(weight.max()),
        share / (s * s),
        mass,
        decay,
        near,
    )


_LEAST = np.array([1.0, 0.97, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5])


def _oscillating(
    law: Law, grid: _Grid, order: float, weight: Floats, modes: float, peak: float
) -> tuple[Floats, Floats, _Near]:
    """For some thresholds: a lower bound of the mass beyond, and an upper bound of V beyond; and lower masses."""
    s, q = law.scale, law.prob
    dip = 0.0 if law.add else (1.0 + order) * grid.step**2 / (32.0 * s**4)
    cells = np.minimum(weight[:-1], weight[1:]) * math.exp(-dip)
    beyond = np.cumsum(cells[::-1])[::-1] * (1.0 - 1e-12)
    found = np.searchsorted(-beyond, -float(beyond[0]) * _LEAST)
    start = found[np.append(True, np.diff(found) > 0)]
    with np.errstate(over="ignore", divide="ignore"):
        rising = np.exp(np.log(weight) - grid.ratio)
    top = np.maximum.accumulate(weight[::-1])[::-1][start]
    top_rising = np.maximum.accumulate(rising[::-1])[::-1][start]
    count = np.where(start == 0, 2.0 * modes, 2.0 * modes + 1.0)
    rise = -grid.loss if law.add else grid.loss
    rise = rise - rise[int(np.searchsorted(-beyond, -0.5 * beyond[0]))]
    middle, width = 0.5 * (rise[1:] + rise[:-1]), 0.5 * np.diff(rise)
    sums = (np.concatenate([[0.0], np.cumsum(cells * power)]) for power in (1.0, middle, middle * middle))
    return beyond[start], count * s * s * peak * (top + (1.0 - q) / q * top_rising), _Near(rise, width, *sums)


def _support(weight: Floats) -> tuple[int, int]:
    """First and last index that matter."""
    kept = np.flatnonzero(weight > _FAINT * float(weight.max()))
    return int(kept[0]), int(kept[-1]) + 1


def _log_moment(law: Law, grid: _Grid, order: float, exponent: Floats, top: float, total: float) -> tuple[float, float]:
    r"""log I(t) and its error; where it is small as a sum of terms >= 0, so that no digit is lost.

    With w = e^L - 1, E_Q[w] = 0: I(t) - 1 is E_Q[(1+w)(e^{tL} - 1 - tL) + t((1+w)L - w)] for removing and
    E_Q[e^{-tL} - 1 + tL + t(w - L)] for adding.
    """
    value = top + math.log(total)
    depth = math.log2(exponent.size) + 16.0
    if abs(value) > 0.05:
        mean = float(np.exp(exponent - top) @ (np.abs(grid.log_phi) + np.abs((order + 1.0) * grid.loss))) / total
        return value, EPS * (depth + 8.0 * mean + 4.0 * abs(top))
    tilt = order * grid.loss
    near = np.abs(tilt) < 1.0
    weight = np.exp(grid.base)
    parts = np.where(
        near, weight * exp_remainder(np.where(near, tilt, 0.0)), np.exp(exponent) - weight * (1.0 + tilt)
    ) + order * _entropy(law, grid)
    moment = float(parts.sum())
    mean = float(parts @ (np.abs(grid.log_phi) + np.abs((order + 1.0) * grid.loss)))
    error = EPS * (moment * (depth + 64.0) + 16.0 * mean) + 1e-30 * (1.0 + order)
    return math.log1p(moment), error


def _entropy(law: Law, grid: _Grid) -> Floats:
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
