r"""Pairs of discrete laws: one canonical form, and how sampling makes a pair from a pair.

Given P (with the record) and Q (without), :math:`\ell = \log(P/Q)`, and a record that takes part with probability q:

* ``remove_atoms``: (1-q)Q + qP against Q; its loss is :math:`L = \log(1-q+qe^\ell)`, P' has :math:`Qe^L`;
* ``add_atoms``: Q against (1-q)Q + qP; the loss is -L;
* ``mirror_atoms``: the removal where L > 0, its mirror image (loss -L, P' has Q's mass and Q' has :math:`Qe^L`) below,
  and what is left of the mass at loss 0. For ε >= 0 its hockey-stick divergence is the removal's; for ε < 0 it is
  :math:`1 - e^\epsilon + e^\epsilon\delta(-\epsilon)`. What is left, 1 - P'(L>0) - Q(L>0), is >= 0 where P and Q are
  mirror images of each other; otherwise the smallest positive losses are moved to 0 until it is, which gives the
  largest convex curve below both branches;
* ``antipodal_atoms``: (1-q)M + qM₊ against (1-q)M + qM₋, for three laws.

Losses come from log1p and expm1 and never from the logarithm of a difference, so the smallest keep their digits. Mass
that is cut from infinite supports counts as a loss of infinity. Held by tests/accountants/test_atoms.py, which
enumerates with 40 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from accountants._numerics import EPS, Floats

__all__ = [
    "NOTHING",
    "AtomPair",
    "Laws",
    "add_atoms",
    "antipodal_atoms",
    "discrete_gaussian",
    "discrete_laplace",
    "given_laws",
    "mirror_atoms",
    "mixture_loss",
    "remove_atoms",
    "response_laws",
]

_LOG_MAX = 600.0
_MISSING = 8.0 * EPS  # how far 1 less a sum of masses may be off, twice over
_REACH = 39.0  # standard deviations of a discrete Gaussian that are kept: beyond lies less than 2e^-760


@final
@dataclass(frozen=True, slots=True)
class AtomPair:
    r"""One direction as finitely many atoms, in one form for all: P's masses and the losses log(P/Q).

    The hockey-stick divergence is :math:`F + (1-F)\sum_i p_i (1 - e^{\epsilon - L_i})_+` with F = ``failure``, p =
    e^``log_p`` and L = ``loss``; Q has the masses :math:`(1-F) p_i e^{-L_i}` and, if they do not sum to 1, the rest of
    its mass where P has none.

    The pairs of this package state log_p to 8 EPS (4 + abs(log_p)), and a loss to 8 EPS (1 + abs(log_p) + abs(loss))
    times itself, for the laws that the parameters denote; what is left at loss 0 of a mirrored pair to 16 EPS of 1
    (``test_every_atom_keeps_its_digits``).

    Args:
        log_p: log-masses of P given a finite loss; they sum to 1 up to rounding.
        loss: log(P/Q) at each atom, finite, increasing.
        failure: P's mass where Q has none, rounded up.
        deficit: :math:`1 - \sum_i p_i e^{-L_i}`, rounded up, where it is known better than by summing up; else None.
        failure_doubt: by how much ``failure`` may be above that mass.
    """

    log_p: tuple[float, ...]
    loss: tuple[float, ...]
    failure: float = 0.0
    deficit: float | None = None
    failure_doubt: float = 0.0

    @property
    def least_failure(self) -> float:
        """A lower bound of P's mass where Q has none."""
        return max(0.0, self.failure - self.failure_doubt)


#: The pair of a release that says nothing: both laws are the same.
NOTHING = AtomPair((0.0,), (0.0,), deficit=0.0)


class Laws(NamedTuple):
    """Two discrete laws on the same atoms.

    Args:
        log_p: log-masses with the record, -inf for none.
        log_q: the same without it.
        ratio: log(P/Q), with relative accuracy; +inf where Q has no mass, -inf where P has none.
        cut: a bound of the mass of both laws together beyond the atoms.
        doubt: how far the mass of atoms that one law lacks may be off.
    """

    log_p: Floats
    log_q: Floats
    ratio: Floats
    cut: float = 0.0
    doubt: float = 0.0


def mixture_loss(q: float, u: Floats) -> tuple[Floats, Floats]:
    """log(1 - q + q e^u) and q(e^u - 1); the latter is cut off where e^u would overflow, and not used there."""
    w: Floats = q * np.expm1(np.minimum(u, 700.0))
    if q >= 1.0:
        return u, w
    loss = np.log1p(np.maximum(w, -0.5))
    for part in (w < -0.5, u > 700.0):  # where 1 + w cancels, and where e^u overflows
        if part.any():
            loss[part] = np.logaddexp(math.log1p(-q), math.log(q) + u[part])
    return loss, w


