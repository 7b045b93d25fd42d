r"""How large a plaintext modulus may be, how many values then fit a slot, and which ring carries them.

**Seeded ciphertexts** have noise that is bounded, not merely small:

- SEAL draws fresh noise from a centred binomial of 42 bits, so each coefficient is at most 21 in absolute value;
- it scales a message by rounding q·m/t to an integer, at most 1/2 off;
- reductions modulo t of the summed messages are whole multiples of q, hence free.

So the coefficients of a sum of n are q·M/t + v with \|v\| <= 21.5·n, and decryption rounds t·v/q to zero if and only if
\|v\| < q/(2t): the failure probability is exactly zero when

.. math:: 43 \, n \, t < q.

**Public ciphertexts** are made under q·p and divided by the special prime p, which leaves of their noise

.. math:: v = r_0 + r_1 s + \frac{e_0 + e_1 s - u e}{p} + \text{rounding of } q m / t

where s is the ternary key and the r are what rounding to multiples of p leaves, at most 1/2 each. The fraction is below
2^-34. The coefficients of r_1 follow from (a, a u + e_1), which nobody tells from uniform (RLWE) and which is
independent of s: so they are uniform on p points of (-1/2, 1/2), whose moment generating function is at most
exp(x²/24). Summed over n parties and at most N coefficients of s that are not zero, for every y > 0

.. math:: P\Big(\Big|\sum_{i \le n} (r_{1,i} s)_k\Big| \ge y\Big) \le 2 \exp\Big(\frac{-6 y^2}{n N}\Big).

The other three terms are at most n + 1/2 together. A plan has at most 2^41 coefficients, so that all of them decrypt
but for 2^-64 where 6 y² >= 106 log(2) n N for y = q/(2t) - n - 1, and hence where

.. math:: \left(2 n + 2 + 7 \sqrt{n N}\right) t < q.

(SEAL decrypts through one auxiliary 61-bit prime, which costs 2^-60 of the distance; the integers on both sides of the
inequalities leave at least 2^-55.)
"""

from __future__ import annotations

import math
from functools import lru_cache

from secagg.checks import check_integer, dropped_parties
from secagg.codec import field_bits
from secagg.errors import CapacityError, ParameterError
from secagg.he.rings import PUBLIC_RINGS, SHARED_RING, Ring

__all__ = [
    "MAX_OPENERS",
    "MAX_PLAIN_BITS",
    "MIN_TAG_BITS",
    "check_openers",
    "check_sizes",
    "failure_bits",
    "fields_per_slot",
    "least_survivors",
    "max_parties",
    "plain_modulus",
    "public_ring",
    "tag_bits",
]

MAX_OPENERS = 1024
"""Parties who open a sum with one secret key: by whether each does, a lying server reads a bit of the key off it.

Were every bit a coefficient, 3072 of 4096 would be left, and in proportion to their number the modulus would still be
within the 192-bit row of 2024 (``test_plans_end_before_those_bits_are_many``). All have 4096 log2(3) = 6492 bits."""

MAX_PLAIN_BITS = 41
"""Bits of the largest plaintext modulus: residues whose products of limbs fit 64-bit words (secagg.tag)."""

MIN_TAG_BITS = 20
"""A plan is refused if a lying server could pass a forgery in a session with a chance above 2^-20."""

_NOISE_HALVES = 43
"""Twice the bound of one seeded ciphertext's noise, 21 + 1/2."""

_FAILURE_BITS = 64
"""No sum under a public key decrypts wrongly, but with a chance of 2^-64 at most."""

_MAX_COEFFICIENTS_BITS = 41
"""At most 2^40 entries, a slot for each, a tag for thousands: fewer than 2^41 coefficients."""

_ROOT_FACTOR = 7
"""At least 2·sqrt(106 log(2) / 6) = 6.9986..., 106 being 64 + 41 and one for both signs."""

