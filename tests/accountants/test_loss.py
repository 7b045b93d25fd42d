"""The composable loss: equal to the tight accountant to the bit, to enumeration, and to itself however it was built."""

import math
import pickle
from decimal import Decimal

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    DominatingPair,
    EventError,
    FixedSizeSampled,
    Gaussian,
    Laplace,
    Ledger,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPAccountant,
    Relation,
    RelationError,
    Skellam,
    UnsupportedEventError,
    Within,
    calibrate,
    engines,
)
from accountants.composition import compose, log_deltas_of
from accountants.loss import PrivacyLoss
from accountants.tradeoff import tradeoff
from tests.oracles.accounting import gaussian_delta
from tests.oracles.loss import either_order

ADD = Relation.add_remove
STEP = PoissonSampled(Gaussian(1.0), 0.01)
POOL = [
    STEP,
    Gaussian(3.0),
    Laplace(4.0),
    PureDP(0.1, ADD),
    ApproxDP(0.1, 1e-7, ADD),
    Within(Gaussian(5.0), 1e-3, 2e-3),
    Within(STEP, 1e-4, 1e-4),
    ZCDP(0.01, ADD),
    Skellam(400.0, 3.0, 3.0),
]
EVENTS = [
    STEP * 1000,
    STEP * 500 + Gaussian(5.0) * 3,
    Laplace(2.0),
    PureDP(0.1, ADD) * 40,
    ApproxDP(0.1, 1e-9, ADD) * 4,
    Within(STEP * 500, 1e-3, 1e-3) + Within(STEP * 500, 1e-3, 1e-3) * 2,
    ZCDP(0.01, ADD) * 10 + Gaussian(4.0),
    Skellam(400.0, 3.0, 3.0) * 10,
    FixedSizeSampled(Gaussian(2.0), 1000, 10) * 200,
    NonPrivate() + Gaussian(1.0),
    STEP * 0,
]
EPSILONS = np.array([0.0, 0.3, 1.0, 2.5, 7.0])


def _loss(event, relation="add_remove"):
    return PrivacyLoss(event, relation)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_answers_are_the_tight_accountants(event):
    pld, loss, ledger = PLDAccountant(), _loss(event), Ledger(relation="add_remove")
    ledger.record(event)
    for what in (loss, ledger):
        assert loss.epsilon(1e-5) == pld.epsilon(what, delta=1e-5)
        assert loss.bounds(1e-5) == pld.bounds(what, delta=1e-5)
        assert loss.delta(1.0) == pld.delta(what, epsilon=1.0) == loss.hockey_stick(1.0) == loss.delta_bounds(1.0)[1]
        assert loss.profile(EPSILONS).tolist() == pld.profile(what, epsilons=EPSILONS).tolist()
    assert loss.hockey_stick(EPSILONS).tolist() == loss.profile(EPSILONS).tolist()
    assert PrivacyLoss(ledger) == loss


@given(st.lists(st.tuples(st.sampled_from(POOL), st.integers(1, 3)), min_size=1, max_size=5), st.data())
def test_grouping_and_order_change_no_bit(rows, data):
    straight = _loss(STEP * 0)
    for event, times in rows:
        straight = straight.compose(event, times)
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    parts = shuffled[:cut], shuffled[cut:]
    left, right = (sum((event * times for event, times in part), _loss(STEP * 0)) for part in parts)
    singles = [event for event, times in shuffled for _ in range(times)]
    ledger = Ledger(relation="add_remove")
    for event in singles:
        ledger.record(event)
    nested = sum(singles[1:], singles[0])
    for loss in (left + right, right + left, PrivacyLoss(ledger), _loss(nested)):
        assert loss == straight
        assert hash(loss) == hash(straight)
    # all that an answer is computed from
    assert compose(straight, None) == compose(ledger, None) == compose(nested, "add_remove")
    renyi = RDPAccountant()
    assert renyi.epsilon(straight, delta=1e-5) == renyi.epsilon(ledger, delta=1e-5)


def test_associative_distributive_and_neutral():
    a, b, c = _loss(STEP * 10), _loss(Laplace(3.0)), _loss(Within(Gaussian(2.0), 0.1, 0.1))
    assert (a + b) + c == a + (b + c) == c + (b + a)
    assert (a + b) * 3 == a * 3 + b * 3 == 3 * b + 3 * a
    assert a + a * 0 == a * 1 == a
    assert c * 2 * 3 == c * 6
    assert (c * 2 + c * 4).epsilon(1e-6) == (c * 6).epsilon(1e-6)
    assert Laplace(3.0) + a == a + Laplace(3.0) == a + b


