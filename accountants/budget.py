"""Budget: a ledger that refuses what would break its promise, before it is released."""

from __future__ import annotations

import json
import math
from typing import Any, Self, final

from accountants._checks import MOST, check_delta, check_epsilon, check_positive, check_positive_down, check_prob
from accountants._exclusive import exclusive
from accountants._json import parse_object
from accountants._numerics import EPS, round_up
from accountants._release import read_release
from accountants.errors import BudgetExceededError, EventError, LedgerError, RelationError, UnsupportedEventError
from accountants.events import Event
from accountants.filters import RULES, Charge, Rule, Sums, log_remainder, order_for
from accountants.ledger import Entry, Ledger
from accountants.relation import Relation
from accountants.slack import Slack
from accountants.statement import Statement
from accountants.terms import BUDGET, state

__all__ = ["Budget"]

_SCHEMA = "accountants.budget/1"
_PROMISE = ("epsilon", "delta", "method", "order", "failure", "distance")
_LAST_ORDER = 1e10
_SET_ASIDE = "set aside what all events together may need, or 0."


@final
class Budget:
    """A promise of (epsilon, delta), held whatever is recorded: a privacy filter.

    Usable wherever a ledger is. The events may depend on all earlier results, and so may the moment to stop. What an
    event is charged is fixed by the event, and the limits by the promise: see :mod:`accountants.filters`. One order for
    all events is looser than the best accountant is for events that were fixed beforehand; those are a ``Plan``.

    Its ``epsilon`` is that of the whole promise, used or not: how much was used depends on the results. An accountant
    that is given a budget answers for its entries as if they had been fixed beforehand.

    Guarantee:
        Everything recorded is (epsilon, delta)-differentially private, however the events were chosen
        (``test_no_adaptive_adversary_overspends``); what does not fit raises before anything changes
        (``test_a_refused_record_changes_nothing``); a record takes the same time at any length
        (``test_ten_thousand_records_evaluate_each_curve_once``). Threads may share a budget
        (``test_a_budget_is_not_promised_to_two_threads``).

    Args:
        epsilon: the promise, > 0.
        delta: in (0, 1).
        relation: which data sets are neighbours; there is no default.
        unit: what one record is, in words.
        method: "rdp" for any event with a Rényi curve, "zcdp" for those with a rho, "gdp" for plain Gaussian noise
            only, which is then exact.
        order: the order that all events are charged at, > 1; or an event that most of the budget will go to, for the
            order at which the most of it fit; None takes the best one for unsampled Gaussians, far too high for sampled
            ones. It is fixed here and never follows what is recorded. Not for "gdp".
        failure: the part of delta that is set aside for events that may fail (``ApproxDP``, pairs with missing mass).
        distance: the total variation distance set aside for truncated batches; it takes (1 + e^epsilon) times itself of
            delta. What is not set aside is refused.
        require_secure: refuse every release that does not say that all its randomness was cryptographic, and bare
            events, which say nothing.

    Raises:
        EventError: a parameter is out of its domain, or no release could ever fit.
        RelationError: the relation is not one of the three.

    Example:
        >>> from accountants import Gaussian
        >>> budget = Budget(epsilon=1.0, delta=1e-6, relation="add_remove")
        >>> budget.remaining(Gaussian(40.0))
        77
        >>> budget.record(Gaussian(40.0), times=77)
        >>> budget.record(Gaussian(40.0))
        Traceback (most recent call last):
        accountants.errors.BudgetExceededError: times must be at most the 0 that still fit, got 1 of ...

    References:
        Feldman & Zrnic 2021 (arXiv 2008.11193); Lécuyer 2021 (arXiv 2103.01379); Smith & Thakurta 2022
        (arXiv 2210.17520).
    """

    __slots__ = ("_ledger", "_promise", "_rule", "_sums")
    __hash__ = None  # type: ignore[assignment]  # it grows

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        relation: Relation | str,
        unit: str = "example",
        method: str = "rdp",
        order: float | Event | None = None,
        failure: float = 0.0,
        distance: float = 0.0,
        require_secure: bool = False,
    ) -> None:
        self._ledger = Ledger(relation=relation, unit=unit, require_secure=require_secure)
        epsilon = check_positive_down("epsilon", epsilon, "it is what everything together may cost.")
        delta = check_delta(delta)
        failure, distance = check_prob("failure", failure, _SET_ASIDE), check_prob("distance", distance, _SET_ASIDE)
        _check_method(method, failure, distance)
        log_left = log_remainder(epsilon, delta, failure, distance)
        if isinstance(order, Event) and method != "gdp":
            order = order_for(order, self.relation, method, epsilon, log_left)
        self._rule: Rule = RULES[method](method, _check_order(order), epsilon, log_left)
        self._promise = (epsilon, delta, method, self._rule.order, failure, distance)
        self._sums = Sums(self._rule.limit, failure, distance)

    @property
    def relation(self) -> Relation:
        """The relation that the promise is about."""
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

    @property
    def order(self) -> float | None:
        """The order that all events are charged at; None for Gaussians."""
        return self._rule.order

    @property
    def spent(self) -> float:
        """The share of the budget that is used, in [0, 1], rounded up. It is no epsilon."""
        return self._sums.share

    def __len__(self) -> int:
        return len(self._ledger)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Budget):
            return NotImplemented
        return self._promise == other._promise and self._ledger == other._ledger

    def __repr__(self) -> str:
        epsilon, delta, method, order, *_ = self._promise
        return (
            f"Budget(epsilon={epsilon!r}, delta={delta!r}, relation={self.relation.value!r}, unit={self.unit!r}, "
            f"method={method!r}, order={order!r}, releases={len(self)}, spent={self.spent:.4f})"
        )

    def record(self, what: object, times: int = 1, note: str = "") -> None:
        """Record a release that fits; it may then be made.

        Args:
            what: an event, or a release, as for a ledger. It may depend on everything that was released before, and on
                nothing that it is itself about to tell.
            times: how many, >= 0.
            note: a remark that is kept with the row.

        Raises:
            BudgetExceededError: it does not fit; nothing was recorded, and the release must not be made.
            InsecureReleaseError: secure releases are required, and it does not say that it is one.
            UnsupportedEventError: the method has no sound charge for it.
            LedgerError: ``what`` carries no event, or ``times`` or ``note`` is not what it must be.

        Example:
            >>> from accountants import Gaussian
            >>> budget = Budget(epsilon=1.0, delta=1e-6, relation="add_remove", method="gdp")
            >>> budget.record(Gaussian(10.0), note="histogram")
            >>> len(budget), 0.1 < budget.spent < 0.3
            (1, True)
        """
        event, count, _ = read_release(what, times)
        charge = self._charge(event)
        with exclusive():
            room = self._sums.room(charge)
            if count > room:
                raise BudgetExceededError(
                    f"times must be at most the {room} that still fit, got {count} of {_shown(event)}; nothing was "
                    "recorded: release less or with more noise, or stop here.",
                    event=event,
                    times=count,
                    remaining=room,
                )
            self._ledger.record(what, times, note)
            self._sums.add(charge, count)

    def remaining(self, event: object) -> int:
        """How many such releases still fit if nothing else is recorded.

        Args:
            event: an event, or a release.

        Raises:
            UnsupportedEventError: the method has no sound charge for it.
            LedgerError: ``event`` carries no event.

        Example:
            >>> from accountants import Gaussian, PoissonSampled
            >>> step = PoissonSampled(Gaussian(1.0), 0.01)
            >>> budget = Budget(epsilon=2.0, delta=1e-5, relation="add_remove", order=step)
            >>> budget.remaining(step), round(budget.order, 1)
            (881, 7.9)
        """
        one, count, _ = read_release(event, 1)
        room = min(self._sums.room(self._charge(one)), MOST - len(self))
        return room // count if count else MOST - len(self)

    def _charge(self, event: Event) -> Charge:
        try:
            return self._rule.charge(event, self.relation)
        except UnsupportedEventError as reason:
            raise UnsupportedEventError(
                f"event cannot be recorded in a budget of method {self._promise[2]}: {reason}", event=event
            ) from reason

    def epsilon(self, *, delta: float | None = None) -> float:
        """The epsilon of the whole promise, whatever part of it is used.

        Args:
            delta: in (0, 1); None is the budget's own.

        Returns:
            The budget's epsilon, or at another delta what the same limits come to; +inf where failure and distance
            leave nothing of it.

        Raises:
            EventError: delta is out of range.

        Example:
            >>> budget = Budget(epsilon=1.0, delta=1e-6, relation="add_remove")
            >>> budget.epsilon(), 1.1 < budget.epsilon(delta=1e-8) < 1.5
            (1.0, True)
        """
        own, own_delta, _, _, failure, distance = self._promise
        chosen = own_delta if delta is None else check_delta(delta)
        if chosen == own_delta:
            return own
        log_delta = math.log(chosen) * (1.0 + 2.0**-50)

        def base(given: float) -> float:  # of (1-F) δ₀, for the filter's theorem has no factor 1-F
            return self._rule.epsilon(given + math.log1p(-failure) * (1.0 + 8.0 * EPS))

        cost = Slack(failure=failure, distance=distance).epsilon(base, log_delta)
        return min(own, cost) if chosen > own_delta else cost

    def delta(self, *, epsilon: float | None = None) -> float:
        """The delta of the whole promise, whatever part of it is used.

        Args:
            epsilon: finite, >= 0; None is the budget's own.

        Raises:
            EventError: epsilon is out of range.

        Example:
            >>> budget = Budget(epsilon=1.0, delta=1e-6, relation="add_remove")
            >>> budget.delta(), budget.delta(epsilon=2.0) < 1e-12
            (1e-06, True)
        """
        own_epsilon, own, _, _, failure, distance = self._promise
        chosen = own_epsilon if epsilon is None else check_epsilon(epsilon)
        if chosen == own_epsilon:
            return own

        def base(given: float) -> float:  # δ₀ / (1-F), for the filter's theorem has no factor 1-F
            return round_up(math.exp(self._rule.log_delta(given)) / (1.0 - failure), 16)

        cost = Slack(failure=failure, distance=distance).delta(base, chosen)
        return min(own, cost) if chosen > own_epsilon else cost

    def statement(self, *, delta: float | None = None) -> Statement:
        """The promise as a statement that can be printed.

        Args:
            delta: in (0, 1); None is the budget's own.

        Raises:
            EventError: delta is out of range.

        Example:
            >>> "privacy filter" in str(Budget(epsilon=1.0, delta=1e-6, relation="zero_out").statement())
            True
        """
        chosen = self._promise[1] if delta is None else delta
        name = f"{self._rule} (a budget: events may depend on results, and were refused beyond it)"
        return state(self._ledger, self.epsilon(delta=chosen), chosen, name, admission=BUDGET)

    def to_json(self) -> str:
        """The budget as JSON text: its promise and its ledger; :meth:`from_json` gives it back exactly.

        Raises:
            LedgerError: an event of a third party has fields that JSON cannot hold.

        Example:
            >>> budget = Budget(epsilon=1.0, delta=1e-6, relation="add_remove")
            >>> Budget.from_json(budget.to_json()) == budget
            True
        """
        promise = dict(zip(_PROMISE, self._promise, strict=True))
        return json.dumps({"schema": _SCHEMA, **promise, "ledger": json.loads(self._ledger.to_json())}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The budget that :meth:`to_json` wrote; its entries are charged again.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not a budget's JSON of this schema.
            UnsupportedEventError: an entry has no charge.
            BudgetExceededError: the entries do not fit.

        Example:
            >>> len(Budget.from_json(Budget(epsilon=1.0, delta=1e-6, relation="zero_out").to_json()))
            0
        """
        data = parse_object(text, _SCHEMA, {"schema", "ledger", *_PROMISE})
        ledger = Ledger.from_json(json.dumps(data["ledger"]))
        promise: dict[str, Any] = {name: data[name] for name in _PROMISE}
        try:
            budget = cls(relation=ledger.relation, unit=ledger.unit, **promise)
        except (EventError, RelationError) as fault:
            raise LedgerError(f"budget JSON has a bad head: {fault}") from fault
        for event, times, note in ledger.entries:
            budget.record(event, times, note)
        budget._ledger = ledger
        return budget


def _check_method(method: object, failure: float, distance: float) -> None:
    if not isinstance(method, str) or method not in RULES:
        raise EventError(
            f"method must be {', '.join(RULES)}, got {method!r}; no other bound is known to hold when events depend on "
            "results (privacy-loss distributions do not), and a Plan of events fixed beforehand may use any."
        )
    if method == "gdp" and (failure or distance):
        raise EventError(
            f'failure and distance must be 0 for method "gdp", got {failure!r} and {distance!r}: it holds plain '
            'Gaussians only; use method "rdp".'
        )


def _check_order(order: object) -> float | None:
    if order is None:
        return None
    value = check_positive("order", order, "choose one > 1, an event that is to fit, or None for Gaussians.")
    if not 1.0 < value <= _LAST_ORDER:
        raise EventError(f"order must be in (1, 1e10], got {order!r}; None takes the best of Gaussians.")
    return value


def _shown(event: Event) -> str:
    shown = repr(event)
    return shown if len(shown) <= 120 else type(event).__name__
