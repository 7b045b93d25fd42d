"""Rows within a bound: every record of a block scaled so that its norm holds after rounding. Private to dpkit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpkit._kinds import read

__all__ = ["clip_factors", "clip_rows", "normalize_factors", "normalize_rows", "norms_within"]

Rows = NDArray[np.float64]

_UNIT = 2.0**-53  # relative error of one rounding
_EXACT = 2.0**53  # integers below are float64 numbers


def clip_rows(rows: Rows, bound: float, norm: str) -> tuple[Rows, NDArray[np.bool_]]:
    """Every row scaled down to a norm of at most `bound`, and which rows were within it as they came.

    Rows that are not finite become zero, and are not within. Clipping twice is clipping once: the slack of the factor
    is more than what the norm is rounded up by.

    Args:
        rows: float64, shape (n, d).
        bound: from 2**-500 to 2**500.
        norm: "l2", "l1" or "linf".

    Returns:
        float64 of shape (n, d), and bool of shape (n,).
    """
    rows, finite, exponents = _finite(rows)
    scaled = np.ldexp(rows, -exponents[:, np.newaxis])
    norms = _norms_from_above(scaled, norm)
    with np.errstate(over="ignore"):
        within = norms <= np.ldexp(bound, -exponents)
    factors = bound * _shrink(rows, norm) / np.where(within, 1.0, norms)
    return np.where(within[:, np.newaxis], rows, scaled * factors[:, np.newaxis]), within & finite


def normalize_rows(rows: Rows, bound: float, stability: float, norm: str) -> Rows:
    """Every row times bound / (norm + stability), of a norm below `bound`; rows that are not finite become zero.

    Args:
        rows: float64, shape (n, d).
        bound: from 2**-500 to 2**500.
        stability: from 2**-500 to 2**500, in units of the rows.
        norm: "l2", "l1" or "linf".

    Returns:
        float64 of shape (n, d). Entries below 2**-1074 of the larger of stability and the row's peak are lost.
    """
    rows, _, exponents = _finite(rows)
    exponents = np.maximum(exponents, np.frexp(stability)[1])
    scaled = np.ldexp(rows, -exponents[:, np.newaxis])
    lengths = _norms_from_above(scaled, norm) + np.ldexp(stability, -exponents)
    factors = bound * _shrink(rows, norm) / lengths
    return np.asarray(scaled * factors[:, np.newaxis])


def clip_factors(norms: ArrayLike, bound: float) -> Rows:
    """The factor min(1, bound / norm) of each norm, rounded so that factor * norm <= bound; 0 if it is no norm."""
    norms, usable = _usable(norms)
    outside = norms > bound
    return _normal(np.where(outside, bound * (1.0 - 4 * _UNIT) / np.where(outside, norms, 1.0), 1.0), usable)


def normalize_factors(norms: ArrayLike, bound: float, stability: float) -> Rows:
    """The factor bound / (norm + stability) of each norm, rounded so that factor * norm < bound; 0 if it is no norm."""
    norms, usable = _usable(norms)
    halves = norms / 2 + stability / 2  # the whole could overflow
    return _normal(bound / 2 * (1.0 - 8 * _UNIT) / halves, usable)


def norms_within(norms: ArrayLike, bound: float) -> NDArray[np.bool_]:
    """Which norms are at most `bound`; what is no norm is not."""
    norms, usable = _usable(norms)
    return np.asarray(usable & (norms <= bound))


def _usable(norms: ArrayLike) -> tuple[Rows, NDArray[np.bool_]]:
    """Norms as float64, rounded up, zero where a number is no norm, and where they are usable."""
    given = read("norms", norms)[0]
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float64)
    short = numbers < given if given.dtype.kind == "f" else numbers >= _EXACT
    numbers = np.where(short, np.nextafter(numbers, np.inf), numbers)
    usable = np.isfinite(numbers) & (numbers >= 0)
    return np.where(usable, numbers, 0.0), usable


def _normal(factors: Rows, usable: NDArray[np.bool_]) -> Rows:
    """Factors, zero where not usable or so small that they were rounded by more than their relative share."""
    return np.where(usable & (factors >= np.finfo(np.float64).tiny), factors, 0.0)


def _finite(rows: Rows) -> tuple[Rows, NDArray[np.bool_], NDArray[np.int32]]:
    """Rows with zeros for those that are not finite; which are; and powers of two that bring peaks into [1/2, 1)."""
    peaks = np.abs(rows).max(axis=1, initial=0.0)
    finite = np.isfinite(peaks)
    exponents = np.frexp(np.where(finite, peaks, 0.0))[1].astype(np.int32)
    return rows if finite.all() else np.where(finite[:, np.newaxis], rows, 0.0), finite, exponents


def _norms_from_above(rows: Rows, norm: str) -> Rows:
    """Norms of rows with entries in [-1, 1], rounded up.

    A sum of d numbers of one sign is off by at most d roundings of 2**-53 in any order; eight more cover the squares,
    the root, this product and what underflows.
    """
    if norm == "linf":
        return np.asarray(np.abs(rows).max(axis=1, initial=0.0))
    upward = 1.0 + (rows.shape[1] + 8) * _UNIT
    if norm == "l1":
        return np.asarray(np.abs(rows).sum(axis=1) * upward)
    return np.asarray(np.sqrt(np.square(rows).sum(axis=1)) * upward)


def _shrink(rows: Rows, norm: str) -> float:
    """One, less the room for the roundings of a factor and a product, and for the norm's that is taken of the result.

    The first are four; the second take d + 12 as in :func:`_norms_from_above`, beside the d + 8 that it adds.
    """
    return 1.0 - (32 + (0 if norm == "linf" else 2 * rows.shape[1])) * _UNIT
