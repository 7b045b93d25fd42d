r"""The one fold: any nesting of events becomes a flat multiset of core events, and one total slack.

This is the only place where counts multiply. What an event is made of is registered per class in :func:`expand`; an
event that is made of nothing else is a core event and is left to the accountants. The expansions of sampled events
and of groups stand in modules of their own, which register them here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from typing import final

from accountants._checks import check_count
from accountants._lattice import balanced_tau, share_slack, smoothing_tau
from accountants._numerics import round_down, round_up
from accountants.errors import UnsupportedEventError
from accountants.events import (
    ApproxDP,
    Composed,
    DiscreteGaussian,
    DistributedDiscreteGaussian,
    Event,
    Gaussian,
    NonPrivate,
    PureDP,
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


def fold(entries: Iterable[tuple[Event, int]], *, smooth: bool = False) -> Folded:
    """Flatten (event, times) pairs of any depth.

    Args:
        entries: events with counts.
        smooth: whether a discrete Gaussian is replaced by the Gaussian that it almost is, and its slack, in any
            dimension (by the smoothing lemma); otherwise it stays as it is.

    Returns:
        The multiset of core events and the total slack.

    Raises:
        UnsupportedEventError: a combination that nothing sound is known for.

    Example:
        >>> fold([((Gaussian(1.0) * 2 + Gaussian(3.0)) * 5, 1)]).parts
        ((Gaussian(noise_multiplier=1.0), 10), (Gaussian(noise_multiplier=3.0), 5))
    """
    counts: dict[Event, int] = {}
    slacks: dict[Slack, int] = {}  # rounded once for each kind, so that it does not matter how they are grouped
    stack = list(entries)[::-1]
    while stack:
        event, times = stack.pop()
        if times == 0:
            continue
        expansion = expand(event, smooth=smooth)
        if expansion is None:
            counts[event] = _count(counts.get(event, 0) + times)
            continue
        if expansion.slack != _NONE:
            slacks[expansion.slack] = _count(slacks.get(expansion.slack, 0) + times)
        stack.extend((part, _count(times * count)) for part, count in reversed(expansion.parts))
    return Folded(tuple(counts.items()), total_slack(slack.times(count) for slack, count in slacks.items()))


def _count(times: int) -> int:
    """A product of counts, within what can be counted."""
    return check_count("times", times, 0, "repetitions multiply; release less.")


@singledispatch
def expand(event: Event, *, smooth: bool = False) -> Expansion | None:
    """What the event is made of, or None for a core event. Register a class here only if it is made of other events.

    Args:
        event: the event.
        smooth: as in :func:`fold`.
    """
    return None


@expand.register
def _(event: Composed, *, smooth: bool = False) -> Expansion:
    parts: list[tuple[Event, int]] = []
    for part in event.events:
        if parts and parts[-1][0] is part:  # doubling a sum again and again must not double the work
            parts[-1] = (part, parts[-1][1] + 1)
        else:
            parts.append((part, 1))
    return Expansion(tuple(parts))


@expand.register
def _(event: Repeated, *, smooth: bool = False) -> Expansion:
    return Expansion(((event.event, event.times),))


@expand.register
def _(event: Within, *, smooth: bool = False) -> Expansion:
    return Expansion(((event.event, 1),), Slack(event.up, event.down))


@expand.register
@lru_cache(maxsize=1024)
def _(event: DistributedDiscreteGaussian, *, smooth: bool = False) -> Expansion:
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
def _(event: DiscreteGaussian, *, smooth: bool = False) -> Expansion | None:
    r"""``Within(Gaussian(sqrt(s² - τ²) / bound), up, down)``, if asked for: the shares' expansion with one party."""
    if not smooth:
        return None
    bound = float(math.floor(event.l2_bound)) if event.dim == 1 else event.l2_bound
    if bound == 0.0:
        return Expansion(())  # an integer that moves by less than 1 does not move
    stddev, dim = event.stddev, event.dim
    tau = balanced_tau(stddev, bound, dim)
    left = 1.0 - round_up((tau / stddev) * (tau / stddev))
    up, down = share_slack(stddev, 1, tau)
    if left <= 0.0 or not dim * (up + down) < 1.0:
        raise UnsupportedEventError(
            f"stddev must be large enough for {dim} coordinates to be close to a Gaussian, got {stddev!r}; use a finer "
            "lattice step, or RDPAccountant, which knows the discrete Gaussian itself.",
            event=event,
        )
    multiplier = round_down(math.sqrt(left) * stddev / bound, 8)
    return Expansion(((Gaussian(multiplier), 1),), Slack(round_up(dim * up), round_up(dim * down)))


@expand.register
def _(event: ApproxDP, *, smooth: bool = False) -> Expansion:
    """The worst such release: with probability delta it gives the record away, else it is epsilon-DP."""
    return Expansion(((PureDP(event.epsilon, event.relation), 1),), Slack(failure=event.delta))


@expand.register
def _(event: NonPrivate, *, smooth: bool = False) -> Expansion:
    return Expansion((), Slack(failure=1.0))
