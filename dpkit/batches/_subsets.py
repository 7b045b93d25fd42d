"""Uniform subsets of a given size, exact: integers without the bias of a remainder, and a rule that is symmetric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpkit.entropy import Source, read_words

__all__ = ["marked_subset", "sorted_subset", "uniform_below", "uniform_subset"]

_WORD_BITS = 64
_SPARSE = 64  # marks, a byte for each integer, are cheaper than sorting 64-bit integers up to here


def uniform_below(source: Source, bound: int, count: int, word_bits: int = _WORD_BITS) -> NDArray[np.int64]:
    """Independent uniform integers in [0, bound), shape (count,), for 1 <= bound <= 2**word_bits.

    Words from the last multiple of `bound` on are drawn again: each remainder is left with the same number of words.
    """
    last = (1 << word_bits) - (1 << word_bits) % bound - 1
    words = read_words(source, count, word_bits).astype(np.uint64)
    while (over := np.flatnonzero(words > np.uint64(last))).size:
        words[over] = read_words(source, over.size, word_bits)
    return np.asarray(words % np.uint64(bound)).astype(np.int64)


def uniform_subset(source: Source, population: int, count: int) -> NDArray[np.int64]:
    """A uniform subset of range(population) of `count` elements, 0 <= count <= population, ascending.

    Uniform integers are drawn one after the other until `count` different ones are there. Nothing in that rule tells
    one integer from another, so that every subset is equally likely, however many words were read: how long it takes
    is independent of the subset. A round asks for as many as are missing, so none is left over. Of more than half of
    the population the complement is drawn: an integer is new with a chance of at least 1/2.
    """
    if 2 * count > population:
        outside = uniform_subset(source, population, population - count)
        return np.delete(np.arange(population, dtype=np.int64), outside)
    few = sorted_subset if population > _SPARSE * count else marked_subset
    return few(source, population, count)


def sorted_subset(source: Source, population: int, count: int, word_bits: int = _WORD_BITS) -> NDArray[np.int64]:
    """Different integers by sorting: memory and work follow the count."""
    found = np.empty(0, dtype=np.int64)
    while found.size < count:
        more = uniform_below(source, population, count - found.size, word_bits)
        found = np.sort(np.concatenate([found, more]))
        found = found[np.diff(found, prepend=-1) > 0]
    return found


def marked_subset(source: Source, population: int, count: int, word_bits: int = _WORD_BITS) -> NDArray[np.int64]:
    """The same from the same words by marks: memory and work follow the population."""
    found = np.zeros(population, dtype=np.bool_)
    while missing := count - int(np.count_nonzero(found)):
        found[uniform_below(source, population, missing, word_bits)] = True
    return np.flatnonzero(found).astype(np.int64)
