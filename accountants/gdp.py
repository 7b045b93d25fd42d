r"""Gaussian differential privacy, where it is exact: compositions of unsampled Gaussian releases and nothing else.

A Gaussian release with noise z in units of the distance has the curve of N(1/z, 1) against N(0, 1); a composition, also
an adaptive one, that of N(μ, 1) with :math:`\mu^2 = \sum_i 1/z_i^2` (Dong, Roth & Su 2022, Corollary 3.3). Events that
are a Gaussian but for a slack are held with it. Sampled noise is not Gaussian at any μ: its central limit approximation
is in :mod:`accountants.estimates`, and is no bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import final

from accountants._checks import check_delta, check_epsilon
from accountants._gauss import separation
from accountants._numerics import round_up
from accountants.accountant import Account, folded
from accountants.errors import UnsupportedEventError
from accountants.events import Event, Gaussian
from accountants.pairs import Noise, Pair, Shape, dominating_pairs
from accountants.profile import gaussian_epsilon_bounds, gaussian_log_delta_bounds
from accountants.relation import Relation
from accountants.slack import Slack

__all__ = ["GDPAccountant", "gaussian_scale"]


@singledispatch
def gaussian_scale(event: Event, relation: Relation) -> float:
    """The noise of one occurrence in units of the distance, for an event whose pair of laws is a shifted Gaussian.

    Register a class of your own with ``gaussian_scale.register``, if its trade-off curve IS a Gaussian's.

    Args:
        event: a core event.
        relation: the neighbouring relation.

    Returns:
        1/μ.

    Raises:
        UnsupportedEventError: the event is nothing of the kind.

    Example:
        >>> gaussian_scale(Gaussian(3.0), Relation.replace_one)
        1.5
    """
    raise UnsupportedEventError(
        f"event must be unsampled Gaussian noise for GDPAccountant, which is exact or refuses, got "
        f"{type(event).__name__}; use PLDAccountant() or RDPAccountant().",
        event=event,
    )


@gaussian_scale.register
def _(event: Gaussian, relation: Relation) -> float:
    (pair,) = dominating_pairs(event, relation)
    if not isinstance(pair, Pair) or (pair.noise, pair.shape) != (Noise.GAUSSIAN, Shape.SHIFT):
        raise UnsupportedEventError("event must have a shifted Gaussian pair; use PLDAccountant().", event=event)
    return pair.scale


@final
@dataclass(frozen=True, slots=True)
class GDPAccountant:
    r"""Exact for unsampled Gaussians; refuses everything else.

    Guarantee:
        ``bounds`` contains the epsilon of the curve, to about 10^-13 relative, and ``epsilon`` is its upper end; both
        at every delta. Held by ``test_bounds_contain_the_closed_form``.

    Example:
        >>> round(GDPAccountant().epsilon(Gaussian(2.0), delta=1e-5, relation="add_remove"), 6)
        1.993091

    References:
        Dong, Roth & Su 2022 (arXiv 1905.02383), Corollary 3.3; Balle & Wang 2018 (arXiv 1805.06530), Theorem 8.
    """

    def __str__(self) -> str:
        return "GDP accountant (exact for Gaussians)"

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
            UnsupportedEventError: an event is not unsampled Gaussian noise.

        Example:
            >>> round(GDPAccountant().epsilon(Gaussian(10.0) * 100, delta=1e-6, relation="add_remove"), 6)
            4.886554
        """
        return self.bounds(what, delta=delta, relation=relation)[1]

    def bounds(
        self, what: Account | Event, *, delta: float, relation: Relation | str | None = None
    ) -> tuple[float, float]:
        """A lower and an upper bound of the curve's epsilon.

        Args:
            what: a ledger, or an event.
            delta: in (0, 1).
            relation: required with an event; with a ledger, its own or None.

        Returns:
            (lower, upper): where there is slack, of the curve with its slack added.

        Raises:
            EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: an event is not unsampled Gaussian noise.

        Example:
            >>> low, high = GDPAccountant().bounds(Gaussian(1.0), delta=1e-30, relation="add_remove")
            >>> low <= 11.743883025231736 <= high and high - low < 1e-11
            True
        """
        log_delta = math.log(check_delta(delta))
        mu, slack = _separation(what, relation)

        def end(given: float, which: int) -> float:
            return gaussian_epsilon_bounds(mu, given)[which] if mu > 0.0 else 0.0

        lower = slack.lower_epsilon(lambda given: end(given, 0), log_delta * (1.0 - 2.0**-50))
        return lower, slack.epsilon(lambda given: end(given, 1), log_delta * (1.0 + 2.0**-50))

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
            UnsupportedEventError: an event is not unsampled Gaussian noise.

        Example:
            >>> round(GDPAccountant().delta(Gaussian(1.0), epsilon=1.0, relation="add_remove"), 6)
            0.126937
        """
        target = check_epsilon(epsilon)
        mu, slack = _separation(what, relation)

        def base(inner: float) -> float:
            if mu == 0.0:
                return max(0.0, round_up(-math.expm1(inner))) if inner < 0.0 else 0.0
            return min(1.0, round_up(math.exp(gaussian_log_delta_bounds(mu, inner)[1])))

        return slack.delta(base, target)

    def mu(self, what: Account | Event, *, relation: Relation | str | None = None) -> float:
        """The μ for which the composition is μ-GDP exactly, rounded up; slack, if there is any, is not in it.

        Args:
            what: a ledger, or an event.
            relation: required with an event; with a ledger, its own or None.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: an event is not unsampled Gaussian noise.

        Example:
            >>> round(GDPAccountant().mu(Gaussian(2.0) * 16, relation="add_remove"), 12)
            2.0
        """
        mu = _separation(what, relation)[0]
        return round_up(mu) if mu > 0.0 else 0.0

    def supports(self, what: Account | Event, *, relation: Relation | str | None = None) -> bool:
        """Whether everything in ``what`` is unsampled Gaussian noise.

        Args:
            what: a ledger, or an event.
            relation: the relation to hold an event under; None asks whether there is any.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.

        Example:
            >>> from accountants import Laplace
            >>> GDPAccountant().supports(Laplace(1.0))
            False
        """
        if relation is None and isinstance(what, Event):
            return any(self.supports(what, relation=one) for one in Relation)
        try:
            _separation(what, relation)
        except UnsupportedEventError:
            return False
        return True


def _separation(what: Account | Event, relation: Relation | str | None) -> tuple[float, Slack]:
    """μ to 4 EPS, 0 for nothing, and the slack."""
    content, held = folded(what, relation, smooth=True)
    scales = [(gaussian_scale(event, held), times) for event, times in content.parts]
    return separation(scales) if scales else 0.0, content.slack
