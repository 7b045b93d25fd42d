"""Calibration: the least parameter that keeps a cost within its target, always on the safe side.

:func:`calibrate` searches a real parameter, :func:`max_times` a count. What is returned was itself evaluated and meets
the target, and so was the point just beyond it, which does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from accountants._checks import MOST, check_delta, check_positive, check_positive_down
from accountants._search import Probe, Target, close_in, enclose
from accountants.accountant import Accountant
from accountants.best import epsilon as best_epsilon
from accountants.errors import AccountingError, CalibrationError, EventError, UnsupportedEventError
from accountants.events import Event
from accountants.fold import fold
from accountants.relation import Relation, as_relation

__all__ = ["calibrate", "max_times"]

_SMALLEST, _LARGEST = 1e-9, 1e12  # how far the search for a bracket goes
_EPSILON_ADVICE = "ask for the cost that the plan may have."


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

    The cost must fall with x, as it does with noise (with integer noise of less than a few steps not everywhere). The
    value returned was itself evaluated and meets the target; so was one within the tolerance below it, which does not.
    Where ``build`` refuses x, or no bound is known, x counts as too small. A cost that does not fall makes the value
    larger than need be, never unsafe.

    Guarantee:
        ``epsilon(build(x)) <= epsilon`` for the x returned (``test_calibrate_is_on_the_safe_side``).

    Args:
        build: from x > 0 to the event that is planned.
        epsilon: the target, > 0.
        delta: in (0, 1).
        relation: which data sets are neighbours.
        accountant: None takes the best bound there is.
        bracket: (low, high) to search between, 0 < low < high; None finds one from 1 outward.
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
        >>> 0.9591 < x < 0.9593
        True
    """
    target = Target(check_positive_down("epsilon", epsilon, _EPSILON_ADVICE), check_delta(delta))
    relation = as_relation(relation)
    if check_positive("tolerance", tolerance, "1e-4 is a good choice.") >= 1.0:
        raise EventError(f"tolerance must be < 1, got {tolerance!r}; it is relative, 1e-4 is a good choice.")

    refusals: list[AccountingError] = []

    def probe(x: float) -> Probe:
        return target.probe(x, _cost_of_plan(build, x, target.delta, relation, accountant, refusals))

    def between(low: float, high: float, proposal: float) -> float | None:
        return None if low >= high * (1.0 - tolerance) else _well_inside(low, high, proposal, tolerance)

    if bracket is None:
        seen = _find_bracket(probe, target.epsilon, refusals)
    else:
        low, high = _check_bracket(bracket)
        seen = [probe(low)]
        if seen[0].meets:
            return low
        seen.append(probe(high))
        if not seen[1].meets:
            raise CalibrationError(
                f"bracket must contain a value that meets epsilon {target.epsilon!r}, got high end {high!r}; raise one "
                f"of them{_because(refusals)}.",
                refusal=_last(refusals),
            )
    fails, meets = sorted(seen[-2:], key=lambda probe: probe.meets)
    return close_in(probe, fails, meets, seen, between).x


def max_times(
    event: Event, *, epsilon: float, delta: float, relation: Relation | str, accountant: Accountant | None = None
) -> int:
    """How many times an event may be released within a budget.

    Guarantee:
        ``epsilon(event * n) <= epsilon`` for the n returned, and ``event * (n + 1)`` was evaluated and costs more
        (``test_max_times_is_the_last_that_fits``).

    Args:
        event: one release.
        epsilon: the budget, > 0.
        delta: in (0, 1).
        relation: which data sets are neighbours.
        accountant: None takes the best bound there is.

    Returns:
        n >= 0; 0 if even one release costs too much.

    Raises:
        EventError: a parameter is out of its domain.
        RelationError: the relation is not one of the three.
        UnsupportedEventError: no sound bound is known for the event.
        CalibrationError: as many releases as can be counted (2**53) meet the budget.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> step = PoissonSampled(Gaussian(3.0), 0.1)
        >>> max_times(step, epsilon=2.0, delta=1e-6, relation="add_remove")
        155
    """
    target = Target(check_positive_down("epsilon", epsilon, _EPSILON_ADVICE), check_delta(delta))
    relation = as_relation(relation)
    if not isinstance(event, Event):
        raise EventError(f"event must be an event, got {type(event).__name__}; use accountants.events.")
    most = MOST // max((times for _, times in fold([(event, 1)]).parts), default=1)

    def probe(times: float) -> Probe:
        return target.probe(times, _cost(event * int(times), target.delta, relation, accountant))

    def between(low: float, high: float, proposal: float) -> float | None:
        return None if high - low <= 1.0 else min(max(float(round(proposal)), low + 1.0), high - 1.0)

    seen = enclose(lambda times: probe(float(math.ceil(times))), 1.0, 1.0, float(most), power=2.0)
    if not seen[0].meets:
        return 0
    if seen[-1].meets:
        raise CalibrationError(
            f"epsilon must bind somewhere, got {target.epsilon!r}, which {most} releases meet; the event costs too "
            "little to count.",
            all_meet=True,
        )
    return int(close_in(probe, seen[-1], seen[-2], seen, between).x)


