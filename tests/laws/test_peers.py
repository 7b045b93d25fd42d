"""Agreement with dp_accounting's discretised losses, within the sum of both stated errors.

Its connect-the-dots estimate is an upper bound of delta, its optimistic estimate a lower one, each but for the rounding
of its Fourier transforms (at q = 1/e, sigma = 1.75, 41 steps and delta = 1e-9 its upper bound is 9e-16 short of the
truth). Known faults are kept out: below about 1e-12 it answers with the mass that it truncates, and its accountant
ignores the count of randomized responses (they are composed by its losses here).
"""

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import Gaussian, Laplace, PLDAccountant, PoissonSampled
from accountants.events import DiscreteGaussian, DiscreteLaplace, PureDP, RandomizedResponse

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import common
    from dp_accounting.pld import privacy_loss_distribution as losses

PLD = PLDAccountant()
INTERVAL = 1e-4
ROUNDING = 1e-13  # of its delta: times * 2^-53 for the power of a transform of norm 1
RELATIONS = {
    "add_remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": NeighboringRelation.REPLACE_ONE,
}


def _agree(event, loss, times, delta, relation="add_remove"):
    """Ours below is at most theirs above, theirs below at most ours above; theirs is composed by its own losses."""
    lower, upper = PLD.bounds(event * times, delta=delta, relation=relation)
    above = loss(True).self_compose(times).get_epsilon_for_delta(delta - ROUNDING)
    below = loss(False).self_compose(times).get_epsilon_for_delta(delta + ROUNDING)
    assert 0.0 <= lower <= upper
    assert lower <= above
    assert below <= upper
    return lower, upper, above


@settings(max_examples=12)
@given(
    q=st.floats(math.log(1e-3), math.log(0.5)).map(math.exp),
    z=st.floats(0.7, 4.0),
    times=st.integers(1, 1000),
    delta=st.sampled_from([1e-3, 1e-6, 1e-9]),
    relation=st.sampled_from(sorted(RELATIONS)),
)
def test_sampled_gaussians_agree(q, z, times, delta, relation):
    def loss(pessimistic):
        return losses.from_gaussian_mechanism(
            z,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
            value_discretization_interval=INTERVAL,
            sampling_prob=q,
            neighboring_relation=RELATIONS[relation],
        )

    _agree(PoissonSampled(Gaussian(z), q), loss, times, delta, relation)


@settings(max_examples=8)
@given(
    q=st.floats(0.01, 1.0), scale=st.floats(1.0, 20.0), times=st.integers(1, 100), delta=st.sampled_from([1e-3, 1e-6])
)
def test_laplace_agrees(q, scale, times, delta):
    def loss(pessimistic):
        return losses.from_laplace_mechanism(
            scale,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
            value_discretization_interval=INTERVAL,
            sampling_prob=q,
        )

    _agree(PoissonSampled(Laplace(scale), q), loss, times, delta)


@pytest.mark.parametrize(("stddev", "bound", "q"), [(2.0, 1, 1.0), (5.0, 2, 1.0), (3.0, 1, 0.1)])
def test_discrete_gaussian_agrees(stddev, bound, q):
    def loss(pessimistic):
        return losses.from_discrete_gaussian_mechanism(
            stddev,
            bound,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
            value_discretization_interval=INTERVAL,
            sampling_prob=q,
        )

    event = DiscreteGaussian(stddev, bound)
    _agree(PoissonSampled(event, q) if q < 1.0 else event, loss, 20, 1e-6)


@pytest.mark.parametrize(("scale", "bound", "q"), [(10.0, 1, 1.0), (3.0, 2, 1.0), (3.0, 1, 0.1)])
def test_discrete_laplace_agrees(scale, bound, q):
    def loss(pessimistic):
        return losses.from_discrete_laplace_mechanism(
            1.0 / scale,
            bound,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
            value_discretization_interval=INTERVAL,
            sampling_prob=q,
        )

    event = DiscreteLaplace(scale, bound)
    _agree(PoissonSampled(event, q) if q < 1.0 else event, loss, 20, 1e-6)


@pytest.mark.parametrize(("p", "categories"), [(0.5, 2), (0.5, 4), (0.9, 10)])
def test_randomized_response_agrees_and_is_counted(p, categories):
    """Through its losses: through its accountant, 50 responses cost as one."""

    def loss(pessimistic):
        return losses.from_randomized_response(
            p, categories, pessimistic_estimate=pessimistic, value_discretization_interval=INTERVAL
        )

    event = RandomizedResponse(math.log((1 - p + p / categories) / (p / categories)), categories)
    lower, _, _ = _agree(event, loss, 50, 1e-5, "replace_one")
    assert lower > PLD.epsilon(event, delta=1e-5, relation="replace_one")


def test_pure_events_agree():
    def loss(pessimistic):
        return losses.from_privacy_parameters(common.DifferentialPrivacyParameters(0.1, 0.0), INTERVAL)

    lower, upper = PLD.bounds(PureDP(0.1, "add_remove") * 50, delta=1e-5, relation="add_remove")
    above = loss(True).self_compose(50).get_epsilon_for_delta(1e-5 - ROUNDING)
    assert lower <= above
    assert upper == pytest.approx(above, rel=1e-3)  # 0.1 is a point of its grid


def test_small_deltas_are_where_the_peer_breaks_off():
    """8.586 at 1e-14 where the truth is 4.5437: it adds its truncated mass to every composition."""
    loss = losses.from_gaussian_mechanism(1.0, sampling_prob=0.01).self_compose(1000)
    lower, upper = PLD.bounds(PoissonSampled(Gaussian(1.0), 0.01) * 1000, delta=1e-14, relation="add_remove")
    assert upper - lower < 1e-3
    assert loss.get_epsilon_for_delta(1e-14) > upper + 4.0
