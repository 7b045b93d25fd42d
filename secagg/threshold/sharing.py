r"""Packed Shamir secret sharing of ring elements with small coefficients, modulo 65 537.

So many coefficients as `packed` says, :math:`\ell`, are in one polynomial of degree below T, the threshold: coefficient
c is the value of polynomial :math:`\lfloor c / \ell \rfloor` at the point :math:`-(c \bmod \ell)`, and values behind
the last coefficient are zero. Holder j has the polynomials' values at j, for j = 1, …, n. T of these give all
coefficients, :math:`T - \ell` say nothing of any, and with numbers between the two some combinations of them can be
had. One coefficient to a polynomial is Shamir's own scheme. Shares of several secrets add up, modulo p, to shares of
the secrets' sum, so what a holder gives away can be the sum of its shares and no share of anybody.

- The values at the points 1, …, :math:`T - \ell` are drawn: that of polynomial q at x is entry (x - 1)·`length` + q of
  a mask modulo p (:mod:`secagg.masking.masks`), whose key is derived from the caller's, T, :math:`\ell`, n and the
  secret. With the secret they fix the polynomials, and these give the values at the other points. So the polynomials
  are uniform among those that have the secret's values.
- A sum of secrets comes back as an integer as long as it is below p/2 in absolute value (`fits`): for up to 431 secrets
  of :mod:`secagg.threshold.noise`. A share takes 17 bits for each polynomial.
- Residues are at most 2^16, so a sum of T <= 400 products is below 2^41, and matrix products are exact in float64.
- Joining says nothing about wrong shares: any shares give some polynomial.
- Against who shares the machine nothing is promised, neither constant time nor that secrets are wiped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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

__all__ = [
    "KEY_BYTES",
    "MAX_HOLDERS",
    "PRIME",
    "combine",
    "fits",
    "length",
    "pack",
    "share",
    "share_bytes",
    "unpack",
]

PRIME = 65_537
"""The field."""

MAX_HOLDERS = 400
"""Shares of one secret."""

KEY_BYTES = 32
"""Length of a key."""

_BITS = 17


def length(packed: int) -> int:
    """Polynomials of one secret, residues of one share.

    Args:
        packed: coefficients of one polynomial, 1 to ``MAX_HOLDERS - 1``.

    Example:
        >>> length(1), length(4), length(27)
        (4096, 1024, 152)
    """
    return -(-RING // check_integer("packed", packed, at_least=1, at_most=MAX_HOLDERS - 1))


def share_bytes(packed: int) -> int:
    """Length of a packed share.

    Example:
        >>> share_bytes(1), share_bytes(4), share_bytes(27)
        (8704, 2176, 323)
    """
    return packed_bytes(length(packed), _BITS)


def share(
    secret: NDArray[np.int64], *, threshold: int, packed: int, num_holders: int, key: bytes
) -> NDArray[np.uint32]:
    """Shares of one secret, at the points 1, …, `num_holders`.

    Guarantee:
        Any `threshold` - `packed` shares are distributed alike whatever the secret is (uniform: HKDF and AES ideal),
        and sums of shares are shares of the sum. Held by ``test_fewer_shares_are_uniform_whatever_the_secret`` and
        ``test_sums_of_shares_give_the_sum``.

    Args:
        secret: int64, at most `BOUND` in absolute value, shape ``(RING,)``.
        threshold: T, shares that it takes to combine, >= 2, at most `num_holders`.
        packed: coefficients of one polynomial, 1 to `threshold` - 1.
        num_holders: in ``[2, MAX_HOLDERS]``.
        key: `KEY_BYTES` secret, uniform bytes. What is drawn is derived from these and from all other arguments, so
            that another secret with the same bytes by mistake has residues of its own.

    Returns:
        uint32 in ``[0, PRIME)``, shape ``(num_holders, length(packed))``: row j - 1 is the share at point j.

    Raises:
        ParameterError: an argument is out of its domain.

    Example:
        >>> import numpy as np
        >>> secret = np.arange(RING) % 153 - 76
        >>> shares = share(secret, threshold=3, packed=2, num_holders=5, key=bytes(range(32)))
        >>> shares.shape, bool((combine([5, 1, 3], shares[[4, 0, 2]], packed=2) == secret).all())
        ((5, 2048), True)

    References:
        Shamir 1979, "How to share a secret"; Blakley & Meadows 1984, "Security of ramp schemes"; Franklin & Yung 1992,
        "Communication complexity of secure computation".
    """
    holders = check_integer("num_holders", num_holders, at_least=2, at_most=MAX_HOLDERS)
    t = check_integer("threshold", threshold, at_least=2, at_most=holders)
    ell = check_integer("packed", packed, at_least=1, at_most=t - 1)
    check_bytes("key", key, KEY_BYTES)
    if not isinstance(secret, np.ndarray) or secret.dtype != np.int64 or secret.shape != (RING,):
        raise ParameterError(f"secret must be an array of dtype int64 and shape ({RING},).")
    if int(secret.min()) < -BOUND or int(secret.max()) > BOUND:
        raise ParameterError(f"secret must be at most {BOUND} in absolute value, or sums of it would not come back.")
    numbers = b"".join(number.to_bytes(4, "little") for number in (t, ell, holders))
    own = derive_key(key, salt=b"", purpose=b"threshold residues", parts=(numbers, secret.astype("<i8").tobytes()))
    drawn = mask(own, (t - ell) * length(ell), modulus=PRIME).reshape(t - ell, length(ell))
    values = np.zeros(length(ell) * ell, dtype=np.int64)
    values[:RING] = secret % PRIME
    return _extend(values.reshape(-1, ell).T, drawn, holders, PRIME).astype(np.uint32)


def combine(points: Sequence[int], shares: NDArray[np.uint32], *, packed: int) -> NDArray[np.int64]:
    """The secret of shares, or of sums of shares modulo `PRIME` the secrets' sum.

    Args:
        points: where the shares were taken: distinct integers in ``[1, MAX_HOLDERS]``, at least the threshold of them.
        shares: an integer dtype, in ``[0, PRIME)``, shape ``(number of points, length(packed))``; row i is of
            ``points[i]``.
        packed: coefficients of one polynomial, as in :func:`share`.

    Returns:
        int64, at most ``PRIME // 2`` in absolute value, shape ``(RING,)``; the secret, or the sum, if it `fits`.

    Raises:
        ParameterError: an argument is out of its domain.
    """
    places = tuple(check_integer("a point", point, at_least=1, at_most=MAX_HOLDERS) for point in points)
    if len(places) < 2 or len(set(places)) < len(places):
        raise ParameterError(f"points must be distinct, at least 2 of them, got {len(places)}.")
    shape = (len(places), length(packed))
    if not isinstance(shares, np.ndarray) or shares.dtype.kind not in "iu" or shares.shape != shape:
        raise ParameterError(f"shares must be an array of integers of shape (number of points, {shape[1]}).")
    if int(shares.min()) < 0 or int(shares.max()) >= PRIME:
        raise ParameterError("shares must be in [0, PRIME).")
    values = _product(_lagrange(places, _secret_points(packed), PRIME), shares, PRIME)
    residues = values.T.reshape(-1)[:RING]
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
    """A share, or a sum of shares, in 17 bits a value.

    Args:
        row: integers in ``[0, PRIME)``, shape ``(length(packed),)``.

    Returns:
        ``share_bytes(packed)`` bytes.
    """
    return pack_bits(row, _BITS)


def unpack(data: bytes, *, packed: int) -> NDArray[np.uint32]:
    """The share that :func:`pack` packed.

    Args:
        data: ``share_bytes(packed)`` bytes.
        packed: coefficients of one polynomial, as in :func:`share`.

    Returns:
        uint32 in ``[0, PRIME)``, shape ``(length(packed),)``.

    Raises:
        DecodeError: another length, or a value that is not below `PRIME`: every share has one encoding.
    """
    row = unpack_bits(data, length(packed), _BITS)
    if int(row.max()) >= PRIME:
        raise DecodeError("the message holds a number that is no share.")
    return row.astype(np.uint32)


def _secret_points(packed: int) -> tuple[int, ...]:
    """Where the coefficients of a polynomial are its values: 0, -1, …."""
    return tuple(range(0, -packed, -1))


def _extend(secrets: NDArray[Any], drawn: NDArray[Any], holders: int, prime: int) -> NDArray[np.int64]:
    """All shares, of polynomials, one a column, with the values `secrets` at 0, -1, … and `drawn` at 1, 2, …."""
    first = len(drawn)
    nodes = (*_secret_points(len(secrets)), *range(1, first + 1))
    matrix = _lagrange(nodes, tuple(range(first + 1, holders + 1)), prime)
    others = _product(matrix, np.concatenate((secrets, drawn)), prime)
    return np.concatenate((drawn.astype(np.int64), others))


@lru_cache(maxsize=8)
def _lagrange(nodes: tuple[int, ...], targets: tuple[int, ...], prime: int) -> NDArray[np.int64]:
    """The matrix that takes values of polynomials at the nodes to their values at the targets, no node among them.

    Entry (y, x) is Π_{z≠x} (y - z)/(x - z), that is Π_z (y - z) / ((y - x)·Π_{z≠x} (x - z)); all parties of one session
    ask for the same ones.
    """
    x, y = np.array(nodes, dtype=np.int64), np.array(targets, dtype=np.int64)
    above, below = np.ones(y.size, dtype=np.int64), np.ones(x.size, dtype=np.int64)
    for place, z in enumerate(nodes):
        above = above * (y - z) % prime
        gaps = x - z
        gaps[place] = 1
        below = below * gaps % prime
    matrix: NDArray[np.int64] = above[:, None] * _inverses((y[:, None] - x) * below % prime, prime) % prime
    matrix.flags.writeable = False
    return matrix


def _inverses(values: NDArray[np.int64], prime: int) -> NDArray[np.int64]:
    """1/value modulo the prime, by Fermat: value^(prime - 2), square and multiply."""
    out, square, exponent = np.ones_like(values), values, prime - 2
    while exponent:
        if exponent & 1:
            out = out * square % prime
        square, exponent = square * square % prime, exponent >> 1
    return out


def _product(left: NDArray[Any], right: NDArray[Any], prime: int) -> NDArray[np.int64]:
    """`left` @ `right` modulo a prime of at most 17 bits: sums of at most 400 products of 34 bits, exact in float64."""
    exact: NDArray[np.float64] = left.astype(np.float64) @ right.astype(np.float64)
    return exact.astype(np.int64) % prime
