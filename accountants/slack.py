r"""Slack: what separates the true laws from the pairs that are composed. Added once, outside the composition.

With up = A, down = B, failure = F, distance = τ, and :math:`\delta_0` the curve of the composed pairs,

.. math:: \delta(\epsilon) \le e^A\bigl[F + (1-F)\,\delta_0(\epsilon-A-B) + (1+e^\epsilon)\,\tau\bigr].

*Why.* Say that a mechanism M', adaptive or not, is covered by M if for every data set D there are laws U and L with

    M'_D <= e^A U, TV(U, M_D) <= τ   and   M'_D >= e^-B L, TV(L, M_D) <= e^B τ.

Then :math:`M'_D(S) - e^\epsilon M'_E(S) \le e^A[U(S) - e^{\epsilon-A-B}L(S)] \le e^A[M_D(S) -
e^{\epsilon-A-B}M_E(S) + \tau] + e^\epsilon\tau`, and M_D, M_E have the curve :math:`F + (1-F)\delta_0` if their pair
is this: with probability F an outcome that gives the record away, else the composed pair. Each source keeps the form:

* ``Within`` (log M'/M in [-down, up]) and a total variation distance are covered, and so is either applied to what is
  covered already: up, down and distance add. (Within: M'' <= e^up M' <= e^{up+A} U. A distance t applied last: with R =
  M'' - M' the law U + e^-A R serves, which is >= 0 where M'' is; and L less the mass, at most e^B t, by which it may
  exceed e^B M'', put back where there is room for it.)
* Composition: the laws U, and the laws L, of the parts compose to such laws; distances add over the steps of the
  hybrid from all U to all M, and :math:`\sum e^{B_i}\tau_i \le e^B\tau`. The outcomes that give the record away make
  1 - F multiply.
* Sampling: a mixture over batches of what is covered is covered by the mixture. Of a pair with failure F, a record
  that is in the batch with probability q leaves failure qF: as sums over outcomes, for all real ε,
  :math:`qF + (1-F)\delta_q + F(1-q-e^\epsilon)_+ \le qF + (1-qF)\delta_q` (remove; add and replace_one likewise),
  since :math:`\delta_q \ge (1-e^\epsilon)_+`.
* Groups of records change D and E and nothing else: the cover is per data set.

Composing ``Within`` as a pure part instead averages the slack over releases and is unsound
(``test_slack_composed_as_a_pure_part_is_unsound``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np

from accountants._numerics import EPS, Floats, round_down, round_up

__all__ = ["Slack", "total_slack"]

_ROUNDS = 64  # of the search for an epsilon that stands on both sides
_STEP = 1e-9  # relative: how far above the least solution a search may end, so that it ends
_NEAR = 0.1  # of log δ₀: as far as proportion is trusted
_STEEPEST = 0.99  # of the slope that a secant step trusts
_LOG_MAX = 700.0  # e^x is finite below


@final
@dataclass(frozen=True, slots=True)
class Slack:
    r"""The four numbers of the module's inequality, each an upper bound.

    Guarantee:
        ``epsilon`` and ``delta`` err upwards and ``lower_epsilon`` downwards; without failure and distance they work in
        logarithms, so that no delta is too small (``test_slack_bounds_perturbed_releases``,
        ``test_slack_is_rounded_outward``).

    Args:
        up: A, total log-ratio upwards, >= 0.
        down: B, total log-ratio downwards, >= 0.
        failure: F, probability of an outcome that gives the record away, in [0, 1].
        distance: τ, total variation distance, >= 0.

    Example:
        >>> Slack(up=0.1, down=0.2).epsilon(lambda log_delta: 1.0, -20.0) >= 1.3
        True
        >>> Slack(failure=1e-3).epsilon(lambda log_delta: 1.0, -20.0)
        inf
    """

    up: float = 0.0
    down: float = 0.0
    failure: float = 0.0
    distance: float = 0.0

    def __add__(self, other: Slack) -> Slack:
        return total_slack((self, other))

    def times(self, count: int) -> Slack:
        """The slack of ``count`` releases that have this one each."""
        if count == 1:
            return self
        fails = _any_fails([(self.failure, count)])
        return Slack(_up(count * self.up), _up(count * self.down), fails, _up(count * self.distance))

    def sampled(self, sampling_prob: float) -> Slack:
        """The slack of a release about a batch that a record is in with this probability."""
        return Slack(self.up, self.down, min(1.0, _up(sampling_prob * self.failure)), self.distance)

    def epsilon(self, base: Callable[[float], float], log_delta: float) -> float:
        r"""An upper bound of the least epsilon with :math:`\delta(\epsilon) \le` delta.

        Args:
            base: log δ₀ -> an upper bound >= 0 of the composed pairs' epsilon there.
            log_delta: log delta.

        Returns:
            A number >= 0; +inf where failure or distance leave nothing of delta.
        """
        shift = _sum_up(self.up, self.down)
        if not (self.failure or self.distance):
            return _sum_up(_least(base, self._log_left(log_delta, 0.0, -1.0)), shift)
        epsilon, before = shift, None
        for _ in range(_ROUNDS):
            log_left = self._log_left(log_delta, epsilon, -1.0)
            needed = _sum_up(_least(base, log_left), shift)
            if needed <= epsilon or needed == math.inf or not self.distance:
                return needed  # more epsilon leaves less delta, so what a larger one needs will do
            if before is None:  # as if epsilon grew with log δ₀ in proportion
                lost = log_left - self._log_left(log_delta, needed, -1.0)
                slope = min(lost, _NEAR) / -log_left if log_left < 0.0 else 0.0
            else:
                slope = (needed - before[1]) / (epsilon - before[0])
            step = (needed - epsilon) / (1.0 - min(max(slope, 0.0), _STEEPEST))
            before, epsilon = (epsilon, needed), (epsilon + step) * (1.0 + _STEP)
        return math.inf

    def lower_epsilon(self, base: Callable[[float], float], log_delta: float) -> float:
        r"""A lower bound of the least epsilon >= 0 at which the module's right-hand side is at most delta.

        Args:
            base: log δ₀ -> a lower bound >= 0 of the composed pairs' epsilon there.
            log_delta: log delta.

        Returns:
            A number >= 0; +inf where no epsilon will do.
        """
        shift = round_down(self.up + self.down)
        epsilon = 0.0
        for _ in range(_ROUNDS):
            inner = _least(base, self._log_left(log_delta, epsilon, 1.0))
            if inner <= 0.0:
                return epsilon  # the pairs' own epsilon may be below 0: that would use up the shift
            least = inner if shift == 0.0 or inner == math.inf else round_down(inner + shift)
            if least <= epsilon * (1.0 + _STEP) or not self.distance:
                return max(epsilon, least)
            epsilon = least
        return epsilon

    def delta(self, base: Callable[[float], float], epsilon: float) -> float:
        r"""An upper bound of :math:`\delta(\epsilon)`, in [0, 1].

        Args:
            base: a real ε₀, maybe negative -> an upper bound of δ₀.
            epsilon: any real number.
        """
        return float(self.deltas(lambda inner: np.array([base(float(inner[0]))]), np.array([epsilon]))[0])

    def deltas(self, base: Callable[[Floats], Floats], epsilons: Floats) -> Floats:
        """The same at many epsilons, shape (n,)."""
        shift = _sum_up(self.up, self.down)
        if shift == math.inf:
            return np.ones_like(epsilons)
        inner = np.minimum(base(np.nextafter(epsilons - shift, -math.inf) if shift else epsilons), 1.0)
        if not (self.up or self.failure or self.distance):
            return np.maximum(inner, 0.0)
        if self.failure >= 1.0 or self.up >= _LOG_MAX:
            return np.where(inner > 0.0, 1.0, 1.0 if self.failure or self.distance else 0.0)
        whole = math.exp(self.up) * (self.failure + (1.0 - self.failure) * inner + self._apart(epsilons, 1.0))
        whole = np.nextafter(whole * (1.0 + (16 + math.ceil(4.0 * self.up)) * EPS), math.inf)
        return np.where((inner > 0.0) | (self.failure + self.distance > 0.0), np.minimum(whole, 1.0), 0.0)

    def lower_deltas(self, base: Callable[[Floats], Floats], epsilons: Floats) -> Floats:
        """Lower bounds of the module's right-hand side, or of 1 where that is larger.

        Args:
            base: real ε₀, shape (n,) -> lower bounds of δ₀.
            epsilons: any real numbers, shape (n,).
        """
        if self.up >= _LOG_MAX or self.down == math.inf:
            return np.zeros_like(epsilons)
        shift = round_down(self.up + self.down)
        inner = base(np.nextafter(epsilons - shift, math.inf) if shift else epsilons)
        if not (self.up or self.failure or self.distance):
            return inner
        whole = math.exp(self.up) * (self.failure + (1.0 - self.failure) * inner + self._apart(epsilons, -1.0))
        return np.clip(whole * (1.0 - (16 + math.ceil(4.0 * self.up)) * EPS), 0.0, 1.0)

    def _apart(self, epsilons: Floats, side: float) -> Floats:
        """What the distance adds, rounded up (side 1) or down (side -1)."""
        if not self.distance:
            return np.zeros_like(epsilons)
        apart = (1.0 + np.exp(np.minimum(epsilons, _LOG_MAX))) * self.distance
        apart *= 1.0 + side * 8.0 * EPS * (1.0 + np.minimum(np.abs(epsilons), _LOG_MAX))
        return np.where(epsilons >= _LOG_MAX, 1.0 if side > 0.0 else apart, apart)

    def _log_left(self, log_delta: float, epsilon: float, side: float) -> float:
        """The log δ₀ that leaves the whole at delta, rounded down (side -1) or up (side 1); -inf for nothing."""
        log_given = log_delta - self.up + side * EPS * (abs(log_delta) + self.up)
        if not (self.failure or self.distance):
            return log_given if self.up else log_delta
        if epsilon >= _LOG_MAX and self.distance:
            return -math.inf
        given = math.exp(min(log_given, _LOG_MAX))
        apart = (1.0 + math.exp(epsilon)) * self.distance if self.distance else 0.0
        error = 8.0 * EPS * (given * (1.0 + abs(log_given)) + self.failure + apart * (1.0 + epsilon))
        left = given - self.failure - apart + side * error
        if left <= 0.0 or self.failure >= 1.0:
            return -math.inf
        value = math.log(left) - math.log1p(-self.failure)
        return value + side * 8.0 * EPS * (1.0 + abs(value))


def total_slack(parts: Iterable[Slack]) -> Slack:
    """The slack of a composition of releases, whatever their order."""
    given = tuple(parts)
    return Slack(
        _sum_up(*(part.up for part in given)),
        _sum_up(*(part.down for part in given)),
        _any_fails([(part.failure, 1) for part in given]),
        _sum_up(*(part.distance for part in given)),
    )


def _least(base: Callable[[float], float], log_delta: float) -> float:
    """The pairs' epsilon at a log δ₀ that may be out of (-inf, 0)."""
    if log_delta == -math.inf:
        return math.inf
    return base(log_delta) if log_delta < 0.0 else 0.0


def _up(value: float) -> float:
    """A product of two numbers >= 0 rounded up; 0 stays 0."""
    return round_up(value) if value > 0.0 else 0.0


def _sum_up(*values: float) -> float:
    """A sum of numbers >= 0 rounded up, the same in any order; a single one is itself."""
    some = [value for value in values if value != 0.0]
    if sum(some) == math.inf:  # fsum would raise
        return math.inf
    return math.nextafter(math.fsum(some), math.inf) if len(some) > 1 else math.fsum(some)


def _any_fails(parts: list[tuple[float, int]]) -> float:
    """1 - prod (1 - F)^n rounded up: log1p, n log1p, their sum and expm1 err by at most 16 EPS together."""
    some = [(failure, count) for failure, count in parts if failure > 0.0 and count]
    if len(some) == 1 and some[0][1] == 1:
        return some[0][0]
    if any(failure >= 1.0 for failure, _ in some):
        return 1.0
    log_kept = math.fsum(count * math.log1p(-failure) for failure, count in some)
    return min(1.0, round_up(-math.expm1(log_kept), 16)) if some else 0.0
