from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import BFVSum, CapacityError, simulate
from secagg.codec import field_bits
from secagg.he.planner import fields_per_slot, plain_modulus, tag_bits
from secagg.he.seal import MODULUS, RING, _load, backend

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
    chance = n * Fraction(3, plain_modulus(n))  # one attempt for each party, of at most 3 / t
    if chance > Fraction(1, 2**20):
        with pytest.raises(CapacityError, match="forged"):
            BFVSum.plan(n, 1, 1)
    else:
        plan = BFVSum.plan(n, 1, 1)
        assert chance <= Fraction(1, 2 ** tag_bits(n)) < 2 * chance
        assert f"at most 2^-{tag_bits(n)}: {n} attempts" in plan.promise


def test_plans_end_where_a_forgery_becomes_too_likely():
    assert BFVSum.plan(11_540, 1, 8).num_parties == 11_540
    with pytest.raises(CapacityError):
        BFVSum.plan(11_541, 1, 8)
    with pytest.raises(CapacityError):
        replace(BFVSum.plan(11_540, 1, 8), num_parties=11_541)


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


def _ciphertext(t: int, constant: np.ndarray):
    """A ciphertext (constant, 0): whatever the key, decryption sees `constant`. SEAL's uncompressed format by hand."""
    base = backend(t)
    header = base.prefix[:5] + bytes(3)  # compression none
    array = header + (16 + 8 + 16 * RING).to_bytes(8, "little") + (2 * RING).to_bytes(8, "little")
    array += constant.astype("<u8").tobytes() + bytes(8 * RING)
    body = np.array(base.context.first_parms_id(), dtype="<u8").tobytes() + b"\0"
    body += b"".join(number.to_bytes(8, "little") for number in (2, RING, 1))
    body += np.array([1.0]).tobytes() + (1).to_bytes(8, "little") + array
    blob = header + (16 + len(body)).to_bytes(8, "little") + body
    return base, _load(base.sealapi.Ciphertext(), base.context, blob)


def _decrypts(t: int, noise: float) -> bool:
    """Whether coefficients q M / t + v with v as close to +-noise as integers come decrypt to M, everywhere."""
    base = backend(t)
    key = base.sealapi.KeyGenerator(base.context).secret_key()
    slots = np.random.default_rng(0).integers(0, t, RING, dtype=np.uint64)
    plain = base.sealapi.Plaintext()
    base.encoder.encode(slots.tolist(), plain)
    exact = [plain.data(i) for i in range(plain.coeff_count())]
    doubled = int(2 * noise)
    up = [(2 * MODULUS * m + doubled * t) // (2 * t) for m in exact]
    down = [-((-2 * MODULUS * m + doubled * t) // (2 * t)) for m in exact]
    outcomes = []
    for coefficients in (up, down):
        residues = np.array([c % MODULUS for c in coefficients] + [0] * (RING - len(exact)), dtype=np.uint64)
        _, cipher = _ciphertext(t, residues)
        shown = base.sealapi.Plaintext()
        base.sealapi.Decryptor(base.context, key).decrypt(cipher, shown)
        outcomes.append(base.encoder.decode_uint64(shown) == slots.tolist())
    return all(outcomes)


@pytest.mark.parametrize("n", [3, 15, 190, 381, 16_384])
def test_worst_case_noise_decrypts(n):
    t = plain_modulus(n)
    assert _decrypts(t, NOISE * n)
    # the bound is the real one: just beyond q / 2t, decryption goes wrong
    assert not _decrypts(t, MODULUS / (2 * t) + 2)


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
