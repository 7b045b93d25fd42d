"""Parameters of events in which chance decides how often, or when."""

import math

import numpy as np
import pytest

from accountants import EventError, Gaussian
from accountants._json import data_to_event, event_to_data
from accountants.events import PrivateSelection, RandomAllocation


@pytest.mark.parametrize("bad", [0.0, -1.0, 0.999, math.nan, math.inf, True, None, "2"])
def test_a_number_of_runs_that_is_never_0_has_a_mean_of_at_least_1(bad):
    with pytest.raises(EventError, match="mean must be"):
        PrivateSelection(Gaussian(1.0), bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, True, None, "2"])
def test_poisson_may_have_less_than_one_run(bad):
    assert PrivateSelection(Gaussian(1.0), 0.25, math.inf).mean == 0.25
    with pytest.raises(EventError, match="mean must be"):
        PrivateSelection(Gaussian(1.0), bad, math.inf)


@pytest.mark.parametrize("bad", [-1.0, -2.0, -math.inf, math.nan, True, None, "poisson", 1j, 10**400])
def test_the_shape_is_above_minus_one(bad):
    with pytest.raises(EventError, match=r"shape must be a number > -1, got .*math.inf Poisson"):
        PrivateSelection(Gaussian(1.0), 2.0, bad)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, None, 2**53 + 1])
def test_steps_are_counted(bad):
    with pytest.raises(EventError, match="steps must be"):
        RandomAllocation(Gaussian(1.0), bad)


@pytest.mark.parametrize("bad", [1.0, None, Gaussian])
def test_the_inner_event_is_an_event(bad):
    for build in (lambda: PrivateSelection(bad, 2.0), lambda: RandomAllocation(bad, 2)):
        with pytest.raises(EventError, match="event must be an event"):
            build()


def test_equal_numbers_are_equal_events():
    assert PrivateSelection(Gaussian(1), np.float64(2.0), -0.0) == PrivateSelection(Gaussian(1.0), 2, 0)
    assert repr(PrivateSelection(Gaussian(1), 2, -0.0)) == repr(PrivateSelection(Gaussian(1.0), 2.0, 0.0))
    assert RandomAllocation(Gaussian(1.0), np.int64(3)).steps == 3


@pytest.mark.parametrize("shape", [math.inf, -0.5, 0.0])
def test_json_knows_every_shape(shape):
    event = RandomAllocation(Gaussian(1.0), 7) + PrivateSelection(Gaussian(1.0) * 2, 3.5, shape)
    assert data_to_event(event_to_data(event)) == event
