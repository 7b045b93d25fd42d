"""Parameters at the ends of what can be written: every accountant answers or refuses, and the ends stay in order."""

import math

import mpmath as mp
import pytest

from accountants import (
    DiscreteGaussian,
    DiscreteLaplace,
    DominatingPair,
    FixedSizeSampled,
    Gaussian,
    GDPAccountant,
    Group,
    Laplace,
    PLDAccountant,
    PoissonSampled,
    RandomizedResponse,
    RDPAccountant,
    Skellam,
    Within,
)

NEVER = 5e-324
COIN = DominatingPair((-4.5, math.log1p(-math.exp(-4.5))), (math.log1p(-math.exp(-11.0)), -11.0))

EXTREMES = {
    "huge contributions": (Skellam(6.9, 5.6e213, 3e290), "add_remove"),
    "huge contributions, sampled": (PoissonSampled(Skellam(7.5, 9.7, 1.2e298), 0.01), "zero_out"),
    "huge contributions, replaced": (FixedSizeSampled(Skellam(2.2, 0.3, 1.4e254), 10, 9), "replace_one"),
    "hardly any variance": (Skellam(3e-261, 0.8, 1.1) * 2**53, "add_remove"),
    "hardly any variance, sampled": (FixedSizeSampled(Skellam(3e-261, 0.8, 1.1), 10, 3), "replace_one"),
    "losses that overflow when squared": (DiscreteLaplace(1.3e-256, 2.3), "zero_out"),
    "the same, sampled by coins": (PoissonSampled(DiscreteLaplace(2.5e-177, 81.9), 0.5), "replace_one"),
    "the same, many times": (RandomizedResponse(4.5e294) * 10**6, "replace_one"),
    "three answers, hardly any doubt": (RandomizedResponse(7.7e33, 3) * 3, "replace_one"),
    "noise far below the bound": (DiscreteGaussian(0.38, 490.0) * 100, "zero_out"),
    "hardly any lattice noise": (DiscreteGaussian(1e-300, 3.0) * 3, "add_remove"),
    "hardly any lattice noise, sampled": (PoissonSampled(DiscreteGaussian(1e-160, 3.0), 0.5), "add_remove"),
    "as many releases as can be counted": (PoissonSampled(Gaussian(0.0123), 1e-9) * 2**53, "add_remove"),
    "noise without end": (Gaussian(2.4e274), "add_remove"),
    "noise without end, sampled": (PoissonSampled(Laplace(6.5e258), 1 - 2.0**-53), "replace_one"),
    "no noise to speak of, sampled": (PoissonSampled(Gaussian(6e-55), 0.5), "add_remove"),
    "hardly ever sampled": (Group(PoissonSampled(Gaussian(20.0), NEVER), 50) * 2, "add_remove"),
    "a group too large to be summed up": (Group(PoissonSampled(Gaussian(20.0), 1e-3), 10**6), "add_remove"),
    "losses without a common unit": (
        PoissonSampled(DiscreteGaussian(19.6, 10.8), 1 - 2.0**-53) * 2 + PoissonSampled(COIN, 1e-300),
        "add_remove",
    ),
    "slack beyond meaning": (Within(FixedSizeSampled(COIN, 2, 1), 1e300, 0.0) * 10**6, "replace_one"),
}


@pytest.mark.parametrize("delta", [NEVER, 1e-300, 1e-9, 1 - 2.0**-53])
@pytest.mark.parametrize("name", EXTREMES)
def test_ends_stay_in_order(name, delta):
    event, relation = EXTREMES[name]
    low, high = PLDAccountant().bounds(event, delta=delta, relation=relation)
    other = RDPAccountant().epsilon(event, delta=delta, relation=relation)
    assert 0.0 <= low <= high <= other * (1 + 1e-4) + 1e-300
    for accountant in (PLDAccountant(), RDPAccountant()):
        assert 0.0 <= accountant.delta(event, epsilon=-math.log(delta), relation=relation) <= 1.0


@pytest.mark.parametrize("scale", [1e150, 3e161, 7e200, 1e300])
def test_wide_noise_is_not_rounded_away(scale):
    """μ² is no normal number there; δ(0) is μ/√(2π) up to a cube."""
    with mp.workdps(40):
        mu = mp.sqrt(2) / mp.mpf(scale)
        truth = mu / mp.sqrt(2 * mp.pi)
    for event in (Gaussian(scale) * 2, Gaussian(scale) + Gaussian(scale)):
        assert truth <= PLDAccountant().delta(event, epsilon=0.0, relation="add_remove") <= truth * (1 + 1e-9)


@pytest.mark.parametrize("noise", [Gaussian(1.0), Laplace(1.0)])
def test_a_very_large_group_is_bounded(noise):
    """3000 records sampled at 1e-6: no less than a tenth as many show, no more than the batches that hold any."""
    few, many = (Group(PoissonSampled(noise, 1e-6), size) for size in (300, 3000))
    for epsilon in (0.0, 1e-5):
        least = PLDAccountant().delta(few, epsilon=epsilon, relation="add_remove")
        most = PLDAccountant().delta(many, epsilon=epsilon, relation="add_remove")
        assert least < most <= -math.expm1(3000 * math.log1p(-1e-6)) * (1 + 1e-12)


@pytest.mark.parametrize("stddev", [5.3, 35.0])
def test_what_was_cut_off_is_no_lower_bound(stddev):
    """39 standard deviations are kept; the rest is nothing that anybody could see."""
    event = DiscreteGaussian(stddev, 1.0)
    low, high = PLDAccountant().bounds(event, delta=NEVER, relation="add_remove")
    assert low <= high <= RDPAccountant().epsilon(event, delta=NEVER, relation="add_remove") < math.inf
    assert low <= GDPAccountant().epsilon(event, delta=NEVER, relation="add_remove")


@pytest.mark.parametrize("missing", [1e-10, 1e-12, 7e-15])
def test_missing_mass_is_bracketed(missing):
    """1 less a sum is known to a few 2^-52 only, however small it is."""
    log_p, log_q = (math.log(0.7), math.log(0.3 - missing)), (math.log(0.3), math.log(0.7))
    event = DominatingPair(log_p, log_q)
    with mp.workdps(40):
        lost = float(1 - mp.fsum(mp.exp(mp.mpf(value)) for value in log_p))
    assert PLDAccountant().delta(event, epsilon=50.0, relation="add_remove") >= lost
    assert RDPAccountant().delta(event, epsilon=50.0, relation="add_remove") >= lost
    low, high = PLDAccountant().bounds(event, delta=lost * (1 + 1e-9), relation="add_remove")
    assert low < math.inf
    assert high >= math.log(7 / 3) - 1e-6
