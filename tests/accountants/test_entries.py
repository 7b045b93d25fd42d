"""Ledgers that require secure releases hold no other, by whatever way they come; and say so."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Budget, Gaussian, Ledger, LedgerError, Odometer, Plan
from accountants.errors import InsecureReleaseError
from accountants.terms import BUDGET, LEDGER, ODOMETER, PLAN

EVENT = Gaussian(20.0)
CLAUSE = "a release that did not say that all its randomness was cryptographic was refused"
KINDS = {
    "ledger": (LEDGER, lambda **how: Ledger(relation="add_remove", **how)),
    "budget": (BUDGET, lambda **how: Budget(epsilon=2.0, delta=1e-6, relation="add_remove", **how)),
    "odometer": (ODOMETER, lambda **how: Odometer(delta=1e-6, relation="add_remove", **how)),
    "plan": (PLAN, lambda **how: Plan(EVENT * 9, relation="add_remove", **how)),
}
EACH = pytest.mark.parametrize(("admission", "make"), KINDS.values(), ids=KINDS)
INSECURE = {
    "seeded": SimpleNamespace(event=EVENT, secure=False),
    "silent": SimpleNamespace(event=EVENT),
    "nothing said": SimpleNamespace(event=EVENT, secure=None),
    "bare": EVENT,
    "several": EVENT * 2,
}


def _secure(event=EVENT):
    return SimpleNamespace(event=event, secure=True)


def _picture(book):
    return book.to_json(), len(book), book.entries, getattr(book, "spent", None) if isinstance(book, Budget) else None


def _ledger(*secure, **how):
    ledger = Ledger(relation="add_remove", **how)
    for each in secure:
        ledger.record(EVENT if each is None else SimpleNamespace(event=EVENT, secure=each))
    return ledger


@EACH
@pytest.mark.parametrize("what", INSECURE.values(), ids=INSECURE)
@pytest.mark.parametrize("times", [0, 1, 3])
def test_seeded_releases_are_refused_on_every_path(admission, make, what, times):
    book = make(require_secure=True)
    book.record(_secure(), times=2)
    for kept in (book, type(book).from_json(book.to_json())):
        before = _picture(kept)
        with pytest.raises(InsecureReleaseError, match="must be cryptographic where require_secure=True"):
            kept.record(what, times=times)
        assert _picture(kept) == before
        kept.record(_secure(), times=1)
        assert (len(kept), kept.secure_releases, kept.brought_releases, kept.seeded_releases) == (3, 3, 3, 0)
    make().record(what, times=times)


@EACH
def test_the_demand_is_kept_and_said(admission, make):
    book, free = make(require_secure=True), make()
    assert (book.require_secure, free.require_secure) == (True, False)
    assert book != free
    for one in (book, free):
        one.record(_secure())
        assert type(one).from_json(one.to_json()) == one
    assert "require_secure" in book.to_json()
    assert "require_secure" not in free.to_json(), "versions that do not know the demand read on"
    assert book.statement(delta=1e-6).enforced[:2] == (admission.enforced, CLAUSE)
    assert CLAUSE not in free.statement(delta=1e-6).enforced
    assert book.statement(delta=1e-6).epsilon == free.statement(delta=1e-6).epsilon
    for text in ("yes", 1, None):
        with pytest.raises(LedgerError, match="require_secure must be True or False"):
            make(require_secure=text)


def test_a_plan_that_requires_secure_releases_steps_with_them_only():
    plan = Plan(EVENT * 2, relation="add_remove", require_secure=True)
    with pytest.raises(InsecureReleaseError):
        plan.step()
    assert plan.remaining() == 2
    plan.record(_secure())
    assert (plan.remaining(), len(plan)) == (1, 1)


@pytest.mark.parametrize("merge", [Ledger.merge, Ledger.merge_disjoint])
@given(
    parts=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from([None, True, False]), max_size=3)), min_size=1, max_size=3
    )
)
def test_merging_never_drops_the_demand(merge, parts):
    given_, demanded, all_secure = [], False, True
    for demand, secure in parts:
        demand = demand and all(each is True for each in secure)  # others cannot be recorded there
        given_.append(_ledger(*secure, require_secure=demand))
        demanded = demanded or demand
        all_secure = all_secure and all(each is True for each in secure)
    before = [ledger.to_json() for ledger in given_]
    if demanded and not all_secure:
        with pytest.raises(InsecureReleaseError, match="where one ledger has require_secure=True"):
            merge(given_)
    else:
        merged = merge(given_)
        assert merged.require_secure is demanded
        assert Ledger.from_json(merged.to_json()) == merged
        if demanded:
            assert merged.secure_releases == merged.brought_releases == len(merged)
            with pytest.raises(InsecureReleaseError):
                merged.record(EVENT)
    assert [ledger.to_json() for ledger in given_] == before


def _with(**changes):
    return json.dumps({**json.loads(_ledger(True, True, require_secure=True).to_json()), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"secure_releases": 1},
        {"secure_releases": 1, "seeded_releases": 1},
        {"secure_releases": 0, "brought_releases": 0},
        {"require_secure": 1},
        {"require_secure": None},
        {"require_secure": "true"},
        {"schema": "accountants.ledger/1"},
        {"demands": True},
    ],
)
def test_json_that_breaks_the_demand_is_refused(changes):
    assert Ledger.from_json(_with()).require_secure
    with pytest.raises(LedgerError):
        Ledger.from_json(_with(**changes))


def test_json_without_a_demand_is_read():
    assert Ledger.from_json(_with(require_secure=False)) == _ledger(True, True)
    data = json.loads(_with())
    del data["require_secure"]
    assert Ledger.from_json(json.dumps(data)) == _ledger(True, True)
