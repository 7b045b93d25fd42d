r"""Noise of a buffered linear Toeplitz strategy (BLT): all earlier rows are taken back in part, from a few buffers.

.. math:: n_t = Z_t - R\Big(\sum_{j} \omega_j S_{j,t}\Big),\qquad S_{j,t+1} = R'(\lambda_j S_{j,t}) + n_t,
   \qquad S_{j,1} = 0,

with R, R' roundings to the lattice and to one 256 times finer: :math:`n = C^{-1} Z` up to rounding for the Toeplitz
matrix C with coefficients :math:`c_0 = 1`, :math:`c_k = \sum_j \omega_j \lambda_j^{k-1}`. With
:math:`\omega_j > 0`, :math:`0 \le \lambda_j < 1` and :math:`\sum \omega_j \le 1` they are >= 0 and nowhere increase,
which makes the recursion stable and the sensitivity exact for every participation (:mod:`dpkit.correlated.banded`).

*Rounding.* Two runs of the rounding in buffer j differ by at most 1/256 lattice step each time, and what was left is
shrunk by :math:`\lambda_j`, so that the buffers contribute at most :math:`\sum_j \omega_j \sum_{k<n} \lambda_j^k / 256`
to the δ of :mod:`dpkit.correlated.stream`, and R itself less than 1.02.

*Buffers of the root.* The square root of the matrix of prefix sums, which no Toeplitz strategy beats by much, has
coefficients :math:`\binom{2k}{k} 4^{-k} = \frac2\pi \int_0^{\pi/2} \cos^{2k}\theta\, d\theta`: a mixture of all decays
:math:`\lambda = \cos^2\theta` with weights :math:`\frac2\pi \cos^2\theta\, d\theta`. Cut into a bin below
:math:`\theta = 1.5 / \sqrt n`, which n steps cannot tell from 0, and bins of equal ratio above, each bin gives a
buffer: ω is its mass and λ its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accountants.participation import Participation
from accountants.sensitivity import Sensitivity, toeplitz_sensitivity
from dpkit._checks import check_count
from dpkit.correlated._fixed import ONE, combine, nearest
from dpkit.correlated.stream import NoiseStream, check_numbers, check_steps
from dpkit.entropy import Source
from dpkit.errors import ParameterError

__all__ = ["BufferedToeplitzNoise"]

Rows = NDArray[np.int64]

_FINER_BITS = 8  # buffers count in 1/256 of a lattice step
_MOST_BUFFERS = 64
_NARROWEST = 1.5  # the lowest bin ends at this / sqrt(steps); from 1 to 2 the error hardly changes


@final
class BufferedToeplitzNoise(NoiseStream):
    """The noise of a buffered linear Toeplitz strategy, a row for each step.

    Memory: one row for each buffer.

    Guarantee: see :class:`~dpkit.correlated.stream.NoiseStream`. The rows are the inverse of the strategy times Z to
    within a stated rounding (``test_rows_solve_the_buffered_recursion``). The sensitivity is that of the scales and
    decays that are used, rounded up (``test_buffered_sensitivity_is_that_of_every_pattern``).

    Args:
        like: an array or a dict of arrays; only its structure is kept.
        noise_multiplier: standard deviation of the independent noise Z / bound; finite, > 0.
        bound: the l2 norm of one record's contribution to one step, > 0.
        steps: how many steps there are, from 1 to 2**20.
        buffers: how many buffers of the square root of the matrix of prefix sums, from 2 to 64. Four are within 2 % of
            its error for a thousand steps, six for ten thousand.
        output_scale: instead of `buffers`, ω, shape (buffers,): each > 0, their sum at most 1; rounded to multiples of
            2**-31.
        buf_decay: λ, shape (buffers,): each in [0, 1); rounded to multiples of 2**-31.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range, or not exactly one of `buffers` and the two arrays was given.

    Example:
        >>> stream = BufferedToeplitzNoise(np.zeros(3), noise_multiplier=4.0, bound=1.0, steps=100, buffers=3)
        >>> stream.sensitivity(Participation(steps=100, min_separation=25)).is_exact
        True
        >>> stream.next().shape
        (3,)

    References:
        McMahan, Xu & Zhang 2024 (arXiv 2408.08868); Dvijotham et al. 2024 (arXiv 2404.16706).
    """

    __slots__ = ("_decays", "_scales")

    def __init__(
        self,
        like: Any,
        *,
        noise_multiplier: float,
        bound: float,
        steps: int,
        buffers: int | None = None,
        output_scale: ArrayLike | None = None,
        buf_decay: ArrayLike | None = None,
        entropy: Source | None = None,
    ) -> None:
        steps = check_steps(steps)
        if (buffers is None) == (output_scale is None) or (output_scale is None) != (buf_decay is None):
            raise ParameterError("give either buffers or output_scale and buf_decay; for example buffers=4.")
        if output_scale is None or buf_decay is None:
            output_scale, buf_decay = _root_buffers(buffers, steps)
        self._scales, self._decays = _check_buffers(output_scale, buf_decay)
        super().__init__(like, noise_multiplier, bound, steps, entropy, drift=_drift(self._scales, self._decays, steps))

    @property
    def output_scale(self) -> NDArray[np.float64]:
        """The ω that are used; float64, shape (buffers,)."""
        return np.array(self._scales) / ONE

    @property
    def buf_decay(self) -> NDArray[np.float64]:
        """The λ that are used; float64, shape (buffers,)."""
        return np.array(self._decays) / ONE

    def prefix_variance(self) -> NDArray[np.float64]:
        """Return the variance of the noise in the sum of the first t rows.

        Returns:
            float64, shape (steps,), in units of stddev².

        Example:
            >>> stream = BufferedToeplitzNoise(
            ...     np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=3, output_scale=[0.5], buf_decay=[0.0]
            ... )
            >>> stream.prefix_variance()
            array([1.    , 1.25  , 1.8125])
        """
        return np.cumsum(np.cumsum(self._responses()) ** 2)

    def row_variance(self) -> NDArray[np.float64]:
        """Return the variance of each row by itself.

        Returns:
            float64, shape (steps,), in units of stddev².

        Example:
            >>> stream = BufferedToeplitzNoise(
            ...     np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=3, output_scale=[0.5], buf_decay=[0.0]
            ... )
            >>> stream.row_variance()
            array([1.    , 1.25  , 1.3125])
        """
        return np.cumsum(self._responses() ** 2)

    def _responses(self) -> NDArray[np.float64]:
        """How much of a row of Z is in a row, by the number of steps between them."""
        scales, decays = self.output_scale, self.buf_decay
        buffers, rows = np.zeros(len(scales)), np.empty(self.steps)
        for place in range(self.steps):
            rows[place] = float(place == 0) - float(scales @ buffers)
            buffers = decays * buffers + rows[place]
        return rows

    def _sensitivity(self, participation: Participation) -> Sensitivity:
        return toeplitz_sensitivity(_coefficients_up(self.output_scale, self.buf_decay, self.steps), participation)

    def _strategy(self) -> tuple[int, ...]:
        return (*self._scales, *self._decays)

    def _advance(self, drawn: int, kept: tuple[Rows, ...], draw: Callable[[], Rows]) -> tuple[Rows, tuple[Rows, ...]]:
        """Kept are the buffers, in 1/256 of a lattice step."""
        row = draw()
        buffers = kept or tuple(np.zeros_like(row) for _ in self._scales)
        finer = combine(self._scales, buffers)
        row = row - ((finer + (1 << (_FINER_BITS - 1))) >> _FINER_BITS)
        row_finer = row << _FINER_BITS
        pairs = zip(self._decays, buffers, strict=True)
        return row, tuple(combine([decay], [buffer]) + row_finer for decay, buffer in pairs)


def _root_buffers(buffers: Any, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ω and λ of the bins of the square root."""
    count = check_count("buffers", buffers, "each takes a row of memory; four serve a thousand steps.", least=2)
    edges = np.concatenate([[0.0], np.geomspace(_NARROWEST / math.sqrt(steps), math.pi / 2, min(count, 1024))])
    masses = np.diff(edges + np.sin(2 * edges) / 2) / math.pi
    moments = np.diff(3 * edges + 2 * np.sin(2 * edges) + np.sin(4 * edges) / 4) / (4 * math.pi)
    return masses, moments / masses


