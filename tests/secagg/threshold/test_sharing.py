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
from secagg.threshold.sharing import MAX_HOLDERS, PRIME, combine, fits, length, share, share_bytes
from tests.oracles import lattice as oracle
from tests.oracles import masking

KEY = bytes(range(32))
SECRET = gaussian(KEY, index=0, count=RING)
SECRET[:4] = BOUND, -BOUND, 0, -1
#: field, threshold, packed, holders: as many points as a field has, and fewer
FIELDS = [
    (5, 2, 1, 4),
    (5, 3, 1, 4),
    (5, 4, 1, 4),
    (5, 2, 2, 3),
    (5, 3, 2, 3),
    (7, 2, 1, 6),
    (7, 3, 2, 5),
    (7, 3, 3, 4),
]
FIELDS += [(7, 4, 3, 4), (11, 2, 1, 9), (11, 3, 2, 7), (11, 4, 3, 5)]


@pytest.mark.parametrize(
    ("threshold", "packed", "holders"), [(2, 1, 2), (2, 1, 5), (3, 1, 4), (5, 1, 5), (3, 2, 4), (6, 5, 6), (14, 4, 15)]
)
def test_shares_equal_the_slow_oracle(threshold, packed, holders):
    shares = share(SECRET, threshold=threshold, packed=packed, num_holders=holders, key=KEY)
    assert shares.dtype == np.uint32
    assert shares.shape == (holders, length(packed))
    assert int(shares.max()) < PRIME
    assert shares.T.tolist() == oracle.shares(SECRET.tolist(), threshold, packed, holders, KEY)


@given(st.integers(2, 12), st.data())
def test_any_shares_that_are_enough_give_the_secret(holders, data):
    threshold = data.draw(st.integers(2, holders))
    packed = data.draw(st.integers(1, threshold - 1))
    key = data.draw(st.binary(min_size=32, max_size=32))
    shares = share(SECRET, threshold=threshold, packed=packed, num_holders=holders, key=key)
    chosen = data.draw(st.permutations(range(holders)))[: data.draw(st.integers(threshold, holders))]
    points = [j + 1 for j in chosen]
    out = combine(points, shares[chosen], packed=packed)
    assert out.dtype == np.int64
    assert (out == SECRET).all()
    column = shares[chosen[:threshold], 7].tolist()
    assert masking.at_zero(column, points[:threshold], PRIME) == int(SECRET[7 * packed]) % PRIME


def _sharings(prime, threshold, packed, holders):
    """For every secret, the shares under all residues that can be drawn, one row each."""
    free = list(product(range(prime), repeat=threshold - packed))
    drawn = np.array(free).reshape(len(free), threshold - packed).T
    for secret in product(range(prime), repeat=packed):
        values = np.tile(np.array(secret)[:, None], len(free))
        yield secret, sharing._extend(values, drawn, holders, prime).T


@pytest.mark.parametrize(("prime", "threshold", "packed", "holders"), FIELDS)
def test_fewer_shares_are_uniform_whatever_the_secret(prime, threshold, packed, holders):
    """Every polynomial of the field with every secret: each view of threshold - packed shares comes equally often.

    One share more tells one combination of the secret's coefficients, which has one of `prime` values.
    """
    silent = threshold - packed
    views = list(product(range(prime), repeat=silent))
    told = {view: set() for view in combinations(range(holders), silent + 1)}
    for _, shares in _sharings(prime, threshold, packed, holders):
        for view in combinations(range(holders), silent):
            assert Counter(map(tuple, shares[:, list(view)].tolist())) == dict.fromkeys(views, 1)
        for view, laws in told.items():
            laws.add(frozenset(Counter(map(tuple, shares[:, list(view)].tolist())).items()))
    assert all(len(laws) == prime for laws in told.values())


