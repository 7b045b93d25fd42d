r"""Which two laws stand for an event: the one table of relation x sampler.

Laws are written in units of the contribution bound, N(m) for the noise centred at m, q for the probability that a
record takes part:

==========  =======================================  ==================================================
sampler     add_remove, zero_out                     replace_one
==========  =======================================  ==================================================
none        N(1) vs N(0)                             N(2) vs N(0)
Poisson     (1-q)N(0)+qN(1) vs N(0), and reversed    (1-q)N(0)+qN(1) vs (1-q)N(0)+qN(-1)  (antipodal)
Poisson,    sum_j Binomial(k,q)(j) N(j) vs N(0),     none known
k records   and reversed
fixed size  (1-q)N(0)+qN(2) vs N(0), and reversed;   the mirror image of (1-q)N(0)+qN(2) vs N(0)
            zero_out as replace_one
==========  =======================================  ==================================================

A discrete law or a guarantee that is stated takes the place of N in the same table: discrete noise is shifted by
whole numbers, ``PureDP`` stands for randomized response (Kairouz, Oh & Viswanath 2015: every release of that
epsilon is a post-processing of it), ``DominatingPair`` for itself; of stated ones those of the right relation.

*Why the antipodal pair dominates* for every real epsilon and every dimension. Condition on the other records' batch;
with p = M(S) the mass of a set S under the law M of the batch without the record, the hockey-stick divergence is the
supremum over S of :math:`(1-q)(1-e^\epsilon)p + q(M_a(S) - e^\epsilon M_b(S))`, where a and b are the two
contributions, of norm at most 1. With T the trade-off curve between M and M shifted by norm 1, :math:`M_a(S) \le 1 -
T(p)` and :math:`M_b(S) \ge T(1-p)`. On the line Gauss and Laplace noise have monotone likelihood ratios, so one
half-line (with a coin at its end where the noise is discrete) meets both with equality, for a = +1 and b = -1. In more
dimensions T is nowhere below the line's curve: a Gaussian is rotated onto a line; for Laplace noise with an l1 bound,
move one coordinate at a time and compose the steps' curves as group privacy does, which on the line gives exactly the
curve of the summed shift. Held by test_antipodal_pair_dominates. A distance-2 pair inside the Poisson mixture is NOT
sound: at q=.9, z=1, two steps, it reports .7709 for a true delta(0) of .7763.

*Groups under Poisson.* Of k records that come or go together a binomial number j is drawn, and moves the law by at most
j: the same half-line is extremal for every j at once. Held by ``test_group_pair_dominates``.

*Fixed size, add_remove.* D = D' + x, batches of m, q = m/n n the size of D. With probability 1-q the batch of D lacks x
and is a uniform batch of D'. Otherwise it is x and a uniform B of m-1 others, where D' has B and one more y, uniform:
given (B, y) the laws are (1-q)M(B+y) + qM(B+x) against M(B+y), whose centres differ by a REPLACED record, distance 2.
The hockey-stick divergence is jointly convex, so the mixture over (B, y) is dominated by (1-q)N(0)+qN(2) against N(0).
Held by ``test_fixed_size_needs_distance_two``.

*Fixed size, replace_one* (and zero_out, where the null record is one more record). Both laws share the part (1-q)M₀ of
batches without the record, M₀ a mixture of M(B+y); the rest is M(B+x), M(B+x'). For ε >= 0 and
:math:`e^{\epsilon'} = 1 + (e^\epsilon-1)/q`, advanced joint convexity (Balle, Barthe & Gaboardi 2018, Theorem 2) gives
:math:`q\,H_{\epsilon'}(M_1 \| (1-\beta)M_0 + \beta M_1')`, at most q times the base curve at ε', for M_1 against M_0
and M_1 against M_1' are both one replacement apart; that is the removal's curve of the row above. The set of neighbours
is symmetric, so below 0 the curve is the mirror image :math:`1 - e^\epsilon + e^\epsilon\delta(-\epsilon)`. Composing
the two directions of the removal separately and taking the larger is NOT sound; the one curve of both branches is
(Zhu, Dong & Wang 2022, Theorem 11). Held by ``test_mirror_dominates_replacement``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, singledispatch
from typing import final

from accountants._numerics import ratio_up
from accountants.atoms import (
    NOTHING,
    AtomPair,
    Laws,
    add_atoms,
    antipodal_atoms,
    discrete_gaussian,
    discrete_laplace,
    given_laws,
    mirror_atoms,
    remove_atoms,
    response_laws,
)
from accountants.errors import UnsupportedEventError
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    DiscreteLaplace,
    DominatingPair,
    Event,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Skellam,
)
from accountants.relation import Relation

__all__ = ["AtomPair", "Noise", "Pair", "Pairs", "Shape", "dominating_pairs", "require_relation"]


@final
class Noise(StrEnum):
    """The family of one-dimensional noise."""

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"


@final
class Shape(StrEnum):
    """How the two laws (P, Q) are made of shifted noise; see the module's table."""

    SHIFT = "shift"  # N(d) vs N(0)
    REMOVE = "remove"  # (1-q)N(0)+qN(d) vs N(0)
    ADD = "add"  # N(0) vs (1-q)N(0)+qN(d)
    ANTIPODAL = "antipodal"  # (1-q)N(0)+qN(d) vs (1-q)N(0)+qN(-d)
    MIRROR = "mirror"  # REMOVE where its loss is > 0, the mirror image of that below, an atom at 0 between


