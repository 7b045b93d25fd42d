"""The cost of selection: against the law of the best run, by enumeration, and against the published theorem."""

import math
from itertools import pairwise, permutations

import mpmath as mp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accountants import (
    ApproxDP,
    Composed,
    DiscreteGaussian,
    DistributedDiscreteGaussian,
    DominatingPair,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
    PureDP,
    RDPAccountant,
    Relation,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
    rdp_curve,
)
from accountants.events import PrivateSelection
from accountants.fold import fold
from accountants.selection import log_inverse_gamma
from accountants.slack import Slack
from tests.oracles import selection as oracle

ADD_REMOVE = Relation.add_remove
ORDERS = (1.0 + 1e-6, 1.05, 1.5, 2.0, 3.7, 12.0, 60.0)
ROUNDING = 1e-12  # of log-masses that are floats, times orders of 60

shapes = st.sampled_from([-0.9, -0.5, 0.0, 0.5, 1.0, 4.0, math.inf])
means = st.floats(math.log(1.001), math.log(60.0)).map(math.exp)
weights = st.lists(st.floats(-6.0, 0.0), min_size=2, max_size=3)


@pytest.fixture(autouse=True)
def _digits():
    """Divergences near order 1 are small differences over small numbers."""
    with mp.workdps(30):
        yield


def _law(logs):
    top = math.log(math.fsum(math.exp(x) for x in logs))
    return tuple(x - top for x in logs)


@st.composite
def runs(draw):
    """One run's two laws: anything, or laws that are close."""
    p = draw(weights)
    spread = draw(st.sampled_from([3.0, 0.3, 0.01]))
    shift = draw(st.lists(st.floats(-spread, spread), min_size=len(p), max_size=len(p)))
    return _law(p), _law([x + y for x, y in zip(p, shift, strict=True)])


def _selected(run, mean, shape):
    """The laws of the best run in every order of the outcomes, each from both sides."""
    for order in permutations(range(len(run[0]))):
        p, q = ([mp.exp(mp.mpf(log[k])) for k in order] for log in run)
        best = [oracle.best_of(law, mean, shape) for law in (p, q)]
        yield best[0], best[1]
        yield best[1], best[0]


@settings(max_examples=12)
@given(run=runs(), mean=means, shape=shapes)
@example(run=(_law([0.0, -13.0]), _law([0.0, -16.0])), mean=20.0, shape=math.inf)  # rare, and telling
@example(run=(_law([0.0, -4.0]), _law([0.0, -7.0])), mean=50.0, shape=0.0)
@example(run=(_law([-3.0, 0.0]), _law([-6.0, 0.0])), mean=1.001, shape=4.0)
def test_selection_by_enumeration(run, mean, shape):
    curve = rdp_curve(PrivateSelection(DominatingPair(*run), mean, shape), ADD_REMOVE)
    bounds = [curve.rdp(order) for order in ORDERS]
    for p, q in _selected(run, mean, shape):
        for order, bound in zip(ORDERS, bounds, strict=True):
            assert float(oracle.renyi(p, q, order)) <= bound * (1 + 1e-9) + ROUNDING
        ratio = max(a / b for a, b in zip(p, q, strict=True) if a)
        assert float(mp.log(ratio)) <= curve.pure_epsilon * (1 + 1e-9) + ROUNDING


@settings(max_examples=4)
@given(run=runs(), mean=st.floats(0.01, 1.0), epsilon=st.floats(0.0, 3.0))
def test_poisson_with_less_than_one_run(run, mean, epsilon):
    """No run at all is an outcome too; and what the curve says about delta holds."""
    event = PrivateSelection(DominatingPair(*run), mean, math.inf)
    curve = rdp_curve(event, ADD_REMOVE)
    delta = RDPAccountant().delta(event, epsilon=epsilon, relation="add_remove")
    for p, q in _selected(run, mean, math.inf):
        for order in (1.5, 4.0, 30.0):
            assert float(oracle.renyi(p, q, order)) <= curve.rdp(order) * (1 + 1e-9) + ROUNDING
        assert float(oracle.hockey_stick(p, q, epsilon)) <= delta * (1 + 1e-9) + ROUNDING


