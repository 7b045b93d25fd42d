r"""Shamir's secret sharing of many 32-byte secrets at once, modulo the prime 2^31 - 1.

A secret is cut into nine limbs of 30 bits (the last has 16), each the constant term of a polynomial of its own,

.. math:: f(x) = s + c_1 x + \dots + c_{t-1} x^{t-1} \pmod p,

with uniform coefficients; the share of point x is f(x), limb by limb. Any t shares give s, fewer say nothing about it.

- 2^31 - 1 is the largest prime below 2^31, and limbs of 30 bits are the most it takes: a share of nine limbs is 36
  bytes. Products of two residues stay below 2^62, and those of a half of each below 2^32, so that matrix products are
  exact in float64, at the speed of floating point.
- Limbs of 30 bits are below p, so each has one residue. What is joined and is not such a limb was never shared here,
  and is refused.
- Against who shares the machine nothing is promised, neither constant time nor that secrets are wiped: Python copies
  bytes freely and has no way to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_bytes, check_integer
from secagg.errors import DecodeError, ParameterError
from secagg.prg import derive_key, uniform

__all__ = ["LIMBS", "MAX_POINTS", "PRIME", "RANDOMNESS_BYTES", "SECRET_BYTES", "join", "split"]

PRIME = (1 << 31) - 1
"""The field."""

SECRET_BYTES = 32
"""Length of a secret."""

LIMBS = 9
"""Limbs of a secret: field elements of a share, 4 bytes each."""

RANDOMNESS_BYTES = 32
"""What a split takes, whatever its size: its coefficients follow from so many bytes."""

MAX_POINTS = 1 << 20
"""Shares of one secret: the bound under which `_product` is exact."""

_LIMB_BITS = 30
_LAST_BITS = 8 * SECRET_BYTES - _LIMB_BITS * (LIMBS - 1)
_BLOCK = 1 << 20
_HALF = np.uint64(16)
_LOW = np.uint64((1 << 16) - 1)


def split(secrets: NDArray[np.uint8], points: Sequence[int], threshold: int, randomness: bytes) -> NDArray[np.uint32]:
    """Shares of many secrets, each among all points.

    Guarantee:
        Shares at fewer than `threshold` points are distributed alike whatever the secret is (the coefficients uniform:
        HKDF and AES ideal). Held exhaustively in tiny fields by ``test_fewer_shares_are_uniform_whatever_the_secret``.

    Args:
        secrets: uint8, shape ``(m, 32)``, m >= 1.
        points: where shares are taken: distinct integers in ``[1, PRIME)``, at most `MAX_POINTS`.
        threshold: shares that it takes to join, >= 2, at most the number of points.
        randomness: `RANDOMNESS_BYTES` secret, uniform bytes. The coefficients are derived from these and from all other
            arguments, so that another split with the same bytes by mistake has coefficients of its own.

    Returns:
        uint32 in ``[0, PRIME)``, shape ``(m, number of points, LIMBS)``: row j holds the shares of ``points[j]``.

    Raises:
        ParameterError: an argument is out of its domain.

    Example:
        >>> import numpy as np
        >>> secrets, randomness = np.arange(64, dtype=np.uint8).reshape(2, 32), bytes(range(32))
        >>> shares = split(secrets, [1, 2, 3, 4, 5], 3, randomness)
        >>> bool((join(shares[:, [4, 0, 2]], [5, 1, 3], 3) == secrets).all())
        True

    References:
        Shamir 1979, "How to share a secret".
    """
    places = _check_points(points)
    t = check_integer("threshold", threshold, at_least=2, at_most=len(places))
    check_bytes("randomness", randomness, RANDOMNESS_BYTES)
    plain = _check_rows("secrets", secrets, np.dtype(np.uint8), (SECRET_BYTES,))
    m = plain.shape[0]
    parts = (t.to_bytes(4, "little"), places.astype("<u4").tobytes(), plain.tobytes())
    key = derive_key(randomness, salt=b"", purpose=b"shamir coefficients", parts=parts)
    free = uniform(key, index=0, count=(t - 1) * m * LIMBS, modulus=PRIME).reshape(t - 1, m * LIMBS)
    values = _evaluate(np.concatenate((_limbs(plain).reshape(1, -1), free)), places, PRIME)
    return np.ascontiguousarray(values.reshape(places.size, m, LIMBS).transpose(1, 0, 2), dtype=np.uint32)


def join(shares: NDArray[np.uint32], points: Sequence[int], threshold: int) -> NDArray[np.uint8]:
    """The secrets of shares, all taken at the same points.

    With `threshold` shares there is nothing to compare: a wrong share gives a wrong secret, or none. With more, all
    must lie on one polynomial, or nothing is returned.

    Guarantee:
        Up to k - threshold wrong shares among k are found, whatever they are. Held by
        ``test_a_changed_share_among_more_than_the_threshold_is_found``.

    Args:
        shares: uint32, shape ``(m, k, LIMBS)``; row j holds the shares of ``points[j]``.
        points: as in `split`, k of them.
        threshold: that of the split; k must not be smaller.

    Returns:
        uint8, shape ``(m, 32)``.

    Raises:
        ParameterError: an argument is out of its domain.
        DecodeError: a share is no field element, the shares do not lie on one polynomial, or what they give is no
            32-byte secret.
    """
    places = _check_points(points)
    t = check_integer("threshold", threshold, at_least=2, at_most=len(places))
    rows = _check_rows("shares", shares, np.dtype(np.uint32), (places.size, LIMBS))
    m = rows.shape[0]
    if int(rows.max()) >= PRIME:
        raise DecodeError("a share is not below the prime.")
    values = rows.transpose(1, 0, 2).reshape(places.size, m * LIMBS).astype(np.uint64)
    if places.size > t and _product(_parity(places, t, PRIME), values, PRIME).any():
        raise DecodeError("the shares do not lie on one polynomial.")
    limbs = _product(_at_zero(places[:t], PRIME), values[:t], PRIME)
    return _bytes(limbs.reshape(m, LIMBS))


def _check_points(points: Any) -> NDArray[np.uint64]:
    """The points as an array: distinct, and none of them zero, where the secret is."""
    places = [check_integer("a point", point, at_least=1, at_most=PRIME - 1) for point in points]
    if not 2 <= len(places) <= MAX_POINTS or len(set(places)) < len(places):
        raise ParameterError(f"points must be distinct, from 2 to {MAX_POINTS} of them, got {len(places)}.")
    return np.array(places, dtype=np.uint64)


def _check_rows(name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of at least one row, of exactly this dtype and shape; nothing is converted."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape[1:] != shape or not len(array):
        raise ParameterError(f"{name} must be an array of dtype {dtype} and shape {('m', *shape)}, m >= 1.")
    return array


def _limbs(plain: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Little-endian limbs of 30 bits of each secret, shape ``(m, LIMBS)``."""
    bits = np.zeros((plain.shape[0], LIMBS * _LIMB_BITS), dtype=np.uint64)
    bits[:, : 8 * SECRET_BYTES] = np.unpackbits(plain, axis=1, bitorder="little")
    return bits.reshape(-1, LIMBS, _LIMB_BITS) @ (np.uint64(1) << np.arange(_LIMB_BITS, dtype=np.uint64))


