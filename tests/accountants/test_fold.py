"""Folding: counts multiply, slack adds up linearly and outside, sampling takes one coin for the whole."""

import math
import time
from collections import Counter
from dataclasses import replace

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ApproxDP,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    EventError,
    Gaussian,
    Group,
    Laplace,
    Ledger,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RDPAccountant,
    Repeated,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
)
from accountants._lattice import smoothing_tau
from accountants.fold import expand, fold
from accountants.slack import Slack
from accountants.testing import event_strategy
from tests.oracles.accounting import discrete_gaussian_pmf, gaussian_delta

RELATION = "add_remove"


def _walk(event, times=1):
    """The obvious recursion: (Counter of core events, total up, total down)."""
    if isinstance(event, Repeated):
        return _walk(event.event, times * event.times)
    if isinstance(event, Within):
        core, up, down = _walk(event.event, times)
        return core, up + times * event.up, down + times * event.down
    if isinstance(event, Composed):
        walked = [_walk(part, times) for part in event.events]
        return sum((w[0] for w in walked), Counter()), sum(w[1] for w in walked), sum(w[2] for w in walked)
    if isinstance(event, PoissonSampled) and event.sampling_prob == 1.0:
        return _walk(event.event, times)
    if times == 0 or getattr(event, "sampling_prob", 1) == 0 or getattr(event, "batch", 1) == 0:
        return Counter(), 0.0, 0.0
    if isinstance(event, TruncatedPoissonSampled):
        return _walk(PoissonSampled(event.event, event.sampling_prob), times)
    if isinstance(event, ApproxDP):
        return Counter({PureDP(event.epsilon, event.relation): times}), 0.0, 0.0
    if isinstance(event, NonPrivate):
        return Counter(), 0.0, 0.0
    if isinstance(event, Group):
        return Counter({_grouped(event.event, event.size): times}), 0.0, 0.0
    return Counter({event: times}), 0.0, 0.0


def _grouped(event, size):
    """Noise in units of `size` bounds; sizes are powers of two, so that floats are exact."""
    if size == 1:
        return event
    if isinstance(event, DiscreteGaussian):
        return replace(event, l2_bound=float(math.floor(event.l2_bound) * size))
    if isinstance(event, DiscreteLaplace):
        return replace(event, l1_bound=float(math.floor(event.l1_bound) * size))
    return replace(event, noise_multiplier=event.noise_multiplier / size)


@given(event=event_strategy(max_leaves=8))
def test_fold_is_the_obvious_recursion(event):
    core, up, down = _walk(event)
    folded = fold([(event, 1)])
    assert Counter(dict(folded.parts)) == core
    assert up <= folded.slack.up * (1 + 1e-15)
    assert folded.slack.up <= up * (1 + 1e-13) + 1e-320
    assert down <= folded.slack.down * (1 + 1e-15)
    assert folded.slack.down <= down * (1 + 1e-13) + 1e-320


def test_any_depth():
    event = Gaussian(1.0)
    for _ in range(31):
        event = Composed((Repeated(event, 1),))
    assert fold([(event, 2)]).parts == ((Gaussian(1.0), 2),)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda e: Composed((e,)),
        lambda e: Repeated(e, 1),
        lambda e: Within(e, 0.0, 0.0),
        lambda e: PoissonSampled(e, 0.9),
    ],
)
def test_nesting_has_a_floor_that_every_tool_can_reach(wrap):
    event, depth = Gaussian(1.0), 1
    while depth < 64:
        event, depth = wrap(event), depth + 1
    ledger = Ledger(relation="add_remove")
    ledger.record(event)
    assert Ledger.from_json(ledger.to_json()) == ledger
    wrap(event)
    with pytest.raises(EventError, match="nested at most 64 deep"):
        wrap(wrap(event))


def test_doubling_a_sum_does_not_double_the_work():
    event = Gaussian(1.0)
    for _ in range(45):
        event = Composed((event, event))
    assert fold([(event, 1)]).parts == ((Gaussian(1.0), 2**45),)


def test_counts_end_where_floats_stop_counting():
    with pytest.raises(EventError, match="times"):
        fold([((Gaussian(1.0) * 2**40 + Gaussian(2.0)) * 2**40, 1)])
    for big in (2**53 + 1, 10**400):
        with pytest.raises(EventError, match="times"):
            Gaussian(1.0) * big


@pytest.mark.parametrize("stddev", [0.14, 1e-4, 1e-160, 1e-200, 5e-324])
@pytest.mark.parametrize("parties", [1, 4])
def test_shares_without_smoothing_are_refused_at_once(stddev, parties):
    start = time.perf_counter()
    with pytest.raises(UnsupportedEventError, match="local_stddev"):
        fold([(DistributedDiscreteGaussian(stddev, parties, 1.0, 1), 1)])
    assert time.perf_counter() - start < 0.5


def test_zero_times_leaves_nothing_behind():
    folded = fold([(Within(Gaussian(1.0), 1.0, 1.0) * 0, 5), (Within(Laplace(1.0), 1.0, 1.0), 0)])
    assert folded == fold([])
    assert folded.parts == ()