@final
@dataclass(frozen=True, slots=True)
class Pair:
    r"""One direction: the laws (P, Q) on the line that dominate an event, in units of the shift.

    Args:
        noise: the family.
        scale: standard deviation (Gaussian) or scale (Laplace) / shift.
        shape: how P and Q are built.
        sampling_prob: q; 1 for an unsampled event.
        size: records that change together; above 1 only REMOVE and ADD, where the laws with the records are
            :math:`\sum_j \mathrm{Binomial}(size, q)(j)\,N(jd)`.
    """

    noise: Noise
    scale: float
    shape: Shape
    sampling_prob: float = 1.0
    size: int = 1

    @property
    def failure(self) -> float:
        """P's mass where Q has none: noise on the line covers all of it."""
        return 0.0


_DISTANCE = {Relation.add_remove: 1, Relation.zero_out: 1, Relation.replace_one: 2}
_MOST_ATOMS = 1 << 14
_LEAST_STDDEV = 1e-100  # of lattice noise: exponents are squares
_ONE_WAY = (Relation.add_remove, Relation.zero_out)  # Poisson: the two laws differ by one record's presence

Pairs = tuple[Pair | AtomPair, ...]


def _scaled(noise_multiplier: float, distance: int) -> float:
    """Noise in units of the distance, rounded down; never 0, where every cost is infinite anyway."""
    ratio = noise_multiplier / distance
    return max(ratio if distance <= 2 else math.nextafter(ratio, 0.0), math.ulp(0.0))


@singledispatch
def dominating_pairs(event: Event, relation: Relation) -> Pairs:
    """The pairs, one for each direction, that dominate one occurrence of a core event.

    Args:
        event: a core event; register a class of your own with ``dominating_pairs.register``.
        relation: the neighbouring relation.

    Returns:
        One pair for a symmetric event, otherwise two, the record's removal first; a bound must hold for each. Direction
        i of a ledger is the composition of the events' i-th pairs (of the only one, where there is one).

    Raises:
        UnsupportedEventError: no sound pair is known.

    Example:
        >>> dominating_pairs(Gaussian(3.0), Relation.replace_one)[0].scale
        1.5
    """
    raise _refused(event, relation, event)


@dominating_pairs.register
def _(event: Gaussian, relation: Relation) -> Pairs:
    return (Pair(Noise.GAUSSIAN, _scaled(event.noise_multiplier, _DISTANCE[relation]), Shape.SHIFT),)


@dominating_pairs.register
def _(event: Laplace, relation: Relation) -> Pairs:
    return (Pair(Noise.LAPLACE, _scaled(event.noise_multiplier, _DISTANCE[relation]), Shape.SHIFT),)


@dominating_pairs.register(DiscreteGaussian)
@dominating_pairs.register(DiscreteLaplace)
@lru_cache(maxsize=64)
def _(event: Event, relation: Relation) -> Pairs:
    return (remove_atoms(_laws(event, event, _DISTANCE[relation]), 1.0),)


@dominating_pairs.register
def _(event: RandomizedResponse, relation: Relation) -> Pairs:
    require_relation(event, relation, Relation.replace_one, "PureDP(epsilon, relation)")
    return (remove_atoms(response_laws(event.epsilon, event.categories), 1.0),)


