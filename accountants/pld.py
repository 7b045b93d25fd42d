r"""The tight accountant: certified bounds of the curve itself, whatever engine answers.

A ledger folds into core events and one slack; each core event has a pair of laws for every direction. A direction is
constant along a ledger whose events were fixed beforehand, so the curve is the larger of the directions' curves, and
each direction is a composition of pairs that an engine answers. What no engine certifies is handed over: the upper end
to the Rényi accountant, the lower end to a named witness (:mod:`accountants.witness`). The slack is added at the end,
once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from accountants._checks import check_delta, check_epsilon, check_epsilons, check_positive
from accountants._numerics import EPS, Floats, round_up
from accountants.accountant import Account
from accountants.composition import (
    AT_LEAST_ZERO,
    NO_ENGINE,
    NOTHING_LEFT,
    Certificate,
    Composition,
    compose,
    epsilon_of,
    log_delta_of,
    log_deltas_of,
    smoothed,
)
from accountants.errors import EventError, UnsupportedEventError
from accountants.events import Event
from accountants.rdp import RDPAccountant
from accountants.relation import Relation
from accountants.witness import witness

__all__ = ["Certificate", "PLDAccountant", "snapshot"]

_RDP = RDPAccountant()
_LARGEST = 1e290
_UNDERFLOW = -745.0  # log of the smallest float64


class _Kept(NamedTuple):
    """What an account held at one time."""

    relation: Relation
    entries: tuple[tuple[Event, int, str], ...]


@final
@dataclass(frozen=True, slots=True)
class PLDAccountant:
    r"""The privacy-loss accountant: ε and δ of the curve itself, certified from both sides.

    Guarantee:
        ``epsilon`` is never below the curve's value and ``bounds`` contains it, given the event's dominating pairs and
        events fixed beforehand: aliasing, truncation, quadrature and rounding are bounded in code, each by the
        inequality in the docstring of the module that computes it (:mod:`accountants.profile`,
        :mod:`accountants.lattice`, :mod:`accountants.contour`, :mod:`accountants.fourier`). Never above
        :class:`~accountants.rdp.RDPAccountant` by more than the tolerance; never negative, never NaN. Held by
        tests/accountants/test_pld.py and tests/laws.

    Args:
        tolerance: relative gap between the ends that the engines aim at; what they reach is what ``bounds`` returns.

    Raises:
        EventError: the tolerance is not in (0, 1).

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> steps = PoissonSampled(Gaussian(1.0), 0.01) * 1000
        >>> lower, upper = PLDAccountant().bounds(steps, delta=1e-5, relation="add_remove")
        >>> lower <= 1.8282366665170906 <= upper and upper - lower < 1e-4 * upper
        True

    References:
        Koskela, Jälkö & Honkela 2020 (arXiv 1906.03049) for the loss distribution; Zhu, Dong & Wang 2022 (arXiv
        2106.08567) for dominating pairs; the contour and its certificate are ours (docs/certificate.md).
    """

    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        advice = "1e-4 is a good choice; smaller ones cost time."
        if check_positive("tolerance", self.tolerance, advice) >= 1.0:
            raise EventError(f"tolerance must be < 1, got {self.tolerance!r}; {advice}")

    def __str__(self) -> str:
        return "privacy-loss accountant (certified)"

    def epsilon(self, what: Account | Event, *, delta: float, relation: Relation | str | None = None) -> float:
        """An upper bound of epsilon, within the tolerance of the curve's value wherever an engine certifies it.

        Args:
            what: a ledger, or an event.
            delta: in (0, 1).
            relation: required with an event; with a ledger, its own or None.

        Returns:
            A number >= 0; +inf if nothing better is known.

        Raises:
            EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no sound curve is known.

        Example:
            >>> from accountants import Gaussian
            >>> round(PLDAccountant().epsilon(Gaussian(1.0), delta=1e-6, relation="add_remove"), 6)
            4.886554
        """
        return self._certificate(what, delta, relation)[0].upper

    def bounds(
        self, what: Account | Event, *, delta: float, relation: Relation | str | None = None
    ) -> tuple[float, float]:
        """A lower and an upper bound of epsilon, both certified.

        Where no engine certifies both ends, the lower one is what some test of the releases shows; `certify` names it.

        Args:
            what: a ledger, or an event.
            delta: in (0, 1).
            relation: required with an event; with a ledger, its own or None.

        Returns:
            (lower, upper), 0 <= lower <= upper.

        Raises:
            EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no sound curve is known.

        Example:
            >>> from accountants import Laplace
            >>> PLDAccountant().bounds(Laplace(1.0), delta=1e-300, relation="add_remove")[1] <= 1.0 + 1e-15
            True
        """
        shown = self.certify(what, delta=delta, relation=relation)
        return shown.lower, shown.upper

    def certify(self, what: Account | Event, *, delta: float, relation: Relation | str | None = None) -> Certificate:
        """The bounds, and what they come from.

        Args:
            what: a ledger, or an event.
            delta: in (0, 1).
            relation: required with an event; with a ledger, its own or None.

        Raises:
            EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no sound curve is known.

        Example:
            >>> from accountants import Laplace
            >>> PLDAccountant().certify(Laplace(1.0) * 9, delta=1e-6, relation="add_remove").upper_from
            'tilted Fourier'
        """
        shown, composition = self._certificate(what, delta, relation)
        if self._is_tight(shown.lower, shown.upper):
            return shown
        names = [shown.lower_from]

        def lower(log_delta: float) -> float:
            tests = (witness(direction, log_delta) for direction in composition.directions)
            value, name = max(tests, default=(0.0, AT_LEAST_ZERO))
            names.append(f"witness: {name}")
            return min(value, sys.float_info.max)

        value = min(composition.slack.lower_epsilon(lower, math.log(delta)), shown.upper)
        return Certificate(value, shown.upper, shown.upper_from, names[-1]) if value > shown.lower else shown

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
            UnsupportedEventError: no sound curve is known.

        Example:
            >>> from accountants import Gaussian
            >>> round(PLDAccountant().delta(Gaussian(1.0), epsilon=1.0, relation="add_remove"), 6)
            0.126937
        """
        return float(self.profile(what, epsilons=(epsilon,), relation=relation)[0])

    def profile(
        self, what: Account | Event, *, epsilons: Sequence[float] | Floats, relation: Relation | str | None = None
    ) -> Floats:
        """Upper bounds of delta at many epsilons, which share work: much cheaper than one by one.

        Args:
            what: a ledger, or an event.
            epsilons: shape (n,), finite, >= 0.
            relation: required with an event; with a ledger, its own or None.

        Returns:
            float64 array of shape (n,), each in [0, 1].

        Raises:
            EventError: an epsilon is out of range, or ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.
            UnsupportedEventError: no sound curve is known.

        Example:
            >>> from accountants import Gaussian
            >>> PLDAccountant().profile(Gaussian(1.0), epsilons=[0.0, 1.0], relation="add_remove").round(6).tolist()
            [0.382925, 0.126937]
        """
        targets = np.minimum(check_epsilons(epsilons), _LARGEST)  # delta falls in epsilon
        kept = snapshot(what)
        composition, held = compose(kept, relation)
        upper, is_tight = self._own_deltas(composition, targets)
        for index in np.flatnonzero(~is_tight):
            upper[index] = self._handed_over(kept, held, composition, float(targets[index]), float(upper[index]))
        return upper

    def curve(
        self, what: Account | Event, *, relation: Relation | str | None = None, enough: float = 0.0
    ) -> Callable[[float], float]:
        """Delta as a function of epsilon, for whoever searches it: what every epsilon shares is prepared once.

        Args:
            what: a ledger, as it is now; or an event.
            relation: required with an event; with a ledger, its own or None.
            enough: a delta >= 0; an upper bound of at most this is not improved.

        Returns:
            A function from a finite epsilon >= 0 to an upper bound of delta, in [0, 1]; it raises what `delta` would.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.
            RelationError: the relation is missing or is not the ledger's.

        Example:
            >>> from accountants import Gaussian
            >>> delta = PLDAccountant().curve(Gaussian(1.0), relation="add_remove")
            >>> round(delta(1.0), 6)
            0.126937
        """
        kept = snapshot(what)
        composition, held = compose(kept, relation)
        own = self._own_delta(composition, math.log(enough) if enough > 0.0 else -math.inf)

        def least(epsilon: float) -> float:
            target = min(check_epsilon(epsilon), _LARGEST)  # delta falls in epsilon
            upper, is_tight = own(target)
            return upper if is_tight else self._handed_over(kept, held, composition, target, upper)

        return least

    def supports(self, what: Account | Event, *, relation: Relation | str | None = None) -> bool:
        """Whether every event in ``what`` has a sound curve here.

        Args:
            what: a ledger, or an event.
            relation: the relation to hold an event under; None asks whether there is any.

        Raises:
            EventError: ``what`` is neither a ledger nor an event.

        Example:
            >>> from accountants import Gaussian
            >>> PLDAccountant().supports(Gaussian(1.0))
            True
        """
        return _RDP.supports(what, relation=relation)

    def _certificate(
        self, what: Account | Event, delta: float, relation: Relation | str | None
    ) -> tuple[Certificate, Composition]:
        """The engines' bounds, and where these do not close the least upper end of those that take over."""
        log_delta = math.log(check_delta(delta))
        composition, held = compose(what, relation)
        shown = self._own_epsilon(composition, log_delta)
        if self._is_tight(shown.lower, shown.upper):
            return shown, composition
        others = self._others(
            lambda: self._own_epsilon(smoothed(what, held, composition), log_delta).upper,
            lambda: _RDP.epsilon(what, delta=delta, relation=held),
            composition,
        )
        upper, name = min([(shown.upper, shown.upper_from), *((value, name) for name, value in others.items())])
        return Certificate(min(shown.lower, upper), upper, name, shown.lower_from), composition

    def _others(
        self, smoothing: Callable[[], float], rdp: Callable[[], float], composition: Composition
    ) -> dict[str, float]:
        """Upper ends from elsewhere, by name; a refusal only counts where the engines have none either."""
        found: dict[str, float] = {}
        for name, other in (("smoothing", smoothing), (str(_RDP), rdp)):
            try:
                found[name] = other()
            except UnsupportedEventError as refusal:
                refused = refusal
        if not found and not composition.is_complete:
            raise refused
        return found

    def _handed_over(
        self, what: Account | Event, held: Relation, composition: Composition, epsilon: float, upper: float
    ) -> float:
        """The least of an upper end of δ that the engines left open and those of the others."""
        others = self._others(
            lambda: self._own_delta(smoothed(what, held, composition))(epsilon)[0],
            lambda: _RDP.delta(what, epsilon=epsilon, relation=held),
            composition,
        )
        return min([upper, *others.values()])

    def _is_tight(self, lower: float, upper: float) -> bool:
        return lower == upper or upper - lower <= self.tolerance * upper < math.inf

    def _own_epsilon(self, composition: Composition, log_delta: float) -> Certificate:
        """The engines' bounds with slack; nothing from above where an event has no pair."""
        seen: dict[float, Certificate] = {}

        def at(log_delta: float) -> Certificate:
            if log_delta not in seen:
                seen[log_delta] = epsilon_of(composition, log_delta, self.tolerance)
            return seen[log_delta]

        lower = composition.slack.lower_epsilon(lambda log_delta: at(log_delta).lower, log_delta)
        upper = composition.slack.epsilon(lambda log_delta: at(log_delta).upper, log_delta)
        last = at(log_delta)
        if not composition.is_complete:
            return Certificate(lower, math.inf, NO_ENGINE, last.lower_from)
        if lower == math.inf:
            return Certificate(lower, lower, NOTHING_LEFT, NOTHING_LEFT)
        return Certificate(min(lower, upper), upper, last.upper_from, last.lower_from)

    def _own_delta(self, composition: Composition, enough: float = -math.inf) -> Callable[[float], tuple[float, bool]]:
        """ε -> the engines' upper bound of δ with slack, and whether all of them closed their bounds.

        A log δ of at most ``enough`` counts as closed.
        """
        curve = log_delta_of(composition, self.tolerance, enough)

        def at(epsilon: float) -> tuple[float, bool]:
            if not composition.is_complete:
                return 1.0, False
            gaps = [0.0]

            def base(inner: float) -> float:
                low, high = curve(inner)
                gaps.append(0.0 if high < _UNDERFLOW or high <= enough else high - low)
                return min(1.0, round_up(math.exp(high), 16)) if high > -math.inf else 0.0

            upper = composition.slack.delta(base, epsilon)
            return upper, max(gaps) <= self.tolerance

        return at

    def _own_deltas(self, composition: Composition, epsilons: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The same at many ε."""
        if not composition.is_complete:
            return np.ones_like(epsilons), np.zeros(epsilons.shape, dtype=bool)
        curve = log_deltas_of(composition, self.tolerance)
        is_tight = np.ones(epsilons.shape, dtype=bool)

        def base(inner: Floats) -> Floats:
            low, high = curve(inner)
            is_tight[:] = (high < _UNDERFLOW) | (high <= low + self.tolerance)
            up = np.nextafter(np.exp(high) * (1.0 + 16.0 * EPS), math.inf)
            return np.where(high > -math.inf, np.minimum(up, 1.0), 0.0)

        return composition.slack.deltas(base, epsilons), is_tight


def snapshot(what: Account | Event) -> Account | Event:
    """What an account holds now; an event is itself."""
    return _Kept(what.relation, what.entries) if isinstance(what, Account) else what
