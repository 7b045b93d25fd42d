"""Clipping: what bounds the contribution of one record, and the sums that keep the bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpkit.bounded import NORMS, Bounded, Norm, flatten, rebuild
from dpkit.errors import ParameterError

__all__ = ["FlatClip", "shrink"]

_SMALLEST, _LARGEST = 2.0**-500, 2.0**500  # bounds far from subnormal coordinates and from overflow
_SLACK = 2.0**-50  # eight roundings of 2**-53; shrink, scaling and the bound itself make four
_GRAIN_BITS = 30  # sums hold multiples of about bound / 2**30 and are exact in int64 for 2**33 records
_EXACT = 2**53  # integers up to here are float64 numbers
_BLOCK = 1 << 20  # numbers clipped at a time


@final
@dataclass(frozen=True, slots=True)
class FlatClip:
    r"""Scale a record down to a norm of at most `bound`; shorter records stay as they are.

    Guarantee: the norm of what :meth:`clip` returns is at most `bound` for the float64 numbers that it holds, not only
    before rounding (``test_clipped_norm_in_exact_arithmetic``). A record with NaN or an infinity becomes zero. For
    :meth:`sum`: one record more or less moves the computed sum by at most `bound`, to the last bit and in any order of
    the records (``test_sum_moves_by_at_most_the_bound``): each coordinate is cut towards zero to a multiple of about
    bound / 2**30 and added in integers.

    Args:
        bound: the largest norm a record may keep, from 2**-500 to 2**500, in units of the record.
        norm: "l2", "l1" or "linf", over the whole record.

    Raises:
        ParameterError: bound or norm out of range.

    Example:
        >>> FlatClip(1.0).clip([3.0, 4.0]).round(6)
        array([0.6, 0.8])
        >>> FlatClip(1.0).sum(np.ones((4, 2)) / 4)
        Bounded(shape=(2,), bound=1.0, norm='l2')

    References:
        Abadi et al. 2016 (arXiv 1607.00133), Algorithm 1; Casacuberta et al. 2022 (arXiv 2207.10635) on float sums.
    """

    bound: float
    norm: Norm = "l2"

    def __post_init__(self) -> None:
        if not isinstance(self.norm, str) or self.norm not in NORMS:
            raise ParameterError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}; the usual one is 'l2'.")
        object.__setattr__(self, "bound", _check_bound(self.bound))

    def clip(self, record: Any) -> Any:
        """Return one record, scaled to a norm of at most the bound.

        Args:
            record: real numbers, any shape and dtype; or a dict of arrays, clipped as one.

        Returns:
            float64 of the same shape, or a dict of such.

        Raises:
            ParameterError: the record does not hold real numbers.

        Example:
            >>> FlatClip(2.0).clip([float("nan"), 1.0])
            array([0., 0.])
        """
        if not isinstance(record, Mapping):
            record = np.asarray(record)
        return rebuild(_clip_rows(flatten(record)[np.newaxis, :], self.bound, self.norm)[0], record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Clip each record and add them, exactly.

        Args:
            records: array of shape (n, ...) whose first axis counts records (n = 0 is fine), or an iterable of arrays
                or of dicts of arrays, all of one structure.

        Returns:
            Bounded float64 sum with this clip's bound and norm. Sums beyond 2**53 grains saturate.

        Raises:
            ParameterError: records of different shapes, no real numbers, or an empty iterable, which has no shape.

        Example:
            >>> FlatClip(1.0).sum(np.empty((0, 3))).value
            array([0., 0., 0.])
        """
        if hasattr(records, "__array__"):
            return self._sum_array(np.asarray(records))
        total: NDArray[np.int64] | None = None
        first: Any = None
        for record in records:
            like = record if isinstance(record, Mapping) else np.asarray(record)
            if total is None:
                first, total = like, np.zeros(flatten(like).size, dtype=np.int64)
            elif _shapes(like) != _shapes(first):
                raise ParameterError("records must all have the shapes of the first one; pad or split them.")
            ordered = {name: like[name] for name in first} if isinstance(first, Mapping) else like
            total += self._grains(flatten(ordered)[np.newaxis, :])
        if total is None:
            raise ParameterError("records must have a shape, got an empty iterable; pass an array of shape (0, d).")
        return self._bounded(total, first)

    def _sum_array(self, records: NDArray[Any]) -> Bounded:
        """The sum over the first axis, in blocks of rows."""
        if records.ndim == 0:
            raise ParameterError("records must have shape (n, ...), got a single number; use a list of records.")
        shape = np.empty(records.shape[1:])
        total = np.zeros(shape.size, dtype=np.int64)
        rows = max(1, _BLOCK // max(1, shape.size))
        for start in range(0, records.shape[0], rows):
            block = records[start : start + rows]
            total += self._grains(flatten(block).reshape(block.shape[0], shape.size))
        return self._bounded(total, shape)

    def _grains(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        """Sum of clipped rows in grains. Cutting towards zero never lengthens a record."""
        clipped = _clip_rows(rows, self.bound, self.norm)
        grains = np.ldexp(clipped, _GRAIN_BITS - math.frexp(self.bound)[1]).astype(np.int64)
        return np.asarray(grains.sum(axis=0), dtype=np.int64)

    def _bounded(self, total: NDArray[np.int64], like: Any) -> Bounded:
        """The sum as float64. Saturation is 1-Lipschitz, and below it every integer is a float64 number."""
        grains = np.clip(total, -_EXACT, _EXACT).astype(np.float64)
        value = np.ldexp(grains, math.frexp(self.bound)[1] - _GRAIN_BITS)
        return Bounded(rebuild(value, like), self.bound, self.norm)


def shrink(norms: ArrayLike, bound: float) -> NDArray[np.float64]:
    """Return the factors that bring records of these norms to the bound: min(1, bound / norm), rounded down.

    A factor below 1 is smaller than bound / norm by 2**-50 of itself, which covers the roundings of the division and
    of one multiplication in float64 (``test_shrink_in_exact_arithmetic``). `norms` should be upper bounds of the true
    norms. A norm that is not finite gives 0, and so does a factor that would be subnormal.

    Args:
        norms: norms of records, >= 0, any shape.
        bound: the largest norm a record may keep, from 2**-500 to 2**500.

    Returns:
        float64 factors in [0, 1], the shape of `norms`.

    Raises:
        ParameterError: bound out of range.

    Example:
        >>> shrink([0.5, 4.0, float("inf")], 1.0).round(6)
        array([1.  , 0.25, 0.  ])
    """
    bound = _check_bound(bound)
    norms = np.asarray(norms, dtype=np.float64)
    within = norms <= bound
    usable = np.isfinite(norms) & ~within
    factors = bound * (1.0 - _SLACK) / np.where(usable, norms, 1.0)
    normal = factors >= np.finfo(np.float64).tiny  # a subnormal factor may be rounded up by more than the slack
    return np.where(within, 1.0, np.where(usable & normal, factors, 0.0))


def _clip_rows(rows: NDArray[np.float64], bound: float, norm: str) -> NDArray[np.float64]:
    """Every row scaled to a norm of at most `bound`; (n, d) to (n, d).

    Rows are first scaled by a power of two to a largest coordinate in [1/2, 1), so that no square overflows.
    """
    peaks = np.abs(rows).max(axis=1, initial=0.0)
    finite = np.isfinite(peaks)
    rows = np.where(finite[:, np.newaxis], rows, 0.0)
    exponents = np.frexp(np.where(finite, peaks, 0.0))[1]
    scaled = np.ldexp(rows, -exponents[:, np.newaxis])
    norms = _norms_from_above(scaled, norm)
    with np.errstate(over="ignore"):
        within = norms <= np.ldexp(bound, -exponents)
    factors = bound * (1.0 - _SLACK) / np.where(within, 1.0, norms)
    return np.where(within[:, np.newaxis], rows, scaled * factors[:, np.newaxis])


def _norms_from_above(rows: NDArray[np.float64], norm: str) -> NDArray[np.float64]:
    """Norms of rows with coordinates in [-1, 1], rounded up.

    A sum of d numbers of one sign is off by at most d roundings of 2**-53 in any order; eight more cover the squares,
    the root, this product and what underflows.
    """
    if norm == "linf":
        return np.asarray(np.abs(rows).max(axis=1, initial=0.0))
    upward = 1.0 + (rows.shape[1] + 8) * 2.0**-53
    if norm == "l1":
        return np.asarray(np.abs(rows).sum(axis=1) * upward)
    return np.asarray(np.sqrt(np.square(rows).sum(axis=1)) * upward)


def _shapes(value: Any) -> Any:
    """The structure of a record: a shape, or shapes by name."""
    if isinstance(value, Mapping):
        return {name: tuple(np.shape(array)) for name, array in value.items()}
    return value.shape


def _check_bound(bound: Any) -> float:
    """A bound that float64 can keep exactly, or a clear error."""
    if isinstance(bound, (bool, np.bool_)) or not isinstance(bound, Real):
        raise ParameterError(f"bound must be a number, got {type(bound).__name__}; give the clipping norm.")
    if not _SMALLEST <= float(bound) <= _LARGEST:
        raise ParameterError(
            f"bound must be finite and > 0 (from 2**-500 to 2**500), got {float(bound)!r}; give the clipping norm."
        )
    return float(bound)
