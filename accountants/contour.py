r"""Certified curves of composed sampled Gaussians by a contour integral at the saddle point. Serves the PLD accountant.

For one direction of a composition, with cumulant function :math:`F(z) = \sum_i n_i \log E_{P_i}[e^{z\ell_i}] +
\tfrac12\mu^2 z(1+z)` (the last term: all unsampled Gaussians together) and any t > 0

.. math:: \delta(\epsilon) = \frac1{2\pi}\int \hat G(s)\,e^{-(t+is)\epsilon}\,ds,\qquad
   \hat G(s) = \frac{e^{F(t+is)}}{(t+is)(1+t+is)} .

*Step h, an identity.* Poisson summation of x -> e^{tx} δ(x) gives for the sum with step h

.. math:: S_h(\epsilon) = \sum_{m\in\mathbb Z} e^{2\pi mt/h}\,\delta(\epsilon + 2\pi m/h) \ge \delta(\epsilon):

every other term is >= 0, so the sum is an upper bound. For a lower bound subtract, for m < 0, at most
:math:`1/(e^{2\pi t/h}-1)` (δ <= 1), and for m > 0 at most :math:`C(t')e^{F(t')-t'\epsilon}\,r/(1-r)` with :math:`r =
e^{-(t'-t)2\pi/h}`, for any t' > t, where :math:`C(t) = t^t/(1+t)^{1+t}` is Chernoff's constant.

*Nodes left out* (k > N): with ρ(s) a bound of the product of all |I_i(t+is)/I_i(t)|^{n_i}, falling or piecewise constant,
their sum is at most :math:`\frac1\pi e^{F(t)-t\epsilon}\sum_j \rho_j (d_j+h)/s_j^2` over intervals [s_j, s_j + d_j], and
ρ h-step tail ρ/(s-h) beyond the last. How ρ is bounded is said in :mod:`accountants._tilt`.

*Nodes kept* err by the relative errors of the characteristic functions (quadrature, cutting, rounding) and of the sum;
these are added with absolute values. The factor e^{F(t)} has its own error.

*From δ to ε.* δ falls in ε: a point whose lower bound of δ is at least the asked δ is a lower bound of ε, one whose upper
bound is at most δ an upper bound. Both are evaluated at the very numbers returned.

Held by tests/accountants/test_contour.py against mpmath with 30 digits and against published 20-digit values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from accountants._numerics import EPS, Floats
from accountants._tilt import Law, Tilted, cumulants, reachable, tilted

__all__ = ["Contour", "Mixture", "epsilon_bounds", "log_delta_bounds"]

_GROWTH = 0.2  # of the intervals on which the neglected nodes are bounded
_MOST_INTERVALS = 4000
_MOST_WORK = 5e6  # nodes x points: about a tenth of a second
_FINEST = 7
_ROUNDS = 3


class Mixture(NamedTuple):
    """One direction of a composition.

    Args:
        parts: sampled Gaussians with their counts.
        variance: μ², the sum of count / scale² over the unsampled Gaussians.
    """

    parts: tuple[tuple[Law, int], ...]
    variance: float

    def cumulants(self, order: float, reach: float) -> tuple[float, float, float]:
        """F(t) and its first two derivatives, plainly."""
        value, slope = 0.5 * self.variance * order * (1.0 + order), self.variance * (order + 0.5)
        curvature = self.variance
        for law, times in self.parts:
            part = cumulants(law, order, reach)
            value, slope, curvature = value + times * part[0], slope + times * part[1], curvature + times * part[2]
        return value, slope, curvature


def _reach(order: float) -> float:
    """The tilts that a grid serves: a power of two, so that nearby orders share one."""
    return 2.0 ** max(1, math.ceil(math.log2(2.0 * order)))


def _width(order: float, curvature: float) -> float:
    """The saddle's width in s."""
    return 1.0 / math.sqrt(curvature + 1.0 / (order * order) + 1.0 / (1.0 + order) ** 2)


def _reachable(mixture: Mixture, order: float, fineness: int = 0) -> bool:
    return all(reachable(law, _reach(order), fineness) for law, _ in mixture.parts)


def _saddle(
    mixture: Mixture, gradient: Callable[[float, float, float, float], tuple[float, float]], start: float
) -> float | None:
    """The order where an increasing function vanishes, by Newton's method in log t, near enough; None if out of reach."""
    low, high, order = 0.0, math.inf, start
    for _ in range(80):
        if not _reachable(mixture, order):
            return None
        value, slope, curvature = mixture.cumulants(order, _reach(order))
        f, derivative = gradient(order, value, slope, curvature)
        low, high = (low, order) if f > 0.0 else (order, high)
        after = order * math.exp(max(-1.5, min(1.5, -f / (order * derivative))))
        if not low < after < high:
            after = math.sqrt(max(low, order / 4.0) * min(high, order * 4.0))
        step = after - order
        order = after
        if derivative / order * step * step < 0.01 or abs(step) < 1e-9 * order:
            break
    return order if _reachable(mixture, order) else None


