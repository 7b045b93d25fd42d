r"""Noise of a banded Toeplitz strategy: each row takes back part of the rows just before it.

.. math:: n_t = Z_t - R\Big(\sum_{k=1}^{b-1} c_k\, n_{t-k}\Big),

with R the rounding to the lattice: :math:`n = C^{-1} Z` up to rounding for the lower triangular Toeplitz matrix C with
coefficients :math:`1 = c_0 \ge c_1 \ge \dots \ge c_{b-1} \ge 0`. Such coefficients keep both what matters in hand. The
worst pattern of a record is the densest, so that the sensitivity is exact for every participation. And the noise in a
sum of rows is :math:`\sum_k u_k Z_{t-k}` with all :math:`u_k` in [0, 1], because :math:`\sum u_k x^k = 1/(1 - D(x))`
for :math:`D(x) = \sum_k (c_{k-1} - c_k) x^k`, whose coefficients are >= 0 and sum to 1: the recursion is stable, and
no sum has more noise than with independent rows.

The sums in R are integers, so two runs of the rounding differ by less than 2 lattice steps a coordinate:
the δ of :mod:`dpkit.correlated.stream`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accountants.participation import Participation
from accountants.sensitivity import Sensitivity, toeplitz_sensitivity
from dpkit._checks import check_count
from dpkit.correlated._fixed import MAX_TERMS, ONE, combine, nearest
from dpkit.correlated.stream import NoiseStream, check_numbers, check_steps
from dpkit.entropy import Source
from dpkit.errors import ParameterError

__all__ = ["BandedNoise"]

Rows = NDArray[np.int64]

_DRIFT = Fraction(2)  # combine's errors differ by less than 1 + 2**-10


@final
class BandedNoise(NoiseStream):
    """The noise of a banded Toeplitz strategy, a row for each step.

    Memory: one row less than there are bands. With no more bands than steps between two contributions of a record
    (``min_separation``) its sensitivity is that of one contribution times the root of their number.

    Guarantee: see :class:`~dpkit.correlated.stream.NoiseStream`. The rows are the inverse of the strategy times Z to
    within half a lattice step in each recursion (``test_rows_solve_the_banded_recursion``). The sensitivity is that of
    `coefficients`, the numbers that are used (``test_banded_sensitivity_is_that_of_every_pattern``).

    Args:
        like: an array or a dict of arrays; only its structure is kept.
        noise_multiplier: standard deviation of the independent noise Z / bound; finite, > 0.
        bound: the l2 norm of one record's contribution to one step, > 0.
        steps: how many steps there are, from 1 to 2**20.
        bands: how many bands of the square root of the matrix of prefix sums, binom(2k, k) / 4**k; from 1 to 2048.
        coefficients: instead of `bands`, the coefficients c: the first is 1, none is larger than the one before it or
            below 0; rounded to multiples of 2**-31.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range, or not exactly one of `bands` and `coefficients` was given.

    Example:
        >>> stream = BandedNoise(np.zeros(3), noise_multiplier=4.0, bound=1.0, steps=100, bands=4)
        >>> stream.coefficients.round(4)
        array([1.    , 0.5   , 0.375 , 0.3125])
        >>> stream.sensitivity(Participation(steps=100, min_separation=25)).is_exact
        True
        >>> stream.next().shape
        (3,)

    References:
        Choquette-Choo et al. 2023 (arXiv 2306.08153); Kalinin & Lampert 2024 (arXiv 2405.13763) for the square root
        and its bands.
    """

    __slots__ = ("_weights",)

    def __init__(
        self,
        like: Any,
        *,
        noise_multiplier: float,
        bound: float,
        steps: int,
        bands: int | None = None,
        coefficients: ArrayLike | None = None,
        entropy: Source | None = None,
    ) -> None:
        if (bands is None) == (coefficients is None):
            raise ParameterError("exactly one of bands and coefficients must be given; for example bands=16.")
        steps = check_steps(steps)
        given = _root(bands) if coefficients is None else check_numbers("coefficients", coefficients)
        self._weights = _check_falling(given, steps)
        super().__init__(like, noise_multiplier, bound, steps, entropy, drift=_DRIFT)

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """The coefficients of the strategy that are used; float64, shape (bands,)."""
        return np.array(self._weights) / ONE

    def prefix_variance(self) -> NDArray[np.float64]:
        """Return the variance of the noise in the sum of the first t rows.

        Returns:
            float64, shape (steps,), in units of stddev². Takes steps * bands operations.

        Example:
            >>> stream = BandedNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=3, coefficients=[1.0, 0.5])
            >>> stream.prefix_variance()
            array([1.    , 1.25  , 1.8125])
        """
        return np.cumsum(self._responses() ** 2)

    def row_variance(self) -> NDArray[np.float64]:
        """Return the variance of each row by itself.

        Returns:
            float64, shape (steps,), in units of stddev². Takes steps * bands operations.

        Example:
            >>> stream = BandedNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=3, coefficients=[1.0, 0.5])
            >>> stream.row_variance()
            array([1.    , 1.25  , 1.3125])
        """
        return np.cumsum(np.diff(self._responses(), prepend=0.0) ** 2)

    def _responses(self) -> NDArray[np.float64]:
        """How much of a row of Z is in the sum of the rows so far, by the number of steps since."""
        falls = -np.diff(self.coefficients, append=0.0)
        sums = np.zeros(len(falls) + self.steps)  # the latest is at `place`, those before it follow
        for place in range(self.steps - 1, -1, -1):
            sums[place] = falls @ sums[place + 1 : place + 1 + len(falls)] + (place == self.steps - 1)
        return sums[: self.steps][::-1]

    def _sensitivity(self, participation: Participation) -> Sensitivity:
        return toeplitz_sensitivity(self.coefficients, participation)

    def _strategy(self) -> tuple[int, ...]:
        return self._weights

    def _advance(self, drawn: int, kept: tuple[Rows, ...], draw: Callable[[], Rows]) -> tuple[Rows, tuple[Rows, ...]]:
        """Kept are the latest rows, the last first."""
        row = draw()
        if kept:
            row = row - combine(self._weights[1 : len(kept) + 1], kept)
        return row, (row, *kept)[: len(self._weights) - 1]


def _root(bands: Any) -> list[float]:
    """The first coefficients of 1 / sqrt(1 - x)."""
    count = check_count("bands", bands, "one band is independent noise; more are better and take memory.")
    coefficients = [1.0]
    for k in range(1, min(count, MAX_TERMS + 1)):
        coefficients.append(coefficients[-1] * (2 * k - 1) / (2 * k))
    return coefficients


def _check_falling(coefficients: list[float], steps: int) -> tuple[int, ...]:
    """The coefficients as integers over 2**31."""
    if not 1 <= len(coefficients) <= min(steps, MAX_TERMS):
        raise ParameterError(
            f"bands must be 1 to {min(steps, MAX_TERMS)} for {steps} steps, got {len(coefficients)} or more; leave out "
            "the last."
        )
    pairs = zip(coefficients, [*coefficients[1:], 0.0], strict=True)
    if coefficients[0] != 1.0 or any(after > before for before, after in pairs):
        raise ParameterError(
            "coefficients must begin with 1.0, be >= 0 and nowhere increase; divide them, and noise_multiplier, by "
            "the first."
        )
    return tuple(nearest(coefficient) for coefficient in coefficients)
