r"""Certified curves of composed sampled Gaussians, by a contour integral at the saddle point.

The integral and its errors are those of ``accountants._integral``; here it is placed and solved. The tilt t is put
where the integrand on the real line is least; any t is sound, another one only costs tightness.

*From δ to ε.* δ falls in ε: a point whose lower bound of δ is at least the asked δ is a lower bound of ε, one whose
upper bound is at most δ an upper bound. Both are evaluated at the very numbers returned, so no search is trusted.

*Handing over.* Few steps, or very rare ones, make the integrand decay so slowly that its tail cannot be bounded in
reasonable time. Then the upper bound is Chernoff's at the best order, :math:`\epsilon = (F(t) + \log C(t) - \log\delta)
/t`, the same that a Rényi accountant gives (Canonne, Kamath & Steinke 2020, Proposition 12), and the lower bound is 0.

Held by tests/accountants/test_contour.py: mpmath, published values with 20 digits, and other accountants' brackets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from accountants._integral import Contour, Mixture, build, log_chernoff, saddle_width
from accountants._many import at_many
from accountants._numerics import EPS, Floats, round_up

__all__ = ["Curve", "Mixture", "curve", "epsilon_bounds", "log_delta_bounds"]

Indices = NDArray[np.intp]

_ROUNDS = 3
_LEFT = 0.1  # of the saddle: at a knee the integrand decays much faster a little to the left


def _saddle(
    mixture: Mixture, gradient: Callable[[float, float, float, float], tuple[float, float]], start: float
) -> float:
    """The order where an increasing function vanishes, by Newton's method in log t; the nearest that is in reach."""
    low, high, order = 0.0, math.inf, start
    for turn in range(80):
        if not mixture.is_reachable(order):
            high, order = order, max(0.7 * order, math.sqrt(low * order))
            continue
        value, slope, curvature = mixture.cumulants(order)
        f, derivative = gradient(order, value, slope, curvature)
        low, high = (low, order) if f > 0.0 else (order, high)
        after = order * math.exp(max(-1.5, min(1.5, -f / (order * derivative))))
        if not low < after < high or (turn % 2 and low > 0.0 and high < math.inf):  # halve it
            after = math.sqrt(max(low, order / 4.0) * min(high, order * 4.0))
        step, order = after - order, after
        # curvature grows with the order, at a knee suddenly: what it is here does not say how far a step right is
        if derivative / order * step * step < 0.01 and (step < 0.0 or step < 1e-4 * order):
            break
    while not mixture.is_reachable(order):
        order *= 0.7
    return order


def _left(mixture: Mixture, order: float) -> float:
    """A little to the left, as far as that costs no more than a digit."""
    there = (1.0 - _LEFT) * order
    return max(there, order - 1.5 * saddle_width(there, mixture.cumulants(there)[2]))


def _start(mixture: Mixture, guess: float) -> float:
    """Below the knee of every part, where its moments explode."""
    knees = [2.0 * law.scale**2 * math.log(1.0 / law.prob) + 4.0 for law, _ in mixture.parts if not law.add]
    return max(1e-3, min([guess, 1e4, *knees]))


def _saddle_of_delta(mixture: Mixture, log_delta: float) -> float:
    """The order at which the bound of ε for this δ is least."""

    def gradient(t: float, value: float, slope: float, curvature: float) -> tuple[float, float]:
        f = t * slope - value + log_delta + math.log(t) + math.log1p(t) - 1.0 - t / (1.0 + t)
        return f, t * curvature + 1.0 / t + t / (1.0 + t) ** 2

    first = mixture.cumulants(1.0)[0]
    guess = math.sqrt(2.0 * max(-log_delta, 1.0) / first) if first > 0.0 else math.inf
    return _saddle(mixture, gradient, _start(mixture, guess))


def _saddle_of_epsilon(mixture: Mixture, epsilon: float) -> float:
    """The order at which the integrand on the real line is least for this ε."""

    def gradient(t: float, value: float, slope: float, curvature: float) -> tuple[float, float]:
        return slope - epsilon - 1.0 / t - 1.0 / (1.0 + t), curvature + 1.0 / (t * t) + 1.0 / (1.0 + t) ** 2

    first = mixture.cumulants(1.0)[0]
    guess = max(epsilon / first, 2.0 / math.sqrt(first)) if first > 0.0 else math.inf
    return _saddle(mixture, gradient, _start(mixture, guess))


