import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    Composed,
    EventError,
    Gaussian,
    Laplace,
    Ledger,
    LedgerError,
    PoissonSampled,
    RandomizedResponse,
    RDPAccountant,
    Relation,
    RelationError,
    UnsupportedEventError,
    epsilon,
)
from accountants.testing import event_strategy

STEP = PoissonSampled(Gaussian(1.0), 0.01)


def _ledger(**kwargs):
    return Ledger(**{"relation": "add_remove", **kwargs})


def test_ten_thousand_equal_steps_are_one_row():
    ledger = _ledger()
    for _ in range(10_000):
        ledger.record(STEP)
    assert ledger.entries == ((STEP, 10_000, ""),)
    assert len(ledger) == 10_000
    assert ledger.epsilon(delta=1e-5) == epsilon(STEP * 10_000, delta=1e-5, relation="add_remove")


def test_rows_keep_order_and_notes():
    ledger = _ledger()
    ledger.record(STEP, times=2, note="warm-up")
    ledger.record(STEP, times=3)
    ledger.record(Laplace(1.0))
    ledger.record(STEP)
    assert ledger.entries == ((STEP, 2, "warm-up"), (STEP, 3, ""), (Laplace(1.0), 1, ""), (STEP, 1, ""))
    assert len(ledger) == 7


def test_repeated_events_are_releases():
    ledger = _ledger()
    ledger.record((STEP * 5) * 2, times=3)
    ledger.record(STEP)
    ledger.record(STEP * 0)
    ledger.record(STEP, times=0)
    assert ledger.entries == ((STEP, 31, ""),)
    assert len(ledger) == 31


def test_a_release_brings_its_event_and_its_randomness():
    ledger = _ledger()
    ledger.record(SimpleNamespace(event=STEP))
    ledger.record(SimpleNamespace(event=STEP, secure=False), times=4)
    ledger.record(SimpleNamespace(event=STEP, secure=True, value=[1.0]))
    assert ledger.entries == ((STEP, 6, ""),)
    assert ledger.seeded_releases == 4


@pytest.mark.parametrize(
    "what",
    [
        None,
        1.0,
        "Gaussian",
        Gaussian,
        SimpleNamespace(value=3),
        SimpleNamespace(event=None),
        SimpleNamespace(event=STEP, secure=1),
    ],
)
def test_what_carries_no_event_is_refused(what):
    with pytest.raises(LedgerError, match="what must be an event or a release"):
        _ledger().record(what)


@dataclass
class _Secret:
    value: str = "the data"


def test_a_refusal_prints_no_data():
    with pytest.raises(LedgerError) as caught:
        _ledger().record(_Secret())
    assert "the data" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"what": STEP, "times": -1}, LedgerError),
        ({"what": STEP, "times": 1.0}, LedgerError),
        ({"what": STEP, "times": True}, LedgerError),
        ({"what": STEP, "note": None}, LedgerError),
        ({"what": object()}, LedgerError),
        ({"what": PoissonSampled(Laplace(1.0) * 2, 0.5)}, UnsupportedEventError),
        ({"what": Composed((STEP, PoissonSampled(STEP * 2, 0.5)))}, UnsupportedEventError),
    ],
)
def test_failed_record_changes_nothing(arguments, error):
    ledger = _ledger()
    ledger.record(SimpleNamespace(event=STEP, secure=False), note="kept")
    ledger.record(SimpleNamespace(event=STEP, secure=True), note="kept")
    before = (ledger.entries, len(ledger), ledger.seeded_releases, ledger.to_json())
    with pytest.raises(error):
        ledger.record(**arguments)
    assert (ledger.entries, len(ledger), ledger.seeded_releases, ledger.to_json()) == before


def test_asking_changes_nothing():
    ledger = _ledger()
    ledger.record(STEP, times=10)
    before = ledger.to_json()
    first = ledger.epsilon(delta=1e-5)
    ledger.statement(delta=1e-5)
    ledger.delta(epsilon=1.0)
    assert ledger.epsilon(delta=1e-5) == first
    assert ledger.to_json() == before


