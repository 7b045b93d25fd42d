"""Zero-concentrated DP: rho adds up, and its epsilon is that of the straight Renyi curve."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    Gaussian,
    Laplace,
    Ledger,
    PoissonSampled,
    RDPAccountant,
    Relation,
    UnsupportedEventError,
    Within,
)
from accountants.events import ZCDP, DiscreteGaussian
from accountants.gdp import GDPAccountant
from accountants.zcdp import ZCDPAccountant, zcdp_rho

ACCOUNTANT = ZCDPAccountant()


@given(st.floats(0.1, 300.0), st.integers(1, 10**6), st.floats(-600.0, -1.0))
def test_zcdp_is_what_rdp_says(noise_multiplier, times, log_delta):
    event, delta = Gaussian(noise_multiplier) * times, math.exp(log_delta)
    value = ACCOUNTANT.epsilon(event, delta=delta, relation="add_remove")
    assert value == pytest.approx(
        RDPAccountant().epsilon(event, delta=delta, relation="add_remove"), rel=1e-8, abs=1e-9
    )
    assert value >= GDPAccountant().bounds(event, delta=delta, relation="add_remove")[0]


def test_rho_adds_up():
    event = Gaussian(2.0) * 8 + ZCDP(0.5, "add_remove") + DiscreteGaussian(4.0, 2.0, dim=3) * 4
    rho = ACCOUNTANT.rho(event, relation="add_remove")
    assert 2.0 <= rho <= 2.0 * (1 + 1e-14)


@pytest.mark.parametrize(
    ("event", "rho"),
    [
        (DiscreteGaussian(4.0, 2.9), 0.5 * (2 / 4.0) ** 2),
        (DiscreteGaussian(4.0, 2.9, dim=2), 0.5 * (2.9 / 4.0) ** 2),
        (DiscreteGaussian(4.0, 0.9, dim=2), 0.0),
        (Gaussian(3.0), 1 / 18.0),
    ],
)
def test_rho_of_one_release(event, rho):
    assert rho <= zcdp_rho(event, Relation.add_remove) <= rho * (1 + 1e-14)
    assert zcdp_rho(event, Relation.zero_out) == zcdp_rho(event, Relation.add_remove)
    assert 4 * rho <= zcdp_rho(event, Relation.replace_one) <= 4 * rho * (1 + 1e-14)


def test_a_stated_guarantee_holds_for_its_own_relation_only():
    event = ZCDP(0.1, "replace_one")
    assert ACCOUNTANT.rho(event, relation="replace_one") == pytest.approx(0.1)
    assert ACCOUNTANT.supports(event)
    assert not ACCOUNTANT.supports(event, relation="add_remove")
    with pytest.raises(UnsupportedEventError, match="replace_one"):
        ACCOUNTANT.epsilon(event, delta=1e-5, relation="add_remove")


@pytest.mark.parametrize("event", [Laplace(1.0), PoissonSampled(Gaussian(1.0), 0.1)])
def test_refuses_the_rest_and_names_what_would_do(event):
    assert not ACCOUNTANT.supports(event)
    with pytest.raises(UnsupportedEventError, match=r"RDPAccountant\(\)"):
        ACCOUNTANT.epsilon(event, delta=1e-5, relation="add_remove")


def test_delta_and_epsilon_are_inverse_and_slack_is_outside():
    for event in (Gaussian(2.0), Within(Gaussian(2.0), 0.01, 0.01)):
        cost = ACCOUNTANT.epsilon(event, delta=1e-5, relation="add_remove")
        assert ACCOUNTANT.delta(event, epsilon=cost, relation="add_remove") == pytest.approx(1e-5, rel=1e-3)
    plain, held = (ACCOUNTANT.epsilon(e, delta=1e-5, relation="add_remove") for e in (Gaussian(2.0), event))
    assert plain + 0.02 < held < plain + 0.03


def test_nothing_costs_nothing():
    ledger = Ledger(relation="add_remove")
    assert (
        ACCOUNTANT.epsilon(ledger, delta=1e-5) == ACCOUNTANT.delta(ledger, epsilon=0.0) == ACCOUNTANT.rho(ledger) == 0.0
    )
    assert ACCOUNTANT.epsilon(DiscreteGaussian(1.0, 0.5), delta=1e-5, relation="add_remove") == 0.0
    assert ACCOUNTANT.supports(ledger)
    assert "zCDP" in str(ACCOUNTANT)
