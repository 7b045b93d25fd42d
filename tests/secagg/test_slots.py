"""SEAL's CKKS as this package uses it: exact polynomials in, bounded noise, and nothing but our own ciphertexts."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import tenseal.sealapi as sealapi
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.he.seal import _load
from secagg.he.slots import RINGS, SlotBackend, SlotCipher, slot_backend

LIMITS = {
    2018: {4096: {128: 109, 192: 75, 256: 58}, 8192: {128: 218, 192: 152, 256: 118}},
    2024: {4096: {128: 106, 192: 73, 256: 56}, 8192: {128: 214, 192: 147, 256: 114}},
}
"""Bits of a modulus: Homomorphic Encryption Standard, table 1; Bossuat et al., ePrint 2024/463."""


def plain_coefficients(backend: SlotBackend, plain, places: list[int] | None = None) -> list[int]:
    """The centred integer coefficients of an encoded or decrypted plaintext."""
    ring = backend.ring
    cipher = backend._pair(np.zeros(ring.degree, dtype=np.int64))
    backend.evaluator.add_plain_inplace(cipher, plain)
    return cipher_coefficients(backend, cipher, places)


def cipher_coefficients(backend: SlotBackend, cipher, places: list[int] | None = None, half: int = 0) -> list[int]:
    """The centred integer coefficients of one half of a ciphertext, which is changed."""
    ring = backend.ring
    backend.evaluator.transform_from_ntt_inplace(cipher)
    array, found = cipher.dyn_array(), []
    for place in range(ring.degree) if places is None else places:
        value = 0
        for number, prime in enumerate(ring.primes):
            residue = array.at((half * len(ring.primes) + number) * ring.degree + place)
            cofactor = ring.modulus // prime
            value += residue * cofactor * pow(cofactor, -1, prime)
        value %= ring.modulus
        found.append(value - ring.modulus if 2 * value > ring.modulus else value)
    return found


def _is_prime(number: int) -> bool:
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11, 13))


@pytest.fixture(scope="module", params=RINGS, ids=lambda ring: str(ring.degree))
def backend(request):
    return slot_backend(request.param, 40)


@pytest.mark.parametrize("ring", RINGS, ids=lambda ring: str(ring.degree))
def test_rings_are_within_both_tables(ring):
    for prime in ring.primes + ring.special:
        assert _is_prime(prime)
        assert prime % (2 * ring.degree) == 1
    for limits in LIMITS.values():
        assert ring.modulus.bit_length() <= limits[ring.degree][ring.level]
    # SEAL counts the special prime as well
    assert (ring.modulus * math.prod(ring.special)).bit_length() <= LIMITS[2018][ring.degree][ring.level]


def test_polynomials_are_added_exactly(backend):
    ring = backend.ring
    rng = np.random.default_rng(1)
    added = rng.integers(-(3 << 58), 3 << 58, ring.degree)
    added[:4] = (0, 1, -1, 3 << 58)
    cipher = backend._pair(np.zeros(ring.degree, dtype=np.int64))
    backend.add_polynomial(cipher, added)
    half = ring.modulus // 2
    assert cipher_coefficients(backend, cipher) == [(int(x) + half) % ring.modulus - half for x in added]
    again = backend._pair(added)
    assert cipher_coefficients(backend, again, [0, 1, 2], half=1) == [1, 0, 0]


def test_encoding_is_within_the_bound_of_its_transform(backend):
    ring = backend.ring
    rng = np.random.default_rng(2)
    scale = 2.0 ** (40 if len(ring.primes) == 1 else 60)
    slots = rng.uniform(-1, 1, ring.degree // 2) + 1j * rng.uniform(-1, 1, ring.degree // 2)
    plain = backend.sealapi.Plaintext()
    backend.encoder.encode(slots.tolist(), scale, plain)
    places = [0, 1, ring.degree // 4, ring.degree - 1]
    angles = [pow(3, slot, 2 * ring.degree) for slot in range(ring.degree // 2)]
    with mpmath.workdps(40):
        for place, found in zip(places, _plain_at(backend, plain, places, scale), strict=True):
            # a coefficient is the mean over all N embeddings, half of which are conjugates of the slots
            turned = (
                mpmath.mpf(z.real) * mpmath.cospi(mpmath.mpf(angle * place) / ring.degree)
                + mpmath.mpf(z.imag) * mpmath.sinpi(mpmath.mpf(angle * place) / ring.degree)
                for z, angle in zip(slots, angles, strict=True)
            )
            exact = 2 * mpmath.fsum(turned) * scale / ring.degree
            assert abs(found - exact) <= mpmath.mpf(1) / 2 + scale * math.sqrt(2) * 2.0**-45


def _plain_at(backend: SlotBackend, plain, places: list[int], scale: float) -> list[int]:
    """`plain_coefficients` for a plaintext of another scale than the backend's."""
    return plain_coefficients(slot_backend(backend.ring, int(math.log2(scale))), plain, places)


