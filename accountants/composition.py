"""What was recorded, by direction: the pairs of every event, their engines, the slack. Serves the tight accountant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from accountants._many import at_many
from accountants._numerics import Floats
from accountants.accountant import Account, folded
from accountants.engines import Direction, LogDelta, engines_of
from accountants.errors import UnsupportedEventError
from accountants.events import Event
from accountants.pairs import dominating_pairs
from accountants.relation import Relation
from accountants.slack import Slack

__all__ = [
    "AT_LEAST_ZERO",
    "NOTHING_LEFT",
    "NO_ENGINE",
    "NO_RELEASE",
    "Certificate",
    "Composition",
    "compose",
    "epsilon_of",
    "log_delta_of",
    "log_deltas_of",
    "smoothed",
]

#: Names of what stands behind an end where no engine does.
NO_RELEASE = "no release"
NO_ENGINE = "no engine"
AT_LEAST_ZERO = "epsilon is never negative"
NOTHING_LEFT = "failures and distances leave nothing of delta"


@final
@dataclass(frozen=True, slots=True)
class Certificate:
    """What was shown about an epsilon, and by what.

    Args:
        lower: epsilon is at least this.
        upper: epsilon is at most this.
        upper_from: the engine behind the upper end.
        lower_from: the engine, or the witness, behind the lower end.

    Example:
        >>> from accountants import Gaussian, PLDAccountant
        >>> PLDAccountant().certify(Gaussian(2.0), delta=1e-5, relation="add_remove").upper_from
        'closed form'
    """

    lower: float
    upper: float
    upper_from: str
    lower_from: str


@final
@dataclass(frozen=True, slots=True)
class Composition:
    """What was recorded: its directions, whether every event has a pair and so stands in them, and its slack."""

    directions: tuple[Direction, ...]
    is_complete: bool
    slack: Slack


def compose(
    what: Account | Event, relation: Relation | str | None, *, smooth: bool = False
) -> tuple[Composition, Relation]:
    """The directions, each in one order whatever the order of recording."""
    content, held = folded(what, relation, smooth=smooth)
    found, is_complete = [], True
    # long pairs print alike: their numbers then tell them apart
    for event, times in sorted(content.parts, key=lambda part: (repr(part[0]), hash(part[0]))):
        try:
            found.append((dominating_pairs(event, held), times))
        except UnsupportedEventError:
            is_complete = False
    sides = max((len(pairs) for pairs, _ in found), default=0)
    directions = (tuple((pairs[min(side, len(pairs) - 1)], times) for pairs, times in found) for side in range(sides))
    return Composition(tuple(directions), is_complete, content.slack), held


def smoothed(what: Account | Event, relation: Relation, plain: Composition) -> Composition:
    """The same with lattice Gaussians smoothed, if every event then has a pair and ``plain`` is not the same."""
    composition, _ = compose(what, relation, smooth=True)
    if not composition.is_complete or composition == plain:
        raise UnsupportedEventError(
            "what must hold lattice Gaussians, and else only events with pairs, to be smoothed."
        )
    return composition


def epsilon_of(composition: Composition, log_delta: float, tolerance: float) -> Certificate:
    """The larger of the directions' epsilons, without slack."""
    shown = Certificate(0.0, 0.0, NO_RELEASE, AT_LEAST_ZERO)
    for direction in composition.directions:
        own = _epsilon_of_one(direction, log_delta, tolerance, shown.upper)
        shown = Certificate(
            max(own.lower, shown.lower),
            max(own.upper, shown.upper),
            own.upper_from if own.upper >= shown.upper else shown.upper_from,
            own.lower_from if own.lower > shown.lower else shown.lower_from,
        )
    return shown


def _epsilon_of_one(direction: Direction, log_delta: float, tolerance: float, enough: float) -> Certificate:
    """One direction's, by one engine after the other until the ends close or the upper one is low enough."""
    found = Certificate(0.0, math.inf, NO_ENGINE, AT_LEAST_ZERO)
    for engine in engines_of(direction):
        low, high = engine.epsilon_bounds(direction, log_delta, tolerance, enough)
        found = Certificate(
            max(low, found.lower),
            min(high, found.upper),
            engine.name if high < found.upper else found.upper_from,
            engine.name if low > found.lower else found.lower_from,
        )
        if found.upper <= enough or found.upper - found.lower <= tolerance * found.upper < math.inf:
            break
    return found


def log_delta_of(
    composition: Composition, tolerance: float, enough: float = -math.inf
) -> Callable[[float], tuple[float, float]]:
    """The larger of the directions' log δ, without slack, from both sides, as a function of ε.

    An upper end of at most ``enough`` is not improved.
    """
    curves = _curves(composition, tolerance)

    def at(epsilon: float) -> tuple[float, float]:
        low, high = -math.inf, -math.inf
        for curve in curves:
            bounds = curve(epsilon, max(high, enough))
            low, high = max(low, bounds[0]), max(high, bounds[1])
        return low, high

    return at


def log_deltas_of(composition: Composition, tolerance: float) -> Callable[[Floats], tuple[Floats, Floats]]:
    """The same as a function of many ε, shape (n,), which share work."""
    curves = _curves(composition, tolerance)

    def at(epsilons: Floats) -> tuple[Floats, Floats]:
        low, high = np.full_like(epsilons, -math.inf), np.full_like(epsilons, -math.inf)
        for curve in curves:
            lower, upper = at_many(curve, epsilons, high)
            low, high = np.maximum(low, lower), np.maximum(high, upper)
        return low, high

    return at


def _curves(composition: Composition, tolerance: float) -> list[_Chain]:
    return [_Chain(direction, tolerance) for direction in composition.directions]


@final
class _Chain:
    """A direction's curve, by one engine after the other until the ends close; nothing is known where none answers."""

    __slots__ = ("_curves", "_direction", "_tolerance")

    def __init__(self, direction: Direction, tolerance: float) -> None:
        self._direction, self._tolerance = direction, tolerance
        self._curves: list[LogDelta] = []

    def _each(self) -> Iterator[LogDelta]:
        for place, engine in enumerate(engines_of(self._direction)):
            if place == len(self._curves):
                self._curves.append(engine.curve(self._direction, self._tolerance))
            yield self._curves[place]

    def __call__(self, epsilon: float, enough: float) -> tuple[float, float]:
        """(lower, upper) of log δ at one ε."""
        low, high = -math.inf, 0.0
        for curve in self._each():
            lower, upper = curve(epsilon, enough)
            low, high = max(low, lower), min(high, upper)
            if high <= enough or high <= low + self._tolerance:
                break
        return min(low, high), high

    def at_many(self, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
        """The same at many ε."""
        low, high = np.full_like(epsilons, -math.inf), np.zeros_like(epsilons)
        for curve in self._each():
            left = np.flatnonzero((high > enough) & (high > low + self._tolerance))
            if not left.size:
                break
            lower, upper = at_many(curve, epsilons[left], enough[left])
            low[left], high[left] = np.maximum(low[left], lower), np.minimum(high[left], upper)
        return np.minimum(low, high), high


@at_many.register
def _(curve: _Chain, epsilons: Floats, enough: Floats) -> tuple[Floats, Floats]:
    return curve.at_many(epsilons, enough)
