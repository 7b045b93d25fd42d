"""Clipping: what bounds the contribution of one record, and the sums that keep the bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpkit._checks import check_arrays, check_within
from dpkit._grains import add_records, from_grains, grain_sum
from dpkit._rows import clip_factors, clip_rows, normalize_factors, normalize_rows
from dpkit.bounded import NORMS, Bounded, Norm, flatten, rebuild
from dpkit.errors import ParameterError

__all__ = ["BOUNDS", "Clip", "FlatClip", "NormalizeClip"]

BOUNDS = (2.0**-500, 2.0**500)
"""Smallest and largest bound: far from subnormal coordinates and from overflow."""
_ADVICE = "give the clipping norm."


class Clip(Protocol):
    """What every clip offers: the bound of one record, and sums that keep it."""

    @property
    def bound(self) -> float:
        """The largest norm of one record's contribution."""

    @property
    def norm(self) -> Norm:
        """The norm of the bound, over all arrays of a record together."""

    def clip(self, record: Any, /) -> Any:
        """One record within the bound."""

    def sum(self, records: Iterable[Any], /) -> Bounded:
        """The sum of the clipped records."""


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
        _check_norm(self.norm)
        object.__setattr__(self, "bound", check_within("bound", self.bound, *BOUNDS, _ADVICE))

    def clip(self, record: Any) -> Any:
        """Return one record, scaled to a norm of at most the bound.

        Args:
            record: real numbers, any shape and dtype; or a dict of arrays, clipped as one. Integers become float64.

        Returns:
            float64 of the same shape, or a dict of such, whatever came: rounding to a narrower type afterwards may
            lengthen a record past the bound.

        Raises:
            ParameterError: the record does not hold real numbers.

        Example:
            >>> FlatClip(2.0).clip([float("nan"), 1.0])
            array([0., 0.])
        """
        record = check_arrays("record", record)
        return rebuild(clip_rows(flatten(record)[np.newaxis, :], self.bound, self.norm)[0][0], record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Clip each record and add them, exactly.

        Args:
            records: array of shape (n, ...) whose first axis counts records (n = 0 is fine), or an iterable of arrays
                or of dicts of arrays, all of one structure.

        Returns:
            Bounded float64 sum with this clip's bound and norm, read-only, so that no scaling in place can part it from
            its bound. A coordinate saturates at 2**53 grains, which is
            2**23 bounds at least: add more records of one sign in parts, by ``Bounded.disjoint``.

        Raises:
            ParameterError: records of different shapes, no real numbers, or an empty iterable, which has no shape.

        Example:
            >>> FlatClip(1.0).sum(np.empty((0, 3))).value
            array([0., 0., 0.])
        """
        total, like = add_records(records, self._grains)
        return Bounded(from_grains(total, self.bound, like), self.bound, self.norm)

    def factors(self, norms: ArrayLike) -> NDArray[np.float64]:
        """Return what to multiply records of these norms by, where the records themselves are elsewhere.

        Guarantee: factor * norm is at most the bound in exact arithmetic (``test_factors_keep_the_bound``), so norms
        that were rounded up give records within the bound, up to the rounding of the products.

        Args:
            norms: norms of records in this clip's norm, any shape.

        Returns:
            float64 in [0, 1], the shape of `norms`; 0 where a number is not a finite norm.

        Example:
            >>> FlatClip(1.0).factors([0.5, 2.0, float("inf")]).round(6)
            array([1. , 0.5, 0. ])
        """
        return clip_factors(norms, self.bound)

    def _grains(self, rows: NDArray[np.float64], _: Any) -> NDArray[np.int64]:
        """Sum of clipped rows in grains."""
        return grain_sum(clip_rows(rows, self.bound, self.norm)[0], self.bound)


@final
@dataclass(frozen=True, slots=True)
class NormalizeClip:
    r"""Scale every record to nearly the same length: :math:`g \mapsto C g / (\|g\| + \gamma)` (AUTO-S).

    There is no threshold to tune: bound and learning rate are one parameter. The stability :math:`\gamma` keeps short
    records shorter than long ones, which is what training needs to converge; 0.01 is usual for gradients.

    Guarantee: the norm of what :meth:`clip` returns is below `bound` for the float64 numbers that it holds
    (``test_normalized_norm_in_exact_arithmetic``), and sums move by at most `bound` as of :class:`FlatClip`
    (``test_sum_moves_by_at_most_the_bound``). A record with NaN or an infinity becomes zero.

    Args:
        bound: what no record reaches, from 2**-500 to 2**500.
        stability: gamma > 0, from 2**-500 to 2**500, in units of the record.
        norm: "l2", "l1" or "linf", over the whole record.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> NormalizeClip(1.0, stability=5.0).clip([3.0, 4.0]).round(6)
        array([0.3, 0.4])

    References:
        Bu, Wang, Zha & Karypis 2022 (arXiv 2206.07136), AUTO-S.
    """

    bound: float
    stability: float
    norm: Norm = "l2"

    def __post_init__(self) -> None:
        _check_norm(self.norm)
        object.__setattr__(self, "bound", check_within("bound", self.bound, *BOUNDS, _ADVICE))
        stability = check_within("stability", self.stability, *BOUNDS, "0.01 is usual for gradients.")
        object.__setattr__(self, "stability", stability)

    def clip(self, record: Any) -> Any:
        """Return one record, scaled to a norm below the bound.

        Args:
            record: real numbers, any shape and dtype; or a dict of arrays, scaled as one.

        Returns:
            float64 of the same shape, or a dict of such.

        Raises:
            ParameterError: the record does not hold real numbers.

        Example:
            >>> NormalizeClip(1.0, 0.01).clip([0.0, 0.0])
            array([0., 0.])
        """
        record = check_arrays("record", record)
        return rebuild(self._scaled(flatten(record)[np.newaxis, :])[0], record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Scale each record and add them, exactly; see :meth:`FlatClip.sum`.

        Args:
            records: array of shape (n, ...), or an iterable of arrays or of dicts of arrays, all of one structure.

        Returns:
            Bounded float64 sum with this clip's bound and norm, read-only.

        Raises:
            ParameterError: records of different shapes, no real numbers, or an empty iterable, which has no shape.

        Example:
            >>> NormalizeClip(1.0, 1.0).sum([[1.0], [3.0]]).value.round(6)
            array([1.25])
        """
        total, like = add_records(records, self._grains)
        return Bounded(from_grains(total, self.bound, like), self.bound, self.norm)

    def factors(self, norms: ArrayLike) -> NDArray[np.float64]:
        """Return bound / (norm + stability) for each norm; see :meth:`FlatClip.factors`.

        Args:
            norms: norms of records in this clip's norm, any shape.

        Returns:
            float64 >= 0, the shape of `norms`; 0 where a number is not a finite norm.

        Example:
            >>> NormalizeClip(1.0, 1.0).factors([1.0, 3.0]).round(6)
            array([0.5 , 0.25])
        """
        return normalize_factors(norms, self.bound, self.stability)

    def _scaled(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Every row below the bound."""
        return normalize_rows(rows, self.bound, self.stability, self.norm)

    def _grains(self, rows: NDArray[np.float64], _: Any) -> NDArray[np.int64]:
        """Sum of scaled rows in grains."""
        return grain_sum(self._scaled(rows), self.bound)


def _check_norm(norm: object) -> None:
    """One of the three norms."""
    if not isinstance(norm, str) or norm not in NORMS:
        raise ParameterError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}; the usual one is 'l2'.")
