r"""Lower bounds of a composition's epsilon where no engine gives both sides: a named attack that reaches them.

Whatever is computed from the releases reveals no more than they do, so the epsilon of anything computed is a lower
bound. What is tried, each with its name:

* one release alone, by its own curve (:mod:`accountants.profile`);
* the unsampled Gaussians alone, N(μ, 1) with μ² = Σ 1/z²;
* the releases of one pair whose losses share a lattice (:mod:`accountants.lattice`);
* a *threshold test*: of every release of one pair only whether its loss exceeds a threshold. That is a coin with heads
  p under P and p' under Q, and n of them a binomial law, which is composed exactly. With p rounded down and p' rounded
  up the coin is a post-processing still: (p', p) stays inside the triangle (0, 0), (p', p), (1, 1) of all such tests.

Thresholds are ranked by a Rényi estimate and only the best are composed: that costs tightness and nothing else. Held by
``test_witness_is_below_the_exact_value``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from accountants import lattice
from accountants._gauss import separation
from accountants._halfline import is_short, laws, log_tails
from accountants._numerics import EPS, Floats
from accountants.conversion import CONVERSIONS
from accountants.pairs import AtomPair, Noise, Pair, Shape
from accountants.profile import epsilon_bounds, gaussian_epsilon_bounds

__all__ = ["thresholds", "witness"]

_COUNT = 32  # thresholds
_ORDERS = np.geomspace(1e-3, 1e5, 60)
_CERTIFIED = 2  # thresholds that are composed
_LEAST, _MOST = 1e-6, 1e8  # scales whose half-lines are tried
_RAREST = 1e3  # nats
_LARGEST = 1e100  # of losses: of larger ones nothing is certain here
_DOUBT = 64.0 * EPS  # by which a coin's losses are lowered


def witness(parts: Sequence[tuple[Pair | AtomPair, int]], log_delta: float) -> tuple[float, str]:
    """A lower bound of the composition's epsilon, and what reaches it.

    Guarantee:
        Never above the exact epsilon of the composed pairs; held by ``test_witness_is_below_the_exact_value``.

    Args:
        parts: (pair, times) rows of one direction.
        log_delta: log δ.

    Returns:
        (lower bound >= 0, name of the test behind it).

    Example:
        >>> pair = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.01)
        >>> low, name = witness(((pair, 1000),), math.log(1e-5))
        >>> round(low, 1), name
        (1.2, 'threshold test on 1000 releases')
    """
    found = [(0.0, "nothing")]
    if log_delta >= 0.0:
        return found[0]
    for pair, times in parts:
        found.append((epsilon_bounds(pair, log_delta)[0], "one release"))
        found.extend(_on_lattice(pair, times, log_delta))
        found.extend(_tested(pair, times, log_delta) if times > 1 else [])
    found.append((_gaussians(parts, log_delta), "the unsampled Gaussians"))
    return max(found, key=lambda row: row[0])


def _gaussians(parts: Sequence[tuple[Pair | AtomPair, int]], log_delta: float) -> float:
    scales = [
        (pair.scale, times)
        for pair, times in parts
        if isinstance(pair, Pair) and pair.noise is Noise.GAUSSIAN and pair.shape is Shape.SHIFT
    ]
    if not scales:
        return 0.0
    return gaussian_epsilon_bounds(separation(scales), log_delta)[0]


def _on_lattice(pair: Pair | AtomPair, times: int, log_delta: float) -> list[tuple[float, str]]:
    """The composition of one discrete pair, if it is short enough."""
    if not isinstance(pair, AtomPair) or times == 1:
        return []
    total = lattice.compose(((pair, times),))
    if total is None:
        return []
    return [(lattice.epsilon_bounds(((pair, times),), log_delta)[0], f"{times} releases of one kind")]


def _tested(pair: Pair | AtomPair, times: int, log_delta: float) -> list[tuple[float, str]]:
    """The best thresholds' binomial compositions."""
    log_p, log_q = thresholds(pair, log_delta)
    useful = (log_p > log_q) & (log_p < 0.0) & (log_q > -math.inf)
    log_p, log_q = log_p[useful], log_q[useful]
    best = np.argsort(-_estimate(log_p, log_q, times, log_delta))[:_CERTIFIED]
    coins = (_coin(float(log_p[k]), float(log_q[k])) for k in best)
    name = f"threshold test on {times} releases"
    return [
        (lattice.epsilon_bounds(((coin, times),), log_delta)[0], name)
        for coin in coins
        if coin is not None and lattice.supports(((coin, times),))
    ]


