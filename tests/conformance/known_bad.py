"""Known-bad outputs of other libraries: ours must agree with the stated truth and differ from the bad value."""

import math

from accountants import Gaussian, PoissonSampled, RDPAccountant, rdp_curve
from accountants.estimates import clt_epsilon
from accountants.events import ZCDP, BoundedRange
from tests.conformance.vector_checks import ADD_REMOVE, GAP, PLD, REPLACE_ONE, holds
from tests.conformance.vector_events import GOOGLE_ORDERS, responses, sampled
from tests.oracles import contour
from tests.oracles.accounting import gauss_log_moment


def _certified(row, event=None, relation=ADD_REMOVE):
    """The truth lies in our interval; the bad value is outside of it by more than our width."""
    lower, upper = PLD.bounds(event or sampled(row), delta=row.at["delta"], relation=relation)
    value, error = row.truth
    holds((lower, upper), value, error, max(GAP * value, 2 * error))
    assert not lower - (upper - lower) <= row.value <= upper + (upper - lower)


def _bracketed(row):
    """The same where no engine certifies both ends: the truth lies in our bounds, the bad value above them."""
    lower, upper = PLD.bounds(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE)
    value, error = row.truth
    assert 0.0 < lower <= value + error
    assert value - error <= upper < row.value / 10


def _zero(row):
    """The truth is 0: the total variation is below delta."""
    assert row.truth == (0.0, 0.0)
    assert row.value != 0.0
    assert PLD.bounds(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE) == (0.0, 0.0)
    assert RDPAccountant().epsilon(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE) == 0.0


def _replaced(row):
    """One release without sampling: distance 2 under replacement."""
    _certified(row, Gaussian(row.params["noise_multiplier"]), REPLACE_ONE)


def _counted_responses(row):
    """The stated truth is a sum of discretised losses: too large, by at most count times the interval 1e-4."""
    lower, upper = PLD.bounds(responses(row) * row.params["count"], delta=row.at["delta"], relation=REPLACE_ONE)
    value, error = row.truth
    assert value - row.params["count"] * 1e-4 - error <= lower <= upper <= value + error
    assert upper - lower <= 1e-9 * upper
    assert lower > 40 * row.value


def _counted_selections(row):
    """The stated truth is that of zCDP at eps^2/8, which the range's own curve improves."""
    p, delta = row.params, row.at["delta"]
    accountant = RDPAccountant(orders=GOOGLE_ORDERS)
    value, error = row.truth
    zcdp = accountant.epsilon(ZCDP(p["eps"] ** 2 / 8, ADD_REMOVE) * p["count"], delta=delta, relation=ADD_REMOVE)
    assert abs(zcdp - value) <= error
    ours = accountant.epsilon(BoundedRange(p["eps"]) * p["count"], delta=delta, relation=ADD_REMOVE)
    assert 10 * row.value < ours <= zcdp
    assert ours >= zcdp * 0.99


def _central_limit(row):
    """The bad value is the central limit's, which we report as an estimate only."""
    _certified(row)
    estimate = clt_epsilon(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE)
    assert math.isclose(estimate.value, row.value, rel_tol=1e-3)
    assert estimate.value < PLD.bounds(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE)[0]


def _without_truth(row):
    """The table holds no truth for it: the oracle does."""
    assert row.truth is None
    truth, p = 0.0672136141062, row.params
    seen = contour.log_delta("remove", p["noise_multiplier"], p["q"], p["T"], truth, t=200, step=5, fine=0.5)
    assert abs(float(seen) - math.log(row.at["delta"])) <= 1e-6  # 5e-9 in epsilon
    lower, upper = PLD.bounds(sampled(row), delta=row.at["delta"], relation=ADD_REMOVE)
    assert 0.0 < lower <= truth + 1e-8
    assert upper >= truth - 1e-8 > row.value


def _curve(row):
    """The stated truth is a peer's bound at a fractional order, 2e-4 above the integral."""
    p, order = row.params, row.at["alpha"]
    ours = p["T"] * rdp_curve(PoissonSampled(Gaussian(p["noise_multiplier"]), p["q"]), ADD_REMOVE).rdp(order)
    truth = p["T"] * float(gauss_log_moment("remove", p["noise_multiplier"], p["q"], order)) / (order - 1.0)
    assert math.isclose(ours, truth, rel_tol=1e-10)
    assert row.value < ours / 2
    assert ours <= row.truth[0] <= ours * (1 + 3e-4)


KNOWN_BAD = {
    "NEG_dpacc_rr_count": _counted_responses,
    "NEG_dpacc_em_count": _counted_selections,
    "NEG_dpacc_small_delta": _certified,
    "NEG_dpacc_small_delta2": _certified,
    "NEG_dpacc_coarse_grid": _certified,
    "NEG_opacus_rdp_negative": _zero,
    "NEG_opacus_prv_negative": _zero,
    "NEG_opacus_rdp_floor": _zero,
    "NEG_opacus_gdp_under": _central_limit,
    "NEG_opacus_gdp_under2": _central_limit,
    "NEG_prv_small_delta_a": _without_truth,
    "NEG_prv_small_delta_b": _bracketed,
    "NEG_koskela_q02": _certified,
    "NEG_dpacc_rdp_replace": _replaced,
    "NEG_opacus_prv_under_1e-12": _certified,
    "NEG_opacus_prv_under_1e-13": _certified,
    "NEG_dp_accelerator_rdp_curve": _curve,
}
