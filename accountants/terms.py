"""Terms: what a statement takes for granted, and what was enforced while its releases were recorded.

*Assumed* is what no record shows: how data, contributions, batches and noise came to be. *Enforced* is only what the
record itself proves: which events were refused, which came with the release that they are about, and whether that
release said that its randomness was secure. Nothing is claimed for an event that was typed by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from accountants.assumptions import all_assumptions
from accountants.events import Event
from accountants.relation import Relation
from accountants.statement import Statement

__all__ = ["BUDGET", "LEDGER", "ODOMETER", "PLAN", "Admission", "Recorded", "state"]


class Recorded(Protocol):
    """What a ledger tells about what it holds."""

    @property
    def relation(self) -> Relation:
        """The relation that all entries are about."""

    @property
    def unit(self) -> str:
        """What one record is, in words."""

    @property
    def entries(self) -> tuple[tuple[Event, int, str], ...]:
        """(event, times, note) rows."""

    @property
    def seeded_releases(self) -> int:
        """How many releases said that their randomness was seeded."""

    @property
    def secure_releases(self) -> int:
        """How many releases said that their randomness was secure."""

    @property
    def brought_releases(self) -> int:
        """How many releases brought their event."""

    @property
    def require_secure(self) -> bool:
        """Whether releases whose randomness is not said to be cryptographic were refused."""

    @property
    def premises(self) -> tuple[str, ...]:
        """What merging took for granted."""

    def __len__(self) -> int:
        """The number of releases."""


@final
@dataclass(frozen=True, slots=True)
class Admission:
    """How releases come to be recorded somewhere.

    Args:
        assumed: what must be true of how the events were chosen.
        enforced: what is refused.
    """

    assumed: str
    enforced: str


LEDGER = Admission(
    "noise, sampling and number of the releases were fixed beforehand: none followed from a result",
    "what has no sound bound under the relation was refused",
)
BUDGET = Admission(
    "each release was recorded before it was made; its event may follow earlier results, never its own",
    "what did not fit the promise was refused",
)
ODOMETER = Admission(BUDGET.assumed, "what has no bound that holds at all times was refused")
PLAN = Admission(
    "the plan was fixed before its first release, and each release was recorded before it was made",
    "what was not the next release of the plan was refused",
)
_SECURE = "a release that did not say that all its randomness was cryptographic was refused"


def state(
    ledger: Recorded,
    epsilon: float,
    delta: float,
    accountant: str,
    *,
    admission: Admission = LEDGER,
    made: Recorded | None = None,
) -> Statement:
    """The statement of an epsilon about what a ledger holds.

    Guarantee:
        ``enforced`` holds only what was recorded (``test_nothing_is_enforced_that_was_not_recorded``).

    Args:
        ledger: what the epsilon is about.
        epsilon: the upper bound.
        delta: the delta that it belongs to.
        accountant: how it was computed.
        admission: how its events came to be recorded.
        made: what was in fact recorded, if not all of the ledger was.

    Example:
        >>> from accountants import Gaussian, Ledger
        >>> ledger = Ledger(relation="add_remove")
        >>> ledger.record(Gaussian(5.0))
        >>> state(ledger, 1.0, 1e-6, "accountant").enforced
        ('what has no sound bound under the relation was refused',)
    """
    seen = ledger if made is None else made
    return Statement(
        epsilon=epsilon,
        delta=float(delta),
        relation=ledger.relation,
        unit=ledger.unit,
        accountant=accountant,
        releases=len(ledger),
        seeded_releases=seen.seeded_releases,
        entries=tuple((repr(event), times, note) for event, times, note in ledger.entries),
        assumed=_assumed(ledger, seen, admission),
        enforced=_enforced(seen, admission),
    )


def _assumed(ledger: Recorded, seen: Recorded, admission: Admission) -> tuple[str, ...]:
    unit = f"a record is all that one {ledger.unit} contributes, unless an event is about groups"
    whole = "nothing else was released about these records"
    clauses = [unit, whole, admission.assumed, *ledger.premises]
    if len(ledger):
        random = "noise has the law that its event names, made of independent, uniform and secret random words"
        clauses += [*all_assumptions(event for event, _, _ in ledger.entries), random]
    by_hand = len(seen) - seen.brought_releases
    if by_hand:
        clauses.append(f"{_count(by_hand, len(seen))} recorded by hand, and made as declared")
    return tuple(clauses)


def _enforced(seen: Recorded, admission: Admission) -> tuple[str, ...]:
    clauses = [admission.enforced]
    if seen.require_secure:
        clauses.append(_SECURE)
    if seen.brought_releases:
        brought = _count(seen.brought_releases, len(seen))
        clauses.append(f"{brought} recorded with the event that the release itself brought")
    if seen.secure_releases:
        clauses.append(f"{_count(seen.secure_releases, len(seen))} recorded as made with cryptographic randomness")
    return tuple(clauses)


def _count(part: int, whole: int) -> str:
    verb = "release was" if whole == 1 else "releases were"
    return f"{part} of {whole} {verb}"
