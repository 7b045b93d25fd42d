import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    Composed,
    DistributedDiscreteGaussian,
    Event,
    EventError,
    Gaussian,
    Laplace,
    PoissonSampled,
    Repeated,
    Within,
)
from accountants.testing import event_strategy

BAD = [0.0, -1.0, math.nan, math.inf, True, None, "1"]


@pytest.mark.parametrize("bad", BAD)
def test_noise_is_a_finite_number_above_zero(bad):
    for kind in (Gaussian, Laplace):
        with pytest.raises(EventError, match="noise_multiplier must be"):
            kind(bad)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("field", ["local_stddev", "parties", "l2_bound", "dim"])
def test_shares_are_checked_by_name(field, bad):
    good = {"local_stddev": 2.0, "parties": 3, "l2_bound": 1.0, "dim": 4}
    with pytest.raises(EventError, match=f"{field} must be"):
        DistributedDiscreteGaussian(**{**good, field: bad})


@pytest.mark.parametrize("bad", [-1e-300, math.nan, math.inf, True, None])
def test_slack_and_probability_are_checked(bad):
    with pytest.raises(EventError, match="up must be"):
        Within(Gaussian(1.0), bad, 0.0)
    with pytest.raises(EventError, match="down must be"):
        Within(Gaussian(1.0), 0.0, bad)
    with pytest.raises(EventError, match="sampling_prob must be"):
        PoissonSampled(Gaussian(1.0), bad)
    with pytest.raises(EventError, match="sampling_prob must be in"):
        PoissonSampled(Gaussian(1.0), 1.0000001)


@pytest.mark.parametrize("bad", [-1, 1.0, True, None, "2"])
def test_times_is_a_count(bad):
    with pytest.raises(EventError, match="times must be"):
        Gaussian(1.0) * bad


@pytest.mark.parametrize("bad", [1.0, None, "Gaussian", Gaussian])
def test_what_is_inside_is_an_event(bad):
    for build in (lambda: Within(bad, 0.0, 0.0), lambda: PoissonSampled(bad, 0.1), lambda: Repeated(bad, 2)):
        with pytest.raises(EventError, match="event must be an event"):
            build()
    with pytest.raises(EventError, match="events must be"):
        Composed([Gaussian(1.0), bad])


def test_composed_takes_iterables_of_events():
    assert Composed(iter([Gaussian(1.0), Laplace(1.0)])).events == (Gaussian(1.0), Laplace(1.0))
    with pytest.raises(EventError, match="use \\[a, b\\]"):
        Composed(Gaussian(1.0))


def test_algebra():
    a, b, c = Gaussian(1.0), Laplace(2.0), Gaussian(3.0)
    assert 3 * a == a * 3 == a * np.int64(3) == Repeated(a, 3)
    assert (a + b) + c == a + (b + c) == Composed((a, b, c))
    with pytest.raises(TypeError):
        a + 1


def test_events_are_frozen():
    event = Gaussian(1.0)
    with pytest.raises(AttributeError):
        event.noise_multiplier = 2.0
    assert event == Gaussian(1.0)


def test_numbers_are_normalised_so_that_equal_events_are_equal_rows():
    assert Gaussian(1) == Gaussian(np.float64(1.0))
    assert type(Gaussian(np.float64(1.0)).noise_multiplier) is float
    assert hash(PoissonSampled(Gaussian(1), -0.0)) == hash(PoissonSampled(Gaussian(1.0), 0.0))
    assert repr(PoissonSampled(Gaussian(1), -0.0)) == repr(PoissonSampled(Gaussian(1.0), 0.0))


@given(event=event_strategy())
def test_events_are_values(event):
    assert event == copy.deepcopy(event) == pickle.loads(pickle.dumps(event))  # noqa: S301  # our own bytes
    assert len({event, copy.copy(event)}) == 1


@given(noise=st.floats(1e-3, 1e3), times=st.integers(0, 10**6), prob=st.floats(0.0, 1.0))
def test_repr_builds_the_event_again(noise, times, prob):
    event = PoissonSampled(Within(Gaussian(noise), 0.25, 0.0), prob) * times + Laplace(noise)
    names = {kind.__name__: kind for kind in (Composed, Gaussian, Laplace, PoissonSampled, Repeated, Within)}
    assert eval(repr(event), names) == event  # noqa: S307  # the text is our own


def test_a_name_belongs_to_one_class():
    with pytest.raises(EventError, match="name must be unique"):
        type("Gaussian", (Event,), {"__module__": "elsewhere", "__slots__": ()})
    assert Event.registry["Gaussian"] is Gaussian