@pytest.mark.parametrize(("prime", "threshold", "packed", "holders"), FIELDS)
def test_as_many_shares_as_the_threshold_fix_the_secret(prime, threshold, packed, holders):
    for secret, shares in _sharings(prime, threshold, packed, holders):
        for size in range(threshold, holders + 1):
            for view in combinations(range(holders), size):
                nodes = tuple(j + 1 for j in view)
                matrix = sharing._lagrange(nodes, tuple(-k for k in range(packed)), prime)
                found = sharing._product(matrix, shares[:, list(view)].T, prime)
                assert (secret == found.T).all()


@given(st.integers(1, 6), st.integers(2, 5), st.data(), st.integers(0, 2**32))
def test_sums_of_shares_give_the_sum(parties, threshold, data, seed):
    packed = data.draw(st.integers(1, threshold - 1))
    keys = [seed.to_bytes(31, "little") + bytes([i]) for i in range(parties)]
    secrets = [gaussian(key, index=0, count=RING) for key in keys]
    terms = {"threshold": threshold, "packed": packed, "num_holders": 5}
    total = np.sum([share(s, key=k, **terms) for s, k in zip(secrets, keys, strict=True)], axis=0, dtype=np.int64)
    chosen = [4, 2, 0, 1, 3][:threshold]
    found = combine([j + 1 for j in chosen], total[chosen] % PRIME, packed=packed)
    assert (found == np.sum(secrets, axis=0)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_that_fit_come_back(sign):
    parties = next(n for n in range(1, 1000) if not fits(n + 1))
    assert 2 * BOUND * parties < PRIME < 2 * BOUND * (parties + 1)
    assert parties >= MAX_HOLDERS
    secret = np.full(RING, sign * BOUND, dtype=np.int64)
    for packed in (1, 3):
        shares = share(secret, threshold=4, packed=packed, num_holders=5, key=KEY)[1:].astype(np.int64)
        for count in (parties, parties + 1):
            found = combine([2, 3, 4, 5], shares * count % PRIME, packed=packed)
            assert (found == sign * BOUND * count).all() == (count == parties)


@pytest.mark.parametrize("packed", [1, 134, 399])
def test_largest_sharing_equals_integers(packed):
    shares = share(SECRET, threshold=MAX_HOLDERS, packed=packed, num_holders=MAX_HOLDERS, key=KEY)
    order = list(range(MAX_HOLDERS, 0, -1))
    assert (combine(order, shares[::-1], packed=packed) == SECRET).all()
    column = shares[:, 5].tolist()
    assert masking.at_zero(column, list(range(1, MAX_HOLDERS + 1)), PRIME) == int(SECRET[5 * packed]) % PRIME


def test_products_are_exact_at_the_largest_residues():
    top = np.full((1, MAX_HOLDERS), PRIME - 1)
    assert sharing._product(top, top.T, PRIME).item() == MAX_HOLDERS * (PRIME - 1) ** 2 % PRIME
    assert MAX_HOLDERS * 2**34 < 2**53


def test_what_is_drawn_depends_on_everything():
    # the same key for another secret, threshold or number of holders by mistake: no two have residues in common
    def drawn(secret, threshold, packed, holders, key):
        return share(secret, threshold=threshold, packed=packed, num_holders=holders, key=key)[0, :1000].tobytes()

    other = SECRET.copy()
    other[17] += 1
    seen = [drawn(SECRET, 3, 1, 4, KEY), drawn(other, 3, 1, 4, KEY), drawn(SECRET, 4, 1, 4, KEY)]
    seen += [drawn(SECRET, 3, 2, 4, KEY), drawn(SECRET, 3, 1, 5, KEY), drawn(SECRET, 3, 1, 4, bytes(32))]
    assert len(set(seen)) == 6
    assert drawn(SECRET, 3, 1, 4, KEY) == seen[0]


@pytest.mark.parametrize("packed", [1, 4, 27, 133])
def test_packing_is_seventeen_bits_and_one_encoding(packed):
    row = share(SECRET, threshold=packed + 1, packed=packed, num_holders=packed + 1, key=KEY)[0]
    row[:3] = 0, PRIME - 1, 1
    data = sharing.pack(row)
    assert data == oracle.bits_as_bytes(row.tolist(), 17)
    assert len(data) == share_bytes(packed) == -(-len(row) * 17 // 8)
    assert sharing.unpack(data, packed=packed).dtype == np.uint32
    assert (sharing.unpack(data, packed=packed) == row).all()
    for place in (0, len(row) - 1):
        wrong = row.copy()
        wrong[place] = PRIME
        with pytest.raises(DecodeError, match="no share"):
            sharing.unpack(sharing.pack(wrong), packed=packed)
    for bad in (data[:-1], data + b"\0", b""):
        with pytest.raises(DecodeError, match="does not hold"):
            sharing.unpack(bad, packed=packed)
    if len(row) * 17 % 8:
        with pytest.raises(DecodeError, match="does not hold"):
            sharing.unpack(data[:-1] + bytes([data[-1] | 0x80]), packed=packed)


@pytest.mark.parametrize(
    ("threshold", "packed", "holders"),
    [
        (1, 1, 3),
        (0, 1, 3),
        (4, 1, 3),
        (2, 1, 1),
        (2, 1, 0),
        (2, 1, MAX_HOLDERS + 1),
        (2.0, 1, 3),
        (2, 1, True),
        (3, 3, 4),
        (3, 0, 4),
        (3, -1, 4),
        (3, True, 4),
    ],
)
def test_bad_numbers_of_holders_are_refused(threshold, packed, holders):
    with pytest.raises(ParameterError, match=r"threshold must be|num_holders must be|packed must be"):
        share(SECRET, threshold=threshold, packed=packed, num_holders=holders, key=KEY)


def test_bad_secrets_are_refused():
    terms = {"threshold": 2, "packed": 1, "num_holders": 3}
    for bad in (SECRET[:-1], SECRET.astype(np.int32), SECRET[None], SECRET.tolist()):
        with pytest.raises(ParameterError, match="secret must be an array of dtype int64"):
            share(bad, key=KEY, **terms)
    for value in (BOUND + 1, -BOUND - 1):
        secret = SECRET.copy()
        secret[9] = value
        with pytest.raises(ParameterError, match=f"at most {BOUND} in absolute value") as caught:
            share(secret, key=KEY, **terms)
        assert str(value) not in str(caught.value)
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        share(SECRET, key=bytes(31), **terms)


def test_bad_shares_are_refused():
    rows = share(SECRET, threshold=2, packed=1, num_holders=3, key=KEY)
    for points in ([1, 1], [0, 1], [1, MAX_HOLDERS + 1], [-1, 2], [1.0, 2], [True, 2]):
        with pytest.raises(ParameterError, match=r"a point must be|points must be distinct"):
            combine(points, rows[:2], packed=1)
    for points in ([], [1]):
        with pytest.raises(ParameterError, match="points must be distinct, at least 2"):
            combine(points, rows[: len(points)], packed=1)
    for bad in (rows, rows[:2, 1:], rows[:2].astype(np.float64), rows[:2].tolist()):
        with pytest.raises(ParameterError, match="shares must be an array"):
            combine([1, 2], bad, packed=1)
    with pytest.raises(ParameterError, match="shares must be an array"):
        combine([1, 2], rows[:2], packed=2)
    for packed in (0, MAX_HOLDERS, True):
        with pytest.raises(ParameterError, match="packed must be"):
            combine([1, 2], rows[:2], packed=packed)
    for value in (-1, PRIME):
        wrong = rows[:2].astype(np.int64)
        wrong[1, 3] = value
        with pytest.raises(ParameterError, match=r"shares must be in \[0, PRIME\)"):
            combine([1, 2], wrong, packed=1)
    for count in (0, -1, 2.0):
        with pytest.raises(ParameterError, match="num_parties must be"):
            fits(count)
