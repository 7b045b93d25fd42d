"""Parameter checks that name the parameter, the rule, what came and what to do; never data. Private to dpkit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

import numpy as np

from dpkit._kinds import as_leaf, check_kind
from dpkit.errors import ParameterError

__all__ = [
    "check_arrays",
    "check_count",
    "check_finite",
    "check_finite_up",
    "check_kind",
    "check_positive",
    "check_positive_down",
    "check_real",
    "check_within",
]

_DIGITS = 30  # longer counts are not printed


def check_real(name: str, value: Any, advice: str) -> float:
    """A real number as the nearest float; infinite where it is out of range."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise ParameterError(f"{name} must be a number, got {type(value).__name__}; {advice}")
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def check_finite(name: str, value: Any, advice: str) -> float:
    """A finite float."""
    number = check_real(name, value, advice)
    if not math.isfinite(number):
        raise ParameterError(f"{name} must be finite, got {number!r}; {advice}")
    return number


def check_positive(name: str, value: Any, advice: str) -> float:
    """A finite float > 0."""
    number = check_real(name, value, advice)
    if not (math.isfinite(number) and number > 0):
        raise ParameterError(f"{name} must be finite and > 0, got {number!r}; {advice}")
    return number


def check_within(name: str, value: Any, low: float, high: float, advice: str) -> float:
    """A float in [low, high]."""
    number = check_real(name, value, advice)
    if not low <= number <= high:
        raise ParameterError(f"{name} must be in [{low:.4g}, {high:.4g}], got {number!r}; {advice}")
    return number


def check_count(name: str, value: Any, advice: str, least: int = 1) -> int:
    """An integer >= `least`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        short = not isinstance(value, int) or abs(value) < 10**_DIGITS
        came = repr(value) if short else "a long integer"
        raise ParameterError(f"{name} must be an integer >= {least}, got {came}; {advice}")
    return int(value)


def check_finite_up(name: str, value: Any, advice: str) -> float:
    """A finite float that is not below the number that came."""
    rounded = check_finite(name, value, advice)
    if Fraction(rounded) >= _exact(value, rounded):
        return rounded
    return check_finite(name, math.nextafter(rounded, math.inf), advice)


def check_positive_down(name: str, value: Any, advice: str) -> float:
    """A finite float > 0 that is not above the number that came."""
    rounded = check_positive(name, value, advice)
    if Fraction(rounded) <= _exact(value, rounded):
        return rounded
    return check_positive(name, math.nextafter(rounded, 0.0), advice)


def _exact(value: Any, rounded: float) -> Fraction:
    """The rational number that came; what cannot say it counts as its float."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    return Fraction(*getattr(value, "as_integer_ratio", rounded.as_integer_ratio)())


def check_arrays(name: str, value: Any) -> Any:
    """An array or a dict of arrays; numbers and lists in it become float64, and what has a shape stays as it is."""
    if not isinstance(value, Mapping):
        return as_leaf(name, value)
    leaves = {key: as_leaf(name, array) for key, array in value.items()}
    return value if all(leaves[key] is array for key, array in value.items()) else leaves