def test_a_loss_is_an_account():
    """Whatever asks a ledger asks a loss."""
    loss = _loss(STEP * 1000)
    assert RDPAccountant().epsilon(loss, delta=1e-5) == RDPAccountant().epsilon(STEP * 1000, delta=1e-5, relation=ADD)
    assert PrivacyLoss(loss) == loss == PrivacyLoss(loss, "add_remove")
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, times=1000)
    assert loss + ledger == loss * 2 == ledger + loss
    assert loss.tradeoff().advantage == tradeoff(ledger).advantage
    assert loss.directions == compose(ledger, None)[0].directions
    least = calibrate(lambda x: STEP * 1000 + Gaussian(x), epsilon=2.0, delta=1e-5, relation="add_remove")
    assert (loss + Gaussian(least)).epsilon(1e-5) <= 2.0


def test_it_is_what_the_ledger_held_then():
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, times=1000)
    loss = PrivacyLoss(ledger)
    ledger.record(Gaussian(1.0))
    assert loss == _loss(STEP * 1000)
    assert loss != PrivacyLoss(ledger)


def test_a_refusal_leaves_everything_as_it_was():
    loss = _loss(STEP * 10)
    before = (loss.entries, loss.relation, loss.tolerance, loss.epsilon(1e-5))
    refused = [
        (RelationError, lambda: loss + _loss(Laplace(1.0), "replace_one")),
        (RelationError, lambda: loss + Ledger(relation="zero_out")),
        (RelationError, lambda: PrivacyLoss(loss, "replace_one")),
        (UnsupportedEventError, lambda: loss + RandomizedResponse(1.0)),
        (UnsupportedEventError, lambda: loss.compose(RandomizedResponse(1.0), 0 + 3)),
        (EventError, lambda: loss * -1),
        (EventError, lambda: loss * 1.5),
        (EventError, lambda: loss * 2**53),
        (EventError, lambda: loss.compose(STEP, -1)),
        (EventError, lambda: loss.compose("step")),
        (EventError, lambda: loss.epsilon(0.0)),
        (EventError, lambda: loss.delta(-1.0)),
        (EventError, lambda: loss.delta_bounds(math.nan)),
        (EventError, lambda: loss.profile([1.0, -1.0])),
        (EventError, lambda: loss.hockey_stick(math.inf)),
        (EventError, lambda: loss.hockey_stick_bounds(["1"])),
        (TypeError, lambda: loss + 3),
        (AttributeError, lambda: setattr(loss, "entries", ())),
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()
    assert (loss.entries, loss.relation, loss.tolerance, loss.epsilon(1e-5)) == before


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ((Gaussian(1.0),), RelationError, "relation must be one of"),
        ((3, "add_remove"), EventError, "what must be a Ledger, a PrivacyLoss or an event, got int"),
        ((RandomizedResponse(1.0), "add_remove"), UnsupportedEventError, "relation must be replace_one"),
        ((Gaussian(1.0), "add_remove", 1.0), EventError, "tolerance must be < 1"),
        ((Gaussian(1.0), "add_remove", 0.0), EventError, "tolerance must be > 0"),
    ],
)
def test_what_cannot_be_held_is_refused(given_, error, text):
    with pytest.raises(error, match=text):
        PrivacyLoss(*given_)


def test_values_are_hashable_and_travel():
    loss = PrivacyLoss(STEP * 10 + Laplace(1.0), "add_remove", 1e-6)
    assert pickle.loads(pickle.dumps(loss)) == loss  # noqa: S301  # it is our own
    assert len({loss, PrivacyLoss(Laplace(1.0) + STEP * 10, "add_remove", 1e-6)}) == 1
    assert loss != PrivacyLoss(STEP * 10 + Laplace(1.0), "add_remove")
    assert (loss + _loss(STEP)).tolerance == (_loss(STEP) + loss).tolerance == 1e-6
    assert (loss * 2).tolerance == (loss + STEP).tolerance == (STEP + loss).tolerance == 1e-6


@st.composite
def pairs(draw):
    """Two laws on a few atoms, as log-masses."""
    size = draw(st.integers(2, 3))
    weights = st.lists(st.integers(0, 9), min_size=size, max_size=size).filter(any)

    def law():
        chosen = draw(weights)
        return tuple(math.log(w / sum(chosen)) if w else -math.inf for w in chosen)

    return law(), law()


