"""Sums of discrete Gaussians, enumerated: every log-ratio lies within the slack, and the slack is not loose."""

import math

import mpmath as mp
import numpy as np
import pytest

from accountants._lattice import balanced_tau, log_dual_sum, log_theta_tail, share_slack, smoothing_tau
from tests.oracles.accounting import normal_density, normaliser, smoothed_mass, sum_pmf

CASES = [(1, 0.6), (1, 1.4), (2, 0.55), (2, 0.9), (2, 1.5), (3, 0.7), (3, 1.1), (4, 0.75)]


def _centres(n, seed):
    return [mp.mpf(float(c)) for c in np.random.default_rng(seed).uniform(-3.0, 3.0, n)]


def _within(ratio, up, down):
    """log(ratio) is in [-down, up], with a margin for the oracle's cut at e^-80."""
    return -down - mp.mpf("1e-25") <= mp.log(ratio) <= up + mp.mpf("1e-25")


@pytest.mark.parametrize(("n", "sigma"), CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_share_lemma(n, sigma, seed):
    with mp.workdps(34):
        centres = _centres(n, seed)
        eta_sum, eta = mp.exp(log_dual_sum(sigma, n)), mp.exp(log_theta_tail(sigma))
        up = mp.log1p(eta_sum) - n * mp.log1p(-eta)
        down = -mp.log1p(-eta_sum) + n * mp.log1p(eta)
        total, variance = mp.fsum(centres), n * mp.mpf(sigma) ** 2
        near = 5 * mp.sqrt(variance)
        ratios = [
            p / normal_density(z - total, variance) for z, p in sum_pmf(sigma, centres).items() if abs(z - total) < near
        ]
        assert len(ratios) > 4
        assert all(_within(ratio, up, down) for ratio in ratios)


@pytest.mark.parametrize(("n", "sigma"), [(1, 1.6), (2, 1.3), (3, 1.1), (4, 0.9)])
def test_slack_holds_against_the_smoothed_law(n, sigma):
    tau = 1.2 if n == 1 else smoothing_tau(1)
    with mp.workdps(28):
        up, down = share_slack(sigma, n, tau)
        centres = _centres(n, 7)
        total, variance = mp.fsum(centres), n * mp.mpf(sigma) ** 2
        law = sum_pmf(sigma, centres)
        for z in range(int(total) - 4, int(total) + 5, 3):
            assert _within(law[z] / smoothed_mass(z, total, variance, mp.mpf(tau)), up, down)


@pytest.mark.parametrize("tau", [0.4, 0.6])
def test_smoothing_lemma(tau):
    """At small tau the two laws differ visibly, and the bound is met."""
    with mp.workdps(20):
        eta, centre, variance = mp.exp(log_theta_tail(tau)), mp.mpf("0.37"), mp.mpf(2)
        ratios = [
            normal_density(z - centre, variance) / smoothed_mass(z, centre, variance, mp.mpf(tau)) for z in range(-3, 5)
        ]
        assert all(1 - eta <= ratio <= 1 + eta for ratio in ratios)
        assert max(abs(ratio - 1) for ratio in ratios) > eta / 1000


@pytest.mark.parametrize(("n", "sigma"), [(2, 0.5), (2, 1.2), (3, 0.8), (4, 0.7)])
def test_dual_sum_is_attained_at_integer_centres(n, sigma):
    """With all centres 0 and z = 0 every phase is 1: theta is eta_A itself."""
    with mp.workdps(34):
        law = sum_pmf(sigma, [mp.mpf(0)] * n)
        truth = law[0] * normaliser(sigma, 0) ** n / (mp.mpf(sigma) * mp.sqrt(2 * mp.pi)) ** n
        truth = truth / normal_density(0, n * mp.mpf(sigma) ** 2) - 1
        dropped = mp.erfc(mp.pi * mp.mpf(sigma) * mp.sqrt(mp.mpf(n) / 2))
        assert truth <= mp.exp(log_dual_sum(sigma, n)) <= mp.mpf("1.1") * (truth + dropped)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 3.0])
def test_theta_tail_is_the_theta_series(sigma):
    with mp.workdps(30):
        truth = mp.log(2 * mp.fsum(mp.exp(-2 * mp.pi**2 * mp.mpf(sigma) ** 2 * m * m) for m in range(1, 60)))
        assert truth <= log_theta_tail(sigma) <= truth + 1e-12 * abs(truth) + (0.02 if sigma < 0.3 else 1e-9)


@pytest.mark.parametrize("dim", [1, 100, 10**6, 10**9])
def test_tau_costs_a_trillionth(dim):
    def cost(tau):
        eta = math.exp(log_theta_tail(tau))
        return dim * (math.log1p(eta) - math.log1p(-eta))

    tau = smoothing_tau(dim)
    assert cost(tau) <= 1e-12 < cost(0.985 * tau)


def test_many_parties_and_wide_noise_are_fine():
    for sigma, n in ((1.5, 10**6), (2.0, 10**9), (1e6, 3), (1e12, 10)):
        up, down = share_slack(sigma, n, smoothing_tau(1))
        assert 0.0 < up < 1e-4
        assert 0.0 < down < 1e-4


def test_too_little_noise_has_no_slack():
    assert share_slack(0.2, 50, smoothing_tau(1)) == (math.inf, math.inf)


def test_the_figures_of_the_explanation():
    tau = 4.0
    assert all(max(share_slack(1.5, n, tau)) < 1e-12 for n in (3, 4, 10, 100, 10_000, 1_000_000))
    assert 1e-10 < max(share_slack(1.5, 2, tau)) < 5e-10
    assert max(share_slack(2.0, 2, tau)) < 2e-17


@pytest.mark.parametrize(
    ("stddev", "bound", "dim"), [(1.0, 1.0, 1), (2.0, 4.0, 10**6), (10.0, 8.0, 100), (100.0, 1.0, 1), (1e6, 10.0, 3)]
)
def test_balanced_tau_is_between_the_ends(stddev, bound, dim):
    """Every step away from it loses: in noise on one side, in slack on the other."""
    tau = balanced_tau(stddev, bound, dim)
    assert 0.0 < tau < stddev
    assert tau <= smoothing_tau(dim)

    def cost(tau):
        return 0.5 * bound**2 / (stddev**2 - tau**2) + 1e6 * dim * sum(share_slack(stddev, 1, tau))

    assert cost(tau) <= cost(0.95 * tau) * (1 + 1e-12)
    assert cost(tau) <= cost(min(1.05 * tau, (stddev + tau) / 2, smoothing_tau(dim))) * (1 + 1e-12)


@pytest.mark.parametrize("extreme", [(5e-324, 1.0, 1), (1e-200, 1e200, 10), (1e300, 1e-300, 2**53), (0.1, 1.0, 1)])
def test_balanced_tau_is_a_number_at_extremes(extreme):
    assert math.isfinite(balanced_tau(*extreme))
