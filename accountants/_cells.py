r"""A pair of laws cut into cells by its loss: masses with error bounds, the raw material of discretisation. Private.

The lattice has the points :math:`e_i = o + i h`. Every cell of the lattice is cut into four quarters, and of all x
whose loss lies in a quarter only the masses P and Q are kept. For noise on the line the loss increases, so a quarter is
an interval between two points that Newton's method finds; how far their losses are from where they should be, at most,
is ``slip``: nothing is asked of the method. For discrete laws every atom is a cell.

*Rounding.* The tail at z standard deviations is off by EPS (16 + 2z²), relative; the mass between two points by what
the errors of both tails come to, which is much in a thin cell: every cell carries its own bound. Held by
tests/accountants/test_cells.py against mpmath.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from accountants._halfline import Laws, laws
from accountants._logs import log_of, log_total
from accountants._numerics import EPS, Floats
from accountants.pairs import AtomPair, Noise, Pair, Shape

__all__ = ["QUARTERS", "Beyond", "Cells", "Lattice", "Reach", "cells", "ends", "heaviest", "limits"]

QUARTERS = 4
_NODES = 2049  # of the table that edges are first read off
_NEWTON = 4
_CLUSTER = 0.25  # spacings on either side of what counts as one atom
_LEFT = 12.0  # standard deviations to the left of all centres: what lies beyond weighs nothing when tilted to the right
_LOST = 0.25  # relative: of a mass that is known no better nothing is known but that it is no larger than twice it
_MOST_CELLS, _FURTHEST = 1 << 20, 1 << 50


@final
@dataclass(frozen=True, slots=True)
class Lattice:
    """The losses offset + i spacing, for all integers i."""

    offset: float
    spacing: float


class Reach(NamedTuple):
    """How far cells are needed.

    Args:
        log_rest: log of the mass that P may have above the last cell.
        floor: losses below need no cells.
        ceiling: losses above need no cells.
    """

    log_rest: float
    floor: float = -math.inf
    ceiling: float = math.inf


class Beyond(NamedTuple):
    """Logarithms of bounds of P's and Q's mass where the loss is above the last cell."""

    least_p: float
    most_p: float
    least_q: float
    most_q: float


NOTHING_BEYOND = Beyond(-math.inf, -math.inf, -math.inf, -math.inf)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A pair in cells, ascending by loss.

    Args:
        quarter: index of the quarter that holds the cell's losses, counted from the offset, shape (n,); that of an
            atom's largest loss where it is in doubt.
        log_p: log of P's mass, shape (n,).
        doubt_p: by how much that mass may be off, relative.
        loss: log(P/Q) of the cell as a whole.
        doubt_loss: how far that may be off, absolutely.
        below: log of an upper bound of P's mass below the first quarter, which has no cell.
        beyond: what lies above the last quarter, infinite losses included.
        end: index of the quarter above which that lies; no matter if nothing does.
        slip: how far any loss in a cell may lie outside of its quarter.
    """

    quarter: NDArray[np.int64]
    log_p: Floats
    doubt_p: Floats
    loss: Floats
    doubt_loss: Floats
    below: float
    beyond: Beyond
    end: int
    slip: float