def test_mixtures_of_kinds_are_the_tight_accountants_too():
    event, pld = Laplace(2.0) * 3 + Gaussian(2.0), PLDAccountant()
    loss = _loss(Gaussian(2.0)) + Laplace(2.0) * 3
    assert loss.bounds(1e-5) == pld.bounds(event, delta=1e-5, relation="add_remove")
    assert loss.hockey_stick(0.5) == pld.delta(event, epsilon=0.5, relation="add_remove")


REAL = st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=3)


@settings(max_examples=20)
@given(st.lists(pairs(), min_size=1, max_size=2), st.integers(1, 2), REAL)
def test_given_pairs_hold_their_enumeration(chosen, times, epsilons):
    loss = sum((DominatingPair(*pair) for pair in chosen), _loss(STEP * 0)) * times
    lower, upper = loss.hockey_stick_bounds(epsilons)
    for epsilon, low, high in zip(epsilons, lower.tolist(), upper.tolist(), strict=True):
        truth = either_order(chosen * times, epsilon)
        room = mp.mpf(1e-12)  # masses were rounded to logarithms: each law's sum is 1 within a few EPS
        assert low <= truth + room
        assert high >= truth - room


@pytest.mark.parametrize("event", [*EVENTS[:5], DominatingPair([math.log(0.9), math.log(0.1)], [math.log(0.5)] * 2)])
def test_below_zero_it_is_the_curve_of_the_laws_themselves(event):
    """The engines know the laws' own curve below 0: the mirror image encloses the same number."""
    loss = _loss(event)
    epsilons = -np.array([0.1, 1.0, 3.0])
    lower, upper = loss.hockey_stick_bounds(epsilons)
    composition = compose(loss, None)[0]
    failure, ends = composition.slack.failure, log_deltas_of(composition, 1e-4)(epsilons)
    below, above = (failure + (1.0 - failure) * np.exp(end) for end in ends)
    assert np.all(lower <= above * (1.0 + 1e-12))
    assert np.all(below * (1.0 - 1e-12) <= upper)


@pytest.mark.parametrize("event", EVENTS[:7], ids=repr)
def test_the_mirror_image_of_the_neighbours_order(event):
    loss, epsilons = _loss(event), np.array([1e-9, 0.4, 2.0, 40.0])
    ahead, behind = loss.hockey_stick_bounds(epsilons), loss.hockey_stick_bounds(-epsilons)
    for end, mirror in zip(ahead, behind, strict=True):
        assert mirror == pytest.approx(1.0 - np.exp(-epsilons) + np.exp(-epsilons) * end, rel=1e-14)
    assert np.all(behind[0] <= behind[1])


def test_gaussians_at_any_real_epsilon():
    epsilons = np.array([-30.0, -2.0, -0.0, 0.0, 1.5, 6.0])
    lower, upper = _loss(Gaussian(2.0) * 4).hockey_stick_bounds(epsilons)
    for epsilon, low, high in zip(epsilons.tolist(), lower.tolist(), upper.tolist(), strict=True):
        truth = gaussian_delta(1.0, epsilon)
        assert low <= truth <= high <= truth * (1 + mp.mpf(1e-11))


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_the_divergence_falls_and_is_convex_in_e_to_the_epsilon(event):
    factors = np.geomspace(0.05, 20.0, 31)
    lower, upper = _loss(event).hockey_stick_bounds(np.log(factors))
    assert np.all((lower >= 0.0) & (lower <= upper) & (upper <= 1.0))
    assert np.all(np.maximum.accumulate(lower[::-1])[::-1] <= upper)
    for k in (1, 4, 9):
        share = (factors[2 * k :] - factors[k:-k]) / (factors[2 * k :] - factors[: -2 * k])
        chord = share * upper[: -2 * k] + (1.0 - share) * upper[2 * k :]
        assert np.all(lower[k:-k] <= chord * (1.0 + 1e-12))


@settings(max_examples=20)
@given(st.sampled_from(POOL), st.sampled_from(POOL), st.floats(-3.0, 6.0))
def test_composing_never_costs_less(one, other, epsilon):
    lower, _ = _loss(one).hockey_stick_bounds(epsilon)
    assert (_loss(one) + other).hockey_stick(epsilon) >= lower


