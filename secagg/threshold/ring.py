r"""The ring Z_Q[X] / (X^4096 + 1), Q the product of two 30-bit primes, in residues modulo both.

An element is an array of shape ``(..., 2, RING)`` and dtype uint64: row r holds the coefficients, or the transformed
values, modulo ``PRIMES[r]``, each below its prime. Transformed values stand in the order of FIPS 204
(:mod:`secagg.threshold.transform`), for the roots of -1 :math:`\psi = g^{(p - 1)/8192}`, g the smallest quadratic
non-residue of p; products of elements are products of their values.

Sums and products of residues fit 64-bit words; nothing here is rounded. Against who shares the machine nothing is
promised: times may depend on values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_bytes, check_integer
from secagg.errors import DecodeError, ParameterError
from secagg.masking.packing import pack_bits, packed_bytes, unpack_bits
from secagg.threshold.transform import Transform

__all__ = [
    "ELEMENT_BYTES",
    "PRIMES",
    "RING",
    "ROOTS",
    "SESSION_BYTES",
    "Q",
    "add",
    "forward",
    "from_signed",
    "inverse",
    "lift",
    "multiply",
    "pack",
    "subtract",
    "to_residues",
    "uniform",
    "unpack",
]

RING = 4096
"""Coefficients of an element."""

PRIMES: tuple[int, int] = (1_073_692_673, 1_073_668_097)
"""The two largest primes below 2^30 that are 1 modulo ``2 * RING``."""

ROOTS: tuple[int, int] = (510_015_274, 1_047_115_509)
"""For each prime, the root of -1 that fixes the order of transformed values."""

Q = PRIMES[0] * PRIMES[1]
"""The ring's modulus, below 2^60."""

SESSION_BYTES = 32
"""Length of the session identifier that public elements are expanded from."""

_BITS = 30
ELEMENT_BYTES = packed_bytes(2 * RING, _BITS)
"""Length of a packed element."""

_BLOCK = 8  # elements at a time: what a step reads and writes stays in a core's own cache
_DOMAIN = b"secagg v1 threshold ring"

_MODULI = np.array(PRIMES, dtype=np.uint64)[:, None]
_INVERSE = np.uint64(pow(PRIMES[0], -1, PRIMES[1]))


@cache
def _transforms() -> tuple[Transform, ...]:
    """For each prime; their tables take longer to make than all of the package takes to import."""
    return tuple(Transform(RING, prime, root) for prime, root in zip(PRIMES, ROOTS, strict=True))


