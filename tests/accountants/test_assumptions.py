"""Assumptions: every event says its own, nested ones are all found, and each stands once."""

from dataclasses import dataclass
from typing import final

import pytest
from hypothesis import given

from accountants import (
    Composed,
    DistributedDiscreteGaussian,
    Event,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PureDP,
    TruncatedPoissonSampled,
    Within,
)
from accountants.assumptions import all_assumptions, assumptions
from accountants.testing import EVENTS, event_strategy


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.kind.__name__)
def test_every_event_of_the_package_says_what_it_assumes(row):
    assert assumptions.dispatch(row.kind) is not assumptions.dispatch(Event)
    for event in row.examples:
        clauses = assumptions(event)
        assert isinstance(clauses, tuple)
        assert all(clause and clause == clause.strip(" .") and "\n" not in clause for clause in clauses)
        assert clauses or row.kind in (NonPrivate, Composed) or row.kind.__name__ == "Repeated"


@given(event=event_strategy())
def test_nothing_inside_is_forgotten(event):
    found = all_assumptions([event])
    assert len(set(found)) == len(found)
    for outer in (Composed((Laplace(1.0), event)), event * 3, Within(event, 0.0, 0.0), Group(event, 2)):
        assert set(found) <= set(all_assumptions([outer]))
        assert set(assumptions(outer)) <= set(all_assumptions([outer]))


def test_clauses_stand_in_the_order_met():
    sampled = PoissonSampled(Gaussian(1.0), 0.1)
    coins, bounded = all_assumptions([sampled])
    assert "coin" in coins
    assert "contribution" in bounded
    assert all_assumptions([Laplace(1.0), sampled, sampled * 4]) == (bounded, coins)
    assert all_assumptions([]) == ()


def test_public_numbers_are_named():
    assert "9 shares" in all_assumptions([DistributedDiscreteGaussian(8.0, 9, 16.0, 10)])[1]
    assert len(all_assumptions([DistributedDiscreteGaussian(8.0, 1, 16.0, 10)])) == 1
    assert "at least 1000 records" in all_assumptions([FixedSizeSampled(Gaussian(1.0), 1000, 10)])[1]
    assert "at most 1000 records" in all_assumptions([TruncatedPoissonSampled(Gaussian(1.0), 0.01, 1000, 50)])[1]
    assert "more than 4 records" in all_assumptions([Group(Gaussian(1.0), 4)])[0]


def test_any_depth_is_gone_through():
    event = Gaussian(1.0)
    for _ in range(60):
        event = Within(event, 0.0, 0.0)
    assert len(all_assumptions([event])) == 2
    shared: Event = Gaussian(1.0)
    for _ in range(50):
        shared = Composed((shared, shared))
    assert len(all_assumptions([shared])) == 1


@final
@dataclass(frozen=True, slots=True)
class Poll(Event):
    """A third party's event around another."""

    inner: Event
    epsilon: float


def test_an_event_of_a_third_party_is_taken_at_its_word_until_it_registers():
    poll = Poll(PureDP(1.0, "add_remove"), 0.5)
    assert all_assumptions([poll]) == ("the release is what Poll says of it", "the release is what PureDP says of it")

    @assumptions.register
    def _(event: Poll) -> tuple[str, ...]:
        return (f"each party answers once, within {event.epsilon}",)

    assert all_assumptions([poll])[0] == "each party answers once, within 0.5"
