r"""The engine for everything that has a pair: laws of the loss on a lattice, from both sides, composed by transform.

A pair becomes a law on a lattice that is nowhere below its curve, and another that is nowhere above it
(``accountants._grid``); tilted, these are composed by Fourier transform (``accountants._transform``). Where
lattices are laid and how far the tilt goes is decided in ``accountants._plans``: nothing is asked of these choices but
that they be good ones, since every bound holds for every lattice and every tilt.

Held by tests/accountants/test_fourier.py and tests/laws.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, partial, singledispatch
from typing import final

import numpy as np

from accountants._cells import Reach, limits
from accountants._halfline import is_short, laws
from accountants._invert import Bounds, invert
from accountants._logs import NONE
from accountants._many import at_many
from accountants._numerics import EPS, Floats
from accountants._plans import Direction, Goal, Placed, Plan, Sides, for_delta, for_epsilon, log_prefactor, planned
from accountants._transform import Cumulants
from accountants.pairs import AtomPair, Pair

__all__ = ["Curve", "epsilon_bounds", "supports"]

_LEAST, _MOST = 1e-5, 1e8  # scales
_REFINEMENTS = 4
_REST = 23.0  # nats: P's mass beyond all cells, below δ / releases
_DEEPEST = -1400.0  # log δ that is planned for
_UNSEEN = -760.0  # log δ that is 0 in float64


def supports(direction: Direction) -> bool:
    """Whether every pair is within range."""
    return all(_in_range(pair) for pair, _ in direction)


@singledispatch
def _in_range(pair: Pair | AtomPair) -> bool:
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@_in_range.register
def _(pair: Pair) -> bool:
    return _LEAST <= pair.scale <= _MOST and is_short(pair)


@_in_range.register
def _(pair: AtomPair) -> bool:
    return pair.failure < 1.0 and max(abs(pair.loss[0]), abs(pair.loss[-1])) < 1.0 / _LEAST**2


@singledispatch
def _largest(pair: Pair | AtomPair) -> float:
    """An upper bound of a pair's losses."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@_largest.register
def _(pair: Pair) -> float:
    (_, most), rounding = limits(laws(pair))
    return most + rounding


@_largest.register
def _(pair: AtomPair) -> float:
    loss = pair.loss[-1]
    return math.inf if pair.failure > 0.0 else loss + EPS * abs(loss) * (10.0 + 8.0 * (abs(pair.log_p[-1]) + abs(loss)))


def _most(direction: Direction) -> float:
    """An upper bound of the total loss, at least 0: δ is 0 from there on."""
    total = math.fsum(times * _largest(pair) for pair, times in direction)
    return max(0.0, total + 4.0 * EPS * math.fsum(times * abs(_largest(pair)) for pair, times in direction))


@lru_cache(maxsize=64)
def epsilon_bounds(direction: Direction, log_delta: float, tolerance: float, enough: float = 0.0) -> Bounds:
    """(lower, upper) of ε at δ, both certified; 0 and inf where no lattice does.

    Args:
        direction: (pair, times) rows.
        log_delta: log δ < 0.
        tolerance: the relative gap that is aimed at; what is reached is what is returned.
        enough: an upper bound of at most this need not be improved.
    """

    def epsilon(tilt: float, at: Cumulants) -> float:
        return (at.value + log_prefactor(tilt, at) - log_delta) / tilt

    def accuracy(tilt: float, at: Cumulants) -> float:
        return tolerance * max(epsilon(tilt, at), 1e-3 * math.sqrt(at.variance), 1e-280)

    low, high = 0.0, _most(direction)
    if high <= enough:
        return low, high
    plan = planned(Placed(direction, _reach(direction, log_delta)), Goal(for_delta(log_delta), epsilon, accuracy))
    for _ in range(_REFINEMENTS):
        found = plan.sides() if plan is not None else None
        if found is None:
            break
        plan, sides = found
        start = high if high < math.inf else plan.direction.width
        lower, upper = invert(partial(_doubted, sides, 4.0 * EPS * abs(log_delta)), log_delta, max(start, 1e-280))
        low, high = max(low, min(lower, upper)), min(high, upper)
        if high <= enough or high - low <= tolerance * high:
            break
        ratio = 0.7 * math.sqrt(tolerance * high / (high - low)) if high < math.inf else 0.0
        plan = replace(plan, epsilon=min(high, plan.epsilon)).finer(min(max(ratio, 0.1), 0.6))
    return min(low, high), high


