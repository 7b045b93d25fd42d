"""Trade-off curves: below every test that exists, rounded to the safe side, and tight where the curve is exact."""

import math
import sys
from fractions import Fraction

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
    Gaussian,
    GDPAccountant,
    Laplace,
    Ledger,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
    PureDP,
    Relation,
    RelationError,
    Skellam,
    UnsupportedEventError,
    Within,
)
from accountants._numerics import EPS
from accountants.testing import EVENTS
from accountants.tradeoff import TradeOff, tradeoff
from tests.oracles.tradeoff import composed, gaussian, hull, neyman_pearson, stated

STEP = PoissonSampled(Gaussian(1.0), 0.01)
ALPHAS = (1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)
RATES = st.floats(0.0, 1.0)
COUNTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=4).filter(
    lambda rows: sum(p for p, _ in rows) and sum(q for _, q in rows)
)


def under_add_remove(event):
    return tradeoff(event, "add_remove")


# below every test


def laws(counts):
    """Two laws with masses in proportion to counts; where neither has mass there is no outcome."""
    rows = [row for row in counts if any(row)]
    totals = [sum(row[side] for row in rows) for side in (0, 1)]
    return [[Fraction(row[side], totals[side]) for row in rows] for side in (0, 1)]


def logs(law):
    return tuple(math.log(mass) if mass else -math.inf for mass in law)


@settings(max_examples=40)
@given(COUNTS, st.integers(1, 4), RATES)
def test_no_test_beats_the_curve(counts, times, alpha):
    """Neyman-Pearson in both orders, in fractions. Logarithms of masses are floats: that moves each law by 1e-14."""
    p, q = laws(counts)
    found = tradeoff(DominatingPair(logs(p), logs(q)) * times, "add_remove", tolerance=1e-2)
    p, q = composed(p, times), composed(q, times)
    moved = Fraction(times * 16, 10**15)  # |log mass| <= log 20 < 4: each mass is off by 4 EPS, and so are their sums
    beta, tpr = Fraction(found.beta(alpha)), Fraction(found.tpr(alpha))
    for one, other in ((p, q), (q, p)):
        least = neyman_pearson(one, other, alpha)
        assert beta <= least + moved
        assert tpr >= 1 - least - moved
        gained = sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
        assert Fraction(found.advantage) >= gained - moved
        prior = Fraction(alpha)
        risk = sum(min(prior * a, (1 - prior) * b) for a, b in zip(one, other, strict=True))
        assert Fraction(found.bayes_risk(alpha)) <= risk + moved
    if times == 1:  # whose curve is exact; of several, any two laws have
        assert beta >= hull(p, q, Fraction(alpha)) - Fraction(1, 10**9)


@pytest.mark.parametrize("event", [Gaussian(0.7), Laplace(0.7), STEP], ids=repr)
def test_thresholds_on_one_release_do_not_beat_the_curve(event):
    """With probability q the record is there; a test that looks at one side of the line, in closed form."""
    found = under_add_remove(event)
    q = event.sampling_prob if event == STEP else 1.0
    inner = event.event if event == STEP else event
    z = inner.noise_multiplier

    def above(x):
        if isinstance(inner, Gaussian):
            return mp.ncdf(-mp.mpf(x) / z)
        return mp.exp(-mp.mpf(x) / z) / 2 if x >= 0 else 1 - mp.exp(mp.mpf(x) / z) / 2

    for x in np.linspace(-3.0, 4.0, 29).tolist():
        with mp.workdps(40):
            without, present = above(x), (1 - q) * above(x) + q * above(x - 1.0)
            for fpr, tpr in ((without, present), (1 - present, 1 - without)):
                rate = math.nextafter(float(fpr), 1.0)  # with more false positives a test does at least as well
                assert found.tpr(rate) >= tpr
                assert found.beta(rate) <= 1 - tpr
            assert found.advantage >= present - without


# rounded to the safe side


def one_guarantee(epsilon, delta):
    """The curve of which only one point is known; the search looks there, as the epsilon is on its grid."""
    return TradeOff(lambda asked: delta if asked >= epsilon else 1.0, Relation.add_remove)


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0, 4.0])
def test_beta_is_rounded_down(epsilon):
    found = one_guarantee(epsilon, 0.1)
    for alpha in np.random.default_rng(1).random(100).tolist():
        with mp.workdps(40):
            exact = stated(epsilon, 0.1, alpha)
            assert exact - mp.mpf(10) ** -14 <= found.beta(alpha) <= exact


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0, 4.0])
def test_tpr_is_rounded_up(epsilon):
    found = one_guarantee(epsilon, 1e-9)
    for fpr in np.concatenate([np.random.default_rng(2).random(50), np.geomspace(1e-300, 1.0, 50)]).tolist():
        with mp.workdps(40):
            exact = 1 - stated(epsilon, 1e-9, fpr)
            assert exact <= found.tpr(fpr) <= min(1, exact * (1 + mp.mpf(10) ** -14))


