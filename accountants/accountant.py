"""What an accountant is, and how it reads what it is given: a ledger, or an event with a relation."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from accountants.errors import EventError, RelationError
from accountants.events import Event
from accountants.fold import Folded, fold
from accountants.relation import Relation, as_relation

__all__ = ["Account", "Accountant", "folded"]


@runtime_checkable
class Account(Protocol):
    """Anything that has recorded events under one relation, such as a ledger."""

    @property
    def relation(self) -> Relation:
        """The relation that all entries are about."""

    @property
    def entries(self) -> tuple[tuple[Event, int, str], ...]:
        """(event, times, note) rows, in the order recorded."""


class Accountant(Protocol):
    """A function from what was recorded to what it cost. An accountant holds no history.

    ``what`` is a ledger, or an event; with an event the relation is required. Results are upper bounds. ``str()`` of
    an accountant names it in statements.
    """

    def epsilon(self, what: Account | Event, *, delta: float, relation: Relation | str | None = None) -> float:
        """An upper bound of epsilon at ``delta``."""

    def delta(self, what: Account | Event, *, epsilon: float, relation: Relation | str | None = None) -> float:
        """An upper bound of delta at ``epsilon``."""

    def supports(self, what: Account | Event, *, relation: Relation | str | None = None) -> bool:
        """Whether a sound bound is at hand; for an event without a relation: under some relation."""


def folded(what: Account | Event, relation: Relation | str | None, *, smooth: bool = False) -> tuple[Folded, Relation]:
    """The flat content of a ledger or an event, and the relation that it is to be held under.

    Args:
        what: a ledger, or an event.
        relation: required with an event; with a ledger, its own or None.
        smooth: as in :func:`~accountants.fold.fold`.

    Raises:
        RelationError: an event without a relation, or a relation that is not the ledger's.
        EventError: ``what`` is neither.
        UnsupportedEventError: the events cannot be combined soundly.
    """
    if isinstance(what, Event):
        return fold([(what, 1)], smooth=smooth), as_relation(relation)
    if not isinstance(what, Account):
        raise EventError(f"what must be a Ledger or an event, got {type(what).__name__}; see accountants.events.")
    own = what.relation
    if relation is not None and as_relation(relation) is not own:
        raise RelationError(
            f"relation must be the ledger's own, {own.value}, got {as_relation(relation).value}; "
            "leave it out for a ledger."
        )
    return fold([(event, times) for event, times, _ in what.entries], smooth=smooth), own
