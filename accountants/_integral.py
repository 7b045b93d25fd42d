r"""The contour integral at one tilt: its nodes, what is left out, and the error of it all. Private: serves the contour.

For one direction of a composition, with cumulant function :math:`F(z) = \sum_i n_i \log E_{P_i}[e^{z\ell_i}] +
\tfrac12\mu^2 z(1+z)` (the last term: all unsampled Gaussians together) and any t > 0

.. math:: \delta(\epsilon) = \frac1{2\pi}\int \hat G(s)\,e^{-(t+is)\epsilon}\,ds,\qquad
   \hat G(s) = \frac{e^{F(t+is)}}{(t+is)(1+t+is)} .

*Step h, an identity.* Poisson summation of x -> e^{tx} δ(x) gives for the sum with step h

.. math:: S_h(\epsilon) = \sum_{m\in\mathbb Z} e^{2\pi mt/h}\,\delta(\epsilon + 2\pi m/h) \ge \delta(\epsilon):

every other term is >= 0, so the sum is an upper bound. For a lower bound subtract, for m < 0, at most
:math:`1/(e^{2\pi t/h}-1)` (δ <= 1), and for m > 0 at most :math:`C(t')e^{F(t')-t'\epsilon}\,r/(1-r)` with
:math:`r = e^{-(t'-t)2\pi/h}`, for any t' > t, where :math:`C(t) = t^t/(1+t)^{1+t}` is Chernoff's constant.

*Nodes left out.* With ρ_j a bound of the product of all |I_i(t+is)/I_i(t)|^{n_i} on [s_j, s_j + d_j], and ρ one beyond
the last s, they add at most :math:`\frac1\pi e^{F(t)-t\epsilon}\bigl[\sum_j \rho_j (d_j+h)/s_j^2 + \rho/(s-h)\bigr]`,
since |z(1+z)| >= s². How ρ is bounded is said in :mod:`accountants._tilt`.

*Nodes kept* err by what quadrature, cutting and rounding do to the characteristic functions, and by the rounding of
powers, phases and the sum; these are added with absolute values. The factor e^{F(t)} has its own error.

Held by tests/accountants/test_integral.py against mpmath with 30 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from accountants._numerics import EPS, Floats
from accountants._points import Law, cumulants, log_moment_bound, reachable
from accountants._tilt import Tilted, tilted

__all__ = ["Contour", "Mixture", "build", "log_chernoff", "saddle_width"]

_GROWTH = 0.2  # of the intervals on which the neglected nodes are bounded
_MOST_INTERVALS = 2000
_MOST_WORK = 1.2e7  # nodes x points: about a quarter of a second
_WORK_A_STEP = 1.5e5  # a few steps decay too slowly for any effort to help
_FINEST = 7
_BLOCK = 1 << 18  # phases at a time


class Mixture(NamedTuple):
    """One direction of a composition.

    Args:
        parts: sampled Gaussians with their counts.
        variance: μ², the sum of count / scale² over the unsampled Gaussians.
    """

    parts: tuple[tuple[Law, int], ...]
    variance: float

    def cumulants(self, order: float, reach: float | None = None) -> tuple[float, float, float]:
        """F(t) and its first two derivatives, plainly, on the grids for tilts up to ``reach``."""
        upto = _reach(order) if reach is None else reach
        value, slope = 0.5 * self.variance * order * (1.0 + order), self.variance * (order + 0.5)
        curvature = self.variance
        for law, times in self.parts:
            part = cumulants(law, order, upto)
            value, slope, curvature = value + times * part[0], slope + times * part[1], curvature + times * part[2]
        return value, slope, curvature

    def bound(self, order: float, reach: float | None = None, fineness: int = 0) -> float:
        """An upper bound of F(t)."""
        upto = _reach(order) if reach is None else reach
        value = 0.5 * self.variance * order * (1.0 + order)
        for law, times in self.parts:
            value += times * log_moment_bound(law, order, upto, fineness)
        return value + 8.0 * EPS * (1 + len(self.parts)) * abs(value)

    def is_reachable(self, order: float, fineness: int = 0) -> bool:
        """Whether the grids are short enough."""
        return all(reachable(law, _reach(order), fineness) for law, _ in self.parts)


def _reach(order: float) -> float:
    """The tilts that a grid serves: a power of the root of two, so that nearby orders share one."""
    return float(2.0 ** (0.5 * max(2, math.ceil(2.0 * math.log2(1.3 * order)))))


def saddle_width(order: float, curvature: float) -> float:
    """The saddle's width in s."""
    return 1.0 / math.sqrt(curvature + 1.0 / (order * order) + 1.0 / (1.0 + order) ** 2)


