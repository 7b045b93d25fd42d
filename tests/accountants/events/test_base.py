"""The algebra of events: what a sum, a repetition and a name are. More in tests/accountants/test_events.py."""

import pytest

from accountants import Composed, Event, EventError, Gaussian, Group, Laplace, Repeated
from accountants.events.base import check_event


def test_sums_stay_flat_and_repetitions_do_not():
    a, b = Gaussian(1.0), Laplace(1.0)
    assert (a + b + a).events == (a, b, a)
    assert (a * 2) * 3 == Repeated(Repeated(a, 2), 3)
    assert Composed((a + b, a)).events == (a + b, a)


def test_an_event_that_stands_twice_is_looked_into_once():
    event = Gaussian(1.0)
    for _ in range(60):
        event = Composed((event, event))
    check_event("event", event)


def test_too_deep_is_refused_by_every_class_with_an_inner_event():
    event = Gaussian(1.0)
    for _ in range(64):
        event = Group(event, 1)
    with pytest.raises(EventError, match="nested at most 64 deep"):
        check_event("event", Composed((event,)))


def test_a_third_partys_class_is_known_by_name():
    kind = type("OnlyHere", (Event,), {"__slots__": ()})
    assert Event.registry["OnlyHere"] is kind
    del Event.registry["OnlyHere"]
