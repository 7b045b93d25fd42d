"""The law kit: what every event and every accountant must obey, as functions that third parties run on their own.

An event is one row, with examples and a way to make it noisier; every law then holds it under every relation::

    check_laws(RDPAccountant(), [EventRow(Toy, (Toy(1.0),), lambda event: Toy(event.strength / 2))])

Nothing here needs pytest; :func:`event_strategy` imports hypothesis when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

from accountants._rows import EVENTS, EventRow, event_strategy
from accountants.accountant import Accountant
from accountants.errors import LawError
from accountants.events import Composed, Event, Gaussian, Group, PoissonSampled
from accountants.ledger import Ledger
from accountants.relation import Relation

__all__ = ["EVENTS", "LAWS", "EventRow", "Law", "check_laws", "event_strategy"]

_SEARCH = 1e-8  # relative: a search that stops 1e-5 away from the best log-order loses the square of it, with room
_OTHER = Gaussian(6.0)  # supported by every accountant under every relation: composed with the event at hand


@final
@dataclass(frozen=True, slots=True)
class Law:
    """One law: a name that says it, and a check of one event under one relation.

    Args:
        name: the law in words.
        check: raises LawError where the law is broken.
    """

    name: str
    check: Callable[[Accountant, EventRow, Event, Relation, float], None]


def _at_most(low: float, high: float, what: str) -> None:
    if math.isnan(low) or math.isnan(high) or low > high * (1.0 + _SEARCH):
        raise LawError(f"{what}: {low!r} must be at most {high!r}.")


def _equal(one: object, other: object, what: str) -> None:
    if one != other:
        raise LawError(f"{what}: {one!r} must equal {other!r}.")


def _count_is_list(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    counted = accountant.epsilon(event * 3, delta=delta, relation=relation)
    listed = accountant.epsilon(Composed((event, event, event)), delta=delta, relation=relation)
    _equal(counted, listed, "three times an event is the event listed three times")
    ledger = Ledger(relation=relation)
    for _ in range(3):
        ledger.record(event)
    _equal(accountant.epsilon(ledger, delta=delta), counted, "three records are three events")


def _order_is_free(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    first = accountant.epsilon(event + _OTHER, delta=delta, relation=relation)
    last = accountant.epsilon(_OTHER + event, delta=delta, relation=relation)
    _equal(first, last, "the order of events does not matter")


def _replacing_costs_more(
    accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float
) -> None:
    if accountant.supports(event, relation=Relation.replace_one):
        here = accountant.epsilon(event, delta=delta, relation=relation)
        replaced = accountant.epsilon(event, delta=delta, relation=Relation.replace_one)
        _at_most(here, replaced, "replacing a record costs at least as much")


def _noise_never_hurts(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    noisier = accountant.epsilon(row.noisier(event), delta=delta, relation=relation)
    _at_most(noisier, accountant.epsilon(event, delta=delta, relation=relation), "more noise never raises epsilon")


def _fewer_never_hurts(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    fewer = accountant.epsilon(event * 2, delta=delta, relation=relation)
    _at_most(fewer, accountant.epsilon(event * 3, delta=delta, relation=relation), "fewer releases never raise epsilon")


def _delta_never_hurts(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    larger = accountant.epsilon(event, delta=math.sqrt(delta), relation=relation)
    _at_most(larger, accountant.epsilon(event, delta=delta, relation=relation), "a larger delta never raises epsilon")


def _adding_never_helps(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    more = accountant.epsilon(event + _OTHER, delta=delta, relation=relation)
    _at_most(accountant.epsilon(event, delta=delta, relation=relation), more, "adding an event never lowers epsilon")


def _nothing_is_neutral(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    _equal(accountant.epsilon(event * 0, delta=delta, relation=relation), 0.0, "no release costs nothing")
    alone = accountant.epsilon(_OTHER, delta=delta, relation=relation)
    beside = accountant.epsilon(_OTHER + event * 0, delta=delta, relation=relation)
    _equal(alone, beside, "zero times an event is neutral")


def _numbers_are_valid(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    for chosen in (delta, 0.5, 1.0 - 2.0**-53):
        epsilon = accountant.epsilon(event, delta=chosen, relation=relation)
        if not epsilon >= 0.0:
            raise LawError(f"epsilon must be a number >= 0: {epsilon!r}.")
        if math.isfinite(epsilon):
            back = accountant.delta(event, epsilon=epsilon, relation=relation)
            if not 0.0 <= back <= min(1.0, chosen * 1.001):  # t times the search's excess in epsilon, at most
                raise LawError(f"delta at epsilon(delta) must be in [0, delta]: {back!r} for {chosen!r}.")


def _json_is_exact(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    ledger = Ledger(relation=relation, unit="user")
    ledger.record(event, times=2, note='a "note" | with <signs>')
    again = Ledger.from_json(ledger.to_json())
    _equal(again, ledger, "JSON gives a ledger back")
    _equal(again.to_json(), ledger.to_json(), "JSON gives its text back")


def _one_is_no_sampling(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    plain = accountant.epsilon(event, delta=delta, relation=relation)
    _equal(
        accountant.epsilon(PoissonSampled(event, 1.0), delta=delta, relation=relation),
        plain,
        "probability 1 samples all",
    )
    _equal(
        accountant.epsilon(PoissonSampled(event, 0.0), delta=delta, relation=relation),
        0.0,
        "probability 0 is no release",
    )
    half = PoissonSampled(event, 0.5)
    if accountant.supports(half, relation=relation):
        _at_most(accountant.epsilon(half, delta=delta, relation=relation), plain, "sampling never raises epsilon")


def _groups_cost_more(accountant: Accountant, row: EventRow, event: Event, relation: Relation, delta: float) -> None:
    alone = accountant.epsilon(event, delta=delta, relation=relation)
    _equal(
        accountant.epsilon(Group(event, 1), delta=delta, relation=relation), alone, "a group of one record is a record"
    )
    if accountant.supports(Group(event, 2), relation=relation):
        pair = accountant.epsilon(Group(event, 2), delta=delta, relation=relation)
        _at_most(alone, pair, "a group of two costs at least as much")


#: Every law of the kit.
LAWS: tuple[Law, ...] = (
    Law("count is list", _count_is_list),
    Law("order is free", _order_is_free),
    Law("replacing costs more", _replacing_costs_more),
    Law("noise never hurts", _noise_never_hurts),
    Law("fewer never hurts", _fewer_never_hurts),
    Law("delta never hurts", _delta_never_hurts),
    Law("adding never helps", _adding_never_helps),
    Law("nothing is neutral", _nothing_is_neutral),
    Law("numbers are valid", _numbers_are_valid),
    Law("JSON is exact", _json_is_exact),
    Law("one is no sampling", _one_is_no_sampling),
    Law("groups cost more", _groups_cost_more),
)


def check_laws(accountant: Accountant, rows: Iterable[EventRow] = EVENTS, delta: float = 1e-6) -> int:
    """Hold every law over every example under every relation that the accountant supports it under.

    Args:
        accountant: the accountant under test.
        rows: the events; all public ones by default.
        delta: in (0, 1).

    Returns:
        The number of checks made; 0 means that nothing was supported.

    Raises:
        LawError: a law is broken; its text names the law, the event and the relation.

    Example:
        >>> from accountants import RDPAccountant
        >>> check_laws(RDPAccountant(), EVENTS[:1]) > 0
        True
    """
    done = 0
    for row in rows:
        for event in row.examples:
            for relation in Relation:
                if not accountant.supports(event, relation=relation):
                    continue
                for law in LAWS:
                    try:
                        law.check(accountant, row, event, relation, delta)
                    except LawError as broken:
                        raise LawError(f"{law.name}: {event!r} under {relation.value}: {broken}") from broken
                    done += 1
    return done
