r"""Tables of a pair of laws: points with the weights of P and the loss L = log(P/Q) there. Private: serves moments.

Each is a rule for all orders up to the one it is made for, α; t = α - 1. Write φ for the N(0, σ²) density, u for
(2x-1)/2σ², and k for the largest shift in a mixture (1, or the size of a group).

*Gauss*: the trapezoid rule in x with step h. Where |Im x| <= a the phases of a mixture's terms differ by at most kθ,
θ = a/σ². For kθ < π the integrand is analytic, and with :math:`c_j \ge 0`, :math:`\cos(k\theta/2)\sum c_je^{ju} \le
|\sum c_je^{j(u+i\theta)}| \le \sum c_je^{ju}`: its modulus is at most :math:`e^{a^2/2\sigma^2}\cos(k\theta/2)^{-t}`
times its value on the real line, the cosine only where a mixture stands in the denominator. So the relative error of
the rule is below :math:`2e^{a^2/2\sigma^2}\cos(k\theta/2)^{-t}/(e^{2\pi a/h}-1)` (Trefethen & Weideman 2014, Theorem
5.1); h makes it e^-100. Cutting 15σ beyond the outermost mode costs less than e^-110.

*Laplace*: two atoms and an integral over the loss, by 24-point Gauss-Legendre panels of length <= 1/(1 + α/8) within
the unit intervals between the centres; on the Bernstein ellipse with ρ = 12 the integrand grows by at most e^36, so the
relative error is below e^-80 (Trefethen, Approximation Theory, Theorem 19.3).

*Half-lines* (MIRROR): on x > 1/2 only, the integrand is φG, :math:`G = (e^{\alpha L}-1)(1-e^{-tL})`, where the
trapezoid rule would see the kink. 40-point Gauss-Legendre panels of half-length H in u, with H <= .8 and HA <= 8, A =
α+3+15σ (Laplace: α+3) the end of the range in x. On the ellipse with ρ = 4, half-axes 2.125H and 1.875H, u = v + iθ:

* |L'(u)| <= L'(v)/cos(θ/2), and L is convex with L(0) = 0: |L(u)| <= L(|v| + √2 |θ|) <= L(c + 3.4H) = L*, c the centre;
* so |e^{αL}-1| <= e^{αL*}-1; and |1-e^{-tL}| is at most e (1-e^{-1})^{-1} (1-e^{-tL*}) where tL* <= 1, otherwise 1 +
  e^{-t Re L} <= 1 + e^{1.54 tH} by Re L >= v + log cos(θ/2): in all a factor e^13 over G at c + 3.4H;
* φ rises by at most e^48 from there to the ellipse, and falls by at most e^10 over the next H, where G is larger still.

These intervals are disjoint, so the relative error is below 9e^{71} 4^{-80} < e^-37. Since L'/L <= 1 + 1/u, the
integrand has :math:`(\log\varphi G)' \le (\alpha+2-x)/\sigma^2 + 2/(x-1/2)`: cutting at A costs less than e^-100.

Held by tests/accountants/test_tables.py and test_moments.py against quadrature with 34 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from accountants._numerics import Floats, entropy_remainder
from accountants.atoms import mixture_loss
from accountants.pairs import Noise, Pair, Shape

__all__ = ["Half", "Table", "entropy_column", "full_table", "half_table"]

_MAX_POINTS = 1 << 14
_MAX_WORK = 1 << 22  # points times records of a group
_MAX_RECORDS = 1 << 11  # of a group, whose binomial coefficients are whole numbers of as many bits
_NATS = 100.0  # the trapezoid rule errs by e^-100
_SMALLEST = 1e-3  # of the scales that are tabulated: below, a coarser bound serves
_CUT = 15.0  # standard deviations kept beyond the outermost mode


@final
@dataclass(frozen=True, slots=True)
class Table:
    """Points of a pair.

    Args:
        log_p: log-weights of P.
        loss: log(P/Q).
        entropy: weight of Q * ((1+w)L - w), w = P/Q - 1.
        magnitude: of the exponents met on the way: log_p is off by at most that many EPS, up to a small factor.
        slope: likewise of the loss.
        noise: the mean of slope * |loss| under P where the slope is not the loss itself, else 0.
        deficit: 1 minus the mass of Q at these points, in the units of P's.
    """

    log_p: Floats
    loss: Floats
    entropy: Floats
    magnitude: Floats
    slope: Floats
    noise: float = 0.0
    deficit: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Half:
    """Points of Q with a positive loss: log-weights, losses, and the magnitude of the exponents met on the way."""

    log_q: Floats
    loss: Floats
    magnitude: Floats


@lru_cache(maxsize=512)
def full_table(pair: Pair, level: int) -> Table | None:
    """The table of a sampled pair that serves orders up to 2^level; None where it would be too long."""
    if pair.scale < _SMALLEST:
        return None
    gauss = pair.noise is Noise.GAUSSIAN
    if pair.size > _MAX_RECORDS:
        return None
    if pair.size > 1:
        return _group_table(pair, 2.0**level)
    grid = _gauss_points(pair, 2.0**level) if gauss else _laplace_points(pair, 2.0**level)
    if grid is None:
        return None
    log_weight, plus, minus = grid
    q = pair.sampling_prob
    loss_plus, w_plus = mixture_loss(q, plus)
    magnitude = np.abs(log_weight) + np.abs(plus)
    if pair.shape is Shape.REMOVE:
        return _table(log_weight, loss_plus, w_plus, magnitude)
    loss_minus, w_minus = mixture_loss(q, minus)
    loss = loss_plus - loss_minus
    near = np.abs(loss) < 0.5
    w = np.where(near, (w_plus - w_minus) / (1.0 + np.where(near, w_minus, 0.0)), np.expm1(np.minimum(loss, 1.0)))
    loss = np.where(near, np.log1p(np.where(near, w, 0.0)), loss)
    return _table(log_weight + loss_minus, loss, w, magnitude + np.abs(minus))


def _table(log_q: Floats, loss: Floats, w: Floats, magnitude: Floats) -> Table:
    return Table(log_q + loss, loss, entropy_column(log_q, loss, w), magnitude, np.abs(loss))


def entropy_column(log_weight: Floats, loss: Floats, w: Floats) -> Floats:
    """Weight * ((1+w)L - w), without forming 1+w where that may overflow."""
    large = loss > 1.0
    weight = np.exp(log_weight)
    small = weight * entropy_remainder(np.where(large, 0.0, w), np.where(large, 0.0, loss))
    return np.where(large, np.exp(np.where(large, log_weight + loss, 0.0)) * (loss - 1.0) + weight, small)


def _gauss_points(pair: Pair, order: float) -> tuple[Floats, Floats, Floats] | None:
    """Log weights under N(0, σ²) and the log-ratios of N(+1), N(-1) to it, at trapezoid points."""
    s = pair.scale
    antipodal = pair.shape is Shape.ANTIPODAL
    reach = (2.0 * order - 1.0 if antipodal else order) + _CUT * s + 0.5
    x = _trapezoid(s, order - 1.0 if antipodal else 0.0, _CUT * s + 0.5, reach)
    if x is None:
        return None
    return _gauss_weight(x, s), (2.0 * x - 1.0) / (2.0 * s * s), (-2.0 * x - 1.0) / (2.0 * s * s)


def _trapezoid(s: float, t: float, left: float, right: float, size: int = 1) -> Floats | None:
    """Trapezoid points from -left to right; None for too many."""
    h = _gauss_step(s, t, size)
    first, last = -math.ceil(left / h), math.ceil(right / h)
    return None if last - first > _MAX_POINTS else h * np.arange(first, last + 1, dtype=np.float64)


def _gauss_weight(x: Floats, s: float) -> Floats:
    log_weight: Floats = math.log(float(x[1] - x[0]) / (s * math.sqrt(2.0 * math.pi))) - 0.5 * (x / s) ** 2
    return log_weight


def _gauss_step(s: float, t: float, size: int = 1) -> float:
    """The largest step with a strip bound of e^-100, over some widths; 24 bits long, so its multiples are exact."""
    widths = np.linspace(0.02, 0.98, 49) * min(math.pi * s * s / size, math.sqrt(2.0 * _NATS) * s)
    cost = _NATS + 1.0 + widths**2 / (2.0 * s * s) - t * np.log(np.cos(size * widths / (2.0 * s * s)))
    mantissa, exponent = math.frexp(float((2.0 * math.pi * widths / cost).max()))
    return math.ldexp(math.floor(mantissa * 2.0**24), exponent - 24)


def _laplace_points(pair: Pair, order: float) -> tuple[Floats, Floats, Floats] | None:
    """The same under Laplace(0): atoms where the log-ratio is constant, Gauss-Legendre panels in between."""
    s = 1.0 / pair.scale
    panels = math.ceil(2.0 * s * (1.0 + order / 8.0))
    if 24 * panels > _MAX_POINTS:
        return None
    v, log_v = _panels(-s, s, panels, 24)  # log-ratio of N(+1) between the two centres 0 and 1
    log_v = log_v - math.log(4.0) - 0.5 * (v + s)
    flat = np.full_like(v, -s)
    if pair.shape is Shape.REMOVE:
        log_weight = np.concatenate([[math.log(0.5)], log_v, [math.log(0.5) - s]])
        plus = np.concatenate([[-s], v, [s]])
        return log_weight, plus, plus
    log_weight = np.concatenate([[math.log(0.5) - s], log_v[::-1], log_v, [math.log(0.5) - s]])
    plus = np.concatenate([[-s], flat, v, [s]])
    return log_weight, plus, np.concatenate([[s], v[::-1], flat, [-s]])


def _panels(low: float, high: float, panels: int, nodes: int) -> tuple[Floats, Floats]:
    """Points and log-weights of Gauss-Legendre panels of equal length."""
    node, weight = _legendre(nodes)
    half = 0.5 * (high - low) / panels
    centre = low + half * (2.0 * np.arange(panels) + 1.0)
    return (centre[:, None] + half * node).ravel(), np.tile(np.log(weight * half), panels)


@lru_cache(maxsize=2)
def _legendre(nodes: int) -> tuple[Floats, Floats]:
    node, weight = np.polynomial.legendre.leggauss(nodes)
    return node, weight


@lru_cache(maxsize=64)
def half_table(pair: Pair, order: float) -> Half | None:
    """The table of a mirrored pair that serves orders up to the one given; None where it would be too long."""
    gauss, s = pair.noise is Noise.GAUSSIAN, pair.scale
    reach = order + 3.0 + (_CUT * s if gauss else 0.0)
    end = reach / s / s if gauss else 1.0 / s
    panels = math.ceil(end / (2.0 * min(0.8, 8.0 / reach))) if s >= _SMALLEST else _MAX_POINTS
    if 40 * panels > 2 * _MAX_POINTS:
        return None
    u, log_u = _panels(0.0, end, panels, 40)
    if gauss:
        x = 0.5 + s * s * u
        log_q = log_u + math.log(s / math.sqrt(2.0 * math.pi)) - 0.5 * (x / s) ** 2
    else:
        u = np.append(u, end)
        log_q = np.append(log_u - math.log(4.0) - 0.5 * (u[:-1] + end), math.log(0.5) - end)
    loss, _ = mixture_loss(pair.sampling_prob, u)
    return Half(log_q, loss, np.abs(log_q) + np.abs(loss) + 8.0)


def _group_table(pair: Pair, order: float) -> Table | None:
    """A binomial mixture of shifts against none (REMOVE), or reversed (ADD)."""
    grid = _group_gauss(pair, order) if pair.noise is Noise.GAUSSIAN else _group_laplace(pair, order)
    if grid is None or grid[0].size * pair.size > _MAX_WORK:
        return None
    x, log_weight = grid
    loss, w, slope = _binomial_loss(pair, x)
    magnitude = np.abs(log_weight) + slope
    if pair.shape is Shape.ADD:
        log_weight, loss, w = log_weight + loss, -loss, np.expm1(np.minimum(-loss, 1.0))
    log_p = log_weight + loss
    noise = float(np.exp(log_p) @ (np.abs(loss) * slope))
    return Table(log_p, loss, entropy_column(log_weight, loss, w), magnitude, slope, noise)


def _group_gauss(pair: Pair, order: float) -> tuple[Floats, Floats] | None:
    """Points and log-weights of N(0, σ²). Adding is log-concave: its mode is right of -t E[j | x=0], left of 0."""
    s, t = pair.scale, order - 1.0
    margin = _CUT * s + 0.5
    if pair.shape is Shape.REMOVE:
        x = _trapezoid(s, 0.0, margin, order * pair.size + margin, pair.size)
    else:
        j, log_c = _binomial(pair.size, pair.sampling_prob)
        log_c = log_c - 0.5 * (j / s) ** 2
        c = np.exp(log_c - log_c.max())
        x = _trapezoid(s, t, t * float(j @ c) / float(c.sum()) + margin, margin, pair.size)
    return None if x is None else (x, _gauss_weight(x, s))


def _group_laplace(pair: Pair, order: float) -> tuple[Floats, Floats] | None:
    """Points and log-weights of Laplace(0): panels between the centres, and an atom on either side of all of them."""
    s, size = 1.0 / pair.scale, pair.size
    panels = math.ceil(2.0 * s * (1.0 + order / 8.0))
    if 24 * panels * size > _MAX_POINTS:
        return None
    x, log_x = _panels(0.0, float(size), panels * size, 24)
    log_weight = np.concatenate([[-math.log(2.0)], log_x + math.log(s / 2.0) - s * x, [-math.log(2.0) - s * size]])
    return np.concatenate([[0.0], x, [float(size)]]), log_weight


@lru_cache(maxsize=64)
def _binomial(size: int, q: float) -> tuple[Floats, Floats]:
    """The numbers from 0 to size and their binomial log-weights."""
    j = np.arange(size + 1, dtype=np.float64)
    choose = np.array([math.log(math.comb(size, k)) for k in range(size + 1)])
    return j, choose + j * math.log(q) + (size - j) * math.log1p(-q)


def _binomial_loss(pair: Pair, x: Floats) -> tuple[Floats, Floats, Floats]:
    r"""log, and value - 1, of :math:`\sum_j w_j e^{u_j}`, and the error of the log in units of EPS."""
    centres, log_weights = _binomial(pair.size, pair.sampling_prob)
    magnitude = 1.0 + np.abs(log_weights) + centres * abs(math.log(pair.sampling_prob))
    terms = list(zip(centres.tolist(), log_weights.tolist(), magnitude.tolist(), strict=True))

    def ratio(j: float) -> Floats:
        if pair.noise is Noise.GAUSSIAN:
            return (j / pair.scale) * ((x - 0.5 * j) / pair.scale)
        return (x - np.abs(x - j)) / pair.scale  # x >= 0

    top = np.full_like(x, -math.inf)
    for j, log_w, _ in terms:
        np.maximum(top, log_w + ratio(j), out=top)
    total, w, error = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for j, log_w, size in terms:
        u = ratio(j)
        change = -np.expm1(-np.abs(u))  # w_j (e^u - 1) is this times w_j e^max(u, 0), up to its sign
        larger = log_w + np.maximum(u, 0.0)
        total += np.exp(log_w + u - top)
        w += np.sign(u) * np.exp(np.minimum(larger, 700.0)) * change
        error += np.exp(np.minimum(larger - top, 700.0)) * change * (size + np.abs(u))
    far = top + np.log(total)
    near = np.abs(w) < 0.5
    return (
        np.where(near, np.log1p(np.where(near, w, 0.0)), far),
        w,
        error / total + pair.size * (np.abs(w) / (1.0 + np.abs(w))),
    )
