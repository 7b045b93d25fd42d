import math

import pytest

from accountants import (
    Gaussian,
    Ledger,
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    RelationError,
    UnsupportedEventError,
    epsilon,
)
from accountants.best import ACCOUNTANTS, best_accountant
from accountants.testing import EVENTS


def test_the_best_is_never_worse_than_any_accountant():
    others = (RDPAccountant(conversion="mironov2017"),)
    for row in EVENTS:
        for event in row.examples:
            able = [a for a in (*ACCOUNTANTS, *others) if a.supports(event, relation="add_remove")]
            if not able:
                continue
            best = epsilon(event, delta=1e-6, relation="add_remove")
            for accountant in able:
                assert best <= accountant.epsilon(event, delta=1e-6, relation="add_remove") * (1 + 1e-8)


def test_a_ledger_uses_it():
    ledger = Ledger(relation="add_remove")
    ledger.record(PoissonSampled(Gaussian(1.0), 0.01), times=100)
    event = PoissonSampled(Gaussian(1.0), 0.01) * 100
    assert ledger.epsilon(delta=1e-5) == epsilon(event, delta=1e-5, relation="add_remove")
    assert ledger.delta(epsilon=1.0) == PLDAccountant().delta(event, epsilon=1.0, relation="add_remove")
    assert math.isfinite(ledger.epsilon(delta=1e-5, accountant=RDPAccountant(orders=[8])))


def test_the_reason_of_a_refusal_is_told():
    event = PoissonSampled(PoissonSampled(Gaussian(1.0), 0.1) * 2, 0.5)
    with pytest.raises(UnsupportedEventError, match="draw a batch per release"):
        best_accountant(event, "add_remove")
    with pytest.raises(RelationError):
        epsilon(Gaussian(1.0), delta=1e-5, relation="remove")
