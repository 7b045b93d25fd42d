r"""A Poisson-sampled Gaussian under an exponential tilt, with the error of every number. Private: serves the contour.

Notation, quadrature and cutting are those of :mod:`accountants._points`.

*Tail in s: far.* On x >= c, integrating by parts, :math:`|\int w e^{is\ell}| \le V_c/|s|` where V_c is the variation of
w/ℓ' = ±σ²(w + ((1-q)/q) w e^{-u}) there plus its value at c. A stationary point of w or of w e^{-u} solves
x + const = (1+t) r(x) with r = q e^u/(1-q+qe^u): a line meeting a sigmoid of slope <= 1/4σ², at most three times, once
if 1+t <= 4σ²; in the add direction both are log-concave. So with m modes (2, or 1) on the line each has at most m on
x >= c, an end at c included, its variation and its value at c are together at most 2m times its maximum there, and
:math:`V_c = 2m\sigma^2(\max w + \tfrac{1-q}q\max we^{-u})` serves. Hence
:math:`|I(t+is)|/I(t) \le 1 - P_w(x \ge c) + V_c/|s|` for every c, a bound that falls in |s|. Between two points log w
rises above both by at most η²/8 times its largest negative curvature, and dips below the line that joins them by at
most η²/8 times its largest positive curvature, (1+t)/4σ⁴ (0 when adding): so maxima are bounded above, and masses
below by the geometric mean of the ends, which is at most the mean of the exponential that joins them.

*Tail in s: near.* With ℓ, ℓ' independent under w, 1 - |I(t+is)/I(t)|² = E[1 - cos s(ℓ-ℓ')]. Where both lie within 1/s
of some centre, 1 - cos y >= (1-cos 2) y²/4 for |y| <= 2: the mean is at least ½(1-cos 2) s² P² Var, of what lies there.
Masses are bounded below by cells as before; within cells ℓ moves by at most half their rise, which is taken off the
standard deviation.

*Tail in s: sampled.* For the sum itself, f(s) = |Σ w_j e^{isℓ_j}|² has f'' >= -2 Var, so on an interval of length d it
exceeds the larger end by at most Var d²/4; to its root the error of the sum at the right end is added.

*Quadrature.* Sums are taken relative to the sum at s = 0, so the strip bound counts twice.

*Rounding.* I(t+is)/I(t) - 1 is summed as -2 sin² and 2 sin cos of half angles of centred losses, so its error is a
multiple of EPS times E_w|e^{isℓ}-1| <= (2 (1 - Re))^{1/2}: of the weights (exponents of root mean square m: 8 m), of
the sum (its depth), of ℓ (12 s E_w of the magnitudes behind ℓ). The centre is whatever float was subtracted.

Held by tests/accountants/test_tilt.py against quadrature with 40 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from accountants._numerics import EPS, Floats
from accountants._points import Grid, Law, cut_weight, grid_of, log_moment, quadrature_error, strip_bound

__all__ = ["Sampled", "Tilted", "tilted"]

_BEND = 0.5 * (1.0 - math.cos(2.0))  # 1 - cos x >= (1 - cos 2) x^2 / 4 for |x| <= 2
_BLOCK = 1 << 18  # sines at a time
_FAINT = 1e-24  # weights below this share of the largest are dropped, and counted as an error


class Sampled(NamedTuple):
    """(I(t+is) e^{-is mean} / I(t))^times at many s.

    Args:
        log_modulus: of the sum.
        angle: of the sum.
        growth: log of (|sum| + its error)/|sum|, times ``times``.
    """

    log_modulus: Floats
    angle: Floats
    growth: Floats


class _Near(NamedTuple):
    """L at the points, less its median; half its rise over each cell; running sums of lower masses and moments."""

    rise: Floats
    width: Floats
    mass: Floats
    first: Floats
    second: Floats


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
            half *= self.weight
            sine *= sine
            sine *= self.weight
            real[block], imag[block] = -2.0 * sine.sum(axis=1), 2.0 * half.sum(axis=1)  # pairwise
        return real, imag

    def strip(self, s: Floats) -> Floats:
        """The trapezoid theorem's bound of I(t+is)/I(t): of both."""
        return 2.0 * strip_bound(self.law, self.order, self.step, s)

    def _rounding(self, s: Floats, real: Floats) -> Floats:
        """Of the sum less 1, whose real part is given."""
        swing = np.sqrt(np.maximum(-2.0 * real, 0.0))  # at least E_w|e^{isℓ} - 1|
        depth = math.log2(self.weight.size) + 16.0
        return EPS * ((depth + 32.0 + 8.0 * self.spread) * (swing - real) + 12.0 * s * self.size)

    def sampled(self, s: Floats, times: int) -> Sampled:
        """The power of the characteristic function at s >= 0; its error by |a^n - b^n| <= (|b| + |a-b|)^n - |b|^n."""
        real, imag = self._parts(s)
        modulus = np.hypot(1.0 + real, imag)
        error = self.strip(s) + 3.0 * self.missing + self._rounding(s, real)
        square = np.maximum(real * (2.0 + real) + imag * imag, -1.0 + EPS)
        # near 0 the sum is lost in rounding: from there the modulus is an upper bound, and all of it error
        log_modulus, lost = 0.5 * np.log1p(square), np.where(modulus < 0.1, 4.0 * EPS / np.maximum(modulus, EPS), 0.0)
        angle = np.arctan2(imag, 1.0 + real)
        growth = np.log1p((error + lost) * np.exp(-log_modulus)) + 8.0 * EPS * (np.abs(angle) - log_modulus)
        return Sampled(times * log_modulus, times * angle, times * growth)

    def log_modulus_bound(self, s: Floats) -> Floats:
        """An upper bound of log(|I(t+is)|/I(t)) on each interval between the increasing points s; one entry fewer."""
        real, imag = self._parts(s)
        square = (1.0 + real) ** 2 + imag * imag
        width = np.diff(s)
        between = np.sqrt(np.maximum(square[:-1], square[1:]) + self.variance * width * width * 0.250001)
        coarse = 0.5 * self.step * (self.variation + s[1:] * self.slope) + self.log_moment_error
        rounding = self._rounding(s, real)
        error = np.minimum(self.strip(s[1:]), coarse) + 3.0 * self.missing + np.maximum(rounding[:-1], rounding[1:])
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
        bound: Floats = 0.5 * np.log1p(-np.minimum(share, 0.999))
        return bound

    def log_far(self, s: Floats) -> Floats:
        """An upper bound of log(|I(t+is')|/I(t)) for every s' >= s."""
        with np.errstate(over="ignore"):
            least = (1.0 - self.mass + self.decay / s[:, None]).min(axis=1)
        bound: Floats = np.log(np.minimum(least, 1.0))
        return bound


