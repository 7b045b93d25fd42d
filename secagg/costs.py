"""What a sum takes in seconds on this machine, estimated from sessions of smaller plans of the same kind.

What each side does in a step of a protocol grows with a few products of the plan's numbers (``secagg._growth``). A
few small plans are played, and each step gets the non-negative combination of its products that comes closest to what
was measured, relatively; the plan's own products then say what it takes.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from secagg._growth import KINDS, Kind, Terms
from secagg._played import Clock, Played, played
from secagg.api import SumProtocol
from secagg.errors import ParameterError
from secagg.masking import shamir
from secagg.masking.plans import SecAgg, SecAggPlus

__all__ = ["Cost", "estimate"]

_REPEATS = 2

_HOLDERS, _THRESHOLD = 256, 192
"""Secrets are shared so where a plan has more holders."""


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """What one sum takes, with keys that are there already.

    Args:
        client_seconds: of one party that stays to the end, from its vector to its last message, or to the opened sum.
        server_seconds: of the server, from the first message to the last, or to the opened sum.
        opener_seconds: of who opens the sum, where that is a third; 0.0 elsewhere.
    """

    client_seconds: float
    server_seconds: float
    opener_seconds: float = 0.0


def estimate(plan: SumProtocol, *, clock: Clock = time.perf_counter) -> Cost:
    """What a sum takes on this machine; some small sums are played, for a few tenths of a second.

    As many parties as the plan allows are taken to leave before they send their vectors, which costs the server most
    where masks are to be taken off.

    Guarantee:
        The work that sessions do, counted by a clock that only it moves, is foretold within a factor of 1.5, held by
        ``test_counted_work_is_foretold``. Seconds are as good as the machine is steady.

    Args:
        plan: a plan of this package.
        clock: what time it is, in seconds from anywhere: ``time.process_time`` where others use the machine too.

    Returns:
        The estimate. It says nothing of the network, and nothing of making keys.

    Raises:
        ParameterError: a plan of another's making.
        BackendError: an optional package is missing.

    Example:
        >>> from secagg import PlainSum
        >>> cost = estimate(PlainSum.plan(100, 1_000_000, 16), clock=time.process_time)
        >>> 0.0 < cost.client_seconds < cost.server_seconds
        True
    """
    kind = _kind(plan)
    plans = kind.smaller(plan)
    _play(kind, plans[0], clock)  # the first session loads libraries and builds tables
    turns = [[_play(kind, small, clock) for _ in range(_REPEATS)] for small in plans]

    def seconds(side: str, steps: Mapping[str, Terms]) -> float:
        least = {
            step: [min(getattr(turn, side)[step] for turn in some) for some in turns]
            for step in steps
            if step in getattr(turns[0][0], side)
        }
        return sum(_foretold(steps[step], plans, measured, plan) for step, measured in least.items())

    sharing, joining = _secrets(plan, clock)
    sides = (seconds("clients", kind.client), seconds("server", kind.server), seconds("opener", kind.opener))
    return Cost(sides[0] + sharing, sides[1] + joining, sides[2])


def _kind(plan: SumProtocol) -> Kind:
    """How the work of a plan grows."""
    for known, kind in KINDS.items():
        if isinstance(plan, known):
            return kind
    raise ParameterError(
        f"plan must be one of this package's, got {type(plan).__name__}: how its work grows is not known here."
    )


def _play(kind: Kind, plan: SumProtocol, clock: Clock) -> Played:
    """A session of a small plan, of which as many leave as may."""
    return played(plan, kind.vector(plan), range(plan.num_parties - plan.min_survivors), clock)


def _foretold(terms: Terms, plans: Sequence[SumProtocol], seconds: Sequence[float], plan: SumProtocol) -> float:
    """What a step takes in a plan, from what it took in smaller ones."""
    measured, table, wanted = np.array(seconds), np.array([terms(small) for small in plans]), np.array(terms(plan))
    if not (measured > 0).all():
        return 0.0  # less than the clock can see
    scale = table.max(axis=0)
    relative = table / np.where(scale, scale, 1.0) / measured[:, None]
    told, least = 0.0, math.inf
    for count in range(1, len(scale) + 1):  # of these sets of terms one gives the best of all non-negative combinations
        for used in itertools.combinations(range(len(scale)), count):
            factors = np.linalg.lstsq(relative[:, used], np.ones(len(measured)), rcond=None)[0]
            misfit = float(np.linalg.norm(relative[:, used] @ factors - 1.0))
            if (factors >= 0).all() and scale[list(used)].all() and misfit < least:
                told, least = float((wanted / np.where(scale, scale, 1.0))[list(used)] @ factors), misfit
    return told


def _secrets(plan: Any, clock: Clock) -> tuple[float, float]:
    """Seconds to share a party's secrets, and to join those of a sum, of so many holders that small plans do not tell.

    Sharing grows with holders times threshold; joining, once for everybody on the complete graph, with their square.
    """
    if not isinstance(plan, (SecAgg, SecAggPlus)) or plan.neighbours < _HOLDERS:
        return 0.0, 0.0
    points, secrets = range(1, _HOLDERS + 1), np.zeros((2, shamir.SECRET_BYTES), dtype=np.uint8)
    start = clock()
    shares = shamir.split(secrets, points, _THRESHOLD, bytes(shamir.RANDOMNESS_BYTES))
    middle = clock()
    shamir.join(shares, points, _THRESHOLD)
    end = clock()
    holders, sets = plan.neighbours + 1, 1 if isinstance(plan, SecAgg) else plan.num_parties
    sharing = (middle - start) * holders * plan.threshold / (_HOLDERS * _THRESHOLD)
    return sharing, (end - middle) * sets * (holders / _HOLDERS) ** 2