def test_the_bound_is_near_what_is_reached():
    """A rare and telling outcome that is best: what the theorem allows is met within a fifth."""
    run = (_law([math.log1p(-0.01), math.log(0.01)]), _law([math.log1p(-0.002), math.log(0.002)]))
    for shape in (1.0, math.inf):
        curve = rdp_curve(PrivateSelection(DominatingPair(*run), 2.0, shape), ADD_REMOVE)
        for order in (1.0 + 1e-6, 1.5, 20.0):
            worst = max(float(oracle.renyi(p, q, order)) for p, q in _selected(run, 2.0, shape))
            assert worst <= curve.rdp(order) <= 1.2 * worst


def test_the_pure_bound_is_reached():
    """Where more than 1/mean is above an outcome in favour of the other law, and the outcome itself tells too."""
    rest = 1.0 - 0.1 - 1e-6, 1.0 - 0.1 * math.exp(0.5) - 1e-6 * math.exp(-0.5)
    here, there = (rest[0], 1e-6, 0.1), (rest[1], 1e-6 * math.exp(-0.5), 0.1 * math.exp(0.5))
    for shape in (0.0, 1.0, 4.0):
        p, q = (oracle.best_of([mp.mpf(mass) for mass in law], 1e6, shape) for law in (here, there))
        event = PrivateSelection(PureDP(0.5, "add_remove"), 1e6, shape)
        told, pure = float(mp.log(p[2] / q[2])), rdp_curve(event, ADD_REMOVE).pure_epsilon
        assert 0.9 * pure <= told <= pure
        assert pure <= (2.0 + shape) * 0.5 * (1 + 1e-12)


def test_many_poisson_runs_are_bounded_and_nearly_reach_it():
    """The likely winner under the one law is not that under the other: delta of one run counts as often as it runs."""
    here, there = (0.82, 0.16, 0.02), (0.55, 0.43, 0.02)
    event = PrivateSelection(DominatingPair(*(tuple(map(math.log, law)) for law in (here, there))), 48.0, math.inf)
    p, q = (oracle.best_of([mp.mpf(mass) for mass in law], 48.0, math.inf) for law in (here, there))
    told = float(oracle.renyi(p, q, 2.67))
    assert told <= rdp_curve(event, ADD_REMOVE).rdp(2.67) <= 1.6 * told


def test_small_costs_grow_with_the_mean():
    """The best of K runs costs E[K] of them where that is little, and not log E[K] / (order - 1) more."""
    for mean, shape in ((5.0, 1.0), (5.0, 0.0), (5.0, math.inf), (0.2, math.inf)):
        one = rdp_curve(Gaussian(1e4), ADD_REMOVE).rdp(2.0)
        selected = rdp_curve(PrivateSelection(Gaussian(1e4), mean, shape), ADD_REMOVE).rdp(2.0)
        assert mean * one * (1 - 1e-6) <= selected <= mean * one * (1 + 1e-3)


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("run", [Gaussian(3.0), Laplace(2.0), PoissonSampled(Gaussian(1.0), 0.01) * 200])
def test_never_above_the_published_theorem(run, shape):
    orders = [1.0 + x / 4 for x in range(1, 40)] + [12.0, 16.0, 32.0, 64.0, 256.0]
    folded = fold([(run, 1)]).parts
    one = [sum(n * rdp_curve(part, ADD_REMOVE).rdp(order) for part, n in folded) for order in orders]
    ours = rdp_curve(PrivateSelection(run, 8.0, shape), ADD_REMOVE)
    for order, theirs in zip(orders, oracle.published(orders, one, 8.0, shape), strict=True):
        assert ours.rdp(order) <= float(theirs) * (1 + 1e-9)


