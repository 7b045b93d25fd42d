"""Which thresholds are enough, by linear algebra over all that a lying server sees; and which packings are exact."""

from __future__ import annotations

import itertools
import math
from collections import Counter
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


def _values(point, t, packed, p):
    """A polynomial's value at a point, by its values at 0, -1, … and the t - packed coefficients that are random.

    f = Σ_k f(-k)·L_k + Z·r: L_k of Lagrange's basis, Z zero where the secrets are, r any polynomial.
    """
    row = []
    for k in range(packed):
        others = [j for j in range(packed) if j != k]
        row.append(math.prod(point + j for j in others) * pow(math.prod(j - k for j in others), -1, p) % p)
    zero = math.prod(point + j for j in range(packed))
    return row + [zero * pow(point, j, p) % p for j in range(t - packed)]


def _opened(n, t, packed, corrupt, lists, p=PRIME):
    """Combinations of honest secrets that follow from the shares of the corrupt and one answer for each list.

    Honest parties are 0, 1, …, at the points 1, 2, …; for each combination a row for each place in a polynomial, and in
    it the parties' weights.
    """
    honest = n - corrupt

    def at(point, parties):
        row = np.zeros((honest, t), dtype=np.int64)
        row[list(parties)] = _values(point, t, packed, p)
        return row.reshape(-1)

    known = [at(point, [party]) for point in range(honest + 1, n + 1) for party in range(honest)]
    known += [at(party + 1, members) for party, members in enumerate(lists)]
    # what is known and says nothing of what is random: put the secrets last
    order = [party * t + k for k in range(t - 1, -1, -1) for party in range(honest)]
    split = honest * (t - packed)
    basis = _rank_basis([row[order] for row in known], p)
    return [row[split:].reshape(packed, honest)[::-1] for row in basis if not row[:split].any()]


def _check_one_sum(opened, t, packed, corrupt, lists):
    """All that is known is of the sums over the honest parties of one list; how much, says how many were told it."""
    told = max(Counter(map(frozenset, lists)).values())
    assert len(opened) == min(max(told + corrupt - (t - packed), 0), packed)
    members = {frozenset(np.flatnonzero(row).tolist()) for weights in opened for row in weights if row.any()}
    assert len(members) <= 1
    assert members <= set(map(frozenset, lists))
    assert all(len(set(row[row != 0].tolist())) <= 1 for weights in opened for row in weights)


@given(data=st.data())
def test_no_lists_open_more_than_one_sum(data):
    corrupt = data.draw(st.integers(0, 2))
    n = data.draw(st.integers(3 + corrupt, 10))
    least = (2 * n + corrupt) // 3 + 1
    t = data.draw(st.integers(least, n))
    packed = thresholds(n, threshold=t, corrupt=(corrupt + 0.5) / n if corrupt else 0.0, dropout=0.0).packed
    assert t - packed + 1 == least
    honest = n - corrupt
    kinds = data.draw(st.lists(st.sets(st.integers(0, honest - 1)), min_size=1, max_size=3))
    lists = [data.draw(st.sampled_from(kinds)) | {party} for party in range(honest)]
    _check_one_sum(_opened(n, t, packed, corrupt, lists), t, packed, corrupt, lists)


@pytest.mark.parametrize("corrupt", [0, 1])
def test_no_lists_of_four_honest_parties_open_more_than_one_sum(corrupt):
    """All there are, in a field of seven, with two coefficients to a polynomial: 8^4 ways to lie."""
    told = [[{party, *rest} for rest in _subsets(set(range(4)) - {party})] for party in range(4)]
    n = 4 + corrupt
    for lists in itertools.product(*told):
        _check_one_sum(_opened(n, n, 2, corrupt, lists, p=7), n, 2, corrupt, lists)


def _subsets(members):
    return itertools.chain.from_iterable(itertools.combinations(members, size) for size in range(len(members) + 1))


@pytest.mark.parametrize(
    ("n", "corrupt", "t", "packed"),
    [(5, 0, 4, 1), (6, 1, 5, 1), (9, 0, 7, 1), (5, 0, 5, 2), (9, 0, 9, 3), (9, 2, 9, 2)],
)
def test_one_list_opens_its_sum_with_the_threshold_and_not_below(n, corrupt, t, packed):
    """Of t - packed + k points, corrupt parties' among them, k combinations of the places in a polynomial are known."""
    honest = n - corrupt
    members = set(range(t - corrupt))
    for answers in range(t - corrupt + 1):
        told = [members if party < answers else {party} for party in range(honest)]
        opened = _opened(n, t, packed, corrupt, told)
        assert len(opened) == max(0, answers + corrupt - (t - packed))
        for weights in opened:
            assert all(set(np.flatnonzero(row).tolist()) in (members, set()) for row in weights)
    assert [np.flatnonzero(weights.any(axis=1)).tolist() for weights in opened] == [[k] for k in range(packed)][::-1]


@pytest.mark.parametrize(("t", "packed"), [(3, 1), (4, 2), (5, 3)])
def test_two_answers_in_three_are_needed(t, packed):
    """Half is not enough: with 3 of 5 that say something, three lists give a combination of two sums."""
    first, second = {0, 1, 4}, {2, 3}
    lists = [first, first, second, second, first | second]
    (weights,) = _opened(5, t, packed, 0, lists)
    for row in weights:
        a, b = int(row[0]), int(row[2])
        assert row.tolist() == [a, a, b, b, a]
        assert a != b
        assert a * b
    with pytest.raises(ParameterError, match=r"threshold must be in \[4, 5\], got 3"):
        thresholds(5, threshold=3, corrupt=0.0, dropout=0.0)
    assert thresholds(5, threshold=5, corrupt=0.0, dropout=0.0).packed == 2


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
        assert (plan.packed, plan.silent) == (t - least + 1, least - 1)
    for t in (least - 1, most + 1):
        with pytest.raises(ParameterError, match="threshold must be"):
            thresholds(n, threshold=t, corrupt=corrupt, dropout=dropout)


def test_a_quotient_of_parties_is_so_many():
    """As floats many quotients are a little less than they are: 2 / 6 of six parties would be one."""
    for n in (*range(3, 60), 399, 400):
        for bad in range(1, n - 1):
            found = thresholds(n, threshold=n, corrupt=bad / n, dropout=0.0)
            assert (found.corrupt, found.min_honest) == (bad, n - bad)
            below = math.nextafter(bad / n, 0)
            if bad > 1:
                assert thresholds(n, threshold=n, corrupt=below, dropout=0.0).corrupt == bad - 1


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
