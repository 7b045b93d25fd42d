"""Masks: as many uniform residues as asked for from a 32-byte key, added to a vector or taken off it.

The layout is fixed, so that every party, on every machine, makes the same mask:

- Entry i is in chunk ``c = i // 2**16``, at place ``j = i % 2**16`` of it.
- A chunk is read from AES-256-CTR, whose first counter block is ``vector`` (4 bytes) ‖ ``c`` (4 bytes) ‖ 0 (8 bytes),
  all big-endian; the block counts up as one 128-bit integer. No chunk or vector comes near another's blocks.
- The stream is words, little-endian: of 4 bytes if the modulus is at most 2^32, of 8 bytes otherwise.
- Modulus 2^w: entry j is the low w bits of word j.
- Any other modulus: of each word the low ``(modulus - 1).bit_length()`` bits are a candidate, and entry j is the j-th
  candidate, from 0, that is below the modulus. How many words a chunk takes so depends on itself alone.

The modulus is not part of the stream: a key belongs to one plan, hence to one modulus, and to one sum. The same mask on
two inputs gives away their difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from secagg.checks import check_bytes, check_integer
from secagg.errors import ParameterError

__all__ = ["CHUNK", "MASK_KEY_BYTES", "Keystream", "add_mask", "mask", "word_type"]

CHUNK = 1 << 16
"""Entries of a chunk."""

MASK_KEY_BYTES = 32
"""Length of a mask's key."""

_BLOCK = 1 << 16
"""Entries at a time: stream, mask and total of so many stay in a core's own cache."""

_ZEROS = memoryview(bytes(8 * _BLOCK + 16))

_CHECKSUM = 16
"""Bytes that AES-GCM writes behind what it encrypts; nobody reads them here."""

_COUNTED = 2
"""The counter of the first block that AES-GCM encrypts: what it makes of zeros is the stream from there on."""

_WORTHWHILE = 1 << 14
"""Bytes from which on AES-GCM is quicker, its setting up and its checksum included."""


def word_type(modulus: int) -> np.dtype[Any]:
    """The dtype of masks and masked vectors: uint32 for a modulus of at most 2^32, uint64 up to 2^64."""
    bound = check_integer("modulus", modulus, at_least=2, at_most=1 << 64)
    return np.dtype(np.uint32 if bound <= 1 << 32 else np.uint64)


def add_mask(
    total: NDArray[Any], key: bytes, *, modulus: int, sign: Literal[1, -1], vector: int = 0, start: int = 0
) -> None:
    """Add a mask to `total` in place, or subtract it, modulo `modulus`.

    Guarantee:
        A mask that is added and subtracted cancels, whatever the pieces it was applied in; each entry of a mask is
        exactly uniform over the residues (AES ideal). Held by ``test_added_and_subtracted_masks_cancel`` and
        ``test_every_word_gives_each_residue_equally_often``.

    Args:
        total: ``word_type(modulus)``, shape ``(count,)``; becomes residues in ``[0, modulus)``. For a power of two it
            may hold any words, of which the low bits count; otherwise it must hold residues.
        key: `MASK_KEY_BYTES` uniform bytes, for one plan and sum only.
        modulus: in ``[2, 2**64]``.
        sign: 1 adds, -1 subtracts.
        vector: which mask of the key, in ``[0, 2**32)``.
        start: the mask's entry that meets ``total[0]``; the last must be below ``2**48``.

    Raises:
        ParameterError: an argument is out of its domain; `total` is as it was.

    Example:
        >>> import numpy as np
        >>> total = np.arange(4, dtype=np.uint32)
        >>> add_mask(total, bytes(32), modulus=2**20, sign=1)
        >>> add_mask(total[2:], bytes(32), modulus=2**20, sign=-1, start=2)
        >>> add_mask(total[:2], bytes(32), modulus=2**20, sign=-1)
        >>> total.tolist()
        [0, 1, 2, 3]

    References:
        NIST SP 800-38A section 6.5.
    """
    dtype = word_type(modulus)
    if not isinstance(total, np.ndarray) or total.dtype != dtype or total.ndim != 1 or not total.flags.writeable:
        raise ParameterError(f"total must be a writeable array of dtype {dtype} and one dimension for this modulus.")
    if sign not in (1, -1):
        raise ParameterError("sign must be 1 or -1.")
    first = check_integer("start", start, at_least=0, at_most=(1 << 48) - total.size)
    stream = Keystream(key, dtype, vector)
    bound = int(modulus)
    if bound & (bound - 1) == 0:
        _add_words(total, stream, bound, sign, first)
        return
    if total.size and int(total.max()) >= bound:
        raise ParameterError("total must hold residues below the modulus.")
    _add_residues(total, stream, bound, sign, first)


def mask(key: bytes, count: int, *, modulus: int, vector: int = 0) -> NDArray[Any]:
    """The first `count` entries of a mask, of dtype ``word_type(modulus)``."""
    out = np.zeros(check_integer("count", count, at_least=0), dtype=word_type(modulus))
    add_mask(out, key, modulus=modulus, sign=1, vector=vector)
    return out


