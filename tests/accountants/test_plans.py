"""Where lattices are laid: nothing here can break a bound, but choices should be good ones."""

import math

import numpy as np
import pytest

from accountants._cells import Reach
from accountants._plans import Goal, Placed, for_delta, for_epsilon, log_prefactor, planned
from accountants._transform import cumulants
from accountants.atoms import remove_atoms, response_laws
from accountants.pairs import AtomPair, Noise, Pair, Shape

SHIFT = Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT)
LAPLACE = Pair(Noise.LAPLACE, 2.0, Shape.SHIFT)
RARE = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 1e-5)


def _goal(log_delta, accuracy):
    return Goal(
        for_delta(log_delta),
        lambda tilt, at: (at.value + log_prefactor(tilt, at) - log_delta) / tilt,
        lambda tilt, at: accuracy,
    )


def test_the_tilt_is_the_saddle_of_a_gaussian():
    """K(t) = t(1+t)/2 for N(1, 1) against N(0, 1); the mean of the tilted loss is then near the epsilon asked."""
    plan = planned(Placed(((SHIFT, 1),), Reach(-60.0)), Goal(for_epsilon(3.0), lambda *_: 3.0, lambda *_: 1e-4))
    saddle = plan.tilt + 0.5 - 3.0 - 1.0 / plan.tilt - 1.0 / (1.0 + plan.tilt)
    assert abs(saddle) < 0.2


@pytest.mark.parametrize("accuracy", [1e-3, 1e-5])
def test_the_spacing_follows_the_accuracy(accuracy):
    plan = planned(Placed(((SHIFT, 3),), Reach(-60.0)), _goal(math.log(1e-6), accuracy))
    wish = math.sqrt(3.0 * accuracy / ((1.0 + plan.tilt) * 3))
    assert 0.3 * wish < plan.spacing <= 1.01 * wish


def test_atoms_lie_on_the_lattice():
    """Laplace noise has an atom at either end, 2/scale apart; randomized response two, 2 epsilon apart."""
    for pair, apart in ((LAPLACE, 1.0), (remove_atoms(response_laws(0.7), 1.0), 1.4)):
        spacing = Placed(((pair, 4),), Reach(-60.0)).aligned(1e-3)
        assert 0.5e-3 <= spacing <= 1e-3 * (1.0 + 1e-9)
        assert abs(apart / spacing - round(apart / spacing)) < 1e-6


def test_irregular_atoms_are_nearly_on_the_lattice():
    probabilities = np.array([0.2, 0.5, 0.3])
    loss = np.array([-0.41, -0.1, 0.69])
    pair = AtomPair(tuple(np.log(probabilities)), tuple(loss))
    spacing = Placed(((pair, 4),), Reach(-60.0)).aligned(1e-2)
    place = (loss - loss[1]) / spacing
    above = place - np.floor(place + 1e-7)
    assert probabilities @ above < 0.1  # of what half a spacing, the mean of a lattice at random, would be: a fifth


def test_what_cannot_be_afforded_is_lumped_together():
    placed = Placed(((RARE, 1000),), Reach(-45.0))
    near = placed.around(1e-3, 1e-7)
    assert near.width < 0.1 * placed.width
    assert placed.around(1e-3, placed.width / 100.0) is placed


def test_saddle_point_approximation_is_near():
    rows = Placed(((SHIFT, 1),), Reach(-60.0)).upper(1e-2)
    tilt = 4.0
    at = cumulants(rows, tilt)
    assert math.isclose(at.value, tilt * (1.0 + tilt) / 2.0, rel_tol=1e-3)
    assert math.isclose(at.mean, tilt + 0.5, rel_tol=1e-3)
    epsilon = at.mean - 1.0 / tilt - 1.0 / (1.0 + tilt)
    from accountants.profile import log_delta_bounds

    truth = log_delta_bounds(SHIFT, epsilon)[1]
    assert abs(at.value - tilt * epsilon + log_prefactor(tilt, at) - truth) < 0.3
