"""Elements of the ring: residues and integers are the same numbers, and every operation is the integers' own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.threshold import ring
from secagg.threshold.ring import ELEMENT_BYTES, PRIMES, RING, ROOTS, Q
from tests.oracles import lattice as oracle

SESSION = bytes(range(32))
EDGES = [0, 1, Q - 1, Q // 2, PRIMES[0] - 1, PRIMES[0], PRIMES[1], PRIMES[0] * (PRIMES[1] - 1)]
seeds = st.integers(0, 2**64 - 1)


def _numbers(seed, *shape):
    out = np.random.default_rng(seed).integers(0, Q, (*shape, RING), dtype=np.uint64)
    out[..., : len(EDGES)] = EDGES
    return out


def test_primes_are_the_two_largest():
    assert list(PRIMES) == oracle.largest_primes(30, 2 * RING, 2)
    assert [oracle.root_of_minus_one(p, RING) for p in PRIMES] == list(ROOTS)
    assert PRIMES[0] * PRIMES[1] == Q < 2**60


@given(seeds)
def test_lift_takes_residues_back(seed):
    x = _numbers(seed, 2)
    rows = ring.to_residues(x)
    assert rows.shape == (2, 2, RING)
    assert all((rows[:, r] == x % np.uint64(p)).all() for r, p in enumerate(PRIMES))
    assert ring.lift(rows).dtype == np.uint64
    assert (ring.lift(rows) == x).all()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_signed_coefficients_are_taken_modulo_q(values):
    edges = [*values, -(2**63), 2**63 - 1, -1, 0, -PRIMES[0], -PRIMES[1]]
    x = np.zeros(RING, dtype=np.int64)
    x[: len(edges)] = edges
    assert ring.lift(ring.from_signed(x)).tolist() == [int(v) % Q for v in x]


@given(seeds)
def test_operations_are_those_of_integers(seed):
    x, y = _numbers(seed, 3), _numbers(seed + 1)
    y[: len(EDGES)] = EDGES[::-1]
    a, b = ring.to_residues(x), ring.to_residues(y)
    left, right = x.astype(object), y.astype(object)
    for ours, wanted in (
        (ring.add(a, b), (left + right) % Q),
        (ring.subtract(a, b), (left - right) % Q),
        (ring.subtract(b, a), (right - left) % Q),
        (ring.multiply(a, b), left * right % Q),
    ):
        assert ours.shape == a.shape
        assert all(int(ours[:, r].max()) < p for r, p in enumerate(PRIMES))
        assert (ring.lift(ours).astype(object) == wanted).all()


@pytest.mark.parametrize("degree", [0, 1, 2048, 4095])
def test_products_by_a_power_turn_and_change_sign(degree):
    # X^d times a is a schoolbook product that is written down at once, over the whole ring
    x, power = _numbers(5, 2), np.zeros(RING, dtype=np.int64)
    power[degree] = 1
    transformed = ring.multiply(ring.forward(ring.to_residues(x)), ring.forward(ring.from_signed(power)))
    turned = np.roll(x.astype(object), degree, axis=-1)
    turned[:, :degree] *= -1
    assert (ring.lift(ring.inverse(transformed)).astype(object) == turned % Q).all()


def test_long_products_are_the_schoolbook():
    # the oracle's product of large integers, which the slow sums agree with where they can be afforded
    short = [_numbers(seed)[:16].tolist() for seed in (1, 2)]
    assert oracle.long_product(*short, Q) == oracle.product(*short, Q)
    x, y = _numbers(3, 2), _numbers(4)
    transformed = ring.multiply(ring.forward(ring.to_residues(x)), ring.forward(ring.to_residues(y)))
    wanted = [oracle.long_product(row, y.tolist(), Q) for row in x.tolist()]
    assert ring.lift(ring.inverse(transformed)).tolist() == wanted


@pytest.mark.parametrize("shape", [(2, RING), (1, 2, RING), (3, 2, RING), (2, 3, 2, RING), (0, 2, RING)])
def test_transforms_take_any_leading_shape(shape):
    rows = np.zeros(shape, dtype=np.uint64)
    rows[...] = np.arange(RING, dtype=np.uint64)
    rows[..., 0] = np.arange(rows[..., 0].size, dtype=np.uint64).reshape(shape[:-1])
    values = ring.forward(rows)
    for own, wanted in zip(rows.reshape(-1, 2, RING), values.reshape(-1, 2, RING), strict=True):
        assert (ring.forward(own) == wanted).all()
    assert values.shape == shape
    assert (ring.inverse(values) == rows).all()


@pytest.mark.parametrize("index", [0, 1, 2**32 - 1])
def test_public_elements_equal_the_slow_oracle(index):
    element = ring.uniform(SESSION, index)
    assert element.dtype == np.uint64
    assert element.tolist() == oracle.public_element(SESSION, index, PRIMES)


def test_public_elements_differ_by_session_index_and_prime():
    seen = [ring.uniform(s, k)[r, :8].tobytes() for s in (SESSION, bytes(32)) for k in (0, 1, 256) for r in (0, 1)]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("prime", [5, 257, 2**29 + 11])
def test_expansion_goes_on_until_there_are_enough(prime, monkeypatch):
    # just above a power of two nearly a half is rejected; a stream that is cut short shall be read again, longer
    whole = ring._expand(b"seed", prime, 500)
    asked = []
    shake = ring.hashlib.shake_128

    class Short:
        def __init__(self, seed):
            self.data = shake(seed)

        def digest(self, length):
            asked.append(length)
            return self.data.digest(length if len(asked) > 2 else 4)

    assert int(whole.max()) < prime
    monkeypatch.setattr(ring.hashlib, "shake_128", Short)
    assert (ring._expand(b"seed", prime, 500) == whole).all()
    assert len(asked) >= 3
    assert asked[1] == 2 * asked[0]


@pytest.mark.parametrize("prime", [3, 5, 11])
def test_expansion_is_uniform_over_all_streams_of_words(prime, monkeypatch):
    # every stream of four words' low bits, as often as it comes: the first entry takes each residue equally often
    bits = (prime - 1).bit_length()
    counts = [0] * prime
    for code in range(2 ** (2 * bits)):
        words = [code >> bits * i & (2**bits - 1) for i in range(2)]
        stream = b"".join((w + 2**31).to_bytes(4, "little") for w in words) + bytes(4 * 200)

        class Fixed:
            def __init__(self, seed, stream=stream):
                self.stream = stream

            def digest(self, length):
                return self.stream[:length]

        monkeypatch.setattr(ring.hashlib, "shake_128", Fixed)
        if min(words) < prime:
            counts[int(ring._expand(b"", prime, 1)[0])] += 1
    assert len(set(counts)) == 1


@given(seeds, st.integers(0, 10))
def test_packing_is_thirty_bits_and_one_encoding(seed, count):
    rows = ring.to_residues(_numbers(seed, count))
    data = ring.pack(rows)
    assert len(data) == count * ELEMENT_BYTES
    assert (ring.unpack(data, count) == rows).all()


def test_packed_bytes_are_those_of_one_large_integer():
    rows = ring.to_residues(_numbers(3))
    assert ring.pack(rows) == oracle.bits_as_bytes(rows.reshape(-1).tolist(), 30)
    assert ELEMENT_BYTES == RING * 60 // 8


def test_bad_messages_are_refused():
    data = ring.pack(np.zeros((2, 2, RING), dtype=np.uint64))
    for bad in (data[:-1], data + b"\0", b""):
        with pytest.raises(DecodeError, match="does not hold 2 elements"):
            ring.unpack(bad, 2)
    for r, place in ((0, 0), (1, 0), (0, RING - 1), (1, RING - 1)):
        rows = np.zeros((2, 2, RING), dtype=np.uint64)
        rows[1, r, place] = PRIMES[r] - 1
        assert (ring.unpack(ring.pack(rows), 2) == rows).all()
        rows[1, r, place] = PRIMES[r]
        with pytest.raises(DecodeError, match="no residue"):
            ring.unpack(ring.pack(rows), 2)


def test_bad_arguments_are_refused():
    good = np.zeros((2, RING), dtype=np.uint64)
    for bad in (good[:1], good[:, 1:], good.astype(np.int64), [0], np.zeros(RING, dtype=np.uint64)):
        for call in (ring.forward, ring.inverse, ring.lift, ring.pack):
            with pytest.raises(ParameterError, match="element must be an array of dtype uint64"):
                call(bad)
        for operation in (ring.add, ring.subtract, ring.multiply):
            with pytest.raises(ParameterError, match="left must be an array"):
                operation(bad, good)
            with pytest.raises(ParameterError, match="right must be an array"):
                operation(good, bad)
    with pytest.raises(ParameterError, match="x must be below Q"):
        ring.to_residues(np.full(RING, Q, dtype=np.uint64))
    with pytest.raises(ParameterError, match="dtype uint64"):
        ring.to_residues(np.zeros(RING, dtype=np.int64))
    with pytest.raises(ParameterError, match="dtype int64"):
        ring.from_signed(np.zeros(RING, dtype=np.uint64))
    with pytest.raises(ParameterError, match="below the prime"):
        ring.forward(np.full((2, RING), PRIMES[1], dtype=np.uint64))
    for session, index in ((bytes(31), 0), ("a" * 32, 0), (SESSION, -1), (SESSION, 2**32), (SESSION, 0.0)):
        with pytest.raises(ParameterError, match=r"session must be|index must be"):
            ring.uniform(session, index)
