r"""Log-moments of a pair of laws at any real order.

:math:`K(\alpha) = \log E_Q[(P/Q)^\alpha] = (\alpha-1)\,\mathrm{RDP}(\alpha)`; where P has mass that Q has not
(``failure``), P is taken on the rest and normalised, and Q divided by the same number.

A pair is turned into a table, ``accountants._tables`` or its own atoms; everything else is a sum of terms >= 0.

*Small moments*: with w = P/Q - 1, L = log(1+w), t = α - 1 and Q's mass 1 - d

.. math:: E_Q[(P/Q)^\alpha] - 1 = E_Q\bigl[(1+w)(e^{tL}-1-tL) + t\,((1+w)L - w)\bigr] + td,

both terms >= 0: no digit is lost however small the cost. (d is 0 unless some of Q's mass lies where P has none, or P
was normalised.) For the mirrored shape (``Half``)

.. math:: E[(P/Q)^\alpha] - 1 = E_Q\bigl[(e^{\alpha L}-1)(1-e^{-tL})\,1\{L>0\}\bigr].

*Rounding*: a term is a product of exponentials whose exponents have magnitude m, hence off by at most a few (1+m) EPS;
the weighted mean of m is summed along and the result widened by 32 times it. Held by test_moments.py against 34-digit
quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, singledispatch

import numpy as np

from accountants._numerics import EPS, Floats, exp_remainder, round_up
from accountants._tables import Half, Table, full_table, half_table
from accountants.atoms import AtomPair
from accountants.pairs import Noise, Pair, Shape

__all__ = ["convex_bound", "log_moment", "majorant", "max_log_ratio", "moments"]

_OVERFLOWS = 1e100  # of losses: the moment is infinite long before
_LARGEST = 1e8  # of the scales that are tabulated: a smaller one costs more
_STEPS = 4.0  # orders that share a table of a half-line: this many to a doubling


@singledispatch
def moments(pair: Pair | AtomPair) -> Callable[[float], float]:
    """The function from an order α > 1 to an upper bound of K(α), +inf where it overflows.

    Args:
        pair: the two laws; `majorant` says which pair stands in for it.
    """
    raise NotImplementedError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@moments.register
def _(pair: Pair) -> Callable[[float], float]:
    return partial(_pair_moment, _pair_majorant(pair))


@moments.register
def _(pair: AtomPair) -> Callable[[float], float]:
    table = _atom_table(pair)

    def moment(order: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            value = _sum(table, order - 1.0)
        return value if value >= 0.0 else math.inf

    return moment


def log_moment(pair: Pair | AtomPair, order: float) -> float:
    """An upper bound of K(order), tight to the rounding stated above; +inf where it overflows.

    Args:
        pair: the two laws.
        order: α > 1.

    Example:
        >>> round(log_moment(Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT), 2.0), 12)
        1.0
    """
    return moments(pair)(order)


@singledispatch
def max_log_ratio(pair: Pair | AtomPair) -> float:
    """The largest log(P/Q), rounded up: the epsilon of pure differential privacy in this direction; inf for Gauss."""
    raise NotImplementedError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@max_log_ratio.register
def _(pair: AtomPair) -> float:
    """Losses are off by 8 EPS (1 + |ratio|) at most, and the ratio is at most 745 above the loss."""
    loss = pair.loss[-1]
    return round_up(loss + 6144.0 * EPS * min(loss, 1.0), 16) if loss > 0.0 else 0.0


@max_log_ratio.register
def _(pair: Pair) -> float:
    if pair.noise is Noise.GAUSSIAN:
        return math.inf
    s, q, size = round_up(1.0 / pair.scale), pair.sampling_prob, pair.size
    if pair.shape is Shape.SHIFT or s > 700.0:
        return round_up((2.0 if pair.shape is Shape.ANTIPODAL else float(size)) * s, 1 if size > 1 else 0)
    if pair.shape is Shape.ADD:
        return round_up(-size * math.log1p(q * math.expm1(-s)), 16)
    remove = size * math.log1p(q * math.expm1(s))
    if pair.shape is not Shape.ANTIPODAL:
        return round_up(remove, 16)
    return round_up(remove - math.log1p(q * math.expm1(-s)), 32)


@singledispatch
def majorant(pair: Pair | AtomPair) -> Pair | AtomPair:
    """A pair whose moments are nowhere below: REMOVE for ADD, and the largest scale that is tabulated for a larger one.

    Shifts of symmetric noise have a reflection that exchanges N(0) and N(1); then the ADD direction is never above the
    REMOVE direction, at any order (Mironov, Talwar & Zhang 2019, Theorem 5; held by ``test_remove_dominates_add``).
    Groups and atoms have none: they stand for themselves.
    """
    raise NotImplementedError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@majorant.register
def _(pair: AtomPair) -> AtomPair:
    return pair


@majorant.register
def _pair_majorant(pair: Pair) -> Pair:
    shape = Shape.REMOVE if pair.shape is Shape.ADD and pair.size == 1 else pair.shape
    return Pair(pair.noise, min(pair.scale, _LARGEST), shape, pair.sampling_prob, pair.size)


def _pair_moment(pair: Pair, order: float) -> float:
    if pair.shape is Shape.SHIFT:
        return _shift_moment(pair.noise, pair.scale, order)
    coarse = _mixture_bound(pair, order)
    if pair.shape is Shape.MIRROR:
        half = half_table(pair, 2.0 ** (math.ceil(_STEPS * math.log2(order)) / _STEPS) * (1.0 + 1e-12))
        return coarse if half is None else min(coarse, _half_sum(half, order))
    table = full_table(pair, max(1, math.frexp(order)[1]))
    return coarse if table is None else min(coarse, _sum(table, order - 1.0))


def _shift_moment(noise: Noise, scale: float, order: float) -> float:
    """Closed forms: α(α-1)/2z² (Mironov 2017, Proposition 7), and Proposition 6 in a form that does not cancel."""
    t = order - 1.0
    if noise is Noise.GAUSSIAN:
        return round_up(order * (t / scale) / (2.0 * scale), 8)
    s = 1.0 / scale
    if t * s > 30.0:  # the other atom is below e^-30 of the first, and counts for less than it
        return round_up(t * s + math.log((order + t * math.exp(-(order + t) * s)) / (order + t)), 16)
    remainders = exp_remainder(np.array([t * s, -order * s]))
    return round_up(math.log1p((order * float(remainders[0]) + t * float(remainders[1])) / (order + t)), 64)


def _mixture_bound(pair: Pair, order: float) -> float:
    """Without a table: moments are jointly convex in the pair, so K <= log(1 - q + q e^{K of the unsampled pair}).

    The antipodal pair also has Q >= (1-q)N(0), which costs at most -(α-1) log(1-q) more than removing. A group of k is
    a batch that holds any of them, with probability 1-(1-q)^k, moved by at most k. The mirrored curve is nowhere above
    that of (1-q) + qN(2) against (1-q) + qN(0) on an extra outcome: q δ₀(ε) for ε >= 0, and its mirror image below.
    """
    q = pair.sampling_prob
    if pair.shape is Shape.ANTIPODAL:
        removed = convex_bound(q, _shift_moment(pair.noise, pair.scale, order)) - (order - 1.0) * math.log1p(-q)
        whole = _shift_moment(pair.noise, max(pair.scale / 2.0, math.ulp(0.0)), order)
        return min(round_up(removed), convex_bound(q, whole))
    if pair.size > 1:
        q = min(1.0, round_up(-math.expm1(pair.size * math.log1p(-q)), 16))
    scale = pair.scale if pair.size == 1 else max(math.nextafter(pair.scale / pair.size, 0.0), math.ulp(0.0))
    return convex_bound(q, _shift_moment(pair.noise, scale, order))


def convex_bound(q: float, base: float) -> float:
    """log(1 - q + q e^base), rounded up, 0 < q <= 1."""
    if q >= 1.0 or base == math.inf:
        return base
    if base > 1.0:
        return round_up(float(np.logaddexp(math.log1p(-q), math.log(q) + base)), 16)
    return round_up(math.log1p(q * math.expm1(base)), 16)


def _atom_table(pair: AtomPair) -> Table:
    """The atoms as a table; where nobody knows d, it is summed up and rounded up."""
    log_p, loss = np.array(pair.log_p), np.array(pair.loss)
    p = np.exp(log_p)
    with np.errstate(over="ignore", invalid="ignore"):
        log_q: Floats = log_p - loss
        q = np.exp(log_q)
        near = np.abs(loss) < 0.5
        entropy = np.where(near, p * exp_remainder(np.where(near, -loss, 0.0)), p * (loss - 1.0) + q)
        magnitude = np.abs(log_p) + np.abs(loss)
        deficit = pair.deficit
        if deficit is None:
            deficit = 1.0 - math.fsum(q) + 16.0 * EPS * (1.0 + float(q @ (1.0 + magnitude)))
    size = np.minimum(np.abs(loss), _OVERFLOWS)
    slope = size * (1.0 + np.minimum(magnitude, _OVERFLOWS) / 4.0)  # atoms state their losses to 8 EPS of that
    return Table(log_p, loss, entropy, magnitude, slope, float(p @ (size * slope)), deficit)


def _sum(table: Table, t: float) -> float:
    """K from a table: by logarithms, and where it is small once more as a sum that does not cancel."""
    tilt = t * table.loss
    exponent = table.log_p + tilt
    top = float(exponent.max())
    terms = np.exp(exponent - top)
    total = float(terms.sum())
    value = top + math.log(total)
    spread = table.magnitude + t * table.slope
    rounding = 32.0 * EPS * (1.0 + float(terms @ spread) / total)
    if not value <= 0.5:
        return value + rounding + 4.0 * EPS * value
    weight = np.exp(table.log_p)
    near = np.where(np.abs(tilt) < 1.0, weight * exp_remainder(np.clip(tilt, -1.0, 1.0)), 0.0)
    far = np.where(np.abs(tilt) < 1.0, 0.0, terms * math.exp(top) - weight * (1.0 + tilt))
    parts = near + far + t * table.entropy
    moment = float(parts.sum())
    rounding = (
        64.0 * EPS * (moment + float(parts @ spread) + t * (1.0 + 2.0 * t) * table.noise + t * abs(table.deficit))
    )
    moment = max(0.0, moment + t * table.deficit) + rounding
    return math.log1p(moment + 1e-35 * t * (1.0 + t)) * (1.0 + 4.0 * EPS)


def _half_sum(table: Half, order: float) -> float:
    """log(1 + E_Q[(e^{αL}-1)(1-e^{-tL}) 1{L>0}])."""
    tilt = order * table.loss
    exponent = table.log_q + tilt
    top = float(exponent.max())
    terms = np.exp(exponent - top) * np.expm1(-tilt) * np.expm1(-(order - 1.0) * table.loss)
    total = float(terms.sum())
    if total <= 0.0:
        return 1e-300
    rounding = 32.0 * EPS * (2.0 + float(terms @ (table.magnitude + tilt)) / total)
    value = top + math.log(total) + 8.0 * EPS
    if value > 500.0:
        return value + rounding + 4.0 * EPS * value
    return round_up(math.log1p(math.exp(value) * (1.0 + rounding + 4.0 * EPS * abs(top))))