def _bytes(limbs: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The secrets of limbs; a limb that no secret has is refused."""
    too_large = (limbs >> np.uint64(_LIMB_BITS)).any() or (limbs[:, -1] >> np.uint64(_LAST_BITS)).any()
    if too_large:
        raise DecodeError(f"the shares give no secret of {SECRET_BYTES} bytes.")
    bits = (limbs[:, :, None] >> np.arange(_LIMB_BITS, dtype=np.uint64)) & np.uint64(1)
    flat = bits.reshape(-1, LIMBS * _LIMB_BITS)[:, : 8 * SECRET_BYTES].astype(np.uint8)
    return np.packbits(flat, axis=1, bitorder="little")


def _evaluate(coefficients: NDArray[np.uint64], points: NDArray[np.uint64], prime: int) -> NDArray[np.uint64]:
    """Polynomials, one a column of `coefficients` from the constant term up, at all points: one row a point."""
    terms, columns = coefficients.shape
    out = np.empty((points.size, columns), dtype=np.uint64)
    step = max(1, _BLOCK // terms)
    for start in range(0, points.size, step):  # a table of all powers would be large
        rows = slice(start, start + step)
        out[rows] = _product(_powers(points[rows], terms, prime), coefficients, prime)
    return out


def _powers(points: NDArray[np.uint64], terms: int, prime: int) -> NDArray[np.uint64]:
    """x^0, x^1, … in each row, by doubling: the second half of a row is the first times one power."""
    p = np.uint64(prime)
    out = np.ones((points.size, terms), dtype=np.uint64)
    width, factor = 1, points[:, None] % p
    while width < terms:
        more = min(width, terms - width)
        out[:, width : width + more] = out[:, :more] * factor % p
        width, factor = width + more, factor * factor % p
    return out


def _weights(points: NDArray[np.uint64], prime: int) -> NDArray[np.uint64]:
    """1 / Π_{j≠i} (x_i - x_j) for each point."""
    p = np.uint64(prime)
    products = np.empty(points.size, dtype=np.uint64)
    step = max(1, _BLOCK // points.size)
    for start in range(0, points.size, step):
        rows = np.arange(start, min(start + step, points.size))
        factors = (points[rows, None] + p - points) % p
        factors[rows - start, rows] = 1
        while factors.shape[1] > 1:
            half = factors.shape[1] // 2
            both = factors[:, :half] * factors[:, half : 2 * half] % p
            factors = np.concatenate((both, factors[:, 2 * half :]), axis=1)
        products[rows] = factors[:, 0]
    return np.array([pow(int(product), -1, prime) for product in products], dtype=np.uint64)


def _parity(points: NDArray[np.uint64], threshold: int, prime: int) -> NDArray[np.uint64]:
    """Rows that are orthogonal to the values of a polynomial of degree below `threshold`, and to nothing else.

    Σ_i w_i g(x_i) is the coefficient of degree k - 1 of the polynomial through the k values of g. It vanishes if g is
    x^j f with deg f < t and j < k - t; these are k - t independent rows, as many as there are independent conditions.
    """
    weights = _weights(points, prime)
    return _powers(points, points.size - threshold, prime).T * weights % np.uint64(prime)


def _at_zero(points: NDArray[np.uint64], prime: int) -> NDArray[np.uint64]:
    """The row that takes the values at t points to the value at zero: the only parity of zero and these points."""
    weights = _weights(np.concatenate((np.zeros(1, dtype=np.uint64), points)), prime)
    scale = np.uint64(prime - int(pow(int(weights[0]), -1, prime)))
    return (weights[1:] * scale % np.uint64(prime))[None, :]


def _product(left: NDArray[np.uint64], right: NDArray[np.uint64], prime: int) -> NDArray[np.uint64]:
    """`left` @ `right` modulo a prime below 2^31, exactly, in float64: numpy has no fast product of integers.

    Residues are cut into a low half of 16 bits and a high half of 15. A sum of t products of halves, or of two such
    sums where low meets high, is an integer of at most t 2^32, so every partial sum is exact for t <= 2^21, in any
    order. The parts are then put together below 2^53 + 2^47 + 2^62, within 64 bits.
    """
    p, rows, columns = np.uint64(prime), left.shape[0], right.shape[1]
    tall = np.concatenate((left & _LOW, left >> _HALF)).astype(np.float64)
    wide = np.concatenate((right & _LOW, right >> _HALF), axis=1).astype(np.float64)
    parts: NDArray[np.float64] = tall @ wide
    low = parts[:rows, :columns].astype(np.uint64)
    cross = (parts[:rows, columns:] + parts[rows:, :columns]).astype(np.uint64) % p
    high = parts[rows:, columns:].astype(np.uint64) % p
    out: NDArray[np.uint64] = (low + (cross << _HALF) + high * np.uint64((1 << 32) % prime)) % p
    return out
