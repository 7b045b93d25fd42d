"""The best bound there is: what a ledger and `calibrate` use when no accountant is named."""

from __future__ import annotations

from accountants.accountant import Account, Accountant
from accountants.errors import UnsupportedEventError
from accountants.events import Event
from accountants.pld import PLDAccountant
from accountants.rdp import RDPAccountant
from accountants.relation import Relation

__all__ = ["ACCOUNTANTS", "best_accountant", "epsilon"]

#: Every accountant of the package, the tightest first: a new one is a new row.
ACCOUNTANTS: tuple[Accountant, ...] = (PLDAccountant(), RDPAccountant())


def best_accountant(what: Account | Event, relation: Relation | str | None = None) -> Accountant:
    """The first accountant in the list that has a sound bound for ``what``.

    Args:
        what: a ledger, or an event.
        relation: the relation to hold an event under.

    Raises:
        UnsupportedEventError: there is none.
    """
    for accountant in ACCOUNTANTS:
        if accountant.supports(what, relation=relation):
            return accountant
    # the reason is the accountant's own: let the one that holds the most say it
    ACCOUNTANTS[-1].epsilon(what, delta=0.5, relation=relation)
    raise UnsupportedEventError(
        "what must be supported by an accountant; none of the package's has a sound bound for it."
    )


def epsilon(event: Event, *, delta: float, relation: Relation | str) -> float:
    """What an event costs: the best certified upper bound of epsilon.

    Guarantee:
        An upper bound; held by tests/accountants/test_pld.py and tests/laws.

    Args:
        event: what is released, with its counts and sampling.
        delta: in (0, 1).
        relation: which data sets are neighbours; there is no default.

    Returns:
        A number >= 0; +inf if nothing better is known.

    Raises:
        EventError: delta is out of range, or ``event`` is not an event.
        RelationError: the relation is not one of the three.
        UnsupportedEventError: no sound bound is known.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> round(epsilon(PoissonSampled(Gaussian(1.1), 0.01) * 10_000, delta=1e-5, relation="add_remove"), 2)
        5.19
    """
    return best_accountant(event, relation).epsilon(event, delta=delta, relation=relation)
