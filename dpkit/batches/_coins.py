"""Independent coins of an exact probability, one for each record."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dpkit.entropy import Source, read_bytes, read_words

__all__ = ["coin_rows", "coins"]

_WORD_BITS = 32
_REFINE_BYTES = 8
_CHUNK = 1 << 16


def coin_rows(source: Source, num_records: int, probability: float) -> NDArray[np.int64]:
    """The records whose coin shows heads, ascending, shape (b,)."""
    heads = [coins(source, min(_CHUNK, num_records - start), probability) for start in range(0, num_records, _CHUNK)]
    return np.flatnonzero(np.concatenate(heads)).astype(np.int64)


def coins(source: Source, count: int, probability: float, word_bits: int = _WORD_BITS) -> NDArray[np.bool_]:
    """Independent exact coins: a word below the first digits of the probability, more digits where they are equal."""
    digits, rest = divmod(Fraction(probability) * (1 << word_bits), 1)
    words = read_words(source, count, word_bits)
    heads = words < digits
    for tie in np.flatnonzero(words == digits):
        heads[tie] = _below(source, rest)
    return np.asarray(heads)


def _below(source: Source, probability: Fraction) -> bool:
    """Whether a uniform number is below a dyadic one, 64 bits at a time."""
    while probability:
        digit, probability = divmod(probability * (1 << 8 * _REFINE_BYTES), 1)
        word = int.from_bytes(read_bytes(source, _REFINE_BYTES), "big")
        if word != digit:
            return word < digit
    return False
