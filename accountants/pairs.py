r"""Which two laws stand for an event: the one table of relation x sampler.

Laws are written in units of the contribution bound, N(m) for the noise centred at m, q for the sampling probability:

========  =======================================  ==================================================
sampler   add_remove, zero_out                     replace_one
========  =======================================  ==================================================
none      N(1) vs N(0)                             N(2) vs N(0)
Poisson   (1-q)N(0)+qN(1) vs N(0), and reversed    (1-q)N(0)+qN(1) vs (1-q)N(0)+qN(-1)  (antipodal)
========  =======================================  ==================================================

*Why the antipodal pair dominates* for every real epsilon and every dimension. Condition on the other records' batch;
with p = M(S) the mass of a set S under the law M of the batch without the record, the hockey-stick divergence is the
supremum over S of :math:`(1-q)(1-e^\epsilon)p + q(M_a(S) - e^\epsilon M_b(S))`, where a and b are the two
contributions, of norm at most 1. With T the trade-off curve between M and M shifted by norm 1, :math:`M_a(S) \le 1 -
T(p)` and :math:`M_b(S) \ge T(1-p)`. On the line Gauss and Laplace noise have monotone likelihood ratios, so one
half-line meets both with equality, for a = +1 and b = -1. In more dimensions T is nowhere below the line's curve: a
Gaussian is rotated onto a line; for Laplace noise with an l1 bound, move one coordinate at a time and compose the
steps' curves as group privacy does, which on the line gives exactly the curve of the summed shift. Held by
test_antipodal_pair_dominates. A distance-2 pair inside the Poisson mixture is NOT sound: at q=.9, z=1, two steps, it
reports .7709 for a true delta(0) of .7763.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import singledispatch
from typing import final

from accountants.errors import UnsupportedEventError
from accountants.events import Event, Gaussian, Laplace, PoissonSampled
from accountants.relation import Relation

__all__ = ["AtomPair", "Noise", "Pair", "Shape", "dominating_pairs"]


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


@final
@dataclass(frozen=True, slots=True)
class AtomPair:
    r"""One direction as finitely many atoms, in one form for all: P's masses and the losses log(P/Q).

    The hockey-stick divergence is :math:`F + (1-F)\sum_i p_i (1 - e^{\epsilon - L_i})_+` with F = ``failure``, p =
    e^``log_p`` and L = ``loss``; Q has the masses :math:`(1-F) p_i e^{-L_i}` and, if they do not sum to 1, the rest of
    its mass where P has none.

    Args:
        log_p: log-masses of P given a finite loss; they sum to 1 up to rounding.
        loss: log(P/Q) at each atom, finite, ascending, with relative accuracy.
        failure: P's mass where Q has none.
        spare: Q's mass where P has none, in units of 1-F, where it is known to relative accuracy; None to sum it up.
    """

    log_p: tuple[float, ...]
    loss: tuple[float, ...]
    failure: float = 0.0
    spare: float | None = None


_DISTANCE = {Relation.add_remove: 1.0, Relation.zero_out: 1.0, Relation.replace_one: 2.0}
_NOISE: dict[type[Event], Noise] = {Gaussian: Noise.GAUSSIAN, Laplace: Noise.LAPLACE}
_POISSON = {
    Relation.add_remove: (Shape.REMOVE, Shape.ADD),
    Relation.zero_out: (Shape.REMOVE, Shape.ADD),
    Relation.replace_one: (Shape.ANTIPODAL,),
}


def _scaled(noise_multiplier: float, relation: Relation) -> float:
    """Noise in units of the distance; never 0, where every cost is infinite anyway."""
    return max(noise_multiplier / _DISTANCE[relation], math.ulp(0.0))


@singledispatch
def dominating_pairs(event: Event, relation: Relation) -> tuple[Pair, ...]:
    """The pairs, one for each direction, that dominate one occurrence of a core event.

    Args:
        event: a core event; register a class of your own with ``dominating_pairs.register``.
        relation: the neighbouring relation.

    Returns:
        One pair for a symmetric event, otherwise both directions; a bound must hold for each.

    Raises:
        UnsupportedEventError: no sound pair is known.

    Example:
        >>> dominating_pairs(Gaussian(3.0), Relation.replace_one)[0].scale
        1.5
    """
    raise UnsupportedEventError(
        f"event must have a pair of laws or a curve of its own, got {type(event).__name__} under {relation}; register "
        "one with accountants.rdp.rdp_curve.register or accountants.pairs.dominating_pairs.register.",
        event=event,
    )


@dominating_pairs.register
def _(event: Gaussian, relation: Relation) -> tuple[Pair, ...]:
    return (Pair(Noise.GAUSSIAN, _scaled(event.noise_multiplier, relation), Shape.SHIFT),)


@dominating_pairs.register
def _(event: Laplace, relation: Relation) -> tuple[Pair, ...]:
    return (Pair(Noise.LAPLACE, _scaled(event.noise_multiplier, relation), Shape.SHIFT),)


@dominating_pairs.register
def _(event: PoissonSampled, relation: Relation) -> tuple[Pair, ...]:
    inner = event.event
    noise = _NOISE.get(type(inner))
    if noise is None or not isinstance(inner, Gaussian | Laplace):
        raise UnsupportedEventError(
            f"event under PoissonSampled must be a Gaussian or Laplace release, got {type(inner).__name__}; record it "
            "unsampled, which is always an upper bound of what it costs.",
            event=event,
        )
    return tuple(Pair(noise, inner.noise_multiplier, shape, event.sampling_prob) for shape in _POISSON[relation])