def test_entries_are_a_copy():
    ledger = _ledger()
    entries = ledger.entries
    ledger.record(STEP)
    assert entries == ()


@given(
    events=st.lists(
        st.tuples(event_strategy(), st.integers(0, 5), st.sampled_from([None, True, False]), st.text(max_size=5)),
        max_size=6,
    ),
    relation=st.sampled_from(Relation),
)
def test_json_round_trip_is_exact(events, relation):
    ledger = Ledger(relation=relation, unit="user")
    for event, times, secure, note in events:
        if RDPAccountant().supports(event, relation=relation):
            ledger.record(SimpleNamespace(event=event, secure=secure), times=times, note=note)
    again = Ledger.from_json(ledger.to_json())
    assert again == ledger
    assert again.to_json() == ledger.to_json()
    assert (again.unit, again.relation, again.seeded_releases) == ("user", relation, ledger.seeded_releases)
    assert again.epsilon(delta=1e-7) == ledger.epsilon(delta=1e-7)


def _with(**changes):
    ledger = _ledger()
    ledger.record(STEP, times=3)
    return json.dumps({**json.loads(ledger.to_json()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"schema": "accountants.ledger/1"}',
        '{"schema": "accountants.ledger/2"}',
        '{"schema": ["accountants.ledger/2"]}',
        "[" * 100_000,
        None,
        _with(schema="accountants.ledger/1"),
        _with(schema="accountants.ledger/3"),
        _with(relation="remove"),
        _with(unit=""),
        _with(unit=3),
        _with(extra=1),
        _with(entries={}),
        _with(entries=[1]),
        _with(entries=[{"event": {"type": "Gaussian", "noise_multiplier": 1.0}, "times": 1}]),
        _with(entries=[{"event": {"type": "Gaussian", "noise_multiplier": 1.0}, "times": True, "note": ""}]),
        _with(entries=[{"event": {"type": "Gaussian", "noise_multiplier": 1.0}, "times": 1.0, "note": ""}]),
        _with(entries=[{"event": {"type": "Gaussian", "noise_multiplier": 0.0}, "times": 1, "note": ""}]),
        _with(entries=[{"event": {"type": "Gaussian", "scale": 1.0}, "times": 1, "note": ""}]),
        _with(entries=[{"event": {"type": "Event"}, "times": 1, "note": ""}]),
        _with(entries=[{"event": {"type": "subprocess.Popen", "args": "ls"}, "times": 1, "note": ""}]),
        _with(entries=[{"event": "Gaussian", "times": 1, "note": ""}]),
        _with(seeded_releases=4),
        _with(seeded_releases=-1),
        _with(secure_releases=4),
        _with(secure_releases=-1),
        _with(secure_releases=True),
        _with(secure_releases=2, seeded_releases=2),
        _with(premises="none"),
        _with(premises=[1]),
        _with().replace("1.0", "NaN"),
        _with().replace("1.0", "Infinity"),
    ],
)
def test_what_is_not_a_ledgers_json_is_refused(text):
    with pytest.raises(LedgerError):
        Ledger.from_json(text)


FIRST = (
    '{"schema": "accountants.ledger/1", "relation": "zero_out", "unit": "user", "seeded_releases": 1, "entries": '
    '[{"event": {"type": "Gaussian", "noise_multiplier": 2.0}, "times": 3, "note": "n"}]}'
)


def test_the_first_schema_is_still_read():
    ledger = Ledger.from_json(FIRST)
    assert ledger.entries == ((Gaussian(2.0), 3, "n"),)
    assert (ledger.relation, ledger.unit, ledger.seeded_releases) == (Relation.zero_out, "user", 1)
    assert (ledger.secure_releases, ledger.premises) == (0, ())  # what was not recorded is not claimed
    assert json.loads(ledger.to_json())["schema"] == "accountants.ledger/2"
    assert Ledger.from_json(ledger.to_json()) == ledger


def test_a_later_schema_is_refused_by_name():
    later = FIRST.replace("ledger/1", "ledger/3")
    with pytest.raises(
        LedgerError, match=r"schema must be .*ledger/1' or .*ledger/2', got 'accountants.ledger/3'; use"
    ):
        Ledger.from_json(later)


