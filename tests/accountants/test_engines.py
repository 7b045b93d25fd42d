"""Engines: who answers for what, and that the rows agree where several could answer."""

import math

import mpmath as mp
import pytest

from accountants import Gaussian, PoissonSampled, Relation
from accountants.atoms import remove_atoms, response_laws
from accountants.engines import ENGINES, engines_of
from accountants.pairs import Noise, Pair, Shape, dominating_pairs
from tests.oracles.accounting import gaussian_delta

REMOVE = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.01)
ADD = Pair(Noise.GAUSSIAN, 1.0, Shape.ADD, 0.01)
SHIFT = Pair(Noise.GAUSSIAN, 2.0, Shape.SHIFT)
LAPLACE = Pair(Noise.LAPLACE, 2.0, Shape.SHIFT)
ATOMS = remove_atoms(response_laws(1.0), 0.5)


@pytest.mark.parametrize(
    ("direction", "name"),
    [
        ((), "closed form"),
        (((SHIFT, 5),), "closed form"),
        (((SHIFT, 5), (Pair(Noise.GAUSSIAN, 3.0, Shape.SHIFT), 2)), "closed form"),
        (((REMOVE, 1),), "closed form"),
        (((LAPLACE, 1),), "closed form"),
        (((ATOMS, 1),), "closed form"),
        (((REMOVE, 2),), "contour"),
        (((ADD, 2), (SHIFT, 1)), "contour"),
    ],
)
def test_the_first_engine(direction, name):
    assert engines_of(direction)[0].name == name


@pytest.mark.parametrize(
    "direction",
    [
        ((LAPLACE, 2),),
        ((REMOVE, 2), (LAPLACE, 1)),
        ((Pair(Noise.GAUSSIAN, 1.0, Shape.ANTIPODAL, 0.1), 2),),
        ((Pair(Noise.GAUSSIAN, 1.0, Shape.MIRROR, 0.1), 2),),
        ((Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.1, 3), 2),),
        ((Pair(Noise.LAPLACE, 1.0, Shape.REMOVE, 0.1), 2),),
    ],
)
def test_what_only_the_transform_answers(direction):
    """The antipodal pair and the mirrored one are not covered by the contour's proofs, nor are groups and Laplace."""
    assert [engine.name for engine in engines_of(direction)] == ["tilted Fourier"]


def _true_epsilon(mu, delta):
    with mp.workdps(34):
        return mp.findroot(lambda e: mp.log(gaussian_delta(mu, e)) - mp.log(delta), (mu * 3, mu * 4), solver="secant")


@pytest.mark.parametrize(("scale", "times", "delta"), [(2.0, 1, 1e-5), (50.0, 10_000, 1e-10), (0.5, 3, 1e-6)])
def test_unsampled_gaussians_in_closed_form_and_by_the_contour(scale, times, delta):
    direction = ((Pair(Noise.GAUSSIAN, scale, Shape.SHIFT), times),)
    truth = _true_epsilon(math.sqrt(times) / scale, delta)
    answers = [engine for engine in ENGINES if engine.supports(direction)]
    assert {engine.name for engine in answers} == {"closed form", "contour", "tilted Fourier"}
    for engine in answers:
        low, high = engine.epsilon_bounds(direction, math.log(delta), 1e-4, 0.0)
        assert low <= truth <= high
        assert high - low <= 1e-4 * high


def test_bounds_hold_for_a_log_delta_within_rounding():
    """The logarithm of the caller's delta was rounded: both ends hold for its neighbours too."""
    for direction in (((SHIFT, 3),), ((REMOVE, 1),), ((REMOVE, 1000),)):
        engine = engines_of(direction)[0]
        log_delta = math.log(1e-5)
        low, high = engine.epsilon_bounds(direction, log_delta, 1e-4, 0.0)
        nudged_low = engine.epsilon_bounds(direction, log_delta * (1.0 + 2.0**-51), 1e-4, 0.0)
        nudged_high = engine.epsilon_bounds(direction, log_delta * (1.0 - 2.0**-51), 1e-4, 0.0)
        assert low <= nudged_high[1]
        assert high >= nudged_low[0]
        assert engine.curve(direction, 1e-4)(high, -math.inf)[0] <= log_delta * (1.0 + 4.0 * 2.0**-52)


def test_delta_and_epsilon_agree():
    for direction in (((SHIFT, 3),), ((REMOVE, 1),), ((ADD, 1),), ((ATOMS, 1),), ((REMOVE, 1000),), ((ADD, 500),)):
        engine = engines_of(direction)[0]
        for log_delta in (-3.0, -12.0, -60.0):
            low, high = engine.epsilon_bounds(direction, log_delta, 1e-4, 0.0)
            if high > 0.0:
                below, above = engine.curve(direction, 1e-4)(high, -math.inf)
                assert below <= log_delta
                assert above >= engine.curve(direction, 1e-4)(high, -math.inf)[0]
            if low > 0.0:
                assert engine.curve(direction, 1e-4)(low, -math.inf)[1] >= log_delta


def test_equal_laws_are_one_part():
    """Two events may have one pair: the contour counts them together."""
    pair = dominating_pairs(PoissonSampled(Gaussian(1.0), 0.01), Relation.add_remove)[0]
    split, whole = ((pair, 400), (pair, 600)), ((pair, 1000),)
    engine = engines_of(whole)[0]
    assert engine.epsilon_bounds(split, -11.5, 1e-4, 0.0) == engine.epsilon_bounds(whole, -11.5, 1e-4, 0.0)


def test_good_enough_saves_work_and_stays_sound():
    high = engines_of(((ADD, 1000),))[0].epsilon_bounds(((ADD, 1000),), math.log(1e-5), 1e-4, 1.8)[1]
    truth = engines_of(((ADD, 1000),))[0].epsilon_bounds(((ADD, 1000),), math.log(1e-5), 1e-4, 0.0)
    assert truth[1] <= high <= 1.8


def test_noise_whose_square_underflows_has_no_contour():
    """1/1e200² is 0 in float64, and no separation is."""
    wide = Pair(Noise.GAUSSIAN, 1e200, Shape.SHIFT)
    assert engines_of(((REMOVE, 2), (SHIFT, 1)))[0].name == "contour"
    assert engines_of(((REMOVE, 2), (wide, 1))) == ()
    assert engines_of(((wide, 2),))[0].name == "closed form"