def test_advantage_is_rounded_up():
    assert one_guarantee(0.0, 0.3).advantage == 0.3
    for mu in np.random.default_rng(3).uniform(0.01, 8.0, 50).tolist():
        with mp.workdps(40):
            separation = 1 / mp.mpf(1.0 / mu)
            exact = mp.erf(separation / mp.sqrt(8))
            assert exact <= under_add_remove(Gaussian(1.0 / mu)).advantage <= exact * (1 + mp.mpf(10) ** -13)


def test_bayes_risk_is_rounded_down():
    """Of a curve that is known with many digits, rounded up."""

    def delta(epsilon):
        with mp.workdps(40):
            x, top = mp.exp(mp.mpf(epsilon)), mp.exp(mp.mpf(1.5))
            return math.nextafter(float(max(mp.mpf(0), (top - x) / (top + 1))), 1.0)

    found = TradeOff(delta, Relation.add_remove)
    for prior in np.concatenate([np.random.default_rng(4).random(60), np.geomspace(1e-3, 0.5, 20)]).tolist():
        with mp.workdps(40):
            smaller = min(mp.mpf(prior), 1 - mp.mpf(prior))
            x, top = (1 - smaller) / smaller, mp.exp(mp.mpf(1.5))
            exact = smaller * (1 - max(mp.mpf(0), (top - x) / (top + 1)))
            assert exact * (1 - mp.mpf(10) ** -14) <= found.bayes_risk(prior) <= exact


def test_what_is_no_upper_bound_of_a_probability_counts_as_one():
    for value in (math.nan, math.inf, 2.0, -0.1):
        found = TradeOff(lambda _, value=value: value, Relation.add_remove)
        assert (found.beta(0.0), found.tpr(0.0), found.advantage, found.bayes_risk(0.5)) == (0.0, 1.0, 1.0, 0.0)


# tight


@pytest.mark.parametrize("mu", [1e-6, 0.01, 0.5, 1.0, 2.0, 5.0])
def test_gaussians_come_out_of_the_general_path(mu):
    found, separation = under_add_remove(Gaussian(1.0 / mu)), Fraction(1) / Fraction(1.0 / mu)
    for alpha in ALPHAS:
        with mp.workdps(50):
            exact = gaussian(separation, alpha)
            assert exact * (1 - mp.mpf(10) ** -12) <= found.beta(alpha) <= exact
            assert 1 - exact <= found.tpr(alpha) <= (1 - exact) * (1 + mp.mpf(10) ** -12)


def test_composed_gaussians_are_one():
    parts, whole = Gaussian(3.0) * 5 + Gaussian(1.5), Gaussian(1.0 / math.sqrt(5.0 / 9.0 + 4.0 / 9.0))
    assert under_add_remove(parts).beta(0.1) == pytest.approx(under_add_remove(whole).beta(0.1), rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.01, 0.7, 1.0, 3.3, 20.0])
@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.2])
def test_a_stated_guarantee_is_its_own_two_lines(epsilon, delta):
    event = ApproxDP(epsilon, delta, Relation.add_remove) if delta else PureDP(epsilon, Relation.add_remove)
    found = under_add_remove(event)
    for alpha in (0.0, *ALPHAS, 1.0):
        with mp.workdps(40):
            exact = stated(epsilon, delta, alpha)
            assert exact - mp.mpf(10) ** -12 <= found.beta(alpha) <= exact
    assert found.beta(1.0) == 0.0


def test_ends():
    assert under_add_remove(PureDP(5000.0, "add_remove")).beta(0.0) == 1.0  # no outcome gives the record away
    assert under_add_remove(Gaussian(0.001)).tpr(0.0) <= 1e-300
    assert 1.0 - 2e-9 <= under_add_remove(ApproxDP(1.0, 1e-9, "add_remove")).beta(0.0) <= 1.0 - 1e-9
    nothing = tradeoff(Ledger(relation="zero_out"))
    assert nothing.beta(0.25) == pytest.approx(0.75, rel=1e-14)
    assert (nothing.advantage, nothing.bayes_risk(0.25)) == (0.0, pytest.approx(0.25, rel=1e-14))
    everything = under_add_remove(NonPrivate())
    assert (everything.beta(0.0), everything.tpr(0.0), everything.advantage) == (0.0, 1.0, 1.0)
    assert everything.bayes_risk(0.5) == 0.0


