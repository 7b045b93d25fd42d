"""What was recorded, by direction."""

import math

import pytest

from accountants import ZCDP, Gaussian, Laplace, PoissonSampled, Relation, UnsupportedEventError, Within
from accountants.composition import NO_ENGINE, compose, epsilon_of, log_delta_of, smoothed
from accountants.events import DiscreteGaussian, DominatingPair
from accountants.pairs import Shape

STEP = PoissonSampled(Gaussian(1.0), 0.01)


def test_directions_are_constant_along_a_composition():
    """Removing with removing, adding with adding; a symmetric event stands in both."""
    composition, held = compose(STEP * 10 + Laplace(2.0), "add_remove")
    shapes = [{pair.shape for pair, _ in direction} for direction in composition.directions]
    assert shapes == [{Shape.REMOVE, Shape.SHIFT}, {Shape.ADD, Shape.SHIFT}]
    assert held is Relation.add_remove
    assert composition.is_complete
    assert [times for _, times in composition.directions[0]] == [1, 10]


def test_slack_is_kept_apart():
    composition, _ = compose(Within(STEP, 0.1, 0.2) * 3, "add_remove")
    assert math.isclose(composition.slack.up, 0.3)
    assert math.isclose(composition.slack.down, 0.6)
    assert composition.directions == compose(STEP * 3, "add_remove")[0].directions


def test_an_event_without_a_pair_is_left_out_and_said():
    composition, _ = compose(STEP * 3 + ZCDP(0.1, Relation.add_remove), "add_remove")
    assert not composition.is_complete
    assert composition.directions == compose(STEP * 3, "add_remove")[0].directions


def test_smoothing_needs_a_pair_for_all():
    plain, held = compose(DiscreteGaussian(50.0, 2.0, 100), Relation.add_remove)
    assert smoothed(DiscreteGaussian(50.0, 2.0, 100), held, plain).is_complete
    with pytest.raises(UnsupportedEventError):
        smoothed(DiscreteGaussian(50.0, 2.0, 100) + ZCDP(0.1, Relation.add_remove), held, plain)


def test_the_larger_direction_and_its_engine():
    shown = epsilon_of(compose(STEP * 1000, "add_remove")[0], math.log(1e-5), 1e-4)
    assert math.isclose(shown.upper, 1.8282366665170906, rel_tol=1e-6)
    assert shown.upper_from == shown.lower_from == "contour"
    low, high = log_delta_of(compose(STEP * 1000, "add_remove")[0], 1e-4)(shown.upper)
    assert low <= math.log(1e-5) <= high + 1e-4


def test_no_engine_is_infinite():
    bare = compose(Laplace(1e-7) * 3, "replace_one")[0]
    shown = epsilon_of(bare, math.log(1e-5), 1e-4)
    assert (shown.lower, shown.upper, shown.upper_from) == (0.0, math.inf, NO_ENGINE)
    assert log_delta_of(bare, 1e-4)(1.0) == (-math.inf, 0.0)


def test_engines_are_asked_until_the_ends_close():
    """The contour stays open for so few steps, and the transform closes them; where it closes nothing else is asked."""
    few, many = (compose(STEP * times, "add_remove")[0] for times in (3, 1000))
    for composition, name in ((few, "tilted Fourier"), (many, "contour")):
        shown = epsilon_of(composition, math.log(1e-5), 1e-4)
        assert (shown.upper_from, shown.lower_from) == (name, name)
        assert 0.0 < shown.lower <= shown.upper <= shown.lower * (1.0 + 1e-4)
        low, high = log_delta_of(composition, 1e-4)(shown.upper)
        assert low <= math.log(1e-5) * (1.0 - 1e-12) and high - low <= 1e-4


def test_the_order_of_recording_is_forgotten():
    """Also for long pairs, which print alike."""

    def slope(ratio):
        logs = [ratio * k - math.log(sum(math.exp(ratio * j) for j in range(12))) for k in range(12)]
        return DominatingPair(logs, logs[::-1])

    steep, flat = slope(0.3), slope(0.1)
    assert repr(steep) == repr(flat)
    there, back = (compose(event, "add_remove")[0] for event in (steep + flat * 2, flat * 2 + steep))
    assert there == back