def test_slack_is_applied_once_and_outside():
    up, down, times, delta = 0.01, 0.02, 10, 1e-5
    rdp = RDPAccountant()
    plain = Gaussian(2.0) * times
    shifted = rdp.epsilon(plain, delta=delta * math.exp(-times * up), relation=RELATION) + times * (up + down)
    value = rdp.epsilon(Within(Gaussian(2.0), up, down) * times, delta=delta, relation=RELATION)
    assert value == pytest.approx(shifted, rel=1e-12)
    epsilon = 4.0
    inner = rdp.delta(plain, epsilon=epsilon - times * (up + down), relation=RELATION) * math.exp(times * up)
    outer = rdp.delta(Within(Gaussian(2.0), up, down) * times, epsilon=epsilon, relation=RELATION)
    assert outer == pytest.approx(inner, rel=1e-12)


def test_slack_is_linear_in_the_count_and_not_averaged():
    """Slack composed as a pure part would grow with the square root: for 400 steps it must be 400 times, exactly."""
    folded = fold([(Within(Gaussian(30.0), 1e-3, 2e-3) * 400, 1)])
    assert folded.slack.up == pytest.approx(0.4, rel=1e-12)
    assert folded.slack.down == pytest.approx(0.8, rel=1e-12)


def test_slack_commutes_with_sampling():
    inside = PoissonSampled(Within(Gaussian(1.0), 1e-3, 2e-3), 0.1)
    outside = Within(PoissonSampled(Gaussian(1.0), 0.1), 1e-3, 2e-3)
    assert fold([(inside, 7)]).parts == fold([(outside, 7)]).parts
    assert fold([(inside, 7)]).slack.up == pytest.approx(fold([(outside, 7)]).slack.up, rel=1e-14)
    assert fold([(inside, 7)]).slack.down == pytest.approx(fold([(outside, 7)]).slack.down, rel=1e-14)


def test_shares_become_one_gaussian():
    event = DistributedDiscreteGaussian(local_stddev=8.0, parties=10, l2_bound=16.0, dim=26010)
    (core, times), folded = fold([(event, 200)]).parts[0], fold([(event, 200)])
    truth = math.sqrt(10 * 64.0 - smoothing_tau(26010) ** 2) / 16.0
    assert times == 200
    assert truth * (1 - 1e-14) <= core.noise_multiplier <= truth
    assert 0.0 < folded.slack.up <= 200 * 1e-12
    assert 0.0 < folded.slack.down <= 200 * 1e-12


def test_one_share_pays_for_smoothing_only():
    expansion = expand(DistributedDiscreteGaussian(local_stddev=100.0, parties=1, l2_bound=10.0, dim=1))
    assert expansion.slack.up + expansion.slack.down <= 1.01e-12
    assert expansion.parts[0][0].noise_multiplier == pytest.approx(10.0, rel=1e-4)


@pytest.mark.parametrize(
    "event",
    [
        DistributedDiscreteGaussian(0.3, 100, 1.0, 10),
        DistributedDiscreteGaussian(1.0, 1, 1.0, 10),
    ],
)
def test_too_small_shares_are_refused_with_what_to_do(event):
    with pytest.raises(UnsupportedEventError, match="finer lattice step") as caught:
        fold([(event, 1)])
    assert caught.value.event == event


def test_sampling_at_the_ends():
    inner = Within(Laplace(1.0) * 3 + Gaussian(2.0), 0.1, 0.1)
    assert fold([(PoissonSampled(inner, 1.0), 2)]) == fold([(inner, 2)])
    assert fold([(PoissonSampled(inner, 0.0), 2)]) == fold([])


def test_sampled_gaussians_share_one_coin():
    sampled = PoissonSampled(Gaussian(3.0) + Gaussian(4.0) * 2, 0.1)
    ((core, times),) = fold([(sampled, 5)]).parts
    combined = (1 / 9 + 2 / 16) ** -0.5
    assert times == 5
    assert core.sampling_prob == 0.1
    assert combined * (1 - 1e-14) <= core.event.noise_multiplier <= combined
    apart = (PoissonSampled(Gaussian(3.0), 0.1) + PoissonSampled(Gaussian(4.0), 0.1) * 2) * 5
    rdp = RDPAccountant()
    assert rdp.epsilon(sampled * 5, delta=1e-5, relation=RELATION) > rdp.epsilon(apart, delta=1e-5, relation=RELATION)


def test_thinning_a_sample_multiplies_probabilities():
    ((core, times),) = fold([(PoissonSampled(PoissonSampled(Laplace(1.0), 0.3), 0.2), 4)]).parts
    assert times == 4
    assert core.event == Laplace(1.0)
    assert 0.06 <= core.sampling_prob <= 0.06 * (1 + 1e-14)