def test_who_brought_an_event_is_kept():
    ledger = _ledger()
    ledger.record(STEP, times=2)
    ledger.record(SimpleNamespace(event=STEP))
    ledger.record(SimpleNamespace(event=STEP, secure=True), times=3)
    ledger.record(SimpleNamespace(event=STEP * 2, secure=False))
    assert (len(ledger), ledger.secure_releases, ledger.seeded_releases) == (8, 3, 2)
    again = Ledger.from_json(ledger.to_json())
    assert again == ledger
    assert again.secure_releases == 3
    typed = _ledger()
    typed.record(STEP, times=6)
    typed.record(SimpleNamespace(event=STEP, secure=False), times=2)
    assert typed != ledger


def test_merging_says_what_it_takes_for_granted():
    brought, typed = _ledger(), _holding((STEP, 2))
    brought.record(SimpleNamespace(event=STEP, secure=True), times=5)
    disjoint = Ledger.merge_disjoint([brought, typed])
    assert (len(disjoint), disjoint.secure_releases) == (5, 3)  # those by hand may be among the five
    assert disjoint.premises == ("no example has data in more than one of 2 parts that were merged as disjoint",)
    both = Ledger.merge([disjoint, brought, disjoint])
    assert (len(both), both.secure_releases, both.premises) == (15, 11, disjoint.premises)
    assert Ledger.from_json(both.to_json()) == both
    assert _ledger() != Ledger.merge_disjoint([_ledger()])
    moved = Ledger.merge_disjoint([_holding(relation="replace_one")] * 2, public_parts=True)
    assert moved.premises[1] == "what a record holds has no influence on the part that it is in"
    many = [_holding((STEP, 9)), _holding((Gaussian(2.0), 9)), brought]
    assert Ledger.merge_disjoint(many).secure_releases == 0


def test_constructor_is_checked():
    with pytest.raises(RelationError):
        Ledger(relation=None)
    with pytest.raises(TypeError):
        Ledger()
    with pytest.raises(LedgerError, match="unit must be"):
        Ledger(relation="add_remove", unit="")
    with pytest.raises(EventError, match="delta must be"):
        _ledger().epsilon(delta=0.0)


def test_an_empty_ledger_costs_nothing():
    ledger = _ledger()
    assert ledger.epsilon(delta=1e-300) == 0.0
    assert ledger.delta(epsilon=0.0) == 0.0
    assert len(ledger) == 0
    assert math.isfinite(ledger.statement(delta=1e-6).epsilon)


def test_ledgers_are_compared_by_content():
    one, other = _ledger(), _ledger()
    one.record(STEP, times=2)
    other.record(STEP)
    assert one != other
    other.record(STEP)
    assert one == other
    assert one != "ledger"
    assert repr(one) == "Ledger(relation='add_remove', unit='example', releases=2)"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("what", [Gaussian(1.0), Gaussian(1.0) * 2**30])
def test_a_ledger_counts_to_2_to_the_53(what):
    ledger = Ledger(relation="add_remove")
    ledger.record(Gaussian(1.0), times=2**53 - 5)
    before = ledger.to_json()
    with pytest.raises(LedgerError, match="times"):
        ledger.record(what, times=2**30)
    assert ledger.to_json() == before
    assert len(Ledger.from_json(before)) == 2**53 - 5
    assert ledger.epsilon(delta=1e-5) > 1e15


def _holding(*rows, relation="add_remove", unit="example"):
    ledger = Ledger(relation=relation, unit=unit)
    for event, times in rows:
        ledger.record(event, times=times)
    return ledger


def test_merged_ledgers_cost_as_one():
    one, other = _holding((STEP, 5), (Laplace(1.0), 1)), _holding((STEP, 7))
    one.record(SimpleNamespace(event=Gaussian(3.0), secure=False), times=2, note="seeded")
    before = one.to_json(), other.to_json()
    merged = Ledger.merge([one, other])
    assert merged.entries == (*one.entries, *other.entries)
    assert (len(merged), merged.seeded_releases) == (15, 2)
    together = STEP * 12 + Laplace(1.0) + Gaussian(3.0) * 2
    assert merged.epsilon(delta=1e-6) == epsilon(together, delta=1e-6, relation="add_remove")
    assert (one.to_json(), other.to_json()) == before
    assert Ledger.merge([one]) == one
    assert Ledger.from_json(merged.to_json()) == merged


