"""Lower bounds that a named test reaches: below exact values, above nothing where something was revealed."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import lattice
from accountants.atoms import discrete_laplace, mirror_atoms, remove_atoms, response_laws
from accountants.pairs import AtomPair, Noise, Pair, Shape
from accountants.profile import gaussian_epsilon_bounds
from accountants.witness import _tested, thresholds, witness
from tests.oracles import curves as oracle

SAMPLED = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.01)


def _coins(pair, times, log_delta):
    """The best certified threshold test, whatever else the witness would have preferred."""
    return max((low for low, _ in _tested(pair, times, log_delta)), default=0.0)


def test_witness_is_below_a_published_value():
    low, name = witness(((SAMPLED, 1000),), math.log(1e-5))
    assert 1.2 < low < 1.8282366665170906
    assert name == "threshold test on 1000 releases"


@settings(max_examples=40)
@given(st.floats(0.3, 5.0), st.integers(2, 400), st.floats(-200.0, -2.0))
def test_witness_is_below_the_exact_value(scale, times, log_delta):
    laplace = remove_atoms(discrete_laplace(2.0 * scale, 2), 1.0)
    assert lattice.epsilon_bounds(((laplace, times),), log_delta)[1] >= _coins(laplace, times, log_delta)
    gauss = Pair(Noise.GAUSSIAN, scale, Shape.SHIFT)
    exact = gaussian_epsilon_bounds(math.sqrt(times) / scale, log_delta)[1]
    assert exact >= _coins(gauss, times, log_delta)
    assert witness(((gauss, times),), log_delta)[0] <= exact


@pytest.mark.parametrize("pair", [Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT), remove_atoms(discrete_laplace(4.0, 3), 1.0)])
def test_threshold_tests_come_close(pair):
    times, log_delta = 50, math.log(1e-5)
    exact = witness(((pair, times),), log_delta)[0]
    assert 0.5 * exact < _coins(pair, times, log_delta) <= exact


def test_every_kind_of_test_is_named():
    log_delta = math.log(1e-5)
    pure = remove_atoms(response_laws(0.1), 1.0)
    gauss = Pair(Noise.GAUSSIAN, 2.0, Shape.SHIFT)
    assert witness(((SAMPLED, 2),), log_delta)[1] == "one release"
    assert witness(((gauss, 20), (SAMPLED, 3)), log_delta)[1] == "the unsampled Gaussians"
    assert witness(((pure, 1000), (SAMPLED, 3)), log_delta)[1] == "1000 releases of one kind"
    assert witness((), log_delta) == witness(((SAMPLED, 5),), 0.0) == (0.0, "nothing")


def test_dropping_parts_never_raises_it():
    log_delta = math.log(1e-6)
    pure = remove_atoms(response_laws(0.1), 1.0)
    both = witness(((pure, 100), (SAMPLED, 1000)), log_delta)[0]
    assert both >= max(witness(((pure, 100),), log_delta)[0], witness(((SAMPLED, 1000),), log_delta)[0])


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize("shape", [Shape.SHIFT, Shape.REMOVE, Shape.ADD, Shape.ANTIPODAL, Shape.MIRROR])
def test_thresholds_are_points_below_the_tradeoff(noise, shape):
    q = 0.2 if shape is not Shape.SHIFT else 1.0
    pair = Pair(noise, 0.7, shape, q)
    log_p, log_q = thresholds(pair, math.log(1e-6))
    assert np.any(log_p > log_q)
    for one, other in zip(log_p[::4].tolist(), log_q[::4].tolist(), strict=True):
        with mp.workdps(oracle.DIGITS):
            # at the slope e^epsilon of the line through the point, delta is at least its gain
            for epsilon in (0.0, 0.3):
                gain = mp.exp(one) - mp.exp(mp.mpf(epsilon) + other)
                assert gain <= oracle.delta(noise.value, shape.value, 0.7, q, epsilon)


@pytest.mark.parametrize("epsilon", [0.2, 2.0])
def test_thresholds_of_atoms_are_points_below_the_tradeoff(epsilon):
    pair = mirror_atoms(response_laws(epsilon, 5), 0.3)
    pair = AtomPair(pair.log_p, pair.loss, 1e-4)
    with mp.workdps(oracle.DIGITS):
        atoms = [(mp.exp(p), mp.mpf(loss)) for p, loss in zip(pair.log_p, pair.loss, strict=True)]
        for one, other in zip(*(ends.tolist() for ends in thresholds(pair, math.log(1e-6))), strict=True):
            for at in (0.0, 0.05, 0.4):
                assert mp.exp(one) - mp.exp(at + mp.mpf(other)) <= oracle.atoms_delta(atoms, at, 1e-4)


@pytest.mark.parametrize("log_delta", [-1e-9, -1e3, -math.inf])
@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1.0, 1e300])
def test_extremes_are_never_nan(scale, log_delta):
    for noise in Noise:
        low, _ = witness(((Pair(noise, scale, Shape.REMOVE, 0.5), 3),), log_delta)
        assert low >= 0.0


def test_a_stranger_is_refused():
    with pytest.raises(TypeError, match="AtomPair"):
        thresholds("pair", -1.0)