def _first_guess(mixture: Mixture, order: float, log_delta: float) -> float:
    """ε by the saddle-point approximation."""
    value, _, curvature = mixture.cumulants(order)
    prefactor = (
        math.log(order) + math.log1p(order) + 0.5 * math.log(2.0 * math.pi) - math.log(saddle_width(order, curvature))
    )
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
            after = (
                0.5 * (low + high) if math.isfinite(low + high) else epsilon + math.copysign(0.5, step) / contour.order
            )
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
            gap = sign * (log_delta - contour.log_delta_bounds(epsilon)[side]) + 4.0 * EPS * abs(log_delta)
            if gap <= 0.0:
                ends[side] = epsilon
                break
            if gap == math.inf:
                break
            epsilon -= sign * (1.1 * gap / contour.order + 2.0 * EPS * abs(epsilon) + 1e-300)
    return ends[0], ends[1]


def _chernoff_epsilon(mixture: Mixture, order: float, log_delta: float) -> float:
    """An upper bound of ε at any order: (F(t) + log C(t) - log δ)/t, rounded up; may be negative."""
    value, constant = mixture.bound(order), log_chernoff(order)
    return (value + constant - log_delta + 16.0 * EPS * (abs(value) - constant - log_delta)) / order


def _largest_loss(mixture: Mixture) -> float:
    """The loss of adding is below -log(1-q) each time; rounded up."""
    if mixture.variance or not all(law.add for law, _ in mixture.parts):
        return math.inf
    return round_up(sum(-times * math.log1p(-law.prob) for law, times in mixture.parts), 16 + len(mixture.parts))


def epsilon_bounds(mixture: Mixture, log_delta: float, tolerance: float, enough: float = 0.0) -> tuple[float, float]:
    """(lower, upper) of ε at δ, both certified; where the integral cannot, 0 and Chernoff's bound, or inf.

    Args:
        mixture: one direction of a composition, with at least one part or a variance.
        log_delta: log δ < 0.
        tolerance: the relative gap that is aimed at; what is reached is what is returned.
        enough: an upper bound of at most this need not be improved.
    """
    low, high = 0.0, _largest_loss(mixture)
    if high <= enough or not mixture.is_reachable(1.0):
        return low, high
    order = _saddle_of_delta(mixture, log_delta)
    high = min(high, max(0.0, _chernoff_epsilon(mixture, order, log_delta)))
    if high <= enough:
        return low, high
    guess, goal = _first_guess(mixture, order, log_delta), math.log(tolerance) - 9.0
    order = _left(mixture, order)
    for _ in range(_ROUNDS):
        contour = build(mixture, order, guess, log_delta, goal)
        if contour is None:
            order = _left(mixture, order)
            continue
        guess = _solve(contour, log_delta, guess)
        lower, upper = _certify(contour, log_delta, guess)
        low, high = max(low, lower), min(high, max(upper, 0.0))
        if high - low <= tolerance * high:
            break
        order, goal = _left(mixture, _saddle_of_epsilon(mixture, guess)), goal - 5.0
    return low, high


def log_delta_bounds(
    mixture: Mixture, epsilon: float, tolerance: float, enough: float = -math.inf
) -> tuple[float, float]:
    """(lower, upper) of log δ at any real ε, certified; where the integral cannot, -inf and Chernoff's bound, or 0."""
    return curve(mixture, tolerance)(epsilon, enough)


