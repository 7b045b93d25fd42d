"""Masked vectors against schoolbook products and integers without end; noise at its extremes; wrong secrets."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.codec import pack
from secagg.errors import DecodeError
from secagg.masking.packing import unpack_bits
from secagg.threshold import masked
from secagg.threshold.masked import add_input, mask_input, open_total
from secagg.threshold.noise import BOUND, gaussian
from secagg.threshold.parameters import packing
from secagg.threshold.ring import RING, Q, inverse, lift, uniform

SESSION = bytes(range(32))
SECRET = gaussian(bytes([1]) * 32, index=0, count=RING)


def _sum(plan, vectors, secrets, keys):
    total = np.zeros(plan.chunks * RING, dtype=np.uint64)
    for vector, secret, key in zip(vectors, secrets, keys, strict=True):
        body = mask_input(vector, plan, session=SESSION, secret=secret, noise_key=key)
        assert len(body) == plan.input_bytes
        total = add_input(total, memoryview(body), plan)
    return total


def _drawn(plan, n, seed):
    draw = np.random.default_rng(seed)
    vectors = draw.integers(0, 1 << plan.value_bits, (n, plan.dim), dtype=np.uint64)
    keys = [draw.bytes(32) for _ in range(n)]
    return vectors, [gaussian(key, index=9, count=RING) for key in keys], keys


@given(
    n=st.integers(1, 6), more=st.integers(0, 3), dim=st.integers(1, 9000), bits=st.integers(1, 30), seed=st.integers(0)
)
def test_sums_open_exactly(n, more, dim, bits, seed):
    plan = packing(n + more, dim, bits)
    vectors, secrets, keys = _drawn(plan, n, seed)
    total = _sum(plan, vectors, secrets, keys)
    opened = open_total(total, plan, session=SESSION, secrets=sum(secrets), survivors=n)
    assert opened.tolist() == vectors.sum(axis=0).tolist()


@pytest.mark.parametrize(("coefficient", "cut"), [(0, 0), (1, 1), (2047, 0), (4095, 34)])
def test_a_coefficient_is_what_the_page_says(coefficient, cut):
    """One coefficient of the second chunk, by the schoolbook and with Python's integers."""
    plan = replace(packing(15, 30_000, 16), cut=cut)
    vector = np.random.default_rng(0).integers(0, 1 << 16, plan.dim, dtype=np.uint64)
    body = mask_input(vector, plan, session=SESSION, secret=SECRET, noise_key=bytes(32))
    sent = int(unpack_bits(body, plan.chunks * RING, plan.bits)[RING + coefficient])
    public, secret = lift(inverse(uniform(SESSION, 1)[None]))[0].tolist(), SECRET.tolist()
    product = sum(public[i] * secret[(coefficient - i) % RING] * (1 if i <= coefficient else -1) for i in range(RING))
    word = int(pack(vector, plan.width, plan.fields)[RING + coefficient])
    noise = int(gaussian(bytes(32), index=1, count=RING)[coefficient])
    b = (product + noise + Q // 2 ** (plan.width * plan.fields) * word) % Q
    assert sent == (b + 2**plan.cut // 2) // 2**plan.cut


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("n", "bits"), [(3, 8), (15, 16), (100, 16), (400, 8), (400, 32)])
def test_extreme_noise_decodes(monkeypatch, n, bits, sign):
    """Noise as large as is planned for, at the least and at the largest values."""
    plan = packing(n, 2 * RING, bits)
    vectors = np.zeros((n, plan.dim), dtype=np.uint64)
    vectors[:, 1::2] = (1 << bits) - 1
    shares = [plan.limit // n + (k < plan.limit % n) for k in range(n)]
    secret, step = np.zeros(RING, dtype=np.int64), 50 if n > 50 else 1
    total = np.zeros(plan.chunks * RING, dtype=np.uint64)
    for start in range(0, n, step):  # parties with the same noise send the same
        for share in sorted(set(shares[start : start + step])):
            monkeypatch.setattr(masked, "gaussian", lambda key, *, index, count, e=sign * share: np.full(count, e))
            body = memoryview(mask_input(vectors[0], plan, session=SESSION, secret=secret, noise_key=b""))
            for _ in range(shares[start : start + step].count(share)):
                total = add_input(total, body, plan)
    opened = open_total(total, plan, session=SESSION, secrets=secret, survivors=n)
    assert opened.tolist() == vectors.sum(axis=0).tolist()


def test_a_wrong_sum_of_secrets_does_not_open():
    plan = packing(5, 100, 16)
    vectors, secrets, keys = _drawn(plan, 4, 0)
    total, right = _sum(plan, vectors, secrets, keys), sum(secrets)
    nudged = right.copy()
    nudged[17] += 1
    far = np.where(right > 0, right, right + BOUND * 4 + 1)
    for wrong in (nudged, right - secrets[0], -right, far, right * 0):
        with pytest.raises(DecodeError, match="did not verify"):
            open_total(total, plan, session=SESSION, secrets=wrong, survivors=4)
    with pytest.raises(DecodeError, match="did not verify"):
        open_total(total, plan, session=bytes(32), secrets=right, survivors=4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_more_than_noise_beside_the_sum_does_not_open(sign):
    plan = packing(5, 100, 16)
    vectors, secrets, keys = _drawn(plan, 3, 0)
    total = _sum(plan, vectors, secrets, keys)
    for moved in (plan.delta // 4, 3 * plan.delta // 8):  # an eighth is planned for; a half would be another sum
        with pytest.raises(DecodeError, match="did not verify"):
            open_total(
                (total + np.uint64(Q + sign * moved)) % np.uint64(Q),
                plan,
                session=SESSION,
                secrets=sum(secrets),
                survivors=3,
            )


def test_more_than_the_survivors_can_send_does_not_open():
    plan = packing(5, 100, 16)
    vectors, secrets, keys = _drawn(plan, 3, 0)
    vectors[:] = (1 << 16) - 1
    with pytest.raises(DecodeError, match="did not verify"):
        open_total(_sum(plan, vectors, secrets, keys), plan, session=SESSION, secrets=sum(secrets), survivors=2)


def test_something_behind_the_last_entry_does_not_open():
    plan, longer = packing(5, 100, 16), packing(5, 101, 16)
    vectors, secrets, keys = _drawn(longer, 3, 0)
    total = _sum(longer, vectors, secrets, keys)
    open_total(total, longer, session=SESSION, secrets=sum(secrets), survivors=3)
    with pytest.raises(DecodeError, match="did not verify"):
        open_total(total, plan, session=SESSION, secrets=sum(secrets), survivors=3)


def test_what_is_no_masked_vector_is_not_added():
    plan = packing(5, 100, 16)
    body = mask_input(np.zeros(100, dtype=np.uint64), plan, session=SESSION, secret=SECRET, noise_key=bytes(32))
    total = np.zeros(plan.chunks * RING, dtype=np.uint64)
    for wrong in (body[:-1], body + b"\0", b"\xff" * len(body), b""):
        with pytest.raises(DecodeError):
            add_input(total, memoryview(wrong), plan)
    assert not total.any()
    add_input(total, memoryview(body), plan)
    assert not total.any()


def test_every_chunk_has_a_mask_and_noise_of_its_own():
    plan = packing(3, 3 * RING, 40)
    body = mask_input(np.zeros(plan.dim, dtype=np.uint64), plan, session=SESSION, secret=SECRET, noise_key=bytes(32))
    sent = unpack_bits(body, plan.chunks * RING, plan.bits).reshape(-1, RING)
    assert plan.chunks == 3
    noiseless = masked._products(masked.forward(masked.from_signed(SECRET)), SESSION, 0, 3)
    assert len({row.tobytes() for row in sent}) == len({row.tobytes() for row in noiseless}) == 3
    assert len({gaussian(bytes(32), index=k, count=RING).tobytes() for k in range(3)}) == 3


def test_work_is_done_in_blocks_and_says_so():
    plan = packing(3, 40 * RING, 40)
    vector, told = np.arange(plan.dim, dtype=np.uint64), []
    body = mask_input(
        vector, plan, session=SESSION, secret=SECRET, noise_key=bytes(32), progress=lambda *done: told.append(done)
    )
    total = add_input(np.zeros(plan.chunks * RING, dtype=np.uint64), memoryview(body), plan)
    opened = open_total(
        total, plan, session=SESSION, secrets=SECRET, survivors=1, progress=lambda *done: told.append(done)
    )
    assert opened.tolist() == vector.tolist()
    assert told == [(16, 40), (32, 40), (40, 40)] * 2


@pytest.mark.parametrize("total", [0, 1, 38])
def test_a_known_sum_leaves_a_gaussian_of_half_the_stddev(total):
    """The law of one of two draws with a known sum, against the sum of two draws of stddev 3.2, one of them known."""
    with mpmath.workprec(500):
        sigma, span = mpmath.mpf("6.4"), range(-150, 151)

        def law(stddev, centre):
            weights = [mpmath.exp(-((x - centre) ** 2) / (2 * stddev**2)) for x in span]
            whole = mpmath.fsum(weights)
            return {x: weight / whole for x, weight in zip(span, weights, strict=True)}

        one = law(sigma, mpmath.mpf(0))
        both = mpmath.fsum(one[x] * one.get(total - x, 0) for x in span)
        given_sum = {x: one[x] * one.get(total - x, 0) / both for x in span}
        hidden, known = law(sigma / 2, mpmath.mpf(0)), law(sigma / 2, mpmath.mpf(total) / 2)
        convolved = {x: mpmath.fsum(hidden[y] * known.get(x - y, 0) for y in range(-80, 81)) for x in range(-90, 130)}
        distance = mpmath.fsum(abs(given_sum[x] - convolved[x]) for x in convolved) / 2
        assert 0 < distance < mpmath.mpf(2) ** -140