@pytest.mark.parametrize("shape", [1.0, 0.0, math.inf])
def test_the_best_gaussian_of_many(shape):
    """The largest of K Gaussian scores, by its density: below the bound, and not far below."""
    z, mean, epsilon = 3.0, 10.0, 1.0
    delta = RDPAccountant().delta(PrivateSelection(Gaussian(z), mean, shape), epsilon=epsilon, relation="add_remove")
    _, slope = oracle.generating(mean, shape)

    def density(x, centre):
        return mp.npdf(x, centre / z) * slope(mp.ncdf(x - centre / z))

    def gain(x, sign):
        here, there = (density(x, 1), density(x, 0)) if sign > 0 else (density(x, 0), density(x, 1))
        return max(mp.mpf(0), here - mp.exp(epsilon) * there)

    for sign in (1, -1):
        nodes = [mp.mpf(k) / 50 for k in range(-500, 551)]
        truth = mp.fsum(gain(x, sign) for x in nodes) / 50  # a kink costs its square: 1e-4 of what is there
        assert 0.0 < float(truth) <= delta * (1 + 1e-3)


def test_gamma_of_laws_whose_mean_is_simple():
    """Geometric: 1/gamma; logarithmic: (1/gamma - 1) / log(1/gamma)."""
    for mean in (1.5, 10.0, 1e6):
        assert math.log(mean) <= log_inverse_gamma(mean, 1.0) <= math.log(mean) * (1 + 1e-12)
        found = log_inverse_gamma(mean, 0.0)
        assert mean * (1 - 1e-15) <= math.expm1(found) / found <= mean * (1 + 1e-12)


@settings(max_examples=10)
@given(mean=means, shape=shapes.filter(math.isfinite))
def test_gamma_is_that_of_the_mean_or_less(mean, shape):
    found = log_inverse_gamma(mean, shape)
    truth = -mp.log(oracle.gamma(mp.mpf(mean), shape))
    assert float(truth) <= found * (1 + 1e-15)
    assert found <= float(truth) * (1 + 1e-12 / (1 + shape)) + 1e-13 / (1 + shape)


def test_a_shape_that_no_float_can_serve_costs_everything():
    assert log_inverse_gamma(2.0, math.nextafter(-1.0, 0.0)) == math.inf
    event = PrivateSelection(Gaussian(1.0), 2.0, math.nextafter(-1.0, 0.0))
    assert RDPAccountant().epsilon(event, delta=1e-6, relation="add_remove") == math.inf


@pytest.mark.parametrize(("mean", "shape"), [(3.0, 1.0), (3.0, 0.0), (2.0, -0.5), (4.0, 2.5), (2.5, math.inf)])
def test_the_oracle_draws_from_the_law_that_the_event_states(mean, shape):
    most = 600
    law = oracle.masses(mean, shape, most)
    f, slope = oracle.generating(mean, shape)
    assert float(mp.fsum(law)) == pytest.approx(1.0, abs=1e-12)
    assert float(mp.fsum(k * mass for k, mass in enumerate(law))) == pytest.approx(mean, rel=1e-9)
    for x in (mp.mpf("0.3"), mp.mpf("0.9")):
        assert float(f(x) - mp.fsum(mass * x**k for k, mass in enumerate(law))) == pytest.approx(0.0, abs=1e-12)
        assert float(slope(x) - mp.diff(f, x)) == pytest.approx(0.0, abs=1e-8)


# slack


