r"""Laws of a loss on a lattice, from both sides: nowhere below a pair's curve, or nowhere above it. Private.

Everything is about P's measure on losses, :math:`\delta(\epsilon) = \int (1 - e^{\epsilon-L})_+\,dP`. More mass, or
the same mass at larger losses, gives a larger curve, and so it does after composition; so do two measures of which one
has the larger curve at every real ε (Zhu, Dong & Wang 2022, Theorem 10). Write :math:`y = e^\epsilon`: curves are
convex in y, and a law on a lattice has straight lines between the lattice's points.

*Pessimistic* (connect the dots, Doroshenko et al. 2022). The chords of a convex curve lie above it: a cell with masses
m and m', its loss between two lattice points, is split onto these so that both masses are kept. Of m the upper bound is
taken, of log(m/m') too. Losses may stick out of the interval by ``slip``: the split is that of losses so much larger,
and the total loss is taken to be larger by it for each release.

*Optimistic.* The cells themselves, each taken for one atom of lower mass and lower loss, are a law that reveals no
more. Its curve D has corners at the atoms; v has to be convex, with corners at lattice points, nowhere above D. In each
interval the chord of D exceeds D by at most a ``gap``, found at the atoms; with both ends lowered by that gap the line
between them does not. Where the points so found are not convex, their lower hull is, and it is lower still. What
float64 made of it is checked at the corners of both: where v is above D after all, the masses beyond are reduced by as
much (a factor that falls along the lattice, so no curve below grows).

Held by tests/accountants/test_grid.py.

References:
    Doroshenko, Ghazi, Kamath, Kumar & Manurangsi 2022 (arXiv 2207.04380), for the pessimistic side; the optimistic one
    is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from accountants._cells import QUARTERS, Beyond, Cells, Lattice
from accountants._numerics import EPS, Floats

__all__ = ["Grid", "optimistic", "pessimistic"]

_SNAP = 1e-6  # spacings: a lattice that lies above an atom by less is lowered to it
_HEAVY, _FEW = -3.0, 8  # nats below the heaviest atom; how many such there may be
_SPAN = 600.0  # nats between the least and the largest loss that are set against each other
_WIDEST = 75.0  # spacing: the exponentials of points around the losses are in range
_VAGUE = 8.0  # spacings: a cell whose loss is known less well is left out of a lower bound
_LONGEST = 1 << 20  # points
_STEEP = 4.0  # what one interval's gap may be of the next one's
_LEAST = -575.0  # of log-masses: fainter atoms are left out of a lower bound
_STEEPEST = -690.0  # of the log of an atom's mass under Q, in the scale of _Corners: what is left out keeps its digits


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A law of the loss under P: mass at the losses offset + (first + i) spacing, and at infinity.

    Args:
        offset: of the lattice.
        spacing: of the lattice.
        first: index of the first point.
        log_p: log-masses, shape (n,), -inf for none.
        beyond_p: log of P's mass beyond the lattice.
        beyond_q: log of Q's mass there: -inf on the upper side, where that mass is at infinity.
        slip: what a total loss must be raised by for every release.
    """

    offset: float
    spacing: float
    first: int
    log_p: Floats
    beyond_p: float
    beyond_q: float = -math.inf
    slip: float = 0.0


def pessimistic(cells: Cells, lattice: Lattice) -> Grid:
    """A law whose curve, moved by the slip, is nowhere below the pair's."""
    spacing, end = lattice.spacing, cells.end // QUARTERS
    at = cells.quarter // QUARTERS
    last_loss, losses = lattice.offset + spacing * end, lattice.offset + spacing * at
    furthest = max(float(np.abs(losses).max(initial=0.0)), abs(last_loss)) + abs(lattice.offset)
    slip = cells.slip + 8.0 * EPS * (spacing + 2.0 * furthest)
    held, lost = _split(cells.beyond, last_loss - slip)
    first = min([*([int(at.min())] if len(at) else []), *([end] if held > -math.inf or not len(at) else [])])
    inside = np.clip(cells.loss + (cells.doubt_loss + slip) - losses, 0.0, spacing)
    right = np.clip(-np.expm1(-inside) / -math.expm1(-spacing) * (1.0 + 8.0 * EPS), 0.0, 1.0)
    log_p = cells.log_p + np.log1p(cells.doubt_p)
    extra = [(place, log_mass) for place, log_mass in ((first + 1, cells.below), (end, held)) if log_mass > -math.inf]
    with np.errstate(divide="ignore"):
        parts = [log_p + np.log1p(-right), log_p + np.log(right), [log_mass for _, log_mass in extra]]
    where = np.concatenate([at, at + 1, *([place] for place, _ in extra)]).astype(np.int64) - first
    log_mass = _gathered(where, np.concatenate(parts), int(where.max(initial=0)) + 1)
    log_mass = log_mass + _rounding(where, log_mass)
    return Grid(lattice.offset, spacing, first, log_mass, lost, -math.inf, slip)