@dominating_pairs.register
def _(event: PureDP, relation: Relation) -> Pairs:
    require_relation(event, relation, event.relation)
    return (remove_atoms(response_laws(event.epsilon), 1.0),)


@dominating_pairs.register
@lru_cache(maxsize=64)
def _(event: DominatingPair, relation: Relation) -> Pairs:
    laws = _laws(event, event, _DISTANCE[relation])
    return (remove_atoms(laws, 1.0), add_atoms(laws, 1.0))


@dominating_pairs.register
@lru_cache(maxsize=64)
def _(event: PoissonSampled, relation: Relation) -> Pairs:
    inner, q = event.event, event.sampling_prob
    _check_poisson(inner, event, relation)
    if q == 0.0 or q == 1.0:
        return (NOTHING,) if q == 0.0 else dominating_pairs(inner, relation)
    noise = _noise(inner)
    if noise is not None:
        shapes = (Shape.REMOVE, Shape.ADD) if relation in _ONE_WAY else (Shape.ANTIPODAL,)
        return tuple(Pair(*noise, shape, q) for shape in shapes)
    if relation not in _ONE_WAY:
        return (antipodal_atoms(_laws(inner, event, 1, both_sides=True), q),)
    laws = _laws(inner, event, 1)
    return (remove_atoms(laws, q), add_atoms(laws, q))


@dominating_pairs.register
@lru_cache(maxsize=64)
def _(event: FixedSizeSampled, relation: Relation) -> Pairs:
    inner = event.event
    _check_fixed_size(inner, event, relation)
    q = ratio_up(event.batch, event.population)
    if event.batch == 0:
        return (NOTHING,)
    one_way = relation is Relation.add_remove
    noise = _noise(inner)
    if noise is None:
        laws = _laws(inner, event, 2)
        return (remove_atoms(laws, q), add_atoms(laws, q)) if one_way else (mirror_atoms(laws, q),)
    family, scale = noise[0], _scaled(noise[1], 2)
    if q == 1.0:
        return (Pair(family, scale, Shape.SHIFT),)
    shapes = (Shape.REMOVE, Shape.ADD) if one_way else (Shape.MIRROR,)
    return tuple(Pair(family, scale, shape, q) for shape in shapes)


@dominating_pairs.register
def _(event: Group, relation: Relation) -> Pairs:
    return _group_pairs(event.event, event, relation)


@singledispatch
def _group_pairs(inner: Event, event: Group, relation: Relation) -> Pairs:
    raise _refused(event, relation, inner)


@_group_pairs.register
def _(inner: PoissonSampled, event: Group, relation: Relation) -> Pairs:
    noise, q = _noise(inner.event), inner.sampling_prob
    if noise is None or relation not in _ONE_WAY:
        raise _refused(event, relation, inner)
    if q == 0.0 or q == 1.0:
        return (NOTHING,) if q == 0.0 else (Pair(noise[0], _scaled(noise[1], event.size), Shape.SHIFT),)
    return tuple(Pair(*noise, shape, q, event.size) for shape in (Shape.REMOVE, Shape.ADD))


@singledispatch
def _check_poisson(inner: Event, event: PoissonSampled, relation: Relation) -> None:
    """Refuse what a batch by coins says nothing about."""


@_check_poisson.register
def _(inner: PureDP, event: PoissonSampled, relation: Relation) -> None:
    require_relation(inner, inner.relation, Relation.add_remove, "the guarantee under add_remove", outer=event)
    require_relation(inner, relation, Relation.add_remove, "FixedSizeSampled(event, population, batch)", outer=event)


@_check_poisson.register
def _(inner: DominatingPair, event: PoissonSampled, relation: Relation) -> None:
    if relation is not Relation.add_remove:  # a record that becomes zero may show in a batch that it was in
        raise _refused(event, relation, inner)


@singledispatch
def _check_fixed_size(inner: Event, event: FixedSizeSampled, relation: Relation) -> None:
    """Refuse what a batch of fixed size says nothing about."""


@_check_fixed_size.register
def _(inner: PureDP, event: FixedSizeSampled, relation: Relation) -> None:
    require_relation(inner, inner.relation, Relation.replace_one, "the guarantee under replace_one", outer=event)
    if relation is Relation.zero_out:  # replacing says nothing about a record that becomes none
        require_relation(inner, relation, Relation.replace_one, "it in a ledger about replace_one", outer=event)


