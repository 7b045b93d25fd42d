"""Integer rows with fractional weights: never off by more than is said, at any size."""

from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from dpkit.correlated._fixed import MAX_TERMS, ONE, combine, nearest

WEIGHTS = st.integers(0, ONE)
NUMBERS = st.integers(-(2**61), 2**61)


def _error(weights, numbers):
    exact = sum(Fraction(weight * number, ONE) for weight, number in zip(weights, numbers, strict=True))
    return int(combine(weights, [np.array([number]) for number in numbers])[0]) - exact


@given(st.lists(st.tuples(WEIGHTS, NUMBERS), min_size=1, max_size=2))
@example([(ONE, 2**61), (ONE, 2**61 - 1)])
@example([(1, -1), (1, -1)])
def test_two_errors_differ_by_little_more_than_one(pairs):
    """Every error lies in (-1/2 - k 2^-21, 1/2]: an interval no longer than 1 + k 2^-21."""
    weights, numbers = zip(*pairs, strict=True)
    assert Fraction(-1, 2) - Fraction(len(pairs), 1 << 21) < _error(weights, numbers) <= Fraction(1, 2)


@given(st.integers(0, 2**64))
def test_the_longest_combination_does_not_overflow(seed):
    generator = np.random.default_rng(seed)
    weights = [int(w) for w in generator.integers(0, ONE, MAX_TERMS, endpoint=True)]
    numbers = [int(n) for n in generator.integers(-(2**50), 2**50, MAX_TERMS)]
    for w, n in ((weights, numbers), ([ONE - 1] * MAX_TERMS, [2**50 - 1] * MAX_TERMS)):
        assert Fraction(-1, 2) - Fraction(MAX_TERMS, 1 << 21) < _error(w, n) <= Fraction(1, 2)


@given(st.integers(-(2**40), 2**40), WEIGHTS)
def test_every_place_of_a_long_row_is_treated_alike(start, weight):
    row = start + np.arange(40_000, dtype=np.int64)
    result = combine([weight], [row])
    places = [0, 1, 16_383, 16_384, 32_767, 32_768, 39_999]
    assert result[places].tolist() == [int(combine([weight], [row[place : place + 1]])[0]) for place in places]
    assert (np.diff(result) >= 0).all()


@given(st.floats(0, 1))
def test_weights_are_the_nearest(factor):
    assert abs(Fraction(nearest(factor), ONE) - Fraction(factor)) <= Fraction(1, 2 * ONE)
