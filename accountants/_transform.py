r"""A composition of laws on one lattice by Fourier transform, tilted to be precise where it matters. Private.

Masses are multiplied by :math:`e^{tL - k}`, k the logarithm of their new sum; the composition of the tilted masses is
the tilted composition, so with K the sum of all k and w the tilted masses of the total loss S

.. math:: \delta(\epsilon) = F + e^{K - t\epsilon} \sum_{S > \epsilon} w_S\, e^{-t(S-\epsilon)}(1 - e^{\epsilon - S}).

With t > 0 the factor behind w is below 1 and falls, so an absolute error of w does little; with t near the saddle the
sum is about as large as w itself, whatever δ is (no floor at 1e-16).

*Aliasing.* The transform has N points; what lies outside of a window of N is folded into it. For every d > 0 the
tilted mass beyond b is at most :math:`e^{\Lambda(d) - db}`, Λ the cumulants of the tilted total (Chernoff): the window
is where that is e^-50 on both sides. Folded mass only adds to w: a lower bound takes 4e^-50 off every entry, an upper
bound adds as much to the sum for what is not seen.

*Rounding.* A transform of length N errs by at most 8 EPS log2(N), relative, in the 2-norm (Higham 2002, Theorem 24.2,
has half of that for radix 2; only lengths 2^a and 3 2^a are used): its values F by a vector e of 2-norm at most
:math:`o = 8\,\mathrm{EPS}\log_2 N \sqrt N\,\lVert w\rVert_2`, and so :math:`F^T` by :math:`T|e|(|F|+2o)^{T-1}`, which
moves each entry of w by at most :math:`T o\,\lVert(|F|+2o)^{T-1}\rVert_2/N` (Cauchy & Schwarz). A power by squaring is
off by 2 EPS T, relative; the inverse by the same bound as the transform. Held by
tests/accountants/test_transform.py, against convolution in exact fractions and in extended precision.

References:
    Koskela, Jälkö & Honkela 2020 (arXiv 1906.03049) for accounting by Fourier transform; Higham 2002, Accuracy and
    Stability of Numerical Algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from accountants._grid import Grid
from accountants._numerics import EPS, Floats

__all__ = ["Cumulants", "Total", "compose", "cumulants"]

Complexes = NDArray[np.complex128]

_NATS = 50.0  # of tilted mass outside of the window, on either side
_UNSEEN = 4.0 * math.exp(-_NATS)
_LONGEST = 1 << 21  # points of a transform
_SMALL = -20.0  # of the log of a probability
_MOST_DOUBT = 0.5  # relative, of what the sums of a composition are worth
_TRIES = (
    1e-3,
    2e-3,
    4e-3,
    8e-3,
    0.016,
    0.03,
    0.06,
    0.12,
    0.25,
    0.35,
    0.5,
    0.7,
    1.0,
    1.5,
    3.0,
)  # orders of Chernoff's bound, relative to a normal law's
_MOST_NATS = 1e4  # of the exponents in that bound, also where a tilted law is all but an atom
_LEAST_SPREAD = 1e-290
_BLOCK = 300.0  # nats


@final
@dataclass(frozen=True, slots=True)
class Cumulants:
    """Of the total loss under tilt: logarithm of the mass, mean, variance."""

    value: float
    mean: float
    variance: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Total:
    r"""The law of a total loss, tilted, as one side of a bound.

    Args:
        tilt: t > 0.
        log_scale: K.
        start: the least loss in the window.
        spacing: of the lattice.
        sums: :math:`\sum_{i\ge j} w_i e^{-t(S_i-S_j)}` for every j, and a last 0.
        gains: the same with :math:`1 - e^{S_j-S_i}` as a factor.
        unseen: tilted mass to be added for what is outside of the window.
        beyond: logs of P's and Q's mass where any release is beyond its lattice.
        shift: by how much a loss may be larger (of an upper bound) or smaller (of a lower one).
        error: relative, of every sum; 0 <= error < 1.
        is_upper: which side.
    """

    tilt: float
    log_scale: float
    start: float
    spacing: float
    sums: Floats
    gains: Floats
    unseen: float
    beyond: tuple[float, float]
    shift: float
    error: float
    is_upper: bool

    def log_delta(self, epsilons: Floats) -> Floats:
        """A bound of log δ at every ε, shape (n,): from above or from below."""
        side = 1.0 if self.is_upper else -1.0
        at = epsilons - side * (self.shift + 4.0 * EPS * np.abs(epsilons))
        with np.errstate(over="ignore"):
            place = np.clip(np.floor((at - self.start) / self.spacing) + 1.0, 0.0, len(self.sums) - 1.0)
        index = place.astype(np.intp)
        gap = np.maximum(self.start + self.spacing * place - at, 0.0)
        total = (
            np.exp(-self.tilt * gap) * (self.sums[index] * -np.expm1(-gap) + np.exp(-gap) * self.gains[index])
            + self.unseen
        )
        with np.errstate(divide="ignore"):
            log_sum = np.log(total) + (self.log_scale - self.tilt * at)
        rounding = 16.0 * EPS * (4.0 + abs(self.log_scale) + np.abs(self.tilt * at) + self.tilt * gap)
        factor = math.log1p(self.error) if self.is_upper else math.log1p(-self.error)
        log_sum = log_sum + factor + side * rounding
        both = np.logaddexp(log_sum, self._log_beyond(at))
        both = both + side * 8.0 * EPS * (1.0 + np.where(both > -math.inf, np.abs(both), 0.0))
        return np.minimum(both, 0.0)

    def _log_beyond(self, epsilons: Floats) -> Floats:
        """Log of P's mass less e^ε times Q's."""
        p, q = self.beyond
        if p == -math.inf or q == -math.inf:
            return np.full_like(epsilons, p)
        ratio = (q - p + epsilons) + 8.0 * EPS * (abs(p) + abs(q) + np.abs(epsilons))
        with np.errstate(divide="ignore"):
            value: Floats = p + np.log(-np.expm1(np.minimum(ratio, 0.0)))
        return value


def _losses(grid: Grid) -> Floats:
    return grid.offset + grid.spacing * (grid.first + np.arange(len(grid.log_p), dtype=np.float64))


def cumulants(parts: Sequence[tuple[Grid, int]], tilt: float) -> Cumulants:
    """Of the total of (law, times) rows, without what is at infinity."""
    value = mean = variance = 0.0
    for grid, times in parts:
        log_scale, weight, loss = _tilted(grid, tilt)
        centre = float(weight @ loss)
        value += times * log_scale
        mean += times * centre
        variance += times * float(weight @ (loss - centre) ** 2)
    return Cumulants(value, mean, variance)


def _tilted(grid: Grid, tilt: float) -> tuple[float, Floats, Floats]:
    """(k, tilted masses, losses)."""
    loss = _losses(grid)
    exponent = grid.log_p + tilt * loss
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    total = float(weight.sum())
    return top + math.log(total), weight / total, loss


def compose(parts: Sequence[tuple[Grid, int]], tilt: float, *, is_upper: bool) -> Total | None:
    """The composition of (law, times) rows on one spacing, seen from one side.

    Args:
        parts: upper laws for an upper bound, lower ones for a lower.
        tilt: t > 0.
        is_upper: the side.

    Returns:
        The total, or None where the transform would be too long, or rounding would leave nothing certain.
    """
    spacing = parts[0][0].spacing
    pieces = [(grid, times, *_tilted(grid, tilt)) for grid, times in parts]
    log_scale = math.fsum(times * scale for _, times, scale, _, _ in pieces)
    relative = math.fsum(times * _weight_error(grid, tilt, loss) for grid, times, _, _, loss in pieces)
    relative += EPS * (16.0 * sum(times for _, times in parts) + 16.0 * abs(log_scale))
    if not relative < _MOST_DOUBT:
        return None
    left, right = (_window([(weight, loss, times) for _, times, _, weight, loss in pieces], side) for side in (-1, 1))
    means = [times * float(weight @ loss) for _, times, _, weight, loss in pieces]
    mean = math.fsum(means)
    offset = math.fsum(times * grid.offset for grid, times in parts)
    blur = 8.0 * EPS * (math.fsum(map(abs, means)) + math.fsum(times * abs(grid.offset) for grid, times in parts))
    left, right = left + blur, right + blur
    size = _length((left + right) / spacing + 8.0)
    if size is None:
        return None
    mass, error = _convolved([(grid.first, weight, times) for grid, times, _, weight, _ in pieces], size)
    first = math.floor((mean - left - offset) / spacing) - 2
    mass = np.roll(mass, -(first % size))
    mass = np.maximum(mass, 0.0) + error if is_upper else np.maximum(mass - error - _UNSEEN, 0.0)
    start = offset + spacing * first
    sums, gains = _suffixes(mass, tilt * spacing, spacing)
    shift = math.fsum(times * grid.slip for grid, times in parts) if is_upper else 0.0
    shift += 8.0 * EPS * (abs(start) + spacing * size + math.fsum(times * abs(grid.offset) for grid, times in parts))
    return Total(
        tilt,
        log_scale,
        start,
        spacing,
        sums,
        gains,
        _UNSEEN if is_upper else 0.0,
        _beyond(parts, is_upper=is_upper),
        shift,
        math.expm1(relative + 8.0 * EPS * size),
        is_upper,
    )


def _weight_error(grid: Grid, tilt: float, loss: Floats) -> float:
    """How far a tilted mass may be off, relative: exponents and their parts are rounded."""
    some = grid.log_p > -math.inf
    sizes = np.abs(loss[some]) + abs(grid.offset)
    return EPS * (16.0 + 4.0 * float((np.abs(grid.log_p[some]) + 2.0 * tilt * sizes).max()))


def _beyond(parts: Sequence[tuple[Grid, int]], *, is_upper: bool) -> tuple[float, float]:
    """Logs of P's mass and Q's where any release is beyond its lattice: P's rounded to the side, Q's the other way."""
    side = 1.0 if is_upper else -1.0
    p = _log_any([(grid.beyond_p, times) for grid, times in parts], side)
    return p, _log_any([(grid.beyond_q, times) for grid, times in parts], -side)


def _log_any(masses: list[tuple[float, int]], side: float) -> float:
    """Log of 1 - prod (1 - mass)^times, rounded to a side; of a small sum S it is between S - S² and S."""
    terms = [log_mass + math.log(times) for log_mass, times in masses if log_mass > -math.inf]
    if not terms:
        return -math.inf
    if max(log_mass for log_mass, _ in masses) >= 0.0:
        return 0.0
    top = max(terms)
    value = top + math.log(math.fsum(math.exp(term - top) for term in terms))
    if value < _SMALL:
        value = value if side > 0.0 else value + math.log1p(-math.exp(value))
    else:
        total = math.fsum(times * math.log1p(-math.exp(log_mass)) for log_mass, times in masses)
        value = math.log(-math.expm1(total))
    return min(value + side * 16.0 * EPS * (1.0 + abs(value)), 0.0)


def _window(pieces: Sequence[tuple[Floats, Floats, int]], side: int) -> float:
    """How far from the mean the tilted total has at most e^-50 beyond."""
    variance = math.fsum(times * float(weight @ (loss - weight @ loss) ** 2) for weight, loss, times in pieces)
    with np.errstate(divide="ignore"):
        centred = [(np.log(weight), side * (loss - float(weight @ loss)), times) for weight, loss, times in pieces]
    largest = math.fsum(times * float(loss.max()) for _, loss, times in centred)
    spread = max(float(np.abs(loss).max()) for _, loss, _ in centred)
    if not spread > _LEAST_SPREAD:
        return max(largest, 0.0)
    reach = math.inf
    for factor in _TRIES:
        order = min(factor * math.sqrt(2.0 * _NATS / variance) if variance > 0.0 else math.inf, _MOST_NATS / spread)
        bound = _NATS
        for log_weight, loss, times in centred:
            exponent = log_weight + order * loss
            top = float(exponent.max())
            bound += times * (top + math.log(float(np.exp(exponent - top).sum())))
        reach = min(reach, bound / order)
    return min(reach, largest) * (1.0 + 1e-9)


def _length(points: float) -> int | None:
    """The least 2^a or 3 2^a from ``points`` up; None where that is too long."""
    if not points <= _LONGEST:
        return None
    power = 1 << max(math.ceil(math.log2(points)), 3)
    return power * 3 // 4 if power * 3 // 4 >= points else power


def _convolved(pieces: Sequence[tuple[int, Floats, int]], size: int) -> tuple[Floats, float]:
    """Tilted masses of the total, folded to ``size`` places by their index, and by how much each may be off."""
    from scipy.fft import irfft, rfft

    rounding = 8.0 * EPS * math.log2(size)
    value, log_bound = np.ones(1, dtype=np.complex128), np.zeros(1)
    doubts = []
    for first, weight, times in pieces:
        folded = np.bincount((first + np.arange(len(weight))) % size, weight, size)
        each: Complexes = rfft(folded)
        off = rounding * math.sqrt(size) * float(np.linalg.norm(folded)) * (1.0 + 1e-9)
        log_each = np.log(np.abs(each) + 2.0 * off)
        value, log_bound = value * _power(each, times), log_bound + times * log_each
        doubts.append((times, off, log_each))
    mass = irfft(value, size)
    spread = 2.0 * EPS * math.fsum(times for times, _, _ in doubts) * 2.0 * float(np.sum(np.abs(value))) / size
    for times, off, log_each in doubts:
        spread += times * off * math.sqrt(2.0 * float(np.sum(np.exp(2.0 * (log_bound - log_each))))) / size
    return mass, (spread + rounding * float(np.linalg.norm(mass)) * (1.0 + 1e-3)) * (1.0 + 1e-6) + 1e-290


def _power(value: Complexes, times: int) -> Complexes:
    """The array to the power ``times``, by repeated squaring."""
    result = None
    while True:
        if times % 2:
            result = value if result is None else result * value
        times //= 2
        if not times and result is not None:
            return result
        value = value * value


def _suffixes(mass: Floats, decay: float, spacing: float) -> tuple[Floats, Floats]:
    """`Total.sums` and `Total.gains`: positive recursions, in blocks within which exponentials stay in range."""
    sums = _decayed(mass, decay)
    inner = np.append(sums[1:], 0.0) * math.exp(-decay) * -math.expm1(-spacing)
    gains = _decayed(inner, decay + spacing)
    return np.append(sums, 0.0), np.append(gains, 0.0)


def _decayed(mass: Floats, decay: float) -> Floats:
    """Sum over i >= j of mass_i e^{-decay (i-j)}, for every j."""
    size = len(mass)
    length = min(size, max(1, int(_BLOCK / decay)))
    count = -(-size // length)
    padded = np.zeros(count * length)
    padded[:size] = mass
    blocks = padded.reshape(count, length)
    falling = np.exp(-decay * np.arange(length))
    own = np.cumsum((blocks * falling)[:, ::-1], axis=1)[:, ::-1] / falling
    carry, ahead = np.zeros(count), 0.0
    for block in range(count - 1, -1, -1):
        carry[block] = ahead
        ahead = float(own[block, 0]) + ahead * math.exp(-decay * length)
    found: Floats = (own + carry[:, None] * (math.exp(-decay * length) / falling)).reshape(-1)[:size]
    return found