@_check_fixed_size.register
def _(inner: DominatingPair, event: FixedSizeSampled, relation: Relation) -> None:
    if relation is Relation.zero_out:
        raise _refused(event, relation, inner)


@singledispatch
def _noise(event: Event) -> tuple[Noise, float] | None:
    """The family and scale of noise that is real-valued; None for anything else."""
    return None


@_noise.register
def _(event: Gaussian) -> tuple[Noise, float]:
    return Noise.GAUSSIAN, event.noise_multiplier


@_noise.register
def _(event: Laplace) -> tuple[Noise, float]:
    return Noise.LAPLACE, event.noise_multiplier


@singledispatch
def _laws(event: Event, outer: Event, distance: int, *, both_sides: bool = False) -> Laws:
    """Two discrete laws at a distance in units of the contribution bound; on atoms that mirror themselves if asked."""
    raise _refused(outer, None, event)


@_laws.register
def _(event: DiscreteGaussian, outer: Event, distance: int, *, both_sides: bool = False) -> Laws:
    shift = distance * math.floor(event.l2_bound)
    if not shift:
        return response_laws(0.0)
    atoms = 2.0 * (39.0 * event.stddev + shift) + 5.0
    if event.dim > 1 or atoms > _MOST_ATOMS or event.stddev < _LEAST_STDDEV:
        raise _refused(outer, None, event)
    return discrete_gaussian(event.stddev, shift)


@_laws.register
def _(event: DiscreteLaplace, outer: Event, distance: int, *, both_sides: bool = False) -> Laws:
    shift = distance * math.floor(event.l1_bound)
    if shift >= _MOST_ATOMS:
        raise _refused(outer, None, event)
    return discrete_laplace(event.scale, shift, both_sides=both_sides) if shift else response_laws(0.0)


@_laws.register
def _(event: PureDP, outer: Event, distance: int, *, both_sides: bool = False) -> Laws:
    return response_laws(event.epsilon)


@_laws.register
def _(event: DominatingPair, outer: Event, distance: int, *, both_sides: bool = False) -> Laws:
    return given_laws(event.log_p, event.log_q)


_SMOOTHED = "RDPAccountant holds it unsampled, and DistributedDiscreteGaussian with one party is near a Gaussian"
_ADVICE: dict[type[Event], str] = {
    BoundedRange: "RDPAccountant holds it unsampled; PureDP(epsilon, relation) bounds it wherever it stands",
    DiscreteGaussian: f"the pair needs one coordinate and at most {_MOST_ATOMS} atoms; {_SMOOTHED}",
    DiscreteLaplace: f"the pair needs a shift below {_MOST_ATOMS}; RDPAccountant holds it unsampled",
    DominatingPair: "sampled, a pair is with and without ONE record (Poisson, add_remove) or before and after its "
    "replacement (fixed size, replace_one or add_remove)",
    PoissonSampled: "groups of sampled records have one for Gaussian and Laplace noise, under add_remove and zero_out; "
    "record the Group unsampled",
    RandomizedResponse: "who answered is known, so sampling hides nothing; record it unsampled",
    RDPCurve: "RDPAccountant holds it unsampled",
    Skellam: "RDPAccountant holds it; no pair is known for it",
    ZCDP: "RDPAccountant and ZCDPAccountant hold it unsampled",
}


def _refused(event: Event, relation: Relation | None, about: Event) -> UnsupportedEventError:
    advice = _ADVICE.get(
        type(about),
        "a sampled event may be recorded unsampled, which bounds it; or register one with "
        "accountants.rdp.rdp_curve.register or accountants.pairs.dominating_pairs.register",
    )
    under = f" under {relation}" if relation is not None else ""
    name = type(event).__name__ if event is about else f"{type(event).__name__} of {type(about).__name__}"
    return UnsupportedEventError(f"event must have a known pair of laws, got {name}{under}; {advice}.", event=event)


def require_relation(
    event: Event,
    relation: Relation,
    wanted: Relation,
    instead: str = "the guarantee under the ledger's relation",
    outer: Event | None = None,
) -> None:
    """Refuse a relation that an event does not hold under.

    Raises:
        UnsupportedEventError: the relation is not the one wanted; its text says what to record instead.
    """
    if relation is not wanted:
        where = f"{type(outer).__name__} of {type(event).__name__}" if outer is not None else type(event).__name__
        raise UnsupportedEventError(
            f"relation must be {wanted} for {where}, got {relation}; record {instead}.", event=outer or event
        )
