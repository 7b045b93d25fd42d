from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import BFVSum, CapacityError, simulate
from secagg.codec import field_bits
from secagg.he.planner import (
    MAX_OPENERS,
    MIN_TAG_BITS,
    failure_bits,
    fields_per_slot,
    max_parties,
    plain_modulus,
    public_ring,
    tag_bits,
)
from secagg.he.rings import PUBLIC_RINGS, SHARED_RING, Ring
from secagg.he.seal import Backend, _load, backend

MODULUS, RING = SHARED_RING.modulus, SHARED_RING.degree

NOISE = 21.5
"""Bound of one ciphertext's noise: a centred binomial of 42 bits, and the rounding of q m / t."""


def _is_prime(number: int) -> bool:
    """By trial division."""
    return bool((number % np.arange(2, math.isqrt(number) + 1) != 0).all())


@given(st.integers(1, 10**6))
def test_modulus_is_the_largest_prime_that_the_noise_allows(n):
    t = plain_modulus(n)
    assert t % (2 * RING) == 1
    assert _is_prime(t)
    assert 2 * NOISE * n * t < MODULUS
    assert t < 2**41
    larger = t + 2 * RING
    while 2 * NOISE * n * larger < MODULUS and larger < 2**41:
        assert not _is_prime(larger)
        larger += 2 * RING


def test_ciphertext_modulus_is_a_prime_of_54_bits_for_this_ring():
    assert MODULUS.bit_length() == 54
    assert MODULUS % (2 * RING) == 1
    assert all(pow(base, MODULUS - 1, MODULUS) == 1 for base in (2, 3, 5, 7, 11, 13))


@given(st.integers(3, 20_000), st.integers(1, 41))
def test_accepted_plans_fit_and_refused_ones_do_not(n, b):
    t, width = plain_modulus(n), field_bits(n, b)
    try:
        fields = fields_per_slot(n, b)
    except CapacityError:
        assert 2**width > t
    else:
        # the largest sum that packed slots can show stays below t, and no further field would fit
        assert sum((n * (2**b - 1)) << (width * j) for j in range(fields)) < t
        assert 2 ** (width * (fields + 1)) > t


@pytest.mark.parametrize(("most", "b"), [(256, 32), (16_384, 20), (4, 38)])
def test_one_party_more_is_refused(most, b):
    assert fields_per_slot(most, b) == 1
    with pytest.raises(CapacityError):
        fields_per_slot(most + 1, b)


@given(st.integers(3, 30_000))
def test_a_session_of_forgeries_passes_with_a_chance_below_2_to_the_minus_20(n):
    chance = n * Fraction(3, plain_modulus(n) - 1)  # one attempt for each party, of at most 3 / (t - 1)
    if chance > Fraction(1, 2**20):
        with pytest.raises(CapacityError, match="forged"):
            tag_bits(n)
    else:
        assert chance <= Fraction(1, 2 ** tag_bits(n)) < 2 * chance
    few = 3 + n % (MAX_OPENERS - 2)
    assert f"at most 2^-{tag_bits(few)}: {few} attempts" in BFVSum.plan(few, 1, 1).promise


def test_a_forgery_becomes_too_likely_with_many_parties():
    assert tag_bits(11_540) == MIN_TAG_BITS
    with pytest.raises(CapacityError):
        tag_bits(11_541)


def test_two_fields_end_where_the_noise_does():
    # two fields of 20 bits need t > 2^40, and so n < q / (43 * 2^40) = 381.02...
    assert fields_per_slot(381, 11) == 2
    assert fields_per_slot(382, 11) == 1
    # 200 parties of 12 bits would not be safe with the batching prime just below 2^41
    assert 2 * NOISE * 200 * 2199023190017 > MODULUS
    assert 2 * NOISE * 190 * 2199023190017 < MODULUS < 2 * NOISE * 191 * 2199023190017
    assert fields_per_slot(200, 12) == 2


def test_far_too_many_parties_are_refused():
    with pytest.raises(CapacityError):
        plain_modulus(2**41)


def _public_noise(n: int, ring: Ring) -> float:
    """What the noise of a sum of n stays below, but for 2^-64 in any of 2^41 coefficients: n + 1/2 and the tail's y."""
    return n + 0.5 + math.sqrt(n * ring.degree * math.log(2**106) / 6)


@given(st.integers(1, 2**31), st.sampled_from(PUBLIC_RINGS))
def test_public_modulus_is_the_largest_prime_that_fails_seldom_enough(n, ring):
    try:
        t = plain_modulus(n, ring)
    except CapacityError:
        assert 2 * _public_noise(n, ring) * 10 * 2**14 > ring.modulus  # no room for the smallest of primes
        return
    assert t % (2 * ring.degree) == 1
    assert 2 * _public_noise(n, ring) * t < ring.modulus
    assert failure_bits(n, ring) >= 64
    # and hardly smaller than it must be: 7 for 6.9987, whole numbers, and the distance of primes
    larger, gap = t, 0
    while gap < 60:
        larger, gap = larger + 2 * ring.degree, gap + 1
        if 2 * (_public_noise(n, ring) * 1.0003 + 4) * larger >= ring.modulus or larger >= 2**41:
            break
        assert not _is_prime(larger)


