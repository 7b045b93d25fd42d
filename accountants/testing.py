"""The law kit: what every event and every accountant must obey, as functions that third parties run on their own.

An event is one row, with examples and a way to make it noisier; every law then holds it under every relation::

    check_laws(RDPAccountant(), [EventRow(Toy, (Toy(1.0),), lambda event: Toy(event.strength / 2))])

Nothing here needs pytest; :func:`event_strategy` imports hypothesis when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from accountants.accountant import Accountant
from accountants.errors import LawError
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
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Repeated,
    Skellam,
    TruncatedPoissonSampled,
    Within,
)
from accountants.ledger import Ledger
from accountants.relation import Relation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["EVENTS", "LAWS", "EventRow", "Law", "check_laws", "event_strategy"]

_SEARCH = 1e-8  # relative: a search that stops 1e-5 away from the best log-order loses the square of it, with room
_OTHER = Gaussian(6.0)  # supported by every accountant under every relation: composed with the event at hand


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
