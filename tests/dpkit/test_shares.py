"""Shares: enough of them are the noise of the whole, and what they cost is what is recorded."""

from fractions import Fraction

import numpy as np
import pytest

from accountants import epsilon
from accountants.events import DistributedDiscreteGaussian, Skellam
from dpkit import (
    Bounded,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    ParameterError,
    ShareMechanism,
    SkellamMechanism,
    UnboundedError,
)
from dpkit.entropy import seeded
from tests.oracles.discrete import hockey_stick

DIVISIBLE = (DiscreteGaussianMechanism, SkellamMechanism)
OUTPUTS = np.arange(-2000.0, 2001.0)


def _sum_of_shares(kind, noise_multiplier, shares, centers):
    """The law of the sum of shares around so many real centres, by convolution."""
    law = np.ones(1)
    for center in centers:
        noise = kind(noise_multiplier, 1.0).noise(Bounded(np.array(center), 1.0), shares)
        law = np.convolve(law, noise.pmf(np.arange(-200.0, 201.0), Bounded(np.array(center), 1.0)))
    return law


@pytest.mark.parametrize("shares", [1, 2, 5, 10])
def test_shares_sum_to_the_law_recorded(shares):
    """Skellam shares add up to the Skellam law of the event's own variance: every probability, by convolution."""
    law = _sum_of_shares(SkellamMechanism, 7.0, shares, [0.0] * shares)
    event = SkellamMechanism(7.0, 1.0).share(shares + 3, shares).event(Bounded(np.zeros(1), 1.0))
    whole = SkellamMechanism(float(event.variance) ** 0.5, 1.0)
    outputs = np.arange(-200.0 * shares, 200.0 * shares + 1)
    expected = whole.pmf(outputs, Bounded(np.array(0.0), 1.0))
    seen = expected > 1e-9  # convolution adds up 1e-16 of the largest
    assert law[seen] == pytest.approx(expected[seen], rel=1e-6)
    assert float(event.variance) == pytest.approx(49.0, rel=1e-15)


@pytest.mark.parametrize("kind", DIVISIBLE)
def test_a_sum_of_shares_costs_no_more_than_its_event(kind):
    """One party's real value moves by the bound, in both directions; the others' values are what they are."""
    others = [0.3, -1.7, 2.5]
    event = kind(8.0, 1.0).share(9, 4).event(Bounded(np.zeros(1), 1.0))
    for center in (0.2, -0.5):
        p = _sum_of_shares(kind, 8.0, 4, [center, *others])
        q = _sum_of_shares(kind, 8.0, 4, [center + 1.0, *others])
        for delta in (1e-2, 1e-5):
            eps = epsilon(event, delta=delta, relation="add_remove")
            assert max(hockey_stick(p, q, eps), hockey_stick(q, p, eps)) <= delta


@pytest.mark.parametrize("kind", DIVISIBLE)
def test_further_shares_only_add_noise_and_fewer_are_not_enough(kind):
    share = kind(8.0, 1.0).share(100, 4)
    query = Bounded(np.zeros(1), 1.0)
    assert share.local_stddev(query) == 4.0
    assert share.lattice(query) == (1.0, 4.0)
    assert kind(8.0, 1.0).share(100, 16).local_stddev(query) == 2.0
    assert share.event(query) == kind(8.0, 1.0).share(4, 4).event(query)


def test_events_of_shares():
    query = Bounded(np.zeros(4), 2.0)
    gauss = DiscreteGaussianMechanism(8.0, 0.5).share(9, 4).event(query)
    assert gauss == DistributedDiscreteGaussian(16.0, 4, 4.0, 4)
    assert SkellamMechanism(8.0, 0.5).share(9, 4).event(query).variance == Fraction(32) ** 2
    whole = SkellamMechanism(8.0, 0.5).share(9, 4).event(Bounded(np.zeros(4, dtype=int), 2.0, "l1"))
    assert whole == Skellam(1024.0, 4.0, 4.0)


@pytest.mark.parametrize("kind", DIVISIBLE)
def test_draws_are_of_the_share_and_on_its_lattice(kind):
    share = kind(8.0).share(9, 4).with_step(0.5)
    assert (share.step, share.noise_multiplier) == (0.5, 8.0)
    value = Bounded({"a": np.array([0.3, -5.1]), "b": np.array(7)}, 2.0)
    drawn = share.draw(value, seeded(3))
    noise = kind(8.0, 0.5).noise(value, 4)
    assert drawn.dtype == np.int64
    assert (drawn == noise.draw(np.array([0.3, -5.1, 7.0]), seeded(3))).all()
    many = share.draw(Bounded(np.zeros(20_000), 2.0), seeded(4))
    # the sum of 20000 squares is within 12 of its standard deviations, 200 each, but for 1e-29 by Chernoff
    assert abs((many.astype(float) ** 2).sum() / 256 - 20_000) < 2400


@pytest.mark.parametrize("kind", DIVISIBLE)
def test_reach_bounds_every_draw(kind):
    share, query = kind(8.0, 0.5).share(9, 4), Bounded(np.zeros(10_000), 2.0)
    assert 20 * share.local_stddev(query) < share.reach(query) < 60 * share.local_stddev(query)
    assert np.abs(share.draw(query, seeded(5))).max() < share.reach(query)


@pytest.mark.parametrize("kind", DIVISIBLE)
def test_refusals(kind):
    for parties, min_honest in ((2, 3), (0, 0), (2, 0), (2.0, 1), (True, True), (1, 10**30)):
        with pytest.raises(ParameterError, match=r"(parties|min_honest) must be"):
            ShareMechanism(kind(1.0), parties, min_honest)
    with pytest.raises(ParameterError, match="mechanism must divide into shares, got DiscreteLaplaceMechanism"):
        ShareMechanism(DiscreteLaplaceMechanism(1.0), 2, 1)
    with pytest.raises(UnboundedError):
        kind(1.0, 0.5).share(2, 1).draw(np.zeros(2))
    with pytest.raises(ParameterError, match="step must be given"):
        kind(1.0).share(2, 1).reach(Bounded(np.zeros(1), 1.0))
    with pytest.raises(ParameterError, match="lattice steps a share"):
        kind(1.0, 1.0).share(2**30, 2**30).event(Bounded(np.zeros(1), 1.0))
