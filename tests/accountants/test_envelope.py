"""Chords of a bound of a convex function bound it: humps are bridged, the rest is left as it is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants._envelope import convex_envelope

points = st.floats(math.log(1e-5), math.log(1e7)).map(math.exp)


def _humped(t):
    """3 + t + t²/50 but for a valley at 0: a convex function is 0 there."""
    return 5.0 * t if t < 0.7 else 3.0 + t + t * t / 50.0


@given(t=points)
def test_a_hump_is_bridged_by_its_tangent(t):
    """From (0, 0) the tangent of the second function touches it where t² = 150."""
    touch = math.sqrt(150.0)
    slope = _humped(touch) / touch
    found = convex_envelope(_humped)(t)
    assert found <= _humped(t)
    truth = slope * t if t < touch else _humped(t)
    assert truth <= found * (1 + 1e-12)
    assert found <= truth * (1 + 1e-6)


@given(t=points)
def test_a_convex_bound_is_left_as_it_is(t):
    for bound in (lambda t: t * (1.0 + t), lambda t: t**1.5, lambda t: 0.0):
        assert convex_envelope(bound)(t) == bound(t)


def test_beyond_what_is_finite_nothing_is_known():
    envelope = convex_envelope(lambda t: t if t < 10.0 else math.inf)
    assert envelope(9.0) == 9.0
    assert envelope(10.0) == envelope(1e8) == math.inf
    assert convex_envelope(lambda t: math.inf)(1.0) == math.inf


@pytest.mark.parametrize("at", [3.0, 40.0, 5e4])
def test_a_hump_between_two_valleys(at):
    """A spike is cut off by a chord between points around it."""
    envelope = convex_envelope(lambda t: 2.0 * t + (5.0 if 0.5 * at < t < 2.0 * at else 0.0))
    assert 2.0 * at <= envelope(at) <= 2.0 * at * (1 + 1e-9)
    assert envelope(0.1 * at) == pytest.approx(0.2 * at)
