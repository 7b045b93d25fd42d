"""Checks of arguments, made once where they enter: plans, codecs, sessions. They never print data."""

from __future__ import annotations

import math
import numbers
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError

__all__ = [
    "check_bytes",
    "check_finite",
    "check_fraction",
    "check_integer",
    "check_unmasked",
    "check_vector",
    "check_words",
    "dropped_parties",
]

_MOST_DIMENSIONS = 64
"""Of numpy's arrays."""


def check_integer(name: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """`value` as an int in ``[at_least, at_most]``; bools, floats and the rest are refused."""
    if type(value) is not int and (isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral)):
        raise ParameterError(f"{name} must be an integer, got {type(value).__name__}.")
    number = int(value)
    if number < at_least or (at_most is not None and number > at_most):
        wanted = f">= {at_least}" if at_most is None else f"in [{at_least}, {at_most}]"
        raise ParameterError(f"{name} must be {wanted}, got {number}.")
    return number


def check_finite(name: str, value: object) -> float:
    """`value` as a finite float; bools and what is no real number are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ParameterError(f"{name} must be a real number, got {type(value).__name__}.")
    try:
        number = float(value)
    except OverflowError:
        raise ParameterError(f"{name} must be finite as a float, got a larger {type(value).__name__}.") from None
    if not math.isfinite(number):
        raise ParameterError(f"{name} must be finite, got {number}.")
    return number


def check_fraction(name: str, value: object) -> Fraction:
    """`value` in [0, 1), a fraction of the parties, exactly as the decimal that was typed (0.29 is 29/100)."""
    fraction = check_finite(name, value)
    if not 0.0 <= fraction < 1.0:
        raise ParameterError(f"{name} must be in [0, 1), a fraction of num_parties, got {fraction}.")
    return Fraction(repr(fraction))


def dropped_parties(dropout: object, num_parties: int) -> int:
    """The fraction `dropout` of the parties, floored; read as the decimal that was typed (0.29 of 100 is 29)."""
    return math.floor(check_fraction("dropout", dropout) * num_parties)


def check_unmasked(name: str, array: Any) -> NDArray[Any]:
    """`array` as an array; masked arrays, or lists with one, are refused: what is masked would be sent after all."""
    if _has_mask(array, _MOST_DIMENSIONS):
        raise ParameterError(f"{name} must not be a masked array; fill in what is masked first.")
    return np.asarray(array)


def _has_mask(array: Any, levels: int) -> bool:
    """Whether there is a masked array in lists of lists, as deep as numpy looks for rows."""
    if isinstance(array, (list, tuple)):
        has_rows = levels > 0 and not {*map(type, array)} <= {int, float}  # long lists of numbers are soon done
        return has_rows and any(_has_mask(row, levels - 1) for row in array)
    return isinstance(array, np.ma.MaskedArray)


def check_words(name: str, words: Any) -> NDArray[np.uint64]:
    """`words` as an array of dtype uint64 and one dimension; nothing is converted."""
    array = check_unmasked(name, words)
    if array.dtype != np.uint64 or array.ndim != 1:
        raise ParameterError(
            f"{name} must be an array of dtype uint64 and shape (m,), got {array.dtype} and {array.shape}."
        )
    return array


def check_vector(name: str, vector: Any, *, shape: tuple[int, ...], value_bits: int) -> NDArray[np.uint64]:
    """A fresh uint64 copy of integers in ``[0, 2**value_bits)``; which entry is out of range is not told."""
    array = check_unmasked(name, vector)
    if array.shape != shape:
        raise ParameterError(f"{name} must have shape {shape}, got {array.shape}.")
    if array.dtype.kind not in "iu":
        raise ParameterError(
            f"{name} must have an integer dtype, got {array.dtype}; encode reals first, with FixedPoint or by integer "
            "noise shares."
        )
    if array.size and (int(array.min()) < 0 or int(array.max()) >> value_bits):
        raise ParameterError(
            f"{name} must hold integers in [0, 2**{value_bits}), got values outside; use offset_encode for signed "
            "integers."
        )
    return array.astype(np.uint64)


def check_bytes(name: str, value: object, length: int) -> bytes:
    """`value` as bytes of exactly `length`; which bytes they are is not told."""
    if not isinstance(value, bytes):
        raise ParameterError(f"{name} must be {length} bytes, got {type(value).__name__}.")
    if len(value) != length:
        raise ParameterError(f"{name} must be {length} bytes, got {len(value)}.")
    return value
