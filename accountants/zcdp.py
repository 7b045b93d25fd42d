r"""Zero-concentrated differential privacy: one number ρ that adds up, with RDP(α) <= ρα at every order.

ρ of a release is Δ²/2σ² for Gaussian noise and, on integer vectors, for discrete Gaussian noise in any dimension
(Canonne, Kamath & Steinke 2020, Theorem 4). A ledger's ρ converts at the best real order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import final

from accountants._checks import check_delta, check_epsilon
from accountants._numerics import round_down, round_up, sum_up
from accountants.accountant import Account, folded
from accountants.conversion import CONVERSIONS, best_epsilon, best_log_delta
from accountants.errors import UnsupportedEventError
from accountants.events import ZCDP, DiscreteGaussian, Event, Gaussian
from accountants.gdp import gaussian_scale
from accountants.pairs import require_relation
from accountants.relation import Relation
from accountants.slack import Slack

__all__ = ["ZCDPAccountant", "zcdp_rho"]

_IMPROVED = CONVERSIONS["improved"]
_LARGEST = 1e290


@singledispatch
def zcdp_rho(event: Event, relation: Relation) -> float:
    """ρ of one occurrence of a core event, rounded up.

    Register a class of your own with ``zcdp_rho.register``.

    Args:
        event: a core event.
        relation: the neighbouring relation.

    Raises:
        UnsupportedEventError: no ρ is known here for the event.

    Example:
        >>> round(zcdp_rho(Gaussian(1.0), Relation.replace_one), 12)
        2.0
    """
    raise UnsupportedEventError(
        f"event must be Gaussian, DiscreteGaussian or ZCDP for ZCDPAccountant, got {type(event).__name__}; use "
        "RDPAccountant() or PLDAccountant(), which bound it more tightly than any rho.",
        event=event,
    )


@zcdp_rho.register
def _(event: Gaussian, relation: Relation) -> float:
    scale = gaussian_scale(event, relation)
    return round_up(0.5 / scale / scale)


@zcdp_rho.register
def _(event: DiscreteGaussian, relation: Relation) -> float:
    # on the line the norm of an integer is an integer, and below 1 it is 0
    bound = math.floor(event.l2_bound) if event.dim == 1 or event.l2_bound < 1.0 else event.l2_bound
    if not bound:
        return 0.0
    return zcdp_rho(Gaussian(max(round_down(event.stddev / bound), math.ulp(0.0))), relation)


@zcdp_rho.register
def _(event: ZCDP, relation: Relation) -> float:
    require_relation(event, relation, event.relation)
    return event.rho


@final
@dataclass(frozen=True, slots=True)
class ZCDPAccountant:
    r"""Adds up ρ and converts once, at the best real order; refuses what has no ρ of its own.

    Guarantee:
        ``epsilon`` and ``delta`` are upper bounds, rounded up. Held by ``test_zcdp_is_what_rdp_says`` and
        ``test_rho_adds_up``.

    Example:
        >>> from accountants import Gaussian
        >>> round(ZCDPAccountant().epsilon(Gaussian(2.0), delta=1e-5, relation="add_remove"), 3)
        2.166

    References:
        Bun & Steinke 2016 (arXiv 1605.02065), Proposition 1.3; Canonne, Kamath & Steinke 2020 (arXiv 2004.00010),
        Theorem 4 and Corollary 13.
    """

    def __str__(self) -> str:
        return "zCDP accountant (best real order, improved conversion)"

    def epsilon(self, what: Account | Event, *, delta: float, relation: Relation | str | None = None) -> float:
        """An upper bound of epsilon.

        Args:
            what: a ledger, or an event.
            delta: in (0, 1).
            relation: required with an event; with a ledger, its own or None.

        Returns:
            A number >= 0; +inf if slack leaves nothing of delta.

        Raises:
            EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no ρ is known for an event.

        Example:
            >>> from accountants.events import ZCDP
            >>> event = ZCDP(0.1, Relation.replace_one)
            >>> round(ZCDPAccountant().epsilon(event, delta=1e-6, relation="replace_one"), 3)
            2.142
        """
        log_delta = math.log(check_delta(delta)) * (1.0 + 2.0**-50)
        rho, slack = _total(what, relation)

        def base(given: float) -> float:
            cost = best_epsilon(lambda order: round_up(order * rho), given, _IMPROVED, None) if rho > 0.0 else 0.0
            return round_up(cost) if cost > 0.0 else 0.0

        return slack.epsilon(base, log_delta)

    def delta(self, what: Account | Event, *, epsilon: float, relation: Relation | str | None = None) -> float:
        """An upper bound of delta.

        Args:
            what: a ledger, or an event.
            epsilon: finite, >= 0.
            relation: required with an event; with a ledger, its own or None.

        Returns:
            A number in [0, 1].

        Raises:
            EventError: epsilon is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no ρ is known for an event.

        Example:
            >>> from accountants import Gaussian
            >>> ZCDPAccountant().delta(Gaussian(2.0), epsilon=2.166, relation="add_remove") < 1.01e-5
            True
        """
        target = min(check_epsilon(epsilon), _LARGEST)  # delta falls in epsilon
        rho, slack = _total(what, relation)

        def base(inner: float) -> float:
            if rho == 0.0:
                return max(0.0, round_up(-math.expm1(inner))) if inner < 0.0 else 0.0
            log_delta = best_log_delta(lambda order: round_up(order * rho), inner, _IMPROVED, None)
            return min(1.0, round_up(math.exp(min(log_delta, 0.0)), 16))

        return slack.delta(base, target)

    def rho(self, what: Account | Event, *, relation: Relation | str | None = None) -> float:
        """The total ρ, rounded up; slack, if there is any, is not in it.

        Args:
            what: a ledger, or an event.
            relation: required with an event; with a ledger, its own or None.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no ρ is known for an event.

        Example:
            >>> from accountants import Gaussian
            >>> round(ZCDPAccountant().rho(Gaussian(2.0) * 16, relation="add_remove"), 12)
            2.0
        """
        return _total(what, relation)[0]

    def supports(self, what: Account | Event, *, relation: Relation | str | None = None) -> bool:
        """Whether everything in ``what`` has a ρ.

        Args:
            what: a ledger, or an event.
            relation: the relation to hold an event under; None asks whether there is any.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.

        Example:
            >>> from accountants import Gaussian, PoissonSampled
            >>> ZCDPAccountant().supports(PoissonSampled(Gaussian(1.0), 0.5))
            False
        """
        if relation is None and isinstance(what, Event):
            return any(self.supports(what, relation=one) for one in Relation)
        try:
            _total(what, relation)
        except UnsupportedEventError:
            return False
        return True


def _total(what: Account | Event, relation: Relation | str | None) -> tuple[float, Slack]:
    """The total ρ, rounded up, and the slack."""
    content, held = folded(what, relation)
    rates = [(zcdp_rho(event, held), times) for event, times in content.parts]
    return sum_up(round_up(times * rho) for rho, times in rates if rho > 0.0), content.slack
