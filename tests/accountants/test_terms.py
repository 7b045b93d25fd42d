"""Terms: what is assumed is complete, what is enforced was recorded, and never more than that."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    Budget,
    BudgetExceededError,
    Gaussian,
    Laplace,
    Ledger,
    LedgerError,
    Odometer,
    Plan,
    PoissonSampled,
    PureDP,
    UnsupportedEventError,
)
from accountants.assumptions import all_assumptions
from accountants.terms import BUDGET, LEDGER, ODOMETER, PLAN, state

STEP = PoissonSampled(Gaussian(1.0), 0.01)
PROMISE = {"epsilon": 5.0, "delta": 1e-6, "relation": "add_remove", "unit": "user", "order": STEP}


def _books():
    """Everything that releases can be recorded in, with what it says of how they got in."""
    plan = Plan(STEP * 9, relation="add_remove", unit="user")
    odometer = Odometer(delta=1e-6, relation="add_remove", unit="user")
    return [
        (Ledger(relation="add_remove", unit="user"), LEDGER),
        (Budget(**PROMISE), BUDGET),
        (odometer, ODOMETER),
        (plan, PLAN),
    ]


def _record(book, brought):
    """Nine releases at most, each with what it says of its randomness; None is typed by hand."""
    for secure in brought:
        book.record(STEP if secure is None else SimpleNamespace(event=STEP, secure=secure))
    return book.statement(delta=1e-6)


@settings(max_examples=25)
@given(brought=st.lists(st.sampled_from([None, True, False]), max_size=9))
def test_nothing_is_enforced_that_was_not_recorded(brought):
    by_hand, secure = brought.count(None), brought.count(True)
    verb = "release was" if len(brought) == 1 else "releases were"
    for book, admission in _books():
        statement = _record(book, brought)
        expected = [admission.enforced]
        if len(brought) > by_hand:
            told = len(brought) - by_hand
            expected.append(f"{told} of {len(brought)} {verb} recorded with the event that the release itself brought")
        if secure:
            expected.append(f"{secure} of {len(brought)} {verb} recorded as made with cryptographic randomness")
        assert statement.enforced == tuple(expected)
        typed = f"{by_hand} of {len(brought)} {verb} recorded by hand, and made as declared"
        assert (typed in statement.assumed) == (by_hand > 0)
        assert statement.seeded_releases == brought.count(False)


def test_what_is_said_to_be_refused_is_refused():
    (ledger, _), (budget, _), (odometer, _), (plan, _) = _books()
    with pytest.raises(UnsupportedEventError):
        ledger.record(PureDP(1.0, "replace_one"))
    with pytest.raises(BudgetExceededError):
        budget.record(Gaussian(0.01))
    with pytest.raises(UnsupportedEventError):
        odometer.record(PureDP(1.0, "replace_one"))
    with pytest.raises(LedgerError):
        plan.record(Laplace(1.0))
    assert (len(ledger), len(budget), len(odometer), len(plan)) == (0, 0, 0, 0)


def test_each_way_of_recording_assumes_its_own():
    for book, admission in _books():
        assumed = _record(book, [True, None]).assumed
        assert admission.assumed in assumed
        assert [clause for clause in (LEDGER.assumed, BUDGET.assumed, PLAN.assumed) if clause in assumed] == [
            admission.assumed
        ]
        assert set(all_assumptions([STEP])) <= set(assumed)
        assert "nothing else was released about these records" in assumed
        assert any("all that one user contributes" in clause for clause in assumed)
        assert any("secret random words" in clause for clause in assumed)


def test_of_no_release_nothing_is_assumed_but_that_there_was_none():
    statement = Ledger(relation="add_remove", unit="user").statement(delta=1e-6)
    assert statement.enforced == (LEDGER.enforced,)
    assert len(statement.assumed) == 3
    assert "random" not in "".join(statement.assumed)


def test_disjoint_parts_are_an_assumption():
    parts = [Ledger(relation="replace_one", unit="user") for _ in range(2)]
    for part in parts:
        part.record(SimpleNamespace(event=Gaussian(3.0), secure=True))
    statement = Ledger.merge_disjoint(parts, public_parts=True).statement(delta=1e-6)
    assert "no user has data in more than one of 2 parts that were merged as disjoint" in statement.assumed
    assert "what a record holds has no influence on the part that it is in" in statement.assumed


def test_disjoint_parts_claim_no_more_than_the_least_that_brought_their_event():
    """Of the three that are counted, of three parts' nine, all may be those typed by hand."""
    parts = [Ledger(relation="add_remove") for _ in range(3)]
    for part in parts:
        part.record(SimpleNamespace(event=STEP, secure=False))
        part.record(STEP, times=2)
    merged = Ledger.merge_disjoint(parts)
    assert (len(merged), merged.seeded_releases, merged.secure_releases, merged.brought_releases) == (3, 3, 0, 0)
    statement = merged.statement(delta=1e-6)
    assert statement.enforced == (LEDGER.enforced,)
    assert "3 of 3 releases were recorded by hand, and made as declared" in statement.assumed
    one_after_the_other = Ledger.merge(parts)
    assert (len(one_after_the_other), one_after_the_other.brought_releases) == (9, 3)
    assert Ledger.from_json(one_after_the_other.to_json()).brought_releases == 3


