"""dp_accounting's events: the same meaning both ways, the costlier side of every rounding, refusals with a reason."""

import math
import sys
import warnings
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    BoundedRange,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    EventError,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    Ledger,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPAccountant,
    RelationError,
    Repeated,
    Skellam,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
)
from accountants.events import PrivateSelection, RandomAllocation
from accountants.interop import from_dp_event, to_dp_event

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dp_accounting import NeighboringRelation, dp_event
    from dp_accounting.pld import PLDAccountant as TheirPLD
    from dp_accounting.rdp import RdpAccountant as TheirRDP

RELATIONS = {
    "add_remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": NeighboringRelation.REPLACE_ONE,
    "zero_out": NeighboringRelation.REPLACE_SPECIAL,
}
STEP = PoissonSampled(Gaussian(1.1), 0.01)

EXACT = [
    (Gaussian(1.3), "add_remove", None),
    (Gaussian(1.3), "zero_out", None),
    (Gaussian(1.3), "replace_one", "bound"),
    (Gaussian(1.3), "replace_one", "sensitivity"),
    (Laplace(0.7) * 3, "add_remove", None),
    (Laplace(0.7), "replace_one", "sensitivity"),
    (STEP * 1000 + Gaussian(7.0), "add_remove", None),
    (STEP * 1000, "replace_one", None),
    (STEP * 10 + Gaussian(7.0), "replace_one", "bound"),
    (PoissonSampled(Gaussian(1.0) + Gaussian(3.0) * 2, 0.1), "zero_out", None),
    (FixedSizeSampled(Gaussian(1.3), 100, 7) * 5, "replace_one", "sensitivity"),
    (ZCDP(0.3, "replace_one"), "replace_one", None),
    (NonPrivate(), "add_remove", None),
    (Composed(()), "add_remove", None),
    (DiscreteLaplace(2.0, 3.0), "add_remove", None),  # 1 / 2 is a float
    (RandomizedResponse(0.0, 2) * 0, "replace_one", None),
]


@pytest.mark.parametrize(("event", "relation", "noise_over"), EXACT)
def test_there_and_back_is_the_same_event(event, relation, noise_over):
    theirs = to_dp_event(event, relation, noise_over=noise_over)
    back = from_dp_event(theirs, relation, noise_over=noise_over)
    assert back == (Composed(()) if isinstance(event, Repeated) and event.times == 0 else event)
    assert to_dp_event(back, relation, noise_over=noise_over) == theirs


@given(scale=st.floats(1e-300, 1e300), bound=st.floats(0.5, 50.0))
def test_discrete_laplace_is_rounded_to_the_costlier_side(scale, bound):
    theirs = to_dp_event(DiscreteLaplace(scale, bound), "add_remove")
    if math.floor(bound) == 0:
        assert theirs == dp_event.NoOpDpEvent()
        return
    assert Fraction(theirs.noise_parameter) * Fraction(scale) >= 1
    assert theirs.noise_parameter <= 1.0 / scale * (1.0 + 2.0**-51)
    assert theirs.sensitivity == math.floor(bound)
    back = from_dp_event(theirs, "add_remove")
    assert Fraction(theirs.noise_parameter) * Fraction(back.scale) <= 1
    assert scale * (1.0 - 2.0**-50) <= back.scale <= scale
    assert back.l1_bound == theirs.sensitivity


@given(epsilon=st.floats(1e-300, 600.0), categories=st.integers(2, 10**6))
def test_randomized_response_is_rounded_to_the_costlier_side(epsilon, categories):
    theirs = to_dp_event(RandomizedResponse(epsilon, categories), "replace_one")
    with mpmath.workdps(400):
        exact = categories / (mpmath.exp(epsilon) + categories - 1)
        assert exact * (1 - mpmath.mpf(2) ** -46) <= theirs.noise_parameter <= exact
    back = from_dp_event(theirs, "replace_one")
    with mpmath.workdps(400):
        told = mpmath.log1p(categories * (1 - mpmath.mpf(theirs.noise_parameter)) / theirs.noise_parameter)
        assert told <= back.epsilon <= told * (1 + mpmath.mpf(2) ** -46)
    assert epsilon <= back.epsilon
    assert back.categories == categories


