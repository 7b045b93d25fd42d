r"""What sampled events are made of: one batch serves the whole inner event, and slack passes outside. Private.

Importing this module registers the expansions with :func:`accountants.fold.expand`; the package does so.
"""

from __future__ import annotations

import math
from functools import lru_cache, singledispatch

import numpy as np

from accountants._binomial import log_binomial
from accountants._numerics import round_down, round_up
from accountants.errors import UnsupportedEventError
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    Event,
    FixedSizeSampled,
    Gaussian,
    PoissonSampled,
    PrivateSelection,
    PureDP,
    RandomAllocation,
    RandomizedResponse,
    RDPCurve,
    TruncatedPoissonSampled,
)
from accountants.fold import Expansion, expand, fold
from accountants.relation import Relation
from accountants.slack import Slack

__all__ = ["binomial_tail"]

_WITHOUT: dict[type[Event], str] = {
    PoissonSampled: "it unsampled, which is always an upper bound",
    FixedSizeSampled: "it unsampled in a ledger about replace_one, which is an upper bound there",
    RandomAllocation: "it once, as released to all records, which is always an upper bound",
}
_NO_PAIR = (
    "its curve says too little about a mixture; state a PureDP or ApproxDP guarantee, give its DominatingPair, or"
)
_LEAST = 1e-290
_TERMS = 4096  # of a tail that are summed one by one; what is left falls at least geometrically


@expand.register
@lru_cache(maxsize=1024)
def _(event: PoissonSampled, *, smooth: bool = False) -> Expansion | None:
    if event.sampling_prob == 0.0:
        return Expansion(())  # no record is ever in a batch: neighbours have the same law
    if event.sampling_prob == 1.0:
        return Expansion(((event.event, 1),))
    inner = fold([(event.event, 1)], smooth=smooth)
    slack = inner.slack.sampled(event.sampling_prob)
    if not inner.parts:
        return Expansion((), slack)
    sampled = _poisson(_one_event(event, inner.parts), event)
    return None if sampled == event else Expansion(((sampled, 1),), slack)


@expand.register
@lru_cache(maxsize=1024)
def _(event: FixedSizeSampled, *, smooth: bool = False) -> Expansion | None:
    if event.batch == 0:
        return Expansion(())
    inner = fold([(event.event, 1)], smooth=smooth)
    slack = inner.slack.sampled(min(1.0, round_up(event.batch / event.population)))
    if not inner.parts:
        return Expansion((), slack)
    sampled = _fixed_size(_one_event(event, inner.parts), event)
    return None if sampled == event else Expansion(((sampled, 1),), slack)


@expand.register
def _(event: TruncatedPoissonSampled, *, smooth: bool = False) -> Expansion:
    """The two laws of the batch differ, for every data set, by no more than the mass that truncation moves."""
    distance = binomial_tail(event.population, event.sampling_prob, event.max_batch)
    return Expansion(((PoissonSampled(event.event, event.sampling_prob), 1),), Slack(distance=distance))


@expand.register
@lru_cache(maxsize=1024)
def _(event: RandomAllocation, *, smooth: bool = False) -> Expansion | None:
    """Each step has its slack, whether the record is in it or not."""
    if event.steps == 1:
        return Expansion(((event.event, 1),))
    inner = fold([(event.event, 1)], smooth=smooth)
    slack = inner.slack.times(event.steps)
    if not inner.parts and not slack.failure:
        return Expansion((), slack)
    core = _one_event(event, inner.parts) if inner.parts else event.event
    if slack.failure or not isinstance(core, Gaussian | DiscreteGaussian):
        raise _refuse(event, core, f"only Gaussian noise has a sound curve there; record {_WITHOUT[RandomAllocation]}")
    allocated = RandomAllocation(core, event.steps)
    return None if allocated == event else Expansion(((allocated, 1),), slack)


def _one_event(
    event: PoissonSampled | FixedSizeSampled | RandomAllocation, parts: tuple[tuple[Event, int], ...]
) -> Event:
    r"""The inner parts as one event with the same pair of laws.

    Gaussians on one batch are one Gaussian with :math:`1/z^2 = \sum_i 1/z_i^2`: the joint noise is spherical after
    scaling, and for adaptive choices the composition's trade-off curve is that Gaussian's. Anything else cannot be
    split over one draw.
    """
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    if all(isinstance(part, Gaussian) for part, _ in parts):
        scales = [(part.noise_multiplier, times) for part, times in parts if isinstance(part, Gaussian)]
        least = min(scale for scale, _ in scales)
        inverse = math.fsum(times * (least / scale) ** 2 for scale, times in scales)
        return Gaussian(round_down(least / math.sqrt(inverse), 8))
    raise UnsupportedEventError(
        f"event under {type(event).__name__} must be one event, or Gaussians only: one batch serves the whole "
        "composition and no sound curve is known here; draw a batch per release, so that each is an event of its own, "
        f"or record {_WITHOUT[type(event)]}.",
        event=event,
    )


def _refuse(event: Event, inner: Event, reason: str) -> UnsupportedEventError:
    return UnsupportedEventError(
        f"event under {type(event).__name__} must not be {type(inner).__name__}: {reason}.", event=event
    )


