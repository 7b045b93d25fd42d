"""How each kind of row in the table of accounting values is put to the package, and what must hold of the answer.

A check is registered for (mechanism, ask). Exact values must lie in what we certify, which must be narrow; a peer's
upper bound may not be below ours, a peer's lower bound not above it; estimates hold to their stated error.
"""

import math

import pytest

from accountants import Gaussian, Laplace, PLDAccountant, PoissonSampled, RDPAccountant, Relation
from accountants.composition import Composition, compose, epsilon_of, log_delta_of
from accountants.events import (
    ZCDP,
    ApproxDP,
    DiscreteGaussian,
    DiscreteLaplace,
    FixedSizeSampled,
    Group,
    PureDP,
)
from accountants.fold import fold
from accountants.gdp import GDPAccountant
from accountants.pairs import dominating_pairs
from accountants.profile import log_delta_bounds
from accountants.slack import Slack
from accountants.zcdp import ZCDPAccountant
from tests.conformance.vector_events import (
    ABADI_ORDERS,
    GOOGLE_ORDERS,
    TENSORFLOW_ORDERS,
    discrete_gaussian,
    laplace,
    responses,
    sampled,
    sampled_laplace,
)

PLD = PLDAccountant()
ADD_REMOVE, REPLACE_ONE = Relation.add_remove, Relation.replace_one
GAP = 1e-4  # relative width that the tight accountant promises
FINE = 1e-8  # what is asked of an engine where a row has nine digits or more
ROUNDING = 1e-15  # of delta, in the Fourier transforms behind a peer's bounds
SIDES = {"remove": 0, "add": -1}  # of the pairs of an event; a symmetric one has one

CHECKS = {}


def check(mechanism, *asks):
    """Register a check for the rows of one mechanism that ask one of these."""

    def register(function):
        for ask in asks:
            if (mechanism, ask) in CHECKS:
                raise ValueError(f"two checks for {mechanism}, {ask}")
            CHECKS[mechanism, ask] = function
        return function

    return register


# what must hold


def holds(interval, value, slack, gap):
    """The interval holds the value to its stated error, and is no wider than the gap."""
    lower, upper = interval
    assert 0.0 <= lower <= upper
    assert lower <= value + slack
    assert upper >= value - slack
    assert upper - lower <= gap


def exact(event, row, relation=ADD_REMOVE, gap=GAP):
    """The value lies in our bounds, which are narrow."""
    interval = PLD.bounds(event, delta=row.at["delta"], relation=relation)
    holds(interval, row.value, row.slack, max(2 * row.slack, gap * row.value))


def one_way(event, row):
    """log delta of one release in one direction, both ends."""
    pair = dominating_pairs(event, ADD_REMOVE)[SIDES[row.params.get("direction", "remove")]]
    return log_delta_bounds(pair, row.at["eps"])


def one_way_epsilon(event, row):
    """epsilon of a composition in the row's direction, both ends, as narrow as its engine can."""
    side = SIDES[row.params["direction"]]
    parts = fold([(event, 1)]).parts
    direction = tuple((dominating_pairs(core, ADD_REMOVE)[side], times) for core, times in parts)
    composition, log_delta = Composition((direction,), True, Slack()), math.log(row.at["delta"])
    shown = [epsilon_of(composition, log_delta, tolerance) for tolerance in (GAP, FINE)]
    return max(one.lower for one in shown), min(one.upper for one in shown)


def peer_upper(event, row, relation=ADD_REMOVE):
    """Ours is at most the peer's upper bound, or as near as it was asked to be; gives our lower end."""
    lower, upper = PLD.bounds(event, delta=row.at["delta"], relation=relation)
    if upper > row.value + row.slack:
        lower, upper = PLDAccountant(tolerance=GAP / 100).bounds(event, delta=row.at["delta"], relation=relation)
    assert 0.0 <= lower <= upper <= (row.value + row.slack) * (1 + GAP / 100)
    return lower


# closed forms


@check("gaussian", "log_delta")
def _(row):
    holds_log(one_way(Gaussian(row.params["noise_multiplier"]), row), row.value, row.slack)


@check("poisson-subsampled gaussian", "log_delta")
def _(row):
    holds_log(one_way(sampled(row).event, row), row.value, row.slack)


@check("laplace", "delta")
def _(row):
    holds_delta(one_way(laplace(row).event, row), row)


@check("poisson-subsampled laplace", "delta")
def _(row):
    holds_delta(one_way(sampled_laplace(row).event, row), row)


@check("discrete gaussian", "delta")
def _(row):
    holds_delta(one_way(discrete_gaussian(row).event, row), row)


def holds_log(interval, value, slack):
    """The same for log delta <= 0."""
    lower, upper = interval
    assert lower <= upper
    assert value - slack <= upper <= value + slack
    assert value - slack <= lower <= value + slack


def holds_delta(interval, row):
    holds([math.exp(end) for end in interval], row.value, row.slack, 2 * row.slack)