def _coin(log_p: float, log_q: float) -> AtomPair | None:
    """The two-point pair of heads with these log-probabilities; its losses are lowered by more than they may be off."""
    heads = log_p - log_q
    drop = math.exp(log_p) * -math.expm1(-heads) / -math.expm1(log_q)
    if not 0.0 < drop < 1.0:
        return None
    log_tails_p, log_tails_q = _log_one_minus(log_p), _log_one_minus(log_q)
    tails = math.log1p(-drop) if drop < 0.5 else log_tails_p - log_tails_q - _DOUBT * abs(log_tails_q)
    return AtomPair((log_tails_p, log_p), (tails * (1.0 + _DOUBT), heads * (1.0 - _DOUBT)))


def _log_one_minus(log_p: float) -> float:
    return math.log1p(-math.exp(log_p)) if log_p < -0.7 else math.log(-math.expm1(log_p))


def _estimate(log_p: Floats, log_q: Floats, times: int, log_delta: float) -> Floats:
    """About the epsilon of each coin's composition: its Rényi curve at the best of a few orders."""
    if not len(log_p):
        return log_p
    t = _ORDERS[:, None]
    rest_p, rest_q = np.log(-np.expm1(log_p)), np.log(-np.expm1(log_q))
    moment = np.logaddexp(log_p + t * (log_p - log_q), rest_p + t * (rest_p - rest_q))
    offset = np.array([CONVERSIONS["improved"].offset(float(order)) for order in _ORDERS])[:, None]
    with np.errstate(over="ignore"):
        estimate: Floats = ((times * np.maximum(moment, 0.0) - log_delta + offset) / t).min(axis=0)
    return np.minimum(estimate, times * (log_p - log_q))


@singledispatch
def thresholds(pair: Pair | AtomPair, log_delta: float) -> tuple[Floats, Floats]:
    """Log-probabilities of a loss beyond some thresholds, under P rounded down and under Q rounded up.

    Args:
        pair: the two laws.
        log_delta: log δ; rarer events under P are of no use.
    """
    raise TypeError(f"pair must be a Pair or an AtomPair, got {type(pair).__name__}.")


@thresholds.register
def _(pair: Pair, log_delta: float) -> tuple[Floats, Floats]:
    if not (_LEAST <= pair.scale <= _MOST and is_short(pair)):
        return np.zeros(0), np.zeros(0)
    both, log_delta = laws(pair), max(log_delta, -_RAREST)
    reach = math.sqrt(-2.0 * log_delta) + 2.0 if pair.noise is Noise.GAUSSIAN else 2.0 - log_delta
    first, last = float(both.centres[0]), float(both.centres[-1])
    if pair.noise is Noise.GAUSSIAN:
        points = np.linspace(first - 2.0 * pair.scale, last + reach * pair.scale, _COUNT)
    else:
        points = np.linspace(first, last, _COUNT)
    if pair.shape is Shape.MIRROR:  # a half-line's masses are the removal's where its losses are above 0
        points = np.maximum(points, 0.5)
    ends = [log_tails(both, float(point)) for point in points]
    return np.array([p[0] for p, _ in ends]), np.array([q[1] for _, q in ends])


@thresholds.register
def _(pair: AtomPair, log_delta: float) -> tuple[Floats, Floats]:
    log_p, loss = np.array(pair.log_p), np.array(pair.loss)
    size = min(float((1.0 + np.abs(loss)).max()), _LARGEST) * min(
        float((1.0 + np.abs(log_p) + np.abs(loss)).max()), _LARGEST
    )
    doubt = EPS * (len(loss) + 32.0 + 16.0 * size)
    kept = 1.0 - pair.failure
    with np.errstate(over="ignore"):
        above = pair.least_failure + kept * np.cumsum(np.exp(log_p)[::-1])
        other = kept * np.cumsum(np.exp(log_p - loss)[::-1])
    steps = np.searchsorted(above, np.exp(np.linspace(max(log_delta, -0.6 * _RAREST), -1e-3, _COUNT)))
    steps = np.unique(np.minimum(steps, len(above) - 1))
    rest = np.where(loss[::-1][steps] <= 0.0, 16.0 * EPS, 0.0)  # the mass at loss 0 may be off by that
    with np.errstate(divide="ignore"):
        return (
            np.log(np.maximum(above[steps] * (1.0 - doubt) - rest, 0.0)),
            np.log(np.minimum(other[steps] * (1.0 + doubt) + rest, 1.0)),
        )