def _start(mixture: Mixture, guess: float) -> float:
    """Below the knee of every part, where its moments explode."""
    knees = [2.0 * law.scale**2 * math.log(1.0 / law.prob) + 4.0 for law, _ in mixture.parts if not law.add]
    return max(1e-3, min([guess, 1e4, *knees]))


def _saddle_of_delta(mixture: Mixture, log_delta: float) -> float | None:
    """The order at which the bound of ε for this δ is least."""

    def gradient(t: float, value: float, slope: float, curvature: float) -> tuple[float, float]:
        f = t * slope - value + log_delta + math.log(t) + math.log1p(t) - 1.0 - t / (1.0 + t)
        return f, t * curvature + 1.0 / t + t / (1.0 + t) ** 2

    first = mixture.cumulants(1.0, 2.0)[0]
    guess = math.sqrt(2.0 * max(-log_delta, 1.0) / first) if first > 0.0 else math.inf
    return _saddle(mixture, gradient, _start(mixture, guess))


def _saddle_of_epsilon(mixture: Mixture, epsilon: float) -> float | None:
    """The order at which the integrand on the real line is least for this ε."""

    def gradient(t: float, value: float, slope: float, curvature: float) -> tuple[float, float]:
        return slope - epsilon - 1.0 / t - 1.0 / (1.0 + t), curvature + 1.0 / (t * t) + 1.0 / (1.0 + t) ** 2

    first = mixture.cumulants(1.0, 2.0)[0]
    guess = max(epsilon / first, 2.0 / math.sqrt(first)) if first > 0.0 else math.inf
    return _saddle(mixture, gradient, _start(mixture, guess))


@final
@dataclass(frozen=True, slots=True)
class Contour:
    """The integral at one tilt: answers δ at any ε, best near the saddle.

    Args:
        order: t.
        spacing: h.
        log_scale: F(t), with its absolute error ``scale_error``.
        scale_error: see there.
        centre: what was subtracted from the loss: exact as a float, by construction.
        values: Ĝ(kh) e^{-F(t) - ikh centre}, the first halved.
        errors: their relative errors.
        tail: bound of the nodes left out, relative to e^{F(t) - tε}.
        beyond: (t', F(t')) at some t' > t; F(t') as it comes, since 10^-9 is added.
    """

    order: float
    spacing: float
    log_scale: float
    scale_error: float
    centre: float
    values: np.ndarray[tuple[int], np.dtype[np.complex128]]
    errors: Floats
    tail: float
    beyond: tuple[float, float]

    def log_delta_bounds(self, epsilon: float) -> tuple[float, float]:
        """(lower, upper) of log δ."""
        total, _ = self._total(epsilon)
        s = self.spacing * np.arange(self.values.size)
        phase = 4.0 * EPS * s * (abs(self.centre) + abs(epsilon))
        count = EPS * (self.values.size + 8.0)
        error = float(np.abs(self.values) @ (self.errors + phase + count)) * self.spacing / math.pi + self.tail
        base = self.log_scale - self.order * epsilon
        slop = self.scale_error + 8.0 * EPS * (1.0 + abs(self.log_scale) + abs(self.order * epsilon))
        high, low = total + error, total - error - self._aliases(epsilon, base - slop)
        upper = base + math.log(high) + slop if high > 0.0 else -math.inf
        return (base + math.log(low) - slop if low > 0.0 else -math.inf), min(upper, 0.0)

    def log_delta(self, epsilon: float) -> tuple[float, float]:
        """log δ and its derivative in ε, plainly; -inf where rounding leaves nothing."""
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

    def _aliases(self, epsilon: float, base: float) -> float:
        """What the images of the curve add at most, relative to e^base."""
        period = 2.0 * math.pi / self.spacing
        left = -self.order * period - math.log(-math.expm1(-self.order * period)) - base
        order, value = self.beyond
        away = (order - self.order) * period
        ahead = _log_chernoff(order) + value - order * epsilon - base + 1e-9 * (1.0 + abs(value) + abs(order * epsilon))
        right = ahead - away - math.log(-math.expm1(-away))
        return math.exp(min(left, 700.0)) + math.exp(min(right, 700.0))