def _split(beyond: Beyond, loss: float) -> tuple[float, float]:
    """Logs of what of P's mass beyond is put at a loss, as far as Q's mass goes, and of the rest, at infinity."""
    if beyond.most_p == -math.inf:
        return -math.inf, -math.inf
    held = beyond.least_q + loss - 16.0 * EPS * (1.0 + abs(loss) + abs(beyond.most_p))
    if held >= beyond.most_p:
        return beyond.most_p, -math.inf
    rest = math.log(-math.expm1(held - beyond.most_p) + 16.0 * EPS * (1.0 + abs(beyond.most_p)))
    return held, min(beyond.most_p + rest, beyond.most_p)


def _rounding(where: NDArray[np.int64], log_mass: Floats) -> Floats:
    """How far logarithms of sums over places may be off."""
    most = int(np.bincount(where, minlength=1).max())
    sizes: Floats = np.where(log_mass > -math.inf, np.abs(log_mass), 0.0)
    return EPS * (16.0 + most + 4.0 * sizes)


def _gathered(where: NDArray[np.int64], log_mass: Floats, count: int) -> Floats:
    """Log of the sums of masses at every place, whose scales may differ widely from place to place."""
    top = np.full(count, -math.inf)
    np.maximum.at(top, where, log_mass)
    kept = np.where(top > -math.inf, top, 0.0)
    with np.errstate(divide="ignore", under="ignore"):
        summed: Floats = kept + np.log(np.bincount(where, np.exp(log_mass - kept[where]), count))
    return summed


def optimistic(cells: Cells, lattice: Lattice) -> Grid | None:
    """A law whose curve is nowhere above the pair's; None if there is none to speak of."""
    log_p, loss = _atoms(cells, lattice.spacing)
    if not len(log_p) or loss[-1] - loss[0] > _SPAN or lattice.spacing > _WIDEST:
        return None
    spacing, middle = lattice.spacing, 0.5 * float(loss[0] + loss[-1])
    steep = log_p - (loss - middle) < _STEEPEST
    log_p, loss = log_p[~steep], loss[~steep]
    if not len(log_p):
        return None
    offset = _met(log_p, loss, lattice)
    rounding = 16.0 * EPS * (1.0 + 2.0 * float(np.abs(loss).max()) + abs(offset) + spacing)
    short = np.ceil((loss - offset) / spacing) * spacing + offset - loss
    offset -= float(short[short < _SNAP * spacing].max(initial=0.0)) * (1.0 + 1e-9) + 2.0 * rounding
    if rounding > spacing or loss[-1] - loss[0] > _LONGEST * spacing:
        return None
    first = math.floor((loss[0] - offset) / spacing) - 1
    count = math.floor((loss[-1] - offset) / spacing) - first + 2
    knot = offset + spacing * (first + np.arange(count, dtype=np.float64))
    corners = _Corners(np.exp(log_p), np.exp(loss - middle), np.exp(knot - middle) * (1.0 + rounding))
    mass = _lowered(corners, spacing)
    if mass is None:
        return None
    mass = np.where(mass > corners.y * math.exp(_STEEPEST), mass, 0.0)
    mass = mass * _reduction(corners, mass)
    if not np.any(mass > 0.0):
        return None
    with np.errstate(divide="ignore"):
        log_mass = np.log(mass)
    return Grid(offset, spacing, first, log_mass - 2.0 * EPS * np.abs(log_mass), *cells.beyond[::3])


