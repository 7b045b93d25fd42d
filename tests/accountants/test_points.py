"""Points and weights of sampled Gaussians: every error bound against sums with 40 digits."""

import math

import mpmath as mp
import numpy as np
import pytest

from accountants import _points
from accountants._numerics import EPS
from accountants._points import (
    Law,
    cumulants,
    cut_weight,
    grid_of,
    log_moment,
    log_moment_bound,
    quadrature_error,
    reachable,
    strip_bound,
)
from tests.oracles import sampled as oracle

LAWS = [
    Law(scale, prob, add)
    for scale, prob in (
        (0.1, 0.3),
        (0.3, 0.1),
        (0.5, 1e-6),
        (1.0, 0.01),
        (1.0, 1.0 - 1e-7),
        (4.0, 0.5),
        (20.0, 1e-3),
        (0.7, 0.9),
    )
    for add in (False, True)
]
ORDERS = (0.05, 1.5, 12.0, 60.0)


def _sum(law, order, s, eta, shift):
    """The trapezoid sum of I(t+is), with 40 digits."""
    z, eta = mp.mpc(order, s), mp.mpf(eta)
    reach = 14 * law.scale + 1
    low, high = (-order - reach, reach) if law.add else (-reach, 1 + order + reach)
    points = [(j + shift) * eta for j in range(int(low / eta) - 1, int(high / eta) + 2)]
    return mp.fsum(eta * mp.exp(oracle.log_density(law, x) + z * oracle.loss(law, x)) for x in points)


def test_the_oracle_is_the_integral():
    # Gauss-Legendre quadrature knows nothing of strips and trapezoids
    with mp.workdps(30):
        for law in (Law(1.0, 0.01, False), Law(0.7, 0.9, True)):
            tilt = oracle.Tilt(law, 3.0, 4.0, 30)
            panels = mp.linspace(-14, 18, 30) if not law.add else mp.linspace(-18, 14, 30)
            for s in (0.0, 4.0):
                z = mp.mpc(3.0, s)
                value = mp.quad(
                    lambda x, z=z, law=law: mp.exp(oracle.log_density(law, x) + z * oracle.loss(law, x)), panels
                )
                mine = mp.exp(tilt.log_moment) * tilt.at(s) * mp.expj(s * tilt.mean)
                assert abs(value - mine) <= 1e-22 * abs(mp.exp(tilt.log_moment))


