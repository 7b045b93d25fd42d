"""Conversions: each row against the supremum it stands for, and the search against a fine grid."""

import functools
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants import DominatingPair, RDPAccountant
from accountants.conversion import CONVERSIONS, best_epsilon, best_log_delta

ROWS = sorted(CONVERSIONS)


@given(t=st.floats(1e-6, 1e6))
def test_improved_offset_is_the_supremum(t):
    """e^c = sup over y > 0 of (1 - e^-y) e^{-ty}, attained at y = log(1 + 1/t)."""
    with mp.workdps(40):
        y = mp.log1p(1 / mp.mpf(t))
        truth = mp.log(-mp.expm1(-y)) - t * y
        for other in (y / 2, 0.9 * y, 1.1 * y, 3 * y):
            assert mp.log(-mp.expm1(-other)) - t * other <= truth
        assert abs(CONVERSIONS["improved"].offset(t) - truth) <= 1e-15 * (1 + abs(truth))


@pytest.mark.parametrize("name", ROWS)
@given(order=st.floats(1.001, 500.0), rdp=st.floats(0.0, 100.0), log_delta=st.floats(-700.0, -1e-3))
def test_epsilon_and_delta_are_inverse_and_rounded_up(name, order, rdp, log_delta):
    row = CONVERSIONS[name]
    epsilon = row.epsilon(order, rdp, log_delta)
    assert row.log_delta(order, rdp, epsilon) >= log_delta - 1e-12 * (abs(log_delta) + (order - 1) * abs(epsilon))
    with mp.workdps(40):
        t = mp.mpf(order) - 1
        offset = mp.mpf(0) if name == "mironov2017" else t * mp.log(t) - (1 + t) * mp.log(1 + t)
        truth = (t * mp.mpf(rdp) - mp.mpf(log_delta) + offset) / t
        assert truth <= epsilon
        assert epsilon - truth <= 1e-14 * (rdp + (abs(log_delta) + abs(offset)) / t)
        back = t * (mp.mpf(rdp) - mp.mpf(epsilon)) + offset
        assert back <= row.log_delta(order, rdp, epsilon)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("rho", [1e-12, 1e-6, 1e-3, 0.05, 1.0, 40.0, 1e6])
@pytest.mark.parametrize("log_delta", [-1e-3, -2.0, -11.5, -60.0, -700.0])
def test_search_is_not_worse_than_a_fine_grid(name, rho, log_delta):
    row = CONVERSIONS[name]

    def rdp(order):
        return rho * order

    best = best_epsilon(rdp, log_delta, row, None)
    grid = 1.0 + np.exp(np.linspace(math.log(1e-9), math.log(1e10), 4001))
    on_grid = max(0.0, min(row.epsilon(order, rdp(order), log_delta) for order in grid))
    assert best <= on_grid * (1 + 1e-9)
    target = 2.0 * rho + 0.1
    best_delta = best_log_delta(rdp, target, row, None)
    assert best_delta <= min(0.0, *(row.log_delta(order, rdp(order), target) for order in grid)) * (1 - 1e-9) + 1e-9


@pytest.mark.parametrize("name", ROWS)
def test_infinite_divergences_are_honest(name):
    row = CONVERSIONS[name]
    assert best_epsilon(lambda order: math.inf, -10.0, row, None) == math.inf
    assert best_epsilon(lambda order: 1.0, -math.inf, row, None) == math.inf
    assert best_log_delta(lambda order: math.inf, 1.0, row, None) == 0.0
    finite_below_three = best_epsilon(lambda order: order if order < 3.0 else math.inf, -10.0, row, None)
    assert finite_below_three < math.inf


def test_bretagnolle_huber_is_a_bound_of_total_variation():
    row = CONVERSIONS["improved"]
    for mu in (1e-3, 0.3, 1.0, 4.0):
        truth = mp.log(mp.erf(mp.mpf(mu) / (2 * mp.sqrt(2))))
        assert truth <= row.log_delta_at_zero(mu * mu / 2.0)
    assert CONVERSIONS["mironov2017"].log_delta_at_zero(0.1) == math.inf
    assert row.log_delta_at_zero(0.0) == -math.inf


def test_given_orders_are_the_only_ones_used():
    seen = set()

    def rdp(order):
        seen.add(order)
        return order

    best_epsilon(rdp, -11.5, CONVERSIONS["improved"], (2.0, 8.0))
    best_log_delta(rdp, 3.0, CONVERSIONS["improved"], (2.0, 8.0))
    assert seen == {2.0, 8.0}


def _law(weights):
    total = sum(weights)
    return tuple(math.log(w / total) if w else -math.inf for w in weights)


WEIGHTS = st.tuples(*[st.integers(0, 40)] * 3).filter(any)


@given(st.lists(st.tuples(WEIGHTS, WEIGHTS), min_size=1, max_size=3))
@example([((20, 10, 10), (0, 2, 38))])  # one direction alone says .679 of .7
@example([((20, 10, 10), (0, 2, 38)), ((0, 2, 38), (20, 10, 10))])
def test_mass_without_a_partner_on_either_side(laws):
    """δ(0) of compositions of pairs that lack mass on one side, the other, or both."""
    events = [DominatingPair(_law(p), _law(q)) for p, q in laws]
    total = functools.reduce(lambda one, other: one + other, events)
    p, q = (
        functools.reduce(np.multiply.outer, (np.exp(getattr(event, name)) for event in events))
        for name in ("log_p", "log_q")
    )
    truth = float(np.maximum(p - q, 0.0).sum())
    assert RDPAccountant().delta(total, epsilon=0.0, relation="add_remove") >= truth - 1e-13
