"""The curve by half-lines against the same with 60 digits; the closed forms are the second witness."""

import math

import mpmath as mp
import pytest

from accountants._halfline import crossing, half_line_log_delta, laws, log_tails
from accountants.pairs import Noise, Pair, Shape
from accountants.profile import log_delta_bounds
from tests.oracles import curves as oracle

CASES = [
    (noise, shape, scale, q, size)
    for noise in Noise
    for shape, size in [
        (Shape.ANTIPODAL, 1),
        (Shape.REMOVE, 1),
        (Shape.ADD, 1),
        (Shape.REMOVE, 3),
        (Shape.ADD, 3),
        (Shape.REMOVE, 12),
        (Shape.ADD, 12),
    ]
    for scale, q in [(0.4, 0.3), (1.0, 1e-4), (5.0, 0.02), (60.0, 0.9)]
]


@pytest.mark.parametrize(("noise", "shape", "scale", "q", "size"), CASES)
def test_contains_the_best_half_line(noise, shape, scale, q, size):
    pair = Pair(noise, scale, shape, q, size)
    for epsilon in (0.0, 1e-6, q / scale, 0.3, 2.0 * size / scale):
        low, high = half_line_log_delta(pair, epsilon)
        truth = oracle.delta(noise.value, shape.value, scale, q, epsilon, size)
        log_truth = mp.log(truth) if truth > 0 else mp.mpf("-inf")
        assert low <= log_truth <= high
        if low > -100.0:
            assert high - low < 1e-6  # near the largest loss the bracket grows; elsewhere it is below 1e-9


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize("shape", [Shape.SHIFT, Shape.REMOVE, Shape.ADD])
def test_agrees_with_the_closed_form(noise, shape):
    pair = Pair(noise, 0.8, shape, 0.05)
    for epsilon in (0.0, 0.01, 0.04):
        low, high = half_line_log_delta(pair, epsilon)
        closed = log_delta_bounds(pair, epsilon)
        assert low <= closed[1] and closed[0] <= high


@pytest.mark.parametrize(("noise", "shape", "scale", "q", "size"), CASES)
def test_crossing_is_certified(noise, shape, scale, q, size):
    both = laws(Pair(noise, scale, shape, q, size))
    centres = oracle.mixtures(shape.value, q, size)
    for value in (-0.01, 0.0, 0.02, 1.0):
        where = crossing(both, value)
        with mp.workdps(60):
            if math.isfinite(where.low):
                assert oracle.loss(centres, noise.value, scale, mp.mpf(where.low)) <= value
            if where.reached and math.isfinite(where.high):
                assert oracle.loss(centres, noise.value, scale, mp.mpf(where.high)) >= value


@pytest.mark.parametrize("noise", Noise)
def test_tails_contain_the_exact_mass(noise):
    pair = Pair(noise, 0.7, Shape.REMOVE, 0.2, 4)
    p, q = oracle.mixtures("remove", 0.2, 4)
    for c in (-30.0, -0.2, 0.0, 1.7, 6.0, 22.0):
        for bounds, law in zip(log_tails(laws(pair), c), (p, q), strict=True):
            with mp.workdps(60):
                assert bounds[0] <= mp.log(oracle.beyond(law, noise.value, 0.7, mp.mpf(c))) <= bounds[1]


@pytest.mark.parametrize("noise", Noise)
def test_a_wide_bracket_is_paid_for(noise, monkeypatch):
    monkeypatch.setattr("accountants._halfline._NARROW", 0.05)
    pair = Pair(noise, 1.0, Shape.ANTIPODAL, 0.2)
    low, high = half_line_log_delta(pair, 0.15)
    truth = mp.log(oracle.delta(noise.value, "antipodal", 1.0, 0.2, 0.15))
    assert low <= truth <= high
    assert high - low > 1e-6
