r"""What selection costs: the curve of :class:`~accountants.events.PrivateSelection`, from that of one run.

*Notation.* Q and Q' are one run's laws on neighbours, R(λ) a bound of their Rényi divergences, :math:`f(x) = E[x^K]`,
q(y) and q'(y) the probabilities of an outcome below y. Ties may be broken by one more coin that is released, so that q
and q' are continuous. The best run has law :math:`A = Q\,f'(q)`, beside f(0) for no run at all.

*Theorem.* If f' is log-convex and :math:`C \ge W = f'(q)^\lambda f'(q')^{1-\lambda}` at every outcome,

.. math:: E_{A'}[(A/A')^\lambda] \le 1 + C\,(E_{Q'}[(Q/Q')^\lambda] - 1).

*Proof.* Sort outcomes from the best: s = 1 - q', g(s) = 1 - q, r = dg/ds = Q/Q'. The left side is :math:`f(0) + \int
r^\lambda W ds`; by Bernoulli :math:`\int r^\lambda(C-W) \ge \int(\lambda r-\lambda+1)(C-W) = C - J`, :math:`J =
\int \lambda W dg - (\lambda-1) W ds`. On the diagonal g = s that is f(1) - f(0); by Green's theorem any other path's is
less by the integral of :math:`\lambda(\lambda-1)W\,|h(1-s) - h(1-g)|`, h = f''/f' being monotone, over what lies
between. (Papernot & Steinke 2022, Lemma 7, has C times the whole moment and wants the mean, or K, to be at least 1.)

*C for the truncated negative binomial*: :math:`f'(x) = E[K]\,(\gamma/u)^{1+\eta}`, :math:`u = 1-(1-\gamma)x \ge
\gamma`, is log-convex for η > -1; hence :math:`\log C = \log E[K] + (\lambda-1)(1+\eta)\,\ell` if :math:`\log u'/u \le
\ell`, and A/A' is at most :math:`e^{\epsilon+(1+\eta)\ell}` of a purely ε-private run. For ℓ there are

* :math:`\log\max(e^\epsilon, 1+(1/\gamma-1)\,\delta(\epsilon))` at any ε >= 0, δ being one run's: with D = 1 - γ and
  the probabilities above, :math:`u' \le \gamma+D(e^\epsilon(1-q)+\delta) = e^\epsilon u +
  D\delta-\gamma(e^\epsilon-1)`;
* :math:`(1-1/\hat\lambda)R(\hat\lambda) + \log(1/\gamma)/\hat\lambda` at any :math:`\hat\lambda > 1`, by Hölder's
  inequality (their Theorem 2); and ε itself, where one run is purely ε-private.

*C for Poisson*: :math:`f'(x) = \mu e^{\mu(x-1)}`, :math:`\log W = \log\mu + \mu(\lambda-1)[(1-q') -
\frac{\lambda}{\lambda-1}(1-q)]`, and the bracket is at most δ(log(λ/(λ-1))) of one run (their Theorem 6). Of a pure ε,
:math:`|q-q'| \le \tanh(\epsilon/2)`.

*Slack* of one run, per data set. Total variation: at most E[K] times as much. Log-ratios in [-b, a] move u/u' by as
much: in all [-b-(1+η)a, a+(1+η)b], with μ for 1 + η in Poisson's case.

Guarantee:
    The curve is nowhere below the divergences of the best of K runs (``test_selection_by_enumeration``), and the slack
    covers them (``test_slack_of_a_run_by_enumeration``).

References:
    Papernot & Steinke 2022 (arXiv 2110.03620v2), Definition 1, Theorems 2, 6. The theorem above and the first ℓ are
    ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from accountants._envelope import convex_envelope
from accountants._numerics import EPS, minimise, round_up
from accountants.conversion import CONVERSIONS
from accountants.curves import Curve, rdp_curve
from accountants.errors import UnsupportedEventError
from accountants.events import Composed, PrivateSelection, Repeated
from accountants.fold import Expansion, expand, fold
from accountants.rdp import total_curve
from accountants.relation import Relation
from accountants.slack import Slack

__all__ = ["log_inverse_gamma"]

_LOW, _HIGH = math.log(1e-6), math.log(1e10)  # of the second order less 1
_TOLERANCE = 1e-6
_DOUBLINGS = 80
_BISECTIONS = 200
_CLOSE = 1e-10  # relative: where the search for a crossing ends
_LARGEST = 700.0


@expand.register
@lru_cache(maxsize=1024)
def _(event: PrivateSelection, *, smooth: bool = False) -> Expansion | None:
    """The run as a flat multiset; its slack passes outside."""
    if event.mean == 1.0 and event.shape != math.inf:
        return Expansion(((event.event, 1),))  # one run
    run = fold([(event.event, 1)], smooth=smooth)
    slack = _selected_slack(event, run.slack)
    if not run.parts:
        return Expansion((), slack)
    each = [inner if times == 1 else Repeated(inner, times) for inner, times in run.parts]
    flat = PrivateSelection(each[0] if len(each) == 1 else Composed(tuple(each)), event.mean, event.shape)
    return None if flat == event else Expansion(((flat, 1),), slack)


def _selected_slack(event: PrivateSelection, slack: Slack) -> Slack:
    """The slack of what is selected, where the module's docstring says it."""
    if slack.failure or (slack.distance and (slack.up or slack.down)):
        raise UnsupportedEventError(
            "event under PrivateSelection must not fail with some probability, nor have both log-ratios and distances "
            "as slack: no sound bound is known here; state what one run costs as PureDP, ZCDP or RDPCurve.",
            event=event,
        )
    more = event.mean if event.shape == math.inf else 1.0 + event.shape
    up = round_up(slack.up + more * slack.down) if slack.up or slack.down else 0.0
    down = round_up(slack.down + more * slack.up) if slack.up or slack.down else 0.0
    return Slack(up, down, 0.0, round_up(event.mean * slack.distance) if slack.distance else 0.0)


