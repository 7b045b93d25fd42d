"""The Skellam mechanism: recorded as it is drawn, rounding paid for, shares that add up exactly."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Ledger, RDPAccountant, Relation, epsilon
from accountants.curves import rdp_curve
from accountants.errors import AccountingError
from accountants.events import Skellam
from dpkit import Bounded, BoundError, ParameterError, SkellamMechanism, UnboundedError
from dpkit.entropy import seeded
from dpkit.lattice import movement
from dpkit.samplers import skellam
from tests.oracles.discrete import hockey_stick, integer_vectors, joint

EPSILONS = (0.0, 0.3, 1.0, 2.5)


@given(
    st.floats(0.1, 100),
    st.floats(0.1, 1e3),
    st.integers(-10, 2).map(lambda e: 2.0**e),
    st.sampled_from(("l1", "l2")),
    st.booleans(),
    st.integers(0, 2**64),
)
def test_rounded_events_are_made_of_the_numbers_that_drew(noise_multiplier, bound, step, norm, whole, seed):
    value = np.array([3, -7, 12]) if whole else np.array([3.2, -7.9, 12.1]) * step
    query = Bounded(value, bound, norm)
    mechanism = SkellamMechanism(noise_multiplier, step)
    if noise_multiplier * bound / step > 2.0**19.9:
        return
    ledger = Ledger(relation="add_remove")
    release = mechanism.release(query, ledger=ledger, entropy=seeded(seed))
    variance, moved = mechanism.noise(query).law.variance(), movement(query, step)
    asked = (Fraction(noise_multiplier) * Fraction(bound) / Fraction(step)) ** 2
    assert asked <= Fraction(variance) <= asked * (1 + Fraction(1, 2**51))
    assert release.event == mechanism.event(query) == Skellam(variance, moved.l1, moved.l2)
    assert mechanism.variance(query) == variance * step**2
    assert [entry.event for entry in ledger.entries] == [release.event]
    steps = [math.floor(Fraction(float(x)) / Fraction(step) + Fraction(1, 2)) for x in value]
    assert (release.value / step == skellam(3, variance, seeded(seed)) + steps).all()


@given(st.floats(0.5, 100), st.floats(0.1, 100), st.integers(1, 1000), st.integers(0, 100))
def test_guaranteed_shares_have_the_variance_recorded(noise_multiplier, bound, min_honest, others):
    """Rounded up for each share, down for all of them together: never less noise than was asked for or recorded."""
    query = Bounded(np.zeros(3), bound)
    mechanism = SkellamMechanism(noise_multiplier, 2.0**-6)
    share = mechanism.share(min_honest + others, min_honest)
    event = share.event(query)
    drawn = Fraction(mechanism.noise(query, min_honest).law.variance()) * min_honest
    asked = (Fraction(noise_multiplier) * Fraction(bound) * 64) ** 2
    assert asked * (1 - Fraction(1, 2**52)) <= Fraction(event.variance) <= drawn <= asked * (1 + Fraction(1, 2**51))
    assert (event.l1_bound, event.l2_bound) == (movement(query, 2.0**-6).l1, movement(query, 2.0**-6).l2)
    assert share.local_stddev(query) ** 2 * min_honest == pytest.approx(float(asked), rel=1e-14)


@pytest.mark.parametrize("relation", ["add_remove", "replace_one"])
@pytest.mark.parametrize(("dim", "bound", "noise_multiplier"), [(1, 1, 1.0), (1, 3, 0.7), (2, 1, 0.8), (2, 2.3, 2.0)])
def test_exact_hockey_stick(relation, dim, bound, noise_multiplier):
    """Enumerated in both directions over every integer neighbour, against the curve that the event is known by."""
    mechanism = SkellamMechanism(noise_multiplier, 1.0)
    zero = Bounded(np.zeros(dim, dtype=int), float(bound))
    reach = 16 * math.ceil(noise_multiplier * bound) + 20
    outputs = np.repeat(np.arange(-reach, reach + 1)[:, np.newaxis], dim, axis=1)
    distance = bound if relation == "add_remove" else 2 * bound
    here = joint(mechanism.pmf(outputs, zero).T)
    for shift in integer_vectors(dim, "l2", distance):
        there = joint(mechanism.pmf(outputs, Bounded(np.array(shift), float(bound))).T)
        for eps in EPSILONS:
            claimed = RDPAccountant().delta(mechanism.event(zero), epsilon=eps, relation=relation)
            assert max(hockey_stick(here, there, eps), hockey_stick(there, here, eps)) <= claimed


@given(st.floats(0.5, 3), st.floats(0.5, 3), st.integers(-1, 1).map(lambda e: 2.0**e), st.integers(0, 2**32))
def test_exact_renyi_divergence_of_rounded_queries(noise_multiplier, bound, step, seed):
    """Real neighbours in the plane, rounded by the mechanism itself, against the curve at integer orders."""
    rng = np.random.default_rng(seed)
    mechanism = SkellamMechanism(noise_multiplier, step)
    delta = rng.normal(size=2)
    delta *= bound / math.hypot(*delta) * (1 - 1e-12)
    x = (rng.integers(-1, 2, size=2) + 0.5) * step - delta * rng.random(2)
    reach = math.ceil(30 * noise_multiplier * bound / step) + 30
    outputs = np.repeat(np.arange(-reach, reach + 1)[:, np.newaxis] * step, 2, axis=1)
    rows = [mechanism.pmf(outputs, Bounded(value, bound)).T for value in (x, x + delta)]
    event = mechanism.event(Bounded(x, bound))
    for order in (2, 3, 8):
        claimed = rdp_curve(event, Relation.add_remove).rdp(float(order))
        for p, q in (rows, rows[::-1]):
            seen = (p > 1e-290) & (q > 1e-290)
            terms = np.where(seen, p, 0.0) * (np.where(seen, p, 1.0) / np.where(seen, q, 1.0)) ** (order - 1)
            assert math.log(terms.sum(axis=1).prod()) / (order - 1) <= claimed * (1 + 1e-12)


@pytest.mark.parametrize("relation", ["add_remove", "replace_one", "zero_out"])
@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
def test_for_epsilon_meets_the_target_and_barely_so(relation, dtype, delta):
    query, step = Bounded(np.zeros(2, dtype=dtype), 3.0), 0.25
    for target in (0.2, 3.0):
        mechanism = SkellamMechanism.for_epsilon(target, delta, relation, query=query, step=step)
        assert epsilon(mechanism.event(query), delta=delta, relation=relation) <= target
        less = SkellamMechanism(mechanism.noise_multiplier * (1 - 2e-6), step)
        assert epsilon(less.event(query), delta=delta, relation=relation) > target
    with pytest.raises(AccountingError, match="relation must be"):
        SkellamMechanism.for_epsilon(1.0, delta, "swap", query=query, step=step)


def test_what_is_refused_is_refused_before_the_record():
    ledger = Ledger(relation="add_remove")
    good = Bounded(np.zeros(2), 1.0)
    for mechanism, query, error in (
        (SkellamMechanism(1.0), good, ParameterError),
        (SkellamMechanism(1.0, 2.0**11), good, ParameterError),
        (SkellamMechanism(1.0, 2.0**-21), good, ParameterError),
        (SkellamMechanism(1.0, 1.0), Bounded(np.zeros(2), 1.0, "linf"), BoundError),
        (SkellamMechanism(1.0, 1.0), Bounded(np.zeros(2), 0.0), BoundError),
        (SkellamMechanism(1.0, 1.0), np.zeros(2), UnboundedError),
        (SkellamMechanism(1.0, 1.0), Bounded(np.array([np.nan]), 1.0), ParameterError),
    ):
        with pytest.raises(error):
            mechanism.release(query, ledger=ledger)
    assert len(ledger) == 0
    for step in (2.0**10, 2.0**-20):  # the ends of the range are drawn
        SkellamMechanism(1.0, step).release(good, ledger=ledger, entropy=seeded(1))
    assert len(ledger) == 2


def test_an_l1_bound_is_kept_in_the_event():
    by_l1, by_l2 = (SkellamMechanism(4.0, 2.0**-8).event(Bounded(np.zeros(100), 1.0, norm)) for norm in ("l1", "l2"))
    assert by_l1.l1_bound < 256 + 100 < by_l2.l1_bound
    assert by_l2.l1_bound < 10 * 256 + 100
    assert by_l1.variance == by_l2.variance == 2.0**20