@final
class Curve:
    """The same as a function of ε and of an upper end that is good enough; it keeps an integral while that closes."""

    __slots__ = ("_chernoff", "_kept", "_largest", "_mixture", "_tolerance")

    def __init__(self, mixture: Mixture, tolerance: float) -> None:
        self._mixture, self._tolerance = mixture, tolerance
        self._largest = _largest_loss(mixture)
        self._kept: Contour | None = None
        self._chernoff = 0.0, 0.0  # an order, and a bound of ε at δ = 1 there: a line above log δ

    def __call__(self, epsilon: float, enough: float) -> tuple[float, float]:
        """(lower, upper) of log δ at one ε."""
        if epsilon >= self._largest:
            return -math.inf, -math.inf
        if not self._mixture.is_reachable(1.0):
            return -math.inf, 0.0
        low, high = self._kept.log_delta_bounds(epsilon) if self._kept else (-math.inf, 0.0)
        if high - low <= self._tolerance or high <= enough:
            return low, high
        order = _saddle_of_epsilon(self._mixture, epsilon)
        self._chernoff = order, _chernoff_epsilon(self._mixture, order, 0.0)
        high = min(high, float(self._line(np.array([epsilon]))[0]))
        guess, goal = _guess_log_delta(self._mixture, order, epsilon), math.log(self._tolerance) - 9.0
        for _ in range(_ROUNDS):
            if high <= enough or high - low <= self._tolerance:
                break
            order = _left(self._mixture, order)
            contour = build(self._mixture, order, epsilon, guess, goal)
            if contour is not None:
                self._kept = contour
                lower, upper = contour.log_delta_bounds(epsilon)
                low, high = max(low, lower), min(high, upper)
                guess, goal = high, goal - 7.0
        return low, high

    def at_many(self, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
        """(lower, upper) of log δ at many ε: an integral at one of them serves all that it closes."""
        low, high = np.full_like(epsilons, -math.inf), np.where(epsilons < self._largest, 0.0, -math.inf)
        left = np.argsort(epsilons, kind="stable")
        left = left[epsilons[left] < self._largest]
        place, span = left.size // 4, left.size  # few nodes serve a point near 0 from its right
        while left.size:
            index, first = left[place], left[0]
            low[index], high[index] = self(float(epsilons[index]), float(enough[index]))
            left = np.delete(left, place)
            start = max(0, place - span)
            closed = start + self._closed(epsilons, enough, low, high, left[start : place + span])
            if not closed.size:
                break
            reach, span = max(0.0, float(epsilons[left[closed[-1]]] - epsilons[index])), 16 + 4 * closed.size
            left = np.delete(left, closed)
            ahead = epsilons[left[0]] + reach if left.size and left[0] != first else -math.inf
            place = max(0, int(np.searchsorted(epsilons[left], ahead, side="right")) - 1)
        for index in left:
            low[index], high[index] = self(float(epsilons[index]), float(enough[index]))
        return low, high

    def _closed(self, epsilons: Floats, enough: Floats, low: Floats, high: Floats, left: Indices) -> Indices:
        """Which places of those left are closed by what is kept; their ends are written."""
        asked = epsilons[left]
        lower, upper = np.full_like(asked, -math.inf), self._line(asked)
        if self._kept is not None:
            lower, high_too = self._kept.log_deltas_bounds(asked)
            upper = np.minimum(upper, high_too)
        closed = np.flatnonzero(upper <= np.maximum(lower + self._tolerance, enough[left]))
        low[left[closed]], high[left[closed]] = lower[closed], upper[closed]
        return closed

    def _line(self, epsilons: Floats) -> Floats:
        """Chernoff's bound of log δ: log δ at which his ε is this one, rounded up; at most 0."""
        order, start = self._chernoff
        with np.errstate(over="ignore"):
            return np.minimum(order * (start - epsilons + 8.0 * EPS * np.abs(epsilons)), 0.0)


@at_many.register
def _(curve: Curve, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
    return curve.at_many(epsilons, enough)


def curve(mixture: Mixture, tolerance: float) -> Curve:
    """The bounds of `log_delta_bounds` as a function that shares work between many ε."""
    return Curve(mixture, tolerance)


def _guess_log_delta(mixture: Mixture, order: float, epsilon: float) -> float:
    """Log δ by the saddle-point approximation; at most 0."""
    value, _, curvature = mixture.cumulants(order)
    prefactor = math.log(order) + math.log1p(order) - math.log(saddle_width(order, curvature))
    return min(0.0, value - order * epsilon - prefactor)
