"""The curve of one-of-t allocation: both directions exactly, replaced records by quadrature, and what is refused."""

import math

import mpmath as mp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    ApproxDP,
    Composed,
    DiscreteGaussian,
    DistributedDiscreteGaussian,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    Relation,
    Skellam,
    UnsupportedEventError,
    Within,
    rdp_curve,
)
from accountants.allocation import added_rdp, removed_rdp
from accountants.events import PrivateSelection, RandomAllocation
from accountants.fold import fold
from tests.oracles import allocation as oracle

ADD_REMOVE, REPLACE_ONE = Relation.add_remove, Relation.replace_one
scales = st.floats(math.log(0.4), math.log(20.0)).map(math.exp)
moderate = st.floats(math.log(0.8), math.log(20.0)).map(math.exp)  # what a grid of the plane can hold


@given(scale=scales, steps=st.integers(2, 10**6), order=st.integers(2, 10), share=st.floats(0.0, 1.0))
def test_removing_is_the_sum_over_multiplicities(scale, steps, order, share):
    """At integers the sum; between them the chord, which a convex function does not exceed."""
    with mp.workdps(40):
        ends = [float(mp.log(oracle.positive_moment(scale, steps, k))) for k in (order, order + 1)]
    assert ends[0] <= (order - 1) * removed_rdp(scale, steps, order) <= ends[0] * (1 + 1e-9)
    between = (order + share - 1.0) * removed_rdp(scale, steps, order + share)
    assert ends[0] <= between * (1 + 1e-12)
    assert between <= ((1 - share) * ends[0] + share * ends[1]) * (1 + 1e-9)


@settings(max_examples=15)
@given(scale=moderate, order=st.floats(1.01, 8.0))
def test_adding_is_the_integral(scale, order):
    """Of two steps: at order 2 and above the integral itself, below 2 no less than it."""
    truth = oracle.divergence(scale, 2, order, 0.0, 1.0)
    found = added_rdp(scale, 2, order)
    assert truth * (1 - 1e-11) - 1e-13 <= found
    assert order < 2.0 or found <= truth * (1 + 1e-8) + 1e-12


@settings(max_examples=15)
@given(scale=moderate, order=st.floats(1.01, 8.0))
def test_removing_at_real_orders(scale, order):
    truth = oracle.divergence(scale, 2, order, 1.0, 0.0)
    assert truth * (1 - 1e-11) - 1e-13 <= removed_rdp(scale, 2, order)


@settings(max_examples=15)
@given(scale=moderate, order=st.floats(1.01, 6.0), other=st.sampled_from([-1.0, -0.4, 0.3]))
def test_replacing_is_above_the_exact_divergence(scale, order, other):
    """Two contents of one record, on a line; opposite ones are furthest apart."""
    curve = rdp_curve(RandomAllocation(Gaussian(scale), 2), REPLACE_ONE)
    truth = max(oracle.divergence(scale, 2, order, *pair) for pair in ((1.0, other), (other, 1.0)))
    assert truth * (1 - 1e-11) - 1e-13 <= curve.rdp(order)


def test_the_curve_is_the_larger_direction():
    event = RandomAllocation(Gaussian(1.3), 50)
    for relation in (ADD_REMOVE, Relation.zero_out):
        curve = rdp_curve(event, relation)
        for order in (1.5, 2.0, 3.7, 9.0, 40.0, 600.0, 1e5):
            sides = removed_rdp(1.3, 50, order), added_rdp(1.3, 50, order)
            assert curve.rdp(order) == min(max(sides), rdp_curve(event.event, relation).rdp(order))


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize(("scale", "steps"), [(0.3, 2), (1.0, 3), (1.0, 1000), (50.0, 20), (1e-3, 5), (1e4, 2**53)])
def test_never_above_one_release_to_all(scale, steps, relation):
    allocated, whole = (rdp_curve(e, relation) for e in (RandomAllocation(Gaussian(scale), steps), Gaussian(scale)))
    for order in (1.0 + 1e-6, 1.5, 2.0, 3.3, 17.0, 511.5, 513.0, 1e4, 1e9):
        assert 0.0 < allocated.rdp(order) <= whole.rdp(order)


