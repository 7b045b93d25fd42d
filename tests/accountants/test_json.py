from dataclasses import dataclass
from typing import final

import pytest
from hypothesis import given

from accountants import Event, Gaussian, LedgerError
from accountants._json import data_to_event, event_to_data, refuse_constant
from accountants.testing import event_strategy


@given(event=event_strategy())
def test_data_is_the_event(event):
    assert data_to_event(event_to_data(event)) == event


def test_the_format_is_stable():
    assert event_to_data(Gaussian(1.5) * 2) == {
        "type": "Repeated",
        "event": {"type": "Gaussian", "noise_multiplier": 1.5},
        "times": 2,
    }


@final
@dataclass(frozen=True, slots=True)
class Named(Event):
    """A third party's event with a tuple, a string and nothing."""

    weights: tuple[float, ...]
    label: str
    nothing: None = None


@final
@dataclass(frozen=True, slots=True)
class Typed(Event):
    """Its field takes the key of the name."""

    type: str


@final
@dataclass(frozen=True, slots=True)
class Odd(Event):
    """Its field is no JSON value."""

    value: object


class Plain(Event):
    """Not a dataclass."""


def test_fields_of_third_parties():
    event = Named((1.0, 2.0), "a")
    assert data_to_event(event_to_data(event)) == event


@pytest.mark.parametrize("event", [Typed("x"), Odd(object()), Odd([1]), Plain()])
def test_what_json_cannot_hold_is_refused(event):
    with pytest.raises(LedgerError):
        event_to_data(event)


@pytest.mark.parametrize(
    "data", [None, [], {}, {"type": 1}, {"type": "Event"}, {"type": "Gaussian"}, {"event": "Gaussian"}]
)
def test_what_is_no_event_is_refused(data):
    with pytest.raises(LedgerError):
        data_to_event(data)


def test_constants_are_refused():
    with pytest.raises(LedgerError, match="finite, got NaN"):
        refuse_constant("NaN")
