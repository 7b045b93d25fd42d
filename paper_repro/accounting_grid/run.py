"""Each cell by the accountant that printed it; beside it, the tight bound of the same releases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from accountants import Composed, Event, Gaussian, PLDAccountant, PoissonSampled, RDPAccountant, calibrate, epsilon
from accountants.estimates import clt_epsilon
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

#: The orders that TensorFlow Privacy and Opacus take the best of.
ORDERS = [*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)]
#: Those of Bu et al.
FINER = [*(1 + tenth / 10 for tenth in range(1, 100)), *(12 + fifth / 5 for fifth in range(240)), *range(60, 100)]


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        found[cell.id] = _METHODS[settings.pop("method")](**settings)
        progress(done, len(cells), cell.id)
    return found


def _event(noise_multiplier: Any, sampling_prob: Any, steps: Any) -> Event:
    """The releases, of one kind or of several."""
    kinds = zip(*(np.atleast_1d(one).tolist() for one in (noise_multiplier, sampling_prob, steps)), strict=True)
    return Composed(tuple(PoissonSampled(Gaussian(noise), prob) * times for noise, prob, times in kinds))


def _terms(delta: float) -> dict[str, Any]:
    """What every epsilon is of."""
    return {"delta": delta, "relation": "add_remove"}


def _moments(*, delta: float, orders: str = "", **releases: Any) -> Ours:
    """The moments accountant, and what came of it: Mironov's conversion over a list of orders."""
    event, terms = _event(**releases), _terms(delta)
    theirs = RDPAccountant(orders=FINER if orders else ORDERS, conversion="mironov2017")
    return Ours(theirs.epsilon(event, **terms), epsilon(event, **terms))


def _strong(*, noise_multiplier: float, sampling_prob: float, steps: int, delta: float) -> Ours:
    """Dwork, Rothblum & Vadhan 2010, Theorem III.3, of q epsilon and q delta for each step, delta split at its best."""

    def of(share: float) -> float:
        each = math.log(1.25 * steps * sampling_prob / ((1.0 - share) * delta))
        one = sampling_prob * math.sqrt(2.0 * each) / noise_multiplier
        return math.sqrt(2.0 * steps * math.log(1.0 / (share * delta))) * one + steps * one * math.expm1(one)

    today = epsilon(_event(noise_multiplier, sampling_prob, steps), **_terms(delta))
    return Ours(min(of(share / 1000) for share in range(1, 1000)), today, note="no bound: see the experiment's README")


def _rdp(*, delta: float, **releases: Any) -> Ours:
    """The improved conversion over the same orders."""
    event, terms = _event(**releases), _terms(delta)
    return Ours(RDPAccountant(orders=ORDERS).epsilon(event, **terms), epsilon(event, **terms))


def _clt(*, delta: float, **releases: Any) -> Ours:
    """The central limit estimate, which is below the truth here."""
    event, terms = _event(**releases), _terms(delta)
    return Ours(clt_epsilon(event, **terms).value, epsilon(event, **terms), note="an estimate, not a bound: see today")


def _uniform(*, noise_multiplier: float, sampling_prob: float, steps: float, delta: float) -> Ours:
    """Bu et al.'s compute_muU: the Gaussian that many batches of fixed size come near."""
    z = noise_multiplier
    one = math.exp(z**-2) * norm.cdf(1.5 / z) + 3.0 * norm.cdf(-0.5 / z) - 2.0
    mu = sampling_prob * math.sqrt(2.0 * steps * one)
    return Ours(epsilon(Gaussian(1.0 / mu), **_terms(delta)), note="an estimate, not a bound")


def _clients(*, population: int, ratio: float, steps: int, **target: Any) -> Ours:
    """The fewest clients a round, rounded up, whose noise (`ratio` a client) keeps the target."""

    def build(clients: float) -> Event:
        return _event(ratio * clients, clients / population, steps)

    terms: dict[str, Any] = {"relation": "add_remove", "bracket": (10.0, 1000.0), **target}
    theirs, today = (-(-calibrate(build, accountant=which, **terms) // 1) for which in (RDPAccountant(ORDERS), None))
    return Ours(theirs, today)


def _tight(*, delta: float, relation: str = "add_remove", **releases: Any) -> Ours:
    """The certified bound."""
    return Ours(PLDAccountant().epsilon(_event(**releases), delta=delta, relation=relation))


def _delta(*, epsilon: float, relation: str = "add_remove", **releases: Any) -> Ours:
    """The certified bound of delta."""
    return Ours(PLDAccountant().delta(_event(**releases), epsilon=epsilon, relation=relation))


_METHODS: dict[str, Callable[..., Ours]] = {
    "moments": _moments,
    "rdp": _rdp,
    "strong": _strong,
    "clt": _clt,
    "uniform": _uniform,
    "clients": _clients,
    "tight": _tight,
    "delta": _delta,
}
