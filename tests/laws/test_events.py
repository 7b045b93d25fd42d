"""Every law over every event, every relation and every accountant of the package."""

import pytest

from accountants import (
    Composed,
    DominatingPair,
    FixedSizeSampled,
    Gaussian,
    GDPAccountant,
    Group,
    PLDAccountant,
    PoissonSampled,
    RandomizedResponse,
    RDPAccountant,
    Relation,
    Skellam,
    ZCDPAccountant,
)
from accountants.testing import EVENTS, LAWS, Case
from tests.laws.kept import Kept

ACCOUNTANTS = [
    Kept(PLDAccountant()),
    Kept(RDPAccountant()),
    Kept(RDPAccountant(conversion="mironov2017")),
    Kept(RDPAccountant(orders=(1.25, 2, 5, 16, 64))),
    Kept(GDPAccountant()),
    Kept(ZCDPAccountant()),
]
EXAMPLES = [(row, event) for row in EVENTS for event in row.examples]


@pytest.mark.parametrize("accountant", ACCOUNTANTS, ids=str)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("relation", Relation)
def test_law(accountant, law, relation):
    for row, event in EXAMPLES:
        if not accountant.supports(event, relation=relation):
            continue
        for delta in (1e-9, 1e-3):
            law.check(Case(accountant, row, event, relation, delta))


def _stated(event):
    """The relations that guarantees inside an event are stated under."""
    inside = event.events if hasattr(event, "events") else (event.event,) if hasattr(event, "event") else ()
    own = {event.relation} if hasattr(event, "relation") else set()
    return own.union(*(_stated(inner) for inner in inside))


def _about_a_batch(event):
    """Whether what is known of a given pair is about records that are there or replaced, not about zeros."""
    return isinstance(event, PoissonSampled | FixedSizeSampled) and isinstance(event.event, DominatingPair)


def _without_replacement(event):
    """Whether what is known of an event does not say what replacing a record costs."""
    if isinstance(event, Group):  # of whose sampled records none is replaced by another
        return not isinstance(event.event, Gaussian | Composed)
    return isinstance(event, PoissonSampled) and isinstance(event.event, DominatingPair | Skellam)


@pytest.mark.parametrize("relation", Relation)
def test_support_does_not_silently_shrink(relation):
    """Every example is held, but guarantees under other relations, and where no theorem says what a pair is."""
    for _, event in EXAMPLES:
        held = not _stated(event) - {relation}
        if relation is Relation.replace_one:
            held = held and not _without_replacement(event)
        elif isinstance(event, RandomizedResponse) or (relation is Relation.zero_out and _about_a_batch(event)):
            held = False
        for accountant in (PLDAccountant(), RDPAccountant()):
            assert accountant.supports(event, relation=relation) is held, (accountant, event, relation)
