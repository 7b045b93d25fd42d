"""The Gaussian accountant is exact: the closed form lies between its bounds, and nothing else is let in."""

import math

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    DistributedDiscreteGaussian,
    Event,
    EventError,
    Gaussian,
    Laplace,
    Ledger,
    PoissonSampled,
    RDPAccountant,
    Relation,
    RelationError,
    UnsupportedEventError,
    Within,
)
from accountants.events import ApproxDP, DiscreteGaussian, NonPrivate
from accountants.gdp import GDPAccountant, gaussian_scale
from tests.oracles.vectors import rows

GDP = GDPAccountant()


def _delta(mu, epsilon):
    with mp.workdps(340):
        mu, e = mp.mpf(mu), mp.mpf(epsilon)
        return mp.ncdf(mu / 2 - e / mu) - mp.exp(e) * mp.ncdf(-mu / 2 - e / mu)


@given(
    st.lists(st.tuples(st.floats(0.2, 500.0), st.integers(1, 10**6)), min_size=1, max_size=4),
    st.floats(-690.0, -0.1),
    st.sampled_from(list(Relation)),
)
def test_bounds_contain_the_closed_form(parts, log_delta, relation):
    event, delta = Gaussian(parts[0][0]) * parts[0][1], math.exp(log_delta)
    for noise_multiplier, times in parts[1:]:
        event = event + Gaussian(noise_multiplier) * times
    low, high = GDP.bounds(event, delta=delta, relation=relation)
    with mp.workdps(60):
        distance = 2 if relation is Relation.replace_one else 1
        mu = distance * mp.sqrt(mp.fsum(times / mp.mpf(z) ** 2 for z, times in parts))
    assert 0.0 <= low <= high < math.inf
    assert _delta(mu, high) <= delta
    assert low == 0.0 or _delta(mu, low) >= delta
    assert high - low < 1e-9 * (1.0 + high)
    assert GDP.mu(event, relation=relation) >= mu
    assert GDP.delta(event, epsilon=high, relation=relation) >= _delta(mu, high)


@pytest.mark.parametrize("row", [row for row in rows() if row.name.startswith("gauss_eps")], ids=lambda row: row.name)
def test_published_values(row):
    event = Gaussian(row.params["noise_multiplier"]) * row.params["T"]
    low, high = GDP.bounds(event, delta=row.at["delta"], relation="add_remove")
    assert low - row.slack <= row.value <= high + row.slack
    assert high == GDP.epsilon(event, delta=row.at["delta"], relation="add_remove")


def test_is_below_the_renyi_bound():
    event = Gaussian(3.0) * 40
    assert GDP.epsilon(event, delta=1e-6, relation="add_remove") < RDPAccountant().epsilon(
        event, delta=1e-6, relation="add_remove"
    )


def test_slack_is_added_outside():
    plain = GDP.bounds(Gaussian(1.0), delta=1e-5, relation="add_remove")
    held = GDP.bounds(Within(Gaussian(1.0), 0.01, 0.02), delta=1e-5, relation="add_remove")
    assert held[0] > plain[1] + 0.03
    assert held[1] < plain[0] + 0.04
    assert 0.0 < GDP.delta(Within(Gaussian(1.0), 0.01, 0.02), epsilon=0.0, relation="add_remove") < 1.0
    assert GDP.bounds(NonPrivate(), delta=0.5, relation="add_remove") == (math.inf, math.inf)


@pytest.mark.parametrize(
    "event",
    [DistributedDiscreteGaussian(10.0, 100, 50.0, 4), DiscreteGaussian(100.0, 50.0), DiscreteGaussian(9.0, 4.0, 8)],
)
def test_holds_what_is_a_gaussian_but_for_a_slack(event):
    assert GDP.supports(event)
    assert GDP.bounds(event, delta=1e-6, relation="add_remove")[1] < math.inf


@pytest.mark.parametrize(
    "event",
    [Laplace(1.0), PoissonSampled(Gaussian(1.0), 0.5), Gaussian(1.0) + Laplace(1.0), ApproxDP(1.0, 1e-6, "add_remove")],
)
def test_refuses_everything_else_and_names_what_would_do(event):
    assert not GDP.supports(event)
    with pytest.raises(UnsupportedEventError, match=r"PLDAccountant\(\) or RDPAccountant\(\)"):
        GDP.epsilon(event, delta=1e-6, relation="add_remove")


def test_reads_ledgers_and_checks_what_it_is_given():
    ledger = Ledger(relation="add_remove")
    assert GDP.bounds(ledger, delta=1e-5) == (0.0, 0.0)
    assert GDP.delta(ledger, epsilon=0.0) == GDP.mu(ledger) == 0.0
    ledger.record(Gaussian(2.0), times=4)
    assert GDP.mu(ledger) == pytest.approx(1.0, rel=1e-14)
    assert GDP.supports(ledger)
    with pytest.raises(RelationError):
        GDP.epsilon(Gaussian(1.0), delta=1e-5)
    with pytest.raises(EventError, match="delta"):
        GDP.epsilon(Gaussian(1.0), delta=0.0, relation="add_remove")
    with pytest.raises(EventError, match="epsilon"):
        GDP.delta(Gaussian(1.0), epsilon=-1.0, relation="add_remove")
    assert "exact" in str(GDP)


@pytest.mark.parametrize("noise_multiplier", [5e-324, 1e-160, 1e160, 1e300])
def test_extremes_are_never_nan(noise_multiplier):
    low, high = GDP.bounds(Gaussian(noise_multiplier) * 3, delta=1e-300, relation="replace_one")
    assert 0.0 <= low <= high
    assert 0.0 <= GDP.delta(Gaussian(noise_multiplier) * 3, epsilon=1.0, relation="replace_one") <= 1.0


def test_an_event_of_ones_own_is_refused_until_it_is_registered():
    with pytest.raises(UnsupportedEventError):
        gaussian_scale(Event(), Relation.add_remove)
