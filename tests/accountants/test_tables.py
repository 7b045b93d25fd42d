"""The rules under the moments: the mass and mean they must reproduce, where they give up, and their margins."""

import math

import numpy as np
import pytest

from accountants._tables import full_table, half_table
from accountants.moments import log_moment
from accountants.pairs import Noise, Pair, Shape

EPS = 2.0**-52
GAUSS, LAPLACE = Noise.GAUSSIAN, Noise.LAPLACE


@pytest.mark.parametrize("level", [1, 3, 5])
@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize(
    ("noise", "scale"), [(GAUSS, 0.4), (GAUSS, 1.0), (GAUSS, 30.0), (LAPLACE, 0.3), (LAPLACE, 4.0)]
)
def test_weights_are_those_of_two_laws(noise, scale, shape, level):
    """P and Q have mass 1 up to rounding, so every rule integrates 1 and P/Q."""
    table = full_table(Pair(noise, scale, shape, 0.3), level)
    assert math.fsum(np.exp(table.log_p)) == pytest.approx(1.0, abs=2e-14)
    assert math.fsum(np.exp(table.log_p - table.loss)) == pytest.approx(1.0, abs=2e-14)


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ADD])
@pytest.mark.parametrize(("noise", "scale", "size"), [(GAUSS, 2.0, 3), (GAUSS, 20.0, 40), (LAPLACE, 1.5, 4)])
def test_groups_have_two_laws_as_well(noise, scale, size, shape):
    table = full_table(Pair(noise, scale, shape, 0.2, size), 3)
    assert math.fsum(np.exp(table.log_p)) == pytest.approx(1.0, abs=1e-13)
    assert math.fsum(np.exp(table.log_p - table.loss)) == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize(("scale", "order"), [(0.3, 1.5), (1.0, 9.0), (40.0, 300.0)])
def test_half_lines_hold_the_mass_of_positive_losses(scale, order):
    """Q(x > 1/2) for Gauss; for Laplace the same with the atom beyond 1."""
    table = half_table(Pair(GAUSS, scale, Shape.MIRROR, 0.1), order)
    assert math.fsum(np.exp(table.log_q)) == pytest.approx(0.5 * math.erfc(0.5 / scale / math.sqrt(2.0)), rel=1e-13)
    table = half_table(Pair(LAPLACE, scale, Shape.MIRROR, 0.1), order)
    assert math.fsum(np.exp(table.log_q)) == pytest.approx(0.5 * math.exp(-0.5 / scale), rel=1e-13)
    assert np.all(table.loss > 0.0)


@pytest.mark.parametrize("noise", Noise)
def test_a_half_line_made_for_more_orders_says_the_same(noise):
    """The rule's error is below e^-37 for every order up to its own: tables for 2 and for 90 agree at 2."""
    pair = Pair(noise, 1.3, Shape.MIRROR, 0.2)

    def moment(table, order):
        growth = np.expm1(order * table.loss) * -np.expm1(-(order - 1.0) * table.loss)
        return math.fsum(np.exp(table.log_q) * growth)

    assert moment(half_table(pair, 2.0), 2.0) == pytest.approx(moment(half_table(pair, 90.0), 2.0), rel=64 * EPS)


@pytest.mark.parametrize(
    ("pair", "level"),
    [
        (Pair(GAUSS, 1e-4, Shape.REMOVE, 0.1), 1),
        (Pair(GAUSS, 0.3, Shape.REMOVE, 0.1), 12),
        (Pair(LAPLACE, 0.01, Shape.REMOVE, 0.1), 8),
        (Pair(GAUSS, 3.0, Shape.REMOVE, 0.1, 4000), 3),
        (Pair(LAPLACE, 3.0, Shape.ADD, 0.1, 4000), 3),
    ],
)
def test_too_long_a_table_is_not_made(pair, level):
    assert full_table(pair, level) is None
    assert log_moment(pair, 2.0 ** (level - 1)) > 0.0, "a coarser bound serves"


def test_too_long_a_half_line_is_not_made():
    pair = Pair(GAUSS, 0.1, Shape.MIRROR, 0.1)
    assert half_table(pair, 500.0) is None
    whole = log_moment(Pair(GAUSS, 0.1, Shape.SHIFT), 500.0)
    assert 0.99 * whole < log_moment(pair, 500.0) <= whole