@settings(max_examples=20)
@given(
    run=runs(),
    mean=means,
    shape=shapes,
    a=st.floats(0.0, 0.5),
    b=st.floats(0.0, 0.5),
    data=st.data(),
)
def test_slack_of_a_run_by_enumeration(run, mean, shape, a, b, data):
    """One run's law moves within its slack: the selected law moves within the slack that fold gives."""
    law = [mp.exp(mp.mpf(x)) for x in run[0]]
    size = len(law)
    moved = [mass * mp.exp(data.draw(st.floats(-b, a))) for mass in law]
    moved[-1] += 1 - mp.fsum(moved)
    ends = [float(mp.log(x / y)) for x, y in zip(moved, law, strict=True) if x > 0]
    if len(ends) == size:
        up, down = max(0.0, *ends), max(0.0, *(-end for end in ends))
        event = PrivateSelection(Within(Gaussian(1.0), up, down), mean, shape)
        slack = fold([(event, 1)]).slack
        best, other = (oracle.best_of(each, mean, shape) for each in (moved, law))
        found = [float(mp.log(x / y)) for x, y in zip(best, other, strict=True) if y > 0]
        assert max(found) <= slack.up + 1e-12
        assert -min(found) <= slack.down + 1e-12
    shifted = [(1 - mp.mpf("0.125")) * mass for mass in law]
    shifted[0] += mp.mpf("0.125")
    distance = mp.fsum(abs(x - y) for x, y in zip(shifted, law, strict=True)) / 2
    best, other = (oracle.best_of(each, mean, shape) for each in (shifted, law))
    assert mp.fsum(abs(x - y) for x, y in zip(best, other, strict=True)) / 2 <= mean * distance * (1 + 1e-12)


def test_slack_passes_outside_of_a_selection():
    within = fold([(PrivateSelection(Within(Gaussian(2.0), 0.25, 0.5), 8.0, 1.0), 3)])
    assert within.parts == ((PrivateSelection(Gaussian(2.0), 8.0, 1.0), 3),)
    assert within.slack.up == pytest.approx(3 * (0.25 + 2 * 0.5), rel=1e-14)
    assert within.slack.down == pytest.approx(3 * (0.5 + 2 * 0.25), rel=1e-14)
    poisson = fold([(PrivateSelection(Within(Gaussian(2.0), 0.25, 0.0), 8.0, math.inf), 1)]).slack
    assert (poisson.up, poisson.down) == pytest.approx((0.25, 8 * 0.25), rel=1e-14)
    cut = TruncatedPoissonSampled(Gaussian(1.0), 0.01, 10_000, 150)
    one, best = fold([(cut, 1)]).slack, fold([(PrivateSelection(cut, 8.0, 0.5), 1)]).slack
    assert best == Slack(distance=best.distance)
    assert 8 * one.distance <= best.distance <= 8 * one.distance * (1 + 1e-14)


@pytest.mark.parametrize(
    "run",
    [
        ApproxDP(1.0, 1e-9, "add_remove"),
        NonPrivate(),
        PoissonSampled(ApproxDP(1.0, 1e-9, "add_remove"), 0.1) + Gaussian(1.0),
        TruncatedPoissonSampled(Gaussian(1.0), 0.01, 10_000, 150) + Within(Gaussian(1.0), 1e-9, 0.0),
    ],
)
def test_runs_that_may_fail_are_refused(run):
    event = PrivateSelection(run, 4.0)
    with pytest.raises(UnsupportedEventError, match="state what one run costs as PureDP, ZCDP or RDPCurve") as caught:
        fold([(event, 1)])
    assert caught.value.event == event
    assert not RDPAccountant().supports(event)


def test_a_pair_that_gives_a_record_away_is_refused():
    lost = DominatingPair((math.log(0.6), math.log(0.4), -math.inf), (math.log(0.4), math.log(0.5), math.log(0.1)))
    with pytest.raises(UnsupportedEventError, match="must have a Rényi curve of its own, got DominatingPair"):
        rdp_curve(PrivateSelection(lost, 4.0), ADD_REMOVE)


def test_what_a_selection_is_made_of():
    run = Gaussian(2.0) + Laplace(1.0)
    assert fold([(PrivateSelection(run, 1.0, 0.5), 2)]).parts == fold([(run, 2)]).parts  # one run
    assert fold([(PrivateSelection(Composed(()), 7.0), 2)]) == fold([])
    assert fold([(PrivateSelection(Gaussian(2.0) * 3 + Gaussian(2.0), 7.0), 1)]).parts == (
        (PrivateSelection(Gaussian(2.0) * 4, 7.0), 1),
    )
    once = PrivateSelection(Gaussian(2.0), 1.0, math.inf)
    assert fold([(once, 1)]).parts == ((once, 1),)  # a Poisson number of runs of mean 1 is not one run
    inside = PrivateSelection(Group(run, 3), 7.0)
    assert fold([(Group(PrivateSelection(run, 7.0), 3), 1)]) == fold([(inside, 1)])
    grouped = fold([(Group(run, 3), 1)]).parts
    assert fold([(inside, 1)]).parts == ((PrivateSelection(grouped[0][0] + grouped[1][0], 7.0), 1),)


