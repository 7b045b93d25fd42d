"""Both ends of an inverted curve are certified by the curve itself, whatever the search did."""

import math

import pytest

from accountants._invert import invert


def _exponential(rate, doubt):
    return lambda epsilon: (-1.0 - rate * epsilon - doubt, -1.0 - rate * epsilon + doubt)


@pytest.mark.parametrize("rate", [1e-9, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("start", [1e-12, 1.0, 1e12])
def test_encloses_the_root_from_any_start(rate, start):
    low, high = invert(_exponential(rate, 0.0), -10.0, start)
    assert low <= 9.0 / rate <= high <= low * (1 + 1e-13)


def test_both_ends_follow_the_doubt():
    at = _exponential(2.0, 0.25)
    low, high = invert(at, -10.0, 1.0)
    assert at(high)[1] <= -10.0 < at(low)[0]
    assert low <= 4.5 - 0.125 < 4.5 + 0.125 <= high
    assert high - low < 0.26


def test_zero_where_delta_at_zero_is_enough():
    assert invert(_exponential(1.0, 0.0), -1.0, 1.0) == (0.0, 0.0)
    low, high = invert(_exponential(1.0, 1e-3), -1.0, 1.0)
    assert low == 0.0 < high < 0.01


def test_infinite_where_delta_stays_above():
    assert invert(lambda epsilon: (-5.0, -5.0), -10.0, 1.0) == (math.inf, math.inf)
    assert invert(lambda epsilon: (-20.0, -5.0), -10.0, 1.0) == (0.0, math.inf)


def test_a_curve_that_drops_to_nothing():
    def at(epsilon):
        return (-math.inf, -math.inf) if epsilon >= 0.75 else (-1.0, -1.0)

    low, high = invert(at, -math.inf, 1.0)
    assert 0.75 * (1 - 1e-13) <= low < 0.75 <= high <= 0.75 * (1 + 1e-13)
