"""The search over ε: every value is one of the cost, smooth valleys and corners are found, dear points are left out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants._valley import GRID, Valley


def found(cost, floor, delta):
    valley = Valley(cost, floor)
    valley.close_in(delta)
    return valley.least


@given(st.floats(1e-6, 300.0), st.floats(0.0, 1.0))
def test_a_smooth_valley_is_found(bottom, least):
    """(ε - bottom)²: the search ends within 1e-8 of the bottom, relative to its bracket."""

    def cost(epsilon):
        return least + (epsilon - bottom) ** 2

    value = found(cost, lambda epsilon: -math.inf, lambda epsilon: 0.0)
    assert least <= value <= least + (1e-7 * max(16.0 * bottom, 1e-7)) ** 2


@given(st.floats(1e-3, 8.0), st.floats(0.001, 0.3))
def test_a_corner_is_found_to_the_last_digits(corner, alpha):
    """δ of (corner, 0)-DP, two lines in e^ε that meet at the corner; the first expression of a trade-off curve."""
    top = math.exp(corner)

    def delta(epsilon):
        return max(0.0, (top - math.exp(epsilon)) / (top + 1.0))

    if alpha * (top + 1.0) >= 1.0:  # the line rises from the start: the best is at ε = 0
        return
    value = found(lambda e: delta(e) + math.exp(e) * alpha, lambda e: math.exp(e) * alpha, delta)
    assert top * alpha * (1.0 - 1e-15) <= value <= top * alpha * (1.0 + 1e-12)


def test_the_least_is_a_value_of_the_cost():
    asked = {}

    def cost(epsilon):
        asked[epsilon] = math.sin(7.0 * epsilon) + 0.1 * epsilon
        return asked[epsilon]

    value = found(cost, lambda epsilon: 0.1 * epsilon - 1.0, lambda epsilon: 0.0)
    assert value == min(asked.values())


def test_nothing_is_asked_where_the_floor_is_no_better():
    asked = []

    def cost(epsilon):
        asked.append(epsilon)
        return 1e-3 * math.exp(epsilon) + math.exp(-epsilon)

    value = found(cost, lambda epsilon: 1e-3 * math.exp(epsilon), lambda epsilon: math.exp(-epsilon))
    assert value == pytest.approx(2.0 * math.sqrt(1e-3), rel=1e-12)
    assert max(asked) < 16.0 < max(GRID)


def test_a_best_at_the_end_is_kept():
    assert found(lambda epsilon: epsilon, lambda epsilon: -1.0, lambda epsilon: 0.0) == 0.0
    assert found(lambda epsilon: -epsilon, lambda epsilon: -math.inf, lambda epsilon: 0.0) == -700.0


def test_the_grid_rises_and_its_exponentials_are_finite():
    assert list(GRID) == sorted(set(GRID))
    assert math.isfinite(math.exp(GRID[-1]))