@singledispatch
def cells(pair: Pair | AtomPair, lattice: Lattice, reach: Reach) -> Cells | None:
    """The cells of a pair; None where there would be too many.

    Args:
        pair: the two laws.
        lattice: where the cells are.
        reach: how far they are needed.
    """
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@singledispatch
def ends(pair: Pair | AtomPair, reach: Reach) -> tuple[float, float]:
    """About the least and the largest loss that cells are needed for."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@singledispatch
def heaviest(pair: Pair | AtomPair, spacing: float) -> float:
    """About the loss that the lattice should meet: that of an atom, or of a cluster more narrow than the spacing."""
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@cells.register
def _(pair: AtomPair, lattice: Lattice, reach: Reach) -> Cells | None:
    log_p, loss = np.array(pair.log_p), np.array(pair.loss)
    doubt = EPS * np.abs(loss) * (10.0 + 8.0 * (np.abs(log_p) + np.abs(loss)))
    rest = np.where(loss == 0.0, 16.0 * EPS * np.exp(np.minimum(-log_p, 100.0)), 0.0)
    kept = math.log1p(-pair.failure) if pair.failure < 1.0 else -math.inf
    doubt_p = EPS * (40.0 + 8.0 * np.abs(log_p)) + rest
    doubt_p = doubt_p + (1.0 + doubt_p) * (pair.failure - pair.least_failure) * math.exp(min(-kept, 100.0))
    log_p = log_p + kept
    above, below = loss - doubt > reach.ceiling, loss + doubt < reach.floor
    some = ~(above | below)
    place = np.floor((loss + doubt - lattice.offset) * (QUARTERS / lattice.spacing))
    inside = place[some]
    edge = reach.ceiling if above.any() else reach.floor if below.any() else lattice.offset
    end = math.floor((edge - lattice.offset) * (QUARTERS / lattice.spacing))
    width = inside.max(initial=-math.inf) - inside.min(initial=math.inf)
    if width > _MOST_CELLS or max(abs(end), np.abs(inside).max(initial=0.0)) > _FURTHEST:
        return None
    with np.errstate(divide="ignore"):
        fewer, more = np.log1p(-np.minimum(doubt_p, 1.0)), np.log1p(doubt_p)
    log_q = np.minimum(log_p - loss, 0.0)
    beyond = Beyond(
        log_total(np.append((log_p + fewer)[above], log_of(pair.least_failure)), -1.0),
        log_total(np.append((log_p + more)[above], log_of(pair.failure)), 1.0),
        log_total((log_q + fewer - doubt)[above], -1.0),
        log_total((log_q + more + doubt)[above], 1.0),
    )
    left = log_total(log_p[below] + more[below], 1.0)
    end = min(end, int(inside.min(initial=_FURTHEST)) + _MOST_CELLS)  # what is far off may be said to begin earlier
    return Cells(inside.astype(np.int64), log_p[some], doubt_p[some], loss[some], doubt[some], left, beyond, end, 0.0)


@ends.register
def _(pair: AtomPair, reach: Reach) -> tuple[float, float]:
    loss = np.array(pair.loss)
    inside = loss[(loss >= reach.floor) & (loss <= reach.ceiling)]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (reach.floor, reach.ceiling)


@heaviest.register
def _(pair: AtomPair, spacing: float) -> float:
    return pair.loss[int(np.argmax(pair.log_p))]


@cells.register
def _(pair: Pair, lattice: Lattice, reach: Reach) -> Cells | None:
    both = laws(pair)
    low, high = ends(pair, reach)
    unit = lattice.spacing / QUARTERS
    first, last = math.ceil((low - lattice.offset) / unit), math.floor((high - lattice.offset) / unit)
    if (last - first + 2) * len(both.centres) > _MOST_CELLS or max(abs(first), abs(last)) > _FURTHEST:
        return None
    if pair.shape is Shape.MIRROR:
        return _mirrored(both, unit, max(last, 0), reach)
    at = np.arange(first, last + 1, dtype=np.int64)
    left, right = _interval(both, reach)
    edges, slip = _edges(both, lattice.offset + unit * at.astype(np.float64), left, right)
    quarter = np.concatenate([[first - 1], at])
    (least, most), rounding = limits(both)
    if is_cut_left := least < lattice.offset + unit * (first - 1):
        edges, quarter = np.concatenate([[left], edges]), np.concatenate([[first - 2], quarter])
    if is_cut_right := most > lattice.offset + unit * (last + 1):
        edges, quarter = np.concatenate([edges, [right]]), np.concatenate([quarter, [last + 1]])
    masses = _masses(both, edges)
    below = float(masses[0][0] + np.log1p(masses[1][0])) if is_cut_left else -math.inf
    beyond = _beyond(masses) if is_cut_right else NOTHING_BEYOND
    kept = slice(1 if is_cut_left else 0, len(quarter) - 1 if is_cut_right else len(quarter))
    slip += 0.0 if is_cut_left and is_cut_right else rounding
    return _cells(quarter[kept], [row[kept] for row in masses], below, beyond, last, slip)


def _beyond(masses: Sequence[Floats]) -> Beyond:
    """The last cell."""
    p, off_p, q, off_q = (row[-1:] for row in masses)
    with np.errstate(divide="ignore"):
        ends = [p + np.log1p(-np.minimum(off_p, 1.0)), p + np.log1p(off_p)]
        ends += [q + np.log1p(-np.minimum(off_q, 1.0)), q + np.log1p(off_q)]
    return Beyond(*(float(end[0]) for end in ends))


def _cells(
    quarter: NDArray[np.int64], masses: Sequence[Floats], below: float, beyond: Beyond, end: int, slip: float
) -> Cells:
    """Cells that hold anything; a mass that is wholly in doubt has a loss that is."""
    some = masses[0] > -math.inf
    log_p, doubt_p, log_q, doubt_q = (row[some] for row in masses)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = log_p - log_q
        doubt = -np.log1p(-np.minimum(doubt_p, 1.0)) - np.log1p(-np.minimum(doubt_q, 1.0))
    doubt = doubt + 4.0 * EPS * (np.abs(log_p) + np.abs(log_q))
    return Cells(quarter[some], log_p, doubt_p, loss, doubt, below, beyond, end, slip)


def _mirrored(both: Laws, unit: float, last: int, reach: Reach) -> Cells:
    """The removal's losses above 0, their mirror image, and the rest of the mass at 0; the lattice meets 0."""
    at = np.arange(0, last + 1, dtype=np.int64)
    left, right = _interval(both, reach)
    edges, slip = _edges(both, unit * at.astype(np.float64), left, right)
    (_, most), rounding = limits(both)
    if is_cut := most > unit * len(at):
        edges = np.append(edges, right)
    masses = _masses(both, edges)
    beyond = _beyond(masses) if is_cut else NOTHING_BEYOND
    inner = [row[1 : len(at) + 1] for row in masses]
    p, q = np.exp(inner[0]), np.exp(inner[2])
    least_p, most_p, least_q, most_q = map(math.exp, beyond)
    rest = max(1.0 - math.fsum(p) - math.fsum(q) - most_p - most_q, 0.0)
    error = float(p @ inner[1] + q @ inner[3]) + 8.0 * EPS + (most_p - least_p) + (most_q - least_q)
    middle, doubt = np.array([math.log(rest + error)]), np.array([min(2.0 * error / (rest + error), 1.0)])
    (log_p, off_p, log_q, off_q), none = inner, np.zeros(1)
    rows = [(log_q, middle, log_p), (off_q, doubt, off_p), (log_p, middle, log_q), (off_p, none, off_q)]
    joined = [np.concatenate([mirrored[::-1], centre, ahead]) for mirrored, centre, ahead in rows]
    quarter = np.concatenate([-at[::-1] - 1, [0], at])
    return _cells(quarter, joined, beyond.most_q, beyond, last, slip + rounding)


