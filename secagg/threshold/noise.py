r"""Discrete Gaussian noise of stddev 6.4, cut at 12 stddevs, from a key: the same integers on every machine.

The ideal law gives the integer x a weight proportional to :math:`\exp(-x^2/(2 \sigma^2))`, with σ² = 40.96 = 1024/25,
so :math:`\exp(-25 x^2/2048)`. What is drawn is fixed to the bit:

- The support is \|x\| <= 76, the integers within 12σ = 76.8. Let P be the ideal law restricted to it.
- For x = -76, …, -1 the threshold T(x) is the integer next to 2^128·P[X <= x]; for x = 0, …, 75 it is
  2^128 - T(-x - 1), so that the law drawn is exactly symmetric.
- A draw is -76 plus the number of thresholds that are at most a uniform U in [0, 2^128).
- Draw i takes its U from words 2j and 2j + 1, the first the upper half, of chunk ``c = i // 2**15``, with
  ``j = i % 2**15``, of the key's stream of 8-byte words with vector `index` (:mod:`secagg.masking.masks`).

The thresholds come from integers of 512 bits and the series of exp; no float of any machine takes part.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_integer
from secagg.masking.masks import CHUNK, Keystream

__all__ = ["BOUND", "KEY_BYTES", "STDDEV", "gaussian", "tail"]

STDDEV = 6.4
"""Standard deviation of the ideal law."""

BOUND = 76
"""No draw is larger in absolute value."""

KEY_BYTES = 32
"""Length of a key."""

_HALF_INVERSE_VARIANCE = Fraction(25, 2048)
_PRECISION = 128
_WORKING = 512
_CELL = 16
_DRAWS = CHUNK // 2


def gaussian(key: bytes, *, index: int, count: int) -> NDArray[np.int64]:
    """Discrete Gaussian integers of stddev 6.4.

    Guarantee:
        With a uniform key (AES ideal) the draws are independent, and each is within 2^-107 of the ideal, uncut law in
        statistical distance; no value is likelier than there by more than a factor 1 + 2^-20. Held by
        ``test_law_is_the_gaussian_to_the_last_bit`` and ``test_draws_are_those_of_the_thresholds``.

    Args:
        key: `KEY_BYTES` secret, uniform bytes, for noise only.
        index: which stream of the key, in ``[0, 2**32)``. The same key and index give the same noise: two messages
            under it would show their difference.
        count: how many, at most ``2**47``; the first draws of a longer call are those of a shorter one.

    Returns:
        int64 in ``[-BOUND, BOUND]``, shape ``(count,)``.

    Raises:
        ParameterError: an argument is out of its domain.

    Example:
        >>> gaussian(bytes(32), index=0, count=8).tolist()
        [1, 4, -1, -1, 0, -6, -5, -6]

    References:
        Devroye 1986, "Non-uniform random variate generation", chapter III.2 (inversion).
    """
    size = check_integer("count", count, at_least=0, at_most=1 << 47)
    stream = Keystream(key, np.dtype(np.uint64), index)
    table = _table()
    out = np.empty(size, dtype=np.int64)
    for start in range(0, size, _DRAWS):
        part = out[start : start + _DRAWS]
        words = stream.words(start // _DRAWS, 0, 2 * part.size)
        part[:] = table.draw(words[::2], words[1::2])
    return out


def tail(parties: int, limit: int) -> float:
    r"""An upper bound of P[\|sum of `parties` draws\| > limit], rounded up.

    By Poisson summation a Gaussian sum over the integers is largest where it is centred at one, so the ideal law's
    moment generating function is at most :math:`\exp(\lambda^2 \sigma^2/2)`; that of the law drawn is at most 1 + 2^-20
    times as large. Chernoff's bound for both sides is then
    :math:`2 (1 + 2^{-20})^n \exp(-(\text{limit} + 1)^2 / (2 n \sigma^2))`.

    Guarantee:
        Never below the exact probability, and zero exactly where the sum cannot be so large. Held by
        ``test_tail_bounds_the_exact_convolution``.

    Args:
        parties: how many draws are summed, in ``[1, 2**20]``.
        limit: >= 0.

    Returns:
        A probability; 0.0 if and only if ``limit >= parties * BOUND``.

    Raises:
        ParameterError: an argument is out of its domain.

    Example:
        >>> tail(128, 8128) < 2.0**-1000, tail(100, 7600)
        (True, 0.0)
    """
    n = check_integer("parties", parties, at_least=1, at_most=1 << 20)
    beyond = check_integer("limit", limit, at_least=0) + 1
    if beyond > n * BOUND:
        return 0.0
    # from 700 on the bound is not let fall: exp would leave the normal floats, whose relative error is known
    exponent = min(Fraction(700), _HALF_INVERSE_VARIANCE * beyond * beyond / n - Fraction(n, 1 << 20))
    bound = 2.0 * math.exp(-float(exponent))
    return min(1.0, bound * (1.0 + 2.0**-40))  # rounding 700 costs a factor 1 + 2^-43, exp and products less


@final
class _Table:
    """The thresholds, cut for numpy: upper words, and for each cell of first bits how many thresholds lie below.

    Args:
        thresholds: ascending integers below ``2**128``.
    """

    __slots__ = ("_below", "_thresholds", "_upper")

    def __init__(self, thresholds: list[int]) -> None:
        self._thresholds = thresholds
        self._upper = np.array([t >> 64 for t in thresholds], dtype=np.uint64)
        cells = (self._upper >> np.uint64(64 - _CELL)).astype(np.int64)
        self._below = np.searchsorted(cells, np.arange(1 << _CELL)).astype(np.int64)
        self._below[cells] = -1  # a threshold within: the cell alone does not tell

    def draw(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The draws of uniform 128-bit numbers, given as upper and lower words."""
        counts: NDArray[np.int64] = self._below[(first >> np.uint64(64 - _CELL)).astype(np.int64)]
        (open_,) = np.nonzero(counts < 0)
        upper = first[open_]
        counts[open_] = np.searchsorted(self._upper, upper, side="left")
        tied = np.searchsorted(self._upper, upper, side="right") != counts[open_]
        for place in open_[tied].tolist():  # the upper word is that of a threshold: the lower ones decide
            number = int(first[place]) << 64 | int(second[place])
            counts[place] = bisect_right(self._thresholds, number)
        return counts - BOUND