def test_ends_of_randomized_response():
    response = dp_event.RandomizedResponseDpEvent
    assert from_dp_event(response(0.0, 3), "replace_one") == NonPrivate()
    assert from_dp_event(response(5e-324, 3), "replace_one") == NonPrivate()
    assert from_dp_event(response(1.0, 3), "replace_one") == RandomizedResponse(0.0, 3)
    assert from_dp_event(response(0.0, 1), "replace_one") == Composed(())
    assert to_dp_event(RandomizedResponse(800.0, 3), "replace_one") == response(0.0, 3)
    assert to_dp_event(RandomizedResponse(0.0, 3), "replace_one") == dp_event.NoOpDpEvent()
    with pytest.raises(EventError, match="noise_parameter"):
        from_dp_event(response(1.5, 3), "replace_one")


def test_no_noise_is_no_protection():
    for theirs in (dp_event.GaussianDpEvent(0), dp_event.LaplaceDpEvent(0.0), dp_event.DiscreteLaplaceDpEvent(0.0, 1)):
        assert from_dp_event(theirs, "add_remove") == NonPrivate()
    theirs = dp_event.TruncatedSubsampledGaussianDpEvent(100, 0.1, 20, 0.0)
    assert from_dp_event(theirs, "add_remove") == NonPrivate()
    assert from_dp_event(dp_event.DiscreteLaplaceDpEvent(1.0, 0), "add_remove") == Composed(())
    tiny = from_dp_event(dp_event.DiscreteLaplaceDpEvent(5e-324, 1), "add_remove")
    assert tiny.scale == sys.float_info.max


def test_the_two_readings_differ_by_two():
    bound, sensitivity = (to_dp_event(Gaussian(2.0), "replace_one", noise_over=way) for way in ("bound", "sensitivity"))
    assert (bound.noise_multiplier, sensitivity.noise_multiplier) == (2.0, 1.0)
    theirs = dp_event.GaussianDpEvent(2.0)
    assert from_dp_event(theirs, "replace_one", noise_over="sensitivity") == Gaussian(4.0)
    assert from_dp_event(theirs, "replace_one", noise_over="bound") == Gaussian(2.0)
    for relation in ("add_remove", "zero_out"):
        assert from_dp_event(theirs, relation, noise_over="sensitivity") == Gaussian(2.0)


def _their_epsilon(kind, event, relation, noise_over, delta):
    accountant = kind(neighboring_relation=RELATIONS[relation])
    return accountant.compose(to_dp_event(event, relation, noise_over=noise_over)).get_epsilon(delta)


AGREE = [
    (TheirPLD, Gaussian(1.3) * 4, "add_remove", None),
    (TheirPLD, Gaussian(1.3), "replace_one", "bound"),
    (TheirPLD, Laplace(2.0) * 3, "zero_out", None),
    (TheirPLD, STEP * 20, "add_remove", None),
    (TheirPLD, STEP * 20, "replace_one", None),
    (TheirPLD, PoissonSampled(Laplace(1.5), 0.1) * 5, "add_remove", None),
    (TheirPLD, DiscreteLaplace(3.0, 2.5) * 3, "add_remove", None),
    (TheirPLD, RandomizedResponse(1.0, 4), "replace_one", None),
    (TheirPLD, Gaussian(2.0) + Laplace(3.0) + STEP, "add_remove", None),
]


@pytest.mark.parametrize(("kind", "event", "relation", "noise_over"), AGREE)
def test_no_translation_lowers_the_cost(kind, event, relation, noise_over):
    """Theirs lies above our lower end, and above our upper end by no more than its grid allows.

    Its losses are rounded up, by at most the interval of its grid for each of at most 20 releases, and the mass that it
    cuts off, 1e-15 for each, counts as lost: 1e-12 of delta is more than all of that. Told back, the event is as
    before, or costs more by roundings.
    """
    interval, delta = 1e-4, 1e-6
    theirs = _their_epsilon(kind, event, relation, noise_over, delta)
    lower, _ = PLDAccountant().bounds(event, delta=delta, relation=relation)
    upper = PLDAccountant().epsilon(event, delta=delta - 1e-12, relation=relation)
    assert lower - 1e-9 <= theirs <= upper + 20 * interval
    back = from_dp_event(to_dp_event(event, relation, noise_over=noise_over), relation, noise_over=noise_over)
    told = PLDAccountant().epsilon(back, delta=delta, relation=relation)
    assert lower <= told <= upper * (1.0 + 1e-9)


