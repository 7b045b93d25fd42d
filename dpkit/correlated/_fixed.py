r"""Linear maps on integer rows, in integers: weights are multiples of 2**-31. Private to the package.

A row of noise is correlated with earlier rows by real factors. In floating point the result would depend on the order
of the sums, and its error on their size. Here a factor is w / 2**31 with an integer w, and products are split so that
nothing overflows: with :math:`x = 2^{31} h + l`, :math:`0 \le l < 2^{31}`, the product w x / 2**31 is
:math:`w h + w l / 2^{31}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_TERMS", "ONE", "combine", "nearest"]

Rows = NDArray[np.int64]

_BITS = 31
ONE = 1 << _BITS
"""The weight that stands for 1."""

MAX_TERMS = 1 << 11
"""The most rows of one combination: the sum of their lower parts stays below 2**63."""

_GUARD = 10  # bits of a lower product that are cut off
_CHUNK = 1 << 14  # numbers at a time: what stays in the cache


def nearest(factor: float) -> int:
    """The integer w for which w / 2**31 is nearest to a factor."""
    return round(Fraction(factor) * ONE)


def combine(weights: Sequence[int], rows: Sequence[Rows]) -> Rows:
    """The sum of weights[i] / 2**31 * rows[i], rounded to integers.

    Up to 2048 rows, each below 2**62 in size, with weights in [0, 2**31] whose products sum to less than 2**62. The
    result minus the exact sum lies in (-1/2 - k / 2**21, 1/2] for k rows: two such errors differ by less than
    1 + k / 2**21, which is at most 1 + 2**-10 (``test_two_errors_differ_by_little_more_than_one``).

    Args:
        weights: k >= 1 integers.
        rows: as many int64 vectors of one shape (d,).

    Returns:
        int64, shape (d,).
    """
    result = np.empty_like(rows[0])
    for start in range(0, result.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        high, low = np.zeros_like(result[part]), np.zeros_like(result[part])
        for weight, row in zip(weights, rows, strict=True):
            piece = row[part]
            high += weight * (piece >> _BITS)
            low += (weight * (piece & (ONE - 1))) >> _GUARD
        half = 1 << (_BITS - _GUARD - 1)
        result[part] = high + ((low + half) >> (_BITS - _GUARD))
    return result
