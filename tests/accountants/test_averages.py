"""Moments of an average of likelihood ratios: positive ones by definition, negative ones by quadrature."""

import math

import mpmath as mp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants._averages import LAST_TABLED, _table, log_moments, log_negative_moment
from tests.oracles import allocation as oracle

scales = st.floats(math.log(0.4), math.log(30.0)).map(math.exp)


@given(scale=scales, steps=st.integers(1, 10**9), order=st.integers(2, 12))
def test_positive_moments_by_multiplicities(scale, steps, order):
    with mp.workdps(40):
        truth = float(mp.log(oracle.positive_moment(scale, steps, order)))
    found = log_moments(scale, steps, order)
    assert truth <= found <= truth * (1 + 1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 2**31])
def test_the_second_moment_and_one_step(steps):
    for scale in (0.5, 3.0, 200.0):
        exact = math.log1p(math.expm1(scale**-2) / steps)
        assert exact * (1 - 1e-12) <= log_moments(scale, steps, 2) <= exact * (1 + 1e-10)
        whole = 0.5 * 40 * 39 / scale**2
        assert log_moments(scale, steps, 40) <= whole * (1 + 1e-12)
        assert steps > 1 or log_moments(scale, steps, 40) >= whole


def test_a_larger_share_counts_more():
    """Five steps are four and one: the mean of four weighs four times as much."""
    with mp.workdps(40):
        truth = float(mp.log(oracle.positive_moment(1.0, 5, 6)))
    assert truth <= log_moments(1.0, 5, 6) <= truth * (1 + 1e-11)


def test_a_larger_table_says_the_same():
    for order in (2, 9, 32):
        small, large = log_moments(1.3, 77, order), float(_table(1.3, 77, 256)[order])
        assert small == pytest.approx(large, rel=1e-11)
    assert log_moments(1.3, 77, LAST_TABLED) < math.inf
    assert log_moments(1e-3, 77, LAST_TABLED) == math.inf  # left to what needs no table
    assert log_moments(1e-170, 77, 2) == math.inf


def test_no_less_than_beyond_the_table():
    """Balls in bins repel each other: at most the moments of independent batches, and near them for many steps."""
    for scale, steps, order in ((1.0, 100, 5), (4.0, 1000, 300), (2.0, 10, 20)):
        j = mp.mpf(1) / steps
        with mp.workdps(60):
            one = mp.fsum(
                mp.binomial(order, k) * j**k * (1 - j) ** (order - k) * mp.exp(k * (k - 1) / (2 * mp.mpf(scale) ** 2))
                for k in range(order + 1)
            )
            independent = float(steps * mp.log(one))
        assert log_moments(scale, steps, order) <= independent * (1 + 1e-9)


@settings(max_examples=20)
@given(scale=scales.filter(lambda scale: scale > 0.8), power=st.floats(1.0, 12.0))
def test_negative_moments_by_quadrature(scale, power):
    """Of two steps; the divergence of Q from P at order 1 + power."""
    truth = power * oracle.divergence(scale, 2, 1.0 + power, 0.0, 1.0)
    found = log_negative_moment(scale, 2, power)
    assert truth * (1 - 1e-11) - 1e-13 <= found
    if truth < 40.0:
        assert found <= truth * (1 + 1e-8) + 1e-12
    else:  # the moment comes from where a Laplace transform is about e^-30, and known to rounding only
        assert found <= 1.1 * truth


def test_negative_moments_of_three_steps():
    truth = 2.5 * oracle.divergence(1.5, 3, 3.5, 0.0, 1.0, step=0.2, reach=7.0)
    assert truth * (1 - 1e-9) <= log_negative_moment(1.5, 3, 2.5) <= truth * (1 + 1e-8)


def _transformed(scale, steps, power):
    """The integral over y of y^(power-1) E[e^(-yL/t)]^t with many digits, both by trapezoids in the exponent."""
    z = mp.mpf(scale)
    inner = [(mp.exp(g / z - 1 / (2 * z * z)), mp.npdf(g) * mp.mpf("0.3")) for g in mp.arange(-14, 15, mp.mpf("0.3"))]
    total = mp.mpf(0)
    for v in mp.arange(-60 / mp.mpf(power), 5, mp.mpf("0.1")):
        x = mp.exp(v) / steps
        total += mp.exp(power * v + steps * mp.log(mp.fsum(weight * mp.exp(-x * ratio) for ratio, weight in inner)))
    return float(mp.log(total * mp.mpf("0.1") / mp.gamma(power)))


@pytest.mark.parametrize("steps", [3, 1000, 10**6])
def test_small_negative_moments_lose_few_digits(steps):
    with mp.workdps(40):
        truth = _transformed(5.0, steps, 2.0)
    assert truth <= log_negative_moment(5.0, steps, 2.0) <= truth * (1 + 1e-8) + 1e-13


def test_the_geometric_mean_takes_over():
    for scale, steps, power in ((1.0, 2, 1e6), (1e-4, 5, 2.0), (1e5, 3, 1e9), (1e-160, 2, 3.0), (0.03, 10**9, 1.0)):
        coarse = power * (power / steps + 1.0) / scale / (2.0 * scale)
        assert log_negative_moment(scale, steps, power) <= coarse * (1 + 1e-14)
    assert log_negative_moment(1.0, 2, 1e6) == pytest.approx(1e6 * (5e5 + 1.0) / 2.0, rel=1e-12)