@pytest.mark.parametrize(
    ("room", "shared", "small", "large"),
    [
        (40, 381, 288, 339_662),
        (38, 1524, 3373, 1_685_837),
        (36, 6096, 28_031, 7_519_841),
        (34, 24_385, 169_830, 31_768_725),
        (32, 97_541, 842_913, 130_595_019),
    ],
)
def test_table_of_the_most_parties(room, shared, small, large):
    for ring, most in zip((SHARED_RING, *PUBLIC_RINGS), (shared, small, large), strict=True):
        assert max_parties(room, ring) == most
        assert plain_modulus(most, ring) > 2**room > plain_modulus(most + 1, ring)
        assert fields_per_slot(most, room - most.bit_length(), ring) == 1


def test_rings_are_chosen_by_the_bytes_they_take():
    assert public_ring(15, 16, 10**6) is PUBLIC_RINGS[0]
    # sums of 20 bits: two fields to a slot in the larger ring alone, and half of it empty for short vectors
    assert fields_per_slot(600, 10, PUBLIC_RINGS[0]) == 1
    assert fields_per_slot(600, 10, PUBLIC_RINGS[1]) == 2
    assert public_ring(600, 10, 10**6) is PUBLIC_RINGS[1]
    assert public_ring(600, 10, 4000) is PUBLIC_RINGS[0]
    # one party more than the smaller ring carries
    assert public_ring(288, 31, 1) is PUBLIC_RINGS[0]
    assert public_ring(289, 31, 1) is PUBLIC_RINGS[1]
    with pytest.raises(CapacityError):
        public_ring(2**9 + 1, 31, 1)  # sums of 41 bits


def test_shared_uploads_are_at_most_a_float_and_two_thirds_of_one():
    for bits, times in ((16, 1.0), (8, 0.65)):
        plan = BFVSum.plan(15, 10**5, bits)
        small = BFVSum.plan(15, plan.values_per_chunk, bits)  # one full ciphertext; the last of a vector may be empty
        vectors = np.random.default_rng(bits).integers(0, 2**bits, (15, small.dim))
        assert simulate(small, vectors).bytes_up.max() <= times * 4 * small.dim


