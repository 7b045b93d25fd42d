r"""Alias tables on integer words: exact draws of an integer, one word a draw, the same work whatever is drawn.

A law has real weights :math:`U_v` with sum Z. A table holds integers :math:`W_v \le T U_v / Z`, T a power of two, and
one more entry for all that is missing, :math:`T - \sum W_v`. The top bits of a word choose a bucket, the middle ones
are compared with its threshold: an entry is chosen with probability exactly its integer over T. When it is the last
one (about :math:`2^{-32}` of the words at 64 bits), the integer is drawn from the exact remainder by lazy comparison.
The low `spare_bits` of a word take no part and are uniform and independent of what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpkit._exact import LazyUniform
from dpkit._ladder import MARGIN, Law
from dpkit.entropy import Source, read_words
from dpkit.errors import ParameterError

__all__ = ["SPARE_BITS", "AliasTable", "build_table"]

SPARE_BITS = 18
"""Of a 64-bit word; as many as an entry needs to hold the number of its alias, so tables have up to 2**18 buckets."""

_NONE = np.empty(0, dtype=np.intp)
_RARE = 43  # probabilities below 2**-43 are left to the remainder


@final
@dataclass(frozen=True, slots=True, eq=False)
class AliasTable:
    """An alias table over consecutive integers; the entry after the last one stands for the exact remainder.

    Attributes:
        law: the real weights.
        word_bits: bits of a word.
        spare_bits: low bits of a word that are left to the caller.
        first: the least integer with an entry.
        weights: int64, W_v for v = first, first + 1, ...
        entries: uint64, shape (2**index_bits,): bucket, threshold and alias as one number, see :func:`_pack`.
    """

    law: Law
    word_bits: int
    spare_bits: int
    first: int
    weights: NDArray[np.int64]
    entries: NDArray[np.uint64]

    @property
    def size(self) -> int:
        """How many integers have an entry of their own."""
        return int(self.weights.size)

    @property
    def last(self) -> int:
        """The greatest integer with an entry."""
        return self.first + self.size - 1

    @property
    def total(self) -> int:
        """T, the sum of all integers of the table."""
        return 1 << (self.word_bits - self.spare_bits)

    @property
    def residual(self) -> int:
        """The integer weight of the remainder's entry."""
        return self.total - int(self.weights.sum())

    def lookup(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The entries chosen by `words`: 0 for `first` and so on, `size` for the remainder.

        A word and the entry of its bucket differ by less than 2**63, so the sign of their difference is the comparison;
        it selects by bit operations because a branch would be mispredicted every second time.
        """
        spare = np.uint64((1 << self.spare_bits) - 1)
        bucket = words >> np.uint64(self.word_bits + 1 - self.entries.size.bit_length())
        chosen = self.entries.take(bucket.view(np.int64), mode="clip")
        own = ((words | spare) - chosen).view(np.int64)
        own >>= 63  # -1 where the word is below the entry's threshold: the bucket keeps its own
        chosen &= spare
        bucket ^= chosen
        bucket &= own.view(np.uint64)
        chosen ^= bucket
        return chosen.view(np.int64)

    def values(self, count: int, source: Source) -> NDArray[np.int64]:
        """Integers by the exact law, shape (count,)."""
        return self.draw(self.read(count, source), source)[0]

    def read(self, count: int, source: Source) -> NDArray[np.uint64]:
        """Uniform words for :meth:`draw`, shape (count,)."""
        return read_words(source, count, self.word_bits).astype(np.uint64, copy=False)

    def marks(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The spare bits of each word."""
        return (words & np.uint64((1 << self.spare_bits) - 1)).view(np.int64)

    def draw(self, words: NDArray[np.uint64], source: Source) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Integers by the exact law, and the positions of those that came from the remainder."""
        values = self.lookup(words)
        rare = np.flatnonzero(values == self.size) if values.max(initial=0) == self.size else _NONE
        if self.first:
            values += self.first
        for position in rare:
            values[position] = self.residual_value(source)
        return values, rare

    def residual_value(self, source: Source) -> int:
        """An integer by the law that is proportional to T U_v / Z - W_v: inversion with a lazily refined uniform."""
        uniform = LazyUniform(source)
        while True:
            uniform.refine()
            value = self.locate(uniform.prefix, uniform.bits)
            if value is not None:
                return value

    def locate(self, prefix: int, bits: int) -> int | None:
        """The remainder's integer for every uniform in [prefix, prefix + 1) / 2**bits, or None where they differ.

        The order of the inversion is 0, 1, 2, ..., -1, -2, ...
        """
        depth = bits + self.word_bits + 32
        up, down = (side.integers(depth + 128, depth) for side in (self.law.up, self.law.down))
        low_total = sum(up[0]) + sum(down[0])
        high_total = low_total + len(up[0]) * up[1] + up[2] + len(down[0]) * down[1] + down[2]
        low_mark, high_mark = prefix * self.residual * low_total, (prefix + 1) * self.residual * high_total
        for value, low, high, integers in self._partial_sums(up, down):
            if low_mark < (high * self.total - integers * low_total) << bits:
                certain = high_mark <= (low * self.total - integers * high_total) << bits
                return value if certain else None
        return None

    def _partial_sums(
        self, up: tuple[list[int], int, int], down: tuple[list[int], int, int]
    ) -> Iterator[tuple[int | None, int, int, int]]:
        """Value, bounds of the sum of U up to it, sum of W up to it; the end of each side's list has no value."""
        low = high = integers = 0
        for (weights, error, rest), sign in ((up, 0), (down, -1)):
            for k, weight in enumerate(weights):
                value = k ^ sign
                low += weight
                high += weight + error
                integers += self._weight(value)
                yield value, low, high, integers
            high += rest
            yield None, low, high, integers

    def _weight(self, value: int) -> int:
        """W_v as a Python integer, 0 outside the table."""
        place = value - self.first
        return int(self.weights[place]) if 0 <= place < self.size else 0


def build_table(law: Law, word_bits: int = 64, spare_bits: int = SPARE_BITS) -> AliasTable:
    """The table of a law, in milliseconds; small words are for the tests that run every tape."""
    total_bits = word_bits - spare_bits
    first, floats, above = law.floats(total_bits)
    weights = np.floor(floats * ((1.0 - MARGIN) * 2.0**total_bits / above)).astype(np.int64)
    kept = np.flatnonzero(weights > (1 << total_bits) >> _RARE)
    weights = weights[kept[0] : kept[-1] + 1]
    residual = (1 << total_bits) - int(weights.sum())
    buckets = 1 << int(weights.size).bit_length()
    if buckets > 1 << spare_bits:
        raise ParameterError(f"a table must have at most 2**{spare_bits} buckets, got {buckets}; use wider blocks.")
    padded = np.zeros(buckets, dtype=np.int64)
    padded[: weights.size], padded[weights.size] = weights, residual
    capacity_bits = total_bits + 1 - buckets.bit_length()
    entries = _pack(*_pair(padded, 1 << capacity_bits), capacity_bits + spare_bits, spare_bits)
    return AliasTable(law, word_bits, spare_bits, first + int(kept[0]), weights, entries)


def _pair(weights: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds and aliases: every bucket holds its own entry below a threshold and one other above it.

    Entries above the capacity give in their order to those below it in theirs: the cumulative sums of what is given and
    taken say who meets whom. Who gave so much that something is missing takes it from the next giver.
    """
    lack = capacity - weights
    takers, givers = np.flatnonzero(lack > 0), np.flatnonzero(lack < 0)
    thresholds, aliases = np.minimum(weights, capacity), np.arange(weights.size)
    if takers.size:
        taken, given = np.cumsum(lack[takers]), np.cumsum(-lack[givers])
        before = taken - lack[takers]
        aliases[takers] = givers[np.searchsorted(given, before, side="right")]
        given = given[:-1]
        emptied = np.searchsorted(taken, given, side="right")
        missing = np.where(before[emptied] < given, taken[emptied] - given, 0)
        thresholds[givers[:-1]] = capacity - missing
        aliases[givers[:-1]] = np.where(missing > 0, givers[1:], givers[:-1])
    return thresholds, aliases


def _pack(
    thresholds: NDArray[np.int64], aliases: NDArray[np.int64], low_bits: int, spare_bits: int
) -> NDArray[np.uint64]:
    """One number a bucket, such that ``word | spare < entry`` says that the bucket keeps its own.

    The words of bucket b begin at b 2**low_bits. A full bucket is its own alias, with any threshold.
    """
    own = np.arange(thresholds.size)
    thresholds = np.where(aliases == own, 0, thresholds)
    packed = own.astype(np.uint64) << np.uint64(low_bits)
    packed += thresholds.astype(np.uint64) << np.uint64(spare_bits)
    return np.asarray(packed + aliases.astype(np.uint64), dtype=np.uint64)
