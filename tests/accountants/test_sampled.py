"""Sampled events: one draw serves all that is inside, slack passes outside, and refusals say what would do."""

import math
from itertools import product

import mpmath as mp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    DiscreteGaussian,
    DistributedDiscreteGaussian,
    DominatingPair,
    FixedSizeSampled,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPAccountant,
    RDPCurve,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
)
from accountants._sampled import binomial_tail
from accountants.fold import Folded, fold
from accountants.slack import Slack

COIN = DominatingPair((math.log(0.75), math.log(0.25)), (math.log(0.25), math.log(0.75)))


def _fold(event, times=1, **options):
    return fold([(event, times)], **options)


def test_gaussians_on_one_batch_of_fixed_size_are_one():
    ((core, times),) = _fold(FixedSizeSampled(Gaussian(3.0) + Gaussian(4.0) * 2, 100, 10), 5).parts
    combined = (1 / 9 + 2 / 16) ** -0.5
    assert (times, core.population, core.batch) == (5, 100, 10)
    assert combined * (1 - 1e-14) <= core.event.noise_multiplier <= combined


@pytest.mark.parametrize("inner", [Laplace(1.0) * 2, COIN + Gaussian(1.0), FixedSizeSampled(Gaussian(1.0), 10, 1) * 2])
def test_what_one_batch_cannot_split_is_refused(inner):
    with pytest.raises(
        UnsupportedEventError, match=r"one batch serves the whole composition.*draw a batch per release"
    ):
        _fold(FixedSizeSampled(inner, 10, 5))
    with pytest.raises(UnsupportedEventError, match="replace_one, which is an upper bound there"):
        _fold(FixedSizeSampled(inner, 10, 5))
    with pytest.raises(UnsupportedEventError, match="unsampled, which is always an upper bound"):
        _fold(PoissonSampled(inner, 0.5))


def test_a_batch_from_a_batch_is_a_batch():
    inner = FixedSizeSampled(Laplace(2.0), population=100, batch=10)
    assert _fold(FixedSizeSampled(inner, 1000, 100)).parts == ((FixedSizeSampled(Laplace(2.0), 1000, 10), 1),)
    smaller = FixedSizeSampled(Laplace(2.0), population=90, batch=10)  # fewer than there are: never an underestimate
    assert _fold(FixedSizeSampled(smaller, 1000, 100)).parts == ((FixedSizeSampled(Laplace(2.0), 1000, 10), 1),)
    with pytest.raises(UnsupportedEventError, match="let the two agree"):
        _fold(FixedSizeSampled(inner, 1000, 99))


def test_the_two_samplers_do_not_mix():
    with pytest.raises(UnsupportedEventError, match="draw the batch at once"):
        _fold(FixedSizeSampled(PoissonSampled(Gaussian(1.0), 0.1), 10, 5))
    with pytest.raises(UnsupportedEventError, match="draw the batch at once"):
        _fold(PoissonSampled(FixedSizeSampled(Gaussian(1.0), 10, 5), 0.1))


@pytest.mark.parametrize(
    ("inner", "advice"),
    [
        (RandomizedResponse(1.0), "record it unsampled under replace_one"),
        (PureDP(1.0, "replace_one"), "state the guarantee under add_remove"),
        (PureDP(1.0, "zero_out"), "state the guarantee under add_remove"),
        (ApproxDP(1.0, 1e-9, "replace_one"), "use FixedSizeSampled over one under replace_one"),
        (ZCDP(0.1, "add_remove"), "state a PureDP or ApproxDP guarantee"),
        (RDPCurve((2.0,), (0.1,), "add_remove"), "give its DominatingPair"),
        (BoundedRange(0.5), "record it unsampled, which is always an upper bound"),
    ],
)
def test_poisson_refusals_say_what_would_do(inner, advice):
    event = PoissonSampled(inner, 0.5)
    with pytest.raises(UnsupportedEventError, match=advice) as caught:
        _fold(event)
    assert caught.value.event == event
    assert not RDPAccountant().supports(event)


@pytest.mark.parametrize(
    ("inner", "advice"),
    [
        (PureDP(1.0, "add_remove"), "twice the epsilon of one under add_remove"),
        (ApproxDP(1.0, 0.0, "zero_out"), "state the guarantee under replace_one"),
        (ZCDP(0.1, "replace_one"), "state a PureDP or ApproxDP guarantee"),
        (RDPCurve((2.0,), (0.1,), "replace_one"), "give its DominatingPair"),
        (BoundedRange(0.5), "record it unsampled in a ledger about replace_one"),
    ],
)
def test_fixed_size_refusals_say_what_would_do(inner, advice):
    with pytest.raises(UnsupportedEventError, match=advice):
        _fold(FixedSizeSampled(inner, 10, 5))


def test_guarantees_that_sampling_can_use_stay_as_they_are():
    for event in (
        PoissonSampled(PureDP(1.0, "add_remove"), 0.1),
        PoissonSampled(COIN, 0.1),
        FixedSizeSampled(PureDP(1.0, "replace_one"), 10, 1),
        FixedSizeSampled(RandomizedResponse(1.0), 10, 1),
        FixedSizeSampled(COIN, 10, 1),
        FixedSizeSampled(Gaussian(1.0), 10, 10),  # a record that is missing is replaced: not the unsampled event
    ):
        assert _fold(event, 3) == Folded(((event, 3),), Slack())