def _met(log_p: Floats, loss: Floats, lattice: Lattice) -> float:
    """The offset of about this one at which the heaviest atoms are least above lattice points, or on them."""
    heavy = np.flatnonzero(log_p > log_p.max() + _HEAVY)
    if len(heavy) > _FEW:  # no atoms, but a smooth law
        heavy = heavy[[int(np.argmax(log_p[heavy]))]]
    choice = loss[heavy] - lattice.spacing * np.rint((loss[heavy] - lattice.offset) / lattice.spacing)
    above = (loss[heavy] - choice[:, None]) / lattice.spacing
    above = above - np.floor(above + _SNAP)
    return float(choice[np.argmin(above @ np.exp(log_p[heavy]))])


def _atoms(cells: Cells, spacing: float) -> tuple[Floats, Floats]:
    """Log-masses and losses, rounded down and ascending, of the cells; those next to a lattice point are joined."""
    some = (cells.doubt_p < 1.0) & (cells.doubt_loss < _VAGUE * spacing) & (cells.log_p > _LEAST)
    quarter, log_p, loss = cells.quarter[some], cells.log_p[some], cells.loss[some] - cells.doubt_loss[some]
    if not len(log_p):
        return log_p, loss
    log_p = log_p + np.log1p(-cells.doubt_p[some])
    place = 3 * (quarter // QUARTERS) + quarter % QUARTERS  # the last quarter and the first of the next are one place
    place -= int(place.min())
    joined_p = _gathered(place, log_p, int(place.max()) + 1)
    joined_q = _gathered(place, log_p - loss, int(place.max()) + 1)
    found = joined_p > _LEAST
    log_p, loss = joined_p[found], joined_p[found] - joined_q[found]
    joined = float(np.bincount(place).max())
    loss = loss - 16.0 * EPS * (4.0 + joined + np.abs(log_p) + 2.0 * np.abs(loss) + float(np.abs(loss).max()))
    order = np.argsort(loss, kind="stable")
    return log_p[order] - 16.0 * EPS * (4.0 + joined + np.abs(log_p[order])), loss[order]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Corners:
    """Atoms of P-mass ``p`` at e^loss = ``x``, ascending, and lattice points ``y`` around them, all in one scale."""

    p: Floats
    x: Floats
    y: Floats


def _curve(p: Floats, x: Floats, points: Floats) -> Floats:
    """Sum of p (1 - y/x)_+ at every point y: sums of positive terms only, in extended precision where there is one."""
    order = np.argsort(np.concatenate([x, points]), kind="stable")
    at = np.concatenate([x, points])[order].astype(np.longdouble)
    mass = np.concatenate([p / x, np.zeros(len(points))])[order].astype(np.longdouble)
    above = np.cumsum(mass[::-1])[::-1]
    steps = np.diff(at) * above[1:]
    value = np.empty(len(at))
    value[order] = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]]).astype(np.float64)
    return value[len(x) :]


def _put(p: Floats, x: Floats, points: Floats) -> Floats:
    """Sum of p (y/x - 1)_+ at every point y: how far the curve is above the line that it starts as."""
    order = np.argsort(np.concatenate([x, points]), kind="stable")
    at = np.concatenate([x, points])[order]
    mass = np.concatenate([p / x, np.zeros(len(points))])[order]
    value = np.empty(len(at))
    value[order] = np.concatenate([[0.0], np.cumsum(np.diff(at) * np.cumsum(mass)[:-1])])
    return value[len(x) :]


def _lowered(corners: _Corners, spacing: float) -> Floats | None:
    """Masses at the lattice points of a convex curve that is nowhere above the atoms', up to rounding; None if 0."""
    p, x, y = corners.p, corners.x, corners.y
    value = _curve(p, x, y)
    at = np.searchsorted(y, x, side="right") - 1
    gap, held, share = _gaps(corners, at)
    start, end = _drops(corners, at, gap, share, value)
    drop = np.minimum(np.maximum(start, np.concatenate([[0.0], end[:-1]])), value)
    if not np.any(value - drop > 0.0):
        return None
    right = held / -math.expm1(-spacing)
    mass = np.bincount(at, p, len(y)) - right
    mass[1:] += right[:-1]
    rise = np.diff(drop)
    mass[:-1] -= rise / math.expm1(spacing)
    mass[1:] += rise / -math.expm1(-spacing)
    mass[0] += drop[0]
    if float(mass.min()) < 0.0:
        mass = _hull(y, value - drop, float(p.sum()))
    return mass


