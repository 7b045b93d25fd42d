r"""Search for where a cost crosses its target: few probes, and both sides of the crossing probed. Private.

A bracket is two probed points, one that fails the target and one that meets it. The comparison of a probe's cost alone
decides; interpolation only proposes where to look next, so a cost that is not smooth, not monotone or infinite costs
probes and never soundness. After three proposals that did not halve the bracket its middle is taken: the search ends.

Proposals are made on log x against the *height* of a cost, for which compositions of Gaussians are almost straight
lines. With L = log 1/δ a Gaussian of separation μ costs about

.. math:: \epsilon = \mu^2/2 + \mu\sqrt{2L}, \qquad \mu \propto \sqrt{L + \epsilon} - \sqrt{L},

and μ is a power of the noise and of the number of releases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["Probe", "Target", "close_in", "enclose"]

_PATIENCE = 3  # proposals in a row that may fail to halve the bracket
_BEYOND = 0.02  # proposals go this much further than the estimate, so as to enclose the crossing
_STRIDE = math.log(4.0)  # of log x, where no estimate is at hand; grows with every probe
_LEAP = math.log(64.0)  # the furthest that an estimate outside a bracket is followed


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """A point that was evaluated: whether its cost meets the target, and its height above it (a guide only)."""

    x: float
    meets: bool
    height: float


@final
@dataclass(frozen=True, slots=True)
class Target:
    """The epsilon that a cost may have, at one delta."""

    epsilon: float
    delta: float

    def probe(self, x: float, cost: float) -> Probe:
        """A point and its cost; a cost that is infinite, or no number, fails."""
        return Probe(x, cost <= self.epsilon, self._height(cost) - self._height(self.epsilon))

    def _height(self, cost: float) -> float:
        """The log μ of a Gaussian of that cost, but for a constant."""
        if not 0.0 < cost < math.inf:
            return -math.inf if cost == 0.0 else math.inf
        budget = -math.log(self.delta)
        return math.log(cost) - math.log(math.sqrt(budget + cost) + math.sqrt(budget))


def enclose(probe: Callable[[float], Probe], start: float, low: float, high: float, *, power: float) -> list[Probe]:
    """Probes from ``start`` outward until the last two enclose a crossing, or an end of [low, high] was probed in vain.

    Args:
        probe: evaluates a point.
        start: in [low, high].
        low: the least point to probe, > 0.
        high: the largest.
        power: the power of μ that x would be of Gaussians: -1 of noise, 2 of a count. Its sign says whether the cost
            falls or rises with x.
    """
    seen = [probe(start)]
    upward = seen[0].meets == (power > 0.0)
    end = high if upward else low
    while seen[-1].meets == seen[0].meets and seen[-1].x != end:
        step = _step_outward(seen, upward, power)
        x = math.exp(math.log(seen[-1].x) + step)
        seen.append(probe(min(x, high) if upward else max(x, low)))
    return seen


def _step_outward(seen: Sequence[Probe], upward: bool, power: float) -> float:
    """How far to go in log x from the last probe: a little beyond the expected crossing, or a stride."""
    ahead = -power * seen[0].height if len(seen) == 1 else _crossing(seen) - math.log(seen[-1].x)
    distance = ahead if upward else -ahead
    followed = 0.0 < distance < math.inf
    step = (1.0 + _BEYOND) * min(distance, _LEAP) + _BEYOND if followed else _STRIDE * len(seen)
    return step if upward else -step


def close_in(
    probe: Callable[[float], Probe],
    fails: Probe,
    meets: Probe,
    seen: Sequence[Probe],
    between: Callable[[float, float, float], float | None],
) -> Probe:
    """What meets the target at the end of a search between a probe that fails it and one that meets it.

    Args:
        probe: evaluates a point.
        fails: an end of the bracket.
        meets: the other end.
        seen: probes to interpolate through, the two ends among them.
        between: from (low end, high end, proposal) to the point to probe, or None where the bracket is narrow enough.
    """
    probes, patience = list(seen), _PATIENCE
    while True:
        low, high, width = min(fails.x, meets.x), max(fails.x, meets.x), _width(fails, meets)
        middle = math.sqrt(low) * math.sqrt(high)
        x = between(low, high, _proposal(probes, low, high) if patience else middle)
        if x is None:
            return meets
        found = probe(x)
        probes.append(found)
        fails, meets = (fails, found) if found.meets else (found, meets)
        halved = _width(fails, meets) <= 0.5 * width
        patience = _PATIENCE if halved or not patience else patience - 1


def _width(one: Probe, other: Probe) -> float:
    """Of a bracket, in log x; neither overflows nor cancels."""
    low, high = min(one.x, other.x), max(one.x, other.x)
    return math.log(high) - math.log(low) if high > 2.0 * low else math.log1p((high - low) / low)


def _proposal(probes: Sequence[Probe], low: float, high: float) -> float:
    """The expected crossing, pushed a little away from the nearer end; the middle if none is expected inside."""
    left, right = math.log(low), math.log(high)
    guess = _crossing(probes)
    if not left <= guess <= right:
        return math.sqrt(low) * math.sqrt(high)
    nearer = left if guess - left < right - guess else right
    return math.exp(guess + _BEYOND * (guess - nearer))


def _crossing(probes: Sequence[Probe]) -> float:
    """Where log x is expected at height 0: inverse interpolation through the three probes nearest to it.

    NaN if fewer than two heights are finite and distinct.
    """
    finite = [probe for probe in probes if math.isfinite(probe.height)]
    best: list[Probe] = []
    for probe in sorted(finite, key=lambda probe: abs(probe.height)):
        if all(probe.height != other.height for other in best):
            best.append(probe)
    if len(best) < 2:
        return math.nan
    return math.fsum(_lagrange(one, best[:3]) * math.log(one.x) for one in best[:3])


def _lagrange(one: Probe, probes: Sequence[Probe]) -> float:
    """The weight of one probe in the polynomial of height through all, at height 0."""
    return math.prod(other.height / (other.height - one.height) for other in probes if other is not one)
