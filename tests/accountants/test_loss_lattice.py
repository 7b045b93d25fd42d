"""Exact compositions on a loss lattice: enumerated and binomial references, published values, one peer's brackets."""

import math
import time

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants.atoms import discrete_gaussian, discrete_laplace, remove_atoms, response_laws
from accountants.lattice import compose, epsilon_bounds, log_delta_bounds, supports
from accountants.pairs import AtomPair
from tests.oracles import curves as oracle
from tests.oracles.vectors import rows


def _pure(epsilon, failure=0.0):
    pair = remove_atoms(response_laws(epsilon), 1.0)
    return AtomPair(pair.log_p, pair.loss, failure)


def _log(value):
    return mp.log(value) if value > 0 else mp.mpf("-inf")


def _enumerated(parts, spacing, offsets):
    """Total law of parts whose losses are offset + spacing * integer; (p, loss) atoms with many digits."""
    total = {0: mp.mpf(1)}
    for (pair, times), offset in zip(parts, offsets, strict=True):
        atoms = {round((loss - offset) / spacing): mp.exp(p) for p, loss in zip(pair.log_p, pair.loss, strict=True)}
        law = oracle.compose(atoms, times)
        after = {}
        for i, one in total.items():
            for k, other in law.items():
                after[i + k] = after.get(i + k, mp.mpf(0)) + one * other
        total = after
    base = mp.fsum(times * mp.mpf(offset) for (_, times), offset in zip(parts, offsets, strict=True))
    return [(p, base + mp.mpf(spacing) * k) for k, p in total.items()]


RESPONSE = remove_atoms(response_laws(0.5, 7), 1.0)
LAPLACE = remove_atoms(discrete_laplace(4.0, 3), 1.0)
MIXED = [
    (((RESPONSE, 6),), 0.5, (-0.5,)),
    (((LAPLACE, 5),), 0.5, (-0.75,)),
    (((_pure(0.5), 9), (RESPONSE, 4), (LAPLACE, 2)), 0.5, (-0.5, -0.5, -0.75)),
    (
        ((AtomPair((math.log(0.5), math.log(0.5)), (-1.0, 1.0), 1e-3), 3), (AtomPair((0.0,), (0.25,)), 2)),
        2.0,
        (-1.0, 0.25),
    ),
]


@pytest.mark.parametrize(("parts", "spacing", "offsets"), MIXED)
def test_composition_contains_the_enumerated_value(parts, spacing, offsets):
    with mp.workdps(60):
        atoms = _enumerated(parts, spacing, offsets)
        failure = 1 - mp.fprod((1 - mp.mpf(pair.failure)) ** times for pair, times in parts)
        for epsilon in (-2.0, -0.1, 0.0, 0.2, 1.0, 1.9, 2.6, 30.0):
            low, high = log_delta_bounds(parts, epsilon)
            truth = _log(oracle.atoms_delta(atoms, epsilon, failure))
            assert low <= truth <= high
            assert high - low < 1e-10 or low == high == -math.inf


@settings(max_examples=40)
@given(st.floats(1e-3, 3.0), st.integers(1, 300), st.floats(0.0, 0.99), st.sampled_from([0.0, 1e-12, 1e-2]))
def test_two_points_against_the_binomial_sum(epsilon, times, share, failure):
    pair = _pure(epsilon, failure)
    at = share * times * epsilon
    with mp.workdps(60):
        e, f = mp.mpf(epsilon), 1 - (1 - mp.mpf(failure)) ** times
        inner = oracle.binomial_delta(1 / (1 + mp.exp(-e)), e, -e, times, at)
        low, high = log_delta_bounds(((pair, times),), at)
        assert low <= _log(min(f + (1 - f) * inner, mp.mpf(1))) <= high


@pytest.mark.parametrize("log_delta", [math.log(1e-5), -200.0, math.log(1e-300)])
@pytest.mark.parametrize(("epsilon", "times"), [(0.3, 50), (0.05, 2000)])
def test_epsilon_is_enclosed_far_down(epsilon, times, log_delta):
    low, high = epsilon_bounds(((_pure(epsilon), times),), log_delta)
    with mp.workdps(60):
        e = mp.mpf(epsilon)
        p = 1 / (1 + mp.exp(-e))
        assert _log(oracle.binomial_delta(p, e, -e, times, high)) <= log_delta
        assert _log(oracle.binomial_delta(p, e, -e, times, low)) >= log_delta
    assert 0.0 < low <= high <= low * (1.0 + 1e-9)