def forward(element: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Transformed values of elements, from their coefficients.

    Args:
        element: uint64 residues, shape ``(..., 2, RING)``.

    Returns:
        A new array of this shape.

    Raises:
        ParameterError: another shape or dtype, or a residue that is not below its prime.
    """
    return _transformed(element, [t.forward for t in _transforms()])


def inverse(element: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Coefficients of elements, from their transformed values; arguments as in `forward`."""
    return _transformed(element, [t.inverse for t in _transforms()])


def _transformed(
    element: Any, steps: Sequence[Callable[[NDArray[np.uint64]], NDArray[np.uint64]]]
) -> NDArray[np.uint64]:
    """Each residue's rows through its own step."""
    rows = _check("element", element)
    out = np.empty(rows.shape, dtype=np.uint64)
    for r, step in enumerate(steps):
        out[..., r, :] = step(rows[..., r, :])
    return out


def multiply(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Products of residues, entry by entry: of transformed elements, their product in the ring.

    Args:
        left: residues, shape ``(..., 2, RING)``.
        right: residues of a shape that broadcasts with it.
    """
    out: NDArray[np.uint64] = _check("left", left) * _check("right", right)
    for r, prime in enumerate(PRIMES):
        row = out[..., r, :]
        row -= row // np.uint64(prime) * np.uint64(prime)  # numpy divides by one number much faster than it takes %
    return out


def add(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sums of elements, either both transformed or neither; arguments as in `multiply`."""
    out: NDArray[np.uint64] = _check("left", left) + _check("right", right)
    for r, prime in enumerate(PRIMES):  # below the prime the difference wraps around, and is the larger
        np.minimum(out[..., r, :], out[..., r, :] - np.uint64(prime), out=out[..., r, :])
    return out


def subtract(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Differences of elements, either both transformed or neither; arguments as in `multiply`."""
    out: NDArray[np.uint64] = _check("left", left) - _check("right", right)
    for r, prime in enumerate(PRIMES):
        np.minimum(out[..., r, :], out[..., r, :] + np.uint64(prime), out=out[..., r, :])
    return out


def to_residues(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Elements of coefficients in ``[0, Q)``.

    Args:
        x: uint64 below `Q`, shape ``(..., RING)``.

    Returns:
        Residues, shape ``(..., 2, RING)``.

    Raises:
        ParameterError: another shape or dtype, or an entry that is not below `Q`.
    """
    words = _check_coefficients(x, np.dtype(np.uint64))
    if words.size and int(words.max()) >= Q:
        raise ParameterError("x must be below Q.")
    return _residues(words)


def from_signed(x: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Elements of signed coefficients, modulo Q.

    Args:
        x: int64, shape ``(..., RING)``.

    Returns:
        Residues, shape ``(..., 2, RING)``.

    Raises:
        ParameterError: another shape or dtype.

    Example:
        >>> import numpy as np
        >>> int(lift(from_signed(np.full(RING, -1)))[0]) == Q - 1
        True
    """
    return _residues(_check_coefficients(x, np.dtype(np.int64))).view(np.uint64)


def _residues(x: NDArray[Any]) -> NDArray[Any]:
    """Coefficients modulo both primes, by division rounded down."""
    out = np.empty((*x.shape[:-1], 2, RING), dtype=x.dtype)
    for r, prime in enumerate(PRIMES):
        turns = x // x.dtype.type(prime)
        turns *= x.dtype.type(prime)
        np.subtract(x, turns, out=out[..., r, :])
    return out


def lift(element: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The coefficients of elements in ``[0, Q)``: x1 + p1·((x2 - x1)/p1 mod p2), by the Chinese remainder theorem.

    Args:
        element: residues of coefficients, shape ``(..., 2, RING)``.

    Returns:
        uint64 below `Q`, shape ``(..., RING)``.
    """
    rows = _check("element", element)
    p1, p2 = map(np.uint64, PRIMES)
    turns = rows[..., 1, :] + np.uint64(2 * PRIMES[1]) - rows[..., 0, :]  # p1 < 2 p2: positive, and below 2^32
    turns *= _INVERSE
    turns -= turns // p2 * p2
    turns *= p1
    turns += rows[..., 0, :]
    return turns


def uniform(session: bytes, index: int) -> NDArray[np.uint64]:
    """The session's public element number `index`: uniform, and what is uniform is so transformed or not.

    It is taken to be transformed. Entry i modulo ``PRIMES[r]`` is the i-th candidate, from 0, below that prime, where
    the candidates are the low 30 bits of the 4-byte little-endian words of SHAKE128 of ``secagg v1 threshold ring``
    (24 bytes) ‖ session (32) ‖ index (4, little-endian) ‖ r (1).

    Args:
        session: `SESSION_BYTES` bytes.
        index: in ``[0, 2**32)``.

    Returns:
        Residues, shape ``(2, RING)``.

    Raises:
        ParameterError: an argument is out of its domain.

    References:
        FIPS 202, section 6.2.
    """
    check_bytes("session", session, SESSION_BYTES)
    seed = _DOMAIN + session + check_integer("index", index, at_least=0, at_most=(1 << 32) - 1).to_bytes(4, "little")
    return np.stack([_expand(seed + bytes((r,)), prime, RING) for r, prime in enumerate(PRIMES)])


def _expand(seed: bytes, prime: int, count: int) -> NDArray[np.uint64]:
    """The first `count` candidates below a prime of at most 32 bits."""
    bits = (prime - 1).bit_length()
    words = (count << bits) // prime + 16
    while True:
        # hashlib has no way to read on, and begins anew for more; for 30-bit primes that happens never in practice
        stream = np.frombuffer(hashlib.shake_128(seed).digest(4 * words), dtype="<u4") & np.uint32((1 << bits) - 1)
        accepted = stream[stream < prime]
        if accepted.size >= count:
            return accepted[:count].astype(np.uint64)
        words *= 2


def pack(element: NDArray[np.uint64]) -> bytes:
    """Elements as bytes: every residue in 30 bits, in the array's order, the first in the lowest bits.

    Args:
        element: residues, shape ``(..., 2, RING)``.

    Returns:
        `ELEMENT_BYTES` bytes for each element.
    """
    words = _check("element", element).reshape(-1, 2)
    step = _BLOCK * RING  # an element ends with a byte, so blocks join
    blocks = (words[start : start + step] for start in range(0, len(words), step))
    return b"".join(pack_bits(w[:, 0] | w[:, 1] << np.uint64(_BITS), 2 * _BITS) for w in blocks)


def unpack(data: bytes, count: int) -> NDArray[np.uint64]:
    """The `count` elements that :func:`pack` packed.

    Args:
        data: ``count * ELEMENT_BYTES`` bytes.
        count: how many elements.

    Returns:
        Residues, shape ``(count, 2, RING)``.

    Raises:
        DecodeError: another length, or a residue that is not below its prime: every element has one encoding.
    """
    number = check_integer("count", count, at_least=0)
    if len(data) != number * ELEMENT_BYTES:
        raise DecodeError(f"the message does not hold {number} elements of the ring.")
    rows = np.empty((number, 2, RING), dtype=np.uint64)
    for start in range(0, number, _BLOCK):
        block = rows[start : start + _BLOCK].reshape(-1, 2)
        piece = data[start * ELEMENT_BYTES : (start + _BLOCK) * ELEMENT_BYTES]
        pairs = unpack_bits(piece, len(block), 2 * _BITS)
        block[:, 0], block[:, 1] = pairs & np.uint64((1 << _BITS) - 1), pairs >> np.uint64(_BITS)
    if (rows >= _MODULI).any():
        raise DecodeError("the message holds a number that is no residue.")
    return rows


def _check(name: str, element: Any) -> NDArray[np.uint64]:
    """An array of residues, by dtype and shape; values are checked where they enter."""
    if not isinstance(element, np.ndarray) or element.dtype != np.uint64 or element.shape[-2:] != (2, RING):
        raise ParameterError(f"{name} must be an array of dtype uint64 and shape (..., 2, {RING}).")
    rows: NDArray[np.uint64] = element
    return rows


def _check_coefficients(x: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of coefficients, by dtype and shape."""
    if not isinstance(x, np.ndarray) or x.dtype != dtype or x.shape[-1:] != (RING,):
        raise ParameterError(f"x must be an array of dtype {dtype} and shape (..., {RING}).")
    return x