_MILLER_RABIN_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Deterministic below 3.3e24 (Sorenson & Webster 2015)."""


def least_survivors(num_parties: int, dropout: float) -> int:
    """How many of the parties stay at least; raises ParameterError if fewer than 3 would."""
    survivors = num_parties - dropped_parties(dropout, num_parties)
    if survivors < 3:
        raise ParameterError(
            f"dropout must leave at least 3 of {num_parties} parties, got {dropout} which leaves {survivors}: with "
            "two, each reads the other's part off the sum."
        )
    return survivors


@lru_cache(maxsize=256)
def plain_modulus(num_parties: int, ring: Ring = SHARED_RING) -> int:
    """The largest prime t, 1 modulo ``2 * degree``, with t < 2**41 for which a sum of so many ciphertexts decrypts.

    Large, because what a forged tag must hit is uniform modulo t.

    Args:
        num_parties: n, >= 1 and <= 2**31.
        ring: where ciphertexts live.

    Returns:
        t.

    Raises:
        CapacityError: no such prime: too many parties for the noise.
    """
    limit = min(1 << MAX_PLAIN_BITS, -(-ring.modulus // _noise_halves(num_parties, ring)))
    candidate = (limit - 2) // (2 * ring.degree) * (2 * ring.degree) + 1
    while candidate > 2 * ring.degree:
        if _is_prime(candidate):
            return candidate
        candidate -= 2 * ring.degree
    raise CapacityError(f"num_parties = {num_parties} is too many: the noise of the summed ciphertext would not fit.")


def failure_bits(num_parties: int, ring: Ring = SHARED_RING) -> float:
    """The largest b for which all coefficients of any plan decrypt but with a chance of 2^-b, infinite if none fails.

    Args:
        num_parties: n, >= 1 and <= 2**31.
        ring: where ciphertexts live.

    Returns:
        b, rounded down; at least 64.

    Example:
        >>> failure_bits(15), failure_bits(50, PUBLIC_RINGS[0]) > 64
        (inf, True)
    """
    if not ring.is_public:
        return math.inf
    distance = ring.modulus // (2 * plain_modulus(num_parties, ring)) - num_parties - 1
    exponent = 6 * distance * distance / (num_parties * ring.degree * math.log(2)) * (1 - 2.0**-50)
    return math.floor((exponent - _MAX_COEFFICIENTS_BITS - 1) * 1024) / 1024


def max_parties(room: int, ring: Ring = SHARED_RING) -> int:
    """The most parties of whom a slot carries sums of `room` bits.

    Args:
        room: bits of a packed slot, 14 to 40.
        ring: where ciphertexts live.

    Returns:
        n; 0 where not even one party has such a slot.

    Example:
        >>> max_parties(40), max_parties(40, PUBLIC_RINGS[0])
        (381, 288)
    """
    least, most = 0, 1 << 31
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if _room(middle, ring) >= room else (least, middle - 1)
    return least


def tag_bits(num_parties: int, ring: Ring = SHARED_RING) -> int:
    r"""Bits of security of a session's tags: the largest b with 3·a/(t - 1) <= 2^-b for a attempts.

    A forgery passes with probability at most 3/(t - 1) (:class:`secagg.tag.SumTag`). A server that lies has one
    attempt at each of n parties who open the sum, and one where a single opener does. The union bound holds for
    adaptive attempts too: until a forgery passes, what the server hears does not hang on the keys of the tags.

    Args:
        num_parties: n, >= 1.
        ring: where ciphertexts live.

    Returns:
        b, >= ``MIN_TAG_BITS``.

    Raises:
        CapacityError: less than ``MIN_TAG_BITS``: the noise of so many parties leaves t too small.

    Example:
        >>> tag_bits(15), tag_bits(1000)
        (35, 27)
    """
    attempts = 1 if ring.is_public else num_parties
    bits = ((plain_modulus(num_parties, ring) - 1) // (3 * attempts)).bit_length() - 1
    if bits < MIN_TAG_BITS:
        raise CapacityError(
            f"num_parties = {num_parties} is too many: a lying server would pass a forged sum with a chance above "
            f"2^-{MIN_TAG_BITS} in a session; use fewer parties."
        )
    return bits


def check_openers(num_parties: int, ring: Ring) -> None:
    """Raise CapacityError where too many parties would open a sum with one secret key."""
    if not ring.is_public and num_parties > MAX_OPENERS:
        raise CapacityError(
            f"num_parties must be at most {MAX_OPENERS} where everybody opens the sum, got {num_parties}: a lying "
            'server learns a bit of the secret key from each; use key="public", where one opener has it.'
        )


def fields_per_slot(num_parties: int, value_bits: int, ring: Ring = SHARED_RING) -> int:
    """How many sums of `num_parties` values of `value_bits` bits fit one slot.

    Args:
        num_parties: n, >= 1.
        value_bits: bits of one value, >= 1.
        ring: where ciphertexts live.

    Returns:
        The number, >= 1.

    Raises:
        CapacityError: not even one.
    """
    room = plain_modulus(num_parties, ring).bit_length() - 1
    width = field_bits(num_parties, value_bits)
    if width > room:
        raise CapacityError(
            f"a sum of {num_parties} values of {value_bits} bits needs {width} bits, and a slot holds {room} beside "
            f"the noise of {num_parties} ciphertexts; use fewer value_bits or fewer parties."
        )
    return room // width


def public_ring(num_parties: int, value_bits: int, dim: int) -> Ring:
    """The ring in which a vector under a public key is smallest.

    Args:
        num_parties: n, >= 1.
        value_bits: bits of one value, >= 1.
        dim: entries of a vector, >= 1.

    Returns:
        One of ``PUBLIC_RINGS``; the smaller degree of two that need as much.

    Raises:
        CapacityError: none carries such a sum.

    Example:
        >>> public_ring(15, 16, 10**6).degree, public_ring(600, 10, 10**6).degree
        (4096, 8192)
    """
    sizes = {}
    for ring in PUBLIC_RINGS:
        try:
            values = fields_per_slot(num_parties, value_bits, ring) * (ring.degree - 1)
            tag_bits(num_parties, ring)
        except CapacityError as error:
            refused = error
        else:
            sizes[ring] = -(-dim // values) * ring.degree * ring.modulus.bit_length()
    if not sizes:
        raise refused
    return min(sizes, key=lambda ring: sizes[ring])


def check_sizes(num_parties: object, dim: object, value_bits: object, min_survivors: object) -> tuple[int, ...]:
    """All four as ints, in the domains of every homomorphic sum."""
    parties = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
    return (
        parties,
        check_integer("dim", dim, at_least=1, at_most=2**40),
        check_integer("value_bits", value_bits, at_least=1, at_most=64),
        check_integer("min_survivors", min_survivors, at_least=3, at_most=parties),
    )


def _noise_halves(num_parties: int, ring: Ring) -> int:
    """Twice the noise that a sum may have, rounded up."""
    if not ring.is_public:
        return _NOISE_HALVES * num_parties
    return 2 * num_parties + 3 + math.isqrt(_ROOT_FACTOR**2 * num_parties * ring.degree)


def _room(num_parties: int, ring: Ring) -> int:
    """Bits of a packed slot; 0 where there is none."""
    try:
        return plain_modulus(num_parties, ring).bit_length() - 1
    except CapacityError:
        return 0


def _is_prime(number: int) -> bool:
    """Miller-Rabin for odd numbers above 37."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _MILLER_RABIN_BASES:
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
