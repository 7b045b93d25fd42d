r"""What keeps adaptively chosen releases within a promise: sums of charges that are fixed before each release.

The events may depend on all earlier results. What is charged for an event is known before its release; a release whose
charge would bring a sum above its limit, which is fixed before the first release, must not be made.

*The sums.* A mechanism is covered by its event's pairs (P, Q) and a slack as in :mod:`accountants.slack`. Fix an order
α = 1 + t. With ρ = RDP(α) of the pairs, an event is charged

.. math:: k = t\rho + \alpha\,\mathrm{up} + t\,\mathrm{down},\quad f = e^{\mathrm{up}} F,\quad d = e^{\mathrm{up}}\tau.

*Theorem.* If on every path Σk <= K, Σf <= F* and Σd <= τ*, then for every ε, with the offset c(t) of
:mod:`accountants.conversion`, :math:`\delta(\epsilon) \le e^{K - t\epsilon + c(t)} + F^* + (1+e^\epsilon)\tau^*`.

*Proof.* Let P', Q' be the laws of the whole transcript on two neighbours. Given the past, a step's law on the first
data set is at most :math:`e^{up}(1-F)P`, but for a part of mass at most :math:`e^{up}(F+\tau)`: summed along the paths,
P' is a part of mass at most E[Σf + Σd] <= F* + τ*, and the rest, at most :math:`\prod e^{up}(1-F)P`. In the same way Q'
is at least :math:`\prod e^{-down}(1-F)Q` but for a mass Στ <= τ*. Along each path

.. math:: (e^{\Sigma up}P - e^{\epsilon-\Sigma down}Q)_+ \le e^{c(t)-t\epsilon}\,
   e^{\alpha\Sigma up + t\Sigma down}\,P^\alpha Q^{-t},

and :math:`\int\prod P^\alpha Q^{-t}e^{-t\rho} \le 1`, step by step from the last, since each ρ is known before its step
(Feldman & Zrnic 2021, arXiv 2008.11193, without slack). On every path the exponents add up to at most K. QED

The path may trade ρ against up and down, as one sum holds all of them. It may not trade them against F and τ, whose
sums are expectations under other laws (P' and Q'): whoever sees a large loss could spend what is left of delta on loss,
else on failure, twice over. Hence F* and τ* are set aside in advance. Nor may the order follow the events:
every order has a supermartingale of its own, and the best of them is none.

*zCDP.* ρ(α) = αρ: the same sum. Orders β above α need no sum of their own: there each charge is at most
:math:`\beta(\beta-1)/(\alpha t)` times what it is at α.

*Gaussians.* A shift μ in unit noise is a Brownian motion with drift looked at for a further time μ²; if Σμ² <= M on
every path, the transcript is computed from the motion up to M, which is the Gaussian pair of separation √M (Smith &
Thakurta 2022, arXiv 2210.17520; Koskela, Tobaben & Honkela 2022, arXiv 2209.15596). It holds for plain Gaussians alone.
Privacy-loss distributions, or trade-off curves, composed along the path are no filter (arXiv 2602.06756, arXiv
2602.15815).

Sums are rational numbers and exact; charges are rounded up and limits down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, Protocol, final

from accountants._checks import MOST
from accountants._numerics import EPS, minimise, round_down, round_up
from accountants.conversion import CONVERSIONS
from accountants.errors import EventError, UnsupportedEventError
from accountants.events import Event
from accountants.fold import fold
from accountants.gdp import GDPAccountant
from accountants.profile import gaussian_epsilon_bounds, gaussian_log_delta_bounds
from accountants.rdp import total_curve
from accountants.relation import Relation
from accountants.slack import Slack
from accountants.zcdp import ZCDPAccountant

__all__ = ["RULES", "Charge", "GaussianRule", "RenyiRule", "Rule", "Sums", "log_remainder", "order_for", "renyi_charge"]

_IMPROVED = CONVERSIONS["improved"]
_LOG_LOW, _LOG_HIGH = math.log(1e-9), math.log(1e10)  # of t
_LOG_MAX = 700.0  # e^x is finite below
_WIDEST = 2.0**60  # of a Gaussian's separation: beyond, a budget is no budget


class Charge(NamedTuple):
    """What one use of an event adds to the three sums, each rounded up."""

    loss: float
    failure: float
    distance: float


@final
class Sums:
    """Three sums of charges, exact, each with its limit.

    Args:
        limits: of losses, failures and distances; finite.
    """

    __slots__ = ("_limits", "_totals")

    def __init__(self, *limits: float) -> None:
        self._limits = tuple(Fraction(limit) for limit in limits)
        self._totals = tuple(Fraction(0) for _ in limits)

    @property
    def share(self) -> float:
        """The largest share of a limit that is used, rounded up."""
        pairs = zip(self._totals, self._limits, strict=True)
        largest = max((total / limit for total, limit in pairs if limit), default=Fraction(0))
        return min(1.0, math.nextafter(float(largest), math.inf)) if largest else 0.0

    def room(self, charge: Charge) -> int:
        """How many such charges fit, at most as many as can be counted."""
        room = MOST
        for part, total, limit in zip(charge, self._totals, self._limits, strict=True):
            if part > 0.0:
                room = min(room, int((limit - total) / Fraction(part)) if part < math.inf else 0)
        return room

    def add(self, charge: Charge, times: int) -> None:
        """Add ``times`` charges that fit."""
        if times:
            parts = zip(charge, self._totals, strict=True)
            self._totals = tuple(total + times * Fraction(part) for part, total in parts)


def log_remainder(epsilon: float, delta: float, failure: float, distance: float) -> float:
    """log(delta - failure - (1 + e^epsilon) distance), rounded down.

    Raises:
        EventError: nothing is left.
    """
    apart = math.inf if distance else 0.0
    if distance and epsilon < _LOG_MAX:
        apart = round_up((1.0 + math.exp(epsilon)) * distance, 8)
    left = Fraction(delta) - Fraction(failure) - (Fraction(apart) if math.isfinite(apart) else 1)
    if not left > 0:
        raise EventError(
            f"failure and distance must leave something of delta {delta!r}, got {failure!r} and {distance!r}; "
            "distance counts 1 + e^epsilon times."
        )
    value = math.log(float(left)) if float(left) > 0.0 else -math.inf
    return value - 4.0 * EPS * (1.0 + abs(value))


class Rule(Protocol):
    """How losses are charged, and what their limit promises. Fixed before the first release."""

    @property
    def order(self) -> float | None:
        """The order that everything is charged at, if there is one."""

    @property
    def limit(self) -> float:
        """What the sum of losses may come to."""

    def charge(self, event: Event, relation: Relation) -> Charge:
        """What one use of an event costs."""

    def epsilon(self, log_delta: float) -> float:
        """The epsilon, rounded up, that a sum of losses at the limit has at a log delta."""

    def log_delta(self, epsilon: float) -> float:
        """The log delta, rounded up, that a sum of losses at the limit has at an epsilon."""


@lru_cache(maxsize=4096)
def _renyi_parts(event: Event, relation: Relation, order: float) -> tuple[float, Slack]:
    total, slack = total_curve(event, relation)
    return total.rdp(order), slack


@lru_cache(maxsize=4096)
def _zcdp_parts(event: Event, relation: Relation, order: float) -> tuple[float, Slack]:
    rho = ZCDPAccountant().rho(event, relation=relation)
    return round_up(order * rho) if rho > 0.0 else 0.0, fold([(event, 1)]).slack


_PARTS = {"rdp": _renyi_parts, "zcdp": _zcdp_parts}


def renyi_charge(event: Event, relation: Relation, order: float, method: str = "rdp") -> Charge:
    r"""What one use of an event costs at an order: (k, f, d) of the module's text.

    Args:
        event: the event.
        relation: the neighbouring relation.
        order: > 1.
        method: "rdp" or "zcdp".

    Raises:
        UnsupportedEventError: the event has no curve, or no rho.

    Example:
        >>> from accountants import Gaussian
        >>> round(renyi_charge(Gaussian(1.0), Relation.add_remove, 3.0).loss, 12)
        3.0
    """
    rdp, slack = _PARTS[method](event, relation, order)
    t = order - 1.0
    loss = t * rdp + order * slack.up + t * slack.down
    loss = round_up(loss, 8) if loss > 0.0 else 0.0
    return Charge(loss, _raised(slack.failure, slack.up), _raised(slack.distance, slack.up))


def _raised(mass: float, up: float) -> float:
    """e^up times a mass, rounded up."""
    if mass == 0.0 or up == 0.0:
        return mass
    return round_up(math.exp(up) * mass, 8) if up < _LOG_MAX else math.inf


@final
@dataclass(frozen=True, slots=True)
class RenyiRule:
    """One order, fixed in advance; an event is charged its curve there, or (method "zcdp") its rho."""

    method: str
    order: float
    limit: float

    def charge(self, event: Event, relation: Relation) -> Charge:
        """What one use of an event costs."""
        return renyi_charge(event, relation, self.order, self.method)

    def epsilon(self, log_delta: float) -> float:
        """The epsilon of the limit at a log delta, rounded up."""
        t = self.order - 1.0
        if self.method == "rdp":
            return max(0.0, _IMPROVED.epsilon(self.order, round_up(self.limit / t), log_delta))
        rho = round_up(self.limit / t / self.order, 8)

        def at(log_t: float) -> float:
            order = max(self.order, 1.0 + math.exp(log_t))
            return _IMPROVED.epsilon(order, round_up(rho * order), log_delta)

        return max(0.0, minimise(at, math.log(t), _LOG_HIGH, math.log(t), 1e-5))

    def log_delta(self, epsilon: float) -> float:
        """The log delta of the limit at an epsilon, rounded up."""
        return min(0.0, _IMPROVED.log_delta(self.order, round_up(self.limit / (self.order - 1.0)), epsilon))

    def __str__(self) -> str:
        return f"{'Rényi' if self.method == 'rdp' else 'zCDP'} privacy filter at order {self.order:.4g}"


@final
@dataclass(frozen=True, slots=True)
class GaussianRule:
    """Plain Gaussians, charged μ² each; everything else is refused."""

    separation: float

    @property
    def order(self) -> None:
        """There is none."""
        return None

    @property
    def limit(self) -> float:
        """The square of the separation that the promise leaves room for."""
        return round_down(self.separation * self.separation)

    def charge(self, event: Event, relation: Relation) -> Charge:
        """μ² of one use of an event."""
        if fold([(event, 1)], smooth=True).slack != Slack():
            raise UnsupportedEventError(
                'event must be plain Gaussian noise, without slack, for method "gdp"; use method "rdp".', event=event
            )
        mu = GDPAccountant().mu(event, relation=relation)
        return Charge(round_up(mu * mu) if mu > 0.0 else 0.0, 0.0, 0.0)

    def epsilon(self, log_delta: float) -> float:
        """The epsilon of the limit at a log delta, rounded up."""
        return gaussian_epsilon_bounds(self.separation, log_delta)[1]

    def log_delta(self, epsilon: float) -> float:
        """The log delta of the limit at an epsilon, rounded up."""
        return gaussian_log_delta_bounds(self.separation, epsilon)[1]

    def __str__(self) -> str:
        return "Gaussian privacy filter"


def _renyi_rule(method: str, order: float | None, epsilon: float, log_delta: float) -> RenyiRule:
    """The rule for an (epsilon, delta), at an order given or at the best one for Gaussians of that cost."""
    chosen = _best_order(_gaussian_cost, epsilon, log_delta) if order is None else order
    limit = _loss_limit(chosen - 1.0, epsilon, log_delta)
    if not limit > 0.0:
        raise EventError(
            f"order must leave room for a release within epsilon {epsilon!r}, got {chosen!r}; choose a larger one, or "
            "an event that is to fit, or None for the best order of Gaussians."
        )
    return RenyiRule(method, chosen, limit)


def _gaussian_cost(order: float) -> float:
    """Of Gaussian noise, but for a factor."""
    return order * (order - 1.0)


def _loss_limit(t: float, epsilon: float, log_delta: float) -> float:
    """K with K - tε + c(t) <= log δ, rounded down."""
    offset = _IMPROVED.offset(t)
    return log_delta + t * epsilon - offset - 8.0 * EPS * (t * epsilon - log_delta - offset)


def _best_order(cost: Callable[[float], float], epsilon: float, log_delta: float) -> float:
    """The order, to four digits of t, whose limit holds the most of a given cost."""
    seen: list[tuple[float, float]] = []

    def negative_count(log_t: float) -> float:
        t = math.exp(log_t)
        each, limit = cost(1.0 + t), _loss_limit(t, epsilon, log_delta)
        seen.append((math.inf if each == math.inf else -limit / each, t))
        return seen[-1][0]

    root = math.sqrt(epsilon - log_delta) + math.sqrt(-log_delta)  # of Mironov's conversion: t = sqrt(L) root / ε
    start = math.log(math.sqrt(-log_delta) * root / epsilon)
    minimise(negative_count, _LOG_LOW, _LOG_HIGH, min(max(start, _LOG_LOW), _LOG_HIGH), 1e-5)
    return 1.0 + float(f"{min(seen)[1]:.4g}")


def order_for(event: Event, relation: Relation, method: str, epsilon: float, log_delta: float) -> float:
    """The order at which the most of an event fit within an (epsilon, delta). To be asked before the first release.

    Args:
        event: what most of a budget is to go to.
        relation: the neighbouring relation.
        method: "rdp" or "zcdp".
        epsilon: > 0.
        log_delta: < 0.

    Raises:
        UnsupportedEventError: the event has no charge.
        EventError: no order has a finite charge for it.
    """

    def cost(order: float) -> float:
        return renyi_charge(event, relation, order, method).loss or math.inf

    found = _best_order(cost, epsilon, log_delta)
    if not math.isfinite(cost(found)):
        raise EventError(f"order must be chosen for an event with a finite cost > 0, got {type(event).__name__}.")
    return found


def _gaussian_rule(method: str, order: float | None, epsilon: float, log_delta: float) -> GaussianRule:
    """The rule of the largest separation within an (epsilon, delta)."""
    if order is not None:
        raise EventError(f'order must be None for method "gdp", which has none, got {order!r}.')

    def meets(mu: float) -> bool:
        return gaussian_log_delta_bounds(mu, epsilon)[1] <= log_delta

    low = high = 1.0
    while not meets(low) and low > 1.0 / _WIDEST:
        low *= 0.5
    while meets(high) and high < _WIDEST:
        high *= 2.0
    if not meets(low):
        raise EventError(f"epsilon must leave room for a release, got {epsilon!r}; raise epsilon or delta.")
    while high > low * (1.0 + 4.0 * EPS):
        middle = low + 0.5 * (high - low)
        low, high = (middle, high) if meets(middle) else (low, middle)
    return GaussianRule(low)


#: method -> the rule for (method, order, epsilon, log delta): a new method is a new row, and needs a theorem.
RULES: dict[str, Callable[[str, float | None, float, float], Rule]] = {
    "rdp": _renyi_rule,
    "zcdp": _renyi_rule,
    "gdp": _gaussian_rule,
}
