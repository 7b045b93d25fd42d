"""Checks of rows that ask for a Rényi curve at an order, or for the parameter that meets a target."""

import math

from accountants import Gaussian, Laplace, PoissonSampled, RDPAccountant, Relation, calibrate, max_times
from accountants.estimates import clt_epsilon
from accountants.events import BoundedRange, DominatingPair
from accountants.rdp import rdp_curve
from tests.conformance.vector_checks import ADD_REMOVE, PLD, REPLACE_ONE, approx, check
from tests.conformance.vector_events import OPACUS_ORDERS, laplace, responses, sampled


def curve_value(event, relation, order):
    return rdp_curve(event, relation).rdp(order)


@check("poisson-subsampled gaussian", "rdp")
def _(row):
    event = sampled(row)
    assert event.times * curve_value(event.event, ADD_REMOVE, row.at["alpha"]) == approx(row)


@check("laplace", "rdp")
def _(row):
    assert curve_value(laplace(row).event, ADD_REMOVE, row.at["alpha"]) == approx(row)


@check("k-ary randomized response", "rdp")
def _(row):
    if row.params["adjacency"] == "replace_one":
        value = curve_value(responses(row), REPLACE_ONE, row.at["alpha"])
    else:  # the record's answer against a uniform one
        p, k = row.params["p"], int(row.params["k"])
        record = [1 - p + p / k] + [p / k] * (k - 1)
        event = DominatingPair(tuple(map(math.log, record)), (-math.log(k),) * k)
        value = curve_value(event, Relation.zero_out, row.at["alpha"])
    assert value == approx(row)


@check("exponential mechanism (bounded range)", "rdp")
def _(row):
    assert row.at == {"alpha": 1.0}, "the limit at order 1"
    assert curve_value(BoundedRange(row.params["eps"]), ADD_REMOVE, 1.0 + 1e-9) == approx(row)


@check("gaussian", "noise_multiplier")
def _(row):
    found = calibrate(Gaussian, **row_target(row), relation=ADD_REMOVE, accountant=PLD, tolerance=1e-11)
    assert found == approx(row)


def row_target(row):
    return {"epsilon": row.at["eps"], "delta": row.at["delta"]}


@check("laplace", "b")
def _(row):
    found = calibrate(lambda b: Laplace(b) * row.params["T"], **row_target(row), relation=ADD_REMOVE, accountant=PLD)
    assert found <= row.value + row.slack


@check("poisson-subsampled gaussian", "sigma", "noise_multiplier")
def _(row):
    steps = int(row.params.get("T") or row.params.get("steps") or row.params["epochs"] / row.params["q"])

    def plan(noise_multiplier):
        return PoissonSampled(Gaussian(noise_multiplier), row.params["q"]) * steps

    target = row_target(row)
    if "acct" in row.params:
        bisected(row, plan, target)
    else:
        found = calibrate(plan, **target, relation=ADD_REMOVE, accountant=PLD, tolerance=1e-8)
        assert found == approx(row)


def bisected(row, plan, target):
    """Opacus stops within epsilon_tolerance below the target: its epsilon at the row's noise, and ours."""
    near = target["epsilon"] - row.params["epsilon_tolerance"]
    event, delta = plan(row.value), target["delta"]
    certified = PLD.bounds(event, delta=delta, relation=ADD_REMOVE)
    if row.params["acct"] == "rdp":
        theirs = RDPAccountant(orders=OPACUS_ORDERS)
        assert near <= theirs.epsilon(event, delta=delta, relation=ADD_REMOVE) <= target["epsilon"]
    if row.params["acct"] == "prv":  # its epsilon is an upper bound that adds 0.01
        assert near - 0.02 <= certified[0] <= certified[1] <= target["epsilon"]
    if row.params["acct"] == "gdp":  # the central limit: near its target, and below the truth
        assert near <= clt_epsilon(event, delta=delta, relation=ADD_REMOVE).value <= target["epsilon"]
        assert certified[0] > target["epsilon"]


@check("poisson-subsampled gaussian", "max steps")
def _(row):
    event = PoissonSampled(Gaussian(row.params["noise_multiplier"]), row.params["q"])
    assert max_times(event, **row_target(row), relation=ADD_REMOVE, accountant=PLD) == row.value