def remove_atoms(laws: Laws, q: float) -> AtomPair:
    """(1-q)Q + qP against Q, 0 < q <= 1."""
    lost = q * _mass(laws.log_p[laws.ratio == math.inf])
    kept = laws.log_q > -math.inf if q < 1.0 else np.isfinite(laws.ratio)
    loss, _ = mixture_loss(q, laws.ratio[kept])
    mass = _mixture(q, laws.log_q[kept], laws.log_p[kept])
    return _canonical(mass, loss, lost, _mass(laws.log_q[~kept]), laws)


def add_atoms(laws: Laws, q: float) -> AtomPair:
    """Q against (1-q)Q + qP, 0 < q <= 1."""
    kept = laws.log_q > -math.inf if q < 1.0 else np.isfinite(laws.ratio)
    loss, _ = mixture_loss(q, laws.ratio[kept])
    unseen = q * _mass(laws.log_p[laws.ratio == math.inf])
    return _canonical(laws.log_q[kept], -loss, _mass(laws.log_q[~kept]), unseen, laws)


def mirror_atoms(laws: Laws, q: float) -> AtomPair:
    """The one curve of sampling without replacement when one record is replaced, 0 < q <= 1."""
    lost = q * _mass(laws.log_p[laws.ratio == math.inf])
    gains = np.flatnonzero(np.isfinite(laws.ratio) & (laws.ratio > 0.0))
    gains = gains[np.argsort(-laws.ratio[gains], kind="stable")]
    loss, _ = mixture_loss(q, laws.ratio[gains])
    log_q = laws.log_q[gains]
    log_p = _mixture(q, log_q, laws.log_p[gains])
    both: Floats = np.exp(log_p) + np.exp(log_q)
    room = 1.0 - lost - (np.cumsum(both.astype(np.longdouble)) - both).astype(np.float64)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        share = np.where(room >= both - 8.0 * EPS, 1.0, np.maximum(room / both, 0.0))
        log_share = np.log(share)
        rest = np.log(max(0.0, 1.0 - lost - float(share @ both)))
    masses = np.concatenate([log_p + log_share, log_q + log_share, [rest]])
    return _canonical(masses, np.concatenate([loss, -loss, [0.0]]), lost, lost, laws)


def antipodal_atoms(laws: Laws, q: float) -> AtomPair:
    """(1-q)M + qM₊ against (1-q)M + qM₋, 0 < q < 1, where M₋ mirrors M₊ and so do the atoms; one ratio is <= 0."""
    plus, minus = laws.ratio, laws.ratio[::-1]
    apart = plus - minus
    base, _ = mixture_loss(q, np.minimum(plus, minus))
    above = np.maximum(plus, minus) - base  # the loss is log1p(q e^above (1 - e^-|apart|)), up to its sign
    excess = q * np.exp(np.minimum(above, _LOG_MAX)) * -np.expm1(-np.abs(apart))
    loss = np.where(above < _LOG_MAX, np.log1p(excess), math.log(q) + above)
    return _canonical(_mixture(q, laws.log_q, laws.log_p), np.sign(apart) * loss, 0.0, 0.0, laws)


def response_laws(epsilon: float, categories: int = 2) -> Laws:
    """Randomized response about two values: one answer is e^ε times likelier under P, one under Q, the rest equal."""
    log_total = math.log1p((categories - 1) * math.exp(-epsilon))
    rest = [math.log(categories - 2) - epsilon - log_total] if categories > 2 else []
    log_p = np.array([-epsilon - log_total, *rest, -log_total])
    return Laws(log_p, log_p[::-1].copy(), np.array([-epsilon, *([0.0] if rest else []), epsilon]))


def discrete_laplace(scale: float, shift: int, *, both_sides: bool = False) -> Laws:
    """Discrete Laplace laws at ``shift`` >= 1 and at 0, on the integers from 0 (or from -shift) to ``shift``.

    The first and the last atom stand for all integers beyond as well: their ratio is the same.
    """
    step = 1.0 / scale
    k = np.arange(-shift if both_sides else 0, shift + 1, dtype=np.float64)

    def law(centre: int) -> Floats:
        log_mass: Floats = math.log(math.tanh(step / 2.0)) - step * np.abs(k - centre)
        log_mass[[0, -1]] = -step * np.abs(k[[0, -1]] - centre) - math.log1p(math.exp(-step))
        return log_mass

    return Laws(law(shift), law(0), step * (np.abs(k) - np.abs(k - shift)))


