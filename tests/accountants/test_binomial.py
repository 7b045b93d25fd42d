"""Binomial probabilities against log-gamma with 60 digits, inside the error stated with each."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants._binomial import log_binomial


def _exact(n, x, log_odds):
    with mp.workdps(60):
        odds = mp.mpf(log_odds)
        log_p, log_rest = -mp.log1p(mp.exp(-odds)), -mp.log1p(mp.exp(odds))
        choose = mp.loggamma(n + 1) - mp.loggamma(x + 1) - mp.loggamma(n - x + 1)
        return choose + x * log_p + (n - x) * log_rest


def _ours(n, x, log_odds):
    log_p, log_rest = -math.log1p(math.exp(-log_odds)), -math.log1p(math.exp(log_odds))
    value, error = log_binomial(n, np.array([float(x)]), log_p, log_rest)
    return float(value[0]), float(error[0])


@given(st.integers(1, 10**9), st.floats(0.0, 1.0), st.floats(-40.0, 40.0))
def test_is_within_the_error_stated(n, share, log_odds):
    x = round(share * n)
    value, error = _ours(n, x, log_odds)
    assert abs(mp.mpf(value) - _exact(n, x, log_odds)) <= error


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_every_count_of_a_short_run(n):
    for x in range(n + 1):
        value, error = _ours(n, x, 0.3)
        assert abs(mp.mpf(value) - _exact(n, x, 0.3)) <= error < 1e-12


def test_stays_sharp_where_it_matters():
    n, log_odds = 10**7, 0.01
    mean = n / (1.0 + math.exp(-log_odds))
    assert (
        _ours(n, round(mean + 5 * math.sqrt(n) / 2), log_odds)[1] < 1.4e-10
    )  # five sd times 2 * 8 * 4.7 EPS, and 256 EPS
