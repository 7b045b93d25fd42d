r"""Odometer: a bound of what was spent that is right at all times at once, for events that follow the results.

*Theorem.* Fix orders :math:`\alpha_j = 1 + t_j` and shares :math:`\delta_j` of delta beforehand, and let
:math:`K_j(n)` be the sum of the charges of :mod:`accountants.filters` at order j after n releases. For all ε, all
sets S of transcripts, and whatever the rule to stop: if :math:`\min_j (K_j + \log 1/\delta_j)/t_j \le \epsilon` on S,

.. math:: P'(S) \le e^\epsilon Q'(S) + F^* + \sum_j \delta_j .

*Proof.* As there, P' is a part of mass F* at most and a rest R, and :math:`Q' \ge N` with :math:`(R/N)^{t_j}
e^{-K_j}` a supermartingale under R that starts at 1. By Ville's inequality it ever exceeds :math:`1/\delta_j` with
probability :math:`\delta_j` at most; but for these, :math:`\log R/N \le (K_j + \log 1/\delta_j)/t_j` for all n and j
together. QED. Where all events are pure, log R/N is also at most the sum of their epsilons, for nothing of delta.

The offset c(t) of a budget is missing: it belongs to one moment. A distance would count e^ε times, and ε has no bound
here, so truncated batches are refused. Rogers, Roth, Ullman & Vadhan 2016 (arXiv 1605.08294) ask this of an odometer;
Whitehouse, Ramdas, Rogers & Wu 2023 (arXiv 2203.05481) bound the loss over time by supermartingales; Lécuyer 2021
(arXiv 2103.01379) and Feldman & Zrnic 2021 (arXiv 2008.11193) split delta over a grid of filters instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Self, final

from accountants._checks import check_delta, check_numbers, check_prob
from accountants._exclusive import exclusive
from accountants._json import parse_object
from accountants._numerics import EPS
from accountants._release import read_release
from accountants.errors import BudgetExceededError, EventError, LedgerError, RelationError, UnsupportedEventError
from accountants.events import Event
from accountants.filters import log_remainder, renyi_charge
from accountants.ledger import Entry, Ledger
from accountants.rdp import total_curve
from accountants.relation import Relation
from accountants.statement import Statement
from accountants.terms import ODOMETER, state

__all__ = ["Odometer"]

_SCHEMA = "accountants.odometer/1"
_PROMISE = ("delta", "orders", "failure")
_ORDERS = tuple(1.0 + 2.0**k for k in range(11))
_LAST_ORDER = 1e10


@final
class Odometer:
    """What was spent so far, at one delta, however the events were chosen; it refuses nothing that it can bound.

    Guarantee:
        ``epsilon`` bounds the loss at all times at once, but for a probability of delta
        (``test_no_adaptive_adversary_outruns_the_odometer``).

    Args:
        delta: in (0, 1), for all times together.
        relation: which data sets are neighbours; there is no default.
        unit: what one record is, in words.
        orders: the orders to bound at, > 1; delta is split evenly among them. None takes 2, 3, 5, 9, … 1025.
        failure: the part of delta that is set aside for events that may fail; what goes beyond it is refused.
        require_secure: refuse every release that does not say that all its randomness was cryptographic, and bare
            events, which say nothing.

    Raises:
        EventError: a parameter is out of its domain.
        RelationError: the relation is not one of the three.

    Example:
        >>> from accountants import Gaussian
        >>> odometer = Odometer(delta=1e-6, relation="add_remove")
        >>> for _ in range(3):
        ...     odometer.record(Gaussian(20.0), times=10)
        ...     print(f"{odometer.epsilon():.3f}")
        0.919
        1.332
        1.651
    """

    __slots__ = ("_failed", "_ledger", "_log_share", "_promise", "_pure", "_sums")
    __hash__ = None  # type: ignore[assignment]  # it grows

    def __init__(
        self,
        *,
        delta: float,
        relation: Relation | str,
        unit: str = "example",
        orders: Iterable[float] | None = None,
        failure: float = 0.0,
        require_secure: bool = False,
    ) -> None:
        self._ledger = Ledger(relation=relation, unit=unit, require_secure=require_secure)
        delta, failure = check_delta(delta), check_prob("failure", failure, "set aside what events may need, or 0.")
        chosen = _check_orders(_ORDERS if orders is None else orders)
        self._promise = (delta, chosen, failure)
        left = log_remainder(0.0, delta, failure, 0.0)
        self._log_share = left - math.log(len(chosen)) - 4.0 * EPS * (8.0 - left)
        self._sums: tuple[Fraction | None, ...] = (Fraction(0),) * len(chosen)
        self._pure: Fraction | None = Fraction(0)
        self._failed = Fraction(0)

    @property
    def relation(self) -> Relation:
        """The relation that every epsilon is about."""
        return self._ledger.relation

    @property
    def unit(self) -> str:
        """What one record is, in words."""
        return self._ledger.unit

    @property
    def entries(self) -> tuple[Entry, ...]:
        """(event, times, note) rows in the order recorded."""
        return self._ledger.entries

    @property
    def seeded_releases(self) -> int:
        """How many releases drew their noise or batches from seeded randomness."""
        return self._ledger.seeded_releases

    @property
    def secure_releases(self) -> int:
        """How many releases brought their event and said that all their randomness was cryptographic."""
        return self._ledger.secure_releases

    @property
    def brought_releases(self) -> int:
        """How many releases brought their event and said how their randomness was made: at least so many."""
        return self._ledger.brought_releases

    @property
    def require_secure(self) -> bool:
        """Whether releases are refused that do not say that all their randomness was cryptographic."""
        return self._ledger.require_secure

    def __len__(self) -> int:
        return len(self._ledger)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Odometer):
            return NotImplemented
        return self._promise == other._promise and self._ledger == other._ledger

    def __repr__(self) -> str:
        return (
            f"Odometer(delta={self._promise[0]!r}, relation={self.relation.value!r}, unit={self.unit!r}, "
            f"releases={len(self)}, epsilon={self.epsilon():.4g})"
        )

    def record(self, what: object, times: int = 1, note: str = "") -> None:
        """Record a release, which may depend on everything that was released before.

        Args:
            what: an event, or a release, as for a ledger.
            times: how many, >= 0.
            note: a remark that is kept with the row.

        Raises:
            BudgetExceededError: it may fail with more probability than was set aside; nothing was recorded.
            InsecureReleaseError: secure releases are required, and it does not say that it is one.
            UnsupportedEventError: no bound that holds at all times is known for it.
            LedgerError: ``what`` carries no event, or ``times`` or ``note`` is not what it must be.

        Example:
            >>> from accountants import PureDP
            >>> odometer = Odometer(delta=1e-6, relation="add_remove")
            >>> odometer.record(PureDP(0.25, "add_remove"), times=2)
            >>> 0.5 <= odometer.epsilon() < 0.5 + 1e-12
            True
        """
        event, count, _ = read_release(what, times)
        losses, pure, failure = self._charges(event)
        with exclusive():
            failed = self._failed + count * Fraction(failure)
            if count and failed > Fraction(self._promise[2]):
                raise BudgetExceededError(
                    f"failure must cover what may fail, {float(failed):.3g}, got {self._promise[2]!r}; nothing was "
                    "recorded: set aside more of delta beforehand.",
                    event=event,
                    times=count,
                )
            self._ledger.record(what, times, note)
            if count:
                self._sums = tuple(_plus(total, loss, count) for total, loss in zip(self._sums, losses, strict=True))
                self._pure, self._failed = _plus(self._pure, pure, count), failed

    def _charges(self, event: Event) -> tuple[tuple[float, ...], float, float]:
        """The losses at all orders, the pure loss, and the failure, of one use of an event."""
        charges = [renyi_charge(event, self.relation, order) for order in self._promise[1]]
        if charges[0].distance:
            raise UnsupportedEventError(
                "event must keep its distance 0 in an odometer, whose epsilon has no bound that it could be multiplied "
                "with; record truncated batches in a Budget.",
                event=event,
            )
        total, slack = total_curve(event, self.relation)
        pure = total.pure_epsilon
        if slack.up or slack.down:
            pure = (pure + slack.up + slack.down) * (1.0 + 4.0 * EPS)
        return tuple(charge.loss for charge in charges), pure, charges[0].failure

    def epsilon(self, *, delta: float | None = None) -> float:
        """The bound as it stands now.

        Args:
            delta: the odometer's own, or None: it was split beforehand.

        Raises:
            EventError: another delta.

        Example:
            >>> Odometer(delta=1e-6, relation="add_remove").epsilon()
            0.0
        """
        if delta is not None and check_delta(delta) != self._promise[0]:
            raise EventError(f"delta must be the odometer's own, {self._promise[0]!r}, got {delta!r}; it was split.")
        bounds = [math.inf if self._pure is None else _float_up(self._pure)]
        for total, order in zip(self._sums, self._promise[1], strict=True):
            if total is not None:
                cost = _float_up(total) - self._log_share
                bounds.append(math.nextafter(cost / (order - 1.0) * (1.0 + 4.0 * EPS), math.inf))
        return min(bounds)

    def statement(self, *, delta: float | None = None) -> Statement:
        """The bound as a statement that can be printed.

        Args:
            delta: the odometer's own, or None.

        Raises:
            EventError: another delta.

        Example:
            >>> "odometer" in str(Odometer(delta=1e-6, relation="zero_out").statement())
            True
        """
        name = f"Rényi odometer at {len(self._promise[1])} orders (events and the end may depend on results)"
        return state(self._ledger, self.epsilon(delta=delta), self._promise[0], name, admission=ODOMETER)

    def to_json(self) -> str:
        """The odometer as JSON text; :meth:`from_json` gives it back exactly.

        Raises:
            LedgerError: an event of a third party has fields that JSON cannot hold.

        Example:
            >>> odometer = Odometer(delta=1e-6, relation="add_remove")
            >>> Odometer.from_json(odometer.to_json()) == odometer
            True
        """
        promise = dict(zip(_PROMISE, self._promise, strict=True))
        return json.dumps({"schema": _SCHEMA, **promise, "ledger": json.loads(self._ledger.to_json())}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The odometer that :meth:`to_json` wrote; its entries are charged again.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not an odometer's JSON of this schema.
            UnsupportedEventError: an entry has no charge.
            BudgetExceededError: the entries may fail with more probability than is set aside.

        Example:
            >>> len(Odometer.from_json(Odometer(delta=1e-6, relation="zero_out").to_json()))
            0
        """
        data = parse_object(text, _SCHEMA, {"schema", "ledger", *_PROMISE})
        ledger = Ledger.from_json(json.dumps(data["ledger"]))
        try:
            odometer = cls(
                delta=data["delta"],
                relation=ledger.relation,
                unit=ledger.unit,
                orders=data["orders"],
                failure=data["failure"],
            )
        except (EventError, RelationError) as fault:
            raise LedgerError(f"odometer JSON has a bad head: {fault}") from fault
        for event, times, note in ledger.entries:
            odometer.record(event, times, note)
        odometer._ledger = ledger
        return odometer


def _plus(total: Fraction | None, part: float, times: int) -> Fraction | None:
    """An exact sum; None is infinite."""
    return None if total is None or part == math.inf else total + times * Fraction(part)


def _float_up(value: Fraction) -> float:
    """A float at least a sum; a float's own value is itself."""
    try:
        near = float(value)
    except OverflowError:
        return math.inf
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def _check_orders(orders: Iterable[float]) -> tuple[float, ...]:
    values = check_numbers("orders", orders, "give the orders to bound at, each > 1.")
    if not all(1.0 < order <= _LAST_ORDER for order in values) or len(set(values)) < len(values):
        raise EventError("orders must be distinct numbers in (1, 1e10]; None takes 2, 3, 5, 9, ... 1025.")
    return values