def _doubted(sides: Sides, doubt: float, epsilon: float) -> Bounds:
    """Bounds of log δ for a target that is off by a doubt."""
    low, high = sides.log_delta(epsilon)
    return low - doubt, high + doubt


def _reach(direction: Direction, log_delta: float) -> Reach:
    """As far as P has any mass to speak of beside δ."""
    releases = sum(times for _, times in direction)
    return Reach(max(log_delta, _DEEPEST) - _REST - math.log(releases))


@final
class Curve:
    """Bounds of log δ as a function of ε; compositions are kept while they close."""

    __slots__ = ("_direction", "_kept", "_most", "_tolerance")

    def __init__(self, direction: Direction, tolerance: float) -> None:
        self._direction, self._tolerance, self._most = direction, tolerance, _most(direction)
        self._kept: Sides | None = None

    def __call__(self, epsilon: float, enough: float = -math.inf) -> Bounds:
        """(lower, upper) of log δ at any real ε; an upper end of at most ``enough`` need not be improved."""
        if epsilon >= self._most:
            return NONE
        low, high = self._kept.log_delta(epsilon) if self._kept is not None else (-math.inf, 0.0)
        if self._is_closed(low, high, enough):
            return low, high
        plan = self._plan(epsilon)
        for _ in range(_REFINEMENTS):
            found = plan.sides() if plan is not None else None
            if found is None:
                break
            plan, sides = found
            self._kept = sides
            lower, upper = sides.log_delta(epsilon)
            low, high = max(low, lower), min(high, upper)
            if self._is_closed(low, high, enough):
                break
            ratio = 0.7 * math.sqrt(self._tolerance / (high - low)) if low > -math.inf else 0.0
            plan = plan.finer(min(max(ratio, 0.1), 0.6))
        return min(low, high), high

    def _is_closed(self, low: float, high: float, enough: float) -> bool:
        return high <= max(enough, _UNSEEN) or high - low <= self._tolerance

    def at_many(self, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
        """The same at every ε, shape (n,): a composition serves all that it closes."""
        low, high = np.full_like(epsilons, -math.inf), np.zeros_like(epsilons)
        left = np.arange(len(epsilons))
        while left.size:
            middle = left[left.size // 2]
            low[middle], high[middle] = self(float(epsilons[middle]), float(enough[middle]))
            left = left[left != middle]
            if self._kept is not None and left.size:
                lower, upper = self._kept.log_deltas(epsilons[left])
                closed = (upper <= lower + self._tolerance) | (upper <= enough[left])
                low[left[closed]], high[left[closed]] = lower[closed], upper[closed]
                left = left[~closed]
        return low, high

    def _plan(self, epsilon: float) -> Plan | None:
        """Once without knowing how small δ is at this ε, then with cells as far as that needs them."""
        accuracy = self._tolerance
        roughly = Goal(for_epsilon(epsilon), lambda tilt, at: epsilon, lambda tilt, at: math.inf)
        plan = planned(Placed(self._direction, Reach(_DEEPEST)), roughly)
        if plan is None:
            return None
        goal = replace(roughly, accuracy=lambda tilt, at: accuracy / (1.0 + tilt))
        return planned(Placed(self._direction, _reach(self._direction, plan.log_delta)), goal)


@at_many.register
def _(curve: Curve, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
    return curve.at_many(epsilons, enough)
