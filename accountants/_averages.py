r"""Moments of an average S of independent likelihood ratios of Gaussians, of both signs. Private.

:math:`S = \frac1t\sum_i L_i`, :math:`L = e^{g/z - 1/2z^2}` for a standard normal g: the likelihood ratio of a mean that
is 1 at one of t places, unknown which, against none. K is a log-moment, EPS the rounding unit.

* *Positive integers* k. If S is :math:`pS_a + (1-p)S_b`, :math:`E[S^k] = \sum_j \mathrm{Binomial}(k,p)(j)\,E[S_a^j]
  E[S_b^{k-j}]`, hence :math:`e^{K(k)} - 1 = \sum_j \mathrm{Binomial}(k,p)(j)\,(e^{K_a(j)+K_b(k-j)}-1)`: terms >= 0
  that rise with K_a and K_b, so that t is reached by doubling and what is rounded up stays up.
* *Beyond a table*: E[S^k] is the mean of a product of growing functions of the numbers of k balls in t bins, which are
  negatively associated (Joag-Dev & Proschan 1983, 3.1), so at most the t-th power of the moment of (1 - 1/t) + L/t.
* *Negative powers*. :math:`\Gamma(\beta)E[S^{-\beta}] = \int e^{\beta v}\varphi(e^v/t)^t\,dv` with :math:`\varphi(x) =
  E[e^{-xL}]`, each integral by the trapezoid rule, whose error is (Trefethen & Weideman 2014, Theorem 5.1) the two
  integrals of the modulus at height :math:`\pm c` over :math:`e^{2\pi c/h}-1`. Outside, :math:`|\varphi(xe^{iw})| \le
  \varphi(x\cos w)` makes that :math:`2(\cos w)^{-\beta}` times the integral itself; inside, L turns by c/z < π/2 and
  the Gaussian weight grows by :math:`e^{c^2/2}`. What is left out on the left is below :math:`e^{\beta v}`; on the
  right :math:`y^\rho e^{-yS} \le (\rho/eS)^\rho` and the next item bound it.
* Geometric and arithmetic mean: :math:`E[S^{-\beta}] \le E[\prod L_i^{-\beta/t}] = e^{\beta(\beta/t+1)/2z^2}`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accountants._numerics import EPS, Floats, exp_remainder, round_up

__all__ = ["LAST_TABLED", "log_geometric_moment", "log_moments", "log_negative_moment"]

LAST_TABLED = 512
"""The largest order of a table of positive moments."""

Counts = NDArray[np.intp]

_FIRST_TABLE = 32
_LARGEST = 1e9  # of log-moments that are tabulated
_MOST_NODES = 1 << 21
_NARROWEST = 0.0625  # of the scales that are integrated: ratios overflow below
_SMALL = 46.0  # e^-46 of the outer integral may be left out, far below EPS
_TINY = 100.0  # and e^-100 of the inner one, which is a small number to a power
_REACH = 14.1  # standard deviations of the normal: the tails are below e^-102


def log_moments(scale: float, steps: int, order: int) -> float:
    """An upper bound of K(order), for an integer order from 2 to LAST_TABLED; +inf where it is beyond a table.

    Args:
        scale: z > 0.
        steps: t >= 1.
        order: k.
    """
    size = _FIRST_TABLE
    while size < order:
        size *= 2
    found = _table(scale, steps, size)
    return math.inf if found is None else float(found[order])


@lru_cache(maxsize=64)
def _table(scale: float, steps: int, size: int) -> Floats | None:
    """K(k) for k = 0..size, by doubling along the binary digits of t; None where numbers are too large."""
    k = np.arange(size + 1.0)
    with np.errstate(over="ignore"):
        one: Floats = 0.5 * k * (k - 1.0) / scale / scale * (1.0 + 8.0 * EPS)
    if not one[-1] <= _LARGEST:
        return None
    found, reached = one, 1
    for digit in f"{steps:b}"[1:]:
        found = _mixed(found, found, 1.0)
        reached *= 2
        if digit == "1":
            found = _mixed(found, one, float(reached))
            reached += 1
    return found


def _mixed(first: Floats, second: Floats, ratio: float) -> Floats:
    """K of p S_a + (1-p) S_b, p : 1-p as ratio : 1, rounded up."""
    log_choose, magnitude, j, rest = _choices(first.size - 1)
    log_p, log_rest = -math.log1p(1.0 / ratio), -math.log1p(ratio)
    whole = first[j] + second[rest]
    with np.errstate(divide="ignore"):
        gain = np.log(-np.expm1(-whole))
    terms = log_choose + j * log_p + rest * log_rest + whole + gain
    top = terms.max(axis=1)
    top = np.where(top == -math.inf, 0.0, top)
    weights = np.exp(terms - top[:, None])
    total = weights.sum(axis=1)
    size = magnitude + j * -log_p + rest * -log_rest + whole + np.where(whole > 0.0, np.abs(gain), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rounding = 8.0 * EPS * (8.0 + size.shape[1] + np.where(total > 0.0, (weights * size).sum(axis=1) / total, 0.0))
        value = top + np.log(total) + rounding + 4.0 * EPS * np.abs(top)
    with np.errstate(over="ignore"):
        small = np.log1p(np.exp(np.minimum(value, 500.0)))
    found: Floats = np.where(value > 500.0, value, small) * (1.0 + 8.0 * EPS)
    return found


@lru_cache(maxsize=8)
def _choices(size: int) -> tuple[Floats, Floats, Counts, Counts]:
    """Logarithms of C(k, j), -inf where j > k; the magnitude of their parts; j; and k - j, clipped at 0."""
    factorial = np.array([math.lgamma(n + 1.0) for n in range(size + 1)])
    k, j = np.arange(size + 1)[:, None], np.arange(size + 1)[None, :]
    rest = np.maximum(k - j, 0)
    choose = np.where(j <= k, factorial[k] - factorial[j] - factorial[rest], -math.inf)
    return choose, 2.0 * factorial[k], np.broadcast_to(j, rest.shape), rest


def log_geometric_moment(scale: float, steps: int, power: float) -> float:
    """An upper bound of log E[S^-power] by the geometric mean: of little cost, and near where the power is above t."""
    return round_up(power * (power / steps + 1.0) / scale / (2.0 * scale), 8)


@lru_cache(maxsize=4096)
def log_negative_moment(scale: float, steps: int, power: float) -> float:
    """An upper bound of log E[S^-power] for a real power >= 1.

    Args:
        scale: z > 0.
        steps: t >= 1.
        power: β.
    """
    coarse = log_geometric_moment(scale, steps, power)
    grids = _grids(scale, steps, power) if scale > _NARROWEST and coarse < _LARGEST else None
    return coarse if grids is None else min(coarse, _integral(scale, steps, power, *grids))


def _grids(scale: float, steps: int, power: float) -> tuple[Floats, float, Floats, float] | None:
    """Nodes and spacings of v and of g; None where there would be too many."""
    turn = min(1.5 * scale, 6.0)
    inner = 2.0 * math.pi * turn / (_TINY + 0.5 * turn * turn)
    reach = 2.0 / scale + _REACH
    height = min(1.2, 1.5 / math.sqrt(power))
    outer = 2.0 * math.pi * height / (_SMALL - power * math.log(math.cos(height)))
    low = (math.lgamma(power + 1.0) - _SMALL) / power
    more = np.concatenate([power * np.geomspace(1e-2, 1e2, 41), np.geomspace(1.0, 1e3, 31)])
    b = power + more
    cost = b * (np.log(b) - 1.0) + b * (b / steps + 1.0) / scale / (2.0 * scale) - np.log(more)
    high = float(((cost + _SMALL - math.lgamma(power)) / more).min())
    rows, columns = (high - low) / outer + 2.0, (reach + _REACH) / inner + 2.0
    if not (rows * columns <= _MOST_NODES and high < 700.0):
        return None
    v: Floats = low + outer * np.arange(float(math.ceil(rows)))
    g: Floats = inner * np.arange(float(math.ceil(columns))) - _REACH
    return v, outer, g, inner


def _integral(scale: float, steps: int, power: float, v: Floats, outer: float, g: Floats, inner: float) -> float:
    """The outer sum; exponents are widened by the rounding of each of their parts, nodes that are off included."""
    y = np.exp(v)
    log_phi = _log_laplace(y / steps, scale, g, inner)
    log_gamma = math.lgamma(power)
    exponent = power * v + steps * log_phi - log_gamma
    exponent += 8.0 * EPS * (1.0 + power * np.abs(v) - (1.0 + np.abs(v)) * steps * log_phi + abs(log_gamma))
    top = float(exponent.max())
    value = top + math.log(outer * math.fsum(np.exp(exponent - top).tolist()))
    return max(0.0, value) + EPS * (4.0 * abs(top) + 32.0)


def _log_laplace(x: Floats, scale: float, g: Floats, inner: float) -> Floats:
    """Upper bounds of log E[e^-xL] <= 0: near 0 by what the first two terms of the series leave, which is >= 0."""
    s, far_end = 1.0 / scale, float(g[-1])
    weight = inner / math.sqrt(2.0 * math.pi) * np.exp(-0.5 * g * g)
    ratio = np.exp(s * g - 0.5 * s * s)
    rounding = EPS * (g.size + 64.0 + 4.0 * far_end * far_end)  # of sums and weights
    turned = 8.0 * EPS * (2.0 + s * far_end + s * s)  # of a ratio
    found = np.empty_like(x)
    near = x <= 1.0
    low, high = x[near], x[~near, None]
    with np.errstate(over="ignore", under="ignore"):
        square = np.minimum(0.5 * low * low * math.exp(min(s * s, 700.0)), 2.0 + low)
        left = exp_remainder(-low[:, None] * ratio) @ weight * (1.0 + rounding + 2.0 * turned)
        loss = np.minimum(high * ratio, 800.0)
        parts = np.exp(-loss)
        far = parts @ weight
        spread = (parts * loss) @ weight
    found[near] = np.log1p(np.minimum(left + math.exp(1.0 - _TINY) * square - low, 0.0)) + 16.0 * EPS * low
    found[~near] = np.log(far * (1.0 + rounding) + 2.0 * turned * spread + math.exp(1.0 - _TINY))
    return np.minimum(found, 0.0)
