"""Discrete Gaussian mechanisms: the event is made of the numbers that drew the noise."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.events import DistributedDiscreteGaussian
from dpkit.bounded import Bounded
from dpkit.discrete import DiscreteGaussianMechanism, ShareMechanism
from dpkit.entropy import seeded
from dpkit.errors import BoundError, ParameterError, UnboundedError
from dpkit.samplers import centred_discrete_gaussian

NOISE = st.floats(0.05, 100)
BOUNDS = st.floats(0.1, 1e3)
STEPS = st.integers(-12, -3).map(lambda e: 2.0**e)


@given(NOISE, BOUNDS, STEPS, st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 2**64))
def test_event_is_made_of_the_numbers_that_drew(noise_multiplier, bound, step, min_honest, others, seed):
    query = Bounded(np.array([0.3, -2.0, 5.0]) * bound, bound)
    share = DiscreteGaussianMechanism(noise_multiplier).share(min_honest + others, min_honest).with_step(step)
    event = share.event(query)
    assert event == DistributedDiscreteGaussian(share.local_stddev(query), min_honest, bound / step, 3)
    # together the guaranteed shares have at least the variance that was asked for, and barely more
    together = Fraction(event.local_stddev) ** 2 * event.parties
    asked = (Fraction(noise_multiplier) * Fraction(bound) / Fraction(step)) ** 2
    assert asked <= together <= asked * (1 + Fraction(1, 2**49))
    assert Fraction(event.l2_bound) * Fraction(step) == Fraction(bound)
    drawn = share.draw(query, seeded(seed))
    assert drawn.dtype == np.int64
    assert (drawn == centred_discrete_gaussian(query.value / step, event.local_stddev, seeded(seed))).all()


@given(NOISE, BOUNDS, STEPS, st.integers(0, 2**64))
def test_a_release_is_one_share_of_one_party(noise_multiplier, bound, step, seed):
    query = Bounded({"a": np.array([0.3 * bound]), "b": np.zeros((1, 2))}, bound)
    mechanism = DiscreteGaussianMechanism(noise_multiplier, step=step)
    release = mechanism.release(query, entropy=seeded(seed))
    share = mechanism.share(1, 1)
    assert release.event == share.event(query) == mechanism.event(query)
    assert release.event.parties == 1
    assert release.event.dim == 3
    flat = np.concatenate([release.value["a"], release.value["b"].reshape(-1)])
    assert (flat == share.draw(query, seeded(seed)) * step).all()
    assert (flat / step == np.rint(flat / step)).all()


def test_min_honest_makes_shares_larger_not_smaller():
    query = Bounded(np.zeros(1), 1.0)
    mechanism = DiscreteGaussianMechanism(8.0, step=1.0)
    assert mechanism.share(100, 4).local_stddev(query) == 4.0
    assert mechanism.share(100, 64).local_stddev(query) == 1.0
    assert mechanism.share(100, 1).local_stddev(query) == 8.0


def test_noise_scales_with_the_bound():
    share = DiscreteGaussianMechanism(8.0, step=1.0).share(9, 4)
    assert [share.local_stddev(Bounded(np.zeros(1), bound)) for bound in (0.5, 1.0, 16.0)] == [2.0, 4.0, 64.0]


def test_with_step_changes_the_lattice_only():
    share = DiscreteGaussianMechanism(4.0).share(3, 2)
    moved = share.with_step(0.5)
    assert (moved.noise_multiplier, moved.parties, moved.min_honest, moved.step) == (4.0, 3, 2, 0.5)
    assert share.step is None
    assert DiscreteGaussianMechanism(4.0, step=2.0).share(3, 2).step == 2.0


def test_a_step_is_needed_before_anything_is_recorded():
    query = Bounded(np.zeros(1), 1.0)
    share = DiscreteGaussianMechanism(4.0).share(3, 2)
    for call in (share.draw, share.event, share.local_stddev, DiscreteGaussianMechanism(4.0).release):
        with pytest.raises(ParameterError, match="step must be given"):
            call(query)


@pytest.mark.parametrize(
    "step", [0.0, -1.0, 0.3, 3.0, float("nan"), float("inf"), True, "1", 5e-324, pytest.param(10**400, id="huge")]
)
def test_bad_steps(step):
    with pytest.raises(ParameterError, match="step must be"):
        DiscreteGaussianMechanism(1.0, step=step)
    with pytest.raises(ParameterError, match="step must be"):
        DiscreteGaussianMechanism(1.0).share(2, 1).with_step(step)


@pytest.mark.parametrize(
    ("parties", "min_honest"), [(0, 0), (2, 3), (2, 0), (2.0, 1), (True, True), (2, None), (-1, -1), (1, 10**30)]
)
def test_bad_counts(parties, min_honest):
    with pytest.raises(ParameterError, match=r"(parties|min_honest) must be"):
        DiscreteGaussianMechanism(1.0).share(parties, min_honest)


def test_noise_out_of_range_is_refused():
    query = Bounded(np.zeros(1), 1.0)
    for step in (2.0**20, 2.0**-60):
        with pytest.raises(ParameterError, match="lattice steps a share"):
            ShareMechanism(1.0, parties=1, min_honest=1, step=step).draw(query)


def test_shares_refuse_what_mechanisms_refuse():
    share = DiscreteGaussianMechanism(4.0, step=1.0).share(3, 2)
    with pytest.raises(UnboundedError):
        share.draw(np.zeros(2))
    with pytest.raises(BoundError):
        share.draw(Bounded(np.zeros(2), 1.0, "linf"))
    with pytest.raises(ParameterError, match="finite"):
        share.draw(Bounded(np.array([np.nan]), 1.0))