def _drops(
    corners: _Corners, at: NDArray[np.int64], gap: Floats, share: Floats, value: Floats
) -> tuple[Floats, Floats]:
    """By how much both ends of every interval are lowered, so that the line between them is nowhere above the curve.

    By the widest gap where masses are alike; where they fall or rise steeply only towards the heaviest interval, so
    that the points stay convex; never by more than half of what the curve or its mirror image is there.
    """
    p, x, y = corners.p, corners.x, corners.y
    widest = np.zeros(len(y))
    np.maximum.at(widest, at, gap)
    peak = int(np.argmax(np.bincount(at, p, len(y))))
    start, end = np.zeros(len(y)), np.zeros(len(y))
    end[peak:] = np.minimum(widest, _STEEP * np.append(widest[1:], 0.0))[peak:]
    start[:peak] = np.minimum(widest, _STEEP * np.concatenate([[0.0], widest[:-1]]))[:peak]
    right = at >= peak
    np.maximum.at(start, at[right], (np.maximum(gap - end[at] * share, 0.0) / (1.0 - share))[right])
    start = np.minimum(start, 0.5 * _put(p, x, y))
    np.maximum.at(end, at, np.maximum(gap - start[at] * (1.0 - share), 0.0) / np.maximum(share, _SNAP))
    end = np.minimum(end, 0.5 * np.append(value[1:], 0.0))
    np.maximum.at(start, at, np.maximum(gap - end[at] * share, 0.0) / (1.0 - share))
    return start, end


def _gaps(corners: _Corners, at: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """The chord's excess over the curve at every atom, each interval's own part at its lower end, each atom's place.

    Places are from 0 to 1 in the interval.
    """
    p, x, y = corners.p, corners.x, corners.y
    low, high = y[at], y[np.minimum(at + 1, len(y) - 1)]
    held: Floats = np.bincount(at, p * np.maximum(x - low, 0.0) / x, len(y)).astype(np.float64)
    share = np.clip((x - low) / (high - low), 0.0, 1.0 - EPS)
    above, step = np.zeros(len(p)), 1
    while step < len(p):
        same = at[step:] == at[:-step]
        if not same.any():
            break
        above[:-step] += np.where(same, p[step:] * (x[step:] - x[:-step]) / x[step:], 0.0)
        step += 1
    return np.maximum(held[at] * (1.0 - share) - above, 0.0), held, share


def _hull(y: Floats, value: Floats, whole: float) -> Floats:
    """Masses of the lower hull of the points (0, whole) and (y, value).

    A point on or above the chord of its neighbours is not on the hull; neither is it when they are gone too.
    """
    x, v = np.concatenate([[0.0], y]), np.concatenate([[whole], value])
    where = np.arange(len(x))
    while len(where) > 2:
        slope = np.diff(v[where]) / np.diff(x[where])
        bends = slope[1:] > slope[:-1]
        if bends.all():
            break
        where = where[np.concatenate([[True], bends, [True]])]
    slope = np.append(np.diff(v[where]) / np.diff(x[where]), 0.0)
    mass = np.zeros(len(y))
    mass[where[1:] - 1] = np.maximum(np.diff(slope) * x[where[1:]], 0.0)
    return mass


def _reduction(corners: _Corners, mass: Floats) -> Floats:
    """Factors that bring the masses' curve below the atoms', falling from lattice point to lattice point."""
    points = np.sort(np.concatenate([corners.x, corners.y]))
    own, theirs = _curve(mass, corners.y, points), _curve(corners.p, corners.x, points)
    rounding = 8.0 * EPS + 4.0 * len(points) * float(np.finfo(np.longdouble).eps)
    ratio = np.ones(len(points))
    np.divide(theirs, own, out=ratio, where=own > 0.0)
    whole = math.fsum(corners.p) / max(math.fsum(mass), 1e-300)
    least = np.minimum.accumulate(np.minimum(np.concatenate([[whole], ratio]), 1.0))
    return least[np.searchsorted(points, corners.y, side="left")] * (1.0 - 4.0 * rounding)