def test_a_batch_around_a_selection_is_refused():
    event = PrivateSelection(Gaussian(1.0), 2.0)
    with pytest.raises(UnsupportedEventError, match="record it unsampled, which is always an upper bound"):
        fold([(PoissonSampled(event, 0.1), 1)])
    with pytest.raises(UnsupportedEventError, match="record it unsampled in a ledger about replace_one"):
        fold([(FixedSizeSampled(event, 100, 10), 1)])


def test_lattice_noise_in_a_run():
    """Shares have slack; a discrete Gaussian that only smoothing makes accountable is smoothed inside too."""
    shares = DistributedDiscreteGaussian(8.0, 9, 16.0, 10)
    plain = RDPAccountant().epsilon(shares, delta=1e-6, relation="add_remove")
    best = RDPAccountant().epsilon(PrivateSelection(shares, 4.0), delta=1e-6, relation="add_remove")
    assert plain < best < math.inf
    mixed = PoissonSampled(DiscreteGaussian(40.0, 20.0, dim=3), 0.1)
    assert RDPAccountant().supports(PrivateSelection(mixed, 4.0), relation="add_remove")
    replaced = RDPAccountant().epsilon(PrivateSelection(mixed, 4.0), delta=1e-6, relation="replace_one")
    assert RDPAccountant().epsilon(mixed, delta=1e-6, relation="replace_one") < replaced < math.inf


def test_the_relation_is_that_of_the_run():
    near, far = (
        RDPAccountant().epsilon(PrivateSelection(Gaussian(4.0), 5.0), delta=1e-6, relation=r)
        for r in ("add_remove", "replace_one")
    )
    half = RDPAccountant().epsilon(PrivateSelection(Gaussian(2.0), 5.0), delta=1e-6, relation="add_remove")
    assert near < far == half
    event = PrivateSelection(PureDP(1.0, "zero_out"), 5.0)
    assert RDPAccountant().supports(event, relation="zero_out")
    assert not RDPAccountant().supports(event, relation="add_remove")


def test_pure_runs_have_a_pure_best():
    for shape, most in ((1.0, 3.0), (0.0, 2.0), (math.inf, 1.0 + 6.0 * math.tanh(0.125) / 0.25)):
        event = PrivateSelection(PureDP(0.25, "add_remove"), 6.0, shape)
        epsilon = RDPAccountant().epsilon(event, delta=1e-300, relation="add_remove")
        assert 0.25 < epsilon <= most * 0.25 * (1 + 1e-12)
        assert RDPAccountant().delta(event, epsilon=epsilon * (1 + 1e-12), relation="add_remove") == 0.0


def test_more_runs_cost_more_and_no_less_than_one():
    one = RDPAccountant().epsilon(Gaussian(2.0), delta=1e-6, relation="add_remove")
    for shape in (-0.5, 0.0, 1.0, 3.0):
        costs = [
            RDPAccountant().epsilon(PrivateSelection(Gaussian(2.0), mean, shape), delta=1e-6, relation="add_remove")
            for mean in (1.0, 1.0 + 1e-9, 1.1, 2.0, 10.0, 1e3, 1e6)
        ]
        assert one == costs[0]
        assert all(fewer <= more * (1 + 1e-9) for fewer, more in pairwise(costs))


def test_the_tight_accountant_hands_over():
    event = PrivateSelection(Gaussian(3.0), 10.0)
    shown = PLDAccountant().certify(event, delta=1e-6, relation="add_remove")
    assert shown.lower == 0.0
    assert shown.upper == RDPAccountant().epsilon(event, delta=1e-6, relation="add_remove")
    assert shown.upper_from == str(RDPAccountant())
