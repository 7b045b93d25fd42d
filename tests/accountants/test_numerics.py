"""The numeric tools against mpmath, and the search on functions whose valley is known."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants._numerics import EPS, entropy_remainder, exp_remainder, minimise, round_down, round_up, sum_up

SIGNED = st.floats(1e-300, 30.0) | st.floats(-30.0, -1e-300)


@given(y=SIGNED)
@example(y=0.35)
@example(y=math.nextafter(0.35, 0.0))
@example(y=-1e-9)
def test_exp_remainder(y):
    with mp.workdps(400):
        truth = mp.exp(mp.mpf(y)) - 1 - mp.mpf(y)
        assert abs(float(exp_remainder(np.array([y]))[0]) - truth) <= 40 * EPS * truth + mp.mpf("5e-324")


@given(w=st.floats(-0.99, 50.0).filter(lambda w: abs(w) > 1e-150))
@example(w=0.1)
@example(w=-0.0999999)
def test_entropy_remainder(w):
    with mp.workdps(200):
        truth = (1 + mp.mpf(w)) * mp.log1p(mp.mpf(w)) - mp.mpf(w)
        value = float(entropy_remainder(np.array([w]), np.log1p(np.array([w])))[0])
        assert abs(value - truth) <= 80 * EPS * truth


@given(a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3))
def test_elementary_functions_err_by_at_most_four_spacings(a, b):
    with mp.workdps(40):
        for value, truth in (
            (np.exp(a / 10.0), mp.exp(mp.mpf(a / 10.0))),
            (np.log(a), mp.log(mp.mpf(a))),
            (math.log1p(b), mp.log1p(mp.mpf(b))),
            (math.expm1(a / 10.0), mp.expm1(mp.mpf(a / 10.0))),
        ):
            assert abs(value - truth) <= 4 * EPS * abs(truth)


@given(value=st.floats(0.0, 1e300))
def test_rounding_is_outward(value):
    assert round_up(value) > value
    assert round_down(value) < value or value == 0.0
    assert round_up(value) <= value * (1 + 10 * EPS) + 1e-323


@given(values=st.lists(st.floats(0.0, 1e200), max_size=20))
def test_sums_are_upper_bounds_and_do_not_depend_on_order(values):
    with mp.workdps(600):
        truth = mp.fsum(mp.mpf(value) for value in values)
        assert truth <= sum_up(values)
    assert sum_up(values) == sum_up(values[::-1])
    assert sum_up([0.0, 0.0]) == 0.0


@pytest.mark.parametrize("start", [-9.0, -1.0, 0.3, 9.0])
@pytest.mark.parametrize("valley", [-12.0, -3.1, 0.0, 5.5, 12.0])
def test_minimise_finds_the_valley(start, valley):
    seen = []

    def function(x):
        seen.append(x)
        return math.cosh(x - valley) - 1.0

    best = minimise(function, -10.0, 10.0, start, 1e-5)
    reachable = min(max(valley, -10.0), 10.0)
    assert math.cosh(reachable - valley) - 1.0 <= best <= math.cosh(abs(reachable - valley) + 4e-5) - 1.0
    assert len(seen) < 60
    assert -10.0 <= min(seen) <= max(seen) <= 10.0


def test_minimise_leaves_infinite_and_flat_parts():
    assert minimise(lambda x: math.inf if x > -2.0 else (x + 3.0) ** 2, -10.0, 10.0, 0.0, 1e-6) < math.inf
    for wall in (-2.0, 0.1, 2.9):  # a valley cut off by infinity, met from within the search
        best = minimise(lambda x, wall=wall: math.inf if x > wall else (x - 3.0) ** 2, -10.0, 10.0, -3.0, 1e-6)
        assert (wall - 3.0) ** 2 <= best <= (wall - 3.0) ** 2 + 1e-4
    assert minimise(lambda x: 1.0, -10.0, 10.0, 0.0, 1e-6) == 1.0
    assert minimise(lambda x: math.inf, -10.0, 10.0, 0.0, 1e-6) == math.inf
