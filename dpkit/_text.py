"""Numbers that bound privacy, as text that bounds them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

__all__ = ["rounded_down", "rounded_up"]


def rounded_up(value: float, digits: int = 6) -> str:
    """A number >= 0 with at most `digits` significant digits, rounded up: a printed bound is a bound.

    Args:
        value: the number.
        digits: significant digits.

    Returns:
        Decimal text; ``inf`` for infinity.

    Example:
        >>> rounded_up(1.0000001), rounded_up(0.25), rounded_up(0.0)
        ('1.00001', '0.25', '0')
    """
    return _rounded(value, digits, ROUND_CEILING)


def rounded_down(value: float, digits: int = 6) -> str:
    """The same for a lower bound, rounded down.

    Args:
        value: the number.
        digits: significant digits.

    Returns:
        Decimal text; ``inf`` for infinity.

    Example:
        >>> rounded_down(0.9999999), rounded_down(0.25), rounded_down(0.0)
        ('0.999999', '0.25', '0')
    """
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    """Decimal text without idle zeros."""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    text = str(Context(prec=digits, rounding=rounding).plus(Decimal(value)))
    return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text
