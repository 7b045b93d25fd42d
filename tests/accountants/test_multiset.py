"""What a loss holds: flat, counted, in an order that does not tell how it came together."""

import math

import pytest

from accountants import DominatingPair, EventError, Gaussian, Laplace, Ledger, PoissonSampled, Relation, Within
from accountants._multiset import Held, multiset, repeated

ADD = Relation.add_remove
STEP = PoissonSampled(Gaussian(1.0), 0.01)


def test_sums_and_repetitions_are_taken_apart():
    rows = multiset(((STEP * 2 + Laplace(1.0)) * 3 + Gaussian(2.0) * 0 + STEP) * 5, ADD)
    assert rows == Held(ADD, ((Laplace(1.0), 15, ""), (STEP, 35, "")))


def test_everything_else_stays_as_it_was_recorded():
    event = Within(STEP * 10, 0.1, 0.1)
    assert multiset(event * 2, ADD).entries == ((event, 2, ""),)


def test_notes_are_forgotten():
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, note="one")
    ledger.record(STEP, note="two")
    assert multiset(ledger, None) == Held(ADD, ((STEP, 2, ""),))


def test_pairs_that_print_alike_have_one_order():
    def slope(ratio):
        logs = [ratio * k - math.log(sum(math.exp(ratio * j) for j in range(12))) for k in range(12)]
        return DominatingPair(logs, logs[::-1])

    steep, flat = slope(0.3), slope(0.1)
    assert repr(steep) == repr(flat)
    assert multiset(steep + flat, ADD) == multiset(flat + steep, ADD)


def test_counts_multiply_up_to_what_can_be_counted():
    rows = multiset(STEP * 2**52, ADD).entries
    assert repeated(rows, 2) == ((STEP, 2**53, ""),)
    assert multiset(Held(ADD, repeated(rows, 2)), None).entries == ((STEP, 2**53, ""),)
    with pytest.raises(EventError, match="times"):
        multiset(Held(ADD, repeated(rows, 3)), None)


def test_deep_events_stay_as_deep_as_they_are():
    event = Gaussian(1.0)
    for _ in range(62):
        event = Within(event, 0.0, 0.0)
    rows = multiset(event, ADD).entries
    assert multiset(Held(ADD, repeated(rows, 4)), None).entries == ((event, 4, ""),)
