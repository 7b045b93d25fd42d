"""Parameter checks that name the parameter, the rule, what came and what to do. Private to accountants."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from numbers import Real
from operator import index

import numpy as np
from numpy.typing import NDArray

from accountants.errors import AccountingError, EventError

__all__ = [
    "MOST",
    "check_count",
    "check_delta",
    "check_epsilon",
    "check_epsilons",
    "check_finite",
    "check_numbers",
    "check_positive",
    "check_positive_down",
    "check_prob",
]


MOST = 2**53
"""The largest count: beyond it a float64 no longer counts."""


def _real(name: str, value: object, rule: str, advice: str, error: type[AccountingError]) -> float:
    """``value`` as a finite float; bool, NaN, infinities and anything that is not a real number are refused."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number):
        raise error(_message(name, rule, value, advice))
    return number


def _message(name: str, rule: str, value: object, advice: str) -> str:
    try:
        shown = repr(value)
    except ValueError:  # an int with more digits than Python prints
        shown = "a number too long to print"
    return f"{name} must be {rule}, got {shown if len(shown) <= 60 else type(value).__name__}; {advice}"


def check_positive(name: str, value: object, advice: str, error: type[AccountingError] = EventError) -> float:
    """A finite number > 0."""
    number = _real(name, value, "a finite number > 0", advice, error)
    if number <= 0.0:
        raise error(_message(name, "> 0", value, advice))
    return number


def check_positive_down(name: str, value: object, advice: str) -> float:
    """A finite number > 0, not above the one that came: what is promised may not grow by becoming a float."""
    number = _down(value, check_positive(name, value, advice))
    if number <= 0.0:
        raise EventError(_message(name, "> 0 as a float64", value, advice))
    return number


def _down(value: object, number: float) -> float:
    """The nearest float, or the one before it where that is above the rational number that came."""
    ratio = None if isinstance(value, float) else getattr(value, "as_integer_ratio", None)
    if ratio is None or Fraction(number) <= Fraction(*ratio()):
        return number
    return math.nextafter(number, -math.inf)


def check_finite(name: str, value: object, advice: str, error: type[AccountingError] = EventError) -> float:
    """A finite number >= 0."""
    number = _real(name, value, "a finite number >= 0", advice, error)
    if number < 0.0:
        raise error(_message(name, ">= 0", value, advice))
    return number + 0.0  # -0.0 and 0.0 are one parameter, and must be one ledger row


def check_prob(name: str, value: object, advice: str, error: type[AccountingError] = EventError) -> float:
    """A number in [0, 1]."""
    number = _real(name, value, "a number in [0, 1]", advice, error)
    if not 0.0 <= number <= 1.0:
        raise error(_message(name, "in [0, 1]", value, advice))
    return number + 0.0


def check_count(name: str, value: object, least: int, advice: str, error: type[AccountingError] = EventError) -> int:
    """An integer from ``least`` to :data:`MOST`; bool and floats are refused, numpy integers are not."""
    rule = f"an integer from {least} to 2**53"
    if isinstance(value, bool):
        raise error(_message(name, rule, value, advice))
    try:
        number = index(value)  # type: ignore[arg-type]  # the very question that is asked
    except TypeError:
        raise error(_message(name, rule, value, advice)) from None
    if not least <= number <= MOST:
        raise error(_message(name, rule, value, advice))
    return number


def check_numbers(name: str, values: object, advice: str) -> tuple[float, ...]:
    """A non-empty tuple of floats, infinities among them; NaN, bool and what is no number are refused."""
    rule = "a sequence of numbers"
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise EventError(_message(name, rule, values, advice))
    given = tuple(values)
    if not given or not all(isinstance(value, Real) and not isinstance(value, bool) for value in given):
        raise EventError(_message(name, rule, given, advice))
    try:
        numbers = tuple(float(value) + 0.0 for value in given)
    except OverflowError:
        raise EventError(_message(name, rule, given, advice)) from None
    if any(math.isnan(number) for number in numbers):
        raise EventError(_message(name, f"{rule}, none of them NaN", given, advice))
    return numbers


def check_delta(value: object) -> float:
    """A delta at which an epsilon can be asked: strictly between 0 and 1, rounded down, as epsilon falls in delta."""
    advice = "choose a delta well below 1 / (number of records), for instance 1e-6."
    number = _down(value, _real("delta", value, "a number in (0, 1)", advice, EventError))
    if not 0.0 < number < 1.0:
        raise EventError(_message("delta", "in (0, 1)", value, advice))
    return number


def check_epsilon(value: object) -> float:
    """An epsilon at which a delta can be asked: finite and >= 0, rounded down, as delta falls in epsilon."""
    return _down(value, check_finite("epsilon", value, "ask for delta at a finite epsilon >= 0."))


def check_epsilons(values: Iterable[object]) -> NDArray[np.float64]:
    """Epsilons at which deltas can be asked, shape (n,): each finite and >= 0."""
    if isinstance(values, np.ndarray) and values.dtype == np.float64 and values.ndim == 1:
        plain: NDArray[np.float64] = values + 0.0
        if bool(np.all((plain >= 0.0) & (plain < math.inf))):
            return plain
    if not isinstance(values, Iterable):
        raise EventError(
            _message("epsilons", "a sequence of finite numbers >= 0", values, "for a single one there is `delta`.")
        )
    return np.array([check_epsilon(value) for value in values], dtype=np.float64)
