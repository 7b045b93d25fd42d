"""Whether the batches that a plan gives come as the participation says. Private to the package.

A participation counts in rows of noise, a plan in draws. Where a draw is left out, the records after it come a row
earlier than in the plan; where a plan begins again, or another one goes on, a record may come again at once. Either
would be more than the event covers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from accountants.participation import Participation
from dpkit.errors import ParameterError, StateError

__all__ = ["Place", "check_allowed", "next_place"]


@final
@dataclass(frozen=True, slots=True)
class Place:
    """What the latest release knew of its plan.

    Attributes:
        plan: the plan of this process; it is not sealed.
        draws: how many draws it had made; 0 if it does not count, or there was none.
        row: the row of that release, from 0.
    """

    plan: Any = field(default=None, repr=False)
    draws: int = 0
    row: int = 0


def check_allowed(participation: Participation, sampling: Any) -> None:
    """A participation that allows what the plan says that its records do within these steps, if it says it."""
    plan = getattr(sampling, "participation", None)
    if not isinstance(plan, Participation):
        return
    within = Participation(steps=participation.steps, min_separation=plan.min_separation, max_participations=plan.count)
    if within.count > participation.count or (within.count > 1 and plan.min_separation < participation.min_separation):
        raise ParameterError(
            f"participation must allow what the batches do, {plan}, got {participation}; give that of the plan, or "
            "another plan."
        )


def next_place(place: Place, participation: Participation, sampling: Any, row: int) -> Place:
    """The place of a release, or an error if records may come closer or more often than the participation says."""
    told = isinstance(getattr(sampling, "participation", None), Participation)
    if not told or participation.count == participation.steps:
        return place
    if place.plan is not None and place.plan is not sampling:
        raise StateError(
            "sampling must be the plan of the earlier releases, got another one, which may bring a record again; make "
            "one plan for all steps, or say with participation= that a record may be in every step."
        )
    draws = _draws(sampling)
    if place.draws and draws:
        _check_pace(draws - place.draws, row - place.row, participation)
    return Place(sampling, draws, row)


def _check_pace(draws: int, rows: int, participation: Participation) -> None:
    """A plan that went forward, and no faster than the rows."""
    if draws <= 0:
        raise StateError(
            f"sampling must be ahead of the latest release, got a plan that stands {-draws} draws behind it; restore "
            "plan and stream from one checkpoint."
        )
    if draws > rows and participation.min_separation > 1:
        raise StateError(
            f"every draw must be released, got {draws - rows} left out: records would come closer than the "
            "participation says; release empty batches too, or take a row for each by next()."
        )


def _draws(sampling: Any) -> int:
    """How many draws a plan has made, or 0 if it does not say."""
    steps, remaining = getattr(sampling, "steps", None), getattr(sampling, "remaining", None)
    return steps - remaining if isinstance(steps, int) and isinstance(remaining, int) else 0
