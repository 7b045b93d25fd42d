r"""PrivacyLoss: the privacy loss of what was released as a value that composes, and answers every question about it.

For laws M, M' of everything released from two neighbouring data sets, the *hockey-stick divergence* at a real ε is

.. math:: H(\epsilon) = \sup_S M(S) - e^\epsilon M'(S),

and δ(ε) the largest of any two neighbours, in either order. For ε >= 0 that is the δ of (ε, δ)-differential privacy.
Below 0 it says how unlike the laws may be at all, and nothing new: the complement of a set S gives :math:`M(S) -
e^{-\epsilon}M'(S) = 1 - e^{-\epsilon} + e^{-\epsilon}(M'(S^c) - e^\epsilon M(S^c))`, hence, as neighbours come in both
orders,

.. math:: \delta(-\epsilon) = 1 - e^{-\epsilon} + e^{-\epsilon}\,\delta(\epsilon),

whatever was released: events with slack, failures, and those of which only a Rényi curve is known.

There is no second accounting: a loss is a multiset of events, and what it answers is what
:class:`~accountants.pld.PLDAccountant` answers about them, with whatever engine. Events are held as they are recorded,
sums and repetitions taken apart, in an order of their own: how a loss was put together is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, final, overload

import numpy as np

from accountants._axes import new_axes
from accountants._checks import check_count
from accountants._hockey import asked, least_deltas, mirrored
from accountants._multiset import Held, Row, multiset, repeated
from accountants._numerics import Floats
from accountants.accountant import Account
from accountants.composition import compose
from accountants.engines import Direction
from accountants.events import Event
from accountants.pld import PLDAccountant
from accountants.relation import Relation
from accountants.tradeoff import TradeOff, tradeoff

__all__ = ["PrivacyLoss"]

_SHOWN = 1e-6  # the delta of str()
_DIGITS = Context(prec=4, rounding=ROUND_CEILING)
_DRAWN = 1e-9  # the delta at which a plot ends
_FLOOR = 1e-12  # below what is drawn: 0 has no logarithm
_POINTS = 256


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class PrivacyLoss:
    """The privacy loss of a ledger or an event; it composes further and never changes.

    Usable wherever a ledger is asked: accountants and trade-off curves read its ``entries``. Events are taken to have
    been fixed beforehand, those of a budget as well.

    Guarantee:
        Upper ends are never below the truth and lower ends never above what the events' dominating pairs, with their
        slack, cost: they are those of :class:`~accountants.pld.PLDAccountant`, to the bit
        (``test_answers_are_the_tight_accountants``). The order and grouping of sums changes no bit
        (``test_grouping_and_order_change_no_bit``). A refused operation leaves everything as it was
        (``test_a_refusal_leaves_everything_as_it_was``).

    Args:
        what: a ledger, as it is now; an event; or another loss.
        relation: required with an event; otherwise its own or None.
        tolerance: relative gap between the ends of epsilon that is aimed at.

    Raises:
        EventError: ``what`` is neither, or the tolerance is not in (0, 1).
        RelationError: the relation is missing, or is not the ledger's.
        UnsupportedEventError: no sound bound is known for an event under this relation.

    Example:
        >>> from accountants import Gaussian, Laplace, PoissonSampled
        >>> training = PrivacyLoss(PoissonSampled(Gaussian(1.0), 0.01), "add_remove") * 1000
        >>> everything = training + Laplace(10.0)
        >>> round(training.epsilon(1e-5), 3), everything.epsilon(1e-5) > training.epsilon(1e-5)
        (1.828, True)

    References:
        Dwork & Rothblum 2016 (arXiv 1603.01887) for the loss as a random variable; Sommer, Meiser & Mohammadi 2019
        (PoPETs) for its composition; the identity below 0 is proved in the module's docstring.
    """

    relation: Relation
    tolerance: float
    entries: tuple[Row, ...]

    def __init__(self, what: Account | Event, relation: Relation | str | None = None, tolerance: float = 1e-4) -> None:
        held = multiset(what, relation)
        object.__setattr__(self, "relation", held.relation)
        object.__setattr__(self, "tolerance", PLDAccountant(tolerance).tolerance)
        object.__setattr__(self, "entries", held.entries)

    def __str__(self) -> str:
        up = float(_DIGITS.plus(Decimal(self.epsilon(_SHOWN))))
        return f"privacy loss under {self.relation.value} of {self._size()}: epsilon <= {up:.4g} at delta {_SHOWN:g}"

    def __repr__(self) -> str:
        return f"<PrivacyLoss under {self.relation.value} of {self._size()}>"

    def __add__(self, other: PrivacyLoss | Account | Event) -> PrivacyLoss:
        return self.compose(other) if isinstance(other, Account | Event) else NotImplemented

    __radd__ = __add__

    def __mul__(self, times: int) -> PrivacyLoss:
        count = check_count("times", times, 0, "count how often all of it is released.")
        return PrivacyLoss(Held(self.relation, repeated(self.entries, count)), tolerance=self.tolerance)

    __rmul__ = __mul__

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is composed: for each direction of the neighbours the pairs of laws with their counts.

        Events that have no pair are missing; their Rényi curves are what bounds them.

        Example:
            >>> from accountants import Gaussian
            >>> [len(direction) for direction in PrivacyLoss(Gaussian(1.0) * 7, "add_remove").directions]
            [1]
        """
        return compose(self, None)[0].directions

    def compose(self, other: PrivacyLoss | Account | Event, times: int = 1) -> PrivacyLoss:
        """The loss of this and of something else that is released about the same records.

        Args:
            other: an event; or a loss or a ledger under the same relation.
            times: how often the other, >= 0.

        Returns:
            A new loss, with the smaller tolerance of two.

        Raises:
            EventError: ``other`` is none of them, or ``times`` is not a count.
            RelationError: its relation is another.
            UnsupportedEventError: no sound bound is known for an event under this relation.

        Example:
            >>> from accountants import Gaussian
            >>> once = PrivacyLoss(Gaussian(2.0), "add_remove")
            >>> once.compose(Gaussian(2.0), times=3) == once * 4 == once + once + once + once
            True
        """
        count = check_count("times", times, 0, "count how often it is released.")
        rows = multiset(other, self.relation).entries
        held = Held(self.relation, (*self.entries, *repeated(rows, count)))
        tolerance = min(self.tolerance, other.tolerance) if isinstance(other, PrivacyLoss) else self.tolerance
        return PrivacyLoss(held, tolerance=tolerance)

    def epsilon(self, delta: float) -> float:
        """An upper bound of epsilon, within the tolerance wherever an engine certifies it.

        Args:
            delta: in (0, 1).

        Returns:
            A number >= 0; +inf if nothing better is known.

        Raises:
            EventError: delta is out of range.

        Example:
            >>> from accountants import Gaussian
            >>> round(PrivacyLoss(Gaussian(1.0), "add_remove").epsilon(1e-6), 6)
            4.886554
        """
        return self._accountant().epsilon(self, delta=delta)

    def bounds(self, delta: float) -> tuple[float, float]:
        """A lower and an upper bound of epsilon, both certified.

        Args:
            delta: in (0, 1).

        Returns:
            (lower, upper), 0 <= lower <= upper.

        Raises:
            EventError: delta is out of range.

        Example:
            >>> from accountants import Laplace
            >>> lower, upper = PrivacyLoss(Laplace(1.0), "add_remove").bounds(1e-6)
            >>> lower <= 0.999997999999 <= upper <= lower + 1e-12
            True
        """
        return self._accountant().bounds(self, delta=delta)

    def delta(self, epsilon: float) -> float:
        """An upper bound of delta.

        Args:
            epsilon: finite, >= 0.

        Returns:
            A number in [0, 1].

        Raises:
            EventError: epsilon is out of range.

        Example:
            >>> from accountants import Gaussian
            >>> round(PrivacyLoss(Gaussian(1.0), "add_remove").delta(1.0), 6)
            0.126937
        """
        return self._accountant().delta(self, epsilon=epsilon)

    def delta_bounds(self, epsilon: float) -> tuple[float, float]:
        """A lower and an upper bound of delta, both certified; the upper one is that of `delta`.

        The lower one is what the engines show about the composed pairs with their slack; 0 where they show nothing.

        Args:
            epsilon: finite, >= 0.

        Returns:
            (lower, upper), 0 <= lower <= upper <= 1.

        Raises:
            EventError: epsilon is out of range.

        Example:
            >>> from accountants import Gaussian
            >>> lower, upper = PrivacyLoss(Gaussian(1.0), "add_remove").delta_bounds(1.0)
            >>> lower <= 0.12693673750664394 <= upper <= lower + 1e-13
            True
        """
        upper = self.delta(epsilon)
        return float(self._lower(np.array([float(epsilon)]), np.array([upper]))[0]), upper

    def profile(self, epsilons: Sequence[float] | Floats) -> Floats:
        """Upper bounds of delta at many epsilons, which share work.

        Args:
            epsilons: shape (n,), finite, >= 0.

        Returns:
            float64 array of shape (n,), each in [0, 1].

        Raises:
            EventError: an epsilon is out of range.

        Example:
            >>> from accountants import Gaussian
            >>> PrivacyLoss(Gaussian(1.0), "add_remove").profile([0.0, 1.0]).round(6).tolist()
            [0.382925, 0.126937]
        """
        return self._accountant().profile(self, epsilons=epsilons)

    @overload
    def hockey_stick(self, epsilon: float) -> float: ...
    @overload
    def hockey_stick(self, epsilon: Sequence[float] | Floats) -> Floats: ...
    def hockey_stick(self, epsilon: float | Sequence[float] | Floats) -> float | Floats:
        """An upper bound of the hockey-stick divergence of any two neighbours, in either order, at any real epsilon.

        Args:
            epsilon: finite; a number or an array of any shape.

        Returns:
            In [0, 1]; a float, or float64 of the same shape.

        Raises:
            EventError: epsilon is not a finite number or an array of them.

        Example:
            >>> from accountants import Gaussian
            >>> PrivacyLoss(Gaussian(1.0), "add_remove").hockey_stick([-1.0, 0.0, 1.0]).round(6).tolist()
            [0.678818, 0.382925, 0.126937]
        """
        where = asked(epsilon)
        upper = mirrored(where, self.profile(np.abs(where).ravel()).reshape(where.shape))[1]
        return float(upper) if np.isscalar(epsilon) else upper

    @overload
    def hockey_stick_bounds(self, epsilon: float) -> tuple[float, float]: ...
    @overload
    def hockey_stick_bounds(self, epsilon: Sequence[float] | Floats) -> tuple[Floats, Floats]: ...
    def hockey_stick_bounds(
        self, epsilon: float | Sequence[float] | Floats
    ) -> tuple[float, float] | tuple[Floats, Floats]:
        """A lower and an upper bound of the divergence of `hockey_stick`, both certified as in `delta_bounds`.

        Args:
            epsilon: finite; a number or an array of any shape.

        Returns:
            (lower, upper), 0 <= lower <= upper <= 1; floats, or float64 of the same shape.

        Raises:
            EventError: epsilon is not a finite number or an array of them.

        Example:
            >>> from accountants import Laplace
            >>> lower, upper = PrivacyLoss(Laplace(1.0), "add_remove").hockey_stick_bounds(-1.0)
            >>> lower <= 1.0 - 0.36787944117144233 <= upper <= lower + 1e-13
            True
        """
        where = asked(epsilon)
        flat = np.abs(where).ravel()
        upper = self.profile(flat)
        lower = mirrored(where, self._lower(flat, upper).reshape(where.shape))[0]
        high = mirrored(where, upper.reshape(where.shape))[1]
        return (float(lower), float(high)) if np.isscalar(epsilon) else (lower, high)

    def tradeoff(self) -> TradeOff:
        """What an attacker can do: the trade-off curve of this loss, :func:`accountants.tradeoff.tradeoff`.

        Example:
            >>> from accountants import Gaussian
            >>> round(PrivacyLoss(Gaussian(1.0), "add_remove").tradeoff().beta(0.01), 6)
            0.907638
        """
        return tradeoff(self)

    def plot(self, ax: Any = None) -> Any:
        """Draw the certified band of delta against epsilon, down to a delta of a billionth.

        Args:
            ax: matplotlib axes; None makes a figure.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        axes = new_axes() if ax is None else ax
        end = self.epsilon(_DRAWN)
        epsilons = np.linspace(0.0, end if 0.0 < end < np.inf else 1.0, _POINTS)
        lower, upper = (np.maximum(end, _FLOOR) for end in self.hockey_stick_bounds(epsilons))
        (line,) = axes.plot(epsilons, upper, label=f"at most this, under {self.relation.value}")
        axes.fill_between(epsilons, lower, upper, alpha=0.15, color=line.get_color(), label="certified")
        axes.set_xlabel("epsilon")
        axes.set_ylabel("delta")
        axes.set_yscale("log")
        axes.set_ylim(_DRAWN, 1.0)
        axes.legend()
        return axes

    def _accountant(self) -> PLDAccountant:
        return PLDAccountant(self.tolerance)

    def _size(self) -> str:
        releases, kinds = sum(times for _, times, _ in self.entries), len(self.entries)
        return f"{releases} release{'s' * (releases != 1)} of {kinds} kind{'s' * (kinds != 1)}"

    def _lower(self, epsilons: Floats, upper: Floats) -> Floats:
        """Lower bounds of δ at ε >= 0, none above the upper ones."""
        return np.minimum(least_deltas(compose(self, None)[0], epsilons, self.tolerance), upper)
