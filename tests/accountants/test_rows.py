"""The rows of the kit: every event has one, and what is drawn is what was asked for."""

from hypothesis import given

from accountants import Event, RandomizedResponse, Relation
from accountants._rows import EVENTS, event_strategy


def test_every_public_event_has_a_row_in_the_kit():
    public = {kind for kind in Event.registry.values() if kind.__module__.startswith("accountants.")}
    assert public == {row.kind for row in EVENTS}
    for row in EVENTS:
        assert row.examples
        assert all(type(event) is row.kind for event in row.examples)


@given(event=event_strategy(relation=Relation.zero_out))
def test_drawn_guarantees_hold_under_the_relation_asked_for(event):
    def stated(inner):
        inside = inner.events if hasattr(inner, "events") else (inner.event,) if hasattr(inner, "event") else ()
        return [inner, *(found for one in inside for found in stated(one))]

    assert {inner.relation for inner in stated(event) if hasattr(inner, "relation")} <= {Relation.zero_out}
    assert not any(isinstance(inner, RandomizedResponse) for inner in stated(event))
