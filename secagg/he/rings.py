"""Rings that ciphertexts live in, and how hard they are to break: a degree, one or two primes, and two tables.

The modulus that counts for security is the product of all primes under which a key has published anything. Where only
seeded symmetric ciphertexts are published that is one prime; a public key of SEAL lives under two, and the second one
swallows nearly all noise of encryption. Sums need no evaluation keys, so none is ever made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from secagg.errors import ParameterError

__all__ = ["LIMITS_2018", "LIMITS_2024", "PUBLIC_RINGS", "SHARED_RING", "Ring", "Security"]

LIMITS_2024 = {4096: {128: 106, 192: 73, 256: 56}, 8192: {128: 214, 192: 147, 256: 114}}
"""Most bits of a modulus by degree and level, ternary secrets, classical attacks: Bossuat et al. (2024)."""

LIMITS_2018 = {4096: {128: 109, 192: 75, 256: 58}, 8192: {128: 218, 192: 152, 256: 118}}
"""The same in the Homomorphic Encryption Standard (2018), table 1; SEAL knows these alone."""

_FIELDS_BYTES = 32 + 1 + 5 * 8
"""SEAL's ciphertext fields: parms_id, is_ntt_form, size, degree, primes, scale, correction factor."""

_KEY_FIELDS_BYTES = 32 + 2 * 8
"""SEAL's plaintext fields, which is what a secret key is: parms_id, coefficients, scale."""

_ARRAY_BYTES = 16 + 8
"""Header and length of SEAL's inner array."""

_SEED_BYTES = 16 + 1 + 64
"""Header, kind and seed of a generator."""


def _level(limits: dict[int, dict[int, int]], degree: int, modulus_bits: int) -> int:
    """The highest level whose row holds the modulus; 0 where none does."""
    return max((level for level, most in limits[degree].items() if modulus_bits <= most), default=0)


@final
@dataclass(frozen=True, slots=True)
class Security:
    """Bits of security of RLWE with ternary secrets, by two tables.

    Args:
        degree: ring dimension.
        modulus_bits: bits of the modulus under which something is published.
        level_2024: bits by the guidelines of 2024: these decide what is planned.
        level_2018: bits by the standard of 2018.

    References:
        Bossuat et al., "Security guidelines for implementing homomorphic encryption" (2024), IACR ePrint 2024/463;
        Albrecht et al., "Homomorphic Encryption Standard" (2018), table 1.
    """

    degree: int
    modulus_bits: int
    level_2024: int
    level_2018: int

    def __str__(self) -> str:
        rows = [
            f"within {limits[self.degree][level]}, the {level}-bit row of {year}"
            for level, limits, year in (
                (self.level_2024, LIMITS_2024, "the 2024 guidelines"),
                (self.level_2018, LIMITS_2018, "the 2018 standard"),
            )
        ]
        return f"RLWE of degree {self.degree} with a modulus of {self.modulus_bits} bits, {' and '.join(rows)}"


@final
@dataclass(frozen=True, slots=True)
class Ring:
    """A degree and its primes.

    Guarantee:
        The product of all primes is within the 128-bit row of both tables, or there is no such ring; held by
        ``test_a_ring_beyond_the_tables_is_refused``.

    Args:
        degree: coefficients of a polynomial and slots of a plaintext, 4096 or 8192.
        primes: each congruent to 1 modulo ``2 * degree``: the one under which ciphertexts are added, and a special one
            where there is a public key.

    Raises:
        ParameterError: the modulus is larger than the table of 2024 allows.
    """

    degree: int
    primes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.degree not in LIMITS_2024 or len(self.primes) not in (1, 2):
            raise ParameterError(
                f"degree must be 4096 or 8192 with one or two primes, got {self.degree} with {len(self.primes)}."
            )
        if not self.security.level_2024:
            raise ParameterError(
                f"primes must have a product of at most {LIMITS_2024[self.degree][128]} bits at degree {self.degree}, "
                f"got {self.security.modulus_bits}; use smaller ones."
            )

    @property
    def modulus(self) -> int:
        """The modulus that ciphertexts are added under."""
        return self.primes[0]

    @property
    def is_public(self) -> bool:
        """Whether a public key may be made: there is a prime to swallow its noise, and the tables count both."""
        return len(self.primes) == 2

    @property
    def security(self) -> Security:
        """What the tables say."""
        bits = math.prod(self.primes).bit_length()
        levels = (_level(limits, self.degree, bits) for limits in (LIMITS_2024, LIMITS_2018))
        return Security(self.degree, bits, *levels)

    @property
    def seeded_bytes(self) -> int:
        """A seeded ciphertext before compression: one polynomial, and the seed of the other."""
        return _FIELDS_BYTES + _ARRAY_BYTES + 8 * self.degree + _SEED_BYTES

    @property
    def full_bytes(self) -> int:
        """A ciphertext before compression: two polynomials."""
        return _FIELDS_BYTES + _ARRAY_BYTES + 2 * 8 * self.degree

    @property
    def sent_bytes(self) -> int:
        """What a party sends, before compression: only who holds the secret key can leave a polynomial to a seed."""
        return self.full_bytes if self.is_public else self.seeded_bytes

    @property
    def secret_key_bytes(self) -> int:
        """A secret key before compression: one polynomial under each prime."""
        return _KEY_FIELDS_BYTES + _ARRAY_BYTES + 8 * self.degree * len(self.primes)

    @property
    def public_key_bytes(self) -> int:
        """A public key before compression: two polynomials under each prime."""
        return _FIELDS_BYTES + _ARRAY_BYTES + 2 * 8 * self.degree * len(self.primes)


SHARED_RING = Ring(4096, (18014398509293569,))
"""One prime of 54 bits: the parties hold one secret key, and publish nothing but seeded ciphertexts."""

PUBLIC_RINGS = (
    Ring(4096, (9007199254364161, 9007199254429697)),
    Ring(8192, (1152921504606748673, 1152921504606830593)),
)
"""Two primes of 53 bits, which is all that degree 4096 carries; and two of 60, SEAL's largest."""
