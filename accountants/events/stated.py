"""Releases known by a guarantee that is stated, or by a pair of laws that is given, rather than by their noise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from accountants._checks import check_count, check_finite, check_numbers, check_prob
from accountants.errors import EventError
from accountants.events.base import Event, store
from accountants.relation import Relation, as_relation

__all__ = [
    "ZCDP",
    "ApproxDP",
    "BoundedRange",
    "DominatingPair",
    "NonPrivate",
    "PureDP",
    "RDPCurve",
    "RandomizedResponse",
]

_STATED = "give the guarantee as a finite number; a release without one is NonPrivate()."
_PRINTED = 8  # atoms of a pair whose masses are printed
_SUM_SLACK = 1e-9  # how far from 1 the float sum of a law's masses may be


@final
@dataclass(frozen=True, slots=True)
class RandomizedResponse(Event):
    r"""Each record's category, told truly with probability :math:`e^\epsilon/(e^\epsilon+k-1)`, else another one.

    A record takes part whatever it holds, so the event is about ``replace_one`` only.

    Args:
        epsilon: log-odds of the truth against any one other answer, >= 0.
        categories: k, the number of answers, >= 2.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> RandomizedResponse(1.0)
        RandomizedResponse(epsilon=1.0, categories=2)

    References:
        Kairouz, Oh & Viswanath 2016 (arXiv 1407.1338), k-ary randomized response.
    """

    epsilon: float
    categories: int = 2

    def __post_init__(self) -> None:
        epsilon = check_finite("epsilon", self.epsilon, _STATED)
        store(self, epsilon=epsilon, categories=check_count("categories", self.categories, 2, "count the answers."))


@final
@dataclass(frozen=True, slots=True)
class BoundedRange(Event):
    """A release whose privacy loss, between neighbours, has a range of at most ``epsilon``: the exponential mechanism.

    The range is that under the relation of the ledger that it is recorded in.

    Args:
        epsilon: largest minus smallest log-ratio over all outcomes, >= 0.

    Raises:
        EventError: epsilon is not a finite number >= 0.

    Example:
        >>> BoundedRange(0.5)
        BoundedRange(epsilon=0.5)

    References:
        Durfee & Rogers 2019 (arXiv 1905.04273), Definition 3.1; Dong, Durfee & Rogers 2020 (arXiv 1909.13830).
    """

    epsilon: float

    def __post_init__(self) -> None:
        store(self, epsilon=check_finite("epsilon", self.epsilon, _STATED))


@final
@dataclass(frozen=True, slots=True)
class PureDP(Event):
    """A release that is epsilon-differentially private under the relation named, and of which no more is known.

    Args:
        epsilon: the largest absolute log-ratio, >= 0.
        relation: the relation it holds for; under another one the event is refused.

    Raises:
        EventError: epsilon is not a finite number >= 0.
        RelationError: the relation is not one of the three.

    Example:
        >>> PureDP(0.5, "add_remove").epsilon
        0.5
    """

    epsilon: float
    relation: Relation

    def __post_init__(self) -> None:
        store(self, epsilon=check_finite("epsilon", self.epsilon, _STATED), relation=as_relation(self.relation))


@final
@dataclass(frozen=True, slots=True)
class ApproxDP(Event):
    """A release that is (epsilon, delta)-differentially private under the relation named, and nothing more is known.

    Args:
        epsilon: >= 0.
        delta: in [0, 1].
        relation: the relation it holds for; under another one the event is refused.

    Raises:
        EventError: a parameter is out of its domain.
        RelationError: the relation is not one of the three.

    Example:
        >>> ApproxDP(0.5, 1e-8, "replace_one").delta
        1e-08

    References:
        Kairouz, Oh & Viswanath 2015 (arXiv 1311.0776), Theorem 3.3: the worst such release and its composition.
    """

    epsilon: float
    delta: float
    relation: Relation

    def __post_init__(self) -> None:
        delta = check_prob("delta", self.delta, "give the delta that the release is stated with.")
        epsilon = check_finite("epsilon", self.epsilon, _STATED)
        store(self, epsilon=epsilon, delta=delta, relation=as_relation(self.relation))


@final
@dataclass(frozen=True, slots=True)
class ZCDP(Event):
    """A release that is rho-zero-concentrated differentially private under the relation named.

    Args:
        rho: the Rényi divergence of every order is at most order * rho; >= 0.
        relation: the relation it holds for; under another one the event is refused.

    Raises:
        EventError: rho is not a finite number >= 0.
        RelationError: the relation is not one of the three.

    Example:
        >>> ZCDP(0.125, "add_remove").rho
        0.125

    References:
        Bun & Steinke 2016 (arXiv 1605.02065), Definition 1.1.
    """

    rho: float
    relation: Relation

    def __post_init__(self) -> None:
        store(self, rho=check_finite("rho", self.rho, _STATED), relation=as_relation(self.relation))


@final
@dataclass(frozen=True, slots=True)
class RDPCurve(Event):
    """A release of which the Rényi divergence is bounded at some orders, in both directions.

    Args:
        orders: increasing orders > 1.
        values: a bound of the divergence at each order, >= 0; +inf where there is none.
        relation: the relation it holds for; under another one the event is refused.

    Raises:
        EventError: orders and values are not as they must be.
        RelationError: the relation is not one of the three.

    Example:
        >>> RDPCurve([2, 4, 8], [0.1, 0.2, 0.4], "add_remove").orders
        (2.0, 4.0, 8.0)
    """

    orders: tuple[float, ...]
    values: tuple[float, ...]
    relation: Relation

    def __post_init__(self) -> None:
        advice = (
            "give an order > 1 and a bound for each; a bound at every order is a ZCDP, Gaussian or class of its own."
        )
        orders = check_numbers("orders", self.orders, advice)
        values = check_numbers("values", self.values, advice)
        if not all(1.0 < order < math.inf for order in orders) or list(orders) != sorted(set(orders)):
            raise EventError(f"orders must be finite, > 1 and increasing, got {_shown(orders)}; {advice}")
        if len(values) != len(orders) or not all(value >= 0.0 for value in values):
            raise EventError(
                f"values must be one number >= 0 for each of the {len(orders)} orders, got {_shown(values)}; {advice}"
            )
        store(self, orders=orders, values=values, relation=as_relation(self.relation))


@final
@dataclass(frozen=True, slots=True)
class NonPrivate(Event):
    """A release without protection: whatever stands beside it, epsilon is infinite.

    Example:
        >>> NonPrivate()
        NonPrivate()
    """


@final
@dataclass(frozen=True, slots=True)
class DominatingPair(Event):
    r"""Any mechanism, by two discrete laws that dominate it under the ledger's relation.

    P is the law with the record, Q without it (under ``replace_one``: with either value), over the same atoms. They
    dominate if :math:`P'(S) - tQ'(S) \le \sup_T P(T) - tQ(T)` for all neighbours, all sets S and every t > 0; the
    other direction is (Q, P), and both are looked at. Mass that P lacks, beyond rounding, counts as lost privacy.

    Under a sampler the pair is about the batch. Under :class:`PoissonSampled` P is the law with the record in the batch
    and Q that without it, in a ledger about ``add_remove``. Under :class:`FixedSizeSampled` a record of the batch is
    replaced by another, in a ledger about ``replace_one`` or ``add_remove``.

    Args:
        log_p: log-probabilities of P, -inf for none; they sum to 1 within 1e-9.
        log_q: the same of Q, over the same atoms.

    Raises:
        EventError: the two are not laws on the same atoms.

    Example:
        >>> import math
        >>> coin = DominatingPair([math.log(0.75), math.log(0.25)], [math.log(0.25), math.log(0.75)])
        >>> len(coin.log_p)
        2

    References:
        Zhu, Dong & Wang 2022 (arXiv 2106.08567), Definition 7.
    """

    log_p: tuple[float, ...]
    log_q: tuple[float, ...]

    def __post_init__(self) -> None:
        store(self, log_p=_law("log_p", self.log_p), log_q=_law("log_q", self.log_q))
        if len(self.log_p) != len(self.log_q):
            raise EventError(
                f"log_q must have as many atoms as log_p, {len(self.log_p)}, got {len(self.log_q)}; use -inf where a "
                "law has no mass."
            )

    def __repr__(self) -> str:
        if len(self.log_p) <= _PRINTED:
            return f"DominatingPair(log_p={self.log_p!r}, log_q={self.log_q!r})"
        return f"DominatingPair(<{len(self.log_p)} atoms>)"


def _law(name: str, values: Iterable[float]) -> tuple[float, ...]:
    advice = "give the log-probabilities of all atoms, -inf for none."
    logs = check_numbers(name, values, advice)
    if not all(value < 1.0 for value in logs):
        raise EventError(f"{name} must be logarithms of probabilities, got {_shown(logs)}; {advice}")
    total = math.fsum(math.exp(value) for value in logs)
    if abs(total - 1.0) > _SUM_SLACK:
        raise EventError(f"{name} must hold masses that sum to 1, got a sum of {total!r}; {advice}")
    return logs


def _shown(values: tuple[float, ...]) -> str:
    shown = repr(values)
    return shown if len(shown) <= 60 else f"{len(values)} numbers"
