r"""The convex function that lies below a bound of log-moments. Private.

The logarithm K of a moment is convex in the order, with K = 0 at order 1. So where a bound of it is not convex, its
chords bound K as well. Those that bridge a hump are found on a grid of orders, and their ends more closely around it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from accountants._numerics import round_up

__all__ = ["convex_envelope"]

_FIRST = tuple(float(t) for t in np.geomspace(1e-4, 1e6, 81))  # orders less 1
_CLEARLY = 1.0 + 1e-9
_ROUNDS, _PARTS = 3, 12  # of refinement, and of each interval in one

Point = tuple[float, float]


def convex_envelope(bound: Callable[[float], float]) -> Callable[[float], float]:
    """From t to an upper bound of K(1 + t): the one given, or a chord of it where one is found that bridges a hump.

    Args:
        bound: t > 0 -> a number >= 0 or +inf, nowhere below K(1 + t).
    """
    values: dict[float, float] = {0.0: 0.0}
    bridges: list[tuple[Point, Point]] = []

    def add(points: tuple[float, ...]) -> None:
        values.update((t, value) for t in points if (value := bound(t)) < math.inf)

    def at(t: float) -> float:
        if len(values) == 1:
            add(_FIRST)
            for _ in range(_ROUNDS):
                add(_between(values, _bridges(values)))
            bridges.extend(_bridges(values))
        k = bisect_right([start[0] for start, _ in bridges], t) - 1
        own = bound(t)
        return min(own, _chord(*bridges[k], t)) if k >= 0 and t < bridges[k][1][0] else own

    return at


def _chord(start: Point, end: Point, t: float) -> float:
    share = (t - start[0]) / (end[0] - start[0])
    return round_up((1.0 - share) * start[1] + share * end[1], 8)


def _bridges(values: dict[float, float]) -> list[tuple[Point, Point]]:
    """The edges of the lower hull that pass below a point."""
    points = sorted(values.items())
    place = {t: k for k, (t, _) in enumerate(points)}
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(start, end) for start, end in pairwise(hull) if place[end[0]] > place[start[0]] + 1]


def _turns_down(first: Point, middle: Point, last: Point) -> bool:
    """Whether the middle point is above the chord of the others, by more than rounding."""
    rise, run = middle[1] - first[1], middle[0] - first[0]
    return rise * (last[0] - first[0]) > (last[1] - first[1]) * run * _CLEARLY


def _between(values: dict[float, float], bridges: list[tuple[Point, Point]]) -> tuple[float, ...]:
    """Points around the ends of each bridge, up to their neighbours: where it touches is found more closely."""
    known = sorted(values)
    found: list[float] = []
    for t in {end for bridge in bridges for end, _ in bridge if end > 0.0}:
        k = known.index(t)
        for low, high in zip(known[max(k - 1, 0) : k + 1], known[k : k + 2], strict=False):
            found.extend(float(x) for x in np.linspace(low, high, _PARTS + 1)[1:-1])
    return tuple(found)
