"""Clipping by groups: every named array of a record within a bound of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpkit._checks import check_arrays, check_within
from dpkit._grains import add_records, from_grains, grain_sum
from dpkit._rows import clip_factors, clip_rows
from dpkit.bounded import Bounded, Norm, flatten, rebuild
from dpkit.clip import BOUNDS
from dpkit.errors import ParameterError
from dpkit.samplers import root_up

__all__ = ["GroupClip"]

_ADVICE = "give the clipping norm of each array."


@final
@dataclass(frozen=True, slots=True)
class GroupClip:
    r"""Clip each named array of a record to an l2 bound of its own.

    A record is then bounded by :attr:`bound`, the root of the sum of the squares: clipping each of k layers to C is not
    a bound of C but of :math:`\sqrt k\,C`.

    Guarantee: as of :class:`~dpkit.clip.FlatClip`, for every array by itself and for the record as a whole
    (``test_each_group_keeps_its_bound``, ``test_sum_moves_by_at_most_the_bound``). A record with NaN or an infinity in
    any of its arrays becomes zero in all. The grains of an array are those of its own bound, so small ones keep their
    precision beside large ones.

    Args:
        bounds: the largest l2 norm of each array by its name, from 2**-500 to 2**500; at least one.

    Attributes:
        bound: l2 norm of a whole record, rounded up.
        norm: "l2".

    Raises:
        ParameterError: no dict of bounds, or one out of range.

    Example:
        >>> clip = GroupClip({"weight": 3.0, "bias": 4.0})
        >>> clip.bound
        5.0
        >>> clip.clip({"weight": np.array([6.0, 0.0]), "bias": np.array([2.0])})["weight"].round(6)
        array([3., 0.])

    References:
        McMahan et al. 2018 (arXiv 1812.06210), section 3; He et al. 2023 (arXiv 2212.01539).
    """

    bounds: Mapping[str, float]
    bound: float = field(init=False)
    norm: Norm = field(init=False, default="l2")

    def __post_init__(self) -> None:
        if not isinstance(self.bounds, Mapping) or not self.bounds:
            raise ParameterError(
                f"bounds must be a dict of bounds by name, got {type(self.bounds).__name__}"
                f"{' without names' if isinstance(self.bounds, Mapping) else ''}; for one bound use FlatClip(bound)."
            )
        bounds = {name: check_within("bound", b, *BOUNDS, _ADVICE) for name, b in self.bounds.items()}
        object.__setattr__(self, "bounds", MappingProxyType(bounds))
        whole = root_up(sum((Fraction(bound) ** 2 for bound in bounds.values()), Fraction(0)))
        object.__setattr__(self, "bound", check_within("bound", whole, BOUNDS[0], 2 * BOUNDS[1], _ADVICE))

    def __hash__(self) -> int:
        return hash(frozenset(self.bounds.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupClip, (dict(self.bounds),)

    def clip(self, record: Any) -> Any:
        """Return one record, each of its arrays scaled to a norm of at most its bound.

        Args:
            record: dict of arrays of real numbers, with exactly the names of `bounds`.

        Returns:
            dict of float64 arrays of the same shapes.

        Raises:
            ParameterError: another structure, or no real numbers.

        Example:
            >>> GroupClip({"a": 1.0}).clip({"a": [0.5]})
            {'a': array([0.5])}
        """
        record = check_arrays("record", record)
        self._check_names(record)
        return rebuild(self._clipped(flatten(record)[np.newaxis, :], record)[0], record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Clip each record and add them, exactly.

        Args:
            records: iterable of dicts of arrays of one structure, with exactly the names of `bounds`.

        Returns:
            Bounded dict of float64 sums, read-only. A coordinate saturates at 2**53 grains, which is
            2**23 bounds at least: add more records of one sign in parts, by ``Bounded.disjoint``.

        Raises:
            ParameterError: records of another structure, no real numbers, or no records, which have no shape.

        Example:
            >>> GroupClip({"a": 1.0, "b": 1.0}).sum([{"a": [0.5], "b": [0.5]}] * 3).value["b"]
            array([1.5])
        """
        total, like = add_records(records, self._grains)
        return Bounded(from_grains(total, self._scales(like), like), self.bound, self.norm)

    def factors(self, norms: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
        """Return what to multiply each array of records by; see :meth:`~dpkit.clip.FlatClip.factors`.

        Args:
            norms: l2 norms of the records' arrays, each of shape (n,), by name.

        Returns:
            float64 factors in [0, 1] of shape (n,) by name; 0 in all where any norm of a record is not a finite norm.

        Raises:
            ParameterError: the names are not those of `bounds`, or the shapes differ.

        Example:
            >>> GroupClip({"a": 1.0, "b": 1.0}).factors({"a": [2.0, 2.0], "b": [1.0, np.nan]})["a"].round(6)
            array([0.5, 0. ])
        """
        self._check_names(norms)
        factors = {name: clip_factors(norms[name], bound) for name, bound in self.bounds.items()}
        if len({factor.shape for factor in factors.values()}) > 1:
            raise ParameterError("norms must have one shape for all names; give one norm of each record.")
        usable = np.all([factor > 0 for factor in factors.values()], axis=0)
        return {name: np.where(usable, factor, 0.0) for name, factor in factors.items()}

    def _check_names(self, record: Any) -> None:
        """Refuse a structure that is not the one of the bounds; a record's own names may be data, and are not told."""
        wanted = ", ".join(map(str, self.bounds))
        if not isinstance(record, Mapping):
            raise ParameterError(
                f"a record must be a dict of the arrays {wanted}, got {type(record).__name__}; name each array."
            )
        if record.keys() != self.bounds.keys():
            lacking = ", ".join(str(name) for name in self.bounds if name not in record)
            others = sum(name not in self.bounds for name in record)
            raise ParameterError(
                f"a record must hold the arrays {wanted}, got one that lacks {lacking or 'none'} and has {others} "
                "other(s); give each array a bound, and each bound an array."
            )

    def _clipped(self, rows: NDArray[np.float64], like: Any) -> NDArray[np.float64]:
        """Every array of every row within its bound; a row that is not finite is zero throughout."""
        rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)
        ends = np.cumsum(_sizes(like))[:-1]
        parts = zip(np.split(rows, ends, axis=1), like, strict=True)
        return np.concatenate([clip_rows(part, self.bounds[name], self.norm)[0] for part, name in parts], axis=1)

    def _grains(self, rows: NDArray[np.float64], like: Any) -> NDArray[np.int64]:
        """Sum of clipped rows in grains."""
        self._check_names(like)
        return grain_sum(self._clipped(rows, like), self._scales(like))

    def _scales(self, like: Any) -> NDArray[np.float64]:
        """The bound that each coordinate's grains come from."""
        return np.repeat([self.bounds[name] for name in like], _sizes(like))


def _sizes(like: Mapping[str, Any]) -> list[int]:
    """How many numbers each array holds."""
    return [math.prod(array.shape) for array in like.values()]
