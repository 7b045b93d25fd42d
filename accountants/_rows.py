"""One row for each event of the package, and a strategy that nests them: what the law kit runs over. Private."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from accountants.events import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    DominatingPair,
    Event,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PrivateSelection,
    PureDP,
    RandomAllocation,
    RandomizedResponse,
    RDPCurve,
    Repeated,
    Skellam,
    TruncatedPoissonSampled,
    Within,
)
from accountants.relation import Relation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["EVENTS", "EventRow", "event_strategy"]


@final
@dataclass(frozen=True, slots=True)
class EventRow:
    """One kind of event.

    Args:
        kind: the class.
        examples: events of that class, over the range that matters.
        noisier: an event of the same class that must not cost more.
    """

    kind: type[Event]
    examples: tuple[Event, ...]
    noisier: Callable[[Any], Event]


def _times(name: str, factor: float) -> Callable[[Any], Event]:
    """The event with one number multiplied."""
    return lambda event: replace(event, **{name: factor * getattr(event, name)})


def _coin(heads: float) -> DominatingPair:
    """A coin that shows the record's bit with this probability."""
    law = (math.log(heads), math.log1p(-heads))
    return DominatingPair(law, law[::-1])


def _blurred(pair: DominatingPair) -> Event:
    """The pair after one more fair coin in four has replaced its outcome."""
    log_p, log_q = (
        tuple(math.log(0.75 * math.exp(log) + 0.25 / len(law)) for log in law) for law in (pair.log_p, pair.log_q)
    )
    return DominatingPair(log_p, log_q)


_HALF = (math.log(0.5), math.log(0.5))
_LOST = DominatingPair((math.log(0.6), math.log(0.4), -math.inf), (math.log(0.4), math.log(0.5), math.log(0.1)))

