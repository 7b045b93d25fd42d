"""Shares give the secret to as many as it takes, to fewer nothing, and wrong ones are found where there are more."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.masking import shamir
from secagg.masking.shamir import LIMBS, PRIME, join, split
from tests.oracles import masking as oracle

KEY = bytes(range(32))
TOP = np.full((1, 32), 255, dtype=np.uint8)
places = st.lists(st.integers(1, PRIME - 1) | st.integers(1, 9), min_size=2, max_size=6, unique=True)


def _secrets(*rows: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 32)


@given(places, st.data())
def test_split_and_join_equal_the_slow_oracle(points, data):
    threshold = data.draw(st.integers(2, len(points)))
    rows = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3))
    shares = split(_secrets(*rows), points, threshold, KEY)
    assert shares.tolist() == oracle.shares(rows, points, threshold, KEY)
    chosen = data.draw(st.permutations(range(len(points))))[: data.draw(st.integers(threshold, len(points)))]
    joined = join(shares[:, chosen], [points[i] for i in chosen], threshold)
    assert [row.tobytes() for row in joined] == rows
    first = chosen[:threshold]
    for secret, own in zip(rows, shares.tolist(), strict=True):
        columns = zip(*(own[i] for i in first), strict=True)
        assert [oracle.at_zero(c, [points[i] for i in first], PRIME) for c in columns] == oracle.limbs(secret)


def test_split_equals_the_vectors():
    for row in json.loads(oracle.TABLE.read_text())["shares"]:
        secrets = _secrets(*map(bytes.fromhex, row["secrets"]))
        shares = split(secrets, row["points"], row["threshold"], bytes.fromhex(row["randomness"]))
        assert shares.dtype == np.uint32
        assert shares.tolist() == row["shares"]
        assert (join(shares, row["points"], row["threshold"]) == secrets).all()


def test_textbook_polynomial():
    # 1234 + 166 x + 94 x^2, over the integers (any large prime) and modulo 1613
    coefficients, points = np.array([[1234], [166], [94]], dtype=np.uint64), np.arange(1, 7, dtype=np.uint64)
    assert shamir._evaluate(coefficients, points, PRIME).ravel().tolist() == [1494, 1942, 2578, 3402, 4414, 5614]
    values = shamir._evaluate(coefficients, points, 1613)
    assert values.ravel().tolist() == [1494, 329, 965, 176, 1188, 775]
    for three in combinations(range(6), 3):
        assert shamir._product(shamir._at_zero(points[list(three)], 1613), values[list(three)], 1613).item() == 1234


@pytest.mark.parametrize(("prime", "threshold"), [(5, 2), (5, 3), (5, 4), (7, 2), (7, 3), (11, 2), (11, 3)])
def test_fewer_shares_are_uniform_whatever_the_secret(prime, threshold):
    # every polynomial of the field, at every point but zero: every view of threshold - 1 shares comes equally often
    free = list(product(range(prime), repeat=threshold - 1))
    points = np.arange(1, prime, dtype=np.uint64)
    for secret in range(prime):
        coefficients = np.array([(secret, *tail) for tail in free], dtype=np.uint64).T
        shares = shamir._evaluate(coefficients, points, prime)
        for view in combinations(range(prime - 1), threshold - 1):
            seen = Counter(map(tuple, shares[list(view)].T.tolist()))
            assert seen == dict.fromkeys(free, 1)


@pytest.mark.parametrize(("prime", "threshold"), [(5, 2), (7, 3), (11, 3)])
def test_as_many_shares_as_the_threshold_fix_the_secret(prime, threshold):
    free = list(product(range(prime), repeat=threshold))
    points = np.arange(1, prime, dtype=np.uint64)
    shares = shamir._evaluate(np.array(free, dtype=np.uint64).T, points, prime)
    for view in map(list, combinations(range(prime - 1), threshold)):
        row = shamir._at_zero(points[view], prime)
        assert shamir._product(row, shares[view], prime)[0].tolist() == [f[0] for f in free]


@pytest.mark.parametrize(
    ("points", "threshold"), [((1, 2, 3), 2), ((1, 2, 4), 2), ((4, 1, 3, 2), 2), ((3, 1, 4, 2), 3)]
)
def test_parity_holds_for_the_values_of_polynomials_and_for_nothing_else(points, threshold):
    prime = 5
    places = np.array(points, dtype=np.uint64)
    words = np.array(list(product(range(prime), repeat=len(points))), dtype=np.uint64).T
    passed = ~shamir._product(shamir._parity(places, threshold, prime), words, prime).any(axis=0)
    free = np.array(list(product(range(prime), repeat=threshold)), dtype=np.uint64).T
    wanted = shamir._evaluate(free, places, prime)
    assert {tuple(word) for word in words.T[passed].tolist()} == {tuple(word) for word in wanted.T.tolist()}


def test_products_are_exact_at_the_largest_residues():
    length = shamir.MAX_POINTS  # sums of halves come to 2^52, where float64 still has every integer
    top = np.full((1, length), PRIME - 1, dtype=np.uint64)
    assert shamir._product(top, top.T, PRIME).item() == length * (PRIME - 1) ** 2 % PRIME
    low = np.full((1, length), (1 << 31) - (1 << 16) - 1, dtype=np.uint64)  # 0x7ffeffff: a low half of ones
    assert shamir._product(low, top.T, PRIME).item() == length * 0x7FFEFFFF * (PRIME - 1) % PRIME


def test_many_points_are_taken_in_blocks(monkeypatch):
    points, whole = list(range(1, 41)), split(TOP, list(range(1, 41)), 21, KEY)
    monkeypatch.setattr(shamir, "_BLOCK", 64)
    assert (split(TOP, points, 21, KEY) == whole).all()
    assert (join(whole, points, 21) == TOP).all()


@given(st.integers(0, 5), st.integers(0, 1), st.integers(0, LIMBS - 1), st.integers(1, PRIME - 1))
def test_a_changed_share_among_more_than_the_threshold_is_found(place, secret, limb, change):
    shares = split(_secrets(bytes(32), KEY), [3, 1, 2, 7, 6, 5], 5, KEY)
    shares[secret, place, limb] = (int(shares[secret, place, limb]) + change) % PRIME
    with pytest.raises(DecodeError, match="one polynomial"):
        join(shares, [3, 1, 2, 7, 6, 5], 5)


def test_shares_of_a_larger_threshold_are_found():
    shares = split(TOP, [1, 2, 3, 4], 4, KEY)
    with pytest.raises(DecodeError, match="one polynomial"):
        join(shares, [1, 2, 3, 4], 3)


def test_a_wrong_share_among_just_enough_is_not_found_but_gives_another_secret():
    # what the commitments and public keys are for
    shares = split(np.zeros((1, 32), dtype=np.uint8), [1, 2], 2, KEY)
    shares[0, 0, 0] = (int(shares[0, 0, 0]) + PRIME // 2) % PRIME  # f(0) = 2 f(1) - f(2): the limb becomes p - 1
    with pytest.raises(DecodeError, match="no secret"):
        join(shares, [1, 2], 2)
    shares = split(np.zeros((1, 32), dtype=np.uint8), [1, 2], 2, KEY)
    shares[0, 0, 0] = (int(shares[0, 0, 0]) + 1) % PRIME
    assert join(shares, [1, 2], 2).tolist() == [[2] + 31 * [0]]


@pytest.mark.parametrize(("limb", "value"), [(0, 1 << 30), (7, PRIME - 1), (8, 1 << 16), (8, 1 << 29)])
def test_what_is_no_canonical_secret_is_refused(limb, value):
    shares = np.zeros((1, 2, LIMBS), dtype=np.uint32)
    shares[:, :, limb] = value
    with pytest.raises(DecodeError, match="no secret of 32 bytes"):
        join(shares, [1, 2], 2)
    shares[:, :, limb] = (1 << (16 if limb == 8 else 30)) - 1
    assert join(shares, [1, 2], 2).any()


@pytest.mark.parametrize("value", [PRIME, PRIME + 1, 2**32 - 1])
def test_what_is_no_field_element_is_refused(value):
    shares = split(TOP, [1, 2], 2, KEY)
    shares[0, 1, 3] = value
    with pytest.raises(DecodeError, match="below the prime"):
        join(shares, [1, 2], 2)


@pytest.mark.parametrize("points", [[1, 1, 2], [0, 1, 2], [1, 2, PRIME], [1, 2, PRIME + 1], [-1, 2, 3], [1], []])
def test_bad_points_are_refused(points):
    with pytest.raises(ParameterError, match="point"):
        split(TOP, points, 2, KEY)
    with pytest.raises(ParameterError, match="point"):
        join(np.zeros((1, len(points), LIMBS), dtype=np.uint32), points, 2)


@pytest.mark.parametrize("threshold", [0, 1, 4, 2.0, True])
def test_bad_thresholds_are_refused(threshold):
    with pytest.raises(ParameterError, match="threshold"):
        split(TOP, [1, 2, 3], threshold, KEY)
    with pytest.raises(ParameterError, match="threshold"):
        join(np.zeros((1, 3, LIMBS), dtype=np.uint32), [1, 2, 3], threshold)


@pytest.mark.parametrize(
    "secrets", [TOP[0], TOP[:, :31], TOP[:0], TOP.astype(np.uint32), [bytes(32)], np.zeros((1, 33), dtype=np.uint8)]
)
def test_bad_secrets_are_refused(secrets):
    with pytest.raises(ParameterError, match="secrets must be an array"):
        split(secrets, [1, 2, 3], 2, KEY)


@pytest.mark.parametrize("randomness", [b"", bytes(31), bytes(33), bytearray(32), None])
def test_bad_randomness_is_refused(randomness):
    with pytest.raises(ParameterError, match="randomness must be 32 bytes"):
        split(TOP, [1, 2, 3], 2, randomness)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, LIMBS), np.uint64),
        ((1, 2, LIMBS), np.uint32),
        ((3, LIMBS), np.uint32),
        ((1, 3, 8), np.uint32),
        ((0, 3, LIMBS), np.uint32),
    ],
)
def test_bad_shares_are_refused(shape, dtype):
    with pytest.raises(ParameterError, match="shares must be an array"):
        join(np.zeros(shape, dtype=dtype), [1, 2, 3], 2)


def test_coefficients_depend_on_everything():
    # used twice by mistake, the randomness does not turn two sharings into their difference
    secret = np.zeros((1, 32), dtype=np.uint8)
    base = split(secret, [1, 2, 3], 2, KEY)[0].astype(np.int64)
    slope = (base[1] - base[0]) % PRIME
    others = [split(TOP, [1, 2, 3], 2, KEY), split(secret, [1, 2, 4], 2, KEY), split(secret, [1, 2], 2, KEY)]
    others += [split(secret, [1, 2, 3], 3, KEY), split(secret, [1, 2, 3], 2, bytes(32))]
    for other in others:
        own = other[0].astype(np.int64)
        assert ((own[1] - own[0]) % PRIME != slope).all()
    assert len(set(slope.tolist())) == LIMBS
