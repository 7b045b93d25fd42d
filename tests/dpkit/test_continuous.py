"""The noise drawn covers the event recorded: exact inequalities, no statistics."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accountants.events import Gaussian, Laplace
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.entropy import seeded
from dpkit.samplers import lattice_gaussian, lattice_laplace, lattice_step

NOISE = st.floats(1e-3, 1e3)
BOUNDS = st.floats(1e-6, 1e6)


@given(NOISE, BOUNDS)
def test_gaussian_noise_covers_the_event(noise_multiplier, bound):
    """drawn^2 - (4 g)^2 >= (noise_multiplier * bound)^2 for the event's own number: the smoothing lemma's premise."""
    mechanism, query = GaussianMechanism(noise_multiplier), Bounded(np.zeros(2), bound)
    event, drawn = mechanism.event(query), mechanism.stddev(query)
    assert event == Gaussian(noise_multiplier)
    step = Fraction(lattice_step(drawn))
    assert Fraction(drawn) ** 2 - (4 * step) ** 2 >= (Fraction(event.noise_multiplier) * Fraction(bound)) ** 2
    assert drawn <= noise_multiplier * bound * (1 + 8e-6)


@given(NOISE, BOUNDS)
def test_laplace_noise_covers_the_event(noise_multiplier, bound):
    mechanism, query = LaplaceMechanism(noise_multiplier), Bounded(np.zeros(2), bound, "l1")
    event, drawn = mechanism.event(query), mechanism.scale(query)
    assert event == Laplace(noise_multiplier)
    assert Fraction(drawn) >= Fraction(event.noise_multiplier) * Fraction(bound)
    assert drawn <= noise_multiplier * bound * (1 + 2.0**-51)


@given(NOISE, BOUNDS, st.integers(0, 2**64))
def test_releases_are_the_samplers_draws_with_the_numbers_said(noise_multiplier, bound, seed):
    value = np.array([0.1, -3.0]) * bound
    query = Bounded(value, bound)
    mechanism = GaussianMechanism(noise_multiplier)
    expected = lattice_gaussian(value, mechanism.stddev(query), seeded(seed))
    assert (mechanism.release(query, entropy=seeded(seed)).value == expected).all()
    query = Bounded(value, bound, "l1")
    mechanism = LaplaceMechanism(noise_multiplier)
    expected = lattice_laplace(value, mechanism.scale(query), seeded(seed))
    assert (mechanism.release(query, entropy=seeded(seed)).value == expected).all()


@given(NOISE, BOUNDS, st.integers(-20, 20), st.integers(0, 2**64))
def test_noise_scales_with_the_bound(noise_multiplier, bound, power, seed):
    """Query and bound times 2**p give the same release times 2**p: nothing else sets the scale."""
    factor = 2.0**power
    for mechanism, norm in ((GaussianMechanism(noise_multiplier), "l2"), (LaplaceMechanism(noise_multiplier), "l1")):
        query = Bounded(np.array([0.1, -3.0]) * bound, bound, norm)
        small = mechanism.release(query, entropy=seeded(seed)).value
        assert (mechanism.release(query * factor, entropy=seeded(seed)).value == small * factor).all()
