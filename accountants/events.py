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
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from accountants._checks import check_count, check_finite, check_positive, check_prob
from accountants.errors import EventError

__all__ = [
    "Composed",
    "DistributedDiscreteGaussian",
    "Event",
    "Gaussian",
    "Laplace",
    "PoissonSampled",
    "Repeated",
    "Within",
]


class Event:
    """Base of all events: a frozen, hashable description of one release.

    ``event * n`` is the event n times, ``a + b`` is one after the other; both may depend on earlier results, but the
    events themselves are fixed in advance. Subclasses are frozen dataclasses; they are registered for JSON by their
    class name.

    Example:
        >>> Gaussian(2.0) * 3 + Laplace(1.0)
        Composed(events=(Repeated(event=Gaussian(noise_multiplier=2.0), times=3), Laplace(noise_multiplier=1.0)))
    """

    __slots__ = ()
    registry: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the class by name. Slots make a dataclass twice over: of the same definition the later wins."""
        super().__init_subclass__(**kwargs)
        known = Event.registry.get(cls.__name__)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise EventError(
                f"event name must be unique, got a second {cls.__name__!r} beside {known.__module__}; rename it."
            )
        Event.registry[cls.__name__] = cls

    def __mul__(self, times: int) -> Repeated:
        return Repeated(self, times)

    __rmul__ = __mul__

    def __add__(self, other: Event) -> Composed:
        if not isinstance(other, Event):
            return NotImplemented
        return Composed((*_terms(self), *_terms(other)))


_DEEPEST = 64  # nesting that hashing, printing and JSON can follow


def _terms(event: Event) -> tuple[Event, ...]:
    """The summands of an event, so that long sums stay flat."""
    return event.events if isinstance(event, Composed) else (event,)


def _check_event(name: str, value: object) -> None:
    if not isinstance(value, Event):
        raise EventError(f"{name} must be an event, got {type(value).__name__}; build it from accountants.events.")
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise EventError(f"{name} must be nested at most {_DEEPEST} deep; write sums and repetitions flat.")
        # by identity: an event that stands twice in a sum is looked into once
        level = list({id(inner): inner for event in level for inner in _inside(event)}.values())


def _inside(event: Event) -> tuple[Event, ...]:
    """The events that an event holds."""
    inner = getattr(event, "events", None) or getattr(event, "event", None)
    return inner if isinstance(inner, tuple) else (inner,) if isinstance(inner, Event) else ()


_NOISE_ADVICE = (
    "give the noise as a multiple of the bound of one record's contribution; a release without noise is not private."
)


@final
@dataclass(frozen=True, slots=True)
class Gaussian(Event):
    """Gaussian noise on a vector whose l2 norm one record changes by at most the bound.

    Args:
        noise_multiplier: standard deviation / bound, > 0.

    Raises:
        EventError: the noise multiplier is not a finite number > 0.

    Example:
        >>> Gaussian(1.1)
        Gaussian(noise_multiplier=1.1)
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = check_positive("noise_multiplier", self.noise_multiplier, _NOISE_ADVICE)
        object.__setattr__(self, "noise_multiplier", value)


