r"""Shamir's secret sharing of ring elements with small coefficients, modulo 65 537, coefficient by coefficient.

Coefficient s is the constant term of a polynomial of its own,

.. math:: f(x) = s + c_1 x + \dots + c_{t-1} x^{t-1} \pmod p,

with uniform coefficients; holder j has f(j), for j = 1, …, n. Shares of several secrets add up, modulo p, to shares of
the secrets' sum, so what a holder gives away can be the sum of its shares and no share of anybody.

- c_k of entry i is entry (k - 1)·4096 + i of a mask modulo p (:mod:`secagg.masking.masks`); the mask's key is derived
  from the caller's, t, n and the secret.
- A sum of secrets comes back as an integer as long as it is below p/2 in absolute value (`fits`): for up to 431 secrets
  of :mod:`secagg.threshold.noise`. A share takes 17 bits for each coefficient.
- Residues are at most 2^16, so a sum of t <= 400 products is below 2^41, and matrix products are exact in float64.
- Joining says nothing about wrong shares: any shares give some polynomial.
- Against who shares the machine nothing is promised, neither constant time nor that secrets are wiped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_bytes, check_integer
from secagg.errors import DecodeError, ParameterError
from secagg.masking.masks import mask
from secagg.masking.packing import pack_bits, packed_bytes, unpack_bits
from secagg.prg import derive_key
from secagg.threshold.noise import BOUND
from secagg.threshold.ring import RING

__all__ = ["KEY_BYTES", "MAX_HOLDERS", "PRIME", "SHARE_BYTES", "combine", "fits", "pack", "share", "unpack"]

PRIME = 65_537
"""The field."""

MAX_HOLDERS = 400
"""Shares of one secret."""

KEY_BYTES = 32
"""Length of a key."""

_BITS = 17
SHARE_BYTES = packed_bytes(RING, _BITS)
"""Length of a packed share."""


def share(secret: NDArray[np.int64], *, threshold: int, num_holders: int, key: bytes) -> NDArray[np.uint32]:
    """Shares of one secret, at the points 1, …, `num_holders`.

    Guarantee:
        Any `threshold` - 1 shares are distributed alike whatever the secret is (the coefficients uniform: HKDF and AES
        ideal), and sums of shares are shares of the sum. Held by
        ``test_fewer_shares_are_uniform_whatever_the_secret`` and ``test_sums_of_shares_give_the_sum``.

    Args:
        secret: int64, at most `BOUND` in absolute value, shape ``(RING,)``.
        threshold: shares that it takes to combine, >= 2, at most `num_holders`.
        num_holders: in ``[2, MAX_HOLDERS]``.
        key: `KEY_BYTES` secret, uniform bytes. The coefficients are derived from these and from all other arguments, so
            that another secret with the same bytes by mistake has coefficients of its own.

    Returns:
        uint32 in ``[0, PRIME)``, shape ``(num_holders, RING)``: row j - 1 is the share at point j.

    Raises:
        ParameterError: an argument is out of its domain.

    Example:
        >>> import numpy as np
        >>> secret = np.arange(RING) % 153 - 76
        >>> shares = share(secret, threshold=3, num_holders=5, key=bytes(range(32)))
        >>> bool((combine([5, 1, 3], shares[[4, 0, 2]]) == secret).all())
        True

    References:
        Shamir 1979, "How to share a secret".
    """
    holders = check_integer("num_holders", num_holders, at_least=2, at_most=MAX_HOLDERS)
    t = check_integer("threshold", threshold, at_least=2, at_most=holders)
    check_bytes("key", key, KEY_BYTES)
    if not isinstance(secret, np.ndarray) or secret.dtype != np.int64 or secret.shape != (RING,):
        raise ParameterError(f"secret must be an array of dtype int64 and shape ({RING},).")
    if int(secret.min()) < -BOUND or int(secret.max()) > BOUND:
        raise ParameterError(f"secret must be at most {BOUND} in absolute value, or sums of it would not come back.")
    parts = (t.to_bytes(4, "little"), holders.to_bytes(4, "little"), secret.astype("<i8").tobytes())
    own = derive_key(key, salt=b"", purpose=b"threshold coefficients", parts=parts)
    free = mask(own, (t - 1) * RING, modulus=PRIME).reshape(t - 1, RING)
    coefficients = np.concatenate((secret[None, :] % PRIME, free))
    return _evaluate(coefficients, np.arange(1, holders + 1), PRIME).astype(np.uint32)


def combine(points: Sequence[int], shares: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The secret of shares, or of sums of shares modulo `PRIME` the secrets' sum.

    Args:
        points: where the shares were taken: distinct integers in ``[1, MAX_HOLDERS]``, at least the threshold of them.
        shares: an integer dtype, in ``[0, PRIME)``, shape ``(number of points, RING)``; row i is of ``points[i]``.

    Returns:
        int64, at most ``PRIME // 2`` in absolute value, shape ``(RING,)``; the secret, or the sum, if it `fits`.

    Raises:
        ParameterError: an argument is out of its domain.
    """
    places = np.array([check_integer("a point", point, at_least=1, at_most=MAX_HOLDERS) for point in points])
    if places.size < 2 or len(set(places.tolist())) < places.size:
        raise ParameterError(f"points must be distinct, at least 2 of them, got {places.size}.")
    if not isinstance(shares, np.ndarray) or shares.dtype.kind not in "iu" or shares.shape != (places.size, RING):
        raise ParameterError(f"shares must be an array of integers of shape (number of points, {RING}).")
    if int(shares.min()) < 0 or int(shares.max()) >= PRIME:
        raise ParameterError("shares must be in [0, PRIME).")
    residues: NDArray[np.int64] = _product(_at_zero(places, PRIME), shares, PRIME)[0]
    residues[residues > PRIME // 2] -= PRIME
    return residues


def fits(num_parties: int) -> bool:
    """Whether the sum of so many secrets is below PRIME/2 in absolute value, whatever they are.

    Example:
        >>> fits(400), fits(431), fits(432)
        (True, True, False)
    """
    return 2 * BOUND * check_integer("num_parties", num_parties, at_least=1) < PRIME


def pack(row: NDArray[Any]) -> bytes:
    """A share, or a sum of shares, in 17 bits a value: `SHARE_BYTES` bytes.

    Args:
        row: integers in ``[0, PRIME)``, shape ``(RING,)``.
    """
    return pack_bits(row, _BITS)


def unpack(data: bytes) -> NDArray[np.uint32]:
    """The share that :func:`pack` packed.

    Returns:
        uint32 in ``[0, PRIME)``, shape ``(RING,)``.

    Raises:
        DecodeError: another length, or a value that is not below `PRIME`: every share has one encoding.
    """
    row = unpack_bits(data, RING, _BITS)
    if int(row.max()) >= PRIME:
        raise DecodeError("the message holds a number that is no share.")
    return row.astype(np.uint32)


def _evaluate(coefficients: NDArray[Any], points: NDArray[np.int64], prime: int) -> NDArray[np.int64]:
    """Polynomials, one a column of `coefficients` from the constant term up, at all points: one row a point."""
    powers = np.ones((points.size, len(coefficients)), dtype=np.int64)
    for k in range(1, len(coefficients)):
        powers[:, k] = powers[:, k - 1] * points % prime
    return _product(powers, coefficients, prime)


def _at_zero(points: NDArray[np.int64], prime: int) -> NDArray[np.int64]:
    """The row Π_{j≠i} x_j/(x_j - x_i) that takes values at the points to the value at zero."""
    row = []
    for i, x in enumerate(points.tolist()):
        above = below = 1
        for y in points[:i].tolist() + points[i + 1 :].tolist():
            above, below = above * y % prime, below * (y - x) % prime
        row.append(above * pow(below, -1, prime) % prime)
    return np.array([row], dtype=np.int64)


def _product(left: NDArray[Any], right: NDArray[Any], prime: int) -> NDArray[np.int64]:
    """`left` @ `right` modulo a prime of at most 17 bits: sums of at most 400 products of 34 bits, exact in float64."""
    exact: NDArray[np.float64] = left.astype(np.float64) @ right.astype(np.float64)
    return exact.astype(np.int64) % prime
