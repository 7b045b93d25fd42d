"""The base of all events, and their algebra: n times, and one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from accountants._checks import check_count
from accountants.errors import EventError

__all__ = ["Composed", "Event", "Repeated", "check_event", "store"]


class Event:
    """Base of all events: a frozen, hashable description of one release.

    ``event * n`` is the event n times, ``a + b`` is one after the other; both may depend on earlier results, but the
    events themselves are fixed in advance. Subclasses are frozen dataclasses; they are registered for JSON by their
    class name.

    Example:
        >>> from accountants.events import Gaussian, Laplace
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


def check_event(name: str, value: object) -> None:
    """Refuse what is not an event, or is nested too deep to be followed (shared: for classes with an inner event)."""
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


def store(event: Event, **values: object) -> None:
    """Set checked values on a frozen event: for ``__post_init__`` alone (shared among the event modules)."""
    for name, value in values.items():
        object.__setattr__(event, name, value)


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
        >>> from accountants.events import Gaussian
        >>> Gaussian(1.0) * 2 == Repeated(Gaussian(1.0), 2)
        True
    """

    event: Event
    times: int

    def __post_init__(self) -> None:
        check_event("event", self.event)
        store(self, times=check_count("times", self.times, 0, "count the releases."))


@final
@dataclass(frozen=True, slots=True)
class Composed(Event):
    """Several events about the same records, one after the other.

    Args:
        events: an iterable of events; an empty one stands for no release at all.

    Raises:
        EventError: something in it is not an event.

    Example:
        >>> from accountants.events import Gaussian, Laplace
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
            check_event("events", event)
        store(self, events=events)