@cache
def _table() -> _Table:
    return _Table(_thresholds())


def _thresholds() -> list[int]:
    """T(-76), …, T(75), as the module says.

    The weights are within 2^-490 of the ideal ones, so a threshold would be another integer only if 2^128·P[X <= x]
    were within 2^-350 of a half; a test shows that none is within 2^-20.
    """
    weights = _weights()
    total = weights[0] + 2 * sum(weights[1:])
    below, left = 0, []
    for weight in weights[:0:-1]:
        below += weight
        left.append(((below << (_PRECISION + 1)) + total) // (2 * total))
    return left + [(1 << _PRECISION) - t for t in reversed(left)]


def _weights() -> list[int]:
    """2^512·exp(-25 x²/2048) for x = 0, …, BOUND: each from the last, times exp(-25/2048)^(2x + 1)."""
    ratio = _exp_of_minus(_HALF_INVERSE_VARIANCE)
    square = ratio * ratio >> _WORKING
    weights, step = [1 << _WORKING], ratio
    for _ in range(BOUND):
        weights.append(weights[-1] * step >> _WORKING)
        step = step * square >> _WORKING
    return weights


def _exp_of_minus(x: Fraction) -> int:
    """2^512·exp(-x) for a small x > 0, from the series."""
    term, total, k = 1 << _WORKING, 0, 0
    while term:
        total += -term if k % 2 else term
        k += 1
        term = term * x.numerator // (x.denominator * k)
    return total
