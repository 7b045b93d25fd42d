"""Rings against the two tables, and the bytes of what lives in them against what SEAL writes."""

import math

import pytest

from secagg import ParameterError
from secagg.he.planner import plain_modulus
from secagg.he.rings import LIMITS_2018, LIMITS_2024, PUBLIC_RINGS, SHARED_RING, Ring
from secagg.he.seal import backend

RINGS = (SHARED_RING, *PUBLIC_RINGS)


def test_levels_are_those_of_the_tables():
    shared, small, large = (ring.security for ring in RINGS)
    assert (shared.degree, shared.modulus_bits, shared.level_2024, shared.level_2018) == (4096, 54, 256, 256)
    assert (small.degree, small.modulus_bits, small.level_2024, small.level_2018) == (4096, 106, 128, 128)
    assert (large.degree, large.modulus_bits, large.level_2024, large.level_2018) == (8192, 120, 192, 192)
    assert "modulus of 106 bits, within 106, the 128-bit row of the 2024 guidelines" in str(small)
    assert "within 109, the 128-bit row of the 2018 standard" in str(small)


def test_the_newer_table_is_never_the_more_generous():
    assert LIMITS_2024.keys() == LIMITS_2018.keys()
    for degree, rows in LIMITS_2024.items():
        assert all(rows[level] < LIMITS_2018[degree][level] for level in (128, 192, 256))


def test_the_older_table_is_the_one_that_seal_knows():
    sealapi = pytest.importorskip("tenseal.sealapi")
    for degree, rows in LIMITS_2018.items():
        for level, most in rows.items():
            assert sealapi.CoeffModulus.MaxBitCount(degree, getattr(sealapi.SEC_LEVEL_TYPE, f"TC{level}")) == most


def test_a_ring_beyond_the_tables_is_refused():
    # two primes of 54 bits are 108: within 109, the row of 2018, and beyond 106, the row of 2024
    primes = (18014398509309953, 18014398509293569)
    assert 106 < math.prod(primes).bit_length() <= 109
    with pytest.raises(ParameterError, match="at most 106 bits"):
        Ring(4096, primes)
    for degree, few in ((2048, primes[:1]), (4096, ()), (4096, (12289,) * 3)):
        with pytest.raises(ParameterError):
            Ring(degree, few)


@pytest.mark.parametrize("ring", RINGS)
def test_primes_are_prime_and_fit_the_ring(ring):
    for prime in ring.primes:
        assert prime % (2 * ring.degree) == 1
        assert all(pow(base, prime - 1, prime) == 1 for base in (2, 3, 5, 7, 11, 13, 17))
    assert len(set(ring.primes)) == len(ring.primes)
    assert ring.is_public is (len(ring.primes) == 2)


@pytest.mark.parametrize("ring", RINGS)
def test_bytes_are_what_seal_announces(ring):
    base = backend(plain_modulus(3, ring), ring)

    def announced(blob):
        return (
            int.from_bytes(blob[21:25], "little") if blob[20] == 0xA0 else 256 + int.from_bytes(blob[21:23], "little")
        )

    if ring.is_public:
        secret, public = base.new_key_pair()
        assert announced(public) == ring.public_key_bytes
    else:
        secret = base.new_secret_key()
    assert announced(secret) == ring.secret_key_bytes
    assert ring.sent_bytes == (ring.full_bytes if ring.is_public else ring.seeded_bytes)
    assert ring.full_bytes - ring.seeded_bytes == 8 * ring.degree - 16 - 1 - 64
