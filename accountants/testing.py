"""The law kit: what every event and every accountant must obey, as functions that third parties run on their own.

An accountant is held to every law over every event that it supports by one call, an event by one row, with examples and
a way to make it noisier::

    check_laws(MyAccountant())
    check_laws(RDPAccountant(), [EventRow(Toy, (Toy(1.0),), lambda event: Toy(event.strength / 2))])

Nothing here needs pytest; :func:`event_strategy` imports hypothesis when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

from accountants._checks import check_delta, check_finite
from accountants._rows import EVENTS, EventRow, event_strategy
from accountants.accountant import Account, Accountant
from accountants.errors import LawError
from accountants.events import Composed, Event, Gaussian, Group, PoissonSampled
from accountants.ledger import Ledger
from accountants.pld import PLDAccountant
from accountants.relation import Relation

__all__ = ["EVENTS", "LAWS", "Case", "EventRow", "Law", "broken_laws", "check_laws", "event_strategy"]

_SEARCH = 1e-8  # relative: a search that stops 1e-5 away from the best log-order loses the square of it, with room
_OTHER = Gaussian(6.0)  # of moderate cost under every relation: composed with the event at hand
_TRUTH = PLDAccountant()


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One event under one relation, and the accountant that is asked about it.

    Args:
        accountant: the accountant under test.
        row: what the event is an example of.
        event: the event.
        relation: the relation it is held under.
        delta: in (0, 1).
        tolerance: relative; how far apart the accountant's answers to one question, asked in two ways, may lie. 0 holds
            it to the bit.
    """

    accountant: Accountant
    row: EventRow
    event: Event
    relation: Relation
    delta: float = 1e-6
    tolerance: float = 0.0

    def epsilon(self, event: Event, *, delta: float | None = None, relation: Relation | None = None) -> float:
        """What the accountant says about an event at this case's delta and relation, unless others are given."""
        asked = self.delta if delta is None else delta
        return self.accountant.epsilon(event, delta=asked, relation=relation or self.relation)

    def supports(self, what: Account | Event, relation: Relation | None = None) -> bool:
        """Whether the accountant answers about it: laws say nothing about what it refuses."""
        return self.accountant.supports(what, relation=relation or self.relation)

    def at_most(self, low: float, high: float, what: str) -> None:
        """Refuse ``low`` above ``high``, and NaN."""
        if math.isnan(low) or math.isnan(high) or low > high * (1.0 + _SEARCH + self.tolerance):
            raise LawError(f"{what}: {low!r} must be at most {high!r}.")

    def equal(self, one: float, other: float, what: str) -> None:
        """Refuse two answers that differ by more than the tolerance, and NaN."""
        if not (one == other or abs(one - other) <= self.tolerance * max(abs(one), abs(other)) < math.inf):
            raise LawError(f"{what}: {one!r} must equal {other!r}.")


@final
@dataclass(frozen=True, slots=True)
class Law:
    """One law: a name that says it, and a check of one case.

    Args:
        name: the law in words.
        check: raises LawError where the law is broken.
    """

    name: str
    check: Callable[[Case], None]


def _count_is_list(case: Case) -> None:
    counted = case.epsilon(case.event * 3)
    listed = case.epsilon(Composed((case.event, case.event, case.event)))
    case.equal(counted, listed, "three times an event is the event listed three times")
    ledger = Ledger(relation=case.relation)
    for _ in range(3):
        ledger.record(case.event)
    case.equal(case.accountant.epsilon(ledger, delta=case.delta), counted, "three records are three events")


def _order_is_free(case: Case) -> None:
    if case.supports(case.event + _OTHER):
        first, last = case.epsilon(case.event + _OTHER), case.epsilon(_OTHER + case.event)
        case.equal(first, last, "the order of events does not matter")


def _replacing_costs_more(case: Case) -> None:
    if case.supports(case.event, Relation.replace_one):
        replaced = case.epsilon(case.event, relation=Relation.replace_one)
        case.at_most(case.epsilon(case.event), replaced, "replacing a record costs at least as much")


def _never_below_the_truth(case: Case) -> None:
    for event in (case.event, case.event * 3):
        lower = _reached(event, case.delta, case.relation)
        case.at_most(lower, case.epsilon(event), "a bound is at least what is certified to be reached")


@lru_cache(maxsize=1024)
def _reached(event: Event, delta: float, relation: Relation) -> float:
    """The certified lower end, 0 where none is known: the same for every accountant."""
    return _TRUTH.bounds(event, delta=delta, relation=relation)[0] if _TRUTH.supports(event, relation=relation) else 0.0


def _noise_never_hurts(case: Case) -> None:
    noisier = case.epsilon(case.row.noisier(case.event))
    case.at_most(noisier, case.epsilon(case.event), "more noise never raises epsilon")


def _fewer_never_hurts(case: Case) -> None:
    case.at_most(case.epsilon(case.event * 2), case.epsilon(case.event * 3), "fewer releases never raise epsilon")