@rdp_curve.register
def _(event: PrivateSelection, relation: Relation) -> Curve:
    run, slack = total_curve(event.event, relation)
    if slack != Slack():
        raise UnsupportedEventError(
            f"event under PrivateSelection must have a Rényi curve of its own, got {type(event.event).__name__}, which "
            "has one up to slack only; state what one run costs as PureDP, ZCDP or RDPCurve.",
            event=event,
        )
    ratio = _poisson_ratio if event.shape == math.inf else _negative_binomial_ratio
    pure, log_c = ratio(event, run)

    @lru_cache(maxsize=4096)
    def log_moment(t: float) -> float:
        return min(round_up(t * pure), _selected(t * run.rdp(1.0 + t), log_c(1.0 + t)))

    whole = convex_envelope(log_moment)
    return Curve(lambda order: min(pure, round_up(whole(order - 1.0) / (order - 1.0))), pure)


def _selected(moment: float, log_c: float) -> float:
    """log(1 + C (e^moment - 1)), rounded up."""
    if moment <= 0.0 or not moment + log_c < math.inf:
        return math.inf if moment > 0.0 else 0.0
    gain = _log_expm1(moment)
    value = log_c + gain + 8.0 * EPS * (1.0 + abs(log_c) + moment + abs(gain))
    return round_up(value + math.log1p(math.exp(-value)) if value > 0.0 else math.log1p(math.exp(value)), 16)


def _negative_binomial_ratio(event: PrivateSelection, run: Curve) -> tuple[float, Callable[[float], float]]:
    """The pure ε, and order -> log C, for the truncated negative binomial: one ℓ serves all orders."""
    spread, log_mean = log_inverse_gamma(event.mean, event.shape), round_up(math.log(event.mean))

    def cost(log_t: float) -> float:
        t = math.exp(log_t)
        return round_up((t * run.rdp(1.0 + t) + spread) / (1.0 + t), 8)

    high = min(run.pure_epsilon, minimise(cost, _LOW, _HIGH, 0.0, _TOLERANCE))
    each = round_up((1.0 + event.shape) * _crossing(run, spread, high))
    return round_up(run.pure_epsilon + each), lambda order: log_mean + round_up((order - 1.0) * each)


