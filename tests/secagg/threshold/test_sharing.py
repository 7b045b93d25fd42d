"""Shares give the secret, and sums of shares the sum, to as many as it takes; fewer say nothing."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.threshold import sharing
from secagg.threshold.noise import BOUND, gaussian
from secagg.threshold.ring import RING
from secagg.threshold.sharing import MAX_HOLDERS, PRIME, SHARE_BYTES, combine, fits, share
from tests.oracles import lattice as oracle
from tests.oracles import masking

KEY = bytes(range(32))
SECRET = gaussian(KEY, index=0, count=RING)
SECRET[:4] = BOUND, -BOUND, 0, -1
FIELDS = [(5, 2), (5, 3), (5, 4), (7, 2), (7, 3), (11, 2)]


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (2, 5), (3, 4), (5, 5)])
def test_shares_equal_the_slow_oracle(threshold, holders):
    shares = share(SECRET, threshold=threshold, num_holders=holders, key=KEY)
    assert shares.dtype == np.uint32
    assert shares.shape == (holders, RING)
    assert int(shares.max()) < PRIME
    assert shares.T.tolist() == oracle.shares(SECRET.tolist(), threshold, holders, KEY)


@given(st.integers(2, 9), st.data())
def test_any_shares_that_are_enough_give_the_secret(holders, data):
    threshold = data.draw(st.integers(2, holders))
    shares = share(SECRET, threshold=threshold, num_holders=holders, key=data.draw(st.binary(min_size=32, max_size=32)))
    chosen = data.draw(st.permutations(range(holders)))[: data.draw(st.integers(threshold, holders))]
    points = [j + 1 for j in chosen]
    out = combine(points, shares[chosen])
    assert out.dtype == np.int64
    assert (out == SECRET).all()
    column = shares[chosen[:threshold], 7].tolist()
    assert masking.at_zero(column, points[:threshold], PRIME) == int(SECRET[7]) % PRIME


@pytest.mark.parametrize(("prime", "threshold"), FIELDS)
def test_fewer_shares_are_uniform_whatever_the_secret(prime, threshold):
    # every polynomial of the field, at every point but zero: every view of threshold - 1 shares comes equally often
    free = list(product(range(prime), repeat=threshold - 1))
    points = np.arange(1, prime)
    for secret in range(prime):
        coefficients = np.array([(secret, *tail) for tail in free]).T
        shares = sharing._evaluate(coefficients, points, prime)
        for view in combinations(range(prime - 1), threshold - 1):
            assert Counter(map(tuple, shares[list(view)].T.tolist())) == dict.fromkeys(free, 1)


@pytest.mark.parametrize(("prime", "threshold"), FIELDS)
def test_as_many_shares_as_the_threshold_fix_the_secret(prime, threshold):
    free = list(product(range(prime), repeat=threshold))
    points = np.arange(1, prime)
    shares = sharing._evaluate(np.array(free).T, points, prime)
    for size in range(threshold, prime):
        for view in map(list, combinations(range(prime - 1), size)):
            row = sharing._at_zero(points[view], prime)
            assert sharing._product(row, shares[view], prime)[0].tolist() == [f[0] for f in free]


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**32))
def test_sums_of_shares_give_the_sum(parties, threshold, seed):
    keys = [seed.to_bytes(31, "little") + bytes([i]) for i in range(parties)]
    secrets = [gaussian(key, index=0, count=RING) for key in keys]
    shares = [share(s, threshold=threshold, num_holders=5, key=k) for s, k in zip(secrets, keys, strict=True)]
    total = np.sum(shares, axis=0, dtype=np.int64) % PRIME
    chosen = [4, 2, 0, 1, 3][:threshold]
    assert (combine([j + 1 for j in chosen], total[chosen]) == np.sum(secrets, axis=0)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_that_fit_come_back(sign):
    parties = next(n for n in range(1, 1000) if not fits(n + 1))
    assert 2 * BOUND * parties < PRIME < 2 * BOUND * (parties + 1)
    assert parties >= MAX_HOLDERS
    secret = np.full(RING, sign * BOUND, dtype=np.int64)
    shares = share(secret, threshold=2, num_holders=3, key=KEY).astype(np.int64)
    assert (combine([1, 3], shares[[0, 2]] * parties % PRIME) == sign * BOUND * parties).all()
    assert (combine([1, 3], shares[[0, 2]] * (parties + 1) % PRIME) != sign * BOUND * (parties + 1)).all()


def test_largest_sharing_equals_integers():
    shares = share(SECRET, threshold=MAX_HOLDERS, num_holders=MAX_HOLDERS, key=KEY)
    order = list(range(MAX_HOLDERS, 0, -1))
    assert (combine(order, shares[::-1]) == SECRET).all()
    column = shares[:, 5].tolist()
    assert masking.at_zero(column, list(range(1, MAX_HOLDERS + 1)), PRIME) == int(SECRET[5]) % PRIME


def test_products_are_exact_at_the_largest_residues():
    top = np.full((1, MAX_HOLDERS), PRIME - 1)
    assert sharing._product(top, top.T, PRIME).item() == MAX_HOLDERS * (PRIME - 1) ** 2 % PRIME
    assert MAX_HOLDERS * 2**34 < 2**53


def test_coefficients_depend_on_everything():
    # the same key for another secret, threshold or number of holders by mistake: no two share a coefficient's stream
    def slope(secret, threshold, holders, key):
        rows = share(secret, threshold=threshold, num_holders=holders, key=key).astype(np.int64)
        return ((rows[0] - secret) % PRIME).tobytes()

    other = SECRET.copy()
    other[17] += 1
    seen = [slope(SECRET, 2, 3, KEY), slope(other, 2, 3, KEY), slope(SECRET, 2, 4, KEY), slope(SECRET, 2, 3, bytes(32))]
    assert len(set(seen)) == 4
    assert slope(SECRET, 2, 3, KEY) == seen[0]


def test_packing_is_seventeen_bits_and_one_encoding():
    row = share(SECRET, threshold=2, num_holders=2, key=KEY)[0]
    row[:3] = 0, PRIME - 1, 1
    data = sharing.pack(row)
    assert data == oracle.bits_as_bytes(row.tolist(), 17)
    assert len(data) == SHARE_BYTES == RING * 17 // 8
    assert sharing.unpack(data).dtype == np.uint32
    assert (sharing.unpack(data) == row).all()
    for place in (0, RING - 1):
        wrong = row.copy()
        wrong[place] = PRIME
        with pytest.raises(DecodeError, match="no share"):
            sharing.unpack(sharing.pack(wrong))
    for bad in (data[:-1], data + b"\0", b""):
        with pytest.raises(DecodeError, match="does not hold"):
            sharing.unpack(bad)


@pytest.mark.parametrize(
    ("threshold", "holders"), [(1, 3), (0, 3), (4, 3), (2, 1), (2, 0), (2, MAX_HOLDERS + 1), (2.0, 3), (2, True)]
)
def test_bad_numbers_of_holders_are_refused(threshold, holders):
    with pytest.raises(ParameterError, match=r"threshold must be|num_holders must be"):
        share(SECRET, threshold=threshold, num_holders=holders, key=KEY)


def test_bad_secrets_are_refused():
    for bad in (SECRET[:-1], SECRET.astype(np.int32), SECRET[None], SECRET.tolist()):
        with pytest.raises(ParameterError, match="secret must be an array of dtype int64"):
            share(bad, threshold=2, num_holders=3, key=KEY)
    for value in (BOUND + 1, -BOUND - 1):
        secret = SECRET.copy()
        secret[9] = value
        with pytest.raises(ParameterError, match=f"at most {BOUND} in absolute value") as caught:
            share(secret, threshold=2, num_holders=3, key=KEY)
        assert str(value) not in str(caught.value)
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        share(SECRET, threshold=2, num_holders=3, key=bytes(31))


def test_bad_shares_are_refused():
    rows = share(SECRET, threshold=2, num_holders=3, key=KEY)
    for points in ([1, 1], [0, 1], [1, MAX_HOLDERS + 1], [-1, 2], [1.0, 2], [True, 2]):
        with pytest.raises(ParameterError, match=r"a point must be|points must be distinct"):
            combine(points, rows[:2])
    for points in ([], [1]):
        with pytest.raises(ParameterError, match="points must be distinct, at least 2"):
            combine(points, rows[: len(points)])
    for bad in (rows, rows[:2, 1:], rows[:2].astype(np.float64), rows[:2].tolist()):
        with pytest.raises(ParameterError, match="shares must be an array"):
            combine([1, 2], bad)
    for value in (-1, PRIME):
        wrong = rows[:2].astype(np.int64)
        wrong[1, 3] = value
        with pytest.raises(ParameterError, match=r"shares must be in \[0, PRIME\)"):
            combine([1, 2], wrong)
    for count in (0, -1, 2.0):
        with pytest.raises(ParameterError, match="num_parties must be"):
            fits(count)
