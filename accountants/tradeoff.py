r"""What an attacker can do: trade-off curve, advantage, TPR at an FPR, Bayes risk. Each rounded to the safe side.

An attacker looks at everything released and guesses which of two neighbouring data sets was used: "with the record" or
"without it". α, the false positive rate, is the probability of guessing "with" where it is "without", β, the false
negative rate, that of guessing "without" where it is "with". No test has a smaller β at α than the *trade-off curve*

.. math:: f(\alpha) = \sup_{\epsilon \ge 0} \max\{0,\; 1 - \delta(\epsilon) - e^\epsilon\alpha,\;
    e^{-\epsilon}(1 - \delta(\epsilon) - \alpha)\}.

*Why.* Of the event "with", (ε, δ)-DP says 1 - β <= e^ε α + δ; of the event "without", and in the other order of the
data sets, 1 - α <= e^ε β + δ. So one pair (ε, δ) is enough for a bound, an upper bound of δ will do, and any search for
a good ε costs tightness and never soundness. δ is that of the larger direction, so the curve holds for both orders of
the neighbours and f is its own inverse; an attacker told the direction may be weaker than that.

*Search.* Both expressions have one peak in e^ε, as δ is convex there; ``accountants._valley`` climbs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from typing import Any, final, overload

import numpy as np

from accountants._axes import new_axes
from accountants._checks import check_prob
from accountants._numerics import EPS, Floats, round_down, round_up
from accountants._valley import GRID, Valley
from accountants.accountant import Account
from accountants.errors import EventError
from accountants.events import Event
from accountants.pld import PLDAccountant, snapshot
from accountants.relation import Relation, as_relation

__all__ = ["TradeOff", "tradeoff"]

_TOLERANCE = 1e-4  # of log δ, where an engine closes its bounds: most are closer by a factor of a hundred
_ENOUGH = 1e-11  # of δ: beside rates and advantages nothing
_BEYOND = 1e100  # of ε: what is left there is the mass that gives the record away
_NOTHING = 1e-20  # of mass, beside 1
_KEPT = 4096  # deltas
_SHARED: Floats = np.unique(np.concatenate([GRID, np.geomspace(1e-3, 64.0, 256)]))
_LEAST_PRIOR = 1e-300
_DIGITS = Context(prec=3, rounding=ROUND_CEILING)
_ADVICE = {
    "alpha": "it is the probability of a false positive.",
    "fpr": "it is the probability of a false positive.",
    "prior": "it is the probability, before the release, that the record is in the data.",
}


@final
@dataclass(frozen=True, slots=True, repr=False)
class TradeOff:
    r"""The trade-off curve of a curve of deltas, and what follows from it for an attacker.

    Guarantee:
        For every attack, given the curve: no false negative rate is below ``beta``, no true positive rate above
        ``tpr``, no TPR - FPR above ``advantage`` and no probability of a wrong guess below ``bayes_risk``, whatever the
        search found and after rounding (``test_no_test_beats_the_curve``, ``test_beta_is_rounded_down``,
        ``test_tpr_is_rounded_up``, ``test_advantage_is_rounded_up``, ``test_bayes_risk_is_rounded_down``).

    Args:
        delta: from ε >= 0 to an upper bound of δ(ε) that holds for both orders of any two neighbours; what is not in
            [0, 1] counts as 1.
        relation: what neighbours are.
        profile: the same for an array of ε, shape (n,), if there is a quicker way than one by one.

    Raises:
        EventError: delta or profile is no function.
        RelationError: the relation is not one of the three.

    Example:
        >>> from accountants import Gaussian
        >>> print(tradeoff(Gaussian(1.0), "add_remove"))
        trade-off under add_remove: advantage <= 0.383, TPR <= 0.0924 at FPR 0.01, <= 0.0183 at FPR 0.001

    References:
        Wasserman & Zhou 2010 (arXiv 0811.2501), Theorem 2.4; Dong, Roth & Su 2022 (arXiv 1905.02383), Proposition 2.12.
    """

    delta: Callable[[float], float]
    relation: Relation
    profile: Callable[[Floats], Floats] | None = field(default=None, compare=False)
    _delta: Callable[[float], float] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        given = self.delta
        for name, function in (("delta", given), ("profile", self.profile)):
            if not callable(function) and (name == "delta" or function is not None):
                raise EventError(
                    f"{name} must be a function of epsilon, got {type(function).__name__}; of a ledger or an event, "
                    "`tradeoff` makes the curve."
                )

        def delta(epsilon: float) -> float:
            value = given(epsilon)
            return value if 0.0 <= value <= 1.0 else 1.0

        object.__setattr__(self, "relation", as_relation(self.relation))
        object.__setattr__(self, "_delta", lru_cache(_KEPT)(delta))

    def __str__(self) -> str:
        rates = ", ".join(f"<= {_shown(self.tpr(fpr))} at FPR {fpr}" for fpr in (0.01, 0.001))
        return f"trade-off under {self.relation.value}: advantage <= {_shown(self.advantage)}, TPR {rates}"

    def __repr__(self) -> str:
        return f"<TradeOff under {self.relation.value}: advantage <= {_shown(self.advantage)}>"

    @property
    def advantage(self) -> float:
        """The largest TPR - FPR of any test, rounded up: δ(0), the total variation of the two laws.

        Example:
            >>> from accountants import Laplace
            >>> round(tradeoff(Laplace(1.0), "add_remove").advantage, 6)
            0.393469
        """
        return self._delta(0.0)

    @overload
    def beta(self, alpha: float) -> float: ...
    @overload
    def beta(self, alpha: Sequence[Any] | Floats) -> Floats: ...
    def beta(self, alpha: float | Sequence[Any] | Floats) -> float | Floats:
        """The least false negative rate of any test with a false positive rate of at most alpha, rounded down.

        Args:
            alpha: in [0, 1]; a number or an array of any shape.

        Returns:
            In [0, 1 - alpha]; a float, or float64 of the same shape.

        Raises:
            EventError: alpha is not in [0, 1], or not a number.

        Example:
            >>> from accountants import Gaussian
            >>> tradeoff(Gaussian(1.0), "add_remove").beta([0.01, 0.1]).round(6).tolist()
            [0.907638, 0.610856]
        """
        return _each("alpha", alpha, self._beta)

    @overload
    def tpr(self, fpr: float) -> float: ...
    @overload
    def tpr(self, fpr: Sequence[Any] | Floats) -> Floats: ...
    def tpr(self, fpr: float | Sequence[Any] | Floats) -> float | Floats:
        """The largest true positive rate of any test with a false positive rate of at most fpr, rounded up.

        It is 1 - beta, and keeps its digits where that is small.

        Args:
            fpr: in [0, 1]; a number or an array of any shape.

        Returns:
            In [fpr, 1]; a float, or float64 of the same shape.

        Raises:
            EventError: fpr is not in [0, 1], or not a number.

        Example:
            >>> from accountants import Gaussian
            >>> round(tradeoff(Gaussian(1.0), "add_remove").tpr(1e-12), 18)
            7.9735801e-10
        """
        return _each("fpr", fpr, self._tpr)

    @overload
    def bayes_risk(self, prior: float) -> float: ...
    @overload
    def bayes_risk(self, prior: Sequence[Any] | Floats) -> Floats: ...
    def bayes_risk(self, prior: float | Sequence[Any] | Floats) -> float | Floats:
        r"""The least probability of a wrong guess, over all tests, for an attacker with a prior; rounded down.

        With π the probability that the record is in the data (that a secret bit is 1, under ``replace_one``) it is
        :math:`\min_\alpha\,(1-\pi)\,\alpha + \pi f(\alpha) = m\,(1 - \delta(\log\tfrac{1-m}{m}))`, m = min(π, 1-π): the
        same for π and 1 - π. Without the release it is m.

        Args:
            prior: in [0, 1]; a number or an array of any shape.

        Returns:
            In [0, min(prior, 1 - prior)]; a float, or float64 of the same shape.

        Raises:
            EventError: prior is not in [0, 1], or not a number.

        Example:
            >>> from accountants import Gaussian
            >>> round(tradeoff(Gaussian(1.0), "add_remove").bayes_risk(0.5), 6)
            0.308538

        References:
            Kulynych et al. 2025 (arXiv 2507.06969), Proposition D.1.
        """
        return _each("prior", prior, self._risk)

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve: what lies below it no test can reach; without any release only the diagonal is reached.

        Drawn from one list of epsilons instead of a search for each point: below ``beta`` by at most about 10^-4.

        Args:
            ax: matplotlib axes; None makes a figure.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        axes = new_axes() if ax is None else ax
        alphas = np.unique(np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 41), np.linspace(0.0, 1.0, 41)]))
        betas = self._betas(alphas)
        (line,) = axes.plot(alphas, betas, label=f"at least this, under {self.relation.value}")
        axes.fill_between(alphas, betas, alpha=0.15, color=line.get_color(), label="out of reach of every test")
        axes.plot([0.0, 1.0], [1.0, 0.0], color="gray", linestyle=":", label="guessing")
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("false negative rate")
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(0.0, 1.0)
        axes.legend()
        return axes

    def _beta(self, alpha: float) -> float:
        missed, beta = self._best(alpha)
        return max(_one_minus_down(missed), beta)

    def _betas(self, alphas: Floats) -> Floats:
        """Lower bounds at every alpha, shape (n,), by the same lines."""
        left = np.maximum(1.0 - self._deltas(), 0.0) * (1.0 - 4.0 * EPS)
        factors = np.exp(_SHARED) * (1.0 + 512.0 * EPS)  # an exponent of 700 is rounded
        steep, flat = left - factors * alphas[:, None], (left - alphas[:, None]) / factors
        best = np.maximum(steep, flat).max(axis=1)
        lowered: Floats = np.clip(best * (1.0 - 8.0 * EPS) - 8.0 * EPS * alphas, 0.0, 1.0 - alphas)
        return lowered

    def _deltas(self) -> Floats:
        """Upper bounds of δ at the shared epsilons."""
        if self.profile is None:
            return np.array([self._delta(epsilon) for epsilon in _SHARED.tolist()])
        values = np.asarray(self.profile(_SHARED), dtype=np.float64)
        return np.where((values >= 0.0) & (values <= 1.0), values, 1.0)

    def _tpr(self, fpr: float) -> float:
        tpr, beta = self._best(fpr)
        return min(tpr, _one_minus_up(beta))

    def _risk(self, prior: float) -> float:
        smaller = min(prior, 1.0 - prior)  # exact
        if smaller < _LEAST_PRIOR:
            return 0.0
        epsilon = math.log1p((1.0 - 2.0 * smaller) / smaller)
        return round_down(smaller * _one_minus_down(self._delta(epsilon * (1.0 - 8.0 * EPS))))

    def _best(self, alpha: float) -> tuple[float, float]:
        """(an upper bound of TPR by the first expression of f, a lower bound of β by the second), the better searched.

        The first expression is f's where α <= f(α), the second elsewhere.
        """
        if not alpha:
            return self._gives_away(), 0.0
        kept = 1.0 - alpha

        def lost(epsilon: float) -> float:
            return self._delta(epsilon) + math.exp(epsilon) * alpha

        def over(epsilon: float) -> float:
            return math.exp(-epsilon) * (self._delta(epsilon) - kept + 2.0 * EPS * kept)

        first = Valley(lost, lambda epsilon: math.exp(epsilon) * alpha)
        second = Valley(over, lambda epsilon: -math.exp(-epsilon) * kept)
        better = first if 1.0 - first.least > -second.least else second
        better.close_in(self._delta)
        return min(1.0, round_up(first.least, 8)), round_down(max(-second.least, 0.0), 8)

    def _gives_away(self) -> float:
        """The mass that gives the record away: what is left of δ in the end, or is bounded better before."""
        least = 1.0
        for epsilon in (*GRID, _BEYOND):
            least = min(least, self._delta(epsilon))
            if least <= _NOTHING:
                break
        return least


def tradeoff(
    what: Account | Event, relation: Relation | str | None = None, *, tolerance: float = _TOLERANCE
) -> TradeOff:
    r"""The trade-off curve of a ledger or an event, from the tight accountant's deltas.

    Guarantee:
        That of :class:`TradeOff` for every attack on what was recorded, given the events' dominating pairs and events
        fixed beforehand: slack, failures and events that have only a Rényi curve are in it. A lower bound of the exact
        curve to about 10^-12 for Gaussians and to the tolerance where an engine answers
        (``test_gaussians_come_out_of_the_general_path``).

    Args:
        what: a ledger, as it is now; or an event.
        relation: required with an event; with a ledger, its own or None.
        tolerance: of :class:`~accountants.pld.PLDAccountant`.

    Raises:
        EventError: ``what`` is neither a ledger nor an event, or the tolerance is not in (0, 1).
        RelationError: the relation is missing or is not the ledger's.
        UnsupportedEventError: no sound curve is known.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> attack = tradeoff(PoissonSampled(Gaussian(1.0), 0.01) * 1000, "add_remove")
        >>> round(attack.tpr(0.01), 4), round(attack.advantage, 4), round(attack.bayes_risk(0.5), 4)
        (0.0291, 0.161, 0.4195)
    """
    curve = PLDAccountant(tolerance).curve(what, relation=relation, enough=_ENOUGH)
    curve(0.0)  # what has no curve is refused here
    kept, held = snapshot(what), what.relation if isinstance(what, Account) else as_relation(relation)

    def profile(epsilons: Floats) -> Floats:
        return PLDAccountant(tolerance).profile(kept, epsilons=epsilons, relation=held)

    return TradeOff(curve, held, profile)


def _one_minus_down(value: float) -> float:
    """A float at most 1 - value, for a value in [0, 1]."""
    return max(0.0, math.nextafter(1.0 - value, -math.inf)) if value else 1.0


def _one_minus_up(value: float) -> float:
    """A float at least 1 - value, for a value in [0, 1]."""
    return min(1.0, math.nextafter(1.0 - value, math.inf))


def _each(name: str, given: object, at: Callable[[float], float]) -> float | Floats:
    """``at`` of a probability, or of each of an array of them."""
    try:
        array = np.asarray(given)
    except ValueError:
        raise EventError(f"{name} must be a number or an array with one shape, got a ragged one.") from None
    if array.ndim == 0 and not isinstance(given, np.ndarray):
        return at(check_prob(name, given, _ADVICE[name]))
    values = [at(check_prob(name, value, _ADVICE[name])) for value in array.flat]
    return np.array(values, dtype=np.float64).reshape(array.shape)


def _shown(value: float) -> str:
    """To three digits, rounded up."""
    return f"{_DIGITS.plus(Decimal(value)):f}" if value > 1e-6 else f"{_DIGITS.plus(Decimal(value)):g}"