def _answer(row):
    given, log_delta = row.params, math.log(row.at["delta"])
    if row.name.startswith("kov"):
        return epsilon_bounds(((_pure(given["eps0"], given["delta0"]), given["k"]),), log_delta)
    if row.name.startswith("rr2"):
        return epsilon_bounds(((_pure(math.log((1 - given["p"] / 2) / (given["p"] / 2))), given["T"]),), log_delta)
    if row.mechanism == "dlaplace":
        return epsilon_bounds(((remove_atoms(discrete_laplace(1 / given["a"], 1), 1.0), given["T"]),), log_delta)
    return epsilon_bounds(((remove_atoms(discrete_gaussian(given["sigma"], 1), 1.0), given["T"]),), log_delta)


ROWS = [row for row in rows() if row.name.startswith(("kov_", "rr2_", "dpacc_dlaplace", "dpacc_dgauss"))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_published_values(row):
    low, high = _answer(row)
    peer = 1e-9  # its transform rounds each mass by about 2^-52, here 2e-10 of delta
    if row.name.endswith("_lower"):
        assert row.value - peer <= high
    elif row.name.endswith("_upper"):
        assert low <= row.value + peer
        assert row.value - row.params["T"] * 2e-5 <= high
    else:
        assert low - row.slack <= row.value <= high + row.slack
        assert high - low <= 4.0 * row.slack


def test_failure_is_composed_exactly_and_delta_zero_is_reached():
    pure = ((_pure(1.0), 10),)
    low, high = epsilon_bounds(pure, -math.inf)
    assert low <= 10.0 <= high < 10.0 + 1e-11
    assert log_delta_bounds(pure, 10.0 + 1e-9) == (-math.inf, -math.inf)
    certain = ((_pure(0.1, 1e-4), 100),)
    floor = math.log(-math.expm1(100 * math.log1p(-1e-4)))
    assert epsilon_bounds(certain, floor - 1e-9) == (math.inf, math.inf)
    assert log_delta_bounds(certain, 20.0) == pytest.approx((floor, floor), rel=1e-13)


def test_supports_what_shares_a_lattice():
    assert supports(())
    assert supports([(_pure(1e-3), 10**7)])
    assert supports([(_pure(0.1), 100), (_pure(0.2), 50)])
    assert not supports([(_pure(0.1), 100), (_pure(0.1234), 50)])
    assert not supports([(RESPONSE, 10**7)])
    skew = AtomPair((math.log(0.2), math.log(0.3), math.log(0.5)), (-0.7, 0.1, 0.25))
    assert not supports([(skew, 2)])
    with pytest.raises(ValueError, match="lattice"):
        log_delta_bounds([(skew, 2)], 0.1)


def test_nothing_released_costs_nothing():
    assert log_delta_bounds((), 0.0) == (-math.inf, -math.inf)
    assert epsilon_bounds((), -50.0) == (0.0, 0.0)


def test_an_atom_off_the_lattice_by_rounding_is_inside_the_bounds():
    pair = _pure(0.25)
    bent = AtomPair(pair.log_p, (pair.loss[0] * (1 + 4 * 2.0**-52), pair.loss[1]))
    whole, other = (epsilon_bounds(((one, 500), (RESPONSE, 1)), -12.0) for one in (pair, bent))
    assert other[0] <= whole[1] and whole[0] <= other[1]


@pytest.mark.parametrize("off", [-4, 4])
def test_losses_are_known_up_to_rounding(off):
    pair, epsilon = _pure(1.0), 2.0 - 1e-10
    low, high = log_delta_bounds(((pair, 2),), epsilon)
    with mp.workdps(60):
        one = mp.mpf(1) + off * mp.mpf(2) ** -52
        assert low <= _log(oracle.binomial_delta(mp.exp(pair.log_p[1]), one, -one, 2, epsilon)) <= high


def test_ten_million_releases_cost_what_the_central_limit_says_in_milliseconds():
    compose.cache_clear()
    start = time.perf_counter()
    low, high = epsilon_bounds(((_pure(1e-3), 10**7),), math.log(1e-6))
    assert time.perf_counter() - start < 2.0
    assert high - low < 1e-8
    mean, sd = 10**7 * 1e-3 * math.tanh(5e-4), 1e-3 * math.sqrt(10**7)
    assert mean + 3.0 * sd < low < mean + 5.0 * sd
    assert np.isfinite(high)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("epsilon", [-4.0, 0.0, 2.5])
def test_mass_too_faint_to_be_held_is_not_forgotten(times, epsilon):
    two = AtomPair((0.0, -742.0), (-1.0, 5.0))
    three = AtomPair((-1e-300, -742.0, -743.0), (-1.0, 2.0, 5.0))
    for pair in (two, three):
        low, high = log_delta_bounds(((pair, times),), epsilon)
        with mp.workdps(400):
            atoms = {round((loss + 1) / 3): mp.exp(p) for p, loss in zip(pair.log_p, pair.loss, strict=True)}
            law = oracle.compose(atoms, times)
            exact = oracle.atoms_delta([(p, mp.mpf(3 * k - times)) for k, p in law.items()], epsilon)
            assert low <= _log(exact) <= high