@pytest.mark.parametrize(
    "inner",
    [
        Laplace(1.0) * 2,
        Laplace(1.0) + Gaussian(1.0),
        PoissonSampled(Gaussian(1.0), 0.1) * 2,
        PoissonSampled(Gaussian(1.0), 0.1) + Gaussian(1.0),
    ],
)
def test_what_one_coin_cannot_split_is_refused(inner):
    with pytest.raises(UnsupportedEventError, match="one batch serves the whole composition"):
        fold([(PoissonSampled(inner, 0.5), 1)])
    assert not RDPAccountant().supports(PoissonSampled(inner, 0.5))


def test_a_discrete_gaussian_stays_unless_smoothing_is_asked_for():
    event = DiscreteGaussian(4.0, 2.0)
    assert fold([(event, 3)]) == fold([(event, 3)], smooth=False)
    assert fold([(event, 3)]).parts == ((event, 3),)
    ((core, times),) = fold([(event, 3)], smooth=True).parts
    assert (type(core), times) == (Gaussian, 3)
    deeper = Composed((Within(event, 0.0, 0.0) * 2, PoissonSampled(event, 0.5)))
    assert [type(part) for part, _ in fold([(deeper, 1)], smooth=True).parts] == [Gaussian, PoissonSampled]
    assert fold([(deeper, 1)], smooth=True).parts[1][0].event == core


@pytest.mark.parametrize(("stddev", "bound"), [(2.0, 1.0), (2.0, 3.7), (5.0, 4.0), (40.0, 10.0)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_the_smoothed_curve_is_above_the_enumerated_one(stddev, bound, epsilon):
    folded = fold([(DiscreteGaussian(stddev, bound), 1)], smooth=True)
    multiplier = folded.parts[0][0].noise_multiplier
    with mp.workdps(34):
        pmf, shift, factor = discrete_gaussian_pmf(stddev, mp.mpf(0)), math.floor(bound), mp.exp(mp.mpf(epsilon))
        true = mp.fsum(max(mp.mpf(0), mass - factor * pmf.get(k + shift, mp.mpf(0))) for k, mass in pmf.items())
    value = folded.slack.delta(
        lambda inner: float(gaussian_delta(1 / mp.mpf(multiplier), inner)) * (1 + 1e-14), epsilon
    )
    assert true <= value
    # and no more noise is spent than the smoothing that leaves nothing of the slack
    assert multiplier * math.floor(bound) >= math.sqrt(stddev**2 - smoothing_tau(1) ** 2) * (1 - 1e-13)


def test_smoothing_spends_noise_and_slack_in_every_dimension():
    for dim in (1, 100, 10**6):
        folded = fold([(DiscreteGaussian(8.0, 4.0, dim), 10)], smooth=True)
        assert 1.9 < folded.parts[0][0].noise_multiplier < 2.0
        assert 0.0 < folded.slack.up < 1e-5
        assert 0.0 < folded.slack.down < 1e-5


@pytest.mark.parametrize(
    "event", [DiscreteGaussian(0.1, 1.0), DiscreteGaussian(0.4, 1.0, 100), DiscreteGaussian(1e-200, 1.0)]
)
def test_too_little_noise_cannot_be_smoothed(event):
    with pytest.raises(UnsupportedEventError, match="finer lattice step, or RDPAccountant") as caught:
        fold([(event, 1)], smooth=True)
    assert caught.value.event == event
    assert fold([(event, 1)]).parts == ((event, 1),)


def test_integers_that_cannot_move_cost_nothing_smoothed():
    assert fold([(DiscreteGaussian(0.1, 0.99), 5)], smooth=True) == fold([])


def test_a_stated_delta_is_a_failure_outside():
    folded = fold([(ApproxDP(0.5, 1e-6, "zero_out") * 3, 2)])
    assert folded.parts == ((PureDP(0.5, "zero_out"), 6),)
    assert folded.slack == Slack(failure=1e-6).times(6)
    assert folded.slack.failure >= -math.expm1(6 * math.log1p(-1e-6))


def test_an_unprotected_release_is_nothing_but_a_failure():
    assert fold([(NonPrivate(), 1)]) == fold([(NonPrivate() * 5, 3)])
    assert fold([(NonPrivate(), 1)]).slack == Slack(failure=1.0)
    ledger = Ledger(relation=RELATION)
    ledger.record(Gaussian(1.0))
    ledger.record(NonPrivate())
    assert ledger.epsilon(delta=1e-6) == math.inf
    assert ledger.delta(epsilon=100.0) == 1.0


def test_slack_recorded_again_counts_again():
    once = Within(Gaussian(1.0), 0.1, 0.3)
    apart = fold([(once, 2), (Gaussian(2.0), 1), (once, 3)])
    assert apart.slack == fold([(once, 5)]).slack
    assert apart.slack.down == pytest.approx(1.5, rel=1e-14)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_slack_does_not_depend_on_how_repetitions_are_grouped(counts, up, failure):
    """To the bit: what is equal is counted first and rounded once."""
    perturbed, failing = Within(Gaussian(1.0), up, 0.1), ApproxDP(1.0, failure, "add_remove")
    apart = fold([(event, count) for count in counts for event in (perturbed, failing)])
    assert apart == fold([(perturbed, sum(counts)), (failing, sum(counts))])
