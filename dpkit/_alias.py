r"""Alias tables on integer words: exact draws of an index from log-quadratic weights, one word a draw.

The weights are real numbers :math:`U_0 = 1,\; U_{k+1} = U_k R_k,\; R_{k+1} = R_k Q`. A table holds integers
:math:`W_k \le T U_k / Z` with :math:`T = 2^{word\_bits - 1}` and one more entry for all that is missing,
:math:`T - \sum W_k`. A word chooses an entry with probability exactly its integer over T; when it is the last one
(about :math:`2^{-50}` of the words at 64 bits), the index is drawn from the exact remainder by lazy comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._exact import LazyUniform, exp_bounds
from dpkit.entropy import Source

__all__ = ["AliasTable", "Ladder", "build_table"]


@final
@dataclass(frozen=True, slots=True)
class Ladder:
    r"""The weights: :math:`R_0 = e^{-first}`, :math:`Q = e^{-step}`, for k < limit (None: for every k)."""

    first: Fraction
    step: Fraction
    limit: int | None = None

    def weights(self, bits: int, depth: int) -> tuple[list[int], int]:
        r"""Lower bounds u_k of 2**bits U_k while they reach 2**(bits - depth), and an upper bound of the rest's sum.

        All factors are rounded down. In units of 2**-bits: exp_bounds is off by at most 3, so R_k by at most 4k + 3
        (one more for each shift) and U_k by at most _error(k) = 4(k+1)**2, since no factor exceeds 1.
        """
        ratio, quotient = exp_bounds(self.first, bits)[0], exp_bounds(self.step, bits)[0]
        weight, floor, found = 1 << bits, 1 << (bits - depth), list[int]()
        while weight >= floor and len(found) != self.limit:
            found.append(weight)
            weight = weight * ratio >> bits
            ratio = ratio * quotient >> bits
        size = len(found)
        if size == self.limit:
            return found, 0
        # The ratios fall, so the rest is below a geometric series: U_n / (1 - R_n).
        above, gap = weight + _error(size), (1 << bits) - ratio - _error(size)
        return found, -(-(above << bits) // gap)

    def total(self, weights: list[int], rest: int) -> tuple[int, int]:
        """Bounds of the sum of all weights, in the units of `weights`."""
        low = sum(weights)
        return low, low + len(weights) * _error(len(weights)) + rest


def _error(k: int) -> int:
    """How far the k-th lower bound of :meth:`Ladder.weights` may be below the truth, in units of its last bit."""
    return 4 * (k + 1) ** 2


@final
@dataclass(frozen=True, slots=True, eq=False)
class AliasTable:
    """An alias table over the indices of a ladder; entry `size` stands for the exact remainder.

    Attributes:
        ladder: the real weights.
        word_bits: bits of a word; the top bit is not read and stays free for a sign.
        weights: the integers W_k, k < size.
        thresholds: uint64, shape (2**index_bits,); aliases: int64, the same shape.
    """

    ladder: Ladder
    word_bits: int
    weights: tuple[int, ...]
    thresholds: NDArray[np.uint64]
    aliases: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many indices have an entry of their own."""
        return len(self.weights)

    @property
    def residual(self) -> int:
        """The integer weight of the remainder's entry."""
        return (1 << (self.word_bits - 1)) - sum(self.weights)

    def lookup(self, words: NDArray[Any]) -> NDArray[np.int64]:
        """The entries chosen by `words`: indices, or `size` for the remainder. No work depends on what is chosen."""
        shift = self.word_bits - self.thresholds.size.bit_length()
        place = words >> words.dtype.type(shift)
        place &= words.dtype.type(self.thresholds.size - 1)
        low = words & words.dtype.type((1 << shift) - 1)
        place = place.astype(np.int64)
        chosen: NDArray[np.int64] = np.where(low < self.thresholds.take(place), place, self.aliases.take(place))
        return chosen

    def draw(self, words: NDArray[Any], source: Source) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Indices by the exact law, and the positions of those that came from the remainder."""
        index = self.lookup(words)
        rare = np.flatnonzero(index == self.size)
        for position in rare:
            index[position] = self.residual_index(source)
        return index, rare

    def residual_index(self, source: Source) -> int:
        """An index by the law that is proportional to T U_k / Z - W_k: inversion with a lazily refined uniform."""
        uniform = LazyUniform(source)
        while True:
            uniform.refine()
            index = self.locate(uniform.prefix, uniform.bits)
            if index is not None:
                return index

    def locate(self, prefix: int, bits: int) -> int | None:
        """The remainder's index for every uniform in [prefix, prefix + 1) / 2**bits, or None where they differ."""
        depth = bits + self.word_bits + 32
        weights, rest = self.ladder.weights(depth + 128, depth)
        low_total, high_total = self.ladder.total(weights, rest)
        low_mark, high_mark = prefix * self.residual, (prefix + 1) * self.residual
        sums = accumulate(weights)
        taken = accumulate((*self.weights, *(0,) * (len(weights) - self.size)))
        for k, (partial, integer) in enumerate(zip(sums, taken, strict=True)):
            upper = (partial + (k + 1) * _error(k) << self.word_bits - 1) - integer * low_total
            if low_mark * low_total < upper << bits:
                lower = (partial << self.word_bits - 1) - integer * high_total
                return k if high_mark * high_total <= lower << bits else None
        return None


def build_table(ladder: Ladder, word_bits: int) -> AliasTable:
    """The table of a ladder for words of `word_bits` bits; integers throughout."""
    lower, rest = ladder.weights(word_bits + 128, word_bits)
    _, high_total = ladder.total(lower, rest)
    weights = [(weight << word_bits - 1) // high_total for weight in lower]
    while weights[-1] == 0:
        weights.pop()
    capacity_bits = word_bits - 1 - len(weights).bit_length()
    residual = (1 << word_bits - 1) - sum(weights)
    padding = (1 << len(weights).bit_length()) - len(weights) - 1
    thresholds, aliases = _pair([*weights, residual, *(0,) * padding], 1 << capacity_bits)
    return AliasTable(ladder, word_bits, tuple(weights), thresholds, aliases)


def _pair(weights: list[int], capacity: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Vose's pairing in integers: every bucket holds its own entry up to a threshold and one other above it."""
    left, aliases = list(weights), list(range(len(weights)))
    small = [i for i, weight in enumerate(left) if weight < capacity]
    large = [i for i, weight in enumerate(left) if weight > capacity]
    thresholds = [min(weight, capacity) for weight in left]
    while small:
        taker, giver = small.pop(), large[-1]
        aliases[taker] = giver
        left[giver] -= capacity - left[taker]
        if left[giver] <= capacity:
            large.pop()
            thresholds[giver] = left[giver]
            if left[giver] < capacity:
                small.append(giver)
    return np.array(thresholds, dtype=np.uint64), np.array(aliases, dtype=np.int64)
