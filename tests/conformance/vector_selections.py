"""Checks of rows about the best of several runs, and about one step of many."""

import math

import mpmath as mp
import pytest

from accountants import Gaussian, PLDAccountant, RDPAccountant, RDPCurve
from accountants.events import PrivateSelection, RandomAllocation
from tests.conformance.vector_checks import ADD_REMOVE, approx, check
from tests.conformance.vector_events import GOOGLE_ORDERS
from tests.oracles import selection as oracle

#: our Rényi bound over the peer's upper end, for each noise multiplier: what a curve alone does not see
EXCESS = {1.0: 1.6804, 0.7: 1.2049}


@check("private selection (Papernot-Steinke 2021)", "epsilon_upper")
def _(row):
    """The peer's value is the published theorem at the peer's orders; ours is below, and above what a test reaches."""
    z, mean, shape = row.params["noise_multiplier"], row.params["mean"], float(row.params["shape"])
    delta = row.at["delta"]
    one = [order / (2 * z * z) for order in GOOGLE_ORDERS]
    theirs = RDPCurve(GOOGLE_ORDERS, tuple(map(float, oracle.published(GOOGLE_ORDERS, one, mean, shape))), ADD_REMOVE)
    event, at_their_orders = PrivateSelection(Gaussian(z), mean, shape), RDPAccountant(orders=GOOGLE_ORDERS)
    assert at_their_orders.epsilon(theirs, delta=delta, relation=ADD_REMOVE) == approx(row)
    ours = at_their_orders.epsilon(event, delta=delta, relation=ADD_REMOVE)
    assert 0.75 * row.value < RDPAccountant().epsilon(event, delta=delta, relation=ADD_REMOVE) <= ours <= row.value
    assert _largest_score(z, mean, shape, math.log(delta)) <= ours


def _largest_score(z, mean, shape, log_delta):
    """A lower bound: of the largest of K scores N(0 or 1, z²), those above a threshold; by closed form."""
    f, _ = oracle.generating(mean, shape)
    best = 0.0
    for threshold in (mp.mpf(k) / 10 for k in range(80)):
        here, there = (1 - f(mp.ncdf(threshold - centre / mp.mpf(z))) for centre in (1, 0))
        if here > mp.exp(log_delta):
            best = max(best, float(mp.log((here - mp.exp(log_delta)) / there)))
    return best


@check("random allocation (balls-in-bins) 1 of t gaussian", "epsilon_lower", "epsilon_upper")
def _(row):
    """By Rényi divergences: above the peer's bracket, by a known factor."""
    z = row.params["noise_multiplier"]
    event = RandomAllocation(Gaussian(z), row.params["num_steps"]) * row.params["num_epochs"]
    ours = PLDAccountant().epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE)
    assert row.params["num_selected"] == 1
    if row.ask == "epsilon_lower":
        assert ours >= row.value
    else:
        assert ours / row.value == pytest.approx(EXCESS[z], rel=1e-3)