def test_slack_and_failures_are_in_it():
    """Within: the log-ratio may be anywhere in its interval, so that two outcomes of ratio e^0.2 have that of e^0.3."""
    assert under_add_remove(Within(PureDP(0.2, "add_remove"), 0.05, 0.05)).beta(0.1) <= stated(0.2, 0.0, 0.1) - 0.01
    failing = under_add_remove(ApproxDP(0.0, 0.1, "add_remove") * 2)
    assert failing.beta(0.0) == pytest.approx(0.81, rel=1e-12)


def test_the_central_limit_is_not_the_curve():
    """1000 steps, z = 0.8, q = 0.005: the central limit's curve lies above the truth where it matters, by a half."""
    mu = math.sqrt(1000 * 0.005**2 * math.expm1(1.0 / 0.8**2))
    found = under_add_remove(PoissonSampled(Gaussian(0.8), 0.005) * 1000)
    estimate = 1 - gaussian(mu, 1e-6)
    assert found.tpr(1e-6) > 1.5 * estimate
    # and the truth is above the estimate: what epsilon 1 would allow is bounded below by the certified delta
    assert found.advantage < float(mp.erf(mu / mp.sqrt(8)))


# shape


@pytest.mark.parametrize(
    "event",
    [
        Gaussian(1.0),
        STEP * 300,
        Laplace(0.5),
        PureDP(0.3, "add_remove") * 5,
        ZCDP(0.1, "add_remove") * 3,
        Skellam(100.0, 5.0, 5.0),
    ],
    ids=repr,
)
def test_the_curve_is_convex_falling_and_its_own_inverse(event):
    """To the search's accuracy: 1e-9 where an engine answers; a Rényi curve is found at one order, to 1e-6."""
    found, slack = under_add_remove(event), 2e-6 if isinstance(event, Skellam) else 1e-9
    alphas = np.linspace(0.0, 1.0, 41)
    betas = found.beta(alphas)
    assert np.all(np.diff(betas) <= slack)
    assert np.all(betas[:-2] + betas[2:] - 2.0 * betas[1:-1] >= -slack)
    assert np.all(betas <= 1.0 - alphas)
    for alpha, beta in zip(alphas[1:20], betas[1:20], strict=True):
        steepest = beta / alpha if alpha else 1.0  # of a convex curve between (alpha, beta) and (1, 0), inverted
        assert abs(found.beta(float(beta)) - alpha) <= slack * (1.0 + 1.0 / steepest) + slack


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.kind.__name__)
@pytest.mark.parametrize("relation", Relation)
def test_every_event_has_a_sane_curve(row, relation):
    accountant = PLDAccountant()
    event = row.examples[0]
    if not accountant.supports(event, relation=relation):
        with pytest.raises(UnsupportedEventError):
            tradeoff(event, relation)
        return
    found, alphas = tradeoff(event, relation), np.array([0.0, 0.05, 1.0])
    betas, tprs, risks = found.beta(alphas), found.tpr(alphas), found.bayes_risk(alphas)
    assert np.all((betas >= 0.0) & (betas <= 1.0 - alphas) & (tprs <= 1.0))
    assert np.all(np.abs(betas + tprs - 1.0) <= 4.0 * EPS)
    assert np.all(tprs - alphas <= found.advantage + 16.0 * EPS)
    assert np.all((risks >= 0.0) & (risks <= np.minimum(alphas, 1.0 - alphas)))
    assert (betas[-1], tprs[-1], risks[0], risks[-1]) == (0.0, 1.0, 0.0, 0.0)
    more = tradeoff(event + Gaussian(2.0), relation)  # to what is found of each, 1e-6 at the worst
    assert more.beta(0.05) <= betas[1] + 1e-6
    noisier = row.noisier(event)
    if accountant.supports(noisier, relation=relation):
        assert tradeoff(noisier, relation).beta(0.05) >= betas[1] - 1e-6


GRID = np.linspace(0.0, 1.0, 41)


@pytest.mark.parametrize(
    "event", [Gaussian(0.5), STEP * 300, PureDP(0.3, "add_remove") * 5, ZCDP(0.2, "add_remove")], ids=repr
)
def test_bayes_risk_is_the_least_weighted_error(event):
    """The definition on a grid of alphas: never below the risk, and between two points no error moves by more."""
    found = under_add_remove(event)
    betas = found.beta(GRID)
    for prior in (0.0, 1e-9, 0.02, 0.3, 0.5, 0.6, 0.97, 1.0):
        least = float(np.min((1.0 - prior) * GRID + prior * betas))
        risk = found.bayes_risk(prior)
        assert least - 1.0 / 40.0 <= risk <= least + 1e-9
        assert found.bayes_risk(1.0 - prior) == pytest.approx(risk, abs=1e-12)


