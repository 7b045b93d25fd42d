"""Ledger: the account of what was released about one unit under one relation."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Self, final

from accountants._checks import check_count
from accountants._json import data_to_event, event_to_data, refuse_constant
from accountants.accountant import Accountant
from accountants.best import best_accountant
from accountants.errors import LedgerError, UnsupportedEventError
from accountants.events import Event, Repeated
from accountants.relation import Relation, as_relation
from accountants.statement import Statement

__all__ = ["Entry", "Ledger"]

_SCHEMA = "accountants.ledger/1"


class Entry(NamedTuple):
    """One row of a ledger."""

    event: Event
    times: int
    note: str


@final
class Ledger:
    """Append-only account of releases; ten thousand equal steps are one row.

    Guarantee:
        A failed ``record`` leaves the ledger as it was (``test_failed_record_changes_nothing``).

    Args:
        relation: which data sets are neighbours; there is no default.
        unit: what one record is, in words: "example", "user", "client".

    Raises:
        RelationError: the relation is not one of the three.
        LedgerError: the unit is not a non-empty string.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> ledger = Ledger(relation="add_remove")
        >>> for _ in range(1000):
        ...     ledger.record(PoissonSampled(Gaussian(1.0), 0.01))
        >>> len(ledger), len(ledger.entries), round(ledger.epsilon(delta=1e-5), 3)
        (1000, 1, 1.828)
    """

    __slots__ = ("_relation", "_rows", "_seeded", "_unit")
    __hash__ = None  # type: ignore[assignment]  # it grows

    def __init__(self, *, relation: Relation | str, unit: str = "example") -> None:
        self._relation = as_relation(relation)
        self._unit = _check_text("unit", unit)
        if not self._unit:
            raise LedgerError('unit must be a non-empty string, got ""; say what one record is, for instance "user".')
        self._rows: list[Entry] = []
        self._seeded = 0

    @property
    def relation(self) -> Relation:
        """The relation that every epsilon of this ledger is about."""
        return self._relation

    @property
    def unit(self) -> str:
        """What one record is, in words."""
        return self._unit

    @property
    def entries(self) -> tuple[Entry, ...]:
        """(event, times, note) rows in the order recorded; equal neighbours are one row."""
        return tuple(self._rows)

    @property
    def seeded_releases(self) -> int:
        """How many releases drew their noise or batches from seeded, hence reproducible, randomness."""
        return self._seeded

    def __len__(self) -> int:
        return sum(times for _, times, _ in self._rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        return self._state() == other._state()

    def __repr__(self) -> str:
        return f"Ledger(relation={self._relation.value!r}, unit={self._unit!r}, releases={len(self)})"

    def _state(self) -> tuple[object, ...]:
        return self._relation, self._unit, self._rows, self._seeded

    def record(self, what: object, times: int = 1, note: str = "") -> None:
        """Record a release.

        Args:
            what: an event; or a release, that is an object with an ``event`` and, optionally, ``secure`` (False if
                its randomness was seeded).
            times: how many such releases, >= 0. An event ``e * n`` is recorded as n releases of e.
            note: a remark that is kept with the row.

        Raises:
            LedgerError: ``what`` carries no event, or ``times`` or ``note`` is not what it must be.
            UnsupportedEventError: no accountant has a sound bound for it under this relation: refused now rather than
                after the fact.

        Example:
            >>> from accountants import Laplace
            >>> ledger = Ledger(relation="replace_one", unit="user")
            >>> ledger.record(Laplace(1.0) * 3, note="histogram")
            >>> ledger.entries
            (Entry(event=Laplace(noise_multiplier=1.0), times=3, note='histogram'),)
        """
        event, secure = _event_of(what)
        times = check_count("times", times, 0, "count the releases.", LedgerError)
        note = _check_text("note", note)
        while isinstance(event, Repeated):
            times *= event.times
            event = event.event
        check_count("times", len(self) + times, 0, "a ledger counts that far and no further.", LedgerError)
        last = self._rows[-1] if self._rows else None
        merges = last is not None and last.note == note and last.event == event
        if not merges:
            self._refuse_unsupported(event)
        if times == 0:
            return
        if last is not None and merges:
            self._rows[-1] = Entry(event, last.times + times, note)
        else:
            self._rows.append(Entry(event, times, note))
        self._seeded += 0 if secure else times

    def _refuse_unsupported(self, event: Event) -> None:
        try:
            best_accountant(event, self._relation)
        except UnsupportedEventError as reason:
            raise UnsupportedEventError(
                f"event cannot be recorded under {self._relation.value}: {reason}", event=event
            ) from reason

    def epsilon(self, *, delta: float, accountant: Accountant | None = None) -> float:
        """An upper bound of epsilon for all that was recorded.

        Args:
            delta: in (0, 1).
            accountant: None takes the best bound there is.

        Raises:
            EventError: delta is out of range.
            UnsupportedEventError: the accountant has no sound bound for an entry.

        Example:
            >>> Ledger(relation="add_remove").epsilon(delta=1e-6)
            0.0
        """
        return (accountant or best_accountant(self)).epsilon(self, delta=delta)

    def delta(self, *, epsilon: float, accountant: Accountant | None = None) -> float:
        """An upper bound of delta for all that was recorded.

        Args:
            epsilon: finite, >= 0.
            accountant: None takes the best bound there is.

        Raises:
            EventError: epsilon is out of range.
            UnsupportedEventError: the accountant has no sound bound for an entry.

        Example:
            >>> Ledger(relation="add_remove").delta(epsilon=0.0)
            0.0
        """
        return (accountant or best_accountant(self)).delta(self, epsilon=epsilon)

    def statement(self, *, delta: float, accountant: Accountant | None = None) -> Statement:
        """The cost as a statement that can be printed: it names delta, relation, unit and accountant.

        Args:
            delta: in (0, 1).
            accountant: None takes the best bound there is.

        Raises:
            EventError: delta is out of range.
            UnsupportedEventError: the accountant has no sound bound for an entry.

        Example:
            >>> "upper bound" in str(Ledger(relation="add_remove").statement(delta=1e-6))
            True
        """
        chosen = accountant or best_accountant(self)
        return Statement(
            epsilon=chosen.epsilon(self, delta=delta),
            delta=float(delta),
            relation=self._relation,
            unit=self._unit,
            accountant=str(chosen),
            releases=len(self),
            seeded_releases=self._seeded,
            entries=tuple((repr(event), times, note) for event, times, note in self._rows),
        )

    def to_json(self) -> str:
        """The ledger as JSON text, with a schema version; :meth:`from_json` gives it back exactly.

        Raises:
            LedgerError: an event of a third party has fields that JSON cannot hold.

        Example:
            >>> Ledger.from_json(Ledger(relation="add_remove").to_json()) == Ledger(relation="add_remove")
            True
        """
        rows = [{"event": event_to_data(event), "times": times, "note": note} for event, times, note in self._rows]
        return json.dumps(
            {
                "schema": _SCHEMA,
                "relation": self._relation.value,
                "unit": self._unit,
                "seeded_releases": self._seeded,
                "entries": rows,
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The ledger that :meth:`to_json` wrote. Events are built by registered name; nothing is imported or evaluated.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not a ledger's JSON of this schema, or names an event that is not known.
            UnsupportedEventError: an entry cannot be held under the ledger's relation.

        Example:
            >>> len(Ledger.from_json(Ledger(relation="zero_out").to_json()))
            0
        """
        data = _parse(text)
        try:
            ledger = cls(relation=data["relation"], unit=data["unit"])
        except ValueError as fault:
            raise LedgerError(f"ledger JSON has a bad head: {fault}") from fault
        for row in data["entries"]:
            if not isinstance(row, dict) or set(row) != {"event", "times", "note"}:
                raise LedgerError(
                    "entries must be objects with event, times and note; the JSON was not written by a ledger."
                )
            ledger.record(data_to_event(row["event"]), times=row["times"], note=row["note"])
        seeded = check_count("seeded_releases", data["seeded_releases"], 0, "count the seeded releases.", LedgerError)
        if seeded > len(ledger):
            raise LedgerError(f"seeded_releases must be at most the {len(ledger)} releases, got {seeded}.")
        ledger._seeded = seeded
        return ledger