def test_fresh_noise_is_what_the_bounds_count_on(backend):
    ring = backend.ring
    cipher = SlotCipher(backend, backend.new_secret_key())
    blob = cipher.encrypt(np.zeros(ring.degree // 2, dtype=complex))
    plain = backend.sealapi.Plaintext()
    cipher._decryptor.decrypt(backend.load(blob, ring.seeded_bytes), plain)
    noise = np.array(plain_coefficients(backend, plain))
    assert np.abs(noise).max() <= 21
    # squares of a centred binomial have mean 10.5, and a standard deviation below 15; 7 of them are 1e-11
    assert abs((noise**2).mean() - 10.5) <= 7 * 15 / math.sqrt(ring.degree)


def test_a_decryption_without_flood_gives_the_key_away():
    """The attack of Li & Micciancio: encode again what was decrypted, and solve for the key."""
    ring, backend = RINGS[0], slot_backend(RINGS[0], 40)
    secret_key = backend.new_secret_key()
    cipher = SlotCipher(backend, secret_key)
    slots = np.random.default_rng(3).uniform(-1, 1, ring.degree // 2) + 0j
    blob = cipher.encrypt(slots)
    (prime,) = ring.primes
    kept = backend.load(blob, ring.seeded_bytes)  # its array does not outlive it
    wire = kept.dyn_array()

    def key_from(opened: np.ndarray) -> list[int]:
        plain = backend.sealapi.Plaintext()
        backend.encoder.encode(opened.tolist(), 2.0**40, plain)
        return [
            (plain.data(i) - wire.at(i)) * pow(wire.at(ring.degree + i), -1, prime) % prime for i in range(ring.degree)
        ]

    bare = cipher.decrypt(backend.load(blob, ring.seeded_bytes))
    stolen = key_from(bare)
    one = np.zeros(ring.degree, dtype=np.int64)
    one[17] = 1
    hidden = backend.load(blob, ring.seeded_bytes)
    backend.add_polynomial(hidden, one)
    # a key has coefficients -1, 0 and 1: what was solved for is one, and with a single other coefficient it is not
    assert _is_ternary(backend, stolen)
    assert not _is_ternary(backend, key_from(cipher.decrypt(hidden)))


def _is_ternary(backend: SlotBackend, transformed: list[int]) -> bool:
    """Whether a polynomial in SEAL's transformed form has coefficients -1, 0, 1 alone."""
    ring = backend.ring
    one = [1] * ring.degree  # (s, 1) in transformed form; loaded as such, and transformed back
    words = np.array(transformed + one, dtype="<u8")
    array = backend._object(struct.pack("<Q", words.size) + words.tobytes())
    fields = struct.pack("<4QBQQQdQ", *backend.context.first_parms_id(), 1, 2, ring.degree, 1, 2.0**40, 1)
    cipher = _load(backend.sealapi.Ciphertext(), backend.context, backend._object(fields + array))
    return set(cipher_coefficients(backend, cipher)) <= {-1, 0, 1}


def test_ciphertexts_of_equal_slots_differ(backend):
    cipher = SlotCipher(backend, backend.new_secret_key())
    slots = np.ones(backend.ring.degree // 2, dtype=complex)
    blobs = [cipher.encrypt(slots) for _ in range(3)]
    loaded = [backend.load(blob, backend.ring.seeded_bytes) for blob in blobs]
    last = 2 * backend.ring.degree * len(backend.ring.primes) - 1
    halves = {tuple(one.dyn_array().at(last - i) for i in range(4)) for one in loaded}
    assert len(set(blobs)) == len(halves) == 3


def test_only_ciphertexts_of_this_ring_and_scale_are_loaded(backend):
    ring = backend.ring
    slots = np.zeros(ring.degree // 2, dtype=complex)
    good = SlotCipher(backend, backend.new_secret_key()).encrypt(slots)
    backend.load(good, ring.seeded_bytes)
    other_scale = slot_backend(ring, 39)
    (other_ring,) = (other for other in RINGS if other != ring)
    foreign = slot_backend(other_ring, 40)
    others = [
        SlotCipher(other_scale, other_scale.new_secret_key()).encrypt(slots),
        SlotCipher(foreign, foreign.new_secret_key()).encrypt(np.zeros(other_ring.degree // 2, dtype=complex)),
        backend.new_secret_key(),
        good[:-1],
        good + b"\0",
        good[:3] + bytes([good[3] + 1]) + good[4:],
        good[:5] + b"\0" + good[6:],
        b"",
    ]
    for blob in others:
        with pytest.raises(DecodeError):
            backend.load(blob, ring.seeded_bytes)
    with pytest.raises(DecodeError):
        backend.load(good, ring.full_bytes)
    with pytest.raises(DecodeError):
        SlotCipher(backend, foreign.new_secret_key())


@settings(max_examples=40)
@given(place=st.integers(0, 400), bit=st.integers(0, 7))
def test_damaged_ciphertexts_never_crash(place, bit):
    backend = slot_backend(RINGS[0], 40)
    good = _GOOD.setdefault(
        "blob", SlotCipher(backend, backend.new_secret_key()).encrypt(np.zeros(2048, dtype=complex))
    )
    damaged = bytearray(good)
    damaged[place] ^= 1 << bit
    try:
        cipher = backend.load(bytes(damaged), RINGS[0].seeded_bytes)
    except DecodeError:
        return
    assert cipher.size() == 2


_GOOD: dict[str, bytes] = {}


def test_a_seeded_generator_is_refused():
    ring = RINGS[0]
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring.degree)
    parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in ring.primes])
    parameters.set_random_generator(sealapi.Blake2xbPRNGFactory([1, 2, 3, 4, 5, 6, 7, 8]))
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC192)
    with pytest.raises(ParameterError, match="seeded"):
        replace(slot_backend(ring, 40), context=context)


def test_other_versions_of_seal_are_named(backend):
    blob = bytearray(backend.new_secret_key())
    blob[4] += 1
    with pytest.raises(DecodeError, match="install the same tenseal"):
        backend.load_secret_key(bytes(blob))
    with pytest.raises(DecodeError, match="got bytearray"):
        backend.load_secret_key(blob)


def test_adding_leaves_the_right_operand_as_it_was(backend):
    ring = backend.ring
    cipher = SlotCipher(backend, backend.new_secret_key())
    left, right = (
        backend.load(cipher.encrypt(np.full(ring.degree // 2, value, dtype=complex)), ring.seeded_bytes)
        for value in (0.25, 0.5)
    )
    before = backend.save(right)
    backend.add(left, right)
    assert backend.save(right) == before
    assert np.abs(cipher.decrypt(left) - 0.75).max() < 1e-8
    assert np.abs(cipher.decrypt(right) - 0.5).max() < 1e-8
