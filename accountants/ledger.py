"""Ledger: the account of what was released about one unit under one relation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple, Self, final

from accountants._checks import check_count
from accountants._entries import SCHEMA, agreeing, all_premises, parse_entries, read_kept
from accountants._exclusive import exclusive
from accountants._json import data_to_event, event_to_data
from accountants._release import check_flag, check_text, read_release
from accountants.accountant import Accountant
from accountants.best import best_accountant
from accountants.errors import InsecureReleaseError, LedgerError, UnsupportedEventError
from accountants.events import Event
from accountants.relation import Relation, as_relation
from accountants.statement import Statement
from accountants.terms import state

__all__ = ["Entry", "Ledger"]


class Entry(NamedTuple):
    """One row of a ledger."""

    event: Event
    times: int
    note: str


@final
class Ledger:
    """Append-only account of releases; ten thousand equal steps are one row.

    Guarantee:
        A failed ``record`` leaves the ledger as it was (``test_failed_record_changes_nothing``), threads may share it
        (``test_no_row_is_lost_between_threads``), and one that requires secure releases holds no other, by whatever way
        they come (``test_seeded_releases_are_refused_on_every_path``).

    Args:
        relation: which data sets are neighbours; there is no default.
        unit: what one record is, in words: "example", "user", "client".
        require_secure: refuse every release that does not say that all its randomness was cryptographic, and bare
            events, which say nothing.

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

    __slots__ = (
        "_accepted",
        "_brought",
        "_count",
        "_premises",
        "_relation",
        "_require_secure",
        "_rows",
        "_secure",
        "_seeded",
        "_unit",
    )
    __hash__ = None  # type: ignore[assignment]  # it grows

    def __init__(self, *, relation: Relation | str, unit: str = "example", require_secure: bool = False) -> None:
        self._relation = as_relation(relation)
        self._unit = check_text("unit", unit)
        if not self._unit:
            raise LedgerError('unit must be a non-empty string, got ""; say what one record is, for instance "user".')
        self._require_secure = check_flag("require_secure", require_secure)
        self._rows: list[Entry] = []
        self._count = self._seeded = self._secure = self._brought = 0
        self._premises: tuple[str, ...] = ()
        self._accepted: set[Event] = set()

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

    @property
    def secure_releases(self) -> int:
        """How many releases brought their event and said that all their randomness was cryptographic."""
        return self._secure

    @property
    def brought_releases(self) -> int:
        """How many releases brought their event and said how their randomness was made: at least so many."""
        return self._brought

    @property
    def require_secure(self) -> bool:
        """Whether releases are refused that do not say that all their randomness was cryptographic."""
        return self._require_secure

    @property
    def premises(self) -> tuple[str, ...]:
        """What merging took for granted, in words."""
        return self._premises

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        return self._state() == other._state()

    def __repr__(self) -> str:
        return f"Ledger(relation={self._relation.value!r}, unit={self._unit!r}, releases={len(self)})"

    def _state(self) -> tuple[object, ...]:
        kept = self._seeded, self._secure, self._brought, self._premises, self._require_secure
        return self._relation, self._unit, self._rows, *kept

    def record(self, what: object, times: int = 1, note: str = "") -> None:
        """Record a release.

        Args:
            what: an event; or a release, that is an object with an ``event`` and, optionally, ``secure`` (True if all
                its randomness was cryptographic, False if some was seeded), which is believed. With
                ``require_secure`` only True is taken.
            times: how many such releases, >= 0. An event ``e * n`` is recorded as n releases of e.
            note: a remark that is kept with the row.

        Raises:
            LedgerError: ``what`` carries no event, or ``times`` or ``note`` is not what it must be.
            InsecureReleaseError: secure releases are required, and this one, made with a seed or typed by hand, does
                not say that it is one. It must not be made; if it was, it belongs into a ledger without the demand.
            UnsupportedEventError: no accountant has a sound bound for it under this relation: refused now rather than
                after the fact.

        Example:
            >>> from accountants import Laplace
            >>> ledger = Ledger(relation="replace_one", unit="user")
            >>> ledger.record(Laplace(1.0) * 3, note="histogram")
            >>> ledger.entries
            (Entry(event=Laplace(noise_multiplier=1.0), times=3, note='histogram'),)
        """
        event, times, secure = read_release(what, times)
        note = check_text("note", note)
        self._refuse_insecure(secure)
        with exclusive():
            check_count("times", self._count + times, 0, "a ledger counts that far and no further.", LedgerError)
            if times == 0:
                return
            last = self._rows[-1] if self._rows else None
            merges = last is not None and last.note == note and last.event == event
            if not merges:
                self._refuse_unsupported(event)
            if last is not None and merges:
                self._rows[-1] = Entry(event, last.times + times, note)
            else:
                self._rows.append(Entry(event, times, note))
            self._count += times
            self._seeded += times if secure is False else 0
            self._secure += times if secure is True else 0
            self._brought += times if secure is not None else 0

    def _refuse_insecure(self, secure: bool | None) -> None:
        if self._require_secure and secure is not True:
            what = "a bare event, which does not say" if secure is None else "a release that says it was not"
            raise InsecureReleaseError(
                f"randomness must be cryptographic where require_secure=True, got {what}; nothing was recorded: "
                "release with entropy=None, from batches without a seed, and record what the mechanism brings."
            )

    def _refuse_unsupported(self, event: Event) -> None:
        if event in self._accepted:
            return
        try:
            best_accountant(event, self._relation)
        except UnsupportedEventError as reason:
            raise UnsupportedEventError(
                f"event cannot be recorded under {self._relation.value}: {reason}", event=event
            ) from reason
        self._accepted.add(event)

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
        return state(self, chosen.epsilon(self, delta=delta), delta, str(chosen))

    @classmethod
    def merge(cls, ledgers: Iterable[Ledger]) -> Self:
        """A ledger of everything that several ledgers hold about the same records: their costs compose.

        Args:
            ledgers: at least one, of one relation and unit; they stay as they are. If one of them requires secure
                releases, so does the result, and all must hold such only.

        Raises:
            LedgerError: there is none, or units differ.
            InsecureReleaseError: one requires secure releases, and one holds others.
            RelationError: relations differ.

        Example:
            >>> from accountants import Gaussian
            >>> one, other = Ledger(relation="add_remove"), Ledger(relation="add_remove")
            >>> one.record(Gaussian(5.0)), other.record(Gaussian(5.0), times=2)
            (None, None)
            >>> Ledger.merge([one, other]).entries
            (Entry(event=Gaussian(noise_multiplier=5.0), times=3, note=''),)
        """
        given = agreeing(ledgers, cls)
        merged = cls(relation=given[0].relation, unit=given[0].unit)
        for ledger in given:
            for event, times, note in ledger.entries:
                merged.record(event, times=times, note=note)
        merged._seeded = sum(ledger.seeded_releases for ledger in given)
        merged._secure = sum(ledger.secure_releases for ledger in given)
        merged._brought = sum(ledger.brought_releases for ledger in given)
        merged._premises = all_premises(given)
        merged._require_secure = any(ledger.require_secure for ledger in given)
        return merged

    @classmethod
    def merge_disjoint(cls, ledgers: Iterable[Ledger], *, public_parts: bool = False) -> Self:
        """A ledger that costs at least what each of several costs that are about disjoint sets of records.

        One record changes what a single one of them is about, so the largest cost counts. Of every event the merged
        ledger holds the largest count: equal ledgers merge into themselves, and unlike ones are bounded.

        Guarantee:
            Never below any of the ledgers (``test_disjoint_ledgers_cost_as_the_largest``).

        Args:
            ledgers: at least one, of one relation and unit; no unit's data may be in more than one of them, and which
                one may depend on that unit alone (not on quantiles of all, say).
            public_parts: promise that what a record holds has no influence on the part that it is in. Required under
                ``replace_one``, where a record that moves would change two parts.

        Raises:
            LedgerError: there is none, units differ, or the promise is missing under ``replace_one``.
            InsecureReleaseError: one requires secure releases, and one holds others.
            RelationError: relations differ.

        Example:
            >>> from accountants import Gaussian
            >>> shard = Ledger(relation="add_remove")
            >>> shard.record(Gaussian(5.0), times=3)
            >>> len(Ledger.merge_disjoint([shard, shard, shard]))
            3

        References:
            McSherry 2009, Privacy integrated queries, Theorem 4 (parallel composition).
        """
        given = agreeing(ledgers, cls)
        merged = cls(relation=given[0].relation, unit=given[0].unit)
        if merged.relation is Relation.replace_one and public_parts is not True:
            raise LedgerError(
                "public_parts must be True under replace_one, where a record whose part depends on what it holds "
                "would change two parts; if it does, merge the ledgers as about the same records."
            )
        most: dict[Event, int] = {}
        for ledger in given:
            counts: dict[Event, int] = {}
            for event, times, _ in ledger.entries:
                counts[event] = counts.get(event, 0) + times
            for event, times in counts.items():
                most[event] = max(most.get(event, 0), times)
        for event, times in most.items():
            merged.record(event, times=times, note=f"the most in any of {len(given)} disjoint parts")
        merged._seeded = min(len(merged), sum(ledger.seeded_releases for ledger in given))
        by_hand = sum(len(ledger) - ledger.brought_releases for ledger in given)
        merged._brought = max(0, len(merged) - by_hand)
        merged._secure = max(0, len(merged) - merged._seeded - by_hand)
        apart = (f"no {merged.unit} has data in more than one of {len(given)} parts that were merged as disjoint",)
        public = ("what a record holds has no influence on the part that it is in",) if public_parts is True else ()
        merged._premises = (*all_premises(given), *apart, *public)
        merged._require_secure = any(ledger.require_secure for ledger in given)
        return merged

    def to_json(self) -> str:
        """The ledger as JSON text, with a schema version; :meth:`from_json` gives it back exactly.

        Raises:
            LedgerError: an event of a third party has fields that JSON cannot hold.

        Example:
            >>> Ledger.from_json(Ledger(relation="add_remove").to_json()) == Ledger(relation="add_remove")
            True
        """
        rows = [{"event": event_to_data(event), "times": times, "note": note} for event, times, note in self._rows]
        demand = {"require_secure": True} if self._require_secure else {}
        return json.dumps(
            {
                "schema": SCHEMA,
                "relation": self._relation.value,
                "unit": self._unit,
                "seeded_releases": self._seeded,
                "secure_releases": self._secure,
                "brought_releases": self._brought,
                "premises": self._premises,
                **demand,
                "entries": rows,
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The ledger that :meth:`to_json` wrote. Events are built by registered name; nothing is imported or evaluated.

        The first schema, which did not say which releases brought their events, is still read: none is taken to have.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not a ledger's JSON of a known schema, or names an event that is not known.
            UnsupportedEventError: an entry cannot be held under the ledger's relation.

        Example:
            >>> len(Ledger.from_json(Ledger(relation="zero_out").to_json()))
            0
        """
        data = parse_entries(text)
        try:
            ledger = cls(relation=data["relation"], unit=data["unit"])
        except ValueError as fault:
            raise LedgerError(f"ledger JSON has a bad head: {fault}") from fault
        for row in data["entries"]:
            ledger.record(data_to_event(row["event"]), times=row["times"], note=row["note"])
        ledger._seeded, ledger._secure, ledger._brought, ledger._premises, ledger._require_secure = read_kept(
            data, len(ledger)
        )
        return ledger
