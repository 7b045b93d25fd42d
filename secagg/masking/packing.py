"""Vectors of w-bit integers as bytes, packed to the bit, and sets of parties as bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError

__all__ = ["pack_bits", "pack_set", "packed_bytes", "set_bytes", "unpack_bits", "unpack_set"]

_WORD = 64


def packed_bytes(count: int, bits: int) -> int:
    """Length of `count` integers of `bits` bits.

    Example:
        >>> packed_bytes(1000, 23)
        2875
    """
    return -(-count * bits // 8)


def pack_bits(values: NDArray[Any], bits: int) -> bytes:
    """Integers below 2**bits as bytes, the first in the lowest bits; what is left of the last byte is zero.

    Eight integers fill `bits` bytes, so the i-th of every eight has the same place in all of them: a window of 64 bits,
    and the byte behind it where it reaches so far.

    Args:
        values: unsigned integers, shape ``(count,)``.
        bits: 1 to 64.

    Returns:
        ``packed_bytes(count, bits)`` bytes.

    Example:
        >>> pack_bits(np.array([1, 2, 3], dtype=np.uint64), 4).hex()
        '2103'
    """
    if bits in (8, 16, 32, 64):
        return values.astype(f"<u{bits // 8}").tobytes()
    if bits < 8:  # windows of neighbours would overlap; pairs of integers are integers of twice the bits
        pairs = _padded(values, 2).astype(np.uint64)
        return pack_bits(pairs[:, 0] | pairs[:, 1] << np.uint64(bits), 2 * bits)[: packed_bytes(len(values), bits)]
    rows = _padded(values, 8)
    data = np.zeros(len(rows) * bits + 8, dtype=np.uint8)  # the last window reaches beyond the end
    for i in range(8):
        start, shift = divmod(i * bits, 8)
        value = rows[:, i].astype(np.uint64)
        window = np.ndarray((len(rows),), "<u8", data, start, (bits,))
        window |= value << np.uint64(shift)
        if shift + bits > _WORD:
            behind = np.ndarray((len(rows),), np.uint8, data, start + 8, (bits,))
            behind |= (value >> np.uint64(_WORD - shift)).astype(np.uint8)
    return data.tobytes()[: packed_bytes(len(values), bits)]


def _padded(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Rows of `size` integers, zeros behind the last."""
    rows = max(1, -(-len(values) // size))
    if rows * size != len(values):
        values = np.append(values, np.zeros(rows * size - len(values), dtype=values.dtype))
    return values.reshape(rows, size)


def unpack_bits(data: bytes, count: int, bits: int) -> NDArray[np.uint64]:
    """The integers that :func:`pack_bits` packed.

    Args:
        data: ``packed_bytes(count, bits)`` bytes.
        count: how many integers.
        bits: 1 to 64.

    Returns:
        uint64, shape ``(count,)``.

    Raises:
        DecodeError: another length, or bits set behind the last integer: every vector has one encoding.
    """
    if len(data) != packed_bytes(count, bits) or (count * bits % 8 and data[-1] >> count * bits % 8):
        raise DecodeError("the message does not hold a vector of this plan.")
    if bits in (8, 16, 32, 64):
        return np.frombuffer(data, dtype=f"<u{bits // 8}").astype(np.uint64)
    groups = max(1, -(-count // 8))
    buffer = data + bytes(groups * bits - len(data) + 8)  # eight integers fill `bits` bytes; the last word reads on
    values = np.empty((groups, 8), dtype=np.uint64)
    mask = np.uint64((1 << bits) - 1)
    for i in range(8):
        start, shift = divmod(i * bits, 8)
        value = np.ndarray((groups,), "<u8", buffer, start, (bits,)) >> np.uint64(shift)
        if shift + bits > _WORD:
            value |= np.ndarray((groups,), np.uint8, buffer, start + 8, (bits,)).astype(np.uint64) << np.uint64(
                _WORD - shift
            )
        values[:, i] = value & mask
    return values.reshape(-1)[:count]


def set_bytes(size: int) -> int:
    """Length of a subset of `size` parties: one bit each."""
    return -(-size // 8)


def pack_set(members: Sequence[bool]) -> bytes:
    """Which of some parties, the first in the lowest bit."""
    return np.packbits(np.array(members, dtype=bool), bitorder="little").tobytes()


def unpack_set(data: bytes, size: int) -> list[bool]:
    """The subset that :func:`pack_set` packed.

    Raises:
        DecodeError: another length, or a bit behind the last party: every set has one encoding.
    """
    if len(data) != set_bytes(size):
        raise DecodeError("the message does not hold a set of these parties.")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    if bits[size:].any():
        raise DecodeError("the message names parties that do not exist.")
    return [bool(bit) for bit in bits[:size]]