@final
@dataclass(frozen=True, slots=True)
class Contour:
    """The integral at one tilt: answers δ at any ε, best near the saddle.

    Args:
        order: t.
        spacing: h.
        log_scale: F(t), with its absolute error ``scale_error``.
        scale_error: see there.
        centre: what was subtracted from the loss, as a float.
        values: Ĝ(kh) e^{-F(t) - ikh centre}, the first halved.
        errors: the sum of their absolute errors.
        tail: bound of the nodes left out, relative to e^{F(t) - tε}.
        beyond: (t', an upper bound of F(t')) at some t' > t.
    """

    order: float
    spacing: float
    log_scale: float
    scale_error: float
    centre: float
    values: NDArray[np.complex128]
    errors: float
    tail: float
    beyond: tuple[float, float]

    def log_delta_bounds(self, epsilon: float) -> tuple[float, float]:
        """(lower, upper) of log δ at any real ε."""
        low, high = self.log_deltas_bounds(np.array([epsilon]))
        return float(low[0]), float(high[0])

    def log_deltas_bounds(self, epsilons: Floats) -> tuple[Floats, Floats]:
        """The same at many ε: two arrays of their length."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            lower, upper = self._ends(epsilons)
        # what is no number, where ε is so large that something overflows, says nothing
        return np.fmax(lower, -math.inf), np.fmin(upper, 0.0)

    def _ends(self, epsilons: Floats) -> tuple[Floats, Floats]:
        """(lower, upper), or NaN."""
        modulus = np.abs(self.values)
        turned = 4.0 * self.spacing * float(modulus @ np.arange(self.values.size))
        rounding = EPS * (turned * (abs(self.centre) + np.abs(epsilons)) + (self.values.size + 8.0) * modulus.sum())
        total, error = self._totals(epsilons), (rounding + self.errors) * self.spacing / math.pi + self.tail
        away = self.order * epsilons
        base = self.log_scale - away
        slop = self.scale_error + 8.0 * EPS * (1.0 + abs(self.log_scale) + np.abs(away))
        high, low = total + error, total - error - self._aliases(epsilons, base - slop)
        upper = base + np.log(np.maximum(high, 0.0)) + slop
        return base + np.log(np.maximum(low, 0.0)) - slop, upper

    def log_delta(self, epsilon: float) -> tuple[float, float]:
        """Plain log δ and its derivative in ε; -inf where rounding leaves nothing."""
        total, derivative = self._total(epsilon)
        if total <= 0.0:
            return -math.inf, -self.order
        return self.log_scale - self.order * epsilon + math.log(total), derivative / total - self.order

    def _total(self, epsilon: float) -> tuple[float, float]:
        """The sum relative to e^{F(t) - tε}, and its derivative in ε but for that factor's."""
        s = self.spacing * np.arange(self.values.size)
        angle = s * (self.centre - epsilon)
        cosine, sine = np.cos(angle), np.sin(angle)
        real = self.values.real * cosine - self.values.imag * sine
        imag = self.values.real * sine + self.values.imag * cosine
        return float(real.sum()) * self.spacing / math.pi, float(s @ imag) * self.spacing / math.pi

    def _totals(self, epsilons: Floats) -> Floats:
        """The first of `_total` at many ε."""
        s, total = self.spacing * np.arange(self.values.size), np.empty_like(epsilons)
        rows = max(1, _BLOCK // s.size)
        for start in range(0, epsilons.size, rows):
            block = slice(start, start + rows)
            angle = np.multiply.outer(self.centre - epsilons[block], s)
            total[block] = np.cos(angle) @ self.values.real - np.sin(angle) @ self.values.imag
        return total * (self.spacing / math.pi)

    def _aliases(self, epsilons: Floats, base: Floats) -> Floats:
        """What the images of the curve add at most, relative to e^base."""
        period = 2.0 * math.pi / self.spacing
        away = self.order * period
        left = -away - math.log(-math.expm1(-away)) - base
        order, value = self.beyond
        away = (order - self.order) * period
        right = log_chernoff(order) + value - order * epsilons - away - math.log(-math.expm1(-away)) - base
        rounding = 16.0 * EPS * (np.abs(base) + abs(value) + np.abs(order * epsilons) + order * period)
        both: Floats = np.exp(np.minimum(left + rounding, 700.0)) + np.exp(np.minimum(right + rounding, 700.0))
        return both


def build(mixture: Mixture, order: float, epsilon: float, log_delta: float, goal: float) -> Contour | None:
    """The integral at tilt t, with errors below e^goal of e^log_delta at ε or so; None where that is too much work."""
    reach = _reach(order)
    value, _, curvature = mixture.cumulants(order)
    width = saddle_width(order, curvature)
    period, beyond = _period(mixture, order, epsilon, log_delta + goal, width)
    spacing = 2.0 * math.pi / period
    allowed = goal + log_delta + order * epsilon - value  # of what is left out, relative to e^{F(t) - tε}
    steps = math.inf if mixture.variance else sum(times for _, times in mixture.parts)
    left = most = min(_MOST_WORK, _WORK_A_STEP * steps)
    for fineness in range(_FINEST + 1):
        if left <= 0.0 or not mixture.is_reachable(order, fineness):
            return None
        parts = [(tilted(law, order, reach, fineness), times) for law, times in mixture.parts]
        last, tail, work = _cut(mixture, parts, width, spacing, allowed, most)
        left -= work
        if tail == math.inf:
            continue
        count = math.ceil(min(last / spacing, most)) + 1
        if count * (1 + sum(part.weight.size for part, _ in parts)) > most:
            return None
        end = np.array([last + spacing])
        if all(times * float(part.strip(end)[0]) < math.exp(goal - 7.0) for part, times in parts):
            shown = beyond, mixture.bound(beyond, reach, fineness)
            return _integrate(mixture, parts, order, spacing * np.arange(count, dtype=np.float64), tail, shown)
    return None


def _period(mixture: Mixture, order: float, epsilon: float, log_delta: float, width: float) -> tuple[float, float]:
    """2π/h for which both images stay below e^log_delta, and the t' that shows it for the right one."""
    reach = _reach(order)
    least, best, stretch = math.inf, order + 1e-3 * width, min(6.0 * width, reach - order)
    for _ in range(40):
        there = order + stretch
        value = mixture.cumulants(there, reach)[0]
        needed = (log_chernoff(there) + value - there * epsilon - log_delta) / stretch
        if least < needed:
            break
        least, best = needed, there
        stretch *= 0.5
    return max(least, -log_delta / order), best


def log_chernoff(order: float) -> float:
    """Log C(t), C the largest value of e^{-tx} (1 - e^-x)."""
    return -math.log1p(order) - order * math.log1p(1.0 / order)


def _cut(
    mixture: Mixture, parts: list[tuple[Tilted, int]], width: float, spacing: float, allowed: float, most: float
) -> tuple[float, float, float]:
    """The least s beyond which the nodes sum up to e^allowed at most, that sum, and the work done for it.

    An infinite sum asks for a finer grid, an infinite s says that none would do.
    """
    ladder = width * 2.0 ** np.arange(1.5, 44.0, 0.25)
    far = -0.5 * mixture.variance * ladder**2 - np.log(ladder)
    for part, times in parts:
        far = far + times * part.log_far(ladder)
    enough = np.flatnonzero(far <= allowed - 1.0)
    if not enough.size:
        return math.inf, 0.0, 0.0
    widest = 0.7 / math.sqrt(max([part.variance for part, _ in parts], default=0.0) + 1e-300)
    nodes = _intervals(2.0 * width, float(ladder[enough[0]]), widest)
    points = sum(part.weight.size for part, _ in parts)
    if nodes is None or nodes[-1] <= 2.0 * spacing or nodes.size * points > most:
        return math.inf, 0.0, 0.0
    bound = -0.5 * mixture.variance * nodes[:-1] ** 2
    for part, times in parts:
        bound = bound + times * part.log_modulus_bound(nodes)
    rest = math.exp(float(far[enough[0]]) + 0.7) / math.pi  # 1/(s - h) <= 2/s
    sums = np.exp(np.maximum(bound, -740.0)) * (np.diff(nodes) + spacing) / nodes[:-1] ** 2 / math.pi
    tails = (np.append(np.cumsum(sums[::-1])[::-1], 0.0) + rest) * (1.0 + 1e-9)
    small = np.flatnonzero(tails <= math.exp(min(allowed, 0.0)))
    work = float(nodes.size * points)
    return (float(nodes[small[0]]), float(tails[small[0]]), work) if small.size else (0.0, math.inf, work)


def _intervals(first: float, last: float, widest: float) -> Floats | None:
    """Increasing points from first to last, geometric until the steps are ``widest``."""
    turn = min(max(widest / _GROWTH, first), last)
    rising = first * (1.0 + _GROWTH) ** np.arange(max(0, math.ceil(math.log(turn / first) / math.log1p(_GROWTH))) + 1)
    rising = rising[rising < last] if last > first else np.array([first])
    steps = math.ceil((last - float(rising[-1])) / widest)
    if steps > _MOST_INTERVALS:
        return None
    return np.concatenate([rising, np.linspace(float(rising[-1]), max(last, 1.2 * first), max(steps, 1) + 1)[1:]])


def _integrate(
    mixture: Mixture,
    parts: list[tuple[Tilted, int]],
    order: float,
    s: Floats,
    tail: float,
    beyond: tuple[float, float],
) -> Contour:
    """Evaluate the nodes."""
    value = 0.5 * mixture.variance * order * (1.0 + order)
    centre = math.fsum([mixture.variance * (order + 0.5), *(times * part.mean for part, times in parts)])
    scale_error, angle = 4.0 * EPS * value, np.zeros_like(s)
    log_modulus = -0.5 * mixture.variance * s * s
    z = order + 1j * s
    growth = EPS * (16.0 + 8.0 * mixture.variance * np.abs(z * (1.0 + z)))  # also for a variance that is off by 8 EPS
    for part, times in parts:
        node = part.sampled(s, times)
        log_modulus, angle, growth = log_modulus + node.log_modulus, angle + node.angle, growth + node.growth
        value += times * part.log_moment
        scale_error += times * part.log_moment_error + 4.0 * EPS * (abs(value) + abs(times * part.log_moment))
    values = np.asarray(np.exp(log_modulus + 1j * angle) / (z * (1.0 + z)), dtype=np.complex128)
    reached = np.exp(np.minimum(log_modulus + growth, 0.0)) / np.abs(z * (1.0 + z))
    errors = np.where(growth < 1.0, np.abs(values) * np.expm1(np.minimum(growth, 1.0)), reached + np.abs(values))
    values[0], errors[0] = 0.5 * values[0], 0.5 * errors[0]
    return Contour(
        order, float(s[1]), value, scale_error, centre, values, float(errors.sum()) * (1.0 + 1e-9), tail, beyond
    )
