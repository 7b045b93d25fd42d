"""Largest sums over patterns against every pattern; weights are integers, so that all sums are exact."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accountants._separated import Steps, chained, largest_square, summed
from tests.oracles.participation import patterns


def steps_of(size, gap, most):
    room = (size - 1) // gap + 1
    return Steps(gap, min(most, room), most < room)


@st.composite
def tables(draw, reach=None):
    """(A symmetric and >= 0, steps): entries at a distance of `reach` gaps or more are 0."""
    size, gap, most = draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(st.integers(1, 8))
    entries = draw(st.lists(st.integers(0, 9), min_size=size * size, max_size=size * size))
    A = np.array(entries, dtype=float).reshape(size, size)
    A = A + A.T
    if reach is not None:
        rows, columns = np.indices(A.shape)
        A[abs(rows - columns) >= reach * gap] = 0.0
    return A, steps_of(size, gap, most)


def worst(A, steps):
    return max(A[np.ix_(pattern, pattern)].sum() for pattern in map(list, patterns(len(A), steps.gap, steps.count)))


@given(tables())
def test_single_weights_are_summed_along_the_best_pattern(table):
    A, steps = table
    weights = np.diagonal(A)
    value, pattern = summed(weights, steps)
    assert value == worst(np.diag(weights), steps) == weights[pattern].sum()
    assert len(pattern) <= steps.count
    assert all(later - earlier >= steps.gap for earlier, later in pairwise(pattern))


@given(tables(reach=2))
def test_a_chain_is_exact_where_neighbours_interact(table):
    A, steps = table
    assert chained(A, steps) == worst(A, steps)
    assert largest_square(A, steps, 2 * steps.gap) == (worst(A, steps), True)


@given(tables())
def test_rows_are_never_below_and_say_whether_they_are_attained(table):
    A, steps = table
    value, is_attained = largest_square(A, steps, len(A))
    assert value >= worst(A, steps)
    assert (value == worst(A, steps)) or not is_attained


def test_rows_are_attained_by_what_falls_with_the_distance():
    """As the columns of prefix sums, of square roots, and of most strategies in use do."""
    place = np.arange(40.0)
    A = 100.0 - np.maximum.outer(place, place) - abs(np.subtract.outer(place, place))
    for steps in (Steps(5, 8, False), Steps(5, 4, True), Steps(3, 14, False), Steps(1, 7, True), Steps(1, 40, False)):
        value, is_attained = largest_square(A, steps, 40)
        packed = [steps.gap * j for j in range(steps.count)]
        assert is_attained
        assert value == A[np.ix_(packed, packed)].sum()


def test_rows_above_the_worst_pattern_are_not_called_attained():
    A = np.zeros((4, 4))
    for one, other in ((0, 2), (0, 3), (1, 2)):
        A[one, other] = A[other, one] = 1.0
    steps = Steps(1, 3, True)
    assert worst(A, steps) == 4.0
    assert largest_square(A, steps, 4) == (5.0, False)