@ends.register
def _(pair: Pair, reach: Reach) -> tuple[float, float]:
    both = laws(pair)
    low, high = _losses(both, np.array(_interval(both, reach)))[0].tolist()
    return (-high, high) if pair.shape is Shape.MIRROR else (low, high)


@heaviest.register
def _(pair: Pair, spacing: float) -> float:
    if pair.shape is Shape.MIRROR:
        return 0.0
    both = laws(pair)
    if both.noise is Noise.LAPLACE:
        edge = both.centres[[0, -1]]
        log_p = _masses(both, edge)[0]
        return float(_losses(both, edge)[0][0 if log_p[0] > log_p[-1] else 1])
    table = np.linspace(*_interval(both, Reach(-60.0)), _NODES)
    loss = np.maximum.accumulate(_losses(both, table)[0])
    offset = float(np.interp(0.5, np.cumsum(np.exp(_masses(both, table)[0][:-1])), loss))
    is_closed = math.isfinite(limits(both)[0][0])
    for _ in range(_NEWTON):
        around = np.interp(offset + spacing * np.array([-_CLUSTER, _CLUSTER]), loss, table)
        if around[0] < around[1]:
            log_p, _, log_q, _ = _masses(both, around)
            inside = slice(0 if is_closed and offset - _CLUSTER * spacing < loss[0] else 1, 2)
            offset = _log_sum(log_p[inside]) - _log_sum(log_q[inside])
    return offset


