"""Plan: releases that are fixed beforehand, gone through one by one. They may use every accountant, and stop early."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Self, final

from accountants._exclusive import exclusive
from accountants._json import parse_object
from accountants._release import read_release
from accountants.accountant import Accountant
from accountants.best import best_accountant
from accountants.errors import BudgetExceededError, LedgerError
from accountants.events import Composed, Event, Repeated
from accountants.ledger import Entry, Ledger
from accountants.relation import Relation
from accountants.statement import Statement
from accountants.terms import PLAN, state

__all__ = ["Plan"]

_SCHEMA = "accountants.plan/1"


@final
class Plan:
    """A fixed sequence of events. Each is recorded when its turn comes; nothing else can be.

    Queries may depend on earlier results; the events may not, so any accountant holds them, privacy-loss distributions
    included. Whoever stops early computes from a part of what the whole plan would have told: the plan's cost stands,
    whatever made them stop.

    Usable wherever a ledger is: its ``entries``, and so every accountant's answer, are those of the whole plan.

    Guarantee:
        What is recorded is a beginning of the plan (``test_a_plan_goes_in_its_order_and_no_further``); its cost never
        falls by stopping (``test_stopping_early_costs_the_whole_plan``).

    Args:
        event: the plan. The parts of a sum come one after the other, and ``e * n`` is n times e.
        relation: which data sets are neighbours; there is no default.
        unit: what one record is, in words.
        require_secure: refuse every release that does not say that all its randomness was cryptographic, and bare
            events, which say nothing; then :meth:`record` takes a mechanism's releases, and :meth:`step` nothing.

    Raises:
        UnsupportedEventError: no accountant has a sound bound for a part of it.
        RelationError: the relation is not one of the three.
        LedgerError: ``event`` is no event, or the unit is not a non-empty string.

    Example:
        >>> from accountants import Gaussian, Laplace, PoissonSampled
        >>> plan = Plan(Laplace(20.0) + PoissonSampled(Gaussian(1.1), 0.01) * 10_000, relation="add_remove")
        >>> round(plan.epsilon(delta=1e-5), 2)
        5.2
        >>> plan.step()
        Laplace(noise_multiplier=20.0)
        >>> plan.remaining()
        10000
    """

    __slots__ = ("_done", "_left", "_plan", "_row", "_rows")
    __hash__ = None  # type: ignore[assignment]  # it moves on

    def __init__(
        self, event: Event, *, relation: Relation | str, unit: str = "example", require_secure: bool = False
    ) -> None:
        self._plan = Ledger(relation=relation, unit=unit)
        self._done = Ledger(relation=relation, unit=unit, require_secure=require_secure)
        if not isinstance(event, Event):
            raise LedgerError(f"event must be an event, got {type(event).__name__}; build it from accountants.events.")
        for part, times in _parts(event):
            self._plan.record(part, times=times)
        self._rows, self._row = self._plan.entries, 0
        self._left = self._rows[0].times if self._rows else 0

    @property
    def relation(self) -> Relation:
        """The relation that every epsilon is about."""
        return self._plan.relation

    @property
    def unit(self) -> str:
        """What one record is, in words."""
        return self._plan.unit

    @property
    def entries(self) -> tuple[Entry, ...]:
        """(event, times, note) rows of the whole plan, made or not."""
        return self._plan.entries

    @property
    def done(self) -> tuple[Entry, ...]:
        """(event, times, note) rows of what was recorded."""
        return self._done.entries

    @property
    def seeded_releases(self) -> int:
        """How many releases drew their noise or batches from seeded randomness."""
        return self._done.seeded_releases

    @property
    def secure_releases(self) -> int:
        """How many releases brought their event and said that all their randomness was cryptographic."""
        return self._done.secure_releases

    @property
    def brought_releases(self) -> int:
        """How many releases brought their event and said how their randomness was made: at least so many."""
        return self._done.brought_releases

    @property
    def require_secure(self) -> bool:
        """Whether releases are refused that do not say that all their randomness was cryptographic."""
        return self._done.require_secure

    def __len__(self) -> int:
        return len(self._done)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self._plan == other._plan and self._done == other._done

    def __repr__(self) -> str:
        return f"Plan(relation={self.relation.value!r}, unit={self.unit!r}, releases={len(self)} of {len(self._plan)})"

    def step(self) -> Event:
        """Record the next release of the plan; it may then be made.

        Returns:
            Its event.

        Raises:
            BudgetExceededError: the plan is at its end.
            InsecureReleaseError: secure releases are required, and this says nothing of one.

        Example:
            >>> from accountants import Gaussian
            >>> plan = Plan(Gaussian(2.0) * 2, relation="add_remove")
            >>> plan.step(), plan.remaining()
            (Gaussian(noise_multiplier=2.0), 1)
        """
        with exclusive():
            self._refuse_beyond(None, 1)
            event = self._rows[self._row].event
            self.record(event)
        return event

    def record(self, what: object, times: int = 1, note: str = "") -> None:
        """Record releases that the plan has next; they may then be made.

        Args:
            what: an event, or a release, as for a ledger; it must be the plan's next.
            times: how many, >= 0.
            note: a remark that is kept with the row.

        Raises:
            BudgetExceededError: the plan has no more of them here; nothing was recorded.
            InsecureReleaseError: secure releases are required, and it does not say that it is one.
            LedgerError: it is another event than the plan's next, or ``what``, ``times`` or ``note`` is not valid.

        Example:
            >>> from accountants import Gaussian
            >>> plan = Plan(Gaussian(2.0) * 2, relation="add_remove")
            >>> plan.record(Gaussian(2.0), times=2)
            >>> plan.remaining()
            0
        """
        event, count, _ = read_release(what, times)
        with exclusive():
            if count:
                self._refuse_beyond(event, count)
            self._done.record(what, times, note)
            self._advance(count)

    def _refuse_beyond(self, event: Event | None, count: int) -> None:
        if self._row < len(self._rows) and event is not None and event != self._rows[self._row].event:
            raise LedgerError(
                f"event must be the plan's next, {_shown(self._rows[self._row].event)}, got {_shown(event)}; what was "
                "not planned needs a Budget."
            )
        if count > self._left:
            raise BudgetExceededError(
                f"times must be at most the {self._left} that the plan has next, got {count}; nothing was recorded: a "
                "plan is not extended.",
                event=event,
                times=count,
                remaining=self._left,
            )

    def _advance(self, count: int) -> None:
        self._left -= count
        if count and not self._left:
            self._row += 1
            self._left = self._rows[self._row].times if self._row < len(self._rows) else 0

    def remaining(self) -> int:
        """How many releases the plan still has.

        Example:
            >>> from accountants import Gaussian
            >>> Plan(Gaussian(2.0) * 100, relation="add_remove").remaining()
            100
        """
        return len(self._plan) - len(self._done)

    def epsilon(self, *, delta: float, accountant: Accountant | None = None) -> float:
        """An upper bound of epsilon for the whole plan, wherever it stops.

        Args:
            delta: in (0, 1).
            accountant: None takes the best bound there is.

        Raises:
            EventError: delta is out of range.
            UnsupportedEventError: the accountant has no sound bound for a part.

        Example:
            >>> from accountants import Gaussian
            >>> round(Plan(Gaussian(2.0), relation="add_remove").epsilon(delta=1e-6), 3)
            2.254
        """
        return self._plan.epsilon(delta=delta, accountant=accountant)

    def delta(self, *, epsilon: float, accountant: Accountant | None = None) -> float:
        """An upper bound of delta for the whole plan, wherever it stops.

        Args:
            epsilon: finite, >= 0.
            accountant: None takes the best bound there is.

        Raises:
            EventError: epsilon is out of range.
            UnsupportedEventError: the accountant has no sound bound for a part.

        Example:
            >>> from accountants import Gaussian
            >>> Plan(Gaussian(2.0), relation="add_remove").delta(epsilon=3.0) < 1e-6
            True
        """
        return self._plan.delta(epsilon=epsilon, accountant=accountant)

    def spent(self, *, delta: float, fixed: bool = False, accountant: Accountant | None = None) -> float:
        """What was spent when the plan stops here.

        Args:
            delta: in (0, 1).
            fixed: promise that the moment to stop was chosen without looking at any result (a time limit that does not
                depend on the data, say); then the releases made so far were fixed beforehand too. Otherwise the whole
                plan counts.
            accountant: None takes the best bound there is.

        Raises:
            EventError: delta is out of range.
            UnsupportedEventError: the accountant has no sound bound for a part.

        Example:
            >>> from accountants import Gaussian
            >>> plan = Plan(Gaussian(2.0) * 2, relation="add_remove")
            >>> _ = plan.step()
            >>> plan.spent(delta=1e-6) == plan.epsilon(delta=1e-6) > plan.spent(delta=1e-6, fixed=True)
            True
        """
        ledger = self._done if fixed is True else self._plan
        return ledger.epsilon(delta=delta, accountant=accountant)

    def statement(self, *, delta: float, accountant: Accountant | None = None) -> Statement:
        """The cost of the whole plan as a statement that can be printed.

        Args:
            delta: in (0, 1).
            accountant: None takes the best bound there is.

        Raises:
            EventError: delta is out of range.
            UnsupportedEventError: the accountant has no sound bound for a part.

        Example:
            >>> from accountants import Gaussian
            >>> "0 of 1 planned" in str(Plan(Gaussian(2.0), relation="add_remove").statement(delta=1e-6))
            True
        """
        chosen = accountant or best_accountant(self._plan)
        name = f"{chosen} ({len(self._done)} of {len(self._plan)} planned releases were made, all count)"
        cost = chosen.epsilon(self._plan, delta=delta)
        return state(self._plan, cost, delta, name, admission=PLAN, made=self._done)

    def to_json(self) -> str:
        """The plan as JSON text, with what was made of it; :meth:`from_json` gives it back exactly.

        Raises:
            LedgerError: an event of a third party has fields that JSON cannot hold.

        Example:
            >>> from accountants import Gaussian
            >>> plan = Plan(Gaussian(2.0) * 2, relation="add_remove")
            >>> Plan.from_json(plan.to_json()) == plan
            True
        """
        ledgers = {"plan": json.loads(self._plan.to_json()), "done": json.loads(self._done.to_json())}
        return json.dumps({"schema": _SCHEMA, **ledgers}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that :meth:`to_json` wrote; what was made is gone through again.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not a plan's JSON of this schema, or what was made is not the plan's beginning.
            UnsupportedEventError: an event cannot be held under the relation.
            BudgetExceededError: more was made than planned.

        Example:
            >>> from accountants import Gaussian
            >>> Plan.from_json(Plan(Gaussian(2.0) * 2, relation="add_remove").to_json()).remaining()
            2
        """
        data = parse_object(text, _SCHEMA, {"schema", "plan", "done"})
        planned, done = (Ledger.from_json(json.dumps(data[name])) for name in ("plan", "done"))
        if (planned.relation, planned.unit) != (done.relation, done.unit):
            raise LedgerError("plan and done must have one relation and unit; the JSON was not written by a plan.")
        plan = cls(Composed(()), relation=planned.relation, unit=planned.unit)
        plan._plan, plan._rows = planned, planned.entries
        plan._left = plan._rows[0].times if plan._rows else 0
        for event, times, note in done.entries:
            plan.record(event, times, note)
        plan._done = done
        return plan


def _parts(event: Event, times: int = 1) -> Iterator[tuple[Event, int]]:
    """The parts of a sum, each with its count; a sum that is repeated as a whole is one part."""
    while isinstance(event, Repeated):
        times *= event.times
        event = event.event
    if isinstance(event, Composed) and times == 1:
        for part in event.events:
            yield from _parts(part)
    else:
        yield event, times


def _shown(event: Event) -> str:
    shown = repr(event)
    return shown if len(shown) <= 120 else type(event).__name__