def _noise(base: Backend, cipher: object, key: object) -> np.ndarray:
    """The noise of an encryption of zero, whole: times floor(q/t), it decrypts to itself."""
    t = base.context.first_context_data().parms().plain_modulus().value()
    base.evaluator.multiply_plain_inplace(cipher, base.sealapi.Plaintext(f"{base.ring.modulus // t:X}"))
    shown = base.sealapi.Plaintext()
    base.sealapi.Decryptor(base.context, key).decrypt(cipher, shown)
    found = [shown.data(i) for i in range(shown.coeff_count())]
    noise = np.array(found + [0] * (base.ring.degree - len(found)), dtype=np.int64)
    return np.where(noise > t // 2, noise - t, noise)


@pytest.mark.parametrize("ring", PUBLIC_RINGS)
def test_public_noise_stays_within_its_bound(ring):
    base, count = backend(plain_modulus(77, ring), ring), 300 if ring.degree == 4096 else 100
    key = base.sealapi.KeyGenerator(base.context)
    public = base.sealapi.PublicKey()
    key.create_public_key(public)
    encryptor, secret = base.sealapi.Encryptor(base.context, public), key.secret_key()
    ciphers = [base.sealapi.Ciphertext() for _ in range(count)]
    total = base.sealapi.Ciphertext()
    for cipher in ciphers:
        encryptor.encrypt(base.sealapi.Plaintext("0"), cipher)
    base.evaluator.add_many(ciphers, total)
    drawn = [_noise(base, cipher, secret) for cipher in ciphers]
    # one ciphertext: but for 1e-9, every coefficient of all is below the tail's y, and the terms beside it below 1
    most = max(int(np.abs(noise).max()) for noise in drawn)
    assert most <= 1 + math.sqrt(ring.degree * math.log(2 * count * ring.degree / 1e-9) / 6)
    # the sum of all, the same: noise grows with the root of the parties, and adds up as it should
    summed = np.sum(drawn, axis=0)
    assert np.abs(summed).max() <= count + math.sqrt(count * ring.degree * math.log(2 * ring.degree / 1e-9) / 6)
    assert np.array_equal(_noise(base, total, secret), summed)
    if ring.degree == 4096:
        # and the measurement would see more: first coefficients are independent, of variance at least (N/2) / 12, and
        # of a fourth moment at most three times its square, so that each square exceeds half of that with a chance of
        # at least 1/12 (Paley and Zygmund), and none of 300 does with one below 1e-11
        assert max(abs(int(noise[0])) for noise in drawn) ** 2 > ring.degree / 48


def _ciphertext(base: Backend, constant: np.ndarray):
    """A ciphertext (constant, 0): whatever the key, decryption sees `constant`. SEAL's uncompressed format by hand."""
    degree = base.ring.degree
    header = base.prefix[:5] + bytes(3)  # compression none
    array = header + (16 + 8 + 16 * degree).to_bytes(8, "little") + (2 * degree).to_bytes(8, "little")
    array += constant.astype("<u8").tobytes() + bytes(8 * degree)
    body = np.array(base.context.first_parms_id(), dtype="<u8").tobytes() + b"\0"
    body += b"".join(number.to_bytes(8, "little") for number in (2, degree, 1))
    body += np.array([1.0]).tobytes() + (1).to_bytes(8, "little") + array
    blob = header + (16 + len(body)).to_bytes(8, "little") + body
    return _load(base.sealapi.Ciphertext(), base.context, blob)


def _decrypts(t: int, noise: float, ring: Ring = SHARED_RING) -> bool:
    """Whether coefficients q M / t + v with v as close to +-noise as integers come decrypt to M, everywhere."""
    base, q = backend(t, ring), ring.modulus
    key = base.sealapi.KeyGenerator(base.context).secret_key()
    slots = np.random.default_rng(0).integers(0, t, ring.degree, dtype=np.uint64)
    plain = base.sealapi.Plaintext()
    base.encoder.encode(slots.tolist(), plain)
    exact = [plain.data(i) for i in range(plain.coeff_count())]
    doubled = int(2 * noise)
    up = [(2 * q * m + doubled * t) // (2 * t) for m in exact]
    down = [-((-2 * q * m + doubled * t) // (2 * t)) for m in exact]
    outcomes = []
    for coefficients in (up, down):
        residues = np.array([c % q for c in coefficients] + [0] * (ring.degree - len(exact)), dtype=np.uint64)
        shown = base.sealapi.Plaintext()
        base.sealapi.Decryptor(base.context, key).decrypt(_ciphertext(base, residues), shown)
        outcomes.append(base.encoder.decode_uint64(shown) == slots.tolist())
    return all(outcomes)


@pytest.mark.parametrize("n", [3, 15, 190, 381, 16_384])
def test_worst_case_noise_decrypts(n):
    t = plain_modulus(n)
    assert _decrypts(t, NOISE * n)
    # the bound is the real one: just beyond q / 2t, decryption goes wrong
    assert not _decrypts(t, MODULUS / (2 * t) + 2)


@pytest.mark.parametrize(("n", "ring"), [(3, 0), (78, 0), (288, 0), (5000, 0), (400_000, 1)])
def test_worst_noise_that_is_planned_under_a_public_key_decrypts(n, ring):
    ring = PUBLIC_RINGS[ring]
    t = plain_modulus(n, ring)
    assert _decrypts(t, _public_noise(n, ring), ring)
    assert not _decrypts(t, ring.modulus / (2 * t) + 2, ring)


def test_largest_two_field_cohort_sums_exactly():
    plan = BFVSum.plan(381, 40, 11)
    vectors = np.full((381, 40), 2**11 - 1)
    assert simulate(plan, vectors).total.tolist() == [381 * (2**11 - 1)] * 40


def test_noise_that_seal_draws_is_within_the_bound():
    # k times an encryption of zero shows zero if and only if k |e| < q / 2t = 4095.99: k = 195 shows |e| <= 21
    t = plain_modulus(3)
    assert 195 * 21 < MODULUS / (2 * t) < 195 * 22
    base = backend(t)
    key = base.sealapi.KeyGenerator(base.context).secret_key()
    encryptor, decryptor = base.sealapi.Encryptor(base.context, key), base.sealapi.Decryptor(base.context, key)

    def shows_zero(factor: int) -> bool:
        cipher, shown = base.sealapi.Ciphertext(), base.sealapi.Plaintext()
        encryptor.encrypt_symmetric(base.sealapi.Plaintext("0"), cipher)
        base.evaluator.multiply_plain_inplace(cipher, base.sealapi.Plaintext(f"{factor:X}"))
        decryptor.decrypt(cipher, shown)
        return bool(shown.is_zero())

    assert all(shows_zero(195) for _ in range(25))
    # and the measurement would see more: some coefficient of 4096 reaches 9 (standard deviation 3.24)
    assert not any(shows_zero(456) for _ in range(5))
