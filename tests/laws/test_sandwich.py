"""What every accountant says of one ledger fits: certified below, certified above, Rényi above that.

And against dp_accounting: its pessimistic and optimistic discretisations are bounds on their own sides.
"""

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accountants import (
    DominatingPair,
    Gaussian,
    Laplace,
    Ledger,
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    Relation,
)

PLD, RDP = PLDAccountant(), RDPAccountant()
GAP = 1e-4  # what the tight accountant promises, relative, where it certifies both ends

noise = st.floats(math.log(0.5), math.log(20.0)).map(math.exp)
prob = st.floats(math.log(1e-4), math.log(0.9)).map(math.exp)
times = st.floats(0.0, math.log(1e6)).map(math.exp).map(int)
log_deltas = st.floats(-230.0, -1.0)
relations = st.sampled_from(Relation)
steps = st.builds(PoissonSampled, st.builds(Gaussian, noise), prob)
releases = steps | st.builds(Gaussian, noise) | st.builds(Laplace, noise)


def _sandwich(what, delta, relation=None):
    lower, upper = PLD.bounds(what, delta=delta, relation=relation)
    renyi = RDP.epsilon(what, delta=delta, relation=relation)
    assert 0.0 <= lower <= upper
    assert upper == PLD.epsilon(what, delta=delta, relation=relation)
    assert lower <= renyi
    assert upper <= renyi * (1.0 + GAP)
    return lower, upper, renyi


@given(step=steps, count=times, log_delta=log_deltas, relation=relations)
def test_lower_tight_renyi_are_in_order(step, count, log_delta, relation):
    _sandwich(step * count, math.exp(log_delta), relation)


@given(
    parts=st.lists(st.tuples(releases, times), min_size=2, max_size=3),
    log_delta=log_deltas,
    relation=relations,
)
def test_ledgers_of_several_kinds_are_in_order(parts, log_delta, relation):
    ledger = Ledger(relation=relation)
    for event, count in parts:
        ledger.record(event, times=count)
    _sandwich(ledger, math.exp(log_delta))


@given(z=noise, count=times, log_delta=log_deltas, relation=relations)
def test_gaussians_are_known_to_rounding(z, count, log_delta, relation):
    lower, upper, _ = _sandwich(Gaussian(z) * count, math.exp(log_delta), relation)
    assert upper - lower <= 1e-10 * upper


@given(step=steps, count=times, log_delta=log_deltas, relation=relations)
def test_the_ends_certify_each_other_through_delta(step, count, log_delta, relation):
    """A smaller delta is not certified below the upper end; delta at that end gives delta back, or Rényi's bound."""
    delta = math.exp(log_delta)
    upper = PLD.epsilon(step * count, delta=delta, relation=relation)
    assume(upper < math.inf)
    lower_again, _ = PLD.bounds(step * count, delta=delta * (1.0 + 1e-9), relation=relation)
    assert lower_again <= upper
    back = PLD.delta(step * count, epsilon=upper * (1.0 + GAP), relation=relation)
    renyi = RDP.delta(step * count, epsilon=upper, relation=relation)
    assert back <= max(delta, renyi) * (1.0 + 1e-6)


@settings(max_examples=15)
@given(step=steps, log_delta=log_deltas, data=st.data())
def test_more_noise_fewer_steps_and_less_sampling_never_cost_more(step, log_delta, data):
    """The lower end of what costs less is at most the upper end of what costs more."""
    delta, count = math.exp(log_delta), data.draw(times)
    _, upper = PLD.bounds(step * count, delta=delta, relation="add_remove")
    louder = PoissonSampled(Gaussian(step.event.noise_multiplier * 1.1), step.sampling_prob) * count
    rarer = PoissonSampled(step.event, step.sampling_prob * 0.9) * count
    for cheaper in (louder, rarer, step * (count // 2)):
        assert PLD.bounds(cheaper, delta=delta, relation="add_remove")[0] <= upper
    replaced = PLD.bounds(step * count, delta=delta, relation="replace_one")
    assert PLD.bounds(step * count, delta=delta, relation="add_remove")[0] <= replaced[1]


@pytest.mark.parametrize("relation", Relation)
def test_sampling_all_is_not_sampling(relation):
    event = PoissonSampled(Gaussian(3.0), 1.0) * 10
    plain = PLD.bounds(Gaussian(3.0) * 10, delta=1e-6, relation=relation)
    assert PLD.bounds(event, delta=1e-6, relation=relation) == plain


@pytest.mark.parametrize("times", [1, 3, 40])
def test_both_directions_count_whichever_comes_first(times):
    """A record that shows, rarely, when it is there: adding and removing cost differently, and the worse counts."""
    shown, hidden = (math.log(0.01), math.log(0.99)), (math.log(0.001), math.log(0.999))
    for delta in (1e-3, 1e-6):
        there = PLD.bounds(DominatingPair(shown, hidden) * times, delta=delta, relation="add_remove")
        back = PLD.bounds(DominatingPair(hidden, shown) * times, delta=delta, relation="add_remove")
        assert there == pytest.approx(back, rel=1e-9)
        assert there[1] - there[0] <= GAP * there[1]


def test_one_direction_is_not_enough():
    """The same pair, by enumeration: at delta = 1e-6 removing costs more than adding."""
    shown, hidden = (0.01, 0.99), (0.001, 0.999)
    removed, added = _enumerated(shown, hidden, 3, 2.0), _enumerated(hidden, shown, 3, 2.0)
    assert removed > 10 * added
    for first, second in ((shown, hidden), (hidden, shown)):
        event = DominatingPair(tuple(map(math.log, first)), tuple(map(math.log, second))) * 3
        assert PLD.delta(event, epsilon=2.0, relation="zero_out") == pytest.approx(removed, rel=1e-6)


def _enumerated(p, q, times, epsilon):
    """delta(epsilon) of repeated pairs, over all outcomes."""
    outcomes = itertools.product(range(len(p)), repeat=times)
    masses = [(math.prod(p[i] for i in outcome), math.prod(q[i] for i in outcome)) for outcome in outcomes]
    return math.fsum(max(0.0, here - math.exp(epsilon) * there) for here, there in masses)
