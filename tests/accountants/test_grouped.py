"""Groups: what k records cost that change together, by the definition where it can be enumerated."""

import math
from fractions import Fraction

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    DominatingPair,
    EventError,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPAccountant,
    RDPCurve,
    Skellam,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
)
from accountants._grouped import group_delta
from accountants.fold import fold
from accountants.slack import Slack


def _fold(event, times=1, **options):
    return fold([(event, times)], **options)


@pytest.mark.parametrize(
    ("inner", "size", "core"),
    [
        (Gaussian(6.0), 3, Gaussian(2.0)),
        (Laplace(8.0), 2, Laplace(4.0)),
        (DiscreteGaussian(5.0, 2.0, dim=7), 3, DiscreteGaussian(5.0, 6.0, dim=7)),
        (DiscreteGaussian(5.0, 2.9), 10, DiscreteGaussian(5.0, 20.0)),  # integers: 2 each
        (DiscreteLaplace(5.0, 2.9), 10, DiscreteLaplace(5.0, 20.0)),
        (Skellam(9.0, 4.0, 2.0), 4, Skellam(9.0, 16.0, 8.0)),
        (PureDP(0.5, "zero_out"), 4, PureDP(2.0, "zero_out")),
        (BoundedRange(0.25), 4, BoundedRange(1.0)),
        (ZCDP(0.5, "add_remove"), 3, ZCDP(4.5, "add_remove")),
        (Group(PureDP(0.5, "add_remove"), 3), 2, PureDP(3.0, "add_remove")),
        (Composed((Gaussian(2.0),)), 2, Gaussian(1.0)),
        (Gaussian(2.0), 1, Gaussian(2.0)),
        (PoissonSampled(Gaussian(2.0), 1.0), 2, Gaussian(1.0)),
        (PoissonSampled(Gaussian(2.0), 0.5), 1, PoissonSampled(Gaussian(2.0), 0.5)),
        (PoissonSampled(Laplace(2.0), 0.5), 3, Group(PoissonSampled(Laplace(2.0), 0.5), 3)),
        (PoissonSampled(PoissonSampled(Laplace(2.0), 0.5), 0.5), 3, Group(PoissonSampled(Laplace(2.0), 0.25), 3)),
    ],
)
def test_what_a_group_is_made_of(inner, size, core):
    ((found, times),) = _fold(Group(inner, size), 5).parts
    assert times == 5
    assert type(found) is type(core)
    assert found == core or found.event.sampling_prob == pytest.approx(core.event.sampling_prob, rel=1e-14)


def test_a_group_of_responses_is_as_many_responses():
    event = RandomizedResponse(1.0, 4)
    assert _fold(Group(event, 3), 5).parts == ((event, 15),)


def test_bounds_of_shares_grow_with_the_group():
    one, three = (DistributedDiscreteGaussian(8.0, 9, bound, 100) for bound in (4.0, 12.0))
    assert _fold(Group(one, 3)) == _fold(three)


@given(value=st.floats(1e-3, 1e3), size=st.integers(1, 1000))
def test_rounding_is_against_the_group(value, size):
    ((noise, _),) = _fold(Group(Gaussian(value), size)).parts
    assert Fraction(noise.noise_multiplier) * size <= Fraction(value)
    assert noise.noise_multiplier >= value / size * (1 - 1e-14)
    ((pure, _),) = _fold(Group(PureDP(value, "add_remove"), size)).parts
    assert Fraction(pure.epsilon) >= Fraction(value) * size
    assert pure.epsilon <= value * size * (1 + 1e-14)


def test_slack_of_a_group_is_that_of_the_release():
    """`Within` and truncation hold for every data set: D and its k-th neighbour are two of them."""
    event = Within(Gaussian(4.0), 1e-3, 2e-3) * 3 + Within(Laplace(4.0), 1e-4, 0.0)
    grouped = _fold(Group(event, 2), 2)
    assert grouped.slack == _fold(event, 2).slack
    assert grouped.parts == ((Gaussian(2.0), 6), (Laplace(2.0), 2))
    truncated = TruncatedPoissonSampled(Gaussian(4.0), 0.1, 100, 20)
    assert _fold(Group(truncated, 3)).slack == _fold(truncated).slack
    assert _fold(Group(truncated, 3)).parts == ((Group(PoissonSampled(Gaussian(4.0), 0.1), 3), 1),)
    sampled = PoissonSampled(Within(Gaussian(4.0), 1e-3, 0.0), 0.1)
    assert _fold(Group(sampled, 3)).slack == Slack(up=1e-3)


def test_a_group_without_protection_has_none():
    assert _fold(Group(NonPrivate(), 3)) == _fold(NonPrivate())
    assert _fold(Group(ApproxDP(1.0, 1.0, "add_remove"), 3)).slack.failure == 1.0


def _hockey(p, q, epsilon):
    return math.fsum(max(0.0, a - math.exp(epsilon) * b) for a, b in zip(p, q, strict=True))


