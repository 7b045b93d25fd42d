"""Curves of single pairs: exact values with 60 digits lie inside the bounds, in both directions and at every sign."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants.pairs import AtomPair, Noise, Pair, Shape
from accountants.profile import (
    curve,
    epsilon_bounds,
    gaussian_epsilon_bounds,
    gaussian_log_delta_bounds,
    log_delta_bounds,
    tails,
)
from tests.oracles import curves as oracle
from tests.oracles.vectors import rows

SHAPES = [(shape, 1) for shape in Shape] + [(Shape.REMOVE, 3), (Shape.ADD, 3)]
EPSILONS = (-40.0, -2.0, -0.1, -1e-9, 0.0, 1e-9, 1e-3, 0.09, 1.0, 7.0)


def _log(value):
    return mp.log(value) if value > 0 else mp.mpf("-inf")


def _exact(pair, epsilon):
    with mp.workdps(oracle.DIGITS):
        return _log(
            oracle.delta(pair.noise.value, pair.shape.value, pair.scale, pair.sampling_prob, epsilon, pair.size)
        )


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize(("scale", "q"), [(0.3, 0.01), (1.0, 0.5), (2.0, 1e-6), (20.0, 0.2)])
def test_curves_contain_the_exact_value(noise, shape, size, scale, q):
    pair = Pair(noise, scale, shape, q if shape is not Shape.SHIFT else 1.0, size)
    for epsilon in EPSILONS:
        low, high = log_delta_bounds(pair, epsilon)
        truth = _exact(pair, epsilon)
        assert low <= truth <= high <= 0.0
        if size == 1 and shape is not Shape.ANTIPODAL and truth > -300:
            assert high - low < 1e-10


@settings(max_examples=60)
@given(
    st.sampled_from([Noise.GAUSSIAN, Noise.LAPLACE]),
    st.sampled_from([Shape.REMOVE, Shape.ADD, Shape.MIRROR, Shape.ANTIPODAL]),
    st.floats(-1.5, 2.0),
    st.floats(-6.0, -0.01),
    st.floats(-3.0, 3.0),
)
def test_random_curves_contain_the_exact_value(noise, shape, log_scale, log_q, epsilon):
    pair = Pair(noise, 10.0**log_scale, shape, 10.0**log_q)
    low, high = log_delta_bounds(pair, epsilon)
    assert low <= _exact(pair, epsilon) <= high


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("log_delta", [math.log(0.01), math.log(1e-5), -70.0, -690.0])
def test_epsilon_is_enclosed(noise, shape, size, log_delta):
    pair = Pair(noise, 0.9, shape, 0.1 if shape is not Shape.SHIFT else 1.0, size)
    low, high = epsilon_bounds(pair, log_delta)
    assert 0.0 < low <= high < math.inf
    assert _exact(pair, low) >= log_delta >= _exact(pair, high)
    assert high - low < 1e-9 * (1.0 + high)
    assert curve(pair)(high)[1] <= log_delta < curve(pair)(low)[0]


def test_epsilon_is_zero_where_nothing_more_is_needed():
    assert epsilon_bounds(Pair(Noise.GAUSSIAN, 1e6, Shape.SHIFT), math.log(1e-5)) == (0.0, 0.0)


@pytest.mark.parametrize("q", [1e-300, 0.0, 1.0])
@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ADD, Shape.MIRROR, Shape.ANTIPODAL])
def test_extreme_sampling_is_never_nan(q, noise, shape):
    for scale in (1e-300, 1e-3, 1.0, 1e300):
        for epsilon in (-1e300, -1.0, 0.0, 1e-300, 1.0, 800.0, 1e300):
            low, high = log_delta_bounds(Pair(noise, scale, shape, q), epsilon)
            assert low <= high <= 0.0


@pytest.mark.parametrize("noise", Noise)
def test_everyone_sampled_is_the_plain_curve(noise):
    plain = log_delta_bounds(Pair(noise, 1.3, Shape.SHIFT), 0.4)
    for shape in (Shape.REMOVE, Shape.ADD, Shape.MIRROR):
        assert log_delta_bounds(Pair(noise, 1.3, shape, 1.0), 0.4) == plain


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ADD, Shape.MIRROR])
def test_sampling_enters_the_curve_once(shape):
    pair = Pair(Noise.GAUSSIAN, 1.0, shape, 0.5)
    for epsilon in (0.01, 0.2, 0.6):
        low, high = log_delta_bounds(pair, epsilon)
        assert low <= _exact(pair, epsilon) <= high


def test_adding_costs_no_more_than_removing_here_but_its_curve_is_its_own():
    remove, add = (log_delta_bounds(Pair(Noise.GAUSSIAN, 1.0, shape, 0.1), 0.2) for shape in (Shape.REMOVE, Shape.ADD))
    assert add[1] < remove[0]


ATOMS = [
    AtomPair((math.log(0.7), math.log(0.3)), (0.5, -1.1)),
    AtomPair((math.log(0.25),) * 4, (-2.0, 0.0, 1e-9, 3.0), failure=1e-6),
    AtomPair((-1e-9, -20.723265837046), (1e-9, 30.0)),
    AtomPair((0.0,), (0.0,), failure=0.25),
]


@pytest.mark.parametrize("pair", ATOMS)
def test_atoms_are_summed_up(pair):
    with mp.workdps(oracle.DIGITS):
        atoms = [(mp.exp(p), mp.mpf(loss)) for p, loss in zip(pair.log_p, pair.loss, strict=True)]
        for epsilon in (-5.0, -1.0, -1e-9, 0.0, 5e-10, 0.3, 2.9999, 31.0):
            low, high = log_delta_bounds(pair, epsilon)
            truth = _log(oracle.atoms_delta(atoms, epsilon, pair.failure))
            assert low <= truth <= high
            assert high - low < 1e-6 if truth > -600 else low == high == -math.inf


def test_failure_is_a_floor():
    pair = ATOMS[1]
    assert epsilon_bounds(pair, math.log(1e-7)) == (math.inf, math.inf)
    low, high = epsilon_bounds(pair, math.log(1e-5))
    assert 2.9 < low <= high < 3.0


def test_a_pure_pair_needs_no_delta():
    low, high = epsilon_bounds(ATOMS[0], -math.inf)
    assert low <= 0.5 <= high
    assert high - low < 1e-13


def test_atoms_far_down_are_not_lost():
    pair = AtomPair((-700.0, 0.0), (5.0, 0.0))
    low, high = epsilon_bounds(pair, math.log(1e-305))
    with mp.workdps(40):
        truth = 5 + mp.log1p(-mp.mpf(1e-305) * mp.exp(700))
    assert low <= truth <= high
    assert high - low < 1e-9


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize("shape", [Shape.SHIFT, Shape.REMOVE, Shape.ADD, Shape.ANTIPODAL, Shape.MIRROR])
def test_tails_contain_the_exact_masses(noise, shape):
    q = 0.2 if shape is not Shape.SHIFT else 1.0
    pair = Pair(noise, 0.8, shape, q)
    p_law, q_law = laws = oracle.mixtures(shape.value, q)
    for value in (-0.3, -0.05, 0.0, 0.1, 0.2, 0.9):
        found = tails(pair, value)
        with mp.workdps(oracle.DIGITS):
            c = oracle.threshold(laws, noise.value, 0.8, mp.mpf(abs(value) if shape is Shape.MIRROR else value))
            p, above = (
                mp.mpf(1) if c is None else mp.mpf(0) if c == mp.inf else oracle.beyond(law, noise.value, 0.8, c)
                for law in (p_law, q_law)
            )
            if shape is Shape.MIRROR and value < 0:
                p, above = 1 - above, 1 - p
            assert found.log_p[0] <= _log(p) <= found.log_p[1]
            assert found.log_q[0] <= _log(above) <= found.log_q[1]
        assert found.log_p[1] - found.log_p[0] < 1e-6 or found.log_p[0] == -math.inf


def test_tails_of_atoms():
    found = tails(ATOMS[1], 1e-10)
    assert found.log_p[0] <= math.log(0.5 * (1 - 1e-6) + 1e-6) <= found.log_p[1]
    assert found.log_q[0] <= math.log((1 - 1e-6) * 0.25 * (math.exp(-3.0) + math.exp(-1e-9))) <= found.log_q[1]
    assert found.log_p[1] - found.log_p[0] < 1e-13


@given(st.floats(1e-3, 50.0), st.floats(-600.0, -0.5))
def test_gaussian_epsilon_is_enclosed(mu, log_delta):
    low, high = gaussian_epsilon_bounds(mu, log_delta)
    assert 0.0 <= low <= high
    with mp.workdps(320):
        if high > 0.0:
            assert _log(_gaussian(mu, high)) <= log_delta
            assert low == 0.0 or _log(_gaussian(mu, low)) >= log_delta
        else:
            assert _log(_gaussian(mu, 0.0)) <= log_delta


def _gaussian(mu, epsilon):
    mu, e = mp.mpf(mu), mp.mpf(epsilon)
    return mp.ncdf(mu / 2 - e / mu) - mp.exp(e) * mp.ncdf(-mu / 2 - e / mu)


def test_gaussian_curve_at_negative_epsilon():
    low, high = gaussian_log_delta_bounds(0.7, -0.4)
    with mp.workdps(60):
        assert low <= _log(_gaussian(0.7, -0.4)) <= high


EXACT = [row for row in rows() if row.name.split("_")[0] in ("gauss", "laplace", "psg1", "psl1", "dgauss")]
LAWS = {"gaussian": Noise.GAUSSIAN, "poisson-subsampled gaussian": Noise.GAUSSIAN}


def _pair_of(row):
    given = row.params
    if row.mechanism == "discrete gaussian":
        return AtomPair(*_canonical(given["sigma"], int(given["sensitivity"])))
    scale = given.get("noise_multiplier", given.get("b"))
    shape = Shape(given.get("direction", "shift"))
    return Pair(LAWS.get(row.mechanism, Noise.LAPLACE), scale, shape, given.get("q", 1.0))


def _canonical(sigma, shift):
    k = np.arange(-40 * int(sigma), 40 * int(sigma) + 1)
    log_mass = -0.5 * ((k - shift) / sigma) ** 2
    log_mass -= math.log(math.fsum(np.exp(log_mass)))
    return tuple(log_mass.tolist()), tuple((shift * (2 * k - shift) / (2 * sigma**2)).tolist())


@pytest.mark.parametrize(
    "row", [row for row in EXACT if row.ask in ("log_delta", "delta", "epsilon")], ids=lambda r: r.name
)
def test_published_values(row):
    if row.ask == "epsilon":
        mu = math.sqrt(row.params["T"]) / row.params["noise_multiplier"]
        low, high = gaussian_epsilon_bounds(mu, math.log(row.at["delta"]))
    else:
        low, high = log_delta_bounds(_pair_of(row), row.at["eps"])
        low, high = (low, high) if row.ask == "log_delta" else (math.exp(low), math.exp(high))
    assert low - row.slack <= row.value <= high + row.slack
    assert high - low <= 4.0 * row.slack


def test_a_stranger_is_refused():
    with pytest.raises(TypeError, match="AtomPair"):
        log_delta_bounds("gaussian", 1.0)
    with pytest.raises(TypeError, match="AtomPair"):
        tails(np.array([1.0]), 1.0)
    with pytest.raises(TypeError, match="AtomPair"):
        epsilon_bounds(None, -1.0)
