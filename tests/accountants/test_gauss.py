"""The Gaussian curve against 60 digits, over eighteen orders of magnitude of its parameters."""

import math
from itertools import product

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants._gauss import gauss_log_delta, mills
from accountants._numerics import EPS


def _mills(x):
    """The Mills ratio; beyond 1000 by its asymptotic series, whose terms fall below 10^-120 before they grow."""
    if x < 1000:
        return mp.exp(x * x / 2) * mp.sqrt(mp.pi / 2) * mp.erfc(x / mp.sqrt(2))
    return mp.fsum((-1) ** k * mp.fac2(2 * k - 1) / x ** (2 * k + 1) for k in range(25))


def _log_delta(mu, epsilon):
    mu, e = mp.mpf(mu), mp.mpf(epsilon)
    a, b = e / mu - mu / 2, e / mu + mu / 2
    if a < 0:
        return mp.log1p(-mp.npdf(a) * (_mills(-a) + _mills(b)))
    return mp.log(_mills(a) - _mills(b)) - a * a / 2 - mp.log(2 * mp.pi) / 2


def _check(mu, epsilon):
    with mp.workdps(140):
        truth = _log_delta(mu, epsilon)
        low, high = gauss_log_delta(mu, epsilon)
        assert low <= truth <= high
        return low, high


GRID = list(
    product([1e-6, 1e-3, 0.05, 0.3, 0.5, 0.51, 1.0, 2.5, 10.0, 77.0, 1e3], [0.0, 1e-9, 1e-4, 0.1, 1.0, 30.0, 1e4])
)


@pytest.mark.parametrize(("mu", "epsilon"), GRID)
def test_contains_the_closed_form(mu, epsilon):
    low, high = _check(mu, epsilon)
    spread = epsilon / mu + mu / 2 + 2.0  # widths follow the conditioning: log delta moves by spread^2 EPS per rounding
    assert high - low <= 2.0 * EPS * (24.0 * spread**2 + 400.0)


@given(st.floats(-6.0, 3.0), st.floats(-5.0, 38.0))
def test_contains_the_closed_form_near_every_crossing_of_forms(log_mu, deviations):
    mu = 10.0**log_mu
    _check(mu, max(0.0, mu * mu / 2 + mu * deviations))


@pytest.mark.parametrize("mu", [1e-3, 0.4, 3.0, 200.0])
def test_holds_for_a_separation_that_was_rounded(mu):
    for epsilon in (0.0, mu * mu / 2, mu * mu / 2 + 5 * mu):
        low, high = gauss_log_delta(mu, epsilon)
        with mp.workdps(140):
            for off in (-4, 4):
                assert low <= _log_delta(mp.mpf(mu) * (1 + off * mp.mpf(EPS)), epsilon) <= high


@pytest.mark.parametrize(
    ("mu", "epsilon"),
    [(1e-300, 0.0), (1e-300, 1.0), (1e300, 1.0), (math.inf, 5.0), (1e-5, 1e300), (1e7, 5e13), (1e10, 0.0)],
)
def test_extremes_are_never_nan(mu, epsilon):
    low, high = gauss_log_delta(mu, epsilon)
    assert low <= high <= 0.0


def test_what_underflows_is_not_called_zero():
    assert gauss_log_delta(1e-200, 1.0)[1] > -math.inf


@pytest.mark.parametrize("x", [0.0, 1e-5, 0.1, 1.0, 3.0, 26.0, 500.0])
def test_mills_is_within_its_error(x):
    with mp.workdps(50):
        assert abs(mp.mpf(mills(x)) / _mills(mp.mpf(x)) - 1) <= 12 * EPS
