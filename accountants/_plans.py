r"""Where lattices are laid for a composition, and under what tilt: choices, none of which a bound relies on. Private.

* *the tilt* is the order t at which :math:`t \mapsto K(t) - t\epsilon` is least, near which the bound of δ is least;
* *the spacing* follows from the tolerance: both sides are off by about :math:`(1+t) T h^2 / 12` for T releases, so
  h = (3 · accuracy / ((1+t) T))^½ to begin with, then what the gap that was found asks for;
* *the offset* of each pair's lattice meets its heaviest atom, or what is one at this spacing, and where losses have
  a common spacing of their own, h divides it: then both sides are all but exact;
* *the reach*: losses so far from 0 and ε that cells for them cannot be afforded are lumped together.

Held by tests/accountants/test_plans.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import final

import numpy as np

from accountants._cells import Cells, Lattice, Reach, cells, ends, heaviest
from accountants._grid import Grid, optimistic, pessimistic
from accountants._invert import Bounds
from accountants._numerics import Floats
from accountants._transform import Cumulants, Total, compose, cumulants
from accountants.pairs import AtomPair, Noise, Pair

__all__ = ["Direction", "Goal", "Placed", "Plan", "Sides", "for_delta", "for_epsilon", "log_prefactor", "planned"]

Direction = tuple[tuple[Pair | AtomPair, int], ...]
"""(pair, times) rows."""

_Rows = list[tuple[Grid, int]]

_COARSE = 512  # cells of the widest pair, to begin with
_ROUNDS = 12  # of finding a spacing
_AFFORDED = 1 << 16  # cells of a lattice
_ALIGNED, _DIVIDED, _CHOICE = 64, 4, 257  # atoms of a pair, atoms in all, spacings that are looked at
_JUMP, _NEAR = 16.0, 0.06  # how much finer the next lattice may be; how near is near enough
_COARSER = 6  # times that a spacing which cannot be afforded is doubled
_LARGEST_RATE = 1e6  # tilt


@singledispatch
def _steps(pair: Pair | AtomPair) -> tuple[Floats, Floats]:
    """(how far the losses of its heaviest atoms are from the very heaviest, their masses); nothing for smooth laws."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@_steps.register
def _(pair: Pair) -> tuple[Floats, Floats]:
    if pair.noise is Noise.GAUSSIAN:
        return np.zeros(0), np.zeros(0)
    low, high = ends(pair, Reach(-1.0))
    return np.array([low - high if heaviest(pair, 1.0) == high else high - low]), np.ones(1)


@_steps.register
def _(pair: AtomPair) -> tuple[Floats, Floats]:
    log_p, loss = np.array(pair.log_p), np.array(pair.loss)
    order = np.argsort(-log_p, kind="stable")[:_ALIGNED]
    return (loss[order] - loss[order[0]])[1:], np.exp(log_p[order])[1:]


@final
@dataclass(frozen=True, slots=True)
class Sides:
    """A composition from above and from below."""

    upper: Total
    lower: Total | None

    def log_delta(self, epsilon: float) -> Bounds:
        """(lower, upper) of log δ."""
        low, high = self.log_deltas(np.array([epsilon]))
        return float(low[0]), float(high[0])

    def log_deltas(self, epsilons: Floats) -> tuple[Floats, Floats]:
        """The same at many ε."""
        high = self.upper.log_delta(epsilons)
        low = np.full_like(high, -math.inf) if self.lower is None else self.lower.log_delta(epsilons)
        return np.minimum(low, high), high


@final
class Placed:
    """One direction of a composition, to be put on lattices."""

    __slots__ = ("_reach", "_rows", "_steps", "_weights", "releases", "width")

    def __init__(self, direction: Direction, reach: Reach) -> None:
        self._rows, self._reach = direction, reach
        self.releases = sum(times for _, times in direction)
        found = [ends(pair, reach) for pair, _ in direction]
        self.width = max(max(high - low for low, high in found), 1e-12 * max(abs(high) for _, high in found), 1e-290)
        steps = [(*_steps(pair), times) for pair, times in direction]
        self._steps = np.concatenate([step for step, _, _ in steps])
        self._weights = np.concatenate([times * mass for _, mass, times in steps])

    def around(self, epsilon: float, spacing: float) -> Placed:
        """Without cells that are too far from 0 and ``epsilon`` to be afforded at a spacing."""
        margin = 0.5 * _AFFORDED * spacing
        if self.width < 2.0 * margin:
            return self
        low, high = min(0.0, epsilon) - margin, max(0.0, epsilon) + margin
        return Placed(self._rows, Reach(self._reach.log_rest, low, high))

    def aligned(self, spacing: float) -> float:
        """The spacing of about this size of which the atoms are nearest above a multiple."""
        if not np.any(self._steps):
            return spacing
        wide = np.abs(self._steps[np.argsort(-self._weights, kind="stable")[:_DIVIDED]])
        wide = wide[wide > 0.0]
        choice = np.concatenate([wide / np.ceil(wide / spacing), spacing * np.linspace(0.5, 1.0, _CHOICE)])
        places = self._steps / choice[:, None]
        above = places - np.floor(places + 1e-7)
        return float(choice[np.argmin((np.maximum(above, 0.0) @ self._weights) * choice)])

    def _cut(self, spacing: float) -> list[tuple[Cells, Lattice, int]] | None:
        found = []
        for pair, times in self._rows:
            lattice = Lattice(heaviest(pair, spacing), spacing)
            cut = cells(pair, lattice, self._reach)
            if cut is None:
                return None
            found.append((cut, lattice, times))
        return found

    def upper(self, spacing: float) -> _Rows | None:
        """Laws that are nowhere below the pairs."""
        cut = self._cut(spacing)
        return None if cut is None else [(pessimistic(cells, lattice), times) for cells, lattice, times in cut]

    def sides(self, spacing: float, tilt: float) -> Sides | None:
        """Both bounds at one spacing and tilt; None if that is too long."""
        cut = self._cut(spacing)
        if cut is None:
            return None
        upper = compose([(pessimistic(cells, lattice), times) for cells, lattice, times in cut], tilt, is_upper=True)
        if upper is None:
            return None
        rows = [(grid, times) for cells, lattice, times in cut if (grid := optimistic(cells, lattice)) is not None]
        return Sides(upper, compose(rows, tilt, is_upper=False) if len(rows) == len(cut) else None)


