"""Log-moments against quadrature with 34 digits: never below, and above by less than the rounding stated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.moments import log_moment, majorant, max_log_ratio
from accountants.pairs import Noise, Pair, Shape
from tests.oracles.accounting import gauss_log_moment, laplace_log_moment

RELATIVE = 2e-11  # 32 to 64 EPS times the mean exponent, which stays below 10^3 in these cases

GAUSS_GRID = [
    (0.3, 1e-6, 1.5),
    (0.3, 0.01, 1.001),
    (0.3, 0.5, 3.0),
    (0.3, 1e-3, 12.0),
    (0.5, 1e-6, 2.0),
    (0.5, 0.1, 7.25),
    (0.5, 0.9, 20.0),
    (0.7, 1e-4, 1.0001),
    (0.7, 0.02, 33.3),
    (1.0, 1e-6, 1.2),
    (1.0, 0.01, 2.0),
    (1.0, 0.01, 32.0),
    (1.0, 0.1, 1.5),
    (1.0, 0.6, 9.9),
    (1.5, 0.04, 8.0),
    (1.5, 0.999, 4.0),
    (2.5, 0.01, 1.5),
    (2.5, 1e-5, 70.0),
    (4.0, 0.25, 100.5),
    (10.0, 1e-6, 3.0),
    (10.0, 0.3, 250.0),
    (50.0, 1e-6, 1.01),
    (50.0, 0.01, 500.0),
    (50.0, 0.97, 300.0),
]
LAPLACE_GRID = [
    (0.1, 0.01, 1.5),
    (0.1, 0.5, 8.3),
    (0.5, 1e-6, 2.0),
    (0.5, 0.2, 1.0001),
    (1.0, 0.1, 17.0),
    (1.0, 0.97, 200.0),
    (3.0, 1e-3, 64.0),
    (3.0, 0.4, 2.5),
    (100.0, 1e-6, 1.3),
    (100.0, 0.5, 500.0),
]


def _check(value, truth):
    excess = (value - truth) / truth
    assert 0 <= excess < RELATIVE


SHAPED = [(Shape.REMOVE, *row) for row in GAUSS_GRID] + [
    (Shape.ANTIPODAL, *row) for row in GAUSS_GRID if row[2] < 110.0
]


@pytest.mark.parametrize(("shape", "scale", "prob", "order"), SHAPED)
def test_gauss_moment_is_the_integral(shape, scale, prob, order):
    _check(
        log_moment(Pair(Noise.GAUSSIAN, scale, shape, prob), order), gauss_log_moment(shape.value, scale, prob, order)
    )


@pytest.mark.parametrize("shape", [Shape.SHIFT, Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize(("scale", "prob", "order"), LAPLACE_GRID)
def test_laplace_moment_is_the_integral(shape, scale, prob, order):
    pair = Pair(Noise.LAPLACE, scale, shape, prob)
    _check(log_moment(pair, order), laplace_log_moment(shape.value, scale, prob, order))


@pytest.mark.parametrize(("scale", "prob", "order"), GAUSS_GRID[:20:3])
def test_remove_dominates_add_gauss(scale, prob, order):
    assert majorant(Pair(Noise.GAUSSIAN, scale, Shape.ADD, prob)).shape is Shape.REMOVE
    assert gauss_log_moment("add", scale, prob, order) <= gauss_log_moment("remove", scale, prob, order)


@pytest.mark.parametrize(("scale", "prob", "order"), LAPLACE_GRID)
def test_remove_dominates_add(scale, prob, order):
    add = Pair(Noise.LAPLACE, scale, Shape.ADD, prob)
    assert laplace_log_moment("add", scale, prob, order) <= log_moment(add, order)


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize(("noise", "scale"), [(Noise.GAUSSIAN, 1e-2), (Noise.GAUSSIAN, 0.3), (Noise.LAPLACE, 0.02)])
def test_beyond_the_tables_the_bound_is_coarser_and_still_a_bound(noise, scale, shape):
    pair = Pair(noise, scale, shape, 0.01)
    order = {0.3: 33.0, 1e-2: 1.5, 0.02: 60.0}[scale]
    oracle = gauss_log_moment if noise is Noise.GAUSSIAN else laplace_log_moment
    truth = oracle(shape.value, scale, 0.01, order)
    assert truth <= log_moment(pair, order) <= 4.1 * truth


@given(
    noise=st.sampled_from(Noise),
    shape=st.sampled_from([Shape.REMOVE, Shape.ANTIPODAL]),
    scale=st.floats(1e-5, 1e8),
    prob=st.floats(1e-12, 1.0 - 1e-12),
    order=st.floats(1.0 + 1e-9, 1e6),
)
def test_moments_are_numbers_and_grow_with_order_and_sampling(noise, shape, scale, prob, order):
    value = log_moment(Pair(noise, scale, shape, prob), order)
    whole = log_moment(Pair(noise, scale / (2.0 if shape is Shape.ANTIPODAL else 1.0), Shape.SHIFT), order)
    assert value >= 0.0
    assert value <= max(whole, 0.0) * (1 + 1e-9) + 1e-34 * order**2


def test_tables_are_shared_by_orders_and_tilt_is_not():
    pair = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.01)
    values = [log_moment(pair, order) / (order - 1.0) for order in np.linspace(1.1, 40.0, 50)]
    assert np.all(np.diff(values) > 0.0), "RDP grows with the order, across the tables' edges too"


@pytest.mark.parametrize("prob", [5e-324, 1e-300, 1e-20, 1.0 - 2.0**-53])
@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize("noise", Noise)
def test_extreme_probabilities(noise, shape, prob):
    for order in (1.0 + 1e-9, 2.0, 100.0):
        assert 0.0 < log_moment(Pair(noise, 1.0, shape, prob), order) < math.inf


def test_gauss_has_no_pure_epsilon():
    assert math.isinf(max_log_ratio(Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT)))


@pytest.mark.parametrize(("scale", "prob"), [(0.5, 0.2), (2.0, 0.9), (30.0, 1e-3)])
def test_pure_epsilon_of_laplace_is_the_largest_log_ratio(scale, prob):
    s = 1.0 / scale
    remove, add = math.log(1 - prob + prob * math.exp(s)), -math.log(1 - prob + prob * math.exp(-s))
    for shape, truth in ((Shape.REMOVE, remove), (Shape.ADD, add), (Shape.ANTIPODAL, remove + add), (Shape.SHIFT, s)):
        value = max_log_ratio(Pair(Noise.LAPLACE, scale, shape, prob))
        assert truth * (1 - 1e-12) <= value <= truth * (1 + 1e-11)  # the formula here cancels; the module's does not