def test_failure_is_sampled_and_the_rest_of_the_slack_is_not():
    inner = Within(ApproxDP(1.0, 1e-6, "add_remove"), 1e-3, 2e-3)
    folded = _fold(PoissonSampled(inner, 0.25), 7)
    assert folded.parts == ((PoissonSampled(PureDP(1.0, "add_remove"), 0.25), 7),)
    assert (folded.slack.up, folded.slack.down) == (Slack(up=1e-3).times(7).up, Slack(down=2e-3).times(7).down)
    assert folded.slack.failure == pytest.approx(-math.expm1(7 * math.log1p(-0.25e-6)), rel=1e-13)
    fixed = _fold(FixedSizeSampled(ApproxDP(1.0, 1e-6, "replace_one"), 1000, 250))
    assert 0.25e-6 <= fixed.slack.failure <= 0.25e-6 * (1 + 1e-14)


@pytest.mark.parametrize("event", [PoissonSampled(NonPrivate(), 0.125), FixedSizeSampled(NonPrivate(), 8, 1)])
def test_an_unprotected_release_about_a_sample_fails_with_its_probability(event):
    folded = _fold(event)
    assert folded.parts == ()
    assert 0.125 <= folded.slack.failure <= 0.125 * (1 + 1e-14)
    rdp = RDPAccountant()
    assert rdp.epsilon(event, delta=0.126, relation="add_remove") == 0.0
    assert rdp.epsilon(event, delta=0.124, relation="add_remove") == math.inf
    assert 0.125 <= rdp.delta(event, epsilon=3.0, relation="add_remove") <= 0.1250001


def test_an_empty_batch_and_an_empty_release_cost_nothing():
    for event in (
        FixedSizeSampled(NonPrivate(), 8, 0),
        FixedSizeSampled(Gaussian(1.0) * 0, 8, 4),
        TruncatedPoissonSampled(NonPrivate(), 0.0, 10, 2),
    ):
        assert _fold(event) == fold([])


def test_truncation_is_a_distance_outside():
    event = TruncatedPoissonSampled(Gaussian(2.0), 0.1, 100, 20)
    folded = _fold(event, 3)
    distance = binomial_tail(100, 0.1, 20)
    assert folded.parts == ((PoissonSampled(Gaussian(2.0), 0.1), 3),)
    assert folded.slack == Slack(distance=distance).times(3)
    thinned = _fold(PoissonSampled(event, 0.5))
    assert thinned.slack == Slack(distance=distance)
    assert thinned.parts[0][0].sampling_prob == pytest.approx(0.05, rel=1e-14)
    assert _fold(TruncatedPoissonSampled(Gaussian(2.0), 0.1, 100, 100)).slack == Slack()


def test_truncated_batches_enumerated():
    """Every batch of a population of 4 with and without its last record, the first 2 drawn kept; sums plus noise."""
    q, largest, epsilon = 0.4, 2, 0.5
    noise = {k: math.exp(-abs(k)) * math.tanh(0.5) for k in range(-40, 41)}

    def law(records, most):
        total = {}
        for batch in product([0, 1], repeat=records):
            mass = math.prod(q if drawn else 1 - q for drawn in batch)
            kept = [index for index, drawn in enumerate(batch) if drawn][-most:] if most else []
            centre = 1 if records - 1 in kept and records == 4 else 0  # only the fourth record contributes
            for k, density in noise.items():
                total[k + centre] = total.get(k + centre, 0.0) + mass * density
        return total

    def delta(p, other):
        return math.fsum(max(0.0, p[k] - math.exp(epsilon) * other.get(k, 0.0)) for k in p)

    slack = Slack(distance=binomial_tail(4, q, largest))
    for one, other in ((4, 3), (3, 4)):
        base = delta(law(one, 4), law(other, 4))
        true = delta(law(one, largest), law(other, largest))
        assert true <= slack.delta(lambda inner, base=base: base, epsilon) + 1e-13


@given(
    trials=st.integers(1, 400),
    prob=st.floats(0.0, 1.0) | st.floats(1e-12, 1e-2) | st.floats(1 - 1e-6, 1.0),
    most=st.integers(0, 400),
)
@example(trials=60_000, prob=0.01, most=800)
@example(trials=100, prob=0.5, most=99)
@example(trials=1000, prob=0.999, most=999)
@example(trials=10**6, prob=1e-3, most=1300)
def test_binomial_tail_is_rounded_up(trials, prob, most):
    value = binomial_tail(trials, prob, most)
    with mp.workdps(40):
        p, first = mp.mpf(prob), most + 1
        last = min(trials, most + 2000)
        truth = mp.fsum(mp.binomial(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(first, last + 1))
        assert truth <= value <= 1
        if most + 1 > (trials + 1) * p:
            assert value <= truth * (1 + mp.mpf(2e-11)) + mp.mpf(1e-280)


def test_the_tail_of_huge_populations_is_bounded_at_once():
    mean, stddev = 2**53 * 1e-3, math.sqrt(2**53 * 1e-3 * 0.999)
    truth = float(mp.ncdf(-7.0))
    assert 0.999 * truth < binomial_tail(2**53, 1e-3, math.floor(mean + 7.0 * stddev)) < 1.1 * truth
    assert binomial_tail(2**53, 0.5, 2**53 - 1) == pytest.approx(0.0, abs=1e-300)
    assert binomial_tail(10, 0.5, 3) == 1.0
    assert binomial_tail(10, 1.0, 9) == 1.0
    assert binomial_tail(10, 1.0, 10) == 0.0


def test_lattice_noise_under_samplers_is_smoothed_on_demand():
    event = PoissonSampled(DiscreteGaussian(8.0, 4.0, dim=3), 0.1)
    assert _fold(event).parts == ((event, 1),)
    ((core, _),) = _fold(event, smooth=True).parts
    assert isinstance(core.event, Gaussian)
    assert 0.98 * 2.0 < core.event.noise_multiplier < 2.0
    shares = FixedSizeSampled(DistributedDiscreteGaussian(8.0, 9, 4.0, 3), 10, 1)
    assert isinstance(_fold(shares).parts[0][0].event, Gaussian)
