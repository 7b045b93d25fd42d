r"""What a release costs a group of records that change together. Private.

Importing this module registers the expansion with :func:`accountants.fold.expand`; the package does so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import singledispatch

from accountants._checks import MOST, check_count
from accountants._numerics import round_down, round_up
from accountants.errors import UnsupportedEventError
from accountants.events import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    Event,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PrivateSelection,
    PureDP,
    RandomAllocation,
    RandomizedResponse,
    Repeated,
    Skellam,
    TruncatedPoissonSampled,
    Within,
)
from accountants.fold import Expansion, expand, fold

__all__ = ["group_delta"]

_LOG_MAX = 700.0
_LARGEST = 1e300


@expand.register
def _(event: Group, *, smooth: bool = False) -> Expansion | None:
    if event.size == 1:
        return Expansion(((event.event, 1),))
    return _grouped(event.event, event, smooth)


@singledispatch
def _grouped(inner: Event, group: Group, smooth: bool) -> Expansion | None:
    """What the inner event is for the group; None where the group itself is a core event."""
    raise UnsupportedEventError(
        f"event under Group must have a known cost for groups, got {type(inner).__name__}; state what it costs a "
        "group, as PureDP, ApproxDP or ZCDP, or give the group's DominatingPair.",
        event=group,
    )


def _one(event: Event) -> Expansion:
    return Expansion(((event, 1),))


@_grouped.register
def _(inner: Gaussian, group: Group, smooth: bool) -> Expansion:
    return _one(Gaussian(_shrunk(inner.noise_multiplier, group.size)))


@_grouped.register
def _(inner: Laplace, group: Group, smooth: bool) -> Expansion:
    return _one(Laplace(_shrunk(inner.noise_multiplier, group.size)))


@_grouped.register
def _(inner: DiscreteGaussian, group: Group, smooth: bool) -> Expansion:
    bound = _whole(inner.l2_bound) if inner.dim == 1 else inner.l2_bound
    return _one(replace(inner, l2_bound=_grown(bound, group.size)))


@_grouped.register
def _(inner: DiscreteLaplace, group: Group, smooth: bool) -> Expansion:
    return _one(replace(inner, l1_bound=_grown(_whole(inner.l1_bound), group.size)))


@_grouped.register
def _(inner: Skellam, group: Group, smooth: bool) -> Expansion:
    one, two = _grown(inner.l1_bound, group.size), _grown(inner.l2_bound, group.size)
    return _one(replace(inner, l1_bound=one, l2_bound=two))


@_grouped.register
def _(inner: DistributedDiscreteGaussian, group: Group, smooth: bool) -> Expansion:
    return _one(replace(inner, l2_bound=_grown(inner.l2_bound, group.size)))


@_grouped.register
def _(inner: PureDP, group: Group, smooth: bool) -> Expansion:
    return _one(PureDP(_grown(inner.epsilon, group.size), inner.relation))


@_grouped.register
def _(inner: BoundedRange, group: Group, smooth: bool) -> Expansion:
    return _one(BoundedRange(_grown(inner.epsilon, group.size)))


@_grouped.register
def _(inner: ApproxDP, group: Group, smooth: bool) -> Expansion:
    delta = group_delta(inner.epsilon, inner.delta, group.size)
    return _one(ApproxDP(_grown(inner.epsilon, group.size), delta, inner.relation))


@_grouped.register
def _(inner: ZCDP, group: Group, smooth: bool) -> Expansion:
    """Bun & Steinke 2016, Proposition 1.9."""
    return _one(ZCDP(_grown(_grown(inner.rho, group.size), group.size), inner.relation))


@_grouped.register
def _(inner: RandomizedResponse, group: Group, smooth: bool) -> Expansion:
    return Expansion(((inner, group.size),))


@_grouped.register
def _(inner: NonPrivate, group: Group, smooth: bool) -> Expansion:
    return _one(inner)


@_grouped.register
def _(inner: Within, group: Group, smooth: bool) -> Expansion:
    return _inside(inner, group, smooth)


@_grouped.register
def _(inner: Repeated, group: Group, smooth: bool) -> Expansion:
    return _inside(inner, group, smooth)


@_grouped.register
def _(inner: Composed, group: Group, smooth: bool) -> Expansion:
    return _inside(inner, group, smooth)


@_grouped.register
def _(inner: Group, group: Group, smooth: bool) -> Expansion:
    size = check_count("size", inner.size * group.size, 1, "groups of groups multiply.")
    return _one(Group(inner.event, size))


@_grouped.register
def _(inner: PrivateSelection, group: Group, smooth: bool) -> Expansion:
    """What is selected from is the same; only the data sets are further apart."""
    return _one(replace(inner, event=Group(inner.event, group.size)))


@_grouped.register
def _(inner: RandomAllocation, group: Group, smooth: bool) -> Expansion:
    raise UnsupportedEventError(
        "event under Group must not be RandomAllocation: of records in several steps no sound curve is known here; "
        f"record Group(event, {group.size}) once, as released to all, which is always an upper bound, or, if a group "
        f"is placed as a whole, RandomAllocation(Group(event, {group.size}), steps).",
        event=group,
    )


@_grouped.register
def _(inner: TruncatedPoissonSampled, group: Group, smooth: bool) -> Expansion:
    """The distance is that of the batches, whatever the data: it does not grow with the group."""
    return _inside(inner, group, smooth)


@_grouped.register
def _(inner: PoissonSampled, group: Group, smooth: bool) -> Expansion | None:
    """Of `size` records each is in the batch by its own coin: the pair is a binomial mixture, for additive noise."""
    if inner.sampling_prob == 1.0:
        return _one(Group(inner.event, group.size))
    whole = fold([(inner, 1)], smooth=smooth)
    if not whole.parts and not whole.slack.failure:
        return Expansion((), whole.slack)
    sampled = whole.parts[0][0] if len(whole.parts) == 1 else inner
    core = sampled.event if isinstance(sampled, PoissonSampled) else sampled
    if whole.slack.failure or not isinstance(core, Gaussian | Laplace):
        raise UnsupportedEventError(
            "event under Group must be, where it is sampled, Gaussian or Laplace noise on a Poisson batch: no sound "
            f"pair is known for groups of others, got {type(core).__name__}; group the event inside, "
            "PoissonSampled(Group(event, size), q), if a group is drawn as a whole.",
            event=group,
        )
    whole_group = Group(sampled, group.size)
    return None if whole_group == group else Expansion(((whole_group, 1),), whole.slack)


def _inside(inner: Event, group: Group, smooth: bool) -> Expansion:
    """The group goes inside what the event is made of; its slack is per data set and does not grow with the group."""
    found = expand(inner, smooth=smooth) or Expansion(())
    return Expansion(tuple((Group(part, group.size), times) for part, times in found.parts), found.slack)


def _whole(bound: float) -> float:
    """What an integer quantity can reach below the bound; a bound < 1 is kept, for events want one > 0."""
    return float(math.floor(bound)) if 1.0 <= bound < MOST else bound


def _grown(value: float, size: int) -> float:
    """Value * size rounded up, and exact where floats allow."""
    product = value * size
    if not product <= _LARGEST:
        raise UnsupportedEventError(
            f"size must leave bounds and guarantees below {_LARGEST}, got {value!r} for each of {size} records; record "
            "NonPrivate()."
        )
    return product if Fraction(product) == Fraction(value) * size else round_up(product)


def _shrunk(value: float, size: int) -> float:
    """Value / size rounded down, and exact where floats allow; never 0, where every cost is infinite anyway."""
    quotient = value / size
    exact = Fraction(quotient) * size == Fraction(value)
    return quotient if exact and quotient > 0.0 else max(round_down(quotient), math.ulp(0.0))


def group_delta(epsilon: float, delta: float, size: int) -> float:
    r"""Δ of a group: :math:`\sum_{i<k} e^{i\epsilon}\delta`, each record's delta seen through those before it."""
    if delta == 0.0:
        return 0.0
    total = size * epsilon
    if total >= _LOG_MAX:
        return 1.0
    # expm1 errs by its argument's rounding, total EPS relative, and a few EPS of its own
    count = math.expm1(total) / math.expm1(epsilon) if epsilon > 0.0 else float(size)
    return min(1.0, round_up(count * delta, 16 + 4 * math.ceil(total)))