@check("mu-GDP", "advantage")
def _(row):
    mu = row.params["mu"]
    assert PLD.delta(Gaussian(1.0 / mu), epsilon=0.0, relation=ADD_REMOVE) == approx(row)
    assert GDPAccountant().delta(Gaussian(1.0 / mu), epsilon=0.0, relation=ADD_REMOVE) == approx(row)


def approx(row):
    return pytest.approx(row.value, abs=row.slack, rel=0.0)


# compositions


@check("gaussian", "epsilon")
def _(row):
    event = Gaussian(row.params["noise_multiplier"]) * row.params["T"]
    for accountant in (PLD, GDPAccountant()):
        interval = accountant.bounds(event, delta=row.at["delta"], relation=ADD_REMOVE)
        holds(interval, row.value, row.slack, 2 * row.slack)


@check("gaussian with mu=sqrt(2 rho)", "epsilon")
def _(row):
    event = Gaussian(1.0 / math.sqrt(2.0 * row.params["rho"]))
    exact(event, row, gap=0.0)


@check("gaussian with rho", "epsilon_upper")
def _(row):
    peer_upper(Gaussian(1.0 / math.sqrt(2.0 * row.params["rho"])), row)


@check("rho-zCDP", "epsilon")
def _(row):
    event = ZCDP(row.params["rho"], ADD_REMOVE)
    older = "Mironov17" in row.note
    accountants = [RDPAccountant(conversion="mironov2017")] if older else [RDPAccountant(), ZCDPAccountant()]
    for accountant in accountants:
        assert accountant.epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE) == approx(row)


@check("discrete gaussian -> rho-zCDP -> approxDP", "epsilon_upper")
def _(row):
    """The peer rounds up too: rho is the discrete Gaussian's 1 / 2 sigma^2."""
    for event in (ZCDP(row.params["rho"], ADD_REMOVE), DiscreteGaussian(row.params["sigma"], 1)):
        ours = ZCDPAccountant().epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE)
        assert ours == approx(row)
    peer_upper(DiscreteGaussian(row.params["sigma"], 1), row)


@check("(eps0,delta0)-DP k-fold optimal composition", "epsilon")
def _(row):
    p = row.params
    event = ApproxDP(p["eps0"], p["delta0"], ADD_REMOVE) if p["delta0"] else PureDP(p["eps0"], ADD_REMOVE)
    exact(event * p["k"], row, gap=1e-9)


@check("k-ary randomized response (p=prob of uniform), replace-one", "epsilon")
def _(row):
    exact(responses(row) * row.params["T"], row, REPLACE_ONE, gap=1e-9)


@check("poisson-subsampled laplace", "epsilon")
def _(row):
    """Pure: the epsilon of delta = 0 is approached from below, and is where delta vanishes."""
    event = sampled_laplace(row)
    assert row.at == {"delta": 0.0}
    assert PLD.epsilon(event, delta=1e-300, relation=ADD_REMOVE) == approx(row)
    assert PLD.delta(event, epsilon=row.value + row.slack, relation=ADD_REMOVE) == 0.0


@check("poisson-subsampled gaussian", "epsilon")
def _(row):
    if row.params.get("adjacency") == "substitute":
        exact(sampled(row), row, REPLACE_ONE)
    else:
        one_direction(row)


def one_direction(row):
    holds(one_way_epsilon(sampled(row), row), row.value, row.slack, GAP * row.value)


@check("composition of 10 poisson-subsampled gaussians x10", "epsilon")
def _(row):
    one_direction(row)


@check("poisson-subsampled gaussian (substitute relation, N(+1) vs N(-1) mixtures)", "epsilon")
def _(row):
    exact(sampled(row), row, REPLACE_ONE)


@check("poisson-subsampled gaussian", "advantage")
def _(row):
    upper = PLD.delta(sampled(row), epsilon=0.0, relation=ADD_REMOVE)
    assert upper == approx(row)


@check("poisson-subsampled gaussian", "epsilon_upper")
def _(row):
    if "RDP" in row.note:
        by_rdp(row, TENSORFLOW_ORDERS if "optimal_order" in row.params else GOOGLE_ORDERS)
    elif row.note.startswith("moments accountant"):
        ours = RDPAccountant(orders=ABADI_ORDERS, conversion="mironov2017")
        assert ours.epsilon(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE) == approx(row)
        by_pld(row)
    elif row.note == "target":
        ours = RDPAccountant(orders=GOOGLE_ORDERS).epsilon(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE)
        assert ours == approx(row)
        by_pld(row)
    elif row.params.get("adjacency", "").startswith("replace_one"):
        replaced(row)
    else:
        by_pld(row)


def by_pld(row):
    """A peer's PLD or PRV bound, which names its own error where it is more than 10^-4."""
    peer_upper(sampled(row), row)
    stated = row.params.get("eps_error")
    if (
        stated is not None
    ):  # the peer shifts delta by its delta_error and adds eps_error to an estimate within eps_error
        event, delta = sampled(row), row.at["delta"] - 2 * row.params["delta_error"]
        assert row.value - row.slack <= PLD.epsilon(event, delta=delta, relation=ADD_REMOVE) + 2 * stated