def _add_words(total: NDArray[Any], stream: Keystream, modulus: int, sign: int, start: int) -> None:
    """Modulus 2^w, which divides 2^32 or 2^64: wrap around, then keep the low bits."""
    low = total.dtype.type(modulus - 1)
    combine = np.add if sign > 0 else np.subtract
    for first, last in _pieces(start, start + total.size, _BLOCK):
        part = total[first - start : last - start]
        combine(part, stream.words(first // CHUNK, first % CHUNK, last - first), out=part)
        np.bitwise_and(part, low, out=part)


def _add_residues(total: NDArray[Any], stream: Keystream, modulus: int, sign: int, start: int) -> None:
    """Any modulus: what wraps around is told from what does not before it is added, so no word overflows."""
    top = total.dtype.type(modulus)
    for first, last in _pieces(start, start + total.size, CHUNK):
        part = total[first - start : last - start]
        residues = _residues(stream, first, last - first, modulus)
        down, up = (top - residues, residues) if sign > 0 else (residues, top - residues)
        part[:] = np.where(part >= down, part - down, part + up)


def _residues(stream: Keystream, first: int, count: int, modulus: int) -> NDArray[Any]:
    """Entries of one chunk: candidates in order, those below the modulus kept."""
    chunk, place = divmod(first, CHUNK)
    bits = (modulus - 1).bit_length()
    low, top = stream.dtype.type((1 << bits) - 1), stream.dtype.type(modulus)
    kept: list[NDArray[Any]] = []
    taken = read = 0
    while taken < place + count:
        # which entry a word becomes follows from the stream alone, so how many are read at a time is free
        more = min(_BLOCK, ((place + count - taken) << bits) // modulus + 16)
        candidates = stream.words(chunk, read, more) & low
        kept.append(candidates[candidates < top])
        taken, read = taken + kept[-1].size, read + more
    return np.concatenate(kept)[place : place + count]


def _pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """``[start, stop)`` cut at the multiples of `size`."""
    while start < stop:
        end = min(stop, (start // size + 1) * size)
        yield start, end
        start = end


@final
class Keystream:
    """The words of one key and vector, from any place on.

    Args:
        key: `MASK_KEY_BYTES` bytes.
        dtype: uint32 or uint64, the words.
        vector: in ``[0, 2**32)``.
    """

    __slots__ = ("_buffer", "_context", "_gcm", "_key", "_little", "_secret", "_vector", "dtype")

    def __init__(self, key: bytes, dtype: np.dtype[Any], vector: int) -> None:
        secret = check_bytes("key", key, MASK_KEY_BYTES)
        self._secret, self._key = secret, algorithms.AES256(secret)
        self._gcm: AESGCM | None = None
        self._vector = check_integer("vector", vector, at_least=0, at_most=(1 << 32) - 1).to_bytes(4, "big")
        self._context: CipherContext | None = None
        # releases of cryptography before 44 want 15 bytes more to write to than they fill
        self._buffer = np.empty(_BLOCK * dtype.itemsize + 32, dtype=np.uint8)
        self._little = dtype.newbyteorder("<")
        self.dtype = dtype

    def words(self, chunk: int, first: int, count: int) -> NDArray[Any]:
        """`count` words of a chunk's stream from word `first` on, at most 2^16; good until the next call.

        Args:
            chunk: in ``[0, 2**32)``.
            first: the first word's number in the chunk's stream.
            count: at most ``2**16``.

        Returns:
            A view of dtype ``dtype``, shape ``(count,)``.

        Raises:
            ParameterError: `count` is larger, and the words would not all be of the stream.
        """
        if count > _BLOCK:
            raise ParameterError(f"count must be at most {_BLOCK}, got {count}.")
        block, lead = divmod(first * self.dtype.itemsize, 16)
        size = lead + count * self.dtype.itemsize
        place = self._vector + chunk.to_bytes(4, "big")
        # AES-GCM is counter mode beside a checksum, and the quickest that OpenSSL has; from cryptography 47 on it can
        # write in place
        is_quick = not block and size >= _WORTHWHILE and hasattr(AESGCM, "encrypt_into")
        quick = max(0, size - 16 * _COUNTED) if is_quick else 0
        self._at(place + block.to_bytes(8, "big")).update_into(_ZEROS[: size - quick], self._buffer.data)
        if quick:
            self._gcm = self._gcm or AESGCM(self._secret)
            rest = self._buffer.data[size - quick : size + _CHECKSUM]
            self._gcm.encrypt_into(place + bytes(4), _ZEROS[:quick], None, rest)
        return self._buffer[lead:size].view(self._little)

    def _at(self, block: bytes) -> CipherContext:
        """A context that stands at a counter block; from cryptography 43 on the key is set up once only."""
        if self._context is None or not hasattr(self._context, "reset_nonce"):
            self._context = Cipher(self._key, modes.CTR(block)).encryptor()
        else:
            self._context.reset_nonce(block)
        return self._context
