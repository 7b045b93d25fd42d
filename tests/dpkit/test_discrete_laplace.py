"""The discrete Laplace mechanism: recorded as it is drawn, rounding paid for, and exact to the last delta."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Ledger, PrivacyLoss, Relation, epsilon
from accountants.curves import rdp_curve
from accountants.errors import AccountingError
from accountants.events import DiscreteLaplace
from dpkit import Bounded, BoundError, DiscreteLaplaceMechanism, ParameterError, UnboundedError
from dpkit.entropy import seeded
from dpkit.lattice import movement
from dpkit.samplers import discrete_laplace
from tests.oracles.discrete import hockey_stick, integer_vectors, joint

EPSILONS = (0.0, 0.3, 1.0, 2.5)


@given(
    st.floats(0.1, 100),
    st.floats(0.1, 1e3),
    st.integers(-12, 2).map(lambda e: 2.0**e),
    st.booleans(),
    st.integers(0, 2**64),
)
def test_rounded_events_are_made_of_the_numbers_that_drew(noise_multiplier, bound, step, whole, seed):
    value = np.array([3, -7, 12]) if whole else np.array([3.2, -7.9, 12.1]) * step
    query = Bounded(value, bound, "l1")
    mechanism = DiscreteLaplaceMechanism(noise_multiplier, step)
    ledger = Ledger(relation="add_remove")
    release = mechanism.release(query, ledger=ledger, entropy=seeded(seed))
    scale = mechanism.noise(query).law.scale
    asked = Fraction(noise_multiplier) * Fraction(bound) / Fraction(step)
    assert asked <= Fraction(scale) <= asked * (1 + Fraction(1, 2**51))
    assert release.event == mechanism.event(query) == DiscreteLaplace(scale, movement(query, step).l1)
    assert [entry.event for entry in ledger.entries] == [release.event]
    steps = [math.floor(Fraction(float(x)) / Fraction(step) + Fraction(1, 2)) for x in value]
    assert (release.value / step == discrete_laplace(3, scale, seeded(seed)) + steps).all()


def test_the_growth_is_shown_by_the_event():
    value = np.zeros(10)
    coarse, fine = (DiscreteLaplaceMechanism(2.0, step).event(Bounded(value, 1.0, "l1")) for step in (1.0, 2.0**-20))
    assert coarse == DiscreteLaplace(2.0, 10.0)
    assert 1 < fine.l1_bound / 2.0**20 < 1 + 10 * 2.0**-20
    assert DiscreteLaplaceMechanism(2.0, 1.0).event(Bounded(np.zeros(10, dtype=int), 1.0, "l1")) == DiscreteLaplace(
        2.0, 1.0
    )


@pytest.mark.parametrize("relation", ["add_remove", "replace_one"])
@pytest.mark.parametrize(("dim", "bound", "noise_multiplier"), [(1, 1, 1.0), (1, 3, 0.7), (2, 1, 0.5), (2, 2, 2.0)])
def test_exact_hockey_stick(relation, dim, bound, noise_multiplier):
    """Enumerated in both directions over every integer neighbour: the certified delta, from both sides."""
    mechanism = DiscreteLaplaceMechanism(noise_multiplier, 1.0)
    zero = Bounded(np.zeros(dim, dtype=int), float(bound), "l1")
    reach = np.arange(-40 * math.ceil(noise_multiplier * bound), 40 * math.ceil(noise_multiplier * bound) + 1)
    outputs = np.repeat(reach[:, np.newaxis], dim, axis=1)
    distance = bound if relation == "add_remove" else 2 * bound
    here = joint(mechanism.pmf(outputs, zero).T)
    others = [
        joint(mechanism.pmf(outputs, Bounded(np.array(shift), float(bound), "l1")).T)
        for shift in integer_vectors(dim, "l1", distance)
    ]
    loss = PrivacyLoss(mechanism.event(zero), relation, tolerance=1e-6)
    for eps in (*EPSILONS, 0.999 * distance / (noise_multiplier * bound)):
        truth = max(max(hockey_stick(here, other, eps), hockey_stick(other, here, eps)) for other in others)
        low, high = loss.delta_bounds(eps)
        assert low - 1e-12 <= truth <= high + 1e-12
        assert high - low <= 1e-4 * high + 1e-12


@given(st.floats(0.2, 3), st.floats(0.3, 3), st.integers(-1, 1).map(lambda e: 2.0**e), st.integers(0, 2**32))
def test_exact_hockey_stick_of_rounded_queries(noise_multiplier, bound, step, seed):
    """Real neighbours in the plane, rounded by the mechanism itself: both directions within the event's delta."""
    rng = np.random.default_rng(seed)
    mechanism = DiscreteLaplaceMechanism(noise_multiplier, step)
    delta = rng.normal(size=2)
    delta *= bound / np.abs(delta).sum() * (1 - 1e-12)
    x = (rng.integers(-1, 2, size=2) + 0.5) * step - delta * rng.random(2)
    reach = math.ceil(40 * noise_multiplier * bound / step) + 8
    outputs = np.repeat(np.arange(-reach, reach + 1)[:, np.newaxis] * step, 2, axis=1)
    p, q = (joint(mechanism.pmf(outputs, Bounded(value, bound, "l1")).T) for value in (x, x + delta))
    loss = PrivacyLoss(mechanism.event(Bounded(x, bound, "l1")), Relation.add_remove)
    for eps in EPSILONS:
        assert max(hockey_stick(p, q, eps), hockey_stick(q, p, eps)) <= loss.delta(eps) + 1e-12


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.01])
def test_for_epsilon_meets_the_target_and_barely_so(relation, dtype, delta):
    query, step = Bounded(np.zeros(2, dtype=dtype), 3.0, "l1"), 0.5

    def cost(mechanism):
        event = mechanism.event(query)
        if delta == 0.0:
            return rdp_curve(event, relation).pure_epsilon
        return epsilon(event, delta=delta, relation=relation)

    for target in (0.1, 1.0, 7.0):
        mechanism = DiscreteLaplaceMechanism.for_epsilon(target, delta, relation, query=query, step=step)
        assert cost(mechanism) <= target
        tight = 2.0**-48 if delta == 0.0 else 2e-6
        assert cost(DiscreteLaplaceMechanism(mechanism.noise_multiplier * (1 - tight), step)) > target


