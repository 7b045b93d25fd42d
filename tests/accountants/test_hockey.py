"""Below 0: what was asked, the mirror image with its rounding, and lower ends."""

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import ApproxDP, EventError, Gaussian, PureDP, Relation
from accountants._hockey import asked, least_deltas, mirrored
from accountants.composition import compose
from tests.oracles.accounting import gaussian_delta


@pytest.mark.parametrize("good", [1, -2.5, np.float32(1.0), np.int64(3), [1, 2.0], np.zeros((2, 0)), (0, -1)])
def test_numbers_in_their_shape(good):
    values = asked(good)
    assert values.dtype == np.float64
    assert values.shape == np.shape(good)


@pytest.mark.parametrize(
    "wrong", [None, True, "1", math.nan, -math.inf, [1.0, math.inf], [1, [2, 3]], 10**400, 1j, [True], Fraction(1, 2)]
)
def test_what_is_not_a_finite_number_is_refused(wrong):
    with pytest.raises(EventError, match=r"^epsilon must be a finite number, or an array"):
        asked(wrong)


@given(st.floats(0.0, 1.0), st.floats(0.0, 800.0))
def test_both_ends_enclose_the_mirror_image(delta, epsilon):
    low, high = mirrored(np.array([-epsilon, epsilon]), np.array([delta, delta]))
    with mp.workdps(40):
        whole = -mp.expm1(-mp.mpf(epsilon)) + mp.exp(-mp.mpf(epsilon)) * mp.mpf(delta)
        assert low[0] <= whole <= high[0]
    assert high[0] - low[0] <= 1e-14
    assert low[1] == high[1] == delta
    assert high[0] <= 1.0


@pytest.mark.parametrize("epsilon", [-1.0, 1.0])
def test_an_array_without_dimensions_stays_one(epsilon):
    for end in mirrored(np.array(epsilon), np.array(0.25)):
        assert isinstance(end, np.ndarray)
        assert end.shape == ()


def test_a_small_mirror_image_keeps_its_digits():
    low, high = mirrored(np.array([-1e-200]), np.array([1e-210]))
    assert 0.0 < low[0] < 1e-200 + 1e-210 < high[0] < 1.00001e-200


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 5.0, 1e300])
def test_lower_ends_are_below_the_truth_and_near(epsilon):
    low = least_deltas(compose(Gaussian(2.0) * 4, "add_remove")[0], np.array([epsilon]), 1e-4)[0]
    truth = gaussian_delta(1.0, epsilon) if epsilon < 1e3 else 0
    assert low <= truth <= low * (1 + mp.mpf(1e-11))


def test_failures_count_in_lower_ends():
    composition = compose(ApproxDP(0.1, 0.25, Relation.add_remove), "add_remove")[0]
    assert least_deltas(composition, np.array([0.2]), 1e-4)[0] == pytest.approx(0.25, rel=1e-14)
    pure = compose(PureDP(0.1, Relation.add_remove), "add_remove")[0]
    assert least_deltas(pure, np.array([0.2]), 1e-4)[0] == 0.0