# what goes in and comes out


def test_scalars_and_arrays():
    found = under_add_remove(Gaussian(1.0))
    for ask in (found.beta, found.tpr, found.bayes_risk):
        assert type(ask(0.25)) is type(ask(1)) is type(ask(np.float32(0.25))) is float
        grid = ask(np.array([[0.1, 0.2, 0.3]]))
        assert grid.shape == (1, 3) and grid.dtype == np.float64
        assert grid.tolist() == [[ask(0.1), ask(0.2), ask(0.3)]]
        assert ask([]).shape == (0,) and ask(np.array(0.5)).shape == ()


@pytest.mark.parametrize(
    "bad", [-0.1, 1.5, math.nan, math.inf, "0.1", None, True, [0.1, 2.0], [True], [[0.1], [0.1, 0.2]]]
)
def test_bad_rates_are_refused_by_name(bad):
    found = under_add_remove(Gaussian(1.0))
    for ask, name in ((found.beta, "alpha"), (found.tpr, "fpr"), (found.bayes_risk, "prior")):
        with pytest.raises(EventError, match=rf"{name} must be .*, got .*"):
            ask(bad)


def test_what_and_relation_are_checked():
    ledger = Ledger(relation="add_remove")
    ledger.record(Gaussian(1.0))
    assert tradeoff(ledger).relation is tradeoff(ledger, "add_remove").relation is Relation.add_remove
    with pytest.raises(RelationError):
        tradeoff(ledger, "replace_one")
    with pytest.raises(RelationError):
        tradeoff(Gaussian(1.0))
    with pytest.raises(RelationError):
        TradeOff(lambda epsilon: 0.0, "neighbour")
    with pytest.raises(EventError, match="what must be"):
        tradeoff(3.0)
    with pytest.raises(EventError, match="delta must be a function of epsilon, got float"):
        TradeOff(3.0, "add_remove")
    with pytest.raises(UnsupportedEventError):
        tradeoff(PureDP(1.0, "replace_one"), "add_remove")


def test_a_ledger_that_grows_leaves_it_as_it_was():
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, times=100)
    found, before = tradeoff(ledger), tradeoff(ledger).beta(0.1)
    ledger.record(NonPrivate())
    assert found.beta(0.1) == before
    assert tradeoff(ledger).beta(0.1) == 0.0


def test_relations_differ():
    replaced, removed = tradeoff(Gaussian(1.0), "replace_one"), under_add_remove(Gaussian(1.0))
    assert replaced.beta(0.1) == pytest.approx(float(gaussian(2, 0.1)), rel=1e-12)
    assert replaced.beta(0.1) < removed.beta(0.1)


def test_mu_of_the_gaussian_accountant_says_the_same():
    mu = GDPAccountant().mu(Gaussian(7.0) * 10, relation="add_remove")
    assert under_add_remove(Gaussian(7.0) * 10).beta(0.05) == pytest.approx(float(gaussian(mu, 0.05)), rel=1e-12)


def test_it_shows_itself_rounded_up():
    found = one_guarantee(0.0, 0.1230001)
    assert repr(found) == "<TradeOff under add_remove: advantage <= 0.124>"
    assert str(found).endswith("advantage <= 0.124, TPR <= 0.134 at FPR 0.01, <= 0.125 at FPR 0.001")
    assert repr(one_guarantee(0.0, 1.1e-9)) == "<TradeOff under add_remove: advantage <= 1.10e-9>"
    assert repr(one_guarantee(0.0, 0.0)) == "<TradeOff under add_remove: advantage <= 0>"


def test_plot_draws_what_beta_says():
    figure = pytest.importorskip("matplotlib.figure")
    found, axes = under_add_remove(Gaussian(1.0)), figure.Figure().subplots()
    assert found.plot(ax=axes) is axes
    drawn = axes.lines[0].get_xydata()
    sharp = found.beta(drawn[:, 0])
    assert np.all(drawn[:, 1] <= sharp + 1e-12)
    assert np.all(drawn[:, 1] >= sharp - 2e-4)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "false negative rate")


def test_plot_makes_a_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    axes = one_guarantee(1.0, 0.0).plot()
    assert axes.figure.number in pyplot.get_fignums()
    pyplot.close(axes.figure)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="matplotlib must be installed to plot"):
        under_add_remove(Gaussian(1.0)).plot()