def _delta_never_hurts(case: Case) -> None:
    larger = case.epsilon(case.event, delta=math.sqrt(case.delta))
    case.at_most(larger, case.epsilon(case.event), "a larger delta never raises epsilon")


def _adding_never_helps(case: Case) -> None:
    if case.supports(case.event + _OTHER):
        more = case.epsilon(case.event + _OTHER)
        case.at_most(case.epsilon(case.event), more, "adding an event never lowers epsilon")


def _nothing_is_neutral(case: Case) -> None:
    case.equal(case.epsilon(case.event * 0), 0.0, "no release costs nothing")
    if case.supports(_OTHER):
        beside = case.epsilon(_OTHER + case.event * 0)
        case.equal(case.epsilon(_OTHER), beside, "zero times an event is neutral")


def _numbers_are_valid(case: Case) -> None:
    for chosen in (case.delta, 0.5, 1.0 - 2.0**-53):
        epsilon = case.epsilon(case.event, delta=chosen)
        if not epsilon >= 0.0:
            raise LawError(f"epsilon must be a number >= 0: {epsilon!r}.")
        if math.isfinite(epsilon):
            back = case.accountant.delta(case.event, epsilon=epsilon, relation=case.relation)
            # the search's excess in epsilon, t times at most
            if not 0.0 <= back <= min(1.0, chosen * (1.001 + case.tolerance)):
                raise LawError(f"delta at epsilon(delta) must be in [0, delta]: {back!r} for {chosen!r}.")


def _json_is_exact(case: Case) -> None:
    ledger = Ledger(relation=case.relation, unit="user")
    ledger.record(case.event, times=2, note='a "note" | with <signs>')
    again = Ledger.from_json(ledger.to_json())
    if again != ledger or again.to_json() != ledger.to_json():
        raise LawError(f"JSON gives a ledger back: {again.entries!r} must equal {ledger.entries!r}.")


def _one_is_no_sampling(case: Case) -> None:
    plain = case.epsilon(case.event)
    sampled = {prob: PoissonSampled(case.event, prob) for prob in (1.0, 0.0, 0.5)}
    if case.supports(sampled[1.0]):
        case.equal(case.epsilon(sampled[1.0]), plain, "probability 1 samples all")
    if case.supports(sampled[0.0]):
        case.equal(case.epsilon(sampled[0.0]), 0.0, "probability 0 is no release")
    if case.supports(sampled[0.5]):
        case.at_most(case.epsilon(sampled[0.5]), plain, "sampling never raises epsilon")


def _groups_cost_more(case: Case) -> None:
    alone = case.epsilon(case.event)
    if case.supports(Group(case.event, 1)):
        case.equal(case.epsilon(Group(case.event, 1)), alone, "a group of one record is a record")
    if case.supports(Group(case.event, 2)):
        case.at_most(alone, case.epsilon(Group(case.event, 2)), "a group of two costs at least as much")


#: Every law of the kit.
LAWS: tuple[Law, ...] = (
    Law("count is list", _count_is_list),
    Law("order is free", _order_is_free),
    Law("replacing costs more", _replacing_costs_more),
    Law("never below the truth", _never_below_the_truth),
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


def broken_laws(case: Case) -> dict[str, str]:
    """The laws that one case breaks, by name, each with what was found.

    Args:
        case: an event, a relation, and an accountant that supports the one under the other.

    Returns:
        An empty dict if all laws hold.

    Example:
        >>> from accountants import RDPAccountant
        >>> broken_laws(Case(RDPAccountant(), EVENTS[0], Gaussian(1.0), Relation.add_remove))
        {}
    """
    found = {}
    for law in LAWS:
        try:
            law.check(case)
        except LawError as broken:
            found[law.name] = str(broken)
    return found


def check_laws(
    accountant: Accountant, rows: Iterable[EventRow] = EVENTS, delta: float = 1e-6, tolerance: float = 0.0
) -> int:
    """Hold every law over every example under every relation that the accountant supports it under.

    Args:
        accountant: the accountant under test.
        rows: the events; all public ones by default.
        delta: in (0, 1).
        tolerance: relative; how far apart the accountant's answers to one question, asked in two ways, may lie. 0 holds
            it to the bit; an accountant that rounds losses to a grid needs some.

    Returns:
        The number of checks made; 0 means that nothing was supported.

    Raises:
        LawError: laws are broken; its text names the first such event, the relation and each law.
        EventError: delta or tolerance is out of range.

    Example:
        >>> from accountants import RDPAccountant
        >>> check_laws(RDPAccountant(), EVENTS[:1]) > 0
        True
    """
    check_delta(delta)
    check_finite("tolerance", tolerance, "0 holds the accountant to the bit.")
    done = 0
    for row in rows:
        for event in row.examples:
            for relation in Relation:
                if not accountant.supports(event, relation=relation):
                    continue
                broken = broken_laws(Case(accountant, row, event, relation, delta, tolerance))
                if broken:
                    found = "; ".join(f"{name}: {text}" for name, text in broken.items())
                    raise LawError(f"{event!r} under {relation.value}: {found}")
                done += len(LAWS)
    return done