def _log_sum(terms: Floats) -> float:
    top = float(terms.max())
    return top + math.log(float(np.exp(terms - top).sum()))


def _interval(both: Laws, reach: Reach) -> tuple[float, float]:
    """From where to where cells are needed: of Laplace noise at most between its centres, where its losses differ."""
    left, right = float(both.centres[0]), float(both.centres[-1])
    if both.noise is Noise.GAUSSIAN:
        left -= _LEFT * both.scale
        right += math.sqrt(-2.0 * min(reach.log_rest, -1.0)) * both.scale
    if reach.floor == -math.inf and reach.ceiling == math.inf:
        return left, right
    table = np.linspace(left, right, _NODES)
    loss = np.maximum.accumulate(_losses(both, table)[0])
    low = int(np.searchsorted(loss, reach.floor, side="right")) - 1
    high = int(np.searchsorted(loss, reach.ceiling, side="left"))
    return float(table[max(low, 0)]), float(table[min(max(high, low + 2), _NODES - 1)])


def limits(both: Laws) -> tuple[tuple[float, float], float]:
    """The least and the largest loss there is, infinite where a weight is 0 or underflowed; how far they may be off."""
    if both.noise is Noise.LAPLACE:
        loss, doubt, _ = _losses(both, both.centres[[0, -1]])
        return (float(loss[0]), float(loss[1])), float(doubt.max())
    p, q = both.p.tolist(), both.q.tolist()
    least = math.log(p[0] / q[0]) if min(p[0], q[0]) > 0.0 else -math.inf
    most = math.log(p[-1] / q[-1]) if min(p[-1], q[-1]) > 0.0 else math.inf
    size = max(abs(limit) for limit in (least, most, 0.0) if math.isfinite(limit))
    return (least, most), 8.0 * EPS * (1.0 + size) + 4.0 * both.error


def _losses(both: Laws, x: Floats) -> tuple[Floats, Floats, Floats]:
    """log(P/Q) at every x, how far it may be off, and its slope."""
    centres, terms = both.centres[:, None], EPS * (64.0 + 4.0 * len(both.centres))
    if both.noise is Noise.LAPLACE:
        u = -np.abs(x - centres) / both.scale
        pull = -np.sign(x - centres) / both.scale
    else:
        nearest = both.centres[np.argmin(np.abs(x - centres), axis=0)]
        u = (centres - nearest) * (x - 0.5 * (centres + nearest)) / both.scale / both.scale
        pull = np.broadcast_to(centres / both.scale / both.scale, u.shape)
    lost = 4.0 * EPS * np.abs(u).max(axis=0) if both.noise is Noise.LAPLACE else 0.0  # in the next difference
    u = u - u.max(axis=0)
    lift = np.expm1(u)
    up, down = both.p @ lift, both.q @ lift
    size = -u.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.log1p((up - down) / (1.0 + down))
        log_p, met_p, slope_p = _log_dot(both.p, u, pull)
        log_q, met_q, slope_q = _log_dot(both.q, u, pull)
    small = size < 0.5
    loss = np.where(small, near, log_p - log_q)
    doubt = np.where(small, (terms + 4.0 * both.error) * size, terms * (1.0 + met_p + met_q) + 4.0 * both.error)
    return loss, doubt + lost, slope_p - slope_q