#: One row for each public event: a new event is a new row, and inherits every law.
EVENTS: tuple[EventRow, ...] = (
    EventRow(Gaussian, (Gaussian(0.4), Gaussian(1.0), Gaussian(30.0)), lambda e: Gaussian(1.5 * e.noise_multiplier)),
    EventRow(Laplace, (Laplace(0.3), Laplace(2.0), Laplace(50.0)), lambda e: Laplace(1.5 * e.noise_multiplier)),
    EventRow(
        DistributedDiscreteGaussian,
        (DistributedDiscreteGaussian(1.5, 20, 8.0, 1000), DistributedDiscreteGaussian(40.0, 1, 16.0, 10)),
        _times("local_stddev", 1.5),
    ),
    EventRow(
        DiscreteGaussian,
        (DiscreteGaussian(4.0, 2.0), DiscreteGaussian(0.7, 1.0), DiscreteGaussian(10.0, 8.0, dim=100)),
        _times("stddev", 1.5),
    ),
    EventRow(DiscreteLaplace, (DiscreteLaplace(0.5, 1.0), DiscreteLaplace(20.0, 7.5)), _times("scale", 1.5)),
    EventRow(Skellam, (Skellam(100.0, 10.0, 5.0), Skellam(2.0, 1.0, 1.0)), _times("variance", 1.5)),
    EventRow(
        RandomizedResponse,
        (RandomizedResponse(1.0), RandomizedResponse(3.0, 10), RandomizedResponse(0.0, 4)),
        _times("epsilon", 0.5),
    ),
    EventRow(BoundedRange, (BoundedRange(0.1), BoundedRange(2.0)), _times("epsilon", 0.5)),
    EventRow(
        PureDP,
        (PureDP(0.5, Relation.add_remove), PureDP(3.0, Relation.replace_one), PureDP(0.0, Relation.zero_out)),
        _times("epsilon", 0.5),
    ),
    EventRow(
        ApproxDP,
        (ApproxDP(1.0, 1e-12, Relation.add_remove), ApproxDP(0.2, 1e-4, Relation.replace_one)),
        _times("delta", 0.5),
    ),
    EventRow(ZCDP, (ZCDP(0.01, Relation.add_remove), ZCDP(1.0, Relation.replace_one)), _times("rho", 0.5)),
    EventRow(
        RDPCurve,
        (RDPCurve((1.5, 2.0, 8.0, 32.0), (0.1, 0.15, 0.6, math.inf), Relation.add_remove),),
        lambda e: replace(e, values=tuple(value / 2.0 for value in e.values)),
    ),
    EventRow(NonPrivate, (NonPrivate(),), lambda e: e),
    EventRow(DominatingPair, (_coin(0.7), _LOST, DominatingPair(_HALF, _HALF)), _blurred),
    EventRow(
        Within,
        (Within(Gaussian(2.0), 0.01, 0.02), Within(Within(Laplace(1.0), 1e-9, 0.0) * 3, 0.0, 1e-3)),
        lambda e: Within(e.event, e.up / 2.0, e.down / 2.0),
    ),
    EventRow(
        PoissonSampled,
        (
            PoissonSampled(Gaussian(1.0), 0.01),
            PoissonSampled(Gaussian(0.6), 0.5),
            PoissonSampled(Laplace(1.0), 0.1),
            PoissonSampled(Gaussian(1.0) + Gaussian(2.0) * 3, 0.05),
            PoissonSampled(PoissonSampled(Gaussian(1.0), 0.3), 0.3),
            PoissonSampled(Within(Gaussian(2.0), 1e-6, 1e-6), 0.2),
            PoissonSampled(DiscreteLaplace(2.0, 3.0), 0.1),
            PoissonSampled(DiscreteGaussian(2.0, 2.0), 0.1),
            PoissonSampled(DiscreteGaussian(2.0, 3.0, dim=5), 0.1),
            PoissonSampled(Skellam(9.0, 4.0, 2.0), 0.05),
            PoissonSampled(_coin(0.8), 0.1),
            PoissonSampled(ApproxDP(1.0, 1e-10, Relation.add_remove), 0.1),
        ),
        lambda e: PoissonSampled(e.event, e.sampling_prob / 2.0),
    ),
    EventRow(
        FixedSizeSampled,
        (
            FixedSizeSampled(Gaussian(2.0), 1000, 10),
            FixedSizeSampled(Gaussian(1.0), 10, 5),
            FixedSizeSampled(Laplace(4.0), 100, 3),
            FixedSizeSampled(Gaussian(3.0) + Gaussian(4.0), 100, 7),
            FixedSizeSampled(FixedSizeSampled(Gaussian(2.0), 100, 10), 1000, 100),
        ),
        lambda e: replace(e, population=2 * e.population),
    ),
    EventRow(
        TruncatedPoissonSampled,
        (
            TruncatedPoissonSampled(Gaussian(1.0), 0.01, 10_000, 180),
            TruncatedPoissonSampled(Laplace(1.0), 0.1, 100, 100),
        ),
        lambda e: replace(e, population=e.population // 2),
    ),
    EventRow(
        Group,
        (
            Group(Gaussian(3.0), 3),
            Group(PoissonSampled(Gaussian(2.0), 0.01) * 100, 2),
            Group(PoissonSampled(Laplace(5.0), 0.1), 3),
            Group(Within(Laplace(2.0), 1e-6, 1e-6) + ApproxDP(0.1, 1e-12, Relation.add_remove), 2),
        ),
        lambda e: Group(e.event, e.size - 1),
    ),
    EventRow(
        PrivateSelection,
        (
            PrivateSelection(Gaussian(3.0), 10.0),
            PrivateSelection(Laplace(4.0), 4.0, 0.0),
            PrivateSelection(PoissonSampled(Gaussian(1.0), 0.01) * 100 + Gaussian(8.0), 5.0, -0.5),
            PrivateSelection(Gaussian(4.0), 10.0, math.inf),
            PrivateSelection(PureDP(0.2, Relation.add_remove), 2.5, math.inf),
            PrivateSelection(Within(Gaussian(5.0), 1e-6, 1e-7), 3.0, 2.0),
        ),
        lambda e: replace(e, mean=0.5 * (1.0 + e.mean)),
    ),
    EventRow(
        RandomAllocation,
        (
            RandomAllocation(Gaussian(1.0), 100),
            RandomAllocation(Gaussian(6.0), 10),
            RandomAllocation(Gaussian(0.5), 3),
            RandomAllocation(Gaussian(1.5) + Gaussian(2.0) * 3, 1000),
        ),
        lambda e: replace(e, steps=2 * e.steps),
    ),
    EventRow(
        Repeated,
        (Gaussian(5.0) * 10, PoissonSampled(Gaussian(1.1), 0.01) * 2000, Laplace(3.0) * 0),
        lambda e: Repeated(e.event, e.times // 2),
    ),
    EventRow(
        Composed,
        (
            Gaussian(1.0) + Laplace(2.0),
            Composed((PoissonSampled(Gaussian(1.0), 0.01) * 50, Gaussian(4.0))),
            Composed(()),
        ),
        lambda e: Composed(e.events[:-1]),
    ),
)


def event_strategy(max_leaves: int = 5, relation: Relation | None = None) -> SearchStrategy[Event]:
    """A hypothesis strategy for nested events of the package (imports hypothesis).

    Args:
        max_leaves: the most core events in one drawn event.
        relation: of the guarantees that are stated under one; None draws it.

    Example:
        >>> from hypothesis import find
        >>> find(event_strategy(), lambda event: isinstance(event, Repeated) and event.times == 3).times
        3
    """
    from hypothesis import strategies as st

    slack = st.floats(0.0, 0.01)
    additive = _additive()
    sampled = (
        st.builds(PoissonSampled, additive, st.floats(0.0, 1.0))
        | st.builds(FixedSizeSampled, additive, st.integers(20, 1000), st.integers(0, 20))
        | st.builds(TruncatedPoissonSampled, additive, st.floats(0.0, 0.5), st.integers(1, 200), st.integers(100, 200))
        | st.builds(Group, additive, st.sampled_from([1, 2, 4]))
    )

    def nested(inner: SearchStrategy[Event]) -> SearchStrategy[Event]:
        return (
            st.builds(Repeated, inner, st.integers(0, 50))
            | st.builds(Composed, st.lists(inner, max_size=3))
            | st.builds(Within, inner, slack, slack)
        )

    return st.recursive(additive | sampled | _stated(relation), nested, max_leaves=max_leaves)


def _additive() -> SearchStrategy[Event]:
    """Noise that is never so little that an accountant takes long over it."""
    from hypothesis import strategies as st

    noise, bound = st.floats(0.3, 50.0), st.floats(1.0, 8.0)
    return (
        st.builds(Gaussian, noise)
        | st.builds(Laplace, noise)
        | st.builds(DiscreteLaplace, noise, bound)
        | st.builds(DiscreteGaussian, noise, bound, st.just(1))
    )


def _stated(relation: Relation | None) -> SearchStrategy[Event]:
    """Guarantees, under the relation or under any, and what holds under every relation."""
    from hypothesis import strategies as st

    held = st.sampled_from(Relation) if relation is None else st.just(relation)
    epsilon, rho = st.floats(0.0, 3.0), st.floats(0.0, 1.0)
    bounds = st.lists(st.floats(0.0, 1.0) | st.just(math.inf), min_size=3, max_size=3)
    coins = st.builds(_coin, st.floats(0.01, 0.99))
    stated = (
        st.builds(PureDP, epsilon, held)
        | st.builds(ApproxDP, epsilon, st.floats(0.0, 1e-3), held)
        | st.builds(ZCDP, rho, held)
        | st.builds(RDPCurve, st.just((1.5, 4.0, 32.0)), bounds, held)
        | st.builds(BoundedRange, epsilon)
        | st.builds(Skellam, st.floats(1.0, 100.0), st.floats(1.0, 8.0), st.floats(1.0, 8.0))
        | st.just(NonPrivate())
        | coins
    )
    if relation in (None, Relation.replace_one):
        return stated | st.builds(RandomizedResponse, epsilon, st.integers(2, 20))
    return stated
