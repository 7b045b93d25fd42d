"""How many of the corrupt, or of the live, parties are among k neighbours: hypergeometric tails, bounded from above."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_NEIGHBOURS", "Law", "Tails"]

MOST_NEIGHBOURS = 2**15
"""The largest k that the rounding below is counted for."""

_SLACK = 2.0**-13
"""Added to each logarithm of a probability.

A logarithm is a sum of at most six prefix sums of m <= 2^15 terms, each of size at most 22 and within 2^-50·23. So a
prefix sum is off by at most m·(22·m)·2^-53 + m·23·2^-50 < 2^-18, six of them by less than 2^-15, and more than 2^-14 is
left for the additions of six numbers and of 2^15 exponentials.
"""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """How many of the marked parties are among k of n: H(n, marked, k) for every k."""

    n: int
    factorials: NDArray[np.float64]
    marked: NDArray[np.float64]
    others: NDArray[np.float64]
    everybody: NDArray[np.float64]

    def pmf(self, k: int) -> NDArray[np.float64]:
        """Probabilities of 0 to k, rounded up."""
        choose = self.factorials[k] - self.factorials[: k + 1] - self.factorials[k::-1]
        logs: NDArray[np.float64] = choose + self.marked[: k + 1] + self.others[k::-1] - self.everybody[k] + _SLACK
        with np.errstate(under="ignore"):
            return np.exp(logs, out=logs)

    def tail(self, k: int, bits: int, *, lower: bool = False) -> int:
        """How many of the largest (smallest) values have probability at most 2^bits / n together, at most k."""
        pmf = self.pmf(k) if lower else self.pmf(k)[::-1]
        return min(k, int(np.searchsorted(np.cumsum(pmf), 2.0**bits / self.n, side="right")))


@final
class Tails:
    """Hypergeometric laws over n parties, as logarithms; both tails are bounded from above."""

    __slots__ = ("_factorials", "_size", "n")

    def __init__(self, n: int) -> None:
        self.n = n
        self._size = min(n - 1, MOST_NEIGHBOURS)
        self._factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1.0, self._size + 1)))))

    def falling(self, marked: int) -> NDArray[np.float64]:
        """Logarithms of marked·(marked - 1)···(marked - x + 1) / n^x, by x."""
        factors = np.maximum(marked - np.arange(self._size, dtype=np.float64), 0.0) / self.n
        with np.errstate(divide="ignore"):
            return np.concatenate(([0.0], np.cumsum(np.log(factors))))

    def cut(self, degrees: NDArray[np.int64], lost: int) -> NDArray[np.float64]:
        """Logarithms of bounds, by degree: two runs of half the degree are among `lost` parties in random places."""
        runs: NDArray[np.float64] = self.falling(lost)[degrees] - self.falling(self.n)[degrees]
        return runs + np.log((self.n - degrees - 1) / 2.0) + (math.log(self.n) + _SLACK)

    def law(self, marked: int) -> Law:
        """How many of `marked` parties are among k."""
        return Law(self.n, self._factorials, self.falling(marked), self.falling(self.n - marked), self.falling(self.n))