@pytest.mark.parametrize("prob", [1e-9, 1e-4, 0.3, 0.9, 1.0 - 1e-9, 1.0 - 2.0**-52])
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
def test_losses_keep_their_digits(scale, prob):
    # 4 EPS for each of two elementary functions, once over 1 - w >= 1/2, and 2 EPS of u: at most 16 EPS (|L| + r|u|)
    law = Law(scale, prob, False)
    grid = grid_of(law, 8.0, 0)
    points = grid.step * (np.arange(grid.base.size) + math.floor((-1.0 - 12.0 * scale) / grid.step))
    with mp.workdps(40):
        for index in range(0, grid.base.size, max(1, grid.base.size // 150)):
            x = mp.mpf(float(points[index]))
            exact = oracle.loss(law, x)
            assert abs(mp.mpf(float(grid.loss[index])) - exact) <= 16 * EPS * float(grid.magnitude[index])
            density = oracle.log_density(law, x) + mp.log(mp.mpf(grid.step))
            rounding = 8 * EPS * float(abs(grid.log_phi[index]) + grid.magnitude[index])
            assert abs(mp.mpf(float(grid.base[index])) - density) <= 2 * rounding


@pytest.mark.parametrize("add", [False, True])
def test_losses_of_both_directions_are_opposite(add):
    grid = grid_of(Law(1.0, 0.2, add), 2.0, 0)
    sign = -1.0 if add else 1.0
    assert np.all(np.diff(sign * grid.loss) >= 0.0)
    assert np.all(grid.share >= 0.0)
    assert np.all(grid.share <= 1.0 + 1e-12)


@pytest.mark.parametrize("function", ["exp", "expm1", "log1p", "sin", "cos", "log"])
def test_elementary_functions_err_by_four_eps_at_most(function):
    rng = np.random.default_rng(7)
    arguments = {
        "exp": rng.uniform(-700.0, 700.0, 400),
        "expm1": np.concatenate([rng.uniform(-40.0, 700.0, 300), rng.normal(0.0, 1e-5, 100)]),
        "log1p": np.concatenate([rng.uniform(-0.5, 10.0, 300), np.exp(rng.uniform(-30.0, 600.0, 100))]),
        "sin": np.concatenate([rng.uniform(-3.0, 3.0, 200), rng.normal(0.0, 1e3, 200)]),
        "cos": np.concatenate([rng.uniform(-3.0, 3.0, 200), rng.normal(0.0, 1e3, 200)]),
        "log": np.exp(rng.uniform(-600.0, 600.0, 400)),
    }[function]
    with mp.workdps(40):
        exact = [getattr(mp, "ln" if function == "log" else function)(mp.mpf(float(x))) for x in arguments]
        for value, truth in zip(getattr(np, function)(arguments), exact, strict=True):
            assert abs(mp.mpf(float(value)) - truth) <= 4 * EPS * abs(truth)


STRIPS = [
    (Law(1.0, 0.01, False), 4.0),
    (Law(1.0, 0.3, True), 0.5),
    (Law(0.4, 0.1, False), 0.5),
    (Law(0.4, 0.1, True), 4.0),
    (Law(5.0, 0.5, True), 30.0),
    (Law(0.7, 0.999, True), 30.0),
]


@pytest.mark.parametrize(("law", "order"), STRIPS)
def test_strip_bound_is_above_the_error_of_quadrature(law, order):
    nearest = math.inf
    with mp.workdps(40):
        tilt = oracle.Tilt(law, order, 12.0, 30)
        moment = mp.exp(tilt.log_moment)
        for coarse in (0.3, 0.6):
            eta = coarse * min(2.5 * law.scale, 3.0 * law.scale**2)
            for s in (0.0, 2.0, 12.0):
                exact = moment * tilt.at(mp.mpf(s)) * mp.expj(s * tilt.mean)
                errors = [abs(_sum(law, order, s, eta, shift) - exact) / moment for shift in (0.0, 0.25, 0.5)]
                bound = float(strip_bound(law, order, eta, np.array([s]))[0])
                assert max(errors) <= bound
                nearest = min(nearest, math.log(bound / float(max(errors))))
    assert nearest < 6.0  # and it is not idle: somewhere among these it is within a few nats


def test_strip_bound_grows_with_s_and_falls_with_the_step():
    for law in LAWS:
        bounds = strip_bound(law, 3.0, 0.2 * min(law.scale, law.scale**2), np.array([0.0, 1.0, 5.0, 30.0]))
        assert np.all(np.diff(bounds) > 0.0)
        finer = strip_bound(law, 3.0, 0.1 * min(law.scale, law.scale**2), np.array([0.0, 1.0, 5.0, 30.0]))
        assert np.all(finer < bounds)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("order", [0.5, 8.0])
def test_cut_weight_is_above_what_is_cut(monkeypatch, law, order):
    # with ends so near that the cut shows
    monkeypatch.setattr(_points, "_CUT", 3.0)
    grid = _points._grid(law, order, 0)
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    start = math.floor(((-order if law.add else 0.0) - 1.0 - 3.0 * law.scale) / grid.step)
    with mp.workdps(25):
        eta = mp.mpf(grid.step)

        def at(x):
            return mp.exp(oracle.log_density(law, x) + order * oracle.loss(law, x) - top)

        reach = int(12 * law.scale / grid.step)
        low, high = start, start + grid.base.size - 1
        left_out = mp.fsum(eta * at(j * eta) for j in range(low - reach, low))
        left_out += mp.fsum(eta * at(j * eta) for j in range(high + 1, high + reach))
    assert float(left_out) <= cut_weight(law, grid, weight)
    monkeypatch.undo()
    grid = _points._grid(law, order, 0)  # and in use nothing is cut that matters
    weight = np.exp(grid.base + order * grid.loss - top)
    assert cut_weight(law, grid, weight) <= 1e-29 * float(weight.sum())


@pytest.mark.parametrize(
    ("law", "order"), [(law, order) for law in LAWS for order in ORDERS if reachable(law, 1.3 * order, 0)], ids=str
)
def test_log_moment_errs_by_less_than_it_says(law, order):
    reach = max(2.0, 1.3 * order)
    grid = grid_of(law, reach, 0)
    exponent = grid.base + order * grid.loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    value, error = log_moment(law, grid, order, exponent, top, float(weight.sum()))
    exact = oracle.log_moment(law, order)
    error += 4.0 * cut_weight(law, grid, weight) / float(weight.sum()) + quadrature_error(law, order, grid.step)
    assert abs(mp.mpf(value) - exact) <= error
    assert error <= 1e-11 * value + 1e-30 * (1.0 + order)  # however small: no digit is lost, and 1e-30 is cut
    bound = log_moment_bound(law, order, reach, 0)
    assert exact <= bound <= value + 1.01 * error


def test_small_moments_keep_their_digits():
    # q = 1e-6: I(t) - 1 is about 1e-12, and T = 1e7 of them must not be lost in the rounding of 1 + 1e-12
    law = Law(1.0, 1e-6, False)
    exact = oracle.log_moment(law, 2.0)
    assert exact < 1e-11
    bound = log_moment_bound(law, 2.0, 2.0, 0)
    assert exact <= bound <= exact * (1 + mp.mpf(1e-12))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_cumulants_are_the_derivatives(law):
    value, mean, variance = cumulants(law, 3.0, 4.0)
    tilt = oracle.Tilt(law, 3.0)
    assert value == pytest.approx(float(tilt.log_moment), rel=1e-8, abs=1e-14)
    assert mean == pytest.approx(float(tilt.mean), rel=1e-8)
    assert variance == pytest.approx(float(tilt.variance), rel=1e-8)


def test_a_grid_is_a_step_of_few_bits_times_whole_numbers():
    grid = grid_of(Law(0.7, 0.1, False), 4.0, 2)
    assert math.ldexp(*math.frexp(grid.step)) == grid.step
    mantissa = math.frexp(grid.step)[0] * 2**24
    assert mantissa == int(mantissa)


def test_what_the_strip_does_not_bound_is_infinite():
    law = Law(1.0, 0.01, True)
    assert quadrature_error(law, 50.0, 2.0) == math.inf
    assert quadrature_error(law, 1.0, 0.1) < 1e-20


@pytest.mark.parametrize("law", [Law(1e-9, 0.1, False), Law(1e80, 0.1, True), Law(1.0, 1e-300, False)], ids=str)
def test_laws_whose_squares_underflow_have_no_grid(law):
    assert not reachable(law, 2.0, 0)


def test_long_grids_are_not_kept():
    law = Law(0.03, 0.1, False)
    assert reachable(law, 2.0, 0)
    assert grid_of(law, 2.0, 0) is not grid_of(law, 2.0, 0)
    short = Law(1.0, 0.1, False)
    assert grid_of(short, 2.0, 0) is grid_of(short, 2.0, 0)
