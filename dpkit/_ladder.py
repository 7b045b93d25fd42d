r"""Unnormalised laws on the integers: decreasing weights upwards from 0 and downwards from -1.

Each side gives its weights twice: as integers that are certainly not above the truth, to any number of bits, and as
float64 logarithms whose error is below :data:`MARGIN`, from which tables are built. What the float64 side loses is
never lost: the table's remainder is drawn from the integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from dpkit._exact import exp_bounds

__all__ = ["MARGIN", "Empty", "Ladder", "Law", "Side"]

MARGIN = 2.0**-35
"""No log-weight in a table's range (above -60) is off by half of this; the tests compare with mpmath."""


class Side(Protocol):
    """The weights of one side, U_0, U_1, ..., each at most 1 and their ratios falling."""

    def integers(self, bits: int, depth: int, /) -> tuple[list[int], int, int]:
        r"""Lower bounds u_k of 2**bits U_k.

        Args:
            bits: of the fixed point.
            depth: weights below 2**-depth may be left to the rest.

        Returns:
            (u, error, rest): :math:`u_k \le 2^{bits} U_k \le u_k + error`, and an upper bound of what the list leaves
            out.
        """

    def logs(self, depth: int, /) -> tuple[NDArray[np.float64], float]:
        """Logarithms of the weights above 2**-depth or so; an upper bound of the others' sum, 0 below 2**-1000."""


@final
@dataclass(frozen=True, slots=True)
class Empty:
    """A side without weights."""

    def integers(self, bits: int, depth: int) -> tuple[list[int], int, int]:
        """No weights."""
        del bits, depth
        return [], 0, 0

    def logs(self, depth: int) -> tuple[NDArray[np.float64], float]:
        """No weights."""
        del depth
        return np.empty(0), 0.0


@final
@dataclass(frozen=True, slots=True)
class Ladder:
    r"""Log-quadratic weights: :math:`U_k = e^{-start - k\,first - k(k-1)\,step/2}` for k < limit (None: every k)."""

    start: Fraction
    first: Fraction
    step: Fraction
    limit: int | None = None

    def integers(self, bits: int, depth: int) -> tuple[list[int], int, int]:
        r"""Lower bounds by U_{k+1} = U_k R_k and R_{k+1} = R_k Q, all factors rounded down.

        In units of 2**-bits: exp_bounds is off by at most 3, so R_k by at most 4k + 3 (one more for each shift) and U_k
        by at most _error(k) = 4(k+1)**2, since no factor exceeds 1.
        """
        weight = exp_bounds(self.start, bits)[0]
        ratio, quotient = exp_bounds(self.first, bits)[0], exp_bounds(self.step, bits)[0]
        floor, found = 1 << (bits - depth), list[int]()
        while weight >= floor and len(found) != self.limit:
            found.append(weight)
            weight = weight * ratio >> bits
            ratio = ratio * quotient >> bits
        size = len(found)
        if size == self.limit:
            return found, _error(size), 0
        # The ratios fall, so the rest is below a geometric series: U_n / (1 - R_n).
        above, gap = weight + _error(size), (1 << bits) - ratio - _error(size)
        return found, _error(size), -(-(above << bits) // gap)

    def logs(self, depth: int) -> tuple[NDArray[np.float64], float]:
        """Four roundings of 2**-53 of a number below 60 or so: within 2**-45."""
        start, first, step = float(self.start), float(self.first), float(self.step)
        room = depth * math.log(2.0) - start
        slope = first - 0.5 * step
        count = 0 if room < 0.0 else math.ceil(2.0 * room / (slope + math.sqrt(slope * slope + 2.0 * step * room))) + 1
        count = count if self.limit is None else min(count, self.limit)
        k = np.arange(count, dtype=np.float64)
        logs = -(start + k * first + 0.5 * k * (k - 1.0) * step)
        if count == self.limit:
            return logs, 0.0
        after = math.exp(-(start + count * first + 0.5 * count * (count - 1.0) * step))
        return logs, after / -math.expm1(-(first + count * step)) * (1.0 + MARGIN)


def _error(k: int) -> int:
    """How far the k-th lower bound of a ladder may be below the truth, in units of its last bit; grows with k."""
    return 4 * (k + 1) ** 2


@final
@dataclass(frozen=True, slots=True)
class Law:
    """Weights on the integers: `up` has those of 0, 1, 2, ..., `down` those of -1, -2, -3, ..."""

    up: Side
    down: Side

    def floats(self, depth: int) -> tuple[int, NDArray[np.float64], float]:
        """The least integer with a float64 weight, the weights from it upwards, and an upper bound of all weights."""
        with np.errstate(all="ignore"):
            up, beyond = self.up.logs(depth)
            down, below = self.down.logs(depth)
            weights = np.exp(np.concatenate([down[::-1], up]))
        return -down.size, weights, (math.fsum(weights) + beyond + below) * (1.0 + MARGIN)
