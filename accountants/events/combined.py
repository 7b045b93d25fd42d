"""Events made of one inner event: almost-equal laws, batches drawn at random, and groups of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from accountants._checks import check_count, check_finite, check_prob
from accountants.errors import EventError
from accountants.events.base import Event, check_event, store

__all__ = ["FixedSizeSampled", "Group", "PoissonSampled", "TruncatedPoissonSampled", "Within"]

_BATCH_ADVICE = "give expected batch size / number of records."


@final
@dataclass(frozen=True, slots=True)
class Within(Event):
    r"""A release whose law is almost that of ``event``: every log-ratio to it lies in [-down, up].

    Then :math:`\delta(\epsilon) \le e^A \delta_0(\epsilon - A - B)` with A and B the sums of ``up`` and ``down`` over
    all releases: the slack is applied once, outside the composition (applying it release by release is unsound).

    Args:
        event: the event whose law is close.
        up: largest log(law / law of ``event``), >= 0.
        down: largest log(law of ``event`` / law), >= 0.

    Raises:
        EventError: a slack is not a finite number >= 0, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian
        >>> Within(Gaussian(4.0), up=1e-12, down=1e-12).event
        Gaussian(noise_multiplier=4.0)
    """

    event: Event
    up: float
    down: float

    def __post_init__(self) -> None:
        check_event("event", self.event)
        advice = "a law that is not within a finite ratio of another has no such event."
        store(self, up=check_finite("up", self.up, advice), down=check_finite("down", self.down, advice))


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
        >>> from accountants.events import Gaussian
        >>> PoissonSampled(Gaussian(1.1), 0.01) * 10_000
        Repeated(event=PoissonSampled(event=Gaussian(noise_multiplier=1.1), sampling_prob=0.01), times=10000)
    """

    event: Event
    sampling_prob: float

    def __post_init__(self) -> None:
        check_event("event", self.event)
        value = check_prob("sampling_prob", self.sampling_prob, _BATCH_ADVICE)
        store(self, sampling_prob=value)


@final
@dataclass(frozen=True, slots=True)
class FixedSizeSampled(Event):
    """``event`` on a batch of fixed size, drawn uniformly without replacement.

    One draw decides about the whole inner event. A record that is missing is replaced in the batch by another, so the
    base distance is two contributions under every relation.

    Args:
        event: what is released about the batch.
        population: number of records that batches are drawn from; a public number, at most the true one.
        batch: number of records in each batch, from 0 to ``population``.

    Raises:
        EventError: a count is out of range, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian
        >>> FixedSizeSampled(Gaussian(1.1), population=60_000, batch=600).batch
        600

    References:
        Wang, Balle & Kasiviswanathan 2019 (arXiv 1808.00087); Zhu, Dong & Wang 2022 (arXiv 2106.08567), Theorem 11.
    """

    event: Event
    population: int
    batch: int

    def __post_init__(self) -> None:
        check_event("event", self.event)
        population = check_count("population", self.population, 1, "count the records that batches are drawn from.")
        batch = check_count("batch", self.batch, 0, "count the records in a batch.")
        if batch > population:
            raise EventError(
                f"batch must be at most the population of {population}, got {batch}; a batch without replacement holds "
                "no record twice."
            )
        store(self, population=population, batch=batch)


@final
@dataclass(frozen=True, slots=True)
class TruncatedPoissonSampled(Event):
    """``event`` on a Poisson batch of which at most ``max_batch`` records are kept, in whatever way they are chosen.

    It differs from :class:`PoissonSampled` only where more than ``max_batch`` records are drawn: that probability
    enters as a total variation distance.

    Args:
        event: what is released about the batch.
        sampling_prob: probability that a record is drawn, in [0, 1].
        population: number of records that batches are drawn from; a public number, at least that of either neighbour.
        max_batch: the largest batch.

    Raises:
        EventError: a parameter is out of its domain, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian
        >>> TruncatedPoissonSampled(Gaussian(1.1), 0.01, population=60_000, max_batch=800).max_batch
        800
    """

    event: Event
    sampling_prob: float
    population: int
    max_batch: int

    def __post_init__(self) -> None:
        check_event("event", self.event)
        prob = check_prob("sampling_prob", self.sampling_prob, _BATCH_ADVICE)
        population = check_count("population", self.population, 1, "count the records that batches are drawn from.")
        largest = check_count("max_batch", self.max_batch, 0, "give the largest batch that is processed.")
        store(self, sampling_prob=prob, population=population, max_batch=largest)


@final
@dataclass(frozen=True, slots=True)
class Group(Event):
    """``event`` where ``size`` records change together, as those of one user do.

    The inner event is described per record as always; the ledger is then about groups.

    Args:
        event: what is released.
        size: the most records that one group holds, >= 1.

    Raises:
        EventError: the size is not an integer >= 1, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian
        >>> Group(Gaussian(8.0), size=4).size
        4
    """

    event: Event
    size: int

    def __post_init__(self) -> None:
        check_event("event", self.event)
        store(self, size=check_count("size", self.size, 1, "count the records of one group."))
