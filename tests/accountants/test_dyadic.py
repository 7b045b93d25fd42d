"""Values of patterns in trees against every pattern, and against published ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import _dyadic
from accountants._dyadic import tree_square
from tests.oracles.participation import worst_tree


def fit(steps, gap, most):
    return min(most, (steps - 1) // gap + 1)


@pytest.mark.parametrize("steps", range(1, 13))
def test_trees_are_the_worst_of_all_patterns(steps):
    for gap in range(1, steps + 2):
        for count in range(1, fit(steps, gap, steps) + 1):
            assert tree_square(steps, gap, count) == (worst_tree(steps, gap, count), True)


@given(st.integers(13, 40), st.integers(4, 40), st.integers(1, 5))
def test_larger_trees_are_the_worst_of_all_patterns(steps, gap, most):
    count = fit(steps, gap, most)
    assert tree_square(steps, gap, count) == (worst_tree(steps, gap, count), True)


@pytest.mark.parametrize(
    ("steps", "gap", "count", "square"),
    [
        (2000, 314, 6, 79),  # the tree of the Gboard model: rho 0.81 with noise 7 (Kairouz et al. 2021, blog notebook)
        (24, 3, 8, 88),  # TF-Privacy, tree_aggregation_accountant_test, whose separations are smaller by one
        (8, 8, 1, 4),
        (7, 3, 3, 9),
        (8, 1, 8, 120),
        (2000, 100, 20, 425),  # DP-FTRL, 20 epochs of 100 batches between restarts
    ],
)
def test_published_trees(steps, gap, count, square):
    assert tree_square(steps, gap, count) == (square, True)


@pytest.mark.parametrize("level", range(1, 9))
def test_every_step_of_a_complete_tree(level):
    """Each node counts its leaves: the sum over levels of 2^(level - l) times 4^l."""
    square = sum(2 ** (level - depth) * 4**depth for depth in range(level + 1))
    assert tree_square(2**level, 1, 2**level) == (square, True)


@given(st.integers(2, 300), st.integers(1, 40), st.integers(2, 30))
def test_a_smaller_separation_costs_no_less(steps, gap, most):
    values = [tree_square(steps, closer, fit(steps, closer, most))[0] for closer in (gap, gap + 1)]
    assert values[0] >= values[1]


@given(st.integers(8, 30), st.integers(3, 7), st.integers(2, 10))
def test_what_would_take_too_long_is_bounded(steps, gap, most):
    count = fit(steps, gap, most)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_dyadic, "_LARGEST", 0)
        bound, is_exact = tree_square(steps, gap, count)
    assert bound >= tree_square(steps, gap, count)[0]
    assert is_exact is (count == 1 or gap == 4)
    assert tree_square(100_000, 314, 319)[1] is False
