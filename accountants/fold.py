r"""The one fold: any nesting of events becomes a flat multiset of core events, and one total slack.

This is the only place where counts multiply. What an event is made of is registered per class in :func:`expand`; an
event that is made of nothing else is a core event and is left to the accountants.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from typing import final

from accountants._checks import check_count
from accountants._lattice import share_slack, smoothing_tau
from accountants._numerics import round_down, round_up
from accountants.errors import UnsupportedEventError
from accountants.events import (
    Composed,
    DistributedDiscreteGaussian,
    Event,
    Gaussian,
    PoissonSampled,
    Repeated,
    Within,
)
from accountants.slack import Slack, total_slack

__all__ = ["Expansion", "Folded", "expand", "fold"]

_NONE = Slack()


@final
@dataclass(frozen=True, slots=True)
class Expansion:
    """What one event is made of: (event, times) parts, and its own slack against them.

    Args:
        parts: the events inside, each with its count.
        slack: of one use of the event.
    """

    parts: tuple[tuple[Event, int], ...]
    slack: Slack = _NONE


@final
@dataclass(frozen=True, slots=True)
class Folded:
    """A ledger's content as an accountant wants it.

    Args:
        parts: distinct core events with their total counts, in the order first met; counts are >= 1.
        slack: the total, rounded up.
    """

    parts: tuple[tuple[Event, int], ...]
    slack: Slack


def fold(entries: Iterable[tuple[Event, int]]) -> Folded:
    """Flatten (event, times) pairs of any depth.

    Args:
        entries: events with counts.

    Returns:
        The multiset of core events and the total slack.

    Raises:
        UnsupportedEventError: a combination that nothing sound is known for.

    Example:
        >>> fold([((Gaussian(1.0) * 2 + Gaussian(3.0)) * 5, 1)]).parts
        ((Gaussian(noise_multiplier=1.0), 10), (Gaussian(noise_multiplier=3.0), 5))
    """
    counts: dict[Event, int] = {}
    slacks: list[Slack] = []
    stack = list(entries)[::-1]
    while stack:
        event, times = stack.pop()
        if times == 0:
            continue
        expansion = expand(event)
        if expansion is None:
            counts[event] = _count(counts.get(event, 0) + times)
            continue
        if expansion.slack != _NONE:
            slacks.append(expansion.slack.times(times))
        stack.extend((part, _count(times * count)) for part, count in reversed(expansion.parts))
    return Folded(tuple(counts.items()), total_slack(slacks))


def _count(times: int) -> int:
    """A product of counts, within what can be counted."""
    return check_count("times", times, 0, "repetitions multiply; release less.")


@singledispatch
def expand(event: Event) -> Expansion | None:
    """What the event is made of, or None for a core event. Register a class here only if it is made of other events."""
    return None


@expand.register
def _(event: Composed) -> Expansion:
    parts: list[tuple[Event, int]] = []
    for part in event.events:
        if parts and parts[-1][0] is part:  # doubling a sum again and again must not double the work
            parts[-1] = (part, parts[-1][1] + 1)
        else:
            parts.append((part, 1))
    return Expansion(tuple(parts))


@expand.register
def _(event: Repeated) -> Expansion:
    return Expansion(((event.event, event.times),))


@expand.register
def _(event: Within) -> Expansion:
    return Expansion(((event.event, 1),), Slack(event.up, event.down))


@expand.register
@lru_cache(maxsize=1024)
def _(event: DistributedDiscreteGaussian) -> Expansion:
    r"""``Within(Gaussian(sqrt(n σ² - τ²) / bound), up, down)``: see :mod:`accountants._lattice`."""
    tau = smoothing_tau(event.dim)
    sigma = event.local_stddev
    shares = event.parties - round_up((tau / sigma) * (tau / sigma))  # what is left of n after smoothing: n - τ²/σ²
    up, down = share_slack(sigma, event.parties, tau)
    if shares <= 0.0 or not math.isfinite(event.dim * (up + down)):
        raise UnsupportedEventError(
            f"local_stddev must be large enough for the sum of {event.parties} shares to be close to a Gaussian, got "
            f"{sigma!r}; use a finer lattice step, so that local_stddev is at least about 1.5.",
            event=event,
        )
    multiplier = round_down(math.sqrt(shares) * sigma / event.l2_bound, 8)
    slack = Slack(round_up(event.dim * up), round_up(event.dim * down))
    return Expansion(((Gaussian(multiplier), 1),), slack)


@expand.register
@lru_cache(maxsize=1024)
def _(event: PoissonSampled) -> Expansion | None:
    """One coin for the whole inner event: its slack passes outside, and what is left must be one event."""
    if event.sampling_prob == 0.0:
        return Expansion(())  # no record is ever in a batch: neighbours have the same law
    if event.sampling_prob == 1.0:
        return Expansion(((event.event, 1),))
    inner = fold([(event.event, 1)])
    slack = inner.slack.sampled(event.sampling_prob)
    if not inner.parts:
        return Expansion((), slack)
    sampled = _sampled(event, _one_event(event, inner.parts))
    return None if sampled == event else Expansion(((sampled, 1),), slack)


def _one_event(event: PoissonSampled, parts: tuple[tuple[Event, int], ...]) -> Event:
    r"""The inner parts as one event with the same pair of laws.

    Gaussians on one batch are one Gaussian with :math:`1/z^2 = \sum_i 1/z_i^2`: the joint noise is spherical after
    scaling, and for adaptive choices the composition's trade-off curve is that Gaussian's. Anything else cannot be
    split over one coin.
    """
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    if all(isinstance(part, Gaussian) for part, _ in parts):
        scales = [(part.noise_multiplier, times) for part, times in parts if isinstance(part, Gaussian)]
        least = min(scale for scale, _ in scales)
        inverse = math.fsum(times * (least / scale) ** 2 for scale, times in scales)
        return Gaussian(round_down(least / math.sqrt(inverse), 8))
    raise UnsupportedEventError(
        "event under PoissonSampled must be one event, or Gaussians only: one batch serves the whole composition and "
        "no sound curve is known here; draw a batch per release, PoissonSampled(a, q) + PoissonSampled(b, q), or "
        "record it unsampled, which is always an upper bound.",
        event=event,
    )


def _sampled(event: PoissonSampled, inner: Event) -> PoissonSampled:
    """Sampling a sample thins it: two independent coins are one coin with the product of the probabilities."""
    if isinstance(inner, PoissonSampled):
        return PoissonSampled(inner.event, min(1.0, round_up(event.sampling_prob * inner.sampling_prob)))
    return PoissonSampled(inner, event.sampling_prob)