def _saddle(rows: _Rows, rate: Callable[[float, Cumulants], float]) -> float:
    """The tilt at which ``rate``, which rises, is 0; about."""
    from scipy.optimize import brentq

    seen: dict[float, float] = {}

    def at(log_tilt: float) -> float:
        if log_tilt not in seen:
            seen[log_tilt] = rate(math.exp(log_tilt), cumulants(rows, math.exp(log_tilt)))
        return seen[log_tilt]

    low = high = 1.0
    while at(low) > 0.0 and low > -20.0:
        low -= 2.0
    while at(high) <= 0.0 and high < math.log(_LARGEST_RATE):
        high += 1.0
    if not at(low) <= 0.0 < at(high):
        return math.exp(low if at(low) > 0.0 else high)
    return math.exp(float(brentq(at, low, high, xtol=0.02)))


def for_delta(log_delta: float) -> Callable[[float, Cumulants], float]:
    """Zero where Chernoff's bound of ε at this δ is least."""

    def rate(tilt: float, at: Cumulants) -> float:
        return tilt * at.mean - at.value + log_delta + math.log(tilt) + math.log1p(tilt) - 1.0 - tilt / (1.0 + tilt)

    return rate


def for_epsilon(epsilon: float) -> Callable[[float, Cumulants], float]:
    """Zero where the integrand of δ at this ε is least."""
    return lambda tilt, at: at.mean - epsilon - 1.0 / tilt - 1.0 / (1.0 + tilt)


def log_prefactor(tilt: float, at: Cumulants) -> float:
    """About log δ - K(t) + tε by the saddle-point approximation."""
    spread = math.sqrt(2.0 * math.pi * at.variance + 1.0 / tilt**2 + 1.0 / (1.0 + tilt) ** 2)
    return -math.log(tilt) - math.log1p(tilt) - math.log(spread)


@final
@dataclass(frozen=True, slots=True)
class Goal:
    """What a composition is wanted for.

    Args:
        rate: zero at the tilt; rises.
        epsilon: about the ε of interest, from the tilt and the cumulants there.
        accuracy: how far an ε may be off.
    """

    rate: Callable[[float, Cumulants], float]
    epsilon: Callable[[float, Cumulants], float]
    accuracy: Callable[[float, Cumulants], float]


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """A direction with the cells it needs, a spacing, a tilt, and about the ε and log δ that are met."""

    direction: Placed
    spacing: float
    tilt: float
    epsilon: float
    log_delta: float

    def finer(self, factor: float) -> Plan:
        """The same at a finer spacing."""
        direction = self.direction.around(self.epsilon, self.spacing * factor)
        return replace(self, direction=direction, spacing=direction.aligned(self.spacing * factor))

    def sides(self) -> tuple[Plan, Sides] | None:
        """Both bounds, at a coarser spacing where this one is too fine to be afforded."""
        plan = self
        for _ in range(_COARSER):
            sides = plan.direction.sides(plan.spacing, plan.tilt)
            if sides is not None:
                return plan, sides
            plan = plan.finer(2.0)
        return None


def planned(direction: Placed, goal: Goal) -> Plan | None:
    """By ever finer lattices, until the spacing is what the accuracy asks for."""
    spacing, found = direction.aligned(direction.width / _COARSE), None
    for _ in range(_ROUNDS):
        rows = direction.upper(spacing)
        if rows is None:
            break
        tilt = _saddle(rows, goal.rate)
        at = cumulants(rows, tilt)
        epsilon = goal.epsilon(tilt, at)
        log_delta = min(at.value - tilt * epsilon + log_prefactor(tilt, at), 0.0)
        found = Plan(direction, spacing, tilt, epsilon, log_delta)
        wish = math.sqrt(3.0 * goal.accuracy(tilt, at) / ((1.0 + tilt) * direction.releases))
        if wish >= _NEAR * spacing:
            return found.finer(wish / spacing) if wish < spacing else found
        spacing = max(wish, spacing / _JUMP)
        direction = direction.around(epsilon, spacing)
        spacing = direction.aligned(spacing)
    return found