def by_rdp(row, orders):
    """At the peer's own orders: at most its value, at least what is certified from below."""
    event, delta = sampled(row), row.at["delta"]
    ours = RDPAccountant(orders=orders).epsilon(event, delta=delta, relation=ADD_REMOVE)
    assert PLD.bounds(event, delta=delta, relation=ADD_REMOVE)[0] <= ours <= row.value + row.slack
    assert PLD.epsilon(event, delta=delta, relation=ADD_REMOVE) <= ours * (1 + GAP)


def replaced(row):
    """The row says "2C"; its value is the antipodal pair's, which is distance 2 where nothing is sampled."""
    lower = peer_upper(sampled(row), row, REPLACE_ONE)
    assert lower >= row.value - row.slack


@check("poisson-subsampled gaussian", "delta")
def _(row):
    relation = REPLACE_ONE if row.params.get("adjacency") == "substitute" else ADD_REMOVE
    composition, _ = compose(sampled(row), relation)
    interval = [math.exp(end) for end in log_delta_of(composition, GAP)(row.at["eps"])]
    holds(interval, row.value, row.slack, 1.01 * GAP * row.value)
    assert PLD.delta(sampled(row), epsilon=row.at["eps"], relation=relation) == pytest.approx(interval[1], rel=1e-12)


@check("gaussian", "delta")
def _(row):
    event = Gaussian(row.params["noise_multiplier"]) * row.params["T"]
    for accountant in (PLD, GDPAccountant()):
        assert accountant.delta(event, epsilon=row.at["eps"], relation=ADD_REMOVE) == approx(row)


@check("laplace", "epsilon_lower", "epsilon_upper", "epsilon_estimate")
def _(row):
    bracket(laplace(row), row)


@check("sublaplace", "epsilon_lower")
def _(row):
    bracket(sampled_laplace(row), row)


@check("dgauss", "epsilon_lower", "epsilon_upper")
def _(row):
    bracket(discrete_gaussian(row), row)


@check("dlaplace", "epsilon_lower", "epsilon_upper")
def _(row):
    bracket(DiscreteLaplace(1.0 / row.params["a"], 1) * row.params["T"], row)


@check("composition psg(q=.005,s=.8)x100 + gaussian(8)x200 + laplace(mu=.1)x100", "epsilon_upper", "epsilon_estimate")
def _(row):
    bracket(PoissonSampled(Gaussian(0.8), 0.005) * 100 + Gaussian(8.0) * 200 + Laplace(10.0) * 100, row)


def bracket(event, row):
    """A peer's lower end is at most ours above, its upper end at least ours below; an estimate errs by eps_error."""
    lower, upper = PLD.bounds(event, delta=row.at["delta"], relation=ADD_REMOVE)
    assert 0.0 <= lower <= upper
    if row.ask == "epsilon_lower":
        above = PLD.epsilon(event, delta=row.at["delta"] - ROUNDING, relation=ADD_REMOVE)
        assert row.value <= above + row.slack
    if row.ask == "epsilon_upper":
        peer_upper(event, row)
    if row.ask == "epsilon_estimate":
        assert lower <= row.value + row.params["eps_error"]
        assert upper >= row.value - row.params["eps_error"]


@check("sampling without replacement gaussian (sigma relative to replace-sensitivity)", "epsilon_upper")
def _(row):
    p = row.params
    event = FixedSizeSampled(Gaussian(2.0 * p["noise_multiplier"]), p["n"], p["m"]) * p["T"]
    for accountant in (RDPAccountant(), RDPAccountant(orders=GOOGLE_ORDERS), PLD):
        assert accountant.epsilon(event, delta=row.at["delta"], relation=REPLACE_ONE) <= row.value + row.slack


@check("DP-SGD", "epsilon_upper")
def _(row):
    """Micro-batches double what one record changes; steps are epochs / q, rounded up."""
    p = row.params
    release = Gaussian(p["noise_multiplier"] / (2.0 if p["microbatching"] else 1.0))
    epochs = p["epochs"]
    event = (
        release * math.ceil(epochs) if p["q"] is None else PoissonSampled(release, p["q"]) * math.ceil(epochs / p["q"])
    )
    lower = peer_upper(event, row)
    if row.name.endswith("rdp"):
        ours = RDPAccountant(orders=GOOGLE_ORDERS).epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE)
        assert lower <= ours <= row.value + row.slack


@check("DP-SGD privacy statement (10000 ex, batch 64, sigma 2, 5 epochs)", "epsilon_upper")
def _(row):
    """Micro-batches again; users by the peer's black-box group lemma, which ours for the group may not exceed."""
    release, batch = Gaussian(1.0), 64 / 10_000
    one = PoissonSampled(release, batch) if row.params["poisson"] else release
    event = Group(one, int(row.params["max_ex"] or 1)) * (math.ceil(5 / batch) if row.params["poisson"] else 5)
    peer_upper(event, row)
    ours = RDPAccountant().epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE)
    assert ours <= row.value + row.slack or row.params["acc"] == "PLD"
