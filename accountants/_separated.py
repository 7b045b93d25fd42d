r"""The largest sum of a symmetric matrix of weights over the pairs of a pattern of separated steps. Private.

A is symmetric with entries >= 0, and a pattern is a set of at most ``count`` steps any two of which differ by ``gap``
or more. Wanted is the largest of :math:`\sum_{s,t} A_{st}` over patterns, or a bound:

*sum of weights*: if A is diagonal for all pairs that a pattern may hold, a sum over single steps.

*chain*: if only neighbours in a pattern interact, or there are two steps at most, a dynamic programme over the last
step. Exact.

*rows*: else each row s is given the pattern through s that is worst for it alone,
:math:`w_s = A_{ss} + \max \sum_t A_{st}`, and the sum of weights bounds the whole. This is Algorithm 4 of
Choquette-Choo et al. 2023 (arXiv 2306.08153), made sharper by what a row knows: it is in its own pattern, and there are
j steps before it if it is the step j of the outer one. The bound is attained if the pattern that it finds has that
value.

A count that does not bind (as many steps as fit) needs no layers: ``is_limited`` says whether it binds. Values are sums
of non-negative floats, at most 3 count of them on any path to the result, each rounded to nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from accountants._numerics import EPS, Floats

__all__ = ["Steps", "chained", "largest_square", "summed"]


@final
@dataclass(frozen=True, slots=True)
class Steps:
    """Which patterns there are: ``count`` steps at most, ``gap`` apart at least."""

    gap: int
    count: int
    is_limited: bool

    @property
    def layers(self) -> int:
        """How many counts must be told apart."""
        return self.count if self.is_limited else 1


def largest_square(A: Floats, steps: Steps, reach: int) -> tuple[float, bool]:
    """The largest sum over pairs, or a bound of it, and whether a pattern attains it.

    Args:
        A: weights, shape (n, n), symmetric and >= 0.
        steps: which patterns there are.
        reach: A is 0 where the indices differ by ``reach`` or more.

    Returns:
        (value, whether it is attained to rounding).
    """
    if steps.count <= 2 or reach <= 2 * steps.gap:
        return chained(A, steps), True
    before = _before(A, steps)
    after = _before(A[::-1, ::-1], steps)[::-1, ::-1]
    value, pattern = summed(np.diagonal(A) + before + after, steps)
    attained = float(A[np.ix_(pattern, pattern)].sum())
    return value, attained * (1.0 + 4.0 * steps.count * EPS) >= value


def summed(weights: Floats, steps: Steps) -> tuple[float, list[int]]:
    """The largest sum of single weights >= 0 over patterns, and a pattern that has it.

    Args:
        weights: shape (n,), or (layers, n): the weight of a step that has so many steps of the pattern before it.
        steps: which patterns there are.
    """
    size = weights.shape[-1]
    layered = np.broadcast_to(weights, (steps.count, size))
    best = np.zeros((steps.count + 1, size + steps.gap))  # [j, t + gap]: at most j steps, none after t
    for j in range(1, steps.count + 1):
        taken = best[j - 1, :size] + layered[j - 1]
        np.maximum.accumulate(np.maximum(taken, best[j - 1, steps.gap :]), out=best[j, steps.gap :])
    return float(best[-1, -1]), _trace(best, steps.gap)


def _trace(best: Floats, gap: int) -> list[int]:
    """The steps behind the last entry of the table of :func:`summed`, in order."""
    pattern: list[int] = []
    j, place = len(best) - 1, best.shape[1] - 1
    while j > 0 and place >= gap:
        if best[j, place] == best[j, place - 1]:
            place -= 1
        elif best[j, place] == best[j - 1, place]:
            j -= 1
        else:
            pattern.append(place - gap)
            j, place = j - 1, place - gap
    return pattern[::-1]


def chained(A: Floats, steps: Steps) -> float:
    """The largest sum over the diagonal and twice the pairs of steps that are neighbours in the pattern."""
    size, layers = len(A), steps.layers
    best = np.zeros((layers, size))  # [j, t]: the last step is t, and there are at most j before it
    for t in range(size):
        best[:, t] = A[t, t]
        if t >= steps.gap:
            last = t - steps.gap + 1
            ahead = best[: layers - 1, :last] if steps.is_limited else best[:, :last]
            best[layers - len(ahead) :, t] += (ahead + 2.0 * A[t, :last]).max(axis=1, initial=0.0)
    return float(best.max())


def _before(A: Floats, steps: Steps) -> Floats:
    """[j, s]: the largest sum of A[s, t] over patterns of at most j steps t <= s - gap; one layer if no count binds."""
    size, gap, layers = len(A), steps.gap, steps.layers
    result = np.zeros((layers, size))
    past = np.zeros((gap, layers, size))  # the last gap tables: [t mod gap, j, s] for steps up to t
    latest = np.zeros((layers, size))
    for t in range(size - gap):
        rows = slice(t + gap, size)
        older, weights = past[t % gap, :, rows], A[t, rows]
        if steps.is_limited:
            np.maximum(latest[1:, rows], older[:-1] + weights, out=latest[1:, rows])
        else:
            np.maximum(latest[:, rows], older + weights, out=latest[:, rows])
        past[t % gap, :, rows] = latest[:, rows]
        result[:, t + gap] = latest[:, t + gap]
    return result