def _coefficients_up(scales: NDArray[np.float64], decays: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """c, rounded up and nowhere increasing: no larger than it need be, for then the worst pattern is known.

    A power of k factors, the product and a sum of j terms err by less than k + j + 1 roundings of 2**-53, of which the
    factor takes twice as many; where powers underflow, 2**-1000 is larger.
    """
    powers = np.cumprod(np.broadcast_to(decays, (steps, len(decays))), axis=0)
    later = np.concatenate([np.ones((1, len(decays))), powers])[: steps - 1] @ scales
    upward = 1.0 + (np.arange(1, steps) + len(scales) + 8) * 2.0**-52
    column = np.concatenate([[1.0], later * upward + 2.0**-1000])
    return np.maximum.accumulate(column[::-1])[::-1]


def _drift(scales: tuple[int, ...], decays: tuple[int, ...], steps: int) -> Fraction:
    """By how many lattice steps two roundings of one row can differ, rounded up."""
    buffers = Fraction(0)
    for scale, decay in zip(scales, decays, strict=True):
        longest = min(Fraction(steps), Fraction(ONE, ONE - decay))  # bounds the sum of the powers
        buffers += Fraction(scale, ONE) * longest
    return Fraction(51, 50) + buffers / (1 << _FINER_BITS)


def _check_buffers(output_scale: ArrayLike, buf_decay: ArrayLike) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scales and decays as integers over 2**31."""
    scales, decays = check_numbers("output_scale", output_scale), check_numbers("buf_decay", buf_decay)
    if len(scales) != len(decays) or not 1 <= len(scales) <= _MOST_BUFFERS:
        raise ParameterError(
            f"output_scale and buf_decay must have one length from 1 to {_MOST_BUFFERS}, got {len(scales)} and "
            f"{len(decays)}; give one of each for each buffer."
        )
    if not all(0.0 <= decay < 1.0 for decay in decays):
        raise ParameterError("buf_decay must be in [0, 1); what lies outside is no decay.")
    if not all(scale > 0.0 for scale in scales):
        raise ParameterError("output_scale must be > 0; leave out buffers that are not used.")
    weights = tuple(nearest(scale) for scale in scales)
    if sum(weights) > ONE:
        raise ParameterError("output_scale must sum to at most 1; then coefficients never increase.")
    return weights, tuple(min(nearest(decay), ONE - 1) for decay in decays)