@pytest.mark.parametrize("relation", Relation)
def test_more_steps_cost_less(relation):
    costs = [
        RDPAccountant().epsilon(RandomAllocation(Gaussian(1.0), steps), delta=1e-6, relation=relation)
        for steps in (1, 2, 3, 5, 10, 100, 1000, 10**5)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == RDPAccountant().epsilon(Gaussian(1.0), delta=1e-6, relation=relation)


def test_replacing_costs_about_twice_the_noise_of_removing():
    """Contributions at two places are sqrt 2 as far apart as one from none, opposite ones at one place twice."""
    for steps in (10, 1000):
        removed = rdp_curve(RandomAllocation(Gaussian(30.0), steps), ADD_REMOVE).rdp(2.0)
        replaced = rdp_curve(RandomAllocation(Gaussian(30.0), steps), REPLACE_ONE).rdp(2.0)
        assert 2.0 * removed < replaced < 5.0 * removed


# what it is made of


def test_one_step_is_the_event():
    assert fold([(RandomAllocation(Laplace(2.0), 1), 3)]).parts == ((Laplace(2.0), 3),)
    assert fold([(RandomAllocation(Composed(()), 7), 3)]) == fold([])


def test_gaussians_on_one_batch_are_one_and_slack_counts_every_step():
    folded = fold([(RandomAllocation(Within(Gaussian(3.0), 1e-6, 2e-6) + Gaussian(4.0), 10), 2)])
    ((core, times),) = folded.parts
    assert (times, core.steps) == (2, 10)
    assert 2.4 * (1 - 1e-14) <= core.event.noise_multiplier <= 2.4
    assert folded.slack.up == pytest.approx(2e-5, rel=1e-12)
    assert folded.slack.down == pytest.approx(4e-5, rel=1e-12)
    shares = RandomAllocation(DistributedDiscreteGaussian(8.0, 9, 16.0, 10), 20)
    one, many = fold([(shares.event, 1)]), fold([(shares, 1)])
    assert many.parts == ((RandomAllocation(one.parts[0][0], 20), 1),)
    assert 20 * one.slack.up <= many.slack.up <= 20 * one.slack.up * (1 + 1e-14)


def test_a_discrete_gaussian_is_smoothed():
    event = RandomAllocation(DiscreteGaussian(40.0, 20.0, dim=3), 20)
    near = RandomAllocation(Gaussian(2.0), 20)
    epsilon = RDPAccountant().epsilon(event, delta=1e-6, relation="add_remove")
    assert RDPAccountant().epsilon(near, delta=1e-6, relation="add_remove") < epsilon
    assert epsilon < 1.05 * RDPAccountant().epsilon(near, delta=1e-6, relation="add_remove")
    with pytest.raises(UnsupportedEventError, match="must be Gaussian noise, got DiscreteGaussian"):
        rdp_curve(event, ADD_REMOVE)


@pytest.mark.parametrize(
    "inner",
    [
        Laplace(1.0),
        Skellam(9.0, 1.0, 1.0),
        NonPrivate(),
        PoissonSampled(Gaussian(1.0), 0.5),
        PoissonSampled(NonPrivate(), 0.1) + Gaussian(1.0),
        RandomAllocation(Gaussian(1.0), 4),
        PrivateSelection(Gaussian(1.0), 4.0),
        ApproxDP(1.0, 1e-9, "add_remove"),
        Laplace(1.0) * 2,
    ],
)
def test_only_gaussian_noise_is_allocated(inner):
    with pytest.raises(UnsupportedEventError, match="record it once, as released to all records") as caught:
        fold([(RandomAllocation(inner, 10), 1)])
    assert caught.value.event == RandomAllocation(inner, 10)


def test_groups_and_batches_around_are_refused_with_what_would_do():
    event = RandomAllocation(Gaussian(4.0), 10)
    with pytest.raises(UnsupportedEventError, match=r"record Group\(event, 3\) once.*Allocation\(Group\(event, 3"):
        fold([(Group(event, 3), 1)])
    with pytest.raises(UnsupportedEventError, match="record it unsampled, which is always an upper bound"):
        fold([(PoissonSampled(event, 0.1), 1)])
    with pytest.raises(UnsupportedEventError, match="record it unsampled in a ledger about replace_one"):
        fold([(FixedSizeSampled(event, 100, 10), 1)])
    inside = RandomAllocation(Group(Gaussian(4.0), 2), 10)
    assert fold([(inside, 1)]).parts == ((RandomAllocation(Gaussian(2.0), 10), 1),)


def test_epochs_compose_and_are_selected_from():
    epoch = RandomAllocation(Gaussian(3.0), 100)
    shown = PLDAccountant().certify(epoch * 5, delta=1e-6, relation="add_remove")
    assert shown.lower == 0.0
    assert shown.upper == RDPAccountant().epsilon(epoch * 5, delta=1e-6, relation="add_remove")
    best = RDPAccountant().epsilon(PrivateSelection(epoch * 5, 8.0), delta=1e-6, relation="add_remove")
    assert shown.upper < best < 8.0 * shown.upper
