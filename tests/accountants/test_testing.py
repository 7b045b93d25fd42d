"""The kit must notice: each fault planted in an accountant is caught by the law that is named for it."""

import math
from dataclasses import dataclass, field, replace

import pytest

from accountants import Gaussian, PoissonSampled, RDPAccountant, Relation, UnsupportedEventError
from accountants.errors import EventError, LawError
from accountants.testing import EVENTS, LAWS, Case, EventRow, broken_laws, check_laws

SAMPLED = EventRow(PoissonSampled, (PoissonSampled(Gaussian(1.0), 0.1),), lambda e: PoissonSampled(e.event, 0.05))
PLAIN = EVENTS[0]


@dataclass
class _Faulty:
    """An accountant that is right except for what ``bend`` does to (epsilon, what, delta, relation)."""

    bend: object
    inner: RDPAccountant = field(default_factory=RDPAccountant)

    def epsilon(self, what, *, delta, relation=None):
        relation = relation or what.relation
        return self.bend(self.inner.epsilon(what, delta=delta, relation=relation), what, delta, relation)

    def delta(self, what, *, epsilon, relation=None):
        return self.inner.delta(what, epsilon=epsilon, relation=relation)

    def supports(self, what, *, relation=None):
        return self.inner.supports(what, relation=relation)


def _listed(epsilon, what, delta, relation):
    return epsilon * (0.9 if type(what).__name__ == "Repeated" else 1.0)


def _halved(epsilon, what, delta, relation):
    return epsilon * (0.4 if relation is Relation.replace_one else 1.0)


FAULTS = [
    ("count is list", _listed),
    ("replacing costs more", _halved),
    ("never below the truth", lambda epsilon, *_: epsilon * 0.5),
    ("noise never hurts", lambda epsilon, what, *_: 1.0 / epsilon if epsilon else 0.0),
    ("delta never hurts", lambda epsilon, what, delta, relation: epsilon * delta),
    ("numbers are valid", lambda epsilon, what, delta, relation: epsilon if delta < 0.5 else -1.0),
    ("numbers are valid", lambda epsilon, what, delta, relation: epsilon if delta < 0.5 else math.nan),
    ("numbers are valid", lambda epsilon, what, delta, relation: epsilon * 0.5),
    ("nothing is neutral", lambda epsilon, *_: epsilon + 1.0),
    ("adding never helps", lambda epsilon, what, *_: epsilon * (0.1 if type(what).__name__ == "Composed" else 1.0)),
    ("order is free", lambda epsilon, what, *_: epsilon + (getattr(what, "events", [1])[0] == Gaussian(6.0))),
    (
        "one is no sampling",
        lambda epsilon, what, *_: (
            epsilon * getattr(what, "sampling_prob", 1.0) ** 0 * (1 + (type(what).__name__ == "PoissonSampled"))
        ),
    ),
    ("groups cost more", lambda epsilon, what, *_: epsilon * (0.5 if type(what).__name__ == "Group" else 1.0)),
    ("fewer never hurts", lambda epsilon, what, *_: epsilon + (1e3 if getattr(what, "times", 0) == 2 else 0.0)),
]


@pytest.mark.parametrize(("name", "bend"), FAULTS)
def test_a_planted_fault_is_caught_by_its_law(name, bend):
    law = next(law for law in LAWS if law.name == name)
    with pytest.raises(LawError):
        for row in (PLAIN, SAMPLED):
            for event in row.examples:
                for relation in Relation:
                    law.check(Case(_Faulty(bend), row, event, relation))


def test_every_law_but_json_has_a_fault_here():
    assert {name for name, _ in FAULTS} | {"JSON is exact"} == {law.name for law in LAWS}


def test_the_report_names_law_event_and_relation():
    with pytest.raises(LawError, match=r"Gaussian\(noise_multiplier=0.4\) under add_remove"):
        check_laws(_Faulty(lambda epsilon, *_: epsilon + 1.0), [PLAIN])


def test_a_tolerance_is_relative_and_forgives_no_more():
    case = Case(_Faulty(_listed), PLAIN, Gaussian(1.0), Relation.add_remove)
    assert set(broken_laws(case)) == {"count is list", "never below the truth"}
    assert "count is list" in broken_laws(replace(case, tolerance=0.099))
    assert "count is list" not in broken_laws(replace(case, tolerance=0.101))


def test_the_kit_refuses_a_tolerance_that_is_none():
    with pytest.raises(EventError, match="tolerance"):
        check_laws(RDPAccountant(), [PLAIN], tolerance=-0.1)


def test_what_is_not_supported_is_not_checked():
    class Nothing(_Faulty):
        def supports(self, what, *, relation=None):
            return False

        def epsilon(self, what, *, delta, relation=None):
            raise UnsupportedEventError("nothing")

    assert check_laws(Nothing(None)) == 0