def _cost(event: Event, delta: float, relation: Relation, accountant: Accountant | None) -> float:
    """The epsilon of an event, from the accountant given or the best there is."""
    if accountant is None:
        return best_epsilon(event, delta=delta, relation=relation)
    return accountant.epsilon(event, delta=delta, relation=relation)


def _cost_of_plan(
    build: Callable[[float], Event],
    x: float,
    delta: float,
    relation: Relation,
    accountant: Accountant | None,
    refusals: list[AccountingError],
) -> float:
    """The epsilon of ``build(x)``; inf where it refuses x or no bound is known, and the reason is noted."""
    try:
        event = build(x)
    except (EventError, UnsupportedEventError) as refusal:
        refusals.append(refusal)
        return math.inf
    if not isinstance(event, Event):
        raise EventError(f"build must return an event, got {type(event).__name__}; use accountants.events.")
    try:
        return _cost(event, delta, relation, accountant)
    except (EventError, UnsupportedEventError) as refusal:
        refusals.append(refusal)
        return math.inf


def _because(refusals: list[AccountingError]) -> str:
    """The last reason why a value could not be evaluated, for the end of a message."""
    return f" (refused on the way: {str(refusals[-1]).rstrip('.')})" if refusals else ""


def _last(refusals: list[AccountingError]) -> AccountingError | None:
    """The last reason why a value could not be evaluated."""
    return refusals[-1] if refusals else None


def _well_inside(low: float, high: float, proposal: float, tolerance: float) -> float | None:
    """The proposal, kept most of the tolerance away from both ends, so that a good one closes the bracket.

    None if no float lies between the ends.
    """
    near = 0.9 * tolerance
    kept = min(max(proposal, low * (1.0 + near)), high * (1.0 - near))
    middle = math.sqrt(low) * math.sqrt(high)
    return next((x for x in (kept, middle, math.nextafter(low, high)) if low < x < high), None)


def _find_bracket(probe: Callable[[float], Probe], target: float, refusals: list[AccountingError]) -> list[Probe]:
    """Probes of which the last two are too small and large enough, found from 1 outward."""
    seen = enclose(probe, 1.0, _SMALLEST, _LARGEST, power=-1.0)
    if seen[-1].meets != seen[0].meets:
        return seen
    x = seen[-1].x
    if seen[-1].meets:
        raise CalibrationError(
            f"epsilon must bind somewhere, got {target!r}, which every x down to {x:.1e} meets; give a bracket.",
            all_meet=True,
        )
    raise CalibrationError(
        f"epsilon must be within reach, got {target!r}, which no x up to {x:.1e} meets; raise epsilon or delta, "
        f"release less, or give a bracket (the cost must fall as x grows){_because(refusals)}.",
        refusal=_last(refusals),
    )


def _check_bracket(bracket: tuple[float, float]) -> tuple[float, float]:
    advice = "give (low, high) with 0 < low < high."
    if not isinstance(bracket, tuple | list) or len(bracket) != 2:
        raise EventError(f"bracket must be two numbers, got {type(bracket).__name__}; {advice}")
    low, high = (check_positive("bracket", end, advice) for end in bracket)
    if not low < high:
        raise EventError(f"bracket must be increasing, got low {low!r} and high {high!r}; {advice}")
    return low, high