RENYI = [
    (Gaussian(1.3) * 4, "replace_one", "sensitivity"),
    (Laplace(2.0), "replace_one", "sensitivity"),
    (ZCDP(0.1, "add_remove") * 3, "add_remove", None),
    (STEP * 100, "add_remove", None),
    (FixedSizeSampled(Gaussian(2.0), 1000, 10) * 50, "replace_one", "sensitivity"),
]
SELECTIONS = [
    (PrivateSelection(Gaussian(3.0), 10.0), "add_remove", None),
    (PrivateSelection(STEP * 100 + Gaussian(9.0), 5.0, 0.0) * 2, "add_remove", None),
    (PrivateSelection(Gaussian(6.0), 10.0, 0.5), "replace_one", "sensitivity"),
    (PrivateSelection(Laplace(6.0), 10.0, math.inf), "zero_out", None),
]


@pytest.mark.parametrize(("event", "relation", "noise_over"), SELECTIONS)
def test_selections_cost_no_less_there(event, relation, noise_over):
    """Theirs is the published theorem, ours a sharper one; told back, it is the same event."""
    theirs = _their_epsilon(TheirRDP, event, relation, noise_over, 1e-6)
    ours = RDPAccountant().epsilon(event, delta=1e-6, relation=relation)
    assert 0.5 * theirs < ours <= theirs * (1.0 + 1e-9)
    back = from_dp_event(to_dp_event(event, relation, noise_over=noise_over), relation, noise_over=noise_over)
    assert back == event


def test_selections_that_only_one_side_knows_are_refused():
    for event in (PrivateSelection(Gaussian(1.0), 2.0, -0.5), PrivateSelection(Gaussian(1.0), 0.5, math.inf)):
        with pytest.raises(UnsupportedEventError, match="shape must be >= 0 and mean >= 1"):
            to_dp_event(event, "add_remove")
    with pytest.raises(UnsupportedEventError, match='noise_over must be "sensitivity"'):
        to_dp_event(PrivateSelection(Gaussian(1.0), 2.0), "replace_one", noise_over="bound")
    with pytest.raises(EventError, match="mean must be"):
        from_dp_event(dp_event.RepeatAndSelectDpEvent(dp_event.GaussianDpEvent(1.0), 0.5, 1.0), "add_remove")
    with pytest.raises(UnsupportedEventError, match="counterpart in dp_accounting, got RandomAllocation"):
        to_dp_event(RandomAllocation(Gaussian(1.0), 5), "add_remove")


@pytest.mark.parametrize(("event", "relation", "noise_over"), RENYI)
def test_their_renyi_accountant_reads_what_it_is_told(event, relation, noise_over):
    """Its best order is one of a list, ours any, and by the same conversion: ours is below, by little for these."""
    theirs = _their_epsilon(TheirRDP, event, relation, noise_over, 1e-6)
    ours = RDPAccountant(conversion="improved").epsilon(event, delta=1e-6, relation=relation)
    assert ours <= theirs * (1.0 + 1e-6)
    lower, _ = PLDAccountant().bounds(event, delta=1e-6, relation=relation)
    assert lower <= theirs
    if not isinstance(event.event if isinstance(event, Repeated) else event, FixedSizeSampled):  # whose bound is looser
        assert theirs <= ours * 1.03


def test_a_truncated_batch_costs_no_less_here():
    theirs = dp_event.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 25, 1.0)
    event = from_dp_event(theirs, "add_remove")
    assert event == TruncatedPoissonSampled(Gaussian(1.0), 0.01, population=1001, max_batch=25)
    said = TheirPLD().compose(theirs).get_epsilon(1e-3)
    assert PLDAccountant().epsilon(event, delta=1e-3, relation="add_remove") >= said - 1e-4
    assert from_dp_event(theirs, "replace_one") == event
    with pytest.raises(UnsupportedEventError, match="noise_over"):
        from_dp_event(theirs, "replace_one", noise_over="sensitivity")


def test_a_ledger_is_all_of_its_rows():
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, times=500)
    ledger.record(Gaussian(4.0), note="side query")
    theirs = to_dp_event(ledger)
    assert theirs == dp_event.ComposedDpEvent(
        [
            dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(0.01, dp_event.GaussianDpEvent(1.1)), 500),
            dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(4.0), 1),
        ]
    )
    assert TheirPLD().compose(theirs).ledger is not None
    with pytest.raises(RelationError, match="ledger's own"):
        to_dp_event(ledger, "zero_out")
    with pytest.raises(RelationError, match="relation"):
        to_dp_event(Gaussian(1.0))


