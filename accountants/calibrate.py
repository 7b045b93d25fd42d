"""Calibration: the least parameter that keeps a cost within its target, always on the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable

from accountants._checks import check_delta, check_positive
from accountants.accountant import Accountant
from accountants.best import best_accountant
from accountants.errors import CalibrationError, EventError, UnsupportedEventError
from accountants.events import Event
from accountants.relation import Relation, as_relation

__all__ = ["calibrate"]

_SMALLEST, _LARGEST = 1e-9, 1e12  # how far the search for a bracket goes


def calibrate(
    build: Callable[[float], Event],
    *,
    epsilon: float,
    delta: float,
    relation: Relation | str,
    accountant: Accountant | None = None,
    bracket: tuple[float, float] | None = None,
    tolerance: float = 1e-4,
) -> float:
    """The smallest x for which ``build(x)`` costs at most epsilon.

    The cost must fall with x, as it does with noise. The value returned was itself evaluated and meets the target; x
    (1 - tolerance) does not. Where ``build`` refuses x, or no bound is known, x counts as too small.

    Guarantee:
        ``epsilon(build(x)) <= epsilon`` for the x returned (``test_calibrate_is_on_the_safe_side``).

    Args:
        build: from x > 0 to the event that is planned.
        epsilon: the target, > 0.
        delta: in (0, 1).
        relation: which data sets are neighbours.
        accountant: None takes the best bound there is.
        bracket: (low, high) to search between, 0 < low < high; None finds one by doubling and halving.
        tolerance: relative, in (0, 1).

    Returns:
        x, within the relative tolerance above the smallest that meets the target; ``bracket[0]`` if that meets it
        already.

    Raises:
        EventError: a parameter is out of its domain.
        RelationError: the relation is not one of the three.
        CalibrationError: no x in reach meets the target, or every one does.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> def plan(noise_multiplier):
        ...     return PoissonSampled(Gaussian(noise_multiplier), 0.01) * 1000
        >>> x = calibrate(plan, epsilon=2.0, delta=1e-5, relation="add_remove")
        >>> 1.01 < x < 1.05
        True
    """
    target = check_positive("epsilon", epsilon, "ask for the cost that the plan may have.")
    delta, relation = check_delta(delta), as_relation(relation)
    if check_positive("tolerance", tolerance, "1e-4 is a good choice.") >= 1.0:
        raise EventError(f"tolerance must be < 1, got {tolerance!r}; it is relative, 1e-4 is a good choice.")

    def affordable(x: float) -> bool:
        try:
            event = build(x)
        except (EventError, UnsupportedEventError):
            return False
        if not isinstance(event, Event):
            raise EventError(f"build must return an event, got {type(event).__name__}; use accountants.events.")
        try:
            chosen = accountant or best_accountant(event, relation)
            return chosen.epsilon(event, delta=delta, relation=relation) <= target
        except (EventError, UnsupportedEventError):
            return False

    low, high = _find_bracket(affordable, target) if bracket is None else _check_bracket(bracket)
    if bracket is not None and affordable(low):
        return low
    if bracket is not None and not affordable(high):
        raise CalibrationError(
            f"bracket must contain a value that meets epsilon {target!r}, got high end {high!r}; raise one of them."
        )
    while low < high * (1.0 - tolerance):
        middle = math.sqrt(low) * math.sqrt(high)
        if not low < middle < high:
            break
        low, high = (low, middle) if affordable(middle) else (middle, high)
    return high


def _find_bracket(affordable: Callable[[float], bool], target: float) -> tuple[float, float]:
    """(too small, large enough), by doubling from 1 or halving down to it."""
    x = 1.0
    if affordable(x):
        while affordable(x / 2.0):
            x /= 2.0
            if x < _SMALLEST:
                raise CalibrationError(
                    f"epsilon must bind somewhere, got {target!r}, which every x down to {x:.1e} meets; give a bracket."
                )
        return x / 2.0, x
    while not affordable(2.0 * x):
        x *= 2.0
        if x > _LARGEST:
            raise CalibrationError(
                f"epsilon must be within reach, got {target!r}, which no x up to {x:.1e} meets; raise epsilon or "
                "delta, release less, or give a bracket (the cost must fall as x grows)."
            )
    return x, 2.0 * x


def _check_bracket(bracket: tuple[float, float]) -> tuple[float, float]:
    advice = "give (low, high) with 0 < low < high."
    if not isinstance(bracket, tuple | list) or len(bracket) != 2:
        raise EventError(f"bracket must be two numbers, got {type(bracket).__name__}; {advice}")
    low, high = (check_positive("bracket", end, advice) for end in bracket)
    if not low < high:
        raise EventError(f"bracket must be increasing, got low {low!r} and high {high!r}; {advice}")
    return low, high