def test_slack_is_in_both_ends():
    up, down, mu = 0.05, 0.02, 0.5
    lower, upper = _loss(Within(Gaussian(1 / mu), up, down)).delta_bounds(1.0)
    whole = mp.exp(mp.mpf(up)) * gaussian_delta(mu, mp.mpf(1) - mp.mpf(up) - mp.mpf(down))
    assert lower <= whole <= upper <= lower * (1.0 + 1e-12)
    failing = _loss(ApproxDP(0.5, 0.01, ADD))
    low, high = failing.delta_bounds(0.2)
    kept = (mp.exp(mp.mpf(0.5)) - mp.exp(mp.mpf(0.2))) / (1 + mp.exp(mp.mpf(0.5)))
    assert low <= mp.mpf(0.01) + (1 - mp.mpf(0.01)) * kept <= high <= low * (1.0 + 1e-12)


@pytest.mark.parametrize(
    ("steps", "epsilon"), [(1_000, 1.8282366665170906), (10_000, 6.187712389984082), (100_000, 25.57310698692916)]
)
def test_both_ends_of_delta_enclose_published_values(steps, epsilon):
    loss = _loss(STEP * steps)
    lower, upper = loss.hockey_stick_bounds(np.array([epsilon, 0.5 * epsilon, -epsilon]))
    assert lower[0] < 1e-5 < upper[0] <= lower[0] * (1.0 + 1e-4)
    below = 1.0 - math.exp(-epsilon) + math.exp(-epsilon) * 1e-5
    assert lower[2] <= below * (1.0 + 1e-14)
    assert upper[2] >= below * (1.0 - 1e-14)


def test_what_no_engine_closes_is_handed_over_at_many_epsilons(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", ())
    loss, renyi = _loss(STEP * 100), RDPAccountant()
    asked = [0.5, 1.0]
    assert loss.profile(asked).tolist() == [renyi.delta(loss, epsilon=epsilon) for epsilon in asked]
    assert loss.hockey_stick_bounds(asked)[0].tolist() == [0.0, 0.0]


def test_without_a_pair_the_lower_end_is_nothing():
    loss = _loss(ZCDP(0.1, ADD))
    assert loss.delta_bounds(1.0)[0] == 0.0
    assert loss.hockey_stick_bounds(-1.0)[0] == pytest.approx(1.0 - math.exp(-1.0), rel=1e-14)
    assert loss.delta(1.0) == RDPAccountant().delta(ZCDP(0.1, ADD), epsilon=1.0, relation=ADD)


def test_everything_and_nothing():
    nothing, everything = _loss(STEP) * 0, _loss(NonPrivate())
    assert nothing.bounds(1e-5) == (0.0, 0.0)
    assert nothing.directions == ()
    assert nothing.hockey_stick([0.0, 1.0]).tolist() == [0.0, 0.0]
    assert everything.hockey_stick([-1.0, 0.0, 50.0]).tolist() == [1.0, 1.0, 1.0]


def test_arrays_keep_their_shape_and_numbers_are_numbers():
    loss = _loss(Gaussian(1.0))
    assert type(loss.hockey_stick(-1)) is float
    assert {type(end) for end in loss.hockey_stick_bounds(np.float64(1.0))} == {float}
    asked = np.array([[-1, 0, 1], [2, 3, -4]])
    upper = loss.hockey_stick(asked)
    assert upper.shape == asked.shape
    for place in np.ndindex(asked.shape):
        assert upper[place] == loss.hockey_stick(int(asked[place]))
    assert loss.hockey_stick([]).shape == (0,)


def test_print_rounds_up():
    loss = _loss(STEP * 1000 + Laplace(5.0) * 2)
    text = str(loss)
    assert text.startswith("privacy loss under add_remove of 1002 releases of 2 kinds: epsilon <= ")
    shown = Decimal(text.split("<= ")[1].split(" ")[0])
    assert Decimal(loss.epsilon(1e-6)) <= shown <= Decimal(loss.epsilon(1e-6)) * Decimal("1.001")
    assert repr(loss) == "<PrivacyLoss under add_remove of 1002 releases of 2 kinds>"
    assert (
        str(_loss(NonPrivate()))
        == "privacy loss under add_remove of 1 release of 1 kind: epsilon <= inf at delta 1e-06"
    )


def test_plot_shows_the_band():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    for event in (STEP * 100, NonPrivate(), STEP * 0, PureDP(1.0, ADD)):
        axes = _loss(event).plot()
        assert axes.get_xlabel() == "epsilon"
        assert _loss(event).plot(axes) is axes
        pyplot.close(axes.figure)
