"""Clipping: what bounds the contribution of one record, and the sums that keep the bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._checks import check_arrays, check_within
from dpkit.bounded import NORMS, Bounded, Norm, flatten, rebuild, shapes
from dpkit.errors import ParameterError

__all__ = ["FlatClip"]

_SMALLEST, _LARGEST = 2.0**-500, 2.0**500  # bounds far from subnormal coordinates and from overflow
_SLACK = 2.0**-50  # eight roundings of 2**-53; the factor, scaling and the bound itself make four
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
        bound = check_within("bound", self.bound, _SMALLEST, _LARGEST, "give the clipping norm.")
        object.__setattr__(self, "bound", bound)

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
        record = check_arrays("record", record)
        return rebuild(_clip_rows(flatten(record)[np.newaxis, :], self.bound, self.norm)[0], record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Clip each record and add them, exactly.

        Args:
            records: array of shape (n, ...) whose first axis counts records (n = 0 is fine), or an iterable of arrays
                or of dicts of arrays, all of one structure.

        Returns:
            Bounded float64 sum with this clip's bound and norm, read-only, so that no scaling in place can part it from
            its bound. Sums beyond 2**53 grains saturate.

        Raises:
            ParameterError: records of different shapes, no real numbers, or an empty iterable, which has no shape.

        Example:
            >>> FlatClip(1.0).sum(np.empty((0, 3))).value
            array([0., 0., 0.])
        """
        if hasattr(records, "__array__"):
            return self._sum_array(np.asarray(records))
        if isinstance(records, Mapping) or not isinstance(records, Iterable):
            raise ParameterError(
                f"records must be an array or an iterable of records, got {type(records).__name__}; a single record "
                "goes into a list."
            )
        total: NDArray[np.int64] | None = None
        first: Any = None
        for record in records:
            like = check_arrays("records", record)
            if total is None:
                first, total = like, np.zeros(flatten(like).size, dtype=np.int64)
            elif shapes(like) != shapes(first):
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
        value.setflags(write=False)
        return Bounded(rebuild(value, like), self.bound, self.norm)


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