@given(st.floats(1e-6, 500), st.floats(0.01, 1e6), st.integers(-10, 10))
def test_pure_epsilon_is_met_in_exact_arithmetic(target, bound, power):
    """scale * epsilon >= the bound recorded; so the ratio of two neighbours' probabilities is at most exp(epsilon)."""
    step = 2.0**power
    query = Bounded(np.zeros(2), bound, "l1")
    if not 2.0**-6 < bound / step < 2.0**14:
        return
    mechanism = DiscreteLaplaceMechanism.for_epsilon(target, 0.0, "add_remove", query=query, step=step)
    event = mechanism.event(query)
    assert Fraction(event.scale) * Fraction(target) >= Fraction(event.l1_bound)
    slack = Fraction(event.scale) * Fraction(target) / Fraction(event.l1_bound)
    assert slack <= 1 + Fraction(1, 2**48) or event.scale == pytest.approx(2.0**-10)


def test_bad_targets():
    query = Bounded(np.zeros(2), 3.0, "l1")
    for target in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ParameterError, match="epsilon must be"):
            DiscreteLaplaceMechanism.for_epsilon(target, 0.0, "add_remove", query=query, step=0.5)
    for delta in (-0.1, 1.0, math.nan):
        with pytest.raises(AccountingError, match="delta must be"):
            DiscreteLaplaceMechanism.for_epsilon(1.0, delta, "add_remove", query=query, step=0.5)
    for delta in (0.0, 1e-6):
        with pytest.raises(AccountingError, match="relation must be"):
            DiscreteLaplaceMechanism.for_epsilon(1.0, delta, "swap", query=query, step=0.5)
        with pytest.raises((ParameterError, AccountingError), match="choose another step"):
            DiscreteLaplaceMechanism.for_epsilon(1e-9, delta, "add_remove", query=query, step=2.0**-20)
        with pytest.raises(ParameterError, match="step must be"):
            DiscreteLaplaceMechanism.for_epsilon(1.0, delta, "add_remove", query=query, step=None)


def test_what_is_refused_is_refused_before_the_record():
    ledger = Ledger(relation="add_remove")
    good = Bounded(np.zeros(2), 1.0, "l1")
    for mechanism, query, error in (
        (DiscreteLaplaceMechanism(1.0), good, ParameterError),
        (DiscreteLaplaceMechanism(1.0, 2.0**11), good, ParameterError),
        (DiscreteLaplaceMechanism(1.0, 2.0**-41), good, ParameterError),
        (DiscreteLaplaceMechanism(1.0, 1.0), Bounded(np.zeros(2), 1.0), BoundError),
        (DiscreteLaplaceMechanism(1.0, 1.0), Bounded(np.zeros(2), 0.0, "l1"), BoundError),
        (DiscreteLaplaceMechanism(1.0, 1.0), np.zeros(2), UnboundedError),
        (DiscreteLaplaceMechanism(1.0, 1.0), Bounded(np.array([np.nan]), 1.0, "l1"), ParameterError),
    ):
        with pytest.raises(error):
            mechanism.release(query, ledger=ledger)
    assert len(ledger) == 0
    for step in (2.0**10, 2.0**-40):  # the ends of the range are drawn
        DiscreteLaplaceMechanism(1.0, step).release(good, ledger=ledger, entropy=seeded(1))
    assert len(ledger) == 2


def test_it_has_no_shares():
    assert not hasattr(DiscreteLaplaceMechanism(1.0), "share")


def test_the_randomized_response_of_one_bit():
    """With epsilon = 1 the two most telling outcomes are those of randomized response: KL = epsilon tanh(epsilon/2)."""
    mechanism = DiscreteLaplaceMechanism(1.0, 1.0)
    outputs = np.arange(-700, 701)
    p, q = (mechanism.pmf(outputs, Bounded(np.array(center), 1.0, "l1")) for center in (0, 1))
    seen = (p > 0) & (q > 0)
    assert math.fsum(p[seen] * np.log(p[seen] / q[seen])) == pytest.approx(0.4621171572600098, rel=1e-12)
