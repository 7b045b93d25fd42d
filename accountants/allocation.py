r"""What one-of-t allocation costs: the curve of :class:`~accountants.events.RandomAllocation`.

*The pair.* The records' choices are independent, so condition on those of the others: the steps' centres without the
record are then fixed (or follow earlier results), and with it one of them, unknown which, moves by at most the bound.
Each step can be made from a number that is N(1) or N(0) in units of the bound, by a rotation and a little more noise;
the epoch therefore is a post-processing of P against Q, or of Q against P,

.. math:: P = \frac1t\sum_i N(e_i, z^2 I_t), \qquad Q = N(0, z^2 I_t), \qquad \frac{dP}{dQ} = S = \frac1t\sum_i
   e^{x_i/z^2 - 1/2z^2}.

* *Removing* (P against Q): :math:`E_Q[S^k]` at integer orders (Feldman & Shenfeld 2025), between them by the chord;
* *adding* (Q against P): :math:`E_Q[S^{-(\alpha-1)}]` at real orders from 2 on; the divergence does not fall in the
  order. Both stand in ``accountants._averages``, with what is used beyond its tables.
* ``zero_out``: the same pair, for the record that is not there contributes nothing.
* ``replace_one``: through the data set in which the record contributes nothing, by Hölder's inequality (Mironov 2017,
  Proposition 11): :math:`D_\alpha(P\|P') \le \frac{\alpha-1/p}{\alpha-1}D_{p\alpha}(P\|Q) + D_{r(\alpha-1/p)}(Q\|P')`
  with 1/p + 1/r = 1, for every p > 1.

Nowhere more than one release of the inner event to all: given where the record goes, that is what is released, and
divergences are jointly convex.

Guarantee:
    The curve is nowhere below the divergences, in both directions (``test_removing_is_the_sum_over_multiplicities``,
    ``test_adding_is_the_integral``), nor under ``replace_one`` (``test_replacing_is_above_the_exact_divergence``).

References:
    Feldman & Shenfeld 2025 (arXiv 2502.08202), for removal at integer orders; the integral for adding is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from accountants._averages import LAST_TABLED, log_geometric_moment, log_moments, log_negative_moment
from accountants._numerics import ratio_up, round_up
from accountants.curves import Curve, between_integers, rdp_curve
from accountants.errors import UnsupportedEventError
from accountants.events import Gaussian, PoissonSampled, RandomAllocation
from accountants.relation import Relation

__all__ = ["added_rdp", "removed_rdp"]

_HOLDER = (1.25, 1.5, 2.0, 3.0)  # p of the inequality: any is sound


@rdp_curve.register
def _(event: RandomAllocation, relation: Relation) -> Curve:
    if not isinstance(event.event, Gaussian):
        raise UnsupportedEventError(
            f"event under RandomAllocation must be Gaussian noise, got {type(event.event).__name__}; record it once, "
            "as released to all records, which is always an upper bound.",
            event=event,
        )
    scale, steps = event.event.noise_multiplier, event.steps
    whole = rdp_curve(event.event, relation)
    inside = _replaced if relation is Relation.replace_one else _one_way

    @lru_cache(maxsize=4096)
    def rdp(order: float) -> float:
        return min(whole.rdp(order), inside(scale, steps, order))

    return Curve(rdp)


def _one_way(scale: float, steps: int, order: float) -> float:
    """The larger direction; the integral is left out where a bound of it is the smaller one already."""
    removed, power = removed_rdp(scale, steps, order), max(order, 2.0) - 1.0
    if round_up(log_geometric_moment(scale, steps, power) / power) <= removed:
        return removed
    return max(removed, added_rdp(scale, steps, order))


def _replaced(scale: float, steps: int, order: float) -> float:
    """The inequality of the module's docstring at the best p; below order 2 its value there."""
    order = max(order, 2.0)

    def through(p: float) -> float:
        first = removed_rdp(scale, steps, round_up(p * order)) * (order - 1.0 / p) / (order - 1.0)
        return round_up(first + added_rdp(scale, steps, round_up((p * order - 1.0) / (p - 1.0))), 8)

    return min(through(p) for p in _HOLDER)


def removed_rdp(scale: float, steps: int, order: float) -> float:
    """An upper bound of the divergence of P from Q.

    Args:
        scale: z > 0, the noise multiplier.
        steps: t >= 1.
        order: α > 1.
    """
    return _removed_curve(scale, steps)(order)


@lru_cache(maxsize=256)
def _removed_curve(scale: float, steps: int) -> Callable[[float], float]:
    sampled = rdp_curve(PoissonSampled(Gaussian(scale), ratio_up(1, steps)), Relation.add_remove)

    @lru_cache(maxsize=4096)
    def log_moment(k: int) -> float:
        tabled = log_moments(scale, steps, k) if k <= LAST_TABLED else math.inf
        return tabled if tabled < math.inf else round_up(steps * (k - 1.0) * sampled.rdp(float(k)), 8)

    return between_integers(log_moment)


def added_rdp(scale: float, steps: int, order: float) -> float:
    """An upper bound of the divergence of Q from P.

    Args:
        scale: z > 0, the noise multiplier.
        steps: t >= 1.
        order: α > 1.
    """
    power = max(order, 2.0) - 1.0
    return round_up(log_negative_moment(scale, steps, power) / power)
