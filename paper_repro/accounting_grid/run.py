"""Each cell by the accountant that printed it; beside it, the tight bound of the same releases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accountants import Event, Gaussian, PLDAccountant, PoissonSampled, RDPAccountant, calibrate, epsilon
from accountants.estimates import clt_epsilon
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

#: The orders that TensorFlow Privacy and Opacus take the best of.
ORDERS = [*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)]


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        found[cell.id] = _METHODS[settings.pop("method")](**settings)
        progress(done, len(cells), cell.id)
    return found


def _event(noise_multiplier: float, sampling_prob: float, steps: int) -> Event:
    """The releases."""
    return PoissonSampled(Gaussian(noise_multiplier), sampling_prob) * steps


def _terms(delta: float) -> dict[str, Any]:
    """What every epsilon is of."""
    return {"delta": delta, "relation": "add_remove"}


def _moments(*, delta: float, **releases: Any) -> Ours:
    """The moments accountant, and what came of it: Mironov's conversion over a list of orders."""
    event, terms = _event(**releases), _terms(delta)
    theirs = RDPAccountant(orders=ORDERS, conversion="mironov2017").epsilon(event, **terms)
    return Ours(theirs, epsilon(event, **terms))


def _rdp(*, delta: float, **releases: Any) -> Ours:
    """The improved conversion over the same orders."""
    event, terms = _event(**releases), _terms(delta)
    return Ours(RDPAccountant(orders=ORDERS).epsilon(event, **terms), epsilon(event, **terms))


def _clt(*, delta: float, **releases: Any) -> Ours:
    """The central limit estimate, which is below the truth here."""
    event, terms = _event(**releases), _terms(delta)
    return Ours(clt_epsilon(event, **terms).value, epsilon(event, **terms), note="an estimate, not a bound: see today")


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
    "clt": _clt,
    "clients": _clients,
    "tight": _tight,
    "delta": _delta,
}