NOT_THEIRS = [
    (Skellam(10.0, 2.0, 2.0), "add_remove", None, "Skellam"),
    (DiscreteGaussian(3.0, 1.0), "add_remove", None, "DiscreteGaussian"),
    (Within(Gaussian(3.0), 0.1, 0.1) * 2, "add_remove", None, "Within"),
    (Group(Gaussian(3.0), 2), "add_remove", None, "Group"),
    (BoundedRange(0.1), "add_remove", None, "BoundedRange"),
    (PureDP(0.1, "add_remove"), "add_remove", None, "PureDP"),
    (TruncatedPoissonSampled(Gaussian(1.0), 0.1, 100, 30), "add_remove", None, "TruncatedPoissonSampled"),
    (ZCDP(0.1, "add_remove"), "replace_one", None, "relation"),
    (RandomizedResponse(1.0), "add_remove", None, "RandomizedResponse"),
    (FixedSizeSampled(Gaussian(1.0), 10, 2), "add_remove", None, "FixedSizeSampled"),
    (Gaussian(1.0), "replace_one", None, "noise_over must be .* for Gaussian"),
    (STEP + Gaussian(1.0), "replace_one", None, "noise_over must be .* for Gaussian"),
    (Laplace(1.0), "replace_one", "bound", 'noise_over must be "sensitivity" for Laplace'),
    (FixedSizeSampled(Gaussian(1.0), 10, 2), "replace_one", "bound", 'noise_over must be "sensitivity"'),
    (STEP, "replace_one", "sensitivity", 'noise_over must be "bound"'),
]


@pytest.mark.parametrize(("event", "relation", "noise_over", "match"), NOT_THEIRS)
def test_what_they_do_not_mean_alike_is_refused(event, relation, noise_over, match):
    with pytest.raises(UnsupportedEventError, match=match) as refused:
        to_dp_event(event, relation, noise_over=noise_over)
    assert refused.value.event is not None


GAUSSIAN = dp_event.GaussianDpEvent(1.0)
NOT_OURS = [
    (dp_event.UnsupportedDpEvent(), "add_remove", "UnsupportedDpEvent"),
    (dp_event.SampledWithReplacementDpEvent(10, 2, GAUSSIAN), "replace_one", "SampledWithReplacementDpEvent"),
    (dp_event.SingleEpochTreeAggregationDpEvent(1.0, 8), "zero_out", "SingleEpochTreeAggregationDpEvent"),
    (dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5]), "add_remove", "MixtureOfGaussiansDpEvent"),
    (dp_event.ZCDpEvent(0.1, 0.2), "add_remove", "xi must be 0"),
    (dp_event.RandomizedResponseDpEvent(0.5, 2), "zero_out", "RandomizedResponseDpEvent"),
    (dp_event.SampledWithoutReplacementDpEvent(10, 2, GAUSSIAN), "add_remove", "SampledWithoutReplacementDpEvent"),
    (dp_event.SampledWithoutReplacementDpEvent(10, 2, GAUSSIAN), "replace_one", "noise_over"),
    (dp_event.SelfComposedDpEvent(GAUSSIAN, 3), "replace_one", "noise_over must be .* for GaussianDpEvent"),
]


@pytest.mark.parametrize(("theirs", "relation", "match"), NOT_OURS)
def test_what_we_do_not_mean_alike_is_refused(theirs, relation, match):
    with pytest.raises(UnsupportedEventError, match=match) as refused:
        from_dp_event(theirs, relation)
    assert refused.value.event is not None


def test_what_is_no_event_is_refused():
    class GaussianDpEvent:
        noise_multiplier = 1.0

    for thing in (GaussianDpEvent(), Gaussian(1.0), None):
        with pytest.raises(EventError, match="dp_event must be a DpEvent"):
            from_dp_event(thing, "add_remove")
    with pytest.raises(EventError, match="what must be"):
        to_dp_event(dp_event.NoOpDpEvent(), "add_remove")
    for translate in (to_dp_event, from_dp_event):
        with pytest.raises(EventError, match="noise_over must be"):
            translate(Gaussian(1.0), "add_remove", noise_over="clip")


@pytest.mark.parametrize("depth", [100, 10_000])
def test_what_is_nested_too_deep_is_refused(depth):
    theirs = GAUSSIAN
    for _ in range(depth):
        theirs = dp_event.SelfComposedDpEvent(theirs, 1)
    with pytest.raises(EventError, match="nested"):
        from_dp_event(theirs, "add_remove")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting.dp_event", None)
    with pytest.raises(ImportError, match="dp_accounting must be installed"):
        to_dp_event(Gaussian(1.0), "add_remove")