def test_a_ledger_that_does_not_know_claims_nothing():
    ledger = Ledger(relation="add_remove")
    ledger.record(SimpleNamespace(event=STEP, secure=True), times=4)
    known = ledger.statement(delta=1e-6)
    first = (
        ledger.to_json()
        .replace("ledger/2", "ledger/1")
        .replace('"secure_releases": 4, "brought_releases": 4, "premises": [], ', "")
    )
    unknown = Ledger.from_json(first).statement(delta=1e-6)
    assert len(known.enforced) == 3
    assert unknown.enforced == (LEDGER.enforced,)
    assert unknown.assumed[-1] == "4 of 4 releases were recorded by hand, and made as declared"


NEW = ("secure_releases", "brought_releases", "premises")


def _first(data):
    """The same JSON data with every ledger in it as the first schema had it."""
    if not isinstance(data, dict):
        return data
    older = {name: _first(value) for name, value in data.items() if name not in NEW}
    return {**older, "schema": "accountants.ledger/1"} if data.get("schema") == "accountants.ledger/2" else older


@pytest.mark.parametrize("which", range(4), ids=["ledger", "budget", "odometer", "plan"])
def test_what_was_written_with_the_first_schema_is_still_read(which):
    book, admission = _books()[which]
    now = _record(book, [True, True, None])
    kind = type(book)
    assert book.secure_releases == kind.from_json(book.to_json()).secure_releases == 2
    again = kind.from_json(json.dumps(_first(json.loads(book.to_json()))))
    assert (again.entries, len(again), again.secure_releases) == (book.entries, 3, 0)
    then = again.statement(delta=1e-6)
    assert (then.epsilon, then.enforced) == (now.epsilon, (admission.enforced,))


def test_a_plan_says_what_was_made_of_it():
    plan = Plan(STEP * 9, relation="add_remove")
    nothing = plan.statement(delta=1e-6)
    assert nothing.enforced == (PLAN.enforced,)
    plan.record(SimpleNamespace(event=STEP, secure=True), times=2)
    plan.step()
    statement = plan.statement(delta=1e-6)
    assert statement.releases == 9
    assert statement.enforced[1] == "2 of 3 releases were recorded with the event that the release itself brought"
    assert statement.assumed[-1] == "1 of 3 releases were recorded by hand, and made as declared"


def test_state_is_what_a_ledger_says():
    ledger = Ledger(relation="zero_out")
    ledger.record(Laplace(2.0))
    own = ledger.statement(delta=1e-6)
    assert state(ledger, own.epsilon, own.delta, own.accountant) == own
