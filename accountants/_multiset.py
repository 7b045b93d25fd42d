"""What was recorded as a multiset: flat, counted, in an order of its own, under one relation. Private."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from accountants._checks import check_count
from accountants.accountant import Account
from accountants.best import best_accountant
from accountants.errors import EventError, RelationError
from accountants.events import Composed, Event, Repeated
from accountants.fold import expand
from accountants.relation import Relation, as_relation

__all__ = ["Held", "Row", "multiset", "repeated"]

Row = tuple[Event, int, str]
"""(event, times, note), as a ledger holds it."""


class Held(NamedTuple):
    """Rows under a relation: an account like any other."""

    relation: Relation
    entries: tuple[Row, ...]


def multiset(what: object, relation: Relation | str | None) -> Held:
    """Distinct events with their total counts >= 1: the same however they were grouped, and in which order recorded.

    Args:
        what: a ledger or another account, as it is now; or an event.
        relation: required with an event; with an account, its own or None.

    Raises:
        EventError: ``what`` is neither, or a count is too large.
        RelationError: the relation is missing, or is not the account's.
        UnsupportedEventError: no accountant has a sound bound for an event under this relation.
    """
    counts: dict[Event, int] = {}
    held = _held(what, relation)
    for event, times in _flat(held.entries):
        counts[event] = check_count("times", counts.get(event, 0) + times, 0, "repetitions add up; release less.")
    for event in counts:
        _require(event, held.relation)
    # long pairs print alike: their numbers then tell them apart
    order = sorted(counts, key=lambda event: (repr(event), hash(event)))
    return Held(held.relation, tuple((event, counts[event], "") for event in order))


def repeated(rows: Iterable[Row], times: int) -> tuple[Row, ...]:
    """The rows, each so many times as often."""
    return tuple((event, times * count, note) for event, count, note in rows)


def _held(what: object, relation: Relation | str | None) -> Held:
    """The rows as they were recorded."""
    if isinstance(what, Account):
        wanted = what.relation if relation is None else as_relation(relation)
        if wanted is not what.relation:
            raise RelationError(
                f"relation must be one throughout, got {wanted.value} and {what.relation.value}; costs under two "
                "relations do not add up: record all events under one."
            )
        return Held(wanted, tuple((event, times, note) for event, times, note in what.entries))
    if isinstance(what, Event):
        return Held(as_relation(relation), ((what, 1, ""),))
    raise EventError(f"what must be a Ledger, a PrivacyLoss or an event, got {type(what).__name__}; see accountants.")


def _flat(rows: Iterable[Row]) -> Iterator[tuple[Event, int]]:
    """Sums and repetitions taken apart; everything else stays as it was recorded."""
    stack = [(event, times) for event, times, _ in rows]
    while stack:
        event, times = stack.pop()
        inside = expand(event) if type(event) in (Composed, Repeated) else None
        if inside is not None:
            stack.extend((part, times * count) for part, count in inside.parts)
        elif times:
            yield event, times


@lru_cache(maxsize=256)
def _require(event: Event, relation: Relation) -> None:
    """Refuse what no accountant has a sound bound for."""
    best_accountant(event, relation)
