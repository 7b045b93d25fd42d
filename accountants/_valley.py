r"""Search for the least cost over ε, where a cost is made of a curve of deltas that is dear to compute. Private.

A cost with one valley, as a function of e^ε, is seen on a coarse grid, the same for every cost, then by scipy's search
between the grid's points beside the best. Where δ consists of straight lines in e^ε the valley is a corner, to which
the search creeps: the lines through the two points on either side of the best are made to meet. Every value seen is one
of the cost, so a cost with several valleys costs tightness and never soundness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

__all__ = ["GRID", "Valley"]

GRID = (0.0, *(4.0**k for k in range(-12, -3)), *(2.0**k for k in range(-6, 9)), 700.0)  # e^ε is finite
_LINES = 3  # times that lines are made to meet


@final
class Valley:
    """The least cost seen so far, and where it was looked for.

    Args:
        cost: from ε.
        floor: a lower bound of the cost that rises with ε and asks for no δ: where it is no better than the best, the
            cost is not computed on the grid.

    Example:
        >>> valley = Valley(lambda epsilon: abs(epsilon - 0.3), lambda epsilon: epsilon - 0.3)
        >>> valley.close_in(lambda epsilon: max(0.3 - epsilon, 0.0))
        >>> valley.least < 1e-12
        True
    """

    __slots__ = ("_cost", "_floor", "_seen", "least")

    def __init__(self, cost: Callable[[float], float], floor: Callable[[float], float]) -> None:
        self._cost, self._floor = cost, floor
        self._seen: dict[float, float] = {}
        self.least = math.inf
        for epsilon in GRID:
            if self._floor(epsilon) < self.least:
                self._at(epsilon)
            else:
                self._seen[epsilon] = math.inf

    def _at(self, epsilon: float) -> float:
        """The cost; a search that is shown anything else is led astray."""
        value = self._seen[epsilon] = self._cost(epsilon)
        self.least = min(self.least, value)
        return value

    def close_in(self, delta: Callable[[float], float]) -> None:
        """Search between the grid's points beside the best one.

        Args:
            delta: the curve that the cost is made of, whose straight lines make the corners.
        """
        from scipy.optimize import minimize_scalar

        k = GRID.index(self._best())
        low, high = GRID[max(k - 1, 0)], GRID[min(k + 1, len(GRID) - 1)]
        minimize_scalar(
            lambda epsilon: self._at(float(epsilon)),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-8 * high},
        )
        for _ in range(_LINES):
            meeting = self._meeting(delta)
            if meeting is None or meeting in self._seen:
                break
            self._at(meeting)

    def _best(self) -> float:
        return min(self._seen, key=self._seen.__getitem__)

    def _meeting(self, delta: Callable[[float], float]) -> float | None:
        """Where the lines through the two points on either side of the best one meet; None if nowhere between."""
        epsilons, best = sorted(self._seen), self._best()
        k = epsilons.index(best)
        if not 2 <= k <= len(epsilons) - 3:
            return None
        # in e^ε - e^best, over e^best, which keeps the digits of neighbours
        beside = [epsilons[j] for j in (k - 2, k - 1, k + 1, k + 2)]
        x1, x2, x3, x4 = (math.expm1(epsilon - best) for epsilon in beside)
        if not x1 < x2 < x3 < x4:
            return None
        y1, y2, y3, y4 = map(delta, beside)
        left, right = (y2 - y1) / (x2 - x1), (y4 - y3) / (x4 - x3)
        if not left < right:
            return None
        x = (y2 - y3 - left * x2 + right * x3) / (right - left)
        return best + math.log1p(x) if x2 < x < x3 else None