def tilted(law: Law, order: float, reach: float, fineness: int) -> Tilted:
    """The law at tilt ``order``, on the grid for tilts up to ``reach``."""
    grid = grid_of(law, reach, fineness)
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
    cut, quadrature = cut_weight(law, grid, full), quadrature_error(law, order, step)
    value, error = log_moment(law, grid, order, exponent, top, total)
    error += 4.0 * cut + quadrature
    sure = math.exp(-min(error, 30.0))  # an error that is larger is never accepted
    peak = math.exp(bend * step * step / 8.0) * (1.0 + 1e-9) / (step * sure)
    mass, decay, near = _oscillating(law, grid, order, full, modes, peak, sure)
    spread = np.abs(grid.log_phi[keep]) + (1.0 + order) * grid.magnitude[keep] + abs(top)
    # |r| <= r/cos(θ/2) in the strip, cos(0.48 π) > 1/16
    share = float(weight @ grid.share[keep]) * (1.0 + 1e-9) / sure + 10.0 * quadrature + 1e-12
    return Tilted(
        law,
        order,
        step,
        value,
        error,
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
    law: Law, grid: Grid, order: float, weight: Floats, modes: float, peak: float, sure: float
) -> tuple[Floats, Floats, _Near]:
    """For some thresholds: a lower bound of the mass beyond, and an upper bound of V beyond; and lower masses."""
    s, q = law.scale, law.prob
    dip = 0.0 if law.add else (1.0 + order) * grid.step**2 / (32.0 * s**4)
    root = np.sqrt(weight)
    cells = root[:-1] * root[1:] * (math.exp(-dip) * sure)
    beyond = np.cumsum(cells[::-1])[::-1] * (1.0 - 1e-10)
    found = np.searchsorted(-beyond, -float(beyond[0]) * _LEAST)
    start = found[np.append(True, np.diff(found) > 0)]
    with np.errstate(over="ignore", divide="ignore"):
        rising = np.exp(np.log(weight) - grid.ratio + math.log((1.0 - q) / q))
        both = np.maximum.accumulate(weight[::-1]) + np.maximum.accumulate(rising[::-1])
        decay = 2.0 * modes * s * s * peak * both[::-1][start]
    rise = -grid.loss if law.add else grid.loss
    rise = rise - rise[int(np.searchsorted(-beyond, -0.5 * beyond[0]))]
    middle, width = 0.5 * (rise[1:] + rise[:-1]), 0.5 * np.diff(rise)
    sums = (np.concatenate([[0.0], np.cumsum(cells * power)]) for power in (1.0, middle, middle * middle))
    mass = beyond[start]
    mass[0] = 1.0  # that threshold is -∞: the largest values lie in the grid
    return mass, decay, _Near(rise, width, *sums)


def _support(weight: Floats) -> tuple[int, int]:
    """First and last index that matter."""
    kept = np.flatnonzero(weight > _FAINT * float(weight.max()))
    return int(kept[0]), int(kept[-1]) + 1