def _build(mixture: Mixture, order: float, epsilon: float, log_delta: float, goal: float) -> Contour | None:
    """The integral with all errors below e^goal of e^log_delta or so; None where that takes too much work."""
    reach = _reach(order)
    value, _, curvature = mixture.cumulants(order, reach)
    width = _width(order, curvature)
    period, beyond = _period(mixture, order, epsilon, log_delta + goal, width)
    spacing = 2.0 * math.pi / period
    allowed = goal + log_delta + order * epsilon - value  # of the whole sum, relative to e^{F(t) - tε}
    for fineness in range(_FINEST + 1):
        if not _reachable(mixture, order, fineness):
            return None
        parts = [(tilted(law, order, reach, fineness), times) for law, times in mixture.parts]
        cut = _cut(mixture, parts, width, spacing, allowed)
        if cut is None:
            continue
        last, tail = cut
        count = math.ceil(last / spacing) + 1
        if count * (1 + sum(part.weight.size for part, _ in parts)) > _MOST_WORK:
            return None
        if all(times * float(part.strip(np.array([last + spacing]))[0]) < math.exp(goal - 7.0) for part, times in parts):
            return _integrate(mixture, parts, order, spacing * np.arange(count), tail, beyond)
    return None


def _period(
    mixture: Mixture, order: float, epsilon: float, log_delta: float, width: float
) -> tuple[float, tuple[float, float]]:
    """2π/h for which both images stay below e^log_delta, and the t' with F(t') that shows it for the right one."""
    least, best, stretch = math.inf, (order, math.inf), 6.0 * width
    for _ in range(40):
        there = order + stretch
        value = mixture.cumulants(there, _reach(order))[0] if there <= _reach(order) else math.inf
        needed = (_log_chernoff(there) + value - there * epsilon - log_delta) / stretch
        if least < needed < math.inf:
            break
        if needed < least:
            least, best = needed, (there, value)
        stretch *= 0.5
    return max(least, -log_delta / order), best


def _log_chernoff(order: float) -> float:
    """log C(t): the largest value of log(1 - e^-x) - tx."""
    return -math.log1p(order) - order * math.log1p(1.0 / order)


def _cut(
    mixture: Mixture, parts: list[tuple[Tilted, int]], width: float, spacing: float, allowed: float
) -> tuple[float, float] | None:
    """The least s beyond which the nodes sum up to e^allowed at most, and that sum; None if there is none."""
    ladder = width * 2.0 ** np.arange(1.5, 44.0, 0.25)
    far = -0.5 * mixture.variance * ladder**2 - np.log(ladder)
    for part, times in parts:
        far = far + times * part.log_far(ladder)
    enough = np.flatnonzero(far <= allowed - 1.0)
    if not enough.size:
        return None
    widest = 0.7 / math.sqrt(max([part.variance for part, _ in parts], default=0.0) + 1e-300)
    nodes = _intervals(2.0 * width, float(ladder[enough[0]]), widest)
    points = sum(part.weight.size for part, _ in parts)
    if nodes is None or nodes[-1] <= 2.0 * spacing or nodes.size * points > _MOST_WORK:
        return None
    bound = -0.5 * mixture.variance * nodes[:-1] ** 2
    for part, times in parts:
        bound = bound + times * part.log_modulus_bound(nodes)
    rest = math.exp(float(far[enough[0]]) + 0.7) / math.pi  # 1/(s - h) <= 2/s
    sums = np.exp(np.maximum(bound, -740.0)) * (np.diff(nodes) + spacing) / nodes[:-1] ** 2 / math.pi
    tails = np.append(np.cumsum(sums[::-1])[::-1] * (1.0 + 1e-9), 0.0) + rest
    small = np.flatnonzero(tails <= math.exp(min(allowed, 0.0)))
    return (float(nodes[small[0]]), float(tails[small[0]])) if small.size else None


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
    value, centre = 0.5 * mixture.variance * order * (1.0 + order), mixture.variance * (order + 0.5)
    scale_error = 4.0 * EPS * value
    log_modulus = -0.5 * mixture.variance * s * s
    angle, error = np.zeros_like(s), np.full_like(s, 16.0 * EPS) + 4.0 * EPS * np.abs(log_modulus)
    for part, times in parts:
        node = part.sampled(s, times)
        log_modulus, angle = log_modulus + node.log_modulus, angle + node.angle
        error = error + node.relative_error + error * node.relative_error
        value, centre = value + times * part.log_moment, centre + times * part.mean
        scale_error += times * part.log_moment_error + 4.0 * EPS * abs(value)
    z = order + 1j * s
    values = np.exp(log_modulus + 1j * angle) / (z * (1.0 + z))
    values[0] *= 0.5
    return Contour(order, float(s[1]), value, scale_error, centre, values, error, tail, beyond)


def _first_guess(mixture: Mixture, order: float, log_delta: float) -> float:
    """ε by the saddle-point approximation."""
    value, _, curvature = mixture.cumulants(order, _reach(order))
    prefactor = math.log(order) + math.log1p(order) + 0.5 * math.log(2.0 * math.pi) - math.log(_width(order, curvature))
    return (value - log_delta - prefactor) / order