@given(
    weights=st.lists(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4), min_size=4, max_size=4),
    epsilon=st.floats(0.0, 1.5),
)
def test_group_of_approx_dp_on_a_chain_of_laws(weights, epsilon):
    """Four data sets in a row, neighbours (epsilon, delta)-close by enumeration: the ends obey the group's bound."""
    laws = [[w / math.fsum(row) for w in row] for row in weights]
    delta = max(_hockey(laws[a], laws[b], epsilon) for a in range(4) for b in range(4) if abs(a - b) == 1)
    for k in (2, 3):
        bound = group_delta(epsilon, delta, k)
        assert _hockey(laws[0], laws[k], k * epsilon) <= bound + 1e-13


def test_group_of_approx_dp_is_attained():
    """Mass delta that only the first law has, then everything e^epsilon times more likely, twice over."""
    epsilon, delta = 0.3, 0.01
    e = math.exp(epsilon)
    # what an outcome has under D0, D1, D2: e m + delta, m + delta / e ... grows by e y + delta each step back
    masses = [0.05]
    for _ in range(2):
        masses.append(e * masses[-1] + delta)
    laws = [[mass, 1.0 - mass] for mass in masses[::-1]]
    assert _hockey(laws[0], laws[1], epsilon) == pytest.approx(delta, rel=1e-12)
    assert _hockey(laws[0], laws[2], 2 * epsilon) == pytest.approx(group_delta(epsilon, delta, 2), rel=1e-12)


@given(
    epsilon=st.floats(0.0, 5.0) | st.floats(0.0, 1e-12) | st.floats(1.0, 100.0),
    delta=st.floats(1e-300, 1.0),
    size=st.integers(1, 40),
)
def test_group_delta_is_the_sum_rounded_up(epsilon, delta, size):
    with mp.workdps(60):
        truth = min(mp.mpf(1), mp.fsum(mp.exp(i * mp.mpf(epsilon)) for i in range(size)) * mp.mpf(delta))
        value = group_delta(epsilon, delta, size)
        assert truth <= value <= min(1, truth * (1 + mp.mpf(1e-12) * (1 + size * mp.mpf(epsilon)))) or value == 1.0
        if value == 1.0:
            assert truth > mp.mpf("0.999") or size * epsilon >= 700.0 - 1e-9


def test_group_delta_at_its_ends():
    assert group_delta(1.0, 0.0, 10**9) == 0.0
    assert group_delta(0.0, 1e-6, 10) == pytest.approx(1e-5, rel=1e-13)
    assert group_delta(1e-320, 1e-6, 10) >= 1e-5
    assert group_delta(1.0, 1e-300, 10**9) == 1.0


@pytest.mark.parametrize(
    ("inner", "name"),
    [
        (RDPCurve((2.0,), (0.1,), "add_remove"), "RDPCurve"),
        (DominatingPair((0.0,), (0.0,)), "DominatingPair"),
        (FixedSizeSampled(Gaussian(1.0), 10, 1), "FixedSizeSampled"),
    ],
)
def test_groups_of_what_is_unknown_are_refused(inner, name):
    with pytest.raises(UnsupportedEventError, match=f"got {name}; state what it costs a group") as caught:
        _fold(Group(inner, 2))
    assert caught.value.event == Group(inner, 2)
    assert not RDPAccountant().supports(Group(inner, 2))
    assert _fold(Group(inner, 1)) == _fold(inner)


@pytest.mark.parametrize(
    "inner",
    [
        PoissonSampled(PureDP(1.0, "add_remove"), 0.1),
        PoissonSampled(ApproxDP(1.0, 1e-9, "add_remove"), 0.1),
        PoissonSampled(Gaussian(1.0) + NonPrivate(), 0.1),
        PoissonSampled(NonPrivate(), 0.1),
        PoissonSampled(DiscreteGaussian(2.0, 1.0, 5), 0.1),
        PoissonSampled(DominatingPair((0.0,), (0.0,)), 0.1),
    ],
)
def test_groups_of_sampled_releases_need_additive_noise(inner):
    with pytest.raises(UnsupportedEventError, match="group the event inside"):
        _fold(Group(inner, 2))


def test_smoothing_reaches_sampled_groups():
    event = Group(PoissonSampled(DiscreteGaussian(20.0, 4.0, 5), 0.1), 2)
    ((core, _),) = _fold(event, smooth=True).parts
    assert isinstance(core, Group)
    assert isinstance(core.event.event, Gaussian)


def test_a_group_drawn_as_a_whole_is_one_record():
    assert _fold(PoissonSampled(Group(Gaussian(6.0), 3), 0.1)).parts == ((PoissonSampled(Gaussian(2.0), 0.1), 1),)


def test_doubling_a_sum_does_not_double_the_work():
    event = Gaussian(2.0)
    for _ in range(45):
        event = Composed((event, event))
    assert _fold(Group(event, 2)).parts == ((Gaussian(1.0), 2**45),)


def test_sizes_end_where_floats_stop_counting():
    with pytest.raises(EventError, match="groups of groups multiply"):
        _fold(Group(Group(Gaussian(1.0), 2**40), 2**40))
    ((core, _),) = _fold(Group(Gaussian(5e-324), 2**53)).parts
    assert core.noise_multiplier == 5e-324


@pytest.mark.parametrize("inner", [PureDP(1e299, "add_remove"), ZCDP(1e280, "add_remove"), Skellam(1.0, 1e299, 1.0)])
def test_what_no_float_can_hold_is_refused(inner):
    with pytest.raises(UnsupportedEventError, match="record NonPrivate"):
        _fold(Group(inner, 2**51))