@final
@dataclass(frozen=True, slots=True)
class Laplace(Event):
    """Laplace noise on a vector whose l1 norm one record changes by at most the bound.

    Args:
        noise_multiplier: scale / bound, > 0.

    Raises:
        EventError: the noise multiplier is not a finite number > 0.

    Example:
        >>> Laplace(2)
        Laplace(noise_multiplier=2.0)
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = check_positive("noise_multiplier", self.noise_multiplier, _NOISE_ADVICE)
        object.__setattr__(self, "noise_multiplier", value)


@final
@dataclass(frozen=True, slots=True)
class DistributedDiscreteGaussian(Event):
    """The sum of independent discrete Gaussians, one drawn by each party, in lattice units.

    Party i releases an integer vector drawn from the discrete Gaussian centred at its own REAL vector; only the sum
    is seen. The noise does the rounding: there is no other. Holds for a fixed, public set of parties; sampling of
    records inside parties that are always present may be added by :class:`PoissonSampled`, sampling of parties may
    not.

    Args:
        local_stddev: parameter sigma of each party's noise, lattice units.
        parties: the number of shares that any sum is guaranteed to contain.
        l2_bound: l2 norm of one record's contribution, lattice units.
        dim: number of coordinates.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> DistributedDiscreteGaussian(local_stddev=8.0, parties=9, l2_bound=16.0, dim=1000).parties
        9
    """

    local_stddev: float
    parties: int
    l2_bound: float
    dim: int

    def __post_init__(self) -> None:
        stddev = check_positive("local_stddev", self.local_stddev, "give it in lattice units.")
        bound = check_positive("l2_bound", self.l2_bound, "give the clipping bound in lattice units.")
        parties = check_count("parties", self.parties, 1, "count the shares guaranteed in any sum that is opened.")
        dim = check_count("dim", self.dim, 1, "count the coordinates of the released vector.")
        for name, value in (("local_stddev", stddev), ("parties", parties), ("l2_bound", bound), ("dim", dim)):
            object.__setattr__(self, name, value)


@final
@dataclass(frozen=True, slots=True)
class Within(Event):
    r"""A release whose law is almost that of ``event``: every log-ratio to it lies in [-down, up].

    Then :math:`\delta(\epsilon) \le e^A \delta_0(\epsilon - A - B)` with A and B the sums of ``up`` and ``down`` over
    all
    releases: the slack is applied once, outside the composition (applying it release by release is unsound).

    Args:
        event: the event whose law is close.
        up: largest log(law / law of ``event``), >= 0.
        down: largest log(law of ``event`` / law), >= 0.

    Raises:
        EventError: a slack is not a finite number >= 0, or ``event`` is not an event.

    Example:
        >>> Within(Gaussian(4.0), up=1e-12, down=1e-12).event
        Gaussian(noise_multiplier=4.0)
    """

    event: Event
    up: float
    down: float

    def __post_init__(self) -> None:
        _check_event("event", self.event)
        for name in ("up", "down"):
            advice = "a law that is not within a finite ratio of another has no such event."
            object.__setattr__(self, name, check_finite(name, getattr(self, name), advice))


@final
@dataclass(frozen=True, slots=True)
class PoissonSampled(Event):
    """``event`` on a batch that holds each record independently with probability ``sampling_prob``.

    One coin per record decides about the whole inner event, also where that is a composition.

    Args:
        event: what is released about the batch.
        sampling_prob: probability that a record is in the batch, in [0, 1].

    Raises:
        EventError: the probability is out of [0, 1], or ``event`` is not an event.

    Example:
        >>> PoissonSampled(Gaussian(1.1), 0.01) * 10_000
        Repeated(event=PoissonSampled(event=Gaussian(noise_multiplier=1.1), sampling_prob=0.01), times=10000)
    """

    event: Event
    sampling_prob: float

    def __post_init__(self) -> None:
        _check_event("event", self.event)
        value = check_prob("sampling_prob", self.sampling_prob, "give expected batch size / number of records.")
        object.__setattr__(self, "sampling_prob", value)


@final
@dataclass(frozen=True, slots=True)
class Repeated(Event):
    """``event``, ``times`` times over, with fresh randomness (and fresh batches) each time.

    Args:
        event: the event that is repeated.
        times: how often, an integer >= 0.

    Raises:
        EventError: ``times`` is not an integer >= 0, or ``event`` is not an event.

    Example:
        >>> Gaussian(1.0) * 2 == Repeated(Gaussian(1.0), 2)
        True
    """

    event: Event
    times: int

    def __post_init__(self) -> None:
        _check_event("event", self.event)
        object.__setattr__(self, "times", check_count("times", self.times, 0, "count the releases."))


@final
@dataclass(frozen=True, slots=True)
class Composed(Event):
    """Several events about the same records, one after the other.

    Args:
        events: an iterable of events; an empty one stands for no release at all.

    Raises:
        EventError: something in it is not an event.

    Example:
        >>> Composed([Gaussian(1.0), Laplace(1.0)]) == Gaussian(1.0) + Laplace(1.0)
        True
    """

    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        given: object = self.events
        if not isinstance(given, Iterable):
            raise EventError(f"events must be an iterable of events, got {type(given).__name__}; use [a, b].")
        events = tuple(given)
        for event in events:
            _check_event("events", event)
        object.__setattr__(self, "events", events)
