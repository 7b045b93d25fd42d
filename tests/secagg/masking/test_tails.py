"""Bounds of hypergeometric tails against exact rational ones, and against scipy's."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg.masking.tails import Tails
from tests.oracles import thresholds as oracle
from tests.oracles.thresholds import SLACK


@given(st.data())
def test_tails_are_bounded_from_above(data):
    n = data.draw(st.integers(3, 300))
    marked, k = data.draw(st.integers(0, n)), data.draw(st.integers(2, n - 1))
    pmf = Tails(n).law(marked).pmf(k)
    for x in {0, 1, k // 3, k // 2, k - 1, k}:
        exact = oracle.tail(n, marked, k, range(x, x + 1))
        assert exact <= Fraction(float(pmf[x])) <= exact * SLACK


def test_tails_of_a_hundred_million():
    n, marked, k = 10**8, 5 * 10**6, 60
    law = Tails(n).law(marked)
    assert law.pmf(k) == pytest.approx(stats.hypergeom(n, marked, k).pmf(range(k + 1)), rel=1e-3)
    for x in (0, 3, 20, 59):
        exact = oracle.tail(n, marked, k, range(x, x + 1))
        assert exact <= Fraction(float(law.pmf(k)[x])) <= exact * SLACK


@given(st.data())
def test_a_tail_is_the_largest_that_is_rare_enough(data):
    n = data.draw(st.integers(3, 200))
    marked, k = data.draw(st.integers(0, n)), data.draw(st.integers(2, n - 1))
    bits, law = data.draw(st.integers(-60, -1)), Tails(n).law(marked)
    rare = Fraction(1, n * 2**-bits)
    few, many = law.tail(k, bits, lower=True), law.tail(k, bits)
    assert oracle.tail(n, marked, k, range(few)) <= rare
    assert oracle.tail(n, marked, k, range(k + 1 - many, k + 1)) <= rare
    if few < k:
        assert oracle.tail(n, marked, k, range(few + 1)) * SLACK > rare
    if many < k:
        assert oracle.tail(n, marked, k, range(k - many, k + 1)) * SLACK > rare


@pytest.mark.parametrize(("n", "k"), [(6, 2), (8, 2), (9, 4), (11, 4), (11, 6)])
def test_cuts_are_bounded_from_above(n, k):
    graph, tails = oracle.ring(n, k), Tails(n)
    for lost in range(n):
        sets = list(combinations(range(n), lost))
        cut = sum(len(list(oracle.components(graph, set(range(n)) - set(gone)))) > 1 for gone in sets)
        bound = float(np.exp(tails.cut(np.array([k]), lost))[0])
        assert Fraction(cut, len(sets)) <= Fraction(bound)
        assert Fraction(bound) <= oracle.cut(n, k, lost) * SLACK


def test_what_a_caller_traps_stops_no_plan():
    with np.errstate(all="raise"):
        law = Tails(10_000).law(100)
        assert law.pmf(5000)[5000] == 0.0
        assert law.tail(5000, -41) > 4000