@singledispatch
def _poisson(inner: Event, event: PoissonSampled) -> PoissonSampled:
    """A core event on a Poisson batch, or why nothing sound is known. Whether there is a pair the accountants say."""
    return PoissonSampled(inner, event.sampling_prob)


@_poisson.register
def _(inner: PoissonSampled, event: PoissonSampled) -> PoissonSampled:
    """Sampling a sample thins it: two independent coins are one coin with the product of the probabilities."""
    return PoissonSampled(inner.event, min(1.0, round_up(event.sampling_prob * inner.sampling_prob)))


@_poisson.register
def _(inner: FixedSizeSampled, event: PoissonSampled) -> PoissonSampled:
    reason = "a batch of fixed size cannot be drawn from a sample of random size; draw the batch at once, by either"
    raise _refuse(event, inner, reason)


@_poisson.register
def _(inner: RandomizedResponse, event: PoissonSampled) -> PoissonSampled:
    reason = (
        "whether a record answers at all shows, and no amplification is left; record it unsampled under replace_one"
    )
    raise _refuse(event, inner, reason)


@_poisson.register
def _(inner: PureDP, event: PoissonSampled) -> PoissonSampled:
    if inner.relation is not Relation.add_remove:
        reason = (
            f"a guarantee under {inner.relation} does not bound a record that is in the batch against one that is not; "
            "state the guarantee under add_remove, use FixedSizeSampled over one under replace_one, or record it "
            "unsampled"
        )
        raise _refuse(event, inner, reason)
    return PoissonSampled(inner, event.sampling_prob)


@_poisson.register(ZCDP)
@_poisson.register(RDPCurve)
@_poisson.register(BoundedRange)
@_poisson.register(PrivateSelection)
@_poisson.register(RandomAllocation)
def _(inner: Event, event: PoissonSampled) -> PoissonSampled:
    raise _refuse(event, inner, f"{_NO_PAIR} record {_WITHOUT[type(event)]}")


@singledispatch
def _fixed_size(inner: Event, event: FixedSizeSampled) -> FixedSizeSampled:
    """A core event on a batch of fixed size, or why nothing sound is known."""
    return FixedSizeSampled(inner, event.population, event.batch)


@_fixed_size.register
def _(inner: FixedSizeSampled, event: FixedSizeSampled) -> FixedSizeSampled:
    """A batch drawn uniformly from a batch is drawn uniformly from all."""
    if inner.population > event.batch:
        reason = f"it draws from {inner.population} records and gets a batch of {event.batch}; let the two agree"
        raise _refuse(event, inner, reason)
    return FixedSizeSampled(inner.event, event.population, inner.batch)


@_fixed_size.register
def _(inner: PoissonSampled, event: FixedSizeSampled) -> FixedSizeSampled:
    reason = "no sound pair is known for coins within a batch of fixed size; draw the batch at once, by either"
    raise _refuse(event, inner, reason)


@_fixed_size.register
def _(inner: PureDP, event: FixedSizeSampled) -> FixedSizeSampled:
    if inner.relation is not Relation.replace_one:
        reason = (
            f"a record that is missing is replaced in the batch, and a guarantee under {inner.relation} does not bound "
            "that; state the guarantee under replace_one, twice the epsilon of one under add_remove"
        )
        raise _refuse(event, inner, reason)
    return FixedSizeSampled(inner, event.population, event.batch)


@_fixed_size.register(ZCDP)
@_fixed_size.register(RDPCurve)
@_fixed_size.register(BoundedRange)
@_fixed_size.register(PrivateSelection)
@_fixed_size.register(RandomAllocation)
def _(inner: Event, event: FixedSizeSampled) -> FixedSizeSampled:
    raise _refuse(event, inner, f"{_NO_PAIR} record {_WITHOUT[type(event)]}")


@lru_cache(maxsize=256)
def binomial_tail(trials: int, prob: float, most: int) -> float:
    r"""An upper bound of P[Binomial(trials, prob) > most], tight where that is small; 1 at and below the mean.

    From k = most + 1 on the ratio of neighbours :math:`r_k = \frac{n-k}{k+1}\frac{p}{1-p}` falls: the first terms are
    summed, and what follows the last is at most its :math:`r/(1-r)`.
    """
    if most >= trials or prob == 0.0:
        return 0.0
    if prob == 1.0:
        return 1.0
    prob = max(prob, _LEAST)  # the tail grows with it
    odds = round_up(prob / (1.0 - prob))
    ratio = round_up((trials - most - 1) / (most + 2) * odds)
    if ratio >= 1.0:
        return 1.0
    k = np.arange(most + 1, min(trials, most + _TERMS) + 1, dtype=np.float64)
    log_mass, error = log_binomial(trials, k, math.log(prob), math.log1p(-prob))
    with np.errstate(under="ignore"):
        mass = np.exp(log_mass + error)
    last = float(k[-1])
    ratio = round_up((trials - last) / (last + 1.0) * odds)
    left = float(mass[-1]) * ratio / (1.0 - ratio) if ratio > 0.0 else 0.0
    return min(1.0, round_up(math.fsum(mass.tolist()) + left, 64) + k.size * 1e-323)
