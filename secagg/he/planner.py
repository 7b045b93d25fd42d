r"""How large a plaintext modulus may be, and how many values then fit a slot.

The noise of a sum of n seeded ciphertexts is bounded, not merely small:

- SEAL draws fresh noise from a centred binomial of 42 bits, so each coefficient is at most 21 in absolute value;
- it scales a message by rounding q·m/t to an integer, at most 1/2 off;
- reductions modulo t of the summed messages are whole multiples of q, hence free.

So the sum's coefficients are q·M/t + v with \|v\| <= 21.5·n, and decryption rounds t·v/q to zero if and only if
\|v\| < q/(2t): the failure probability is exactly zero when

.. math:: 43 \, n \, t < q.

(SEAL decrypts through one auxiliary 61-bit prime, which costs 2^-60 of the distance; the integers on both sides of the
inequality leave at least 2^-55.)
"""

from __future__ import annotations

from functools import lru_cache

from secagg.codec import field_bits
from secagg.errors import CapacityError
from secagg.he.seal import MODULUS, RING

__all__ = ["MAX_PLAIN_BITS", "MIN_TAG_BITS", "fields_per_slot", "plain_modulus", "tag_bits"]

MAX_PLAIN_BITS = 41
"""Bits of the largest plaintext modulus: residues whose products of limbs fit 64-bit words (secagg.tag)."""

MIN_TAG_BITS = 20
"""A plan is refused if a lying server could pass a forgery in a session with a chance above 2^-20."""

_NOISE_HALVES = 43
"""Twice the bound of one ciphertext's noise, 21 + 1/2."""

_MILLER_RABIN_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Deterministic below 3.3e24 (Sorenson & Webster 2015)."""


@lru_cache(maxsize=256)
def plain_modulus(num_parties: int) -> int:
    """The largest prime t, 1 modulo ``2 * RING``, with t < 2**41 and 43·n·t < q.

    Large, because what a forged tag must hit is uniform modulo t.

    Args:
        num_parties: n, >= 1.

    Returns:
        t.

    Raises:
        CapacityError: no such prime: too many parties for the noise.
    """
    limit = min(1 << MAX_PLAIN_BITS, -(-MODULUS // (_NOISE_HALVES * num_parties)))
    candidate = (limit - 2) // (2 * RING) * (2 * RING) + 1
    while candidate > 2 * RING:
        if _is_prime(candidate):
            return candidate
        candidate -= 2 * RING
    raise CapacityError(f"num_parties = {num_parties} is too many: the noise of the summed ciphertext would not fit.")


def tag_bits(num_parties: int) -> int:
    r"""Bits of security of a session's tags: the largest b with 3n/t <= 2^-b.

    A forgery passes with probability at most 3/t (:class:`secagg.tag.SumTag`), and a server that lies has one attempt
    at each of n parties. The union bound holds for adaptive attempts too: until a forgery passes, what the server hears
    does not hang on the keys of the tags.

    Args:
        num_parties: n, >= 1.

    Returns:
        b, >= ``MIN_TAG_BITS``.

    Raises:
        CapacityError: less than ``MIN_TAG_BITS``: the noise of so many parties leaves t too small.

    Example:
        >>> tag_bits(15), tag_bits(1000)
        (35, 27)
    """
    bits = (plain_modulus(num_parties) // (3 * num_parties)).bit_length() - 1
    if bits < MIN_TAG_BITS:
        raise CapacityError(
            f"num_parties = {num_parties} is too many: a lying server would pass a forged sum with a chance above "
            f"2^-{MIN_TAG_BITS} in a session; use fewer parties."
        )
    return bits


def fields_per_slot(num_parties: int, value_bits: int) -> int:
    """How many sums of `num_parties` values of `value_bits` bits fit one slot.

    Args:
        num_parties: n, >= 1.
        value_bits: bits of one value, >= 1.

    Returns:
        The number, >= 1.

    Raises:
        CapacityError: not even one.
    """
    room = plain_modulus(num_parties).bit_length() - 1
    width = field_bits(num_parties, value_bits)
    if width > room:
        raise CapacityError(
            f"a sum of {num_parties} values of {value_bits} bits needs {width} bits, and a slot holds {room} beside "
            f"the noise of {num_parties} ciphertexts; use fewer value_bits or fewer parties."
        )
    return room // width


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
