import pytest

from accountants import EventError, Gaussian, Ledger, RDPAccountant, RelationError
from accountants.accountant import Account, folded
from accountants.relation import Relation


def test_a_ledger_and_an_event_are_read_alike():
    ledger = Ledger(relation="replace_one")
    ledger.record(Gaussian(2.0), times=3, note="a")
    ledger.record(Gaussian(2.0), times=4, note="b")
    assert isinstance(ledger, Account)
    assert folded(ledger, None) == folded(Gaussian(2.0) * 7, "replace_one") == folded(ledger, "replace_one")


def test_a_ledgers_relation_cannot_be_changed():
    ledger = Ledger(relation="add_remove")
    with pytest.raises(RelationError, match="ledger's own, add_remove, got replace_one"):
        RDPAccountant().epsilon(ledger, delta=1e-5, relation="replace_one")
    assert folded(ledger, Relation.add_remove)[1] is Relation.add_remove


@pytest.mark.parametrize("what", [None, 1.0, [Gaussian(1.0)], Gaussian])
def test_anything_else_is_refused(what):
    with pytest.raises(EventError, match="what must be a Ledger or an event"):
        folded(what, "add_remove")
