r"""Exact composition of discrete pairs whose losses lie on one lattice: c + dℤ with one spacing d.

Randomized response, pure and approximate DP, discrete Laplace and discrete Gaussian noise, unsampled, are such pairs,
and so is every pair of two atoms. A loss of T releases is an integer in units of d, and its law a convolution power:
direct positive convolution (``accountants._convolve``), so no aliasing and no cancellation; for two atoms a
binomial law, at any T up to 10^7 and beyond. With total mass p_j at the loss L_j,

.. math:: \delta(\epsilon) = F + (1-F)\Bigl(\sum_j p_j\,(1 - e^{\epsilon - L_j})_+ + r\Bigr), \qquad
   1-F = \prod_i (1-F_i)^{T_i},

with 0 <= r <= the mass missing from the table, which is 0 beyond the largest loss there is. *Rounding*: losses are
taken as L_j ± their error (the distance of the atoms from the lattice and what :class:`~accountants.pairs.AtomPair`
states, T times), masses as p_j (1 ± their error). Held by ``test_composition_contains_the_enumerated_value``.

References:
    Kairouz, Oh & Viswanath 2015 (arXiv 1311.0776), Theorem 3.3, the binomial case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np

from accountants._convolve import LOG_SCALE, Law, binomial, convolve, masses, power
from accountants._invert import Bounds, invert
from accountants._logs import NONE, widened, with_failure
from accountants._numerics import EPS, Floats
from accountants.pairs import AtomPair

__all__ = ["Composition", "Parts", "compose", "epsilon_bounds", "log_delta_bounds", "supports"]

Parts = tuple[tuple[AtomPair, int], ...]
"""(pair, times) rows of one direction."""

_OFF = 64.0 * EPS  # how far an atom may be from the lattice, relative to the largest loss
_LONGEST = 1 << 14  # of one pair, in units of the spacing
_WELL_KNOWN = 1e-9  # relative, of a mass
_LARGEST = 1e100  # of losses
_FAINT = 1e-17  # of the mass beyond ε: what is bounded instead of summed up


@final
@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """The law of the total loss, under P given that it is finite.

    Args:
        loss: ascending, shape (n,).
        mass: scaled by 2^500.
        beyond: mass from each entry on, shape (n+1,), rounded up.
        loss_error: absolute, of every loss.
        error: relative, of every mass.
        lost: mass that is in no entry, in scale.
        largest: an upper bound of every loss there is.
        failure: lower and upper bound of the probability of an infinite loss.
    """

    loss: Floats
    mass: Floats
    beyond: Floats
    loss_error: float
    error: float
    lost: float
    largest: float
    failure: Bounds

    def log_delta(self, epsilon: float) -> Bounds:
        """Bounds of log δ(ε), at any real ε."""
        return with_failure(self._finite(epsilon), *self.failure)

    def _finite(self, epsilon: float) -> Bounds:
        if epsilon >= self.largest:
            return NONE
        doubt = self.loss_error + 2.0 * EPS * abs(epsilon)
        low = self._sum(epsilon + doubt)[0] * (1.0 - self.error)
        high = self._sum(epsilon - doubt)[1] * (1.0 + self.error) + self.lost
        return _log(low)[0], _log(high)[1]

    def _sum(self, epsilon: float) -> Bounds:
        """Bounds of the sum, in scale: what lies far beyond ε is bounded by its mass."""
        first = int(np.searchsorted(self.loss, epsilon, side="right"))
        enough = self.beyond[first] * _FAINT * min(1.0, float(self.loss[-1] - self.loss[0]) / len(self.loss))
        last = len(self.mass) - int(np.searchsorted(self.beyond[first:][::-1], enough, side="right")) + 1
        last = min(max(last, first), len(self.mass))
        terms = self.mass[first:last] * -np.expm1(epsilon - self.loss[first:last])
        total = float(terms.sum())
        rounding = EPS * (16.0 + 2.0 * math.log2(len(terms) + 2.0))
        return total * (1.0 - rounding), total * (1.0 + rounding) + float(self.beyond[last])


def _log(scaled: float) -> Bounds:
    if scaled <= 0.0:
        return NONE
    value = math.log(scaled) - LOG_SCALE
    return widened(value, EPS * (2.0 * LOG_SCALE + 4.0 * abs(value)))


def supports(parts: Sequence[tuple[AtomPair, int]]) -> bool:
    """Whether the parts share a lattice and are few enough to be composed here.

    Args:
        parts: (pair, times) rows of one direction.

    Example:
        >>> coin = AtomPair((math.log(0.25), math.log(0.75)), (-math.log(3.0), math.log(3.0)))
        >>> supports(((coin, 10**7),))
        True
    """
    return compose(tuple(parts)) is not None


def log_delta_bounds(parts: Sequence[tuple[AtomPair, int]], epsilon: float) -> Bounds:
    """Bounds of log δ(ε) of the composition.

    Guarantee:
        The exact value lies between them; held by ``test_composition_contains_the_enumerated_value``.

    Args:
        parts: (pair, times) rows of one direction, which `supports` accepts.
        epsilon: any real number.

    Returns:
        (lower, upper), natural logarithms; -inf where delta is 0.

    Raises:
        ValueError: the parts are not supported.

    Example:
        >>> coin = AtomPair((math.log(0.25), math.log(0.75)), (-math.log(3.0), math.log(3.0)))
        >>> low, high = log_delta_bounds(((coin, 2),), 0.0)
        >>> low <= math.log(0.5) <= high and high - low < 1e-12
        True
    """
    return _composed(parts).log_delta(epsilon)


def epsilon_bounds(parts: Sequence[tuple[AtomPair, int]], log_delta: float) -> Bounds:
    """Bounds of the least epsilon >= 0 at which δ of the composition is at most e^``log_delta``.

    Args:
        parts: (pair, times) rows of one direction, which `supports` accepts.
        log_delta: log δ, -inf for δ = 0.

    Returns:
        (lower, upper), each certified by the curve at that very number; inf where no epsilon will do.

    Raises:
        ValueError: the parts are not supported.

    Example:
        >>> pure = AtomPair((-math.log1p(math.exp(0.01)), -math.log1p(math.exp(-0.01))), (-0.01, 0.01))
        >>> low, high = epsilon_bounds(((pure, 1000),), math.log(1e-9))
        >>> low <= 1.7829322998948331 <= high and high - low < 1e-11
        True
    """
    total = _composed(parts)
    scaled = math.exp(min(log_delta + LOG_SCALE, LOG_SCALE))
    quantile = min(int(np.searchsorted(-total.beyond, -scaled)), len(total.loss) - 1)
    start = max(float(total.loss[quantile]), 1e-3 * abs(total.largest), 1e-290)
    return invert(total.log_delta, log_delta, start)


def _composed(parts: Sequence[tuple[AtomPair, int]]) -> Composition:
    total = compose(tuple(parts))
    if total is None:
        raise ValueError("parts must share a lattice of losses and be short enough to convolve; see supports().")
    return total


@lru_cache(maxsize=64)
def compose(parts: Parts) -> Composition | None:
    """The law of the total loss; None where there is no common lattice, or where it would be too long."""
    arrays = [(np.array(pair.log_p), np.array(pair.loss), times) for pair, times in parts]
    if any(float(np.abs(loss).max()) > _LARGEST for _, loss, _ in arrays):
        return None
    spacing = _spacing([loss for _, loss, _ in arrays])
    if spacing is None:
        return None
    total = masses(np.zeros(1), np.zeros(1))
    offset, largest, error = 0.0, 0.0, 0.0
    for log_p, loss, times in arrays:
        base, top = float(loss[0]), float(loss[-1])
        size = max(abs(base), abs(top))
        index = np.rint((loss - base) / spacing)
        off = float(np.abs(loss - base - index * spacing).max())
        if off > _OFF * size or index[-1] >= _LONGEST:
            return None
        doubt = float((np.abs(loss) * (10.0 + 8.0 * (np.abs(log_p) + np.abs(loss)))).max())
        law = _powered(log_p, loss, index, times)
        joined = convolve(total, law) if law is not None else None
        if joined is None:
            return None
        total = joined
        offset += times * base
        largest += times * top
        error += times * (off + EPS * doubt)
    loss = offset + spacing * (total.first + np.arange(len(total.mass), dtype=np.float64))
    error += 8.0 * EPS * (abs(offset) + float(np.abs(loss).max()) + spacing * (total.first + len(loss) - 1))
    beyond = np.concatenate([np.cumsum(total.mass[::-1])[::-1], [0.0]]) * (1.0 + len(loss) * EPS)
    return Composition(loss, total.mass, beyond, error, total.error, total.lost, largest + error, _failure(parts))


def _powered(log_p: Floats, loss: Floats, index: Floats, times: int) -> Law | None:
    """The law of the sum of ``times`` indices; None also where the mass at loss 0 is too small to be known well."""
    if len(log_p) == 2:
        return binomial(times, float(log_p[1]), float(log_p[0]), int(index[1]))
    law = masses(log_p, index)
    rest = 16.0 * EPS * math.exp(min(-float(log_p[loss == 0.0].min(initial=0.0)), LOG_SCALE))
    return power(replace(law, error=law.error + rest), times) if rest < _WELL_KNOWN else None


def _spacing(losses: list[Floats]) -> float | None:
    """The least gap, made precise by the longest run of gaps; 1 if there is none, None if that run is too long."""
    gaps = [float(np.diff(loss).min()) for loss in losses if len(loss) > 1]
    if not gaps:
        return 1.0
    least = min(gaps)
    if max(float(loss[-1] - loss[0]) for loss in losses) > least * (2.0 * _LONGEST):
        return None
    spans = [(float(loss[-1] - loss[0]), round(float(loss[-1] - loss[0]) / least)) for loss in losses if len(loss) > 1]
    span, count = max(spans, key=lambda row: row[1])
    return span / count


def _failure(parts: Parts) -> Bounds:
    """Bounds of 1 - prod (1-F)^T: log1p, a sum and expm1, 16 EPS together."""
    low = _any_fails([(pair.least_failure, times) for pair, times in parts])
    high = _any_fails([(pair.failure, times) for pair, times in parts])
    return low * (1.0 - 16.0 * EPS), min(high * (1.0 + 16.0 * EPS) + (math.ulp(0.0) if high > 0.0 else 0.0), 1.0)


def _any_fails(failures: list[tuple[float, int]]) -> float:
    if any(failure >= 1.0 for failure, _ in failures):
        return 1.0
    return -math.expm1(math.fsum(times * math.log1p(-failure) for failure, times in failures))