def _log_dot(weights: Floats, exponents: Floats, pull: Floats) -> tuple[Floats, Floats, Floats]:
    """Log of the weighted sum of exponentials, mean size of the exponents met in it, mean of ``pull``."""
    terms = np.log(weights)[:, None] + exponents
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    met = np.abs(top) + np.where(shares > 0.0, shares * np.abs(exponents), 0.0).sum(axis=0) / total
    return top + np.log(total), met, (shares * pull).sum(axis=0) / total


def _edges(both: Laws, at: Floats, left: float, right: float) -> tuple[Floats, float]:
    """Where the loss passes every value, ascending, and by how much the loss there misses it at most."""
    if not len(at):
        return at, 0.0
    table = np.linspace(left, right, _NODES)
    x = np.interp(at, np.maximum.accumulate(_losses(both, table)[0]), table)
    loss, doubt, slope = _losses(both, x)
    for _ in range(_NEWTON):
        if bool(np.all(np.abs(loss - at) <= 2.0 * doubt)):
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(slope > 0.0, (loss - at) / slope, 0.0)
        x = np.maximum.accumulate(np.clip(x - np.clip(step, -both.scale, both.scale), left, right))
        loss, doubt, slope = _losses(both, x)
    return x, float((np.abs(loss - at) + doubt).max())


def _masses(both: Laws, edges: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(log P, its relative doubt, log Q, its doubt) of the line cut at the edges: one more cell than edges."""
    z = (edges - both.centres[:, None]) / both.scale
    tail, doubt = _log_tail(both, np.abs(z))
    ends = np.full((len(z), 1), -math.inf)
    tail = np.concatenate([ends, tail, ends], axis=1)
    doubt = np.concatenate([0.0 * doubt[:, :1], doubt, 0.0 * doubt[:, :1]], axis=1)
    z = np.concatenate([ends, z, -ends], axis=1)
    left, right = tail[:, :-1], tail[:, 1:]
    is_left = z[:, 1:] <= 0.0
    near, far = np.where(is_left, right, left), np.where(is_left, left, right)  # of the ends, seen from the centre
    across = (z[:, :-1] < 0.0) & (z[:, 1:] > 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        least = doubt[:, :-1] + doubt[:, 1:]  # of a tail: less is lost in rounding
        aside = near + np.log(np.minimum(np.maximum(-np.expm1(np.minimum(far - near, 0.0)), least), 1.0))
        between = np.log(np.maximum(1.0 - np.exp(near) - np.exp(far), least))
        log_mass = np.where(across, between, np.where(near == -math.inf, -math.inf, aside))
        lost = doubt[:, :-1] * np.exp(np.minimum(left - log_mass, 700.0))
        lost += doubt[:, 1:] * np.exp(np.minimum(right - log_mass, 700.0))
        lost = np.where(lost > _LOST, np.maximum(lost, 1.0), lost)
    error = np.where(log_mass > -math.inf, lost, 0.0) + 8.0 * EPS
    return *_mixed(both, both.p, log_mass, error), *_mixed(both, both.q, log_mass, error)


def _mixed(both: Laws, weights: Floats, log_mass: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Log of the weighted sum over the centres, and its relative doubt."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.log(weights)[:, None] + log_mass
        top = terms.max(axis=0)
        shares = np.exp(terms - np.where(top > -math.inf, top, 0.0))
        total = shares.sum(axis=0)
        doubt = (shares * error).sum(axis=0) / total + 4.0 * EPS * (4.0 + np.abs(top) + len(weights)) + both.error
        return top + np.log(total), np.where(total > 0.0, doubt, 1.0)


def _log_tail(both: Laws, z: Floats) -> tuple[Floats, Floats]:
    """Log of the noise's mass beyond z >= 0 scales, and the relative error of that mass."""
    if both.noise is Noise.LAPLACE:
        return -z - math.log(2.0), EPS * (16.0 + 2.0 * z)
    from scipy.special import erfcx

    return np.log(0.5 * erfcx(z * math.sqrt(0.5))) - 0.5 * z * z, EPS * (16.0 + 2.0 * z * z)
