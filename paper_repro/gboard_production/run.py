"""The sensitivity of each strategy under its participation, as one Gaussian; beside RDP, the tight bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accountants import Event, RDPAccountant, ZCDPAccountant, epsilon
from accountants.participation import Participation
from accountants.sensitivity import Sensitivity, matrix_sensitivity, tree_sensitivity
from dpkit import BufferedToeplitzNoise, TreeNoise
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

#: The orders that the notebook takes the best of.
ORDERS = [*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)]

STEPS = 2000
TERMS: dict[str, Any] = {"delta": 1e-10, "relation": "zero_out"}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; every run gives the same."""
    found, known = {}, {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        what, noise = settings.pop("what"), settings.pop("noise_multiplier", 0.0)
        key = tuple(settings.items())
        if key not in known:
            known[key] = _sensitivity(**settings)
        found[cell.id] = _METHODS[what](known[key], noise)
        progress(done, len(cells), cell.id)
    return found


def _sensitivity(
    between: int, max_participations: int, bands: int | None = None, column_square: float = 1.0, steps: int = STEPS
) -> Sensitivity:
    """Of the tree, or of a banded matrix; `between` counts the rounds between two of one client."""
    allowed = Participation(steps=steps, min_separation=between + 1, max_participations=max_participations)
    if bands is None:
        return tree_sensitivity(allowed)
    return matrix_sensitivity(_banded(bands, column_square), allowed)


def _banded(bands: int, column_square: float) -> NDArray[np.float64]:
    """Lower triangular, columns of this squared norm; another would do, for those of one client do not overlap."""
    root = np.cumprod(np.concatenate([[1.0], 1.0 - 0.5 / np.arange(1, bands)]))  # of 1 / sqrt(1 - x)
    matrix = np.zeros((STEPS, STEPS))
    for step in range(STEPS):
        column = root[: STEPS - step]
        matrix[step : step + len(column), step] = column * np.sqrt(column_square / (column @ column))
    return matrix


def _buffers(tree: Sensitivity, noise: float) -> Ours:
    """Epsilon of six buffers whose prefix sums are as noisy, in the root mean square over all rounds, as the tree's."""
    streams = {
        "tree": TreeNoise(np.zeros(1), noise_multiplier=noise, bound=1.0, steps=STEPS),
        "buffers": BufferedToeplitzNoise(np.zeros(1), noise_multiplier=noise, bound=1.0, steps=STEPS, buffers=6),
    }
    rms = {name: float(np.sqrt(stream.prefix_variance().mean())) for name, stream in streams.items()}
    sensitivity = streams["buffers"].sensitivity(Participation(steps=STEPS, min_separation=314, max_participations=6))
    return Ours(epsilon(sensitivity.event(noise * rms["tree"] / rms["buffers"]), **TERMS))


def _square(sensitivity: Sensitivity, noise: float) -> Ours:
    """Squared sensitivity; noise has no part in it."""
    return Ours(sensitivity.value**2, note="exact, rounded up" if sensitivity.is_exact else "a bound")


def _rho(sensitivity: Sensitivity, noise: float) -> Ours:
    """Zero-concentrated differential privacy."""
    return Ours(ZCDPAccountant().rho(sensitivity.event(noise), relation="zero_out"))


def _rdp(sensitivity: Sensitivity, noise: float) -> Ours:
    """Epsilon by Rényi divergence over the notebook's orders; today, the exact curve of the Gaussian."""
    event: Event = sensitivity.event(noise)
    return Ours(RDPAccountant(orders=ORDERS).epsilon(event, **TERMS), epsilon(event, **TERMS))


def _tight(sensitivity: Sensitivity, noise: float) -> Ours:
    """Epsilon by the exact curve of the Gaussian."""
    return Ours(epsilon(sensitivity.event(noise), **TERMS))


_METHODS = {"square": _square, "rho": _rho, "rdp": _rdp, "tight": _tight, "buffers": _buffers}
