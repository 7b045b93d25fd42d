"""The tight accountant: both ends against exact curves, both directions, slack, handing over."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    DiscreteGaussian,
    DistributedDiscreteGaussian,
    DominatingPair,
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
    RDPAccountant,
    Relation,
    RelationError,
    Skellam,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
)
from tests.oracles.accounting import gaussian_delta

PLD, RDP = PLDAccountant(), RDPAccountant()
STEP = PoissonSampled(Gaussian(1.0), 0.01)


def bounds(event, delta=1e-6, relation="add_remove"):
    return PLD.bounds(event, delta=delta, relation=relation)


@pytest.mark.parametrize(
    ("steps", "delta", "published"),
    [
        (1_000, 1e-5, 1.8282366665170906),
        (10_000, 1e-5, 6.187712389984082),
        (100_000, 1e-5, 25.57310698692916),
        (1_000_000, 1e-5, 139.03027258168908),
        (1_000, 1e-15, 4.854537750605434),
        (1_000, 1e-50, 15.209761496476762),
    ],
)
def test_both_ends_enclose_the_value(steps, delta, published):
    lower, upper = bounds(STEP * steps, delta)
    assert lower - 1e-8 <= published <= upper + 1e-8
    assert upper - lower <= 1e-4 * upper
    assert PLD.epsilon(STEP * steps, delta=delta, relation="add_remove") == upper


def test_ten_million_steps_at_a_delta_of_1e_100():
    lower, upper = bounds(PoissonSampled(Gaussian(2.0), 0.001) * 10_000_000, 1e-100)
    assert 0.0 < lower <= upper <= lower * (1.0 + 1e-4)


@pytest.mark.parametrize("relation", Relation)
def test_the_ends_of_gaussians_are_the_closed_form(relation):
    distance = 2.0 if relation is Relation.replace_one else 1.0
    for lower_or_upper in bounds(Gaussian(3.0) * 4, 1e-5, relation):
        assert math.isclose(float(gaussian_delta(distance * 2.0 / 3.0, lower_or_upper)), 1e-5, rel_tol=1e-9)


def test_the_larger_direction_counts():
    """Removing costs more than adding here; both are in the curve, and the upper end is of the larger."""
    from accountants.engines import engines_of
    from accountants.pairs import dominating_pairs

    remove, add = (
        engines_of(((pair, 1000),))[0].epsilon_bounds(((pair, 1000),), math.log(1e-6), 1e-4, 0.0)
        for pair in dominating_pairs(STEP, Relation.add_remove)
    )
    assert add[1] < remove[0]
    lower, upper = bounds(STEP * 1000)
    assert remove[0] <= upper <= remove[1] * (1.0 + 1e-9)
    assert lower <= remove[1]


@pytest.mark.parametrize(
    "event",
    [
        STEP * 500,
        STEP * 500 + Gaussian(5.0) * 3 + PoissonSampled(Gaussian(2.0), 0.1) * 50,
        Laplace(2.0) * 20,
        PoissonSampled(Laplace(1.0), 0.1) * 30,
        PureDP(0.1, Relation.add_remove) * 40,
        ApproxDP(0.1, 1e-9, Relation.add_remove) * 40,
        DiscreteGaussian(5.0, 2.0, 1) * 10,
        DiscreteGaussian(5.0, 2.0, 1000) * 10,
        FixedSizeSampled(Gaussian(2.0), 1000, 10) * 200,
        Group(PoissonSampled(Gaussian(3.0), 0.01), 3) * 100,
        Skellam(400.0, 3.0, 3.0) * 10,
        ZCDP(0.01, Relation.add_remove) * 10 + Gaussian(4.0),
        TruncatedPoissonSampled(Gaussian(1.0), 0.01, 10_000, 250) * 100,
        Within(STEP * 500, 1e-3, 1e-3),
        NonPrivate() * 0 + STEP * 20,
    ],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("relation", ["add_remove", "replace_one"])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_between_a_witness_and_the_renyi_bound(event, relation, delta):
    if not RDP.supports(event, relation=relation):
        with pytest.raises(UnsupportedEventError):
            PLD.bounds(event, delta=delta, relation=relation)
        return
    lower, upper = bounds(event, delta, relation)
    assert 0.0 <= lower <= upper <= RDP.epsilon(event, delta=delta, relation=relation) * (1.0 + 1e-6)
    assert PLD.delta(event, epsilon=upper, relation=relation) <= delta * (1.0 + 1e-4)


def test_the_reverse_of_a_given_pair_counts():
    """What adding a record shows may be more than what removing it shows."""
    p, q = (0.5, 0.45, 0.05), (0.1, 0.5, 0.4)
    event = DominatingPair(tuple(map(math.log, p)), tuple(map(math.log, q)))
    ratio = math.e
    there = sum(max(0.0, a - ratio * b) for a, b in zip(p, q, strict=True))
    back = sum(max(0.0, b - ratio * a) for a, b in zip(p, q, strict=True))
    assert there < 0.9 * back
    reverse = DominatingPair(tuple(map(math.log, q)), tuple(map(math.log, p)))
    for one in (event, reverse):
        assert math.isclose(PLD.delta(one, epsilon=1.0, relation="add_remove"), max(there, back), rel_tol=1e-9)
        assert bounds(one, 0.2) == bounds(event, 0.2)


def test_handing_over_names_who_took_over():
    """So little noise that no lattice is laid."""
    shown = PLD.certify(Laplace(1e-6) * 30, delta=1e-6, relation="add_remove")
    assert shown.upper_from == str(RDP)
    assert shown.lower_from.startswith("witness: ")
    assert 0.9e6 < shown.lower < shown.upper <= 30e6
    closed = PLD.certify(Laplace(1.0), delta=1e-6, relation="add_remove")
    assert (closed.upper_from, closed.lower_from) == ("closed form", "closed form")


@pytest.mark.parametrize(
    ("event", "ends", "names"),
    [
        (Gaussian(1.0) * 0, (0.0, 0.0), ("no release", "epsilon is never negative")),
        (STEP * 1000 + Gaussian(1e9), None, ("contour", "contour")),
        (Gaussian(1e9), (0.0, 0.0), ("closed form", "epsilon is never negative")),
        (Skellam(400.0, 30.0, 10.0), None, (str(RDP), "epsilon is never negative")),
        (NonPrivate(), (math.inf, math.inf), ("failures and distances leave nothing of delta",) * 2),
        (
            STEP + ApproxDP(0.1, 1e-3, "add_remove"),
            (math.inf,) * 2,
            ("failures and distances leave nothing of delta",) * 2,
        ),
    ],
)
def test_each_end_says_what_it_comes_from(event, ends, names):
    shown = PLD.certify(event, delta=1e-6, relation="add_remove")
    assert (shown.upper_from, shown.lower_from) == names
    assert ends is None or (shown.lower, shown.upper) == ends


def test_smoothing_or_renyi_whichever_is_smaller():
    wide = DiscreteGaussian(50.0, 10.0, 1000) * 100
    narrow = DiscreteGaussian(0.9, 1.0, 100_000) * 2
    assert PLD.certify(wide, delta=1e-6, relation="add_remove").upper_from == "smoothing"
    assert PLD.certify(narrow, delta=1e-6, relation="add_remove").upper_from == str(RDP)
    for event in (wide, narrow):
        rdp = RDP.epsilon(event, delta=1e-6, relation="add_remove")
        assert PLD.epsilon(event, delta=1e-6, relation="add_remove") <= rdp


def test_a_distributed_gaussian_costs_its_gaussian():
    """The slack of 20 shares is 10^-8 or so: the bound is the closed form's, not the Rényi accountant's."""
    event = DistributedDiscreteGaussian(local_stddev=3.0, parties=20, l2_bound=8.0, dim=1000) * 5
    lower, upper = bounds(event)
    assert upper - lower <= 1e-4 * upper
    assert upper < 0.97 * RDP.epsilon(event, delta=1e-6, relation="add_remove")


def test_slack_is_added_once_and_outside():
    inner = STEP * 1000
    base = bounds(inner, 1e-6 * math.exp(-0.2))[1]
    assert math.isclose(bounds(Within(inner, 0.2, 0.3))[1], base + 0.5, rel_tol=1e-9)
    lower, upper = bounds(Within(inner, 0.2, 0.3))
    assert upper - lower <= 1e-4 * upper


def test_nothing_and_everything():
    assert bounds(STEP * 0) == (0.0, 0.0)
    assert bounds(NonPrivate()) == (math.inf, math.inf)
    assert PLD.delta(NonPrivate(), epsilon=3.0, relation="add_remove") == 1.0
    assert PLD.delta(STEP * 0, epsilon=0.0, relation="add_remove") == 0.0
    assert bounds(Gaussian(1e9), 0.1) == (0.0, 0.0)


def test_a_ledger_and_its_events_cost_the_same_in_any_order():
    parts = [(STEP, 700), (Gaussian(4.0), 2), (PoissonSampled(Gaussian(2.0), 0.05), 30)]
    there, back = Ledger(relation="add_remove"), Ledger(relation="add_remove")
    for event, times in parts:
        there.record(event, times=times)
    for event, times in reversed(parts):
        back.record(event, times=times)
    together = PLD.bounds(there, delta=1e-6)
    assert together == PLD.bounds(back, delta=1e-6)
    assert together == bounds(STEP * 700 + Gaussian(4.0) * 2 + PoissonSampled(Gaussian(2.0), 0.05) * 30)


@given(
    noise=st.floats(0.4, 20.0),
    prob=st.floats(1e-4, 0.9),
    steps=st.integers(1, 1_000_000),
    log_delta=st.floats(-200.0, -0.05),
)
def test_bounds_are_numbers_in_order(noise, prob, steps, log_delta):
    event, delta = PoissonSampled(Gaussian(noise), prob) * steps, math.exp(log_delta)
    lower, upper = bounds(event, delta)
    assert 0.0 <= lower <= upper
    assert upper <= RDP.epsilon(event, delta=delta, relation="add_remove") * (1.0 + 1e-6)


def test_bad_input():
    for tolerance in (0.0, 1.0, -1.0, math.nan, "small"):
        with pytest.raises(EventError, match="tolerance"):
            PLDAccountant(tolerance=tolerance)
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(EventError, match="delta"):
            PLD.bounds(STEP, delta=delta, relation="add_remove")
    with pytest.raises(RelationError):
        PLD.bounds(STEP, delta=1e-6)
    with pytest.raises(EventError, match="epsilon"):
        PLD.delta(STEP, epsilon=-1.0, relation="add_remove")
    with pytest.raises(EventError, match="what"):
        PLD.epsilon("ledger", delta=1e-6)


@pytest.mark.parametrize(("prob", "noise", "steps"), [(0.05, 1.0, 4), (0.2, 2.0, 2), (0.01, 1.0, 3), (0.5, 5.0, 3)])
def test_delta_is_the_inverse_of_epsilon_where_more_steps_answer(prob, noise, steps):
    """A few steps are too few for the integral: both questions are then answered by the same larger count."""
    event = PoissonSampled(Gaussian(noise), prob) * steps
    upper = PLD.epsilon(event, delta=1e-5, relation="add_remove")
    assert PLD.delta(event, epsilon=upper, relation="add_remove") <= 1e-5 * (1.0 + 1e-6)


def test_a_curve_is_of_what_the_ledger_held_when_it_was_asked_for():
    ledger = Ledger(relation="add_remove")
    ledger.record(ZCDP(0.1, "add_remove"), times=3)
    curve, then = PLD.curve(ledger), PLD.delta(ledger, epsilon=0.5)
    ledger.record(STEP, times=1000)
    assert curve(0.5) == then < PLD.delta(ledger, epsilon=0.5)
    with pytest.raises(EventError, match="epsilon must be >= 0"):
        curve(-0.5)


def test_a_curve_is_an_upper_bound_whatever_is_enough():
    for epsilon in (0.0, 0.5, 1.5, 3.0):
        delta = PLD.delta(STEP * 1000, epsilon=epsilon, relation="add_remove")
        rough = PLD.curve(STEP * 1000, relation="add_remove", enough=1e-3)(epsilon)
        assert delta * (1.0 - 1e-4) <= rough <= max(delta * (1.0 + 1e-4), 1e-3)
