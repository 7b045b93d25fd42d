"""Events: what was released about one record, as frozen data.

An event says nothing about how it is accounted: curves live with the accountants (:mod:`accountants.rdp`), the choice
of the two worst laws in :mod:`accountants.pairs`. Additive noise is given relative to the bound of ONE record's
contribution, so no event mentions a neighbouring relation.

A third party adds an event with one class here and one curve there::

    @final
    @dataclass(frozen=True, slots=True)
    class Toy(Event):
        strength: float

    @rdp_curve.register
    def _(event: Toy, relation: Relation) -> Curve:
        return Curve(rdp=lambda order: event.strength * order)

The class is then known to ledgers and their JSON by its name. Fields are numbers, strings, events, or tuples of these.

Modules: base (the algebra), additive (noise on a vector), stated (a guarantee, or a pair of laws, as given), combined
(almost-equal laws, sampling, groups), chosen (the best of several runs, one step of many).
"""

from __future__ import annotations

from accountants.events.additive import (
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    Gaussian,
    Laplace,
    Skellam,
)
from accountants.events.base import Composed, Event, Repeated
from accountants.events.chosen import PrivateSelection, RandomAllocation
from accountants.events.combined import FixedSizeSampled, Group, PoissonSampled, TruncatedPoissonSampled, Within
from accountants.events.stated import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    DominatingPair,
    NonPrivate,
    PureDP,
    RandomizedResponse,
    RDPCurve,
)

__all__ = [
    "ZCDP",
    "ApproxDP",
    "BoundedRange",
    "Composed",
    "DiscreteGaussian",
    "DiscreteLaplace",
    "DistributedDiscreteGaussian",
    "DominatingPair",
    "Event",
    "FixedSizeSampled",
    "Gaussian",
    "Group",
    "Laplace",
    "NonPrivate",
    "PoissonSampled",
    "PrivateSelection",
    "PureDP",
    "RDPCurve",
    "RandomAllocation",
    "RandomizedResponse",
    "Repeated",
    "Skellam",
    "TruncatedPoissonSampled",
    "Within",
]
