import json
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
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    RelationError,
    UnsupportedEventError,
    epsilon,
)
from accountants.errors import BudgetExceededError
from accountants.plan import Plan

STEP = PoissonSampled(Gaussian(1.0), 0.01)
WHOLE = Laplace(20.0) + STEP * 3 + Laplace(20.0)


def _plan(event=WHOLE, **kwargs):
    return Plan(event, **{"relation": "add_remove", **kwargs})


def _picture(plan):
    return plan.entries, plan.done, len(plan), plan.remaining(), plan.seeded_releases, plan.to_json(), repr(plan)


def test_a_plan_goes_in_its_order_and_no_further():
    plan = _plan()
    assert plan.entries == ((Laplace(20.0), 1, ""), (STEP, 3, ""), (Laplace(20.0), 1, ""))
    assert [plan.step() for _ in range(5)] == [Laplace(20.0), STEP, STEP, STEP, Laplace(20.0)]
    assert (len(plan), plan.remaining(), plan.done) == (5, 0, plan.entries)
    for beyond in (plan.step, lambda: plan.record(STEP), lambda: plan.record(Laplace(20.0))):
        with pytest.raises(BudgetExceededError, match="a plan is not extended"):
            beyond()
    assert len(plan) == 5


def test_a_refused_record_changes_nothing_of_a_plan():
    plan = _plan()
    plan.record(SimpleNamespace(event=Laplace(20.0), secure=False), note="first")
    plan.record(STEP, note="second")
    before = _picture(plan)
    bad = [
        (STEP, 3, "", BudgetExceededError),
        (STEP * 2, 2, "", BudgetExceededError),
        (Laplace(20.0), 1, "", LedgerError),
        (Gaussian(100.0), 1, "", LedgerError),
        (STEP, -1, "", LedgerError),
        (STEP, 2, None, LedgerError),
        (None, 1, "", LedgerError),
    ]
    for what, times, note, error in bad:
        with pytest.raises(error):
            plan.record(what, times, note)
        assert _picture(plan) == before
    plan.record(STEP, times=0)
    assert plan.done == before[1]
    plan.record(STEP * 2)
    plan.record(Laplace(20.0))
    assert plan.remaining() == 0
    assert plan.seeded_releases == 1


@pytest.mark.parametrize("made", range(6))
def test_stopping_early_costs_the_whole_plan(made):
    plan = _plan()
    for _ in range(made):
        plan.step()
    whole = epsilon(WHOLE, delta=1e-6, relation="add_remove")
    assert plan.epsilon(delta=1e-6) == pytest.approx(whole, rel=1e-9)
    assert plan.spent(delta=1e-6) == plan.spent(delta=1e-6, fixed=1) == plan.epsilon(delta=1e-6)
    done = Ledger(relation="add_remove")
    for event, times, _ in plan.done:
        done.record(event, times=times)
    assert plan.spent(delta=1e-6, fixed=True) == done.epsilon(delta=1e-6)
    assert plan.delta(epsilon=1.0) == _plan().delta(epsilon=1.0)
    assert PLDAccountant().epsilon(plan, delta=1e-6) == plan.epsilon(delta=1e-6, accountant=PLDAccountant())


def test_a_plan_may_use_any_accountant():
    plan = _plan(STEP * 1000)
    tight = plan.epsilon(delta=1e-5)
    assert tight < plan.epsilon(delta=1e-5, accountant=RDPAccountant())
    statement = plan.statement(delta=1e-5)
    assert statement.epsilon == tight
    assert statement.releases == 1000
    assert "0 of 1000 planned releases were made, all count" in str(statement)
    plan.record(SimpleNamespace(event=STEP, secure=False))
    assert plan.statement(delta=1e-5, accountant=RDPAccountant()).seeded_releases == 1


def test_sums_are_taken_apart_and_repeated_sums_are_not():
    both = Laplace(9.0) + STEP
    assert _plan(Composed((both, both * 1, STEP * 0))).entries == (
        (Laplace(9.0), 1, ""),
        (STEP, 1, ""),
        (Laplace(9.0), 1, ""),
        (STEP, 1, ""),
    )
    twice = _plan(both * 2)
    assert twice.entries == ((both, 2, ""),)
    assert twice.step() == both
    assert _plan((STEP * 2) * 3 + STEP).entries == ((STEP, 7, ""),)
    empty = _plan(Composed(()))
    assert (empty.remaining(), empty.epsilon(delta=1e-6)) == (0, 0.0)
    with pytest.raises(BudgetExceededError):
        empty.step()


@given(takes=st.lists(st.integers(0, 3), max_size=6), notes=st.lists(st.text(max_size=3), min_size=6, max_size=6))
def test_json_gives_a_plan_back(takes, notes):
    plan = _plan(unit="user")
    for times, note in zip(takes, notes, strict=False):
        left = [event for event, count, _ in plan.entries for _ in range(count)][len(plan) :]
        run = next((k for k, event in enumerate(left) if event != left[0]), len(left))
        if left:
            plan.record(SimpleNamespace(event=left[0], secure=False), times=min(times, run), note=note)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert _picture(again) == _picture(plan)
    while again.remaining():
        assert again.step() == plan.step()
    assert again == plan


def _with(**changes):
    plan = _plan()
    plan.step()
    return json.dumps({**json.loads(plan.to_json()), **changes})


def _ledger(*events, **kwargs):
    ledger = Ledger(**{"relation": "add_remove", **kwargs})
    for event in events:
        ledger.record(event)
    return json.loads(ledger.to_json())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", LedgerError),
        (_with(extra=1), LedgerError),
        (_with(schema="accountants.ledger/1"), LedgerError),
        (_with(done=[]), LedgerError),
        (_with(done=_ledger(STEP)), LedgerError),
        (_with(done=_ledger(unit="user")), LedgerError),
        (_with(done=_ledger(relation="zero_out")), LedgerError),
        (_with(done=_ledger(Laplace(20.0), Laplace(20.0))), BudgetExceededError),
    ],
)
def test_what_is_not_a_plans_json_is_refused(text, error):
    with pytest.raises(error):
        Plan.from_json(text)


def test_constructor_is_checked():
    with pytest.raises(TypeError):
        Plan(STEP)
    with pytest.raises(RelationError):
        _plan(relation="remove")
    with pytest.raises(LedgerError, match="event must be an event"):
        _plan("Gaussian")
    with pytest.raises(UnsupportedEventError):
        _plan(PoissonSampled(Laplace(1.0) * 2, 0.5))
    with pytest.raises(EventError):
        _plan().epsilon(delta=0.0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(_plan())
    assert _plan() != _plan(STEP)
    assert _plan() != WHOLE
