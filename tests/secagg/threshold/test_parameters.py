"""Which thresholds are enough, by linear algebra over all that a lying server sees; and which packings are exact."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.codec import field_bits
from secagg.errors import CapacityError, ParameterError
from secagg.threshold.noise import BOUND, _thresholds
from secagg.threshold.parameters import FAILURE, Packing, noise_limit, packing, thresholds
from secagg.threshold.ring import RING, Q
from secagg.threshold.sharing import PRIME


def _rank_basis(rows, p=PRIME):
    """Reduced rows that span the same space modulo p."""
    rows = [np.array(row, dtype=np.int64) % p for row in rows]
    basis, column = [], 0
    while rows and column < rows[0].size:
        pivot = next((k for k, row in enumerate(rows) if row[column]), None)
        if pivot is not None:
            top = rows.pop(pivot)
            top = top * pow(int(top[column]), -1, p) % p
            rows = [(row - row[column] * top) % p for row in rows]
            basis = [(row - row[column] * top) % p for row in basis] + [top]
        column += 1
    return basis


def _opened(n, t, corrupt, lists):
    """Combinations of honest secrets that follow from the shares of the corrupt and one answer for each list.

    Unknown are the coefficients of the honest parties' polynomials; honest parties are 0, 1, …, at the points 1, 2, ….
    """
    honest = n - corrupt

    def at(point, parties):
        row = np.zeros((honest, t), dtype=np.int64)
        row[list(parties)] = [pow(point, k, PRIME) for k in range(t)]
        return row.reshape(-1)

    known = [at(point, [party]) for point in range(honest + 1, n + 1) for party in range(honest)]
    known += [at(party + 1, members) for party, members in enumerate(lists)]
    # what is known and says nothing of the coefficients behind the constant ones: put the constant ones last
    order = [party * t + k for k in range(t - 1, -1, -1) for party in range(honest)]
    basis = _rank_basis([row[order] for row in known]) if known else []
    split = honest * (t - 1)
    return [row[split:] for row in basis if not row[:split].any()]


@given(data=st.data())
def test_no_lists_open_more_than_one_sum(data):
    corrupt = data.draw(st.integers(0, 2))
    n = data.draw(st.integers(3 + corrupt, 8))
    t = data.draw(st.integers((2 * n + corrupt) // 3 + 1, n))
    honest = n - corrupt
    kinds = data.draw(st.lists(st.sets(st.integers(0, honest - 1)), min_size=1, max_size=3))
    lists = [data.draw(st.sampled_from(kinds)) | {party} for party in range(honest)]
    opened = _opened(n, t, corrupt, lists)
    assert len(opened) <= 1
    for weights in opened:
        assert set(weights.tolist()) <= {0, int(weights.max())}
        assert np.count_nonzero(weights) >= 1
        assert any(set(np.flatnonzero(weights).tolist()) == members for members in lists)


@pytest.mark.parametrize(("n", "corrupt", "t"), [(5, 0, 4), (6, 1, 5), (9, 0, 7)])
def test_one_list_opens_its_sum_with_the_threshold_and_not_below(n, corrupt, t):
    honest = n - corrupt
    members = set(range(t - corrupt))
    answered = [members if party in members else set() for party in range(honest)]
    (weights,) = _opened(n, t, corrupt, answered)
    assert set(np.flatnonzero(weights).tolist()) == members
    assert not _opened(n, t, corrupt, [set() if party == 0 else told for party, told in enumerate(answered)])


def test_two_answers_in_three_are_needed():
    """Half is not enough: with t = 3 of 5, three lists, none with t answers, give a combination of two sums."""
    first, second = {0, 1, 4}, {2, 3}
    lists = [first, first, second, second, first | second]
    (weights,) = _opened(5, 3, 0, lists)
    a, b = int(weights[0]), int(weights[2])
    assert weights.tolist() == [a, a, b, b, a]
    assert a != b
    assert a * b
    with pytest.raises(ParameterError, match=r"threshold must be in \[4, 5\], got 3"):
        thresholds(5, threshold=3, corrupt=0.0, dropout=0.0)


@pytest.mark.parametrize(
    ("n", "corrupt", "dropout", "least", "most"),
    [
        (3, 0.0, 0.0, 3, 3),
        (6, 0.2, 0.2, 5, 5),
        (15, 0.1, 0.2, 11, 12),
        (100, 0.1, 0.2, 71, 80),
        (400, 0.3, 0.1, 307, 360),
    ],
)
def test_thresholds_are_the_ones_that_keep_the_promise(n, corrupt, dropout, least, most):
    bad = int(Fraction(str(corrupt)) * n)
    assert least == min(t for t in range(n + 1) if 3 * t > 2 * n + bad)
    for t in (least, most):
        plan = thresholds(n, threshold=t, corrupt=corrupt, dropout=dropout)
        assert (plan.num_parties, plan.threshold, plan.corrupt, plan.min_survivors) == (n, t, bad, most)
        assert plan.min_honest == most - bad
    for t in (least - 1, most + 1):
        with pytest.raises(ParameterError, match="threshold must be"):
            thresholds(n, threshold=t, corrupt=corrupt, dropout=dropout)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"num_parties": 2}, r"num_parties must be in \[3, 400\]"),
        ({"num_parties": 401}, r"num_parties must be in \[3, 400\]"),
        ({"threshold": 1}, "threshold must be"),
        ({"threshold": True}, "threshold must be an integer"),
        ({"corrupt": 0.05}, "corrupt must be 0 or at least 1 / num_parties"),
        ({"corrupt": 1.0}, r"corrupt must be in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\)"),
        ({"dropout": 0.4}, "leave no threshold: with 1 of 10 parties corrupt it must be at least 8, and only 6"),
        ({"corrupt": 0.9, "threshold": 10, "dropout": 0.0}, "a sum of 1 honest inputs, and it must be at least 2"),
    ],
)
def test_what_promises_nothing_is_refused(wrong, match):
    terms = {"num_parties": 10, "threshold": 8, "corrupt": 0.1, "dropout": 0.2, **wrong}
    with pytest.raises(ParameterError, match=match):
        thresholds(terms.pop("num_parties"), **terms)


@given(n=st.integers(1, 400), dim=st.integers(1, 10**7), bits=st.integers(1, 40))
def test_packing_is_the_shortest_that_has_room(n, dim, bits):
    width, best = field_bits(n, bits), None
    for fields in range(1, 60 // width + 1):
        chunks = -(-dim // (fields * RING))
        limit, delta = noise_limit(n, chunks * RING), Q // 2 ** (fields * width)
        for cut in range(60):
            if 8 * (limit + n * (2**cut // 2)) <= delta:
                sent = chunks * RING * ((Q - 1 + 2**cut // 2) >> cut).bit_length() // 8
                best = sent if best is None else min(best, sent)
    if best is None:
        with pytest.raises(CapacityError, match="use fewer value_bits or fewer parties"):
            packing(n, dim, bits)
        return
    found = packing(n, dim, bits)
    assert found.input_bytes == best
    assert found.fields * found.chunks * RING >= dim
    assert found.delta << (found.fields * width) <= Q
    assert 8 * (found.limit + n * found.half) <= found.delta


def test_sixteen_bits_of_fifteen_parties_take_three_quarters_of_a_float():
    plan = packing(15, 10**6, 16)
    assert plan == Packing(15, 10**6, 16, width=20, fields=2, cut=14, limit=plan.limit)
    assert plan.input_bytes == 123 * 4096 * 46 // 8 < 0.73 * 4e6


@pytest.mark.parametrize("n", [2, 3, 15])
def test_failure_is_below_the_bound_by_exact_convolution(n):
    """The law of one draw as integers, its n-fold convolution as a power of one large integer."""
    edges = [0, *_thresholds(), 1 << 128]
    slot = 128 * n + 64
    one = sum((high - low) << (slot * k) for k, (low, high) in enumerate(itertools.pairwise(edges)))
    power, mask = one**n, (1 << slot) - 1
    law = [(power >> (slot * k)) & mask for k in range(2 * BOUND * n + 1)]
    assert sum(law) == 1 << (128 * n)
    for coefficients in (4096, 4096 * 123):
        limit = noise_limit(n, coefficients)
        beyond = sum(weight for k, weight in enumerate(law) if abs(k - BOUND * n) > limit)
        assert Fraction(coefficients * beyond, 1 << (128 * n)) <= Fraction(FAILURE)


def test_the_bound_of_noise_is_never_beyond_what_there_is():
    assert noise_limit(1, 1 << 40) <= BOUND
    plan = packing(3, 10, 8)
    assert plan.left_over(1) == min(plan.limit, BOUND) + plan.half