@given(
    rows=st.lists(
        st.lists(st.tuples(st.sampled_from([STEP, Laplace(2.0), Gaussian(3.0)]), st.integers(0, 9)), max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_disjoint_ledgers_cost_as_the_largest(rows):
    ledgers = [_holding(*content) for content in rows]
    merged = Ledger.merge_disjoint(ledgers)
    for event in (STEP, Laplace(2.0), Gaussian(3.0)):
        counts = [sum(times for one, times, _ in ledger.entries if one == event) for ledger in ledgers]
        assert sum(times for one, times, _ in merged.entries if one == event) == max(counts)
    orders = RDPAccountant(orders=[1.5, 4.0, 32.0])  # without a search, so that more events cost more to the last bit
    largest = max(orders.epsilon(ledger, delta=1e-6) for ledger in ledgers)
    assert orders.epsilon(merged, delta=1e-6) >= largest
    assert Ledger.merge_disjoint([ledgers[0]] * 3).epsilon(delta=1e-6) == pytest.approx(
        ledgers[0].epsilon(delta=1e-6), rel=1e-12
    )  # rows of one event are joined, which moves the last bits


def test_of_disjoint_parts_each_event_counts_most():
    parts = [_holding((STEP, 3), (Laplace(1.0), 1)), _holding((STEP, 2), (Gaussian(3.0), 1), (STEP, 4))]
    merged = Ledger.merge_disjoint(parts)
    assert [(event, times) for event, times, _ in merged.entries] == [(STEP, 6), (Laplace(1.0), 1), (Gaussian(3.0), 1)]


def test_a_record_that_moves_between_parts_must_be_excluded():
    shards = [_holding((Gaussian(2.0), 3), relation="replace_one") for _ in range(4)]
    with pytest.raises(LedgerError, match="public_parts must be True"):
        Ledger.merge_disjoint(shards)
    with pytest.raises(LedgerError, match="public_parts must be True"):
        Ledger.merge_disjoint(shards, public_parts=1)
    assert len(Ledger.merge_disjoint(shards, public_parts=True)) == 3


def test_a_seeded_part_is_not_forgotten():
    secret, open_ = _holding((STEP, 5)), _holding()
    open_.record(SimpleNamespace(event=STEP, secure=False), times=4)
    assert Ledger.merge_disjoint([secret, open_]).seeded_releases == 4
    assert Ledger.merge_disjoint([open_, open_]).seeded_releases == 4


@pytest.mark.parametrize("merge", [Ledger.merge, Ledger.merge_disjoint])
def test_only_ledgers_of_one_kind_are_merged(merge):
    with pytest.raises(RelationError, match="one relation"):
        merge([_holding(), _holding(relation="zero_out")])
    with pytest.raises(LedgerError, match="one unit"):
        merge([_holding(), _holding(unit="user")])
    for given_ in ([], [STEP], ["ledger"]):
        with pytest.raises(LedgerError, match="ledgers must be"):
            merge(given_)


def test_many_rows_are_recorded_in_constant_time_each(monkeypatch):
    asked = []
    monkeypatch.setattr("accountants.ledger.best_accountant", lambda event, relation: asked.append(event))
    ledger = _ledger()
    for _ in range(1000):
        ledger.record(STEP)
        ledger.record(Gaussian(2.0))
    assert asked == [STEP, Gaussian(2.0)]
    assert len(ledger) == 2000
    assert len(ledger.entries) == 2000


def test_nothing_of_what_cannot_be_recorded_is_nothing():
    ledger = Ledger(relation="add_remove")
    for event in (RandomizedResponse(1.0), RandomizedResponse(1.0) * 0, Gaussian(1.0) + RandomizedResponse(1.0) * 0):
        ledger.record(event, times=0)
    assert ledger.entries == ()
