"""Exact sums of records: integers on a grid so fine that what is cut off is not missed. Private to dpkit.

Every coordinate of a clipped record is cut towards zero to a multiple of a grain, about its bound / 2**30, which never
lengthens the record; grains are added as integers. So the sum has no rounding error, in any order of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpkit._checks import check_arrays
from dpkit._kinds import read
from dpkit.bounded import flatten, rebuild, shapes
from dpkit.errors import ParameterError

__all__ = ["GrainSum", "Scale", "add_records", "from_grains", "grain_sum"]

GrainSum: TypeAlias = Callable[[NDArray[np.float64], Any], NDArray[np.int64]]
"""Rows of shape (n, d) and one record's structure to the sum of the rows' grains."""
Scale: TypeAlias = float | NDArray[np.float64]
"""The bound of all coordinates, or of each."""

_GRAIN_BITS = 30
_EXACT = 2**53  # integers up to here are float64 numbers
_CEILING = 2**62  # sums of grains never wrap: a block adds less than 2**51 to a coordinate
_BLOCK = 1 << 20  # numbers clipped at a time


def add_records(records: Iterable[Any], grains: GrainSum) -> tuple[NDArray[np.int64], Any]:
    """Add the grains of records, given as one array or one by one.

    Args:
        records: array of shape (n, ...), or an iterable of arrays or dicts of arrays of one structure.
        grains: what a block of rows adds, in the order of the first record's arrays.

    Returns:
        The sum, and an array or dict of arrays with the structure of one record.

    Raises:
        ParameterError: no records of one structure.
    """
    if hasattr(records, "__array__") or hasattr(records, "__dlpack__"):
        return _add_array(read("records", records)[0], grains)
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
            first = like
        elif shapes(like) != shapes(first):
            raise ParameterError("records must all have the shapes of the first one; pad or split them.")
        ordered = {name: like[name] for name in first} if isinstance(first, Mapping) else like
        part = grains(flatten(ordered)[np.newaxis, :], first)
        total = part if total is None else _plus(total, part)
    if total is None:
        raise ParameterError("records must have a shape, got an empty iterable; pass an array of shape (0, d).")
    return total, first


def _add_array(records: NDArray[Any], grains: GrainSum) -> tuple[NDArray[np.int64], Any]:
    """The sum over the first axis, in blocks of rows; no rows are one empty block."""
    if records.ndim == 0:
        raise ParameterError("records must have shape (n, ...), got a single number; use a list of records.")
    like = np.empty(records.shape[1:])
    rows = max(1, _BLOCK // max(1, like.size))
    total: Any = 0
    for start in range(0, max(1, records.shape[0]), rows):
        block = records[start : start + rows]
        total = _plus(total, grains(flatten(block).reshape(block.shape[0], like.size), like))
    return np.asarray(total, dtype=np.int64), like


def _plus(total: Any, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum, saturated: 1-Lipschitz in both, so that a record more or less still moves it by no more than itself."""
    return np.asarray(np.clip(total + part, -_CEILING, _CEILING), dtype=np.int64)


def grain_sum(rows: NDArray[np.float64], scale: Scale) -> NDArray[np.int64]:
    """The sum of rows in grains, each entry cut towards zero: float64 of shape (n, d) to int64 of shape (d,)."""
    grains = np.ldexp(rows, _GRAIN_BITS - np.frexp(scale)[1]).astype(np.int64)
    return np.asarray(grains.sum(axis=0), dtype=np.int64)


def from_grains(total: NDArray[np.int64], scale: Scale, like: Any) -> Any:
    """A sum of grains in the structure of one record: float64, read-only, so that its bound cannot part from it.

    Saturation at 2**53 grains is 1-Lipschitz, and below it every integer is a float64 number.
    """
    grains = np.clip(total, -_EXACT, _EXACT).astype(np.float64)
    value = np.ldexp(grains, np.frexp(scale)[1] - _GRAIN_BITS)
    value.setflags(write=False)
    return rebuild(value, like)