def _solve(contour: Contour, log_delta: float, guess: float) -> float:
    """ε with log δ(ε) = log_delta, plainly: safeguarded Newton steps."""
    low, high, epsilon = -math.inf, math.inf, guess
    for _ in range(100):
        value, slope = contour.log_delta(epsilon)
        low, high = (epsilon, high) if value > log_delta else (low, epsilon)
        step = (log_delta - value) / slope if value > -math.inf and slope < 0.0 else -1.0 / contour.order
        step = max(-4.0 / contour.order, min(4.0 / contour.order, step))
        after = epsilon + step
        if not low < after < high:
            after = 0.5 * (low + high) if math.isfinite(low + high) else epsilon + math.copysign(0.5, step) / contour.order
        if abs(after - epsilon) <= 1e-14 * max(abs(epsilon), 1e-3 / contour.order):
            return after
        epsilon = after
    return epsilon


def _certify(contour: Contour, log_delta: float, guess: float) -> tuple[float, float]:
    """(lower, upper) of ε around a guess; each end is evaluated at itself; infinite where it cannot be shown."""
    ends = [-math.inf, math.inf]
    for side, sign in ((0, 1.0), (1, -1.0)):
        epsilon = guess
        for _ in range(30):
            gap = sign * (log_delta - contour.log_delta_bounds(epsilon)[side])
            if gap <= 0.0:
                ends[side] = epsilon
                break
            if gap == math.inf:
                break
            epsilon -= sign * (1.1 * gap / contour.order + 2.0 * EPS * abs(epsilon) + 1e-300)
    return ends[0], ends[1]


def _chernoff_epsilon(mixture: Mixture, order: float, log_delta: float) -> float:
    """An upper bound of ε at any order: (F(t) + log C(t) - log δ)/t, rounded up."""
    value = 0.5 * mixture.variance * order * (1.0 + order)
    error = 4.0 * EPS * value
    for law, times in mixture.parts:
        part = tilted(law, order, _reach(order), 0)
        value, error = value + times * part.log_moment, error + times * part.log_moment_error
    constant = _log_chernoff(order)
    total = value + constant - log_delta
    return (total + error + 16.0 * EPS * (abs(value) - constant - log_delta)) / order


def epsilon_bounds(mixture: Mixture, log_delta: float, tolerance: float) -> tuple[float, float]:
    """(lower, upper) of ε at δ, both certified; where the integral cannot, 0 and Chernoff's bound, or inf.

    Args:
        mixture: one direction of a composition, with at least one part or a variance.
        log_delta: log δ < 0.
        tolerance: the relative gap that is aimed at; what is reached is what is returned.
    """
    order = _saddle_of_delta(mixture, log_delta)
    if order is None:
        return 0.0, math.inf
    guess, low = _first_guess(mixture, order, log_delta), 0.0
    high = max(0.0, _chernoff_epsilon(mixture, order, log_delta))
    goal = math.log(tolerance) - 9.0
    for _ in range(_ROUNDS):
        contour = None if order is None else _build(mixture, order, guess, log_delta, goal)
        if contour is None:
            break
        guess = _solve(contour, log_delta, guess)
        lower, upper = _certify(contour, log_delta, guess)
        low, high = max(low, lower), min(high, max(upper, 0.0))
        if high - low <= tolerance * high:
            break
        order, goal = _saddle_of_epsilon(mixture, guess), goal - 5.0
    return low, high


def log_delta_bounds(mixture: Mixture, epsilon: float, tolerance: float) -> tuple[float, float]:
    """(lower, upper) of log δ at any real ε, both certified; where the integral cannot, -inf and Chernoff's bound, or 0."""
    order = _saddle_of_epsilon(mixture, epsilon)
    if order is None:
        return -math.inf, 0.0
    value, _, curvature = mixture.cumulants(order, _reach(order))
    guess = min(0.0, value - order * epsilon - math.log(order) - math.log1p(order) + math.log(_width(order, curvature)))
    # Chernoff's bound of δ at ε: the δ for which his ε is this one
    low, high = -math.inf, min(0.0, order * (_chernoff_epsilon(mixture, order, 0.0) - epsilon + 8.0 * EPS * abs(epsilon)))
    for goal in (math.log(tolerance) - 9.0, math.log(tolerance) - 16.0):
        contour = _build(mixture, order, epsilon, guess, goal)
        if contour is None:
            break
        lower, upper = contour.log_delta_bounds(epsilon)
        low, high = max(low, lower), min(high, upper)
        if high - low <= tolerance:
            break
        guess = high
    return low, high
