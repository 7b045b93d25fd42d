"""Numbers that bound privacy, as text that is never below them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal

__all__ = ["rounded_up"]


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
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    text = str(Context(prec=digits, rounding=ROUND_CEILING).plus(Decimal(value)))
    return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text