def _crossing(run: Curve, spread: float, high: float) -> float:
    """The ℓ of the docstring's first item: a point just above where its terms cross, or ``high`` where that is less.

    Args:
        run: of one run.
        spread: log(1/γ).
        high: an ℓ that holds.
    """
    if not 0.0 < spread < _LARGEST or not 0.0 < high < _LARGEST:
        return high
    log_odds, log_delta_at = spread + math.log(-math.expm1(-spread)), _log_delta(run)

    def holds(epsilon: float) -> bool:
        log_delta = log_delta_at(epsilon)
        rounding = 32.0 * EPS * (1.0 + spread + abs(log_odds) + abs(log_delta))
        return log_odds + log_delta + rounding <= _log_expm1(epsilon)

    low = 0.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if high - low <= _CLOSE * high:
            break
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _log_expm1(x: float) -> float:
    """log(e^x - 1) for x > 0, to a few EPS (1 + its magnitude)."""
    return math.log(math.expm1(x)) if x < 1.0 else x + math.log(-math.expm1(-x))


def _poisson_ratio(event: PrivateSelection, run: Curve) -> tuple[float, Callable[[float], float]]:
    """The pure ε, and order -> log C, for Poisson: one run's δ at log(λ/(λ-1)) is taken from its curve."""
    pure, mean = run.pure_epsilon, event.mean
    log_mean, log_delta_at = math.log(mean) + 4.0 * EPS * abs(math.log(mean)), _log_delta(run)

    def log_c(order: float) -> float:
        epsilon = math.log1p(1.0 / (order - 1.0)) * (1.0 - 8.0 * EPS)
        if epsilon >= pure:
            return log_mean
        delta = math.exp(log_delta_at(epsilon))
        if pure < math.inf:
            delta = min(delta, round_up(-math.expm1(epsilon - pure) / (1.0 + math.exp(-pure)), 16))
        return log_mean + round_up(mean * (order - 1.0) * delta, 32)

    return round_up(pure + mean * math.tanh(pure / 2.0), 8), log_c


def _log_delta(run: Curve) -> Callable[[float], float]:
    """ε >= 0 -> an upper bound of log δ of one run, from its curve at a list of orders: it is asked very often."""
    t = np.geomspace(1e-4, 1e7, 1280)
    rdp = np.array([run.rdp(1.0 + each) for each in t.tolist()])
    offset = -np.log1p(t) - t * np.log1p(1.0 / t)
    at_zero = CONVERSIONS["improved"].log_delta_at_zero(float(rdp[0]))

    def at(epsilon: float) -> float:
        with np.errstate(over="ignore"):
            bounds = t * (rdp - epsilon) + offset + 16.0 * EPS * (t * (rdp + epsilon) - offset)
        return min(0.0, at_zero, float(bounds.min()))

    return at


def log_inverse_gamma(mean: float, shape: float) -> float:
    r"""log(1/γ) of the truncated negative binomial with this mean, rounded up: what is rounded up costs more.

    Args:
        mean: E[K] >= 1.
        shape: η > -1, finite.

    Example:
        >>> round(log_inverse_gamma(10.0, 1.0), 12) == round(math.log(10.0), 12)  # geometric: the mean is 1/γ
        True
    """
    target = math.log(mean)
    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if _log_mean_below(high, shape) >= target:
            break
        low, high = high, 2.0 * high
    else:
        return math.inf
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if _log_mean_below(middle, shape) >= target else (middle, high)
    return high


def _log_mean_below(x: float, shape: float) -> float:
    r"""A lower bound of log E[K] at γ = e^-x, where :math:`E[K] = \frac{e^x-1}{x}\cdot\frac{\eta x}{1-e^{-\eta x}}`."""
    grown = x + math.log(-math.expm1(-x) / x)
    y = shape * x
    share = math.log(y / -math.expm1(-y)) if y > 0.0 else math.log(y / math.expm1(y)) + y if y < 0.0 else 0.0
    return grown + share - 16.0 * EPS * (1.0 + x + abs(y) + abs(grown) + abs(share))
