import json
import math
from dataclasses import dataclass
from typing import final

import pytest
from hypothesis import given

from accountants import DominatingPair, Event, Gaussian, Ledger, LedgerError, PureDP, RDPCurve
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


@pytest.mark.parametrize(
    "event",
    [
        DominatingPair((0.0, -math.inf), (-math.inf, 0.0)),
        RDPCurve((2.0, 3.0), (0.5, math.inf), "add_remove"),
        Named((math.inf, -math.inf, 1.0), "inf"),
        Named((1.0,), '{"number": "inf"}'),
    ],
)
def test_infinities_are_strict_json_and_come_back(event):
    text = json.dumps(event_to_data(event), allow_nan=False)
    again = data_to_event(json.loads(text, parse_constant=refuse_constant))
    assert again == event
    assert repr(again) == repr(event)


def test_infinities_come_back_through_a_ledgers_text():
    ledger = Ledger(relation="add_remove")
    ledger.record(RDPCurve((2.0, 3.0), (0.5, math.inf), "add_remove"))
    assert Ledger.from_json(ledger.to_json()) == ledger


@pytest.mark.parametrize("number", ["nan", "Infinity", "1.0", 1.0, None, [], {"number": "inf"}])
def test_only_the_two_infinities_are_named(number):
    data = {"type": "Named", "weights": [{"number": number}], "label": "a", "nothing": None}
    with pytest.raises(LedgerError, match="must be"):
        data_to_event(data)


def test_nan_is_no_parameter():
    with pytest.raises(LedgerError, match="NaN"):
        event_to_data(Named((math.nan,), "a"))


def test_a_relation_is_its_name():
    data = event_to_data(PureDP(1.0, "zero_out"))
    assert json.loads(json.dumps(data)) == {"type": "PureDP", "epsilon": 1.0, "relation": "zero_out"}
    assert data_to_event(json.loads(json.dumps(data))).relation is PureDP(1.0, "zero_out").relation
    with pytest.raises(LedgerError, match="relation must be one of"):
        data_to_event({**data, "relation": "remove"})