def _parse(text: str) -> dict[str, Any]:
    """The top object of a ledger's JSON, with exactly the keys of the schema."""
    try:
        data = json.loads(text, parse_constant=refuse_constant)
    except (TypeError, ValueError, RecursionError) as fault:
        if isinstance(fault, LedgerError):
            raise
        raise LedgerError(f"text must be a ledger's JSON: {fault}") from fault
    if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise LedgerError(f"schema must be {_SCHEMA!r}, got {found!r}; use the version of the package that wrote it.")
    keys = {"schema", "relation", "unit", "seeded_releases", "entries"}
    if set(data) != keys or not isinstance(data["entries"], list):
        raise LedgerError(f"ledger JSON must have exactly the keys {sorted(keys)}, and a list of entries.")
    return data


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise LedgerError(f"{name} must be a string, got {type(value).__name__}; write it in words.")
    return value


def _event_of(what: object) -> tuple[Event, bool]:
    """The event of an event or a release, and whether its randomness was secure."""
    if isinstance(what, Event):
        return what, True
    event = getattr(what, "event", None)
    secure = getattr(what, "secure", True)
    if not isinstance(event, Event) or not isinstance(secure, bool):
        raise LedgerError(
            f"what must be an event or a release that carries one, got {type(what).__name__}; a mechanism's release() "
            "returns such."
        )
    return event, secure
