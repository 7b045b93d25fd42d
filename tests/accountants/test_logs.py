"""Logarithms of probabilities stay bounds: against 60 digits, from 1 down to what no float64 holds."""

import math

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants._logs import NONE, complement, log_one_minus_exp, reflected, widened, with_failure


@given(st.floats(-300.0, 2.8))
def test_log_of_one_minus_exp(log_x):
    x = 10.0**log_x
    low, high = log_one_minus_exp(x)
    with mp.workdps(400):
        assert low <= mp.log(-mp.expm1(-mp.mpf(x))) <= high <= 0.0


def test_nothing_is_nothing():
    assert log_one_minus_exp(0.0) == log_one_minus_exp(-1.0) == complement((0.0, 0.0)) == NONE
    assert -1e-300 < complement(NONE)[0] <= complement(NONE)[1] == 0.0


def test_what_underflows_is_not_called_nothing():
    assert widened(-math.inf, 1.0)[1] > -math.inf


@given(st.floats(-12.0, 2.5), st.floats(-700.0, -1e-3))
def test_reflection(log_epsilon, log_delta):
    epsilon = 10.0**log_epsilon
    low, high = reflected((log_delta, log_delta), epsilon)
    with mp.workdps(60):
        e = mp.mpf(epsilon)
        assert low <= mp.log(-mp.expm1(-e) + mp.exp(log_delta - e)) <= high


@given(st.floats(-300.0, -1e-6), st.floats(-2000.0, -1e-3))
def test_failure_is_mixed_in(log_failure, log_delta):
    failure = math.exp(log_failure)
    low, high = with_failure((log_delta, log_delta), failure, failure)
    with mp.workdps(60):
        f = mp.mpf(failure)
        assert low <= mp.log(f + (1 - f) * mp.exp(mp.mpf(log_delta))) <= high


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.0, 1e-9), (0.5, 1.0)])
def test_a_failure_between_two_numbers(low, high):
    found = with_failure((-20.0, -19.0), low, high)
    assert found[0] <= math.log(low + (1.0 - low) * math.exp(-20.0)) + 1e-15
    assert found[1] >= math.log(high + (1.0 - high) * math.exp(-19.0)) - 1e-15
