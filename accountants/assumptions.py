"""Assumptions: what an event takes for granted about the release that it stands for, in words.

No accountant can see how a release was made. What must be true of it for the event's cost to be its cost is said here,
one registered function for each event, and stands in every statement. A third party's event registers its own::

    @assumptions.register
    def _(event: MyEvent) -> tuple[str, ...]:
        return ("each party answers once",)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import singledispatch

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

__all__ = ["all_assumptions", "assumptions"]

_BOUNDED = "one record's contribution is no larger than the bound that the noise is a multiple of"
_LATTICE = "one record's contribution is an integer vector no larger than the bounds stated"
_COINS = (
    "batches were drawn by one independent coin for each record, of the probability stated and anew for every release, "
    "and are kept secret"
)


@singledispatch
def assumptions(event: Event) -> tuple[str, ...]:
    """What one event takes for granted, apart from what the events inside it do.

    Args:
        event: the event; an unregistered one is taken at its word.

    Returns:
        Clauses without a full stop; none where there is nothing to assume.

    Example:
        >>> assumptions(Group(Gaussian(4.0), 3))
        ('no unit has more than 3 records',)
        >>> assumptions(NonPrivate())
        ()
    """
    return (f"the release is what {type(event).__name__} says of it",)


def all_assumptions(events: Iterable[Event]) -> tuple[str, ...]:
    """What several events and all inside them take for granted: each clause once, in the order met.

    Args:
        events: the events.

    Example:
        >>> for clause in all_assumptions([PoissonSampled(Gaussian(1.0), 0.01) * 1000, PureDP(1.0, "add_remove")]):
        ...     print(clause[:49])
        batches were drawn by one independent coin for ea
        one record's contribution is no larger than the b
        the release is what PureDP says of it
    """
    clauses: dict[str, None] = {}
    given = tuple(events)  # held, so that an identity stays one event's
    left, seen = list(given[::-1]), set[int]()
    while left:
        event = left.pop()
        if id(event) in seen:  # an event that stands twice in a sum is looked into once
            continue
        seen.add(id(event))
        clauses.update(dict.fromkeys(assumptions(event)))
        left += list(_inner(event))[::-1]
    return tuple(clauses)


def _inner(event: Event) -> Iterator[Event]:
    """The events that an event is made of."""
    kind: type = type(event)
    for field in fields(kind) if is_dataclass(kind) else ():
        value = getattr(event, field.name)
        yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Event))


@assumptions.register(Gaussian)
@assumptions.register(Laplace)
def _(event: Event) -> tuple[str, ...]:
    return (_BOUNDED,)


@assumptions.register(DiscreteGaussian)
@assumptions.register(DiscreteLaplace)
def _(event: Event) -> tuple[str, ...]:
    return (_LATTICE,)


@assumptions.register
def _(event: Skellam) -> tuple[str, ...]:
    return (_LATTICE, "every total that is seen has at least the variance of noise stated")


@assumptions.register
def _(event: DistributedDiscreteGaussian) -> tuple[str, ...]:
    shares = (
        f"every total that is seen holds {event.parties} shares at least whose noise nobody knows, of a public and "
        "fixed set of parties"
    )
    bounded = "one record's contribution is no larger than the bound stated"
    return (bounded, shares) if event.parties > 1 else (bounded,)


@assumptions.register(BoundedRange)
@assumptions.register(PureDP)
@assumptions.register(ApproxDP)
@assumptions.register(ZCDP)
@assumptions.register(RDPCurve)
def _(event: Event) -> tuple[str, ...]:
    return (f"the release is what {type(event).__name__} says of it",)


@assumptions.register
def _(event: RandomizedResponse) -> tuple[str, ...]:
    return ("each record is answered about once, with the probabilities stated",)


@assumptions.register
def _(event: DominatingPair) -> tuple[str, ...]:
    return ("the pair given dominates the laws on all neighbouring data sets",)


@assumptions.register(Repeated)
@assumptions.register(Composed)
@assumptions.register(NonPrivate)
def _(event: Event) -> tuple[str, ...]:
    return ()


@assumptions.register
def _(event: PoissonSampled) -> tuple[str, ...]:
    return (_COINS,)


@assumptions.register
def _(event: TruncatedPoissonSampled) -> tuple[str, ...]:
    return (_COINS, f"there are at most {event.population} records")


@assumptions.register
def _(event: FixedSizeSampled) -> tuple[str, ...]:
    drawn = (
        "batches of the size stated were drawn uniformly without replacement, anew for every release, and are kept "
        "secret"
    )
    return (drawn, f"there are at least {event.population} records to draw from")


@assumptions.register
def _(event: PrivateSelection) -> tuple[str, ...]:
    runs = "the number of runs was drawn beforehand by the law stated, and is kept secret with all runs but the best"
    return (runs, "what each run tries was drawn without looking at the records")


@assumptions.register
def _(event: RandomAllocation) -> tuple[str, ...]:
    return (
        "each record took part in one step of each epoch, drawn uniformly for it alone, and which one is kept secret",
    )


@assumptions.register
def _(event: Group) -> tuple[str, ...]:
    return (f"no unit has more than {event.size} records",)


@assumptions.register
def _(event: Within) -> tuple[str, ...]:
    return ("released laws are within the ratios stated of those accounted for",)
