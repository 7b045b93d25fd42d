"""Every law over every event, every relation and every accountant of the package."""

import pytest

from accountants import RDPAccountant, Relation
from accountants.testing import EVENTS, LAWS

ACCOUNTANTS = [RDPAccountant(), RDPAccountant(conversion="mironov2017"), RDPAccountant(orders=(1.25, 2, 5, 16, 64))]
EXAMPLES = [(row, event) for row in EVENTS for event in row.examples]


@pytest.mark.parametrize("accountant", ACCOUNTANTS, ids=str)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("relation", Relation)
def test_law(accountant, law, relation):
    for row, event in EXAMPLES:
        if not accountant.supports(event, relation=relation):
            continue
        for delta in (1e-9, 1e-3):
            law.check(accountant, row, event, relation, delta)