def discrete_gaussian(stddev: float, shift: int) -> Laws:
    """Discrete Gaussian laws at ``shift`` and at 0; 39 stddev beyond each centre, and its reflection, are kept."""
    reach = abs(shift) + math.ceil(_REACH * stddev) + 1
    k = np.arange(-reach, reach + 1, dtype=np.float64)
    log_total = math.log(math.fsum(np.exp(-0.5 * (k / stddev) ** 2)))

    def law(centre: int) -> Floats:
        log_mass: Floats = -0.5 * ((k - centre) / stddev) ** 2 - log_total
        return log_mass

    return Laws(law(shift), law(0), (shift / stddev) * ((k - 0.5 * shift) / stddev), cut=math.ulp(0.0))


def given_laws(log_p: tuple[float, ...], log_q: tuple[float, ...]) -> Laws:
    """Two laws as given: mass that is missing beyond rounding is an atom of its own, a surplus is normalised away."""
    p, lost = _normalised(np.array(log_p, dtype=np.float64))
    q, unseen = _normalised(np.array(log_q, dtype=np.float64))
    doubt = _MISSING if max(lost, unseen) > -math.inf else 0.0
    p, q = np.concatenate([p, [lost, -math.inf]]), np.concatenate([q, [-math.inf, unseen]])
    some = (p > -math.inf) | (q > -math.inf)
    return Laws(p[some], q[some], p[some] - q[some], doubt=doubt)


def _normalised(log_mass: Floats) -> tuple[Floats, float]:
    """Log-masses that sum to at most 1 up to rounding, and the logarithm of what is missing, rounded up."""
    mass = np.exp(log_mass)
    total = math.fsum(mass)
    rounding = 16.0 * EPS * float(mass @ (1.0 + np.abs(np.where(mass > 0.0, log_mass, 0.0))))
    if total < 1.0 - rounding:
        return log_mass, math.log(1.0 - total + 0.5 * _MISSING)
    return (log_mass if total <= 1.0 + rounding else log_mass - math.log(total)), -math.inf


def _mixture(q: float, log_q: Floats, log_p: Floats) -> Floats:
    """Log-masses of (1-q)Q + qP."""
    if q >= 1.0:
        return log_p
    mixed: Floats = np.logaddexp(math.log1p(-q) + log_q, math.log(q) + log_p)
    return mixed


def _mass(log_mass: Floats) -> float:
    return math.fsum(np.exp(log_mass))


def _canonical(log_mass: Floats, loss: Floats, lost: float, unseen: float, laws: Laws) -> AtomPair:
    """Atoms sorted by loss, equal losses merged, masses normalised.

    Args:
        log_mass: P's, with a finite loss.
        loss: log(P/Q).
        lost: P's mass where Q has none.
        unseen: Q's mass where P has none.
        laws: what the atoms were made of; P's mass that was cut counts as lost.
    """
    whole = lost + laws.cut
    failure = min(1.0, math.nextafter(whole * (1.0 + 16.0 * EPS), math.inf)) if whole > 0.0 else 0.0
    if failure >= 1.0 or not bool(np.any(log_mass > -math.inf)):
        return AtomPair((0.0,), (0.0,), 1.0, 0.0)
    some = np.flatnonzero(log_mass > -math.inf)
    some = some[np.argsort(loss[some], kind="stable")]
    log_mass, loss = log_mass[some], loss[some] + 0.0
    starts = np.flatnonzero(np.concatenate([[True], loss[1:] > loss[:-1]]))
    merged = log_mass[starts]
    ends = np.append(starts[1:], loss.size)
    for at in np.flatnonzero(ends - starts > 1).tolist():
        group = log_mass[starts[at] : ends[at]]
        top = float(group.max())
        merged[at] = top + math.log(math.fsum(np.exp(group - top)))
    log_mass, loss = merged, loss[starts]
    log_mass = log_mass - math.log(math.fsum(np.exp(log_mass)))
    deficit = (unseen - lost + laws.doubt) / (1.0 - lost)
    doubt = failure - lost * (1.0 - 32.0 * EPS) + laws.doubt if failure > 0.0 else 0.0
    return AtomPair(tuple(log_mass.tolist()), tuple(loss.tolist()), failure, deficit, doubt)
